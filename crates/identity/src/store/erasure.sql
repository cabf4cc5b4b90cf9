ALTER TABLE identity_audit ADD COLUMN salt BYTES;
ALTER TABLE identity_audit ADD COLUMN erased BYTES;

CREATE TABLE identity_erasures (
    pseudonym TEXT NOT NULL PRIMARY KEY,
    name_hash BYTES NOT NULL UNIQUE,
    traces BYTES,
    reached BIGINT NOT NULL,
    begun BIGINT NOT NULL,
    finished BIGINT
);
