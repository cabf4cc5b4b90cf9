CREATE TABLE identity_programs (
    client_id TEXT NOT NULL PRIMARY KEY,
    secret_hash BYTES,
    access_hash BYTES NOT NULL,
    metadata TEXT NOT NULL,
    active BIGINT NOT NULL,
    registered_by TEXT,
    created BIGINT NOT NULL,
    used BIGINT
);
CREATE INDEX identity_programs_unused ON identity_programs (created) WHERE used IS NULL;

CREATE TABLE identity_consents (
    name TEXT NOT NULL,
    client_id TEXT NOT NULL,
    scopes TEXT NOT NULL,
    given BIGINT NOT NULL,
    PRIMARY KEY (name, client_id)
);

CREATE TABLE identity_codes (
    hash BYTES NOT NULL PRIMARY KEY,
    grant_id TEXT NOT NULL,
    client_id TEXT NOT NULL,
    redirect_uri TEXT NOT NULL,
    challenge TEXT,
    granted TEXT NOT NULL,
    expires BIGINT NOT NULL,
    used BIGINT
);
CREATE INDEX identity_codes_expires ON identity_codes (expires);

CREATE TABLE identity_devices (
    hash BYTES NOT NULL PRIMARY KEY,
    user_hash BYTES NOT NULL UNIQUE,
    client_id TEXT NOT NULL,
    challenge TEXT,
    wanted TEXT NOT NULL,
    state TEXT NOT NULL,
    granted TEXT,
    expires BIGINT NOT NULL
);
CREATE INDEX identity_devices_expires ON identity_devices (expires);

CREATE TABLE identity_grants (
    id TEXT NOT NULL PRIMARY KEY,
    client_id TEXT NOT NULL,
    name TEXT NOT NULL,
    granted TEXT NOT NULL,
    number BIGINT NOT NULL,
    rotated BIGINT NOT NULL,
    created BIGINT NOT NULL,
    used BIGINT NOT NULL,
    expires BIGINT NOT NULL,
    ended BIGINT
);
CREATE INDEX identity_grants_expires ON identity_grants (expires);
CREATE INDEX identity_grants_client ON identity_grants (client_id);

CREATE TABLE identity_revoked (
    hash BYTES NOT NULL PRIMARY KEY,
    expires BIGINT NOT NULL
);

CREATE TABLE identity_assertions (
    hash BYTES NOT NULL PRIMARY KEY,
    expires BIGINT NOT NULL
);
CREATE INDEX identity_assertions_expires ON identity_assertions (expires);

CREATE TABLE identity_exchange_policies (
    id TEXT NOT NULL PRIMARY KEY,
    policy TEXT NOT NULL
);

ALTER TABLE identity_keys ADD COLUMN signs_from BIGINT NOT NULL DEFAULT 0;
