CREATE TABLE identity_meta (
    name TEXT NOT NULL PRIMARY KEY,
    number BIGINT NOT NULL DEFAULT 0,
    content BYTES
);
INSERT INTO identity_meta (name, number) VALUES ('version', 1);

CREATE TABLE identity_keys (
    kid TEXT NOT NULL PRIMARY KEY,
    sealed BYTES NOT NULL,
    created BIGINT NOT NULL,
    retired BIGINT
);

CREATE TABLE identity_users (
    name TEXT NOT NULL PRIMARY KEY,
    admin BIGINT NOT NULL,
    active BIGINT NOT NULL,
    created BIGINT NOT NULL
);

CREATE TABLE identity_clients (
    client_id TEXT NOT NULL PRIMARY KEY,
    secret_hash BYTES NOT NULL,
    scopes TEXT NOT NULL,
    audiences TEXT NOT NULL,
    active BIGINT NOT NULL,
    created BIGINT NOT NULL
);

CREATE TABLE identity_bans (
    id TEXT NOT NULL PRIMARY KEY,
    issuer TEXT,
    subject TEXT,
    client_id TEXT,
    vo TEXT,
    token_id TEXT,
    reason TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created BIGINT NOT NULL,
    lifted BIGINT,
    lifted_by TEXT
);

CREATE TABLE identity_audit (
    seq BIGINT NOT NULL PRIMARY KEY,
    at BIGINT NOT NULL,
    subject TEXT,
    body TEXT NOT NULL,
    link BYTES NOT NULL
);
CREATE INDEX identity_audit_subject ON identity_audit (subject, seq);
