-- What a pod takes of its owner's quota, and how often its UID was another pod before.
ALTER TABLE offload_pods ADD COLUMN cpu_millis BIGINT NOT NULL DEFAULT 0;
ALTER TABLE offload_pods ADD COLUMN memory_bytes BIGINT NOT NULL DEFAULT 0;
ALTER TABLE offload_pods ADD COLUMN run BIGINT NOT NULL DEFAULT 0;
-- Of pods that are alive: how many there are at each site, and whose.
CREATE INDEX offload_pods_alive ON offload_pods (site, state, issuer, subject) WHERE finished IS NULL;
