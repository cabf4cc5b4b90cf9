-- What administrators say of accounts: attributes, other identities of the same person, how much may be locked where.
ALTER TABLE lake_accounts ADD COLUMN suspended_at BIGINT;
ALTER TABLE lake_accounts ADD COLUMN deleted_at BIGINT;

CREATE TABLE lake_account_attributes (
    account TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (account, key)
);

CREATE TABLE lake_identities (
    identity TEXT NOT NULL,
    kind TEXT NOT NULL,
    account TEXT NOT NULL,
    email TEXT,
    is_default BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (identity, kind, account)
);
CREATE INDEX lake_identities_account ON lake_identities (account, identity);

-- Bytes that an account may lock; -1 is as many as it likes.
CREATE TABLE lake_account_limits (
    account TEXT NOT NULL,
    rse TEXT NOT NULL,
    bytes BIGINT NOT NULL,
    PRIMARY KEY (account, rse)
);

CREATE TABLE lake_global_limits (
    account TEXT NOT NULL,
    expression TEXT NOT NULL,
    bytes BIGINT NOT NULL,
    PRIMARY KEY (account, expression)
);

-- The account is an administrator's, or somebody approved the rule: limits do not matter.
ALTER TABLE lake_rules ADD COLUMN ignore_account_limit BIGINT NOT NULL DEFAULT 0;
-- The rule that takes its place; the subscription that made it; when its data is old enough to go.
ALTER TABLE lake_rules ADD COLUMN child_rule TEXT;
ALTER TABLE lake_rules ADD COLUMN subscription TEXT;
ALTER TABLE lake_rules ADD COLUMN eol_at BIGINT;
CREATE INDEX lake_rules_child ON lake_rules (child_rule) WHERE child_rule IS NOT NULL;
CREATE INDEX lake_rules_subscription ON lake_rules (subscription, id) WHERE subscription IS NOT NULL;

-- Accounts without limits may lock nothing.
ALTER TABLE lake_turn ADD COLUMN require_limits BIGINT NOT NULL DEFAULT 0;
