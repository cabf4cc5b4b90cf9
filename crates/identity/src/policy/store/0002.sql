CREATE TABLE policy_profiles (
    name TEXT NOT NULL PRIMARY KEY,
    display TEXT NOT NULL,
    given TEXT NOT NULL,
    family TEXT NOT NULL,
    email TEXT NOT NULL,
    modified BIGINT NOT NULL,
    gone BIGINT NOT NULL,
    changed BIGINT NOT NULL
);
CREATE INDEX policy_profiles_changed ON policy_profiles (changed);
