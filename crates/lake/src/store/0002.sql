-- Who may read the files of a scope; a scope without rows is open to all accounts.
CREATE TABLE lake_scope_readers (
    scope TEXT NOT NULL,
    reader TEXT NOT NULL,
    PRIMARY KEY (scope, reader)
);
