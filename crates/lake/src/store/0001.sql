-- Whoever changes the catalogue holds this row.
CREATE TABLE lake_turn (
    id BIGINT NOT NULL PRIMARY KEY,
    taken BIGINT NOT NULL
);
INSERT INTO lake_turn (id, taken) VALUES (1, 0);

-- People and services, as Rucio sees them. `principal` says as whom background work of the account acts.
CREATE TABLE lake_accounts (
    account TEXT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    status TEXT NOT NULL,
    email TEXT,
    principal TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

CREATE TABLE lake_account_usage (
    account TEXT NOT NULL,
    rse TEXT NOT NULL,
    files BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (account, rse)
);

CREATE TABLE lake_scopes (
    scope TEXT NOT NULL PRIMARY KEY,
    account TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX lake_scopes_account ON lake_scopes (account, scope);

-- Storage elements. A deleted one keeps its name.
CREATE TABLE lake_rses (
    rse TEXT NOT NULL PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    rse_type TEXT NOT NULL,
    deterministic BIGINT NOT NULL,
    volatile BIGINT NOT NULL,
    staging_area BIGINT NOT NULL,
    availability BIGINT NOT NULL,
    details TEXT NOT NULL,
    deleted_at BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

CREATE TABLE lake_rse_attributes (
    rse TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (rse, key)
);

CREATE TABLE lake_rse_protocols (
    rse TEXT NOT NULL,
    scheme TEXT NOT NULL,
    hostname TEXT NOT NULL,
    port BIGINT NOT NULL,
    prefix TEXT NOT NULL,
    implementation TEXT NOT NULL,
    domains TEXT NOT NULL,
    extended TEXT,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (rse, scheme, hostname, port)
);

-- Files and bytes of all replicas at a storage element, exact in every transaction.
CREATE TABLE lake_rse_usage (
    rse TEXT NOT NULL PRIMARY KEY,
    files BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

-- `ready_at`: when a closed dataset was told to be ready; set once, never again.
CREATE TABLE lake_dids (
    scope TEXT NOT NULL,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    account TEXT NOT NULL,
    bytes BIGINT,
    length BIGINT,
    adler32 TEXT,
    md5 TEXT,
    guid TEXT,
    is_open BIGINT NOT NULL,
    monotonic BIGINT NOT NULL,
    closed_at BIGINT,
    ready_at BIGINT,
    expired_at BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (scope, name)
);

CREATE TABLE lake_did_metadata (
    scope TEXT NOT NULL,
    name TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (scope, name, key)
);

CREATE TABLE lake_contents (
    scope TEXT NOT NULL,
    name TEXT NOT NULL,
    child_scope TEXT NOT NULL,
    child_name TEXT NOT NULL,
    child_kind TEXT NOT NULL,
    bytes BIGINT,
    adler32 TEXT,
    md5 TEXT,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (scope, name, child_scope, child_name)
);
CREATE INDEX lake_contents_child ON lake_contents (child_scope, child_name);

-- What was detached, for the record.
CREATE TABLE lake_contents_history (
    id SERIAL_ID,
    scope TEXT NOT NULL,
    name TEXT NOT NULL,
    child_scope TEXT NOT NULL,
    child_name TEXT NOT NULL,
    child_kind TEXT NOT NULL,
    bytes BIGINT,
    adler32 TEXT,
    md5 TEXT,
    created_at BIGINT NOT NULL,
    deleted_at BIGINT NOT NULL
);
CREATE INDEX lake_contents_history_parent ON lake_contents_history (scope, name, id);

-- Copies. `path` only where the storage element is not deterministic. `lock_cnt` is the number of locks on the copy.
CREATE TABLE lake_replicas (
    scope TEXT NOT NULL,
    name TEXT NOT NULL,
    rse TEXT NOT NULL,
    state TEXT NOT NULL,
    bytes BIGINT NOT NULL,
    path TEXT,
    lock_cnt BIGINT NOT NULL,
    tombstone BIGINT,
    account TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (scope, name, rse)
);
CREATE INDEX lake_replicas_rse ON lake_replicas (rse, scope, name);
CREATE INDEX lake_replicas_path ON lake_replicas (rse, path) WHERE path IS NOT NULL;
CREATE INDEX lake_replicas_tombstone ON lake_replicas (rse, tombstone) WHERE tombstone IS NOT NULL;

-- Rules. `principal` says as whom its transfers are made.
CREATE TABLE lake_rules (
    id TEXT NOT NULL PRIMARY KEY,
    account TEXT NOT NULL,
    principal TEXT NOT NULL,
    scope TEXT NOT NULL,
    name TEXT NOT NULL,
    did_kind TEXT NOT NULL,
    state TEXT NOT NULL,
    error TEXT,
    rse_expression TEXT NOT NULL,
    copies BIGINT NOT NULL,
    grouping_mode TEXT NOT NULL,
    weight TEXT,
    locked BIGINT NOT NULL,
    locks_ok BIGINT NOT NULL,
    locks_replicating BIGINT NOT NULL,
    locks_stuck BIGINT NOT NULL,
    source_expression TEXT,
    activity TEXT NOT NULL,
    notification TEXT NOT NULL,
    purge_replicas BIGINT NOT NULL,
    ignore_availability BIGINT NOT NULL,
    priority BIGINT NOT NULL,
    comments TEXT,
    meta TEXT,
    expires_at BIGINT,
    stuck_at BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    UNIQUE (scope, name, account, rse_expression, copies)
);
CREATE INDEX lake_rules_account ON lake_rules (account, id);
CREATE INDEX lake_rules_expiry ON lake_rules (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE lake_locks (
    rule_id TEXT NOT NULL,
    scope TEXT NOT NULL,
    name TEXT NOT NULL,
    rse TEXT NOT NULL,
    account TEXT NOT NULL,
    state TEXT NOT NULL,
    bytes BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (rule_id, scope, name, rse)
);
CREATE INDEX lake_locks_replica ON lake_locks (scope, name, rse);

-- Where a rule has placed a group of files (a dataset, or its whole DID).
CREATE TABLE lake_dataset_locks (
    rule_id TEXT NOT NULL,
    scope TEXT NOT NULL,
    name TEXT NOT NULL,
    rse TEXT NOT NULL,
    account TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (rule_id, scope, name, rse)
);
CREATE INDEX lake_dataset_locks_did ON lake_dataset_locks (scope, name);
CREATE INDEX lake_dataset_locks_rse ON lake_dataset_locks (rse, scope, name);

-- Datasets whose files still have to get their locks of a rule, after the file of the cursor.
CREATE TABLE lake_injections (
    rule_id TEXT NOT NULL,
    scope TEXT NOT NULL,
    name TEXT NOT NULL,
    after_scope TEXT NOT NULL,
    after_name TEXT NOT NULL,
    PRIMARY KEY (rule_id, scope, name)
);

-- Copies that have to be made: at most one request for a file and a destination.
CREATE TABLE lake_requests (
    id TEXT NOT NULL PRIMARY KEY,
    scope TEXT NOT NULL,
    name TEXT NOT NULL,
    rse TEXT NOT NULL,
    rule_id TEXT NOT NULL,
    account TEXT NOT NULL,
    principal TEXT NOT NULL,
    activity TEXT NOT NULL,
    priority BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    adler32 TEXT,
    source_expression TEXT,
    state TEXT NOT NULL,
    attempt BIGINT NOT NULL,
    rounds BIGINT NOT NULL,
    job_id TEXT,
    source_rse TEXT,
    dest_url TEXT,
    error TEXT,
    due_at BIGINT,
    requested_at BIGINT NOT NULL,
    submitted_at BIGINT,
    polled_at BIGINT,
    UNIQUE (scope, name, rse)
);
CREATE INDEX lake_requests_job ON lake_requests (job_id) WHERE job_id IS NOT NULL;
CREATE INDEX lake_requests_rule ON lake_requests (rule_id);
CREATE INDEX lake_requests_poll ON lake_requests (state, polled_at);
