CREATE TABLE workflow_twins (
  name TEXT PRIMARY KEY,
  version BIGINT NOT NULL,
  document TEXT NOT NULL,
  base TEXT,
  digest TEXT NOT NULL,
  owner TEXT NOT NULL,
  owner_name TEXT NOT NULL,
  state TEXT NOT NULL,
  programs TEXT NOT NULL,
  created BIGINT NOT NULL,
  applied BIGINT NOT NULL,
  cpu BIGINT NOT NULL,
  wall BIGINT NOT NULL
);
CREATE TABLE workflow_versions (
  twin TEXT NOT NULL,
  version BIGINT NOT NULL,
  document TEXT NOT NULL,
  base TEXT,
  programs TEXT NOT NULL,
  applied_by TEXT NOT NULL,
  applied BIGINT NOT NULL,
  PRIMARY KEY (twin, version)
);
CREATE TABLE workflow_troubles (
  twin TEXT NOT NULL,
  part TEXT NOT NULL,
  trouble TEXT NOT NULL,
  since BIGINT NOT NULL,
  PRIMARY KEY (twin, part)
);
CREATE TABLE workflow_sources (
  twin TEXT NOT NULL,
  source TEXT NOT NULL,
  watch TEXT NOT NULL,
  next_arrival BIGINT NOT NULL,
  next_month BIGINT,
  PRIMARY KEY (twin, source)
);
CREATE UNIQUE INDEX workflow_sources_watch ON workflow_sources (watch);
CREATE TABLE workflow_observations (
  id TEXT PRIMARY KEY,
  twin TEXT NOT NULL,
  source TEXT NOT NULL,
  name TEXT NOT NULL,
  bytes BIGINT NOT NULL,
  adler32 TEXT NOT NULL,
  month BIGINT,
  state TEXT NOT NULL,
  reason TEXT,
  arrival BIGINT,
  dataset TEXT,
  did TEXT,
  registered BIGINT NOT NULL,
  ready BIGINT NOT NULL,
  place BIGINT NOT NULL,
  seen BIGINT NOT NULL,
  settled BIGINT
);
CREATE INDEX workflow_observations_state ON workflow_observations (twin, source, state, place);
CREATE INDEX workflow_observations_arrival ON workflow_observations (twin, source, arrival);
CREATE INDEX workflow_observations_dataset ON workflow_observations (dataset);
CREATE TABLE workflow_values (
  twin TEXT NOT NULL,
  source TEXT NOT NULL,
  month BIGINT NOT NULL,
  value BIGINT NOT NULL,
  arrival BIGINT NOT NULL,
  PRIMARY KEY (twin, source, month)
);
CREATE TABLE workflow_runs (
  uid TEXT PRIMARY KEY,
  twin TEXT NOT NULL,
  model TEXT NOT NULL,
  arrival BIGINT NOT NULL,
  issue BIGINT NOT NULL,
  attempt BIGINT NOT NULL,
  version BIGINT NOT NULL,
  state TEXT NOT NULL,
  reason TEXT,
  exit_code BIGINT,
  site TEXT,
  why TEXT,
  outcome TEXT,
  log TEXT,
  started BIGINT NOT NULL,
  submitted BIGINT,
  ended BIGINT,
  cpu BIGINT NOT NULL,
  wall BIGINT NOT NULL
);
CREATE UNIQUE INDEX workflow_runs_arrival ON workflow_runs (twin, model, arrival);
CREATE TABLE workflow_products (
  twin TEXT NOT NULL,
  product TEXT NOT NULL,
  arrival BIGINT NOT NULL,
  issue BIGINT NOT NULL,
  run TEXT NOT NULL,
  did TEXT NOT NULL,
  name TEXT NOT NULL,
  bytes BIGINT NOT NULL,
  adler32 TEXT NOT NULL,
  dataset TEXT NOT NULL,
  ready BIGINT NOT NULL,
  PRIMARY KEY (twin, product, arrival)
);
CREATE INDEX workflow_products_dataset ON workflow_products (dataset);
CREATE TABLE workflow_forecasts (
  twin TEXT NOT NULL,
  product TEXT NOT NULL,
  issue BIGINT NOT NULL,
  lead BIGINT NOT NULL,
  target BIGINT NOT NULL,
  mean BIGINT NOT NULL,
  lower80 BIGINT NOT NULL,
  upper80 BIGINT NOT NULL,
  lower95 BIGINT NOT NULL,
  upper95 BIGINT NOT NULL,
  PRIMARY KEY (twin, product, issue, lead)
);
CREATE INDEX workflow_forecasts_target ON workflow_forecasts (twin, product, target);
CREATE TABLE workflow_scores (
  twin TEXT NOT NULL,
  product TEXT NOT NULL,
  lead BIGINT NOT NULL,
  pairs BIGINT NOT NULL,
  model TEXT NOT NULL,
  persistence TEXT NOT NULL,
  climatology TEXT NOT NULL,
  PRIMARY KEY (twin, product, lead)
);
CREATE TABLE workflow_alerts (
  id TEXT PRIMARY KEY,
  twin TEXT NOT NULL,
  alert TEXT NOT NULL,
  product TEXT NOT NULL,
  severity TEXT NOT NULL,
  message TEXT NOT NULL,
  issue BIGINT NOT NULL,
  lead BIGINT NOT NULL,
  target BIGINT NOT NULL,
  anomaly BIGINT NOT NULL,
  probability BIGINT NOT NULL,
  run TEXT NOT NULL,
  raised BIGINT NOT NULL,
  ended BIGINT
);
CREATE INDEX workflow_alerts_twin ON workflow_alerts (twin, alert, issue);
