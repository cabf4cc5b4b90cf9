-- One row a run; what it read and wrote stands in the two tables below, so that runs share their files.
CREATE TABLE provenance_runs (
    number SERIAL_ID,
    id TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    about TEXT NOT NULL,
    recorded BIGINT NOT NULL
);
CREATE INDEX provenance_runs_owner ON provenance_runs (owner, id);
-- Files: one row for one content under one name.
CREATE TABLE provenance_files (
    number SERIAL_ID,
    did TEXT NOT NULL,
    adler32 TEXT NOT NULL,
    bytes BIGINT NOT NULL,
    dataset TEXT,
    UNIQUE (did, adler32)
);
CREATE INDEX provenance_files_dataset ON provenance_files (dataset);
CREATE TABLE provenance_used (run BIGINT NOT NULL, file BIGINT NOT NULL, PRIMARY KEY (run, file));
CREATE INDEX provenance_used_file ON provenance_used (file, run);
CREATE TABLE provenance_generated (run BIGINT NOT NULL, file BIGINT NOT NULL, PRIMARY KEY (run, file));
CREATE INDEX provenance_generated_file ON provenance_generated (file, run);
-- Documents that people put here.
CREATE TABLE provenance_documents (
    id TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    body TEXT NOT NULL,
    created BIGINT NOT NULL,
    changed BIGINT NOT NULL
);
CREATE INDEX provenance_documents_owner ON provenance_documents (owner, id);
