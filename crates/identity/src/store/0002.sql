-- `group` is a word of SQL.
ALTER TABLE identity_bans ADD COLUMN in_group TEXT;
