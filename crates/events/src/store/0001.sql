-- Folder watches as declared, with what they are doing.
CREATE TABLE events_watches (
    name TEXT PRIMARY KEY,
    -- Tells a watch from an earlier one of the same name.
    incarnation TEXT NOT NULL,
    owner TEXT NOT NULL,
    spec TEXT NOT NULL,
    created BIGINT NOT NULL,
    state TEXT NOT NULL,
    error TEXT,
    state_since BIGINT NOT NULL,
    published BIGINT NOT NULL,
    last_published BIGINT
);
-- What was last published under each name.
CREATE TABLE events_files (
    watch TEXT NOT NULL,
    name TEXT NOT NULL,
    size BIGINT NOT NULL,
    adler32 TEXT NOT NULL,
    modified BIGINT NOT NULL,
    inode BIGINT NOT NULL,
    revision BIGINT NOT NULL,
    event TEXT NOT NULL,
    PRIMARY KEY (watch, name)
);
-- Events that came from outside: finds duplicates, and keeps what the log has no column for.
CREATE TABLE events_published (
    source TEXT NOT NULL,
    id TEXT NOT NULL,
    event TEXT NOT NULL,
    publisher TEXT NOT NULL,
    attributes TEXT NOT NULL,
    accepted BIGINT NOT NULL,
    PRIMARY KEY (source, id)
);
CREATE UNIQUE INDEX events_published_event ON events_published (event);
CREATE INDEX events_published_accepted ON events_published (accepted);
CREATE TABLE events_subscriptions (
    id TEXT PRIMARY KEY,
    -- Account name of the subscriber, and the whole reference to act for them.
    owner TEXT NOT NULL,
    owner_reference TEXT NOT NULL,
    spec TEXT NOT NULL,
    -- The signing secret, sealed.
    secret BYTES,
    -- active, paused or disabled
    state TEXT NOT NULL,
    created BIGINT NOT NULL,
    -- Everything up to here is done with: delivered, of no interest, or a dead letter.
    position BIGINT NOT NULL,
    delivered BIGINT NOT NULL,
    retries BIGINT NOT NULL,
    -- Failed tries of the event after the position.
    failures BIGINT NOT NULL,
    last_error TEXT,
    last_delivered BIGINT
);
CREATE INDEX events_subscriptions_owner ON events_subscriptions (owner, id);
CREATE TABLE events_dead_letters (
    subscription TEXT NOT NULL,
    seq BIGINT NOT NULL,
    event TEXT NOT NULL,
    error TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    died BIGINT NOT NULL,
    PRIMARY KEY (subscription, seq)
);
