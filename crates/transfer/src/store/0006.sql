-- A storage has one name: https for davs, http for dav.
UPDATE transfer_files SET source_se = 'https' || substr(source_se, 5) WHERE source_se LIKE 'davs://%';
UPDATE transfer_files SET source_se = 'http' || substr(source_se, 4) WHERE source_se LIKE 'dav://%';
UPDATE transfer_files SET source_se = rtrim(source_se, '.') WHERE source_se LIKE '%.';
UPDATE transfer_files SET dest_se = 'https' || substr(dest_se, 5) WHERE dest_se LIKE 'davs://%';
UPDATE transfer_files SET dest_se = 'http' || substr(dest_se, 4) WHERE dest_se LIKE 'dav://%';
UPDATE transfer_files SET dest_se = rtrim(dest_se, '.') WHERE dest_se LIKE '%.';

-- What was said under both names: what was said under the one stays.
UPDATE transfer_banned_storages SET storage = 'https' || substr(storage, 5) WHERE storage LIKE 'davs://%'
    AND NOT EXISTS (SELECT 1 FROM transfer_banned_storages o WHERE o.storage = 'https' || substr(transfer_banned_storages.storage, 5));
UPDATE transfer_banned_storages SET storage = 'http' || substr(storage, 4) WHERE storage LIKE 'dav://%'
    AND NOT EXISTS (SELECT 1 FROM transfer_banned_storages o WHERE o.storage = 'http' || substr(transfer_banned_storages.storage, 4));
DELETE FROM transfer_banned_storages WHERE storage LIKE 'davs://%' OR storage LIKE 'dav://%';
UPDATE transfer_storages SET storage = 'https' || substr(storage, 5) WHERE storage LIKE 'davs://%'
    AND NOT EXISTS (SELECT 1 FROM transfer_storages o WHERE o.storage = 'https' || substr(transfer_storages.storage, 5));
UPDATE transfer_storages SET storage = 'http' || substr(storage, 4) WHERE storage LIKE 'dav://%'
    AND NOT EXISTS (SELECT 1 FROM transfer_storages o WHERE o.storage = 'http' || substr(transfer_storages.storage, 4));
DELETE FROM transfer_storages WHERE storage LIKE 'davs://%' OR storage LIKE 'dav://%';
UPDATE transfer_links SET source = 'https' || substr(source, 5) WHERE source LIKE 'davs://%'
    AND NOT EXISTS (SELECT 1 FROM transfer_links o WHERE o.source = 'https' || substr(transfer_links.source, 5) AND o.destination = transfer_links.destination);
UPDATE transfer_links SET source = 'http' || substr(source, 4) WHERE source LIKE 'dav://%'
    AND NOT EXISTS (SELECT 1 FROM transfer_links o WHERE o.source = 'http' || substr(transfer_links.source, 4) AND o.destination = transfer_links.destination);
DELETE FROM transfer_links WHERE source LIKE 'davs://%' OR source LIKE 'dav://%';
UPDATE transfer_links SET destination = 'https' || substr(destination, 5) WHERE destination LIKE 'davs://%'
    AND NOT EXISTS (SELECT 1 FROM transfer_links o WHERE o.destination = 'https' || substr(transfer_links.destination, 5) AND o.source = transfer_links.source);
UPDATE transfer_links SET destination = 'http' || substr(destination, 4) WHERE destination LIKE 'dav://%'
    AND NOT EXISTS (SELECT 1 FROM transfer_links o WHERE o.destination = 'http' || substr(transfer_links.destination, 4) AND o.source = transfer_links.source);
DELETE FROM transfer_links WHERE destination LIKE 'davs://%' OR destination LIKE 'dav://%';
UPDATE transfer_vo_shares SET source = 'https' || substr(source, 5) WHERE source LIKE 'davs://%'
    AND NOT EXISTS (SELECT 1 FROM transfer_vo_shares o WHERE o.source = 'https' || substr(transfer_vo_shares.source, 5) AND o.destination = transfer_vo_shares.destination AND o.vo = transfer_vo_shares.vo);
UPDATE transfer_vo_shares SET source = 'http' || substr(source, 4) WHERE source LIKE 'dav://%'
    AND NOT EXISTS (SELECT 1 FROM transfer_vo_shares o WHERE o.source = 'http' || substr(transfer_vo_shares.source, 4) AND o.destination = transfer_vo_shares.destination AND o.vo = transfer_vo_shares.vo);
DELETE FROM transfer_vo_shares WHERE source LIKE 'davs://%' OR source LIKE 'dav://%';
UPDATE transfer_vo_shares SET destination = 'https' || substr(destination, 5) WHERE destination LIKE 'davs://%'
    AND NOT EXISTS (SELECT 1 FROM transfer_vo_shares o WHERE o.destination = 'https' || substr(transfer_vo_shares.destination, 5) AND o.source = transfer_vo_shares.source AND o.vo = transfer_vo_shares.vo);
UPDATE transfer_vo_shares SET destination = 'http' || substr(destination, 4) WHERE destination LIKE 'dav://%'
    AND NOT EXISTS (SELECT 1 FROM transfer_vo_shares o WHERE o.destination = 'http' || substr(transfer_vo_shares.destination, 4) AND o.source = transfer_vo_shares.source AND o.vo = transfer_vo_shares.vo);
DELETE FROM transfer_vo_shares WHERE destination LIKE 'davs://%' OR destination LIKE 'dav://%';

-- What the optimiser found is found again.
DELETE FROM transfer_optimum WHERE source LIKE 'dav%' OR destination LIKE 'dav%';
UPDATE transfer_rules_version SET version = version + 1;
