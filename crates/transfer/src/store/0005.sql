-- What an administrator says of links (from scheme://host or *, to scheme://host or *).
CREATE TABLE transfer_links (
    name TEXT NOT NULL PRIMARY KEY,
    source TEXT NOT NULL,
    destination TEXT NOT NULL,
    min_active BIGINT NOT NULL,
    max_active BIGINT NOT NULL,
    mode BIGINT NOT NULL
);
CREATE UNIQUE INDEX transfer_links_ends ON transfer_links (source, destination);

-- How VOs share a link.
CREATE TABLE transfer_vo_shares (
    source TEXT NOT NULL,
    destination TEXT NOT NULL,
    vo TEXT NOT NULL,
    share BIGINT NOT NULL,
    PRIMARY KEY (source, destination, vo)
);

-- How the activities of a VO share what the VO has: a JSON object of weights.
CREATE TABLE transfer_activity_shares (
    vo TEXT NOT NULL PRIMARY KEY,
    active BIGINT NOT NULL,
    shares TEXT NOT NULL
);

ALTER TABLE transfer_storages ADD COLUMN inbound_max_active BIGINT;
ALTER TABLE transfer_storages ADD COLUMN outbound_max_active BIGINT;
ALTER TABLE transfer_storages ADD COLUMN inbound_max_throughput BIGINT;
ALTER TABLE transfer_storages ADD COLUMN outbound_max_throughput BIGINT;

-- What holds for the jobs of a VO, or (as *) of all, where a job leaves it open.
CREATE TABLE transfer_vo_settings (
    vo TEXT NOT NULL PRIMARY KEY,
    retry BIGINT,
    max_time_queue BIGINT,
    global_timeout BIGINT,
    sec_per_mb BIGINT,
    no_streaming BIGINT
);

-- Counts the changes of the tables above and of what the optimiser found, so that movers know when to read them again.
CREATE TABLE transfer_rules_version (one BIGINT NOT NULL PRIMARY KEY, version BIGINT NOT NULL);
INSERT INTO transfer_rules_version VALUES (1, 0);

CREATE TABLE transfer_config_audit (
    id SERIAL_ID,
    time BIGINT NOT NULL,
    dn TEXT NOT NULL,
    action TEXT NOT NULL,
    config TEXT NOT NULL
);

-- What the optimiser found best for a link, and what it knew when it did.
CREATE TABLE transfer_optimum (
    source TEXT NOT NULL,
    destination TEXT NOT NULL,
    active BIGINT NOT NULL,
    time BIGINT NOT NULL,
    memory TEXT NOT NULL,
    PRIMARY KEY (source, destination)
);

CREATE TABLE transfer_optimum_steps (
    id SERIAL_ID,
    source TEXT NOT NULL,
    destination TEXT NOT NULL,
    time BIGINT NOT NULL,
    step TEXT NOT NULL
);
CREATE INDEX transfer_optimum_steps_link ON transfer_optimum_steps (source, destination, id);
CREATE INDEX transfer_files_ended_link ON transfer_files (source_se, dest_se, finished) WHERE finished IS NOT NULL;
CREATE INDEX transfer_retries_time ON transfer_retries (time);
