//! What administrators say of links, storages, VOs and activities, and what the optimiser found.

use std::collections::BTreeMap;

use dte_base::time::Timestamp;
use dte_store::{Error, Row, Tx, params};

use crate::model::rules::{ANY, LinkRule, Mode, Rules, StorageRule, VoShare};
use crate::store::COPY_QUEUE;

/// Changes that are told.
const MOST_TOLD: i64 = 100;

/// Grows with every change of the rules.
pub fn version(tx: &mut Tx<'_>) -> Result<i64, Error> {
    tx.query_one("SELECT version FROM transfer_rules_version WHERE one = 1", &[], |row| row.get(0))
}

/// The rules changed: whoever keeps them reads them again, and what waits may have its turn.
pub(super) fn changed(tx: &mut Tx<'_>) -> Result<(), Error> {
    tx.execute("UPDATE transfer_rules_version SET version = version + 1 WHERE one = 1", &[])?;
    tx.look_again(COPY_QUEUE);
    Ok(())
}

/// Everything that the scheduler obeys.
pub fn all(tx: &mut Tx<'_>, per_area: usize) -> Result<Rules, Error> {
    let storages = tx.query(
        "SELECT storage, inbound_max_active, outbound_max_active, inbound_max_throughput, outbound_max_throughput
         FROM transfer_storages",
        &[],
        |row| Ok((row.get::<String>(0)?, read_storage(row, 1)?)),
    )?;
    let best = tx.query("SELECT source, destination, active FROM transfer_optimum", &[], |row| {
        Ok(((row.get(0)?, row.get(1)?), row.get::<u32>(2)?))
    })?;
    let activities = activity_shares(tx)?.into_iter().filter(|shares| shares.active);
    Ok(Rules {
        links: links(tx)?,
        storages: storages.into_iter().collect(),
        vo_shares: vo_shares(tx)?,
        activity_shares: activities.map(|shares| (shares.vo, shares.weights)).collect(),
        best: best.into_iter().collect(),
        per_area,
    })
}

pub(super) fn read_storage(row: &Row, first: usize) -> Result<StorageRule, Error> {
    Ok(StorageRule {
        inbound_max_active: row.get(first)?,
        outbound_max_active: row.get(first + 1)?,
        inbound_max_throughput: row.get(first + 2)?,
        outbound_max_throughput: row.get(first + 3)?,
    })
}

pub fn links(tx: &mut Tx<'_>) -> Result<Vec<LinkRule>, Error> {
    let sql = "SELECT name, source, destination, min_active, max_active, mode FROM transfer_links ORDER BY name";
    tx.query(sql, &[], |row| {
        let mode = Mode::from_number(row.get(5)?).ok_or(Error::Column { index: 5, wanted: "an optimiser mode" })?;
        Ok(LinkRule {
            name: row.get(0)?,
            source: row.get(1)?,
            destination: row.get(2)?,
            min_active: row.get(3)?,
            max_active: row.get(4)?,
            mode,
        })
    })
}

/// Writes a rule for a link; it takes the place of one of the same name or the same ends.
pub fn set_link(tx: &mut Tx<'_>, link: &LinkRule) -> Result<(), Error> {
    tx.execute(
        "DELETE FROM transfer_links WHERE name = ?1 OR (source = ?2 AND destination = ?3)",
        &params![&link.name, &link.source, &link.destination],
    )?;
    tx.execute(
        "INSERT INTO transfer_links (name, source, destination, min_active, max_active, mode) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        &params![
            &link.name,
            &link.source,
            &link.destination,
            link.min_active,
            link.max_active,
            link.mode.number()
        ],
    )?;
    changed(tx)
}

/// Removes a rule with the shares of its link. `false` when there is none.
pub fn forget_link(tx: &mut Tx<'_>, name: &str) -> Result<bool, Error> {
    tx.execute(
        "DELETE FROM transfer_vo_shares WHERE EXISTS (SELECT 1 FROM transfer_links l WHERE l.name = ?1
           AND l.source = transfer_vo_shares.source AND l.destination = transfer_vo_shares.destination)",
        &params![name],
    )?;
    let gone = tx.execute("DELETE FROM transfer_links WHERE name = ?1", &params![name])?;
    changed(tx)?;
    Ok(gone > 0)
}

