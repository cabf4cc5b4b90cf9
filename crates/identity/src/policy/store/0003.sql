CREATE TABLE policy_aups (
    id TEXT NOT NULL PRIMARY KEY,
    owner TEXT NOT NULL,
    seq BIGINT NOT NULL,
    version TEXT NOT NULL,
    status TEXT NOT NULL,
    change_class TEXT NOT NULL,
    document TEXT NOT NULL,
    text_sha256 TEXT NOT NULL,
    effective_from BIGINT NOT NULL,
    terms TEXT NOT NULL,
    created BIGINT NOT NULL,
    published_at BIGINT,
    retired_at BIGINT,
    touched BIGINT,
    changed BIGINT NOT NULL
);
CREATE UNIQUE INDEX policy_aups_owner ON policy_aups (owner, seq);
CREATE INDEX policy_aups_changed ON policy_aups (changed);

CREATE TABLE policy_acceptances (
    seq BIGINT NOT NULL PRIMARY KEY,
    id TEXT NOT NULL,
    kind TEXT NOT NULL,
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    owner TEXT NOT NULL,
    aup_id TEXT NOT NULL,
    aup_seq BIGINT NOT NULL,
    text_sha256 TEXT NOT NULL,
    at BIGINT NOT NULL,
    method TEXT NOT NULL,
    actor TEXT NOT NULL,
    agent_hash TEXT NOT NULL,
    locale TEXT NOT NULL,
    subject_digest BYTES NOT NULL,
    evidence BYTES NOT NULL,
    changed BIGINT NOT NULL
);
CREATE INDEX policy_acceptances_subject ON policy_acceptances (subject, seq);
CREATE INDEX policy_acceptances_owner ON policy_acceptances (owner, seq);
CREATE INDEX policy_acceptances_changed ON policy_acceptances (changed);

CREATE TABLE policy_exemptions (
    name TEXT NOT NULL PRIMARY KEY,
    reason TEXT NOT NULL,
    by_name TEXT NOT NULL,
    at BIGINT NOT NULL,
    ended BIGINT NOT NULL,
    changed BIGINT NOT NULL
);
CREATE INDEX policy_exemptions_changed ON policy_exemptions (changed);
