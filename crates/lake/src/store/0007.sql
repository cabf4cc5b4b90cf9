-- Settings that clients keep in the server.
CREATE TABLE lake_config (
    section TEXT NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (section, name)
);

-- Which metadata there may be.
CREATE TABLE lake_metadata_keys (
    key TEXT NOT NULL PRIMARY KEY,
    key_type TEXT NOT NULL,
    value_type TEXT,
    value_regexp TEXT,
    created_at BIGINT NOT NULL
);

CREATE TABLE lake_metadata_values (
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (key, value)
);

-- Wishes that data live longer than the rule for their kind says.
CREATE TABLE lake_lifetime_exceptions (
    id TEXT NOT NULL,
    scope TEXT NOT NULL,
    name TEXT NOT NULL,
    did_type TEXT NOT NULL,
    account TEXT NOT NULL,
    pattern TEXT,
    comments TEXT,
    state TEXT NOT NULL,
    expires_at BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (id, scope, name)
);

-- Collections for everybody.
CREATE TABLE lake_opendata (
    scope TEXT NOT NULL,
    name TEXT NOT NULL,
    state TEXT NOT NULL,
    meta TEXT,
    doi TEXT UNIQUE,
    record_id BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (scope, name)
);

CREATE TABLE lake_transfer_limits (
    id TEXT NOT NULL PRIMARY KEY,
    expression TEXT NOT NULL,
    activity TEXT NOT NULL,
    direction TEXT NOT NULL,
    details TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    UNIQUE (expression, activity, direction)
);

CREATE TABLE lake_heartbeats (
    executable TEXT NOT NULL,
    hostname TEXT NOT NULL,
    pid BIGINT NOT NULL,
    thread TEXT NOT NULL,
    payload TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (executable, hostname, pid, thread)
);

-- Rules for datasets and containers that do not exist yet.
CREATE TABLE lake_subscriptions (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    account TEXT NOT NULL,
    filter TEXT NOT NULL,
    rules TEXT NOT NULL,
    comments TEXT,
    priority BIGINT NOT NULL,
    state TEXT NOT NULL,
    retroactive BIGINT NOT NULL,
    lifetime BIGINT,
    expired_at BIGINT,
    last_processed BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    UNIQUE (account, name)
);

-- Requests that are over.
CREATE TABLE lake_request_history (
    serial SERIAL_ID,
    id TEXT NOT NULL,
    scope TEXT NOT NULL,
    name TEXT NOT NULL,
    rse TEXT NOT NULL,
    source_rse TEXT,
    rule_id TEXT NOT NULL,
    account TEXT NOT NULL,
    activity TEXT NOT NULL,
    bytes BIGINT NOT NULL,
    adler32 TEXT,
    state TEXT NOT NULL,
    attempt BIGINT NOT NULL,
    job_id TEXT,
    error TEXT,
    requested_at BIGINT NOT NULL,
    submitted_at BIGINT,
    ended_at BIGINT NOT NULL
);
CREATE INDEX lake_request_history_file ON lake_request_history (scope, name, rse, serial);
CREATE INDEX lake_request_history_end ON lake_request_history (ended_at);
