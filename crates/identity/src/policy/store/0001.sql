CREATE TABLE policy_meta (
    name TEXT NOT NULL PRIMARY KEY,
    number BIGINT NOT NULL
);
INSERT INTO policy_meta (name, number) VALUES ('version', 1);

CREATE TABLE policy_groups (
    id TEXT NOT NULL PRIMARY KEY,
    path TEXT NOT NULL,
    description TEXT NOT NULL,
    managers TEXT NOT NULL,
    created BIGINT NOT NULL,
    modified BIGINT NOT NULL,
    deleted BIGINT,
    changed BIGINT NOT NULL
);
CREATE UNIQUE INDEX policy_groups_path ON policy_groups (path) WHERE deleted IS NULL;
CREATE INDEX policy_groups_changed ON policy_groups (changed);

CREATE TABLE policy_members (
    group_id TEXT NOT NULL,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    state TEXT NOT NULL,
    since BIGINT NOT NULL,
    expires BIGINT,
    changed BIGINT NOT NULL,
    PRIMARY KEY (group_id, name, role)
);
CREATE INDEX policy_members_name ON policy_members (name);
CREATE INDEX policy_members_changed ON policy_members (changed);

CREATE TABLE policy_group_requests (
    id TEXT NOT NULL PRIMARY KEY,
    group_id TEXT NOT NULL,
    name TEXT NOT NULL,
    notes TEXT NOT NULL,
    status TEXT NOT NULL,
    motivation TEXT,
    decided_by TEXT,
    created BIGINT NOT NULL,
    updated BIGINT NOT NULL
);
CREATE INDEX policy_group_requests_name ON policy_group_requests (name, id);
CREATE INDEX policy_group_requests_group ON policy_group_requests (group_id, status, id);
