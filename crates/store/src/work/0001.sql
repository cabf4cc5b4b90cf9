CREATE TABLE work (
    queue TEXT NOT NULL,
    id TEXT NOT NULL,
    lane TEXT NOT NULL,
    priority BIGINT NOT NULL,
    payload TEXT NOT NULL,
    state BIGINT NOT NULL,
    run_at BIGINT NOT NULL,
    created BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    lease TEXT,
    lease_until BIGINT,
    again BIGINT NOT NULL,
    last_error TEXT,
    PRIMARY KEY (queue, id)
);
CREATE INDEX work_ready ON work (queue, state, priority DESC, run_at);
CREATE INDEX work_time ON work (queue, state, run_at);
CREATE INDEX work_lease ON work (lease);
