CREATE TABLE accounting_records (
    number SERIAL_ID,
    id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    account TEXT NOT NULL,
    twin TEXT NOT NULL,
    scope TEXT NOT NULL,
    site TEXT NOT NULL,
    subject TEXT NOT NULL,
    started BIGINT NOT NULL,
    charged BIGINT NOT NULL,
    cpu_micros BIGINT NOT NULL,
    wall_micros BIGINT NOT NULL,
    core_micros BIGINT NOT NULL,
    max_rss_bytes BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    cost_nano BIGINT NOT NULL
);
CREATE INDEX accounting_records_account ON accounting_records (account, number);
CREATE INDEX accounting_records_twin ON accounting_records (twin, number);
CREATE INDEX accounting_records_charged ON accounting_records (charged);
-- The sums that summaries are made of, kept with every record.
CREATE TABLE accounting_days (
    day TEXT NOT NULL,
    account TEXT NOT NULL,
    twin TEXT NOT NULL,
    scope TEXT NOT NULL,
    kind TEXT NOT NULL,
    records BIGINT NOT NULL,
    cpu_micros BIGINT NOT NULL,
    wall_micros BIGINT NOT NULL,
    core_micros BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    byte_minutes BIGINT NOT NULL,
    cost_nano BIGINT NOT NULL,
    PRIMARY KEY (day, account, twin, scope, kind)
);
CREATE INDEX accounting_days_account ON accounting_days (account, day);
-- Whose a scope is: the one twin whose runs write there. Empty when several do.
CREATE TABLE accounting_scopes (scope TEXT PRIMARY KEY, twin TEXT NOT NULL);
