CREATE TABLE identity_passwords (
    name TEXT NOT NULL PRIMARY KEY,
    hash TEXT NOT NULL,
    changed BIGINT NOT NULL
);

CREATE TABLE identity_second_factors (
    name TEXT NOT NULL PRIMARY KEY,
    sealed BYTES NOT NULL,
    confirmed BIGINT,
    last_step BIGINT NOT NULL
);

CREATE TABLE identity_recovery_codes (
    hash BYTES NOT NULL PRIMARY KEY,
    name TEXT NOT NULL
);
CREATE INDEX identity_recovery_codes_name ON identity_recovery_codes (name);

CREATE TABLE identity_login_steps (
    hash BYTES NOT NULL PRIMARY KEY,
    sealed BYTES NOT NULL,
    expires BIGINT NOT NULL
);
CREATE INDEX identity_login_steps_expires ON identity_login_steps (expires);

CREATE TABLE identity_session_facts (
    hash BYTES NOT NULL PRIMARY KEY,
    way TEXT NOT NULL,
    agent TEXT NOT NULL
);

CREATE TABLE identity_links (
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    name TEXT NOT NULL,
    provider TEXT NOT NULL,
    shown TEXT NOT NULL,
    made BIGINT NOT NULL,
    PRIMARY KEY (issuer, subject)
);
CREATE INDEX identity_links_name ON identity_links (name);

CREATE TABLE identity_registrations (
    id TEXT NOT NULL PRIMARY KEY,
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    provider TEXT NOT NULL,
    wanted TEXT NOT NULL,
    shown TEXT NOT NULL,
    asked BIGINT NOT NULL,
    state TEXT NOT NULL,
    decided BIGINT,
    decided_by TEXT
);
CREATE UNIQUE INDEX identity_registrations_who ON identity_registrations (issuer, subject);
CREATE INDEX identity_registrations_state ON identity_registrations (state, id);
