CREATE TABLE identity_login_codes (
    hash BYTES NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    expires BIGINT NOT NULL
);

CREATE TABLE identity_sessions (
    hash BYTES NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    begun BIGINT NOT NULL,
    used BIGINT NOT NULL
);
