-- What an administrator says of storage elements (scheme://host).
CREATE TABLE transfer_storages (
    storage TEXT NOT NULL PRIMARY KEY,
    -- FULL, PULL, PUSH or NONE.
    tpc_support TEXT NOT NULL
);
