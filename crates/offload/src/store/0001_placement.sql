-- Where pods that named no site were placed, and why.
CREATE TABLE offload_placements (
    uid      TEXT PRIMARY KEY,
    reason   TEXT NOT NULL,
    decision TEXT NOT NULL,
    decided  BIGINT NOT NULL
);

-- Which inputs were staged where, lately.
CREATE TABLE offload_staged (
    site   TEXT NOT NULL,
    did    TEXT NOT NULL,
    staged BIGINT NOT NULL,
    PRIMARY KEY (did, site)
);
CREATE INDEX offload_staged_time ON offload_staged (staged);

-- Pods on their way, by site; there are few beside those that have ended.
CREATE INDEX offload_pods_live ON offload_pods (site, state) WHERE finished IS NULL;
CREATE INDEX offload_pods_name ON offload_pods (name, created);
