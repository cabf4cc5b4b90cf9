-- What is told of storage elements, and how far they are from each other.
CREATE TABLE lake_rse_limits (
    rse TEXT NOT NULL,
    name TEXT NOT NULL,
    value BIGINT NOT NULL,
    PRIMARY KEY (rse, name)
);

-- What probes measured; the source `rucio` is counted by the lake itself and not here.
CREATE TABLE lake_rse_space (
    rse TEXT NOT NULL,
    source TEXT NOT NULL,
    used BIGINT NOT NULL,
    free BIGINT,
    files BIGINT,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (rse, source)
);

CREATE TABLE lake_rse_space_history (
    id SERIAL_ID,
    rse TEXT NOT NULL,
    source TEXT NOT NULL,
    used BIGINT NOT NULL,
    free BIGINT,
    updated_at BIGINT NOT NULL
);
CREATE INDEX lake_rse_space_history_rse ON lake_rse_space_history (rse, id);

CREATE TABLE lake_distances (
    source TEXT NOT NULL,
    destination TEXT NOT NULL,
    distance BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (source, destination)
);

CREATE TABLE lake_qos_policies (
    rse TEXT NOT NULL,
    policy TEXT NOT NULL,
    PRIMARY KEY (rse, policy)
);
