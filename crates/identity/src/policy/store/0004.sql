CREATE TABLE policy_scope_policies (
    id BIGINT NOT NULL PRIMARY KEY,
    description TEXT NOT NULL,
    rule TEXT NOT NULL,
    matching TEXT NOT NULL,
    account TEXT,
    group_id TEXT,
    scopes TEXT NOT NULL,
    created BIGINT NOT NULL,
    updated BIGINT NOT NULL,
    deleted BIGINT NOT NULL,
    changed BIGINT NOT NULL
);
CREATE INDEX policy_scope_policies_changed ON policy_scope_policies (changed);
INSERT INTO policy_scope_policies (id, description, rule, matching, scopes, created, updated, deleted, changed)
VALUES (1, 'Default Permit ALL policy', 'PERMIT', 'EQ', '', 0, 0, 0, 1);