pub fn vo_shares(tx: &mut Tx<'_>) -> Result<Vec<VoShare>, Error> {
    let sql = "SELECT source, destination, vo, share FROM transfer_vo_shares ORDER BY source, destination, vo";
    tx.query(sql, &[], |row| {
        Ok(VoShare { source: row.get(0)?, destination: row.get(1)?, vo: row.get(2)?, share: row.get(3)? })
    })
}

/// Writes a share. `false` when there is no rule for the link.
pub fn set_vo_share(tx: &mut Tx<'_>, share: &VoShare) -> Result<bool, Error> {
    let link = params![&share.source, &share.destination];
    let sql = "SELECT 1 FROM transfer_links WHERE source = ?1 AND destination = ?2";
    if tx.query_opt(sql, &link, |_| Ok(()))?.is_none() {
        return Ok(false);
    }
    tx.execute(
        "INSERT INTO transfer_vo_shares (source, destination, vo, share) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (source, destination, vo) DO UPDATE SET share = excluded.share",
        &params![&share.source, &share.destination, &share.vo, share.share],
    )?;
    changed(tx)?;
    Ok(true)
}

pub fn forget_vo_share(tx: &mut Tx<'_>, source: &str, destination: &str, vo: &str) -> Result<(), Error> {
    let sql = "DELETE FROM transfer_vo_shares WHERE source = ?1 AND destination = ?2 AND vo = ?3";
    tx.execute(sql, &params![source, destination, vo])?;
    changed(tx)
}

/// The shares of the activities of a VO.
#[derive(Clone, Debug, PartialEq)]
pub struct ActivityShares {
    pub vo: String,
    pub active: bool,
    pub weights: BTreeMap<String, f64>,
}

pub fn activity_shares(tx: &mut Tx<'_>) -> Result<Vec<ActivityShares>, Error> {
    tx.query("SELECT vo, active, shares FROM transfer_activity_shares ORDER BY vo", &[], |row| {
        let weights = serde_json::from_str(&row.get::<String>(2)?);
        let weights = weights.map_err(|_| Error::Column { index: 2, wanted: "weights of activities" })?;
        Ok(ActivityShares { vo: row.get(0)?, active: row.get(1)?, weights })
    })
}

/// The weights of activities that count for a VO.
pub(super) fn weights_of(tx: &mut Tx<'_>, vo: &str) -> Result<Option<BTreeMap<String, f64>>, Error> {
    let sql = "SELECT vo, shares FROM transfer_activity_shares WHERE active <> 0 AND (vo = ?1 OR vo = ?2)";
    let found = tx.query(sql, &params![vo, ANY], |row| {
        let weights = serde_json::from_str(&row.get::<String>(1)?);
        let weights = weights.map_err(|_| Error::Column { index: 1, wanted: "weights of activities" })?;
        Ok((row.get::<String>(0)?, weights))
    })?;
    Ok(found.into_iter().max_by_key(|(of, _)| of == vo).map(|(_, weights)| weights))
}

pub fn set_activity_shares(tx: &mut Tx<'_>, shares: &ActivityShares) -> Result<(), Error> {
    let weights = serde_json::to_string(&shares.weights).map_err(|error| Error::Invalid(error.to_string()))?;
    tx.execute(
        "INSERT INTO transfer_activity_shares (vo, active, shares) VALUES (?1, ?2, ?3)
         ON CONFLICT (vo) DO UPDATE SET active = excluded.active, shares = excluded.shares",
        &params![&shares.vo, shares.active, weights],
    )?;
    changed(tx)
}

pub fn forget_activity_shares(tx: &mut Tx<'_>, vo: &str) -> Result<(), Error> {
    tx.execute("DELETE FROM transfer_activity_shares WHERE vo = ?1", &params![vo])?;
    changed(tx)
}

/// Notes who changed what.
pub fn note(tx: &mut Tx<'_>, dn: &str, action: &str, config: &str, now: Timestamp) -> Result<(), Error> {
    let sql = "INSERT INTO transfer_config_audit (time, dn, action, config) VALUES (?1, ?2, ?3, ?4)";
    tx.execute(sql, &params![now, dn, action, config]).map(|_| ())
}

/// The last changes, the newest first: when, who, what, and to what.
pub fn changes(tx: &mut Tx<'_>) -> Result<Vec<(Timestamp, [String; 3])>, Error> {
    let sql = "SELECT time, dn, action, config FROM transfer_config_audit ORDER BY id DESC LIMIT ?1";
    tx.query(sql, &params![MOST_TOLD], |row| Ok((row.get(0)?, [row.get(1)?, row.get(2)?, row.get(3)?])))
}
