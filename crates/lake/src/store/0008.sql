-- Whether the engine or one of its administrators has set a protocol: only at such ones tokens of the engine's edge are given.
ALTER TABLE lake_rse_protocols ADD COLUMN by_engine BIGINT NOT NULL DEFAULT 0;
UPDATE lake_rse_protocols SET by_engine = 1 WHERE rse = 'LOCAL' AND prefix = '/dav/local/' AND extended IS NULL;
