-- Storage elements (scheme://host) that nothing is moved to or from.
CREATE TABLE transfer_banned_storages (
    storage TEXT NOT NULL PRIMARY KEY,
    -- CANCEL, WAIT, or WAIT_AS: waits, and new jobs are taken.
    status TEXT NOT NULL,
    message TEXT,
    added BIGINT NOT NULL,
    admin TEXT NOT NULL
);

-- Submitters whose jobs are not run and not taken.
CREATE TABLE transfer_banned_users (
    user_dn TEXT NOT NULL PRIMARY KEY,
    message TEXT,
    added BIGINT NOT NULL,
    admin TEXT NOT NULL
);

CREATE INDEX transfer_files_open_source ON transfer_files (source_se, state) WHERE finished IS NULL;
CREATE INDEX transfer_files_open_destination ON transfer_files (dest_se, state) WHERE finished IS NULL;
CREATE INDEX transfer_jobs_open_user ON transfer_jobs (user_dn) WHERE finished IS NULL;
