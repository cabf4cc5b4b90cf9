-- Copies that somebody said are bad, suspicious, or away for a time; and files of which the catalogue knows nothing.
CREATE TABLE lake_bad_replicas (
    id SERIAL_ID,
    scope TEXT NOT NULL,
    name TEXT NOT NULL,
    rse TEXT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT,
    account TEXT NOT NULL,
    bytes BIGINT,
    expires_at BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX lake_bad_replicas_copy ON lake_bad_replicas (scope, name, rse, state);
CREATE INDEX lake_bad_replicas_state ON lake_bad_replicas (state, created_at);
CREATE INDEX lake_bad_replicas_expiry ON lake_bad_replicas (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE lake_quarantine (
    rse TEXT NOT NULL,
    path TEXT NOT NULL,
    scope TEXT,
    name TEXT,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (rse, path)
);
