CREATE TABLE offload_pods (
    uid        TEXT PRIMARY KEY,
    namespace  TEXT NOT NULL,
    name       TEXT NOT NULL,
    issuer     TEXT NOT NULL,
    subject    TEXT NOT NULL,
    user_name  TEXT NOT NULL,
    -- What the pod may do for its owner; null is all that the owner may.
    scopes     TEXT,
    trusted    BIGINT NOT NULL,
    site       TEXT NOT NULL,
    -- Which process has it: a run folder is local to one.
    node       TEXT NOT NULL,
    state      TEXT NOT NULL,
    containers TEXT NOT NULL,
    pod        TEXT NOT NULL,
    inputs     TEXT,
    code       TEXT,
    outputs    TEXT,
    report     TEXT,
    reason     TEXT,
    message    TEXT,
    -- Why it shall end.
    cancel     TEXT,
    deleted    BIGINT NOT NULL,
    failures   BIGINT NOT NULL,
    created    BIGINT NOT NULL,
    finished   BIGINT
);

CREATE INDEX offload_pods_owner ON offload_pods (issuer, subject, created);
CREATE INDEX offload_pods_created ON offload_pods (created);
