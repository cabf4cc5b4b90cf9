CREATE TABLE event_log (
    seq SERIAL_ID,
    id TEXT NOT NULL,
    type TEXT NOT NULL,
    source TEXT NOT NULL,
    subject TEXT NOT NULL,
    time BIGINT NOT NULL,
    data TEXT NOT NULL,
    request_id TEXT
);
CREATE TABLE event_outbox (
    place SERIAL_ID,
    id TEXT NOT NULL,
    type TEXT NOT NULL,
    source TEXT NOT NULL,
    subject TEXT NOT NULL,
    time BIGINT NOT NULL,
    data TEXT NOT NULL,
    request_id TEXT
);
CREATE TABLE event_last (one BIGINT PRIMARY KEY, seq BIGINT NOT NULL);
INSERT INTO event_last VALUES (1, 0);
CREATE TABLE event_offset (consumer TEXT PRIMARY KEY, seq BIGINT NOT NULL, moved BIGINT NOT NULL, error TEXT);
