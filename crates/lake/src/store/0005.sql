-- What became of rules, also of those that are gone.
CREATE TABLE lake_rule_history (
    id SERIAL_ID,
    rule_id TEXT NOT NULL,
    scope TEXT NOT NULL,
    name TEXT NOT NULL,
    account TEXT NOT NULL,
    rse_expression TEXT NOT NULL,
    state TEXT NOT NULL,
    locks_ok BIGINT NOT NULL,
    locks_replicating BIGINT NOT NULL,
    locks_stuck BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX lake_rule_history_rule ON lake_rule_history (rule_id, id);
CREATE INDEX lake_rule_history_did ON lake_rule_history (scope, name, id);

-- More of DIDs and copies: when they were used, whether they are archives or inside of one.
ALTER TABLE lake_dids ADD COLUMN accessed_at BIGINT;
ALTER TABLE lake_dids ADD COLUMN access_cnt BIGINT NOT NULL DEFAULT 0;
ALTER TABLE lake_dids ADD COLUMN is_archive BIGINT NOT NULL DEFAULT 0;
ALTER TABLE lake_dids ADD COLUMN constituent BIGINT NOT NULL DEFAULT 0;
ALTER TABLE lake_dids ADD COLUMN availability TEXT NOT NULL DEFAULT 'AVAILABLE';
ALTER TABLE lake_replicas ADD COLUMN accessed_at BIGINT;
CREATE INDEX lake_dids_expiry ON lake_dids (expired_at) WHERE expired_at IS NOT NULL;
CREATE INDEX lake_dids_guid ON lake_dids (guid) WHERE guid IS NOT NULL;

-- What is inside of archives.
CREATE TABLE lake_archives (
    scope TEXT NOT NULL,
    name TEXT NOT NULL,
    child_scope TEXT NOT NULL,
    child_name TEXT NOT NULL,
    bytes BIGINT,
    adler32 TEXT,
    md5 TEXT,
    guid TEXT,
    PRIMARY KEY (scope, name, child_scope, child_name)
);
CREATE INDEX lake_archives_child ON lake_archives (child_scope, child_name);

-- Who wants to hear of a DID.
CREATE TABLE lake_followers (
    scope TEXT NOT NULL,
    name TEXT NOT NULL,
    account TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (scope, name, account)
);
