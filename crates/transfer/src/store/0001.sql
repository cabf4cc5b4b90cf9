CREATE TABLE transfer_jobs (
    job_id TEXT NOT NULL PRIMARY KEY,
    state TEXT NOT NULL,
    job_type TEXT NOT NULL,
    -- The submitter: whom the mover acts for, and how answers name them.
    owner TEXT NOT NULL,
    user_dn TEXT NOT NULL,
    cred_id TEXT NOT NULL,
    vo TEXT NOT NULL,
    source_se TEXT,
    dest_se TEXT,
    priority BIGINT NOT NULL,
    params TEXT NOT NULL,
    reason TEXT,
    cancelled BIGINT NOT NULL,
    submitted BIGINT NOT NULL,
    finished BIGINT,
    -- Files up to this one were handed to the movers.
    dispatched BIGINT NOT NULL
);
CREATE INDEX transfer_jobs_submitted ON transfer_jobs (submitted);
CREATE INDEX transfer_jobs_finished ON transfer_jobs (finished);
CREATE INDEX transfer_jobs_owner ON transfer_jobs (cred_id, submitted);

CREATE TABLE transfer_files (
    file_id SERIAL_ID,
    job_id TEXT NOT NULL,
    file_index BIGINT NOT NULL,
    state TEXT NOT NULL,
    initial_state TEXT NOT NULL,
    source TEXT NOT NULL,
    destination TEXT NOT NULL,
    source_se TEXT NOT NULL,
    dest_se TEXT NOT NULL,
    lane TEXT NOT NULL,
    activity TEXT NOT NULL,
    strategy TEXT NOT NULL,
    checksum TEXT NOT NULL,
    user_filesize BIGINT,
    metadata TEXT,
    staging_metadata TEXT,
    archive_metadata TEXT,
    scitag BIGINT,
    hashed_id BIGINT NOT NULL,
    bytes BIGINT,
    adler32 TEXT,
    reason TEXT,
    recoverable BIGINT,
    retries BIGINT NOT NULL,
    host TEXT,
    started BIGINT,
    finished BIGINT
);
CREATE INDEX transfer_files_job ON transfer_files (job_id, file_id);
CREATE INDEX transfer_files_open ON transfer_files (job_id, state) WHERE finished IS NULL;
CREATE INDEX transfer_files_finished ON transfer_files (finished);

CREATE TABLE transfer_retries (
    file_id BIGINT NOT NULL,
    attempt BIGINT NOT NULL,
    time BIGINT NOT NULL,
    reason TEXT NOT NULL,
    host TEXT NOT NULL,
    PRIMARY KEY (file_id, attempt)
);
