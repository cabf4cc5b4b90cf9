//! Groups, memberships, and requests for them.

use dte_base::time::Timestamp;
use dte_store::{Error, Row, Tx, params, values};

use crate::policy::groups::{GroupRecord, GroupRequest, Membership, RequestStatus};
use crate::policy::model::membership::State;

const GROUP: &str = "id, path, description, managers, created, modified, deleted, changed";

fn group(row: &Row) -> Result<GroupRecord, Error> {
    Ok(GroupRecord {
        id: row.get(0)?,
        path: row.get(1)?,
        description: row.get(2)?,
        managers: row.get::<String>(3)?.split_whitespace().map(str::to_owned).collect(),
        created: row.get(4)?,
        modified: row.get(5)?,
        deleted: row.get::<Option<Timestamp>>(6)?.is_some(),
    })
}

pub(crate) fn groups_after(tx: &mut Tx<'_>, version: i64) -> Result<Vec<GroupRecord>, Error> {
    tx.query(&format!("SELECT {GROUP} FROM policy_groups WHERE changed > ?1"), &params![version], group)
}

/// A group that is there.
pub(crate) fn group_by_id(tx: &mut Tx<'_>, id: &str) -> Result<Option<GroupRecord>, Error> {
    let sql = format!("SELECT {GROUP} FROM policy_groups WHERE id = ?1 AND deleted IS NULL");
    tx.query_opt(&sql, &params![id], group)
}

pub(crate) fn group_by_path(tx: &mut Tx<'_>, path: &str) -> Result<Option<GroupRecord>, Error> {
    let sql = format!("SELECT {GROUP} FROM policy_groups WHERE path = ?1 AND deleted IS NULL");
    tx.query_opt(&sql, &params![path], group)
}

pub(crate) fn insert_group(tx: &mut Tx<'_>, group: &GroupRecord, version: i64) -> Result<(), Error> {
    let row = values![
        &group.id,
        &group.path,
        &group.description,
        group.managers.join(" "),
        group.created,
        group.modified,
        version
    ];
    let columns = ["id", "path", "description", "managers", "created", "modified", "changed"];
    tx.insert_many("policy_groups", &columns, &[row]).map(drop)
}

pub(crate) fn update_group(tx: &mut Tx<'_>, group: &GroupRecord, version: i64) -> Result<(), Error> {
    let sql = "UPDATE policy_groups SET description = ?2, managers = ?3, modified = ?4, changed = ?5 WHERE id = ?1";
    let managers = group.managers.join(" ");
    tx.execute(sql, &params![&group.id, &group.description, managers, group.modified, version]).map(drop)
}

/// Whether there are groups beneath this one.
pub(crate) fn has_children(tx: &mut Tx<'_>, path: &str) -> Result<bool, Error> {
    let sql =
        "SELECT id FROM policy_groups WHERE substr(path, 1, CAST(?2 AS INTEGER)) = ?1 AND deleted IS NULL LIMIT 1";
    let beneath = format!("{path}/");
    let range = params![&beneath, beneath.len()];
    tx.query_opt(sql, &range, |row| row.get::<String>(0)).map(|found| found.is_some())
}

/// Ends a group and all memberships in it.
pub(crate) fn delete_group(tx: &mut Tx<'_>, id: &str, now: Timestamp, version: i64) -> Result<(), Error> {
    tx.execute("UPDATE policy_groups SET deleted = ?2, changed = ?3 WHERE id = ?1", &params![id, now, version])?;
    let sql =
        "UPDATE policy_members SET state = 'left', since = ?2, changed = ?3 WHERE group_id = ?1 AND state <> 'left'";
    tx.execute(sql, &params![id, now, version])?;
    let sql = "UPDATE policy_group_requests SET status = 'REJECTED', motivation = 'the group is gone', updated = ?2
               WHERE group_id = ?1 AND status = 'PENDING'";
    tx.execute(sql, &params![id, now]).map(drop)
}

const MEMBER: &str = "group_id, name, role, state, since, expires";

fn member(row: &Row) -> Result<Membership, Error> {
    let state = row.get::<String>(3)?;
    Ok(Membership {
        group_id: row.get(0)?,
        name: row.get(1)?,
        role: row.get(2)?,
        state: State::named(&state).ok_or_else(|| Error::Invalid(format!("{state:?} is no state of a membership")))?,
        since: row.get(4)?,
        expires: row.get(5)?,
    })
}

pub(crate) fn members_after(tx: &mut Tx<'_>, version: i64) -> Result<Vec<Membership>, Error> {
    tx.query(&format!("SELECT {MEMBER} FROM policy_members WHERE changed > ?1"), &params![version], member)
}

/// All memberships of a group, also those that are over.
pub(crate) fn members_of(tx: &mut Tx<'_>, group_id: &str) -> Result<Vec<Membership>, Error> {
    let sql = format!("SELECT {MEMBER} FROM policy_members WHERE group_id = ?1 ORDER BY name, role");
    tx.query(&sql, &params![group_id], member)
}

pub(crate) fn membership(tx: &mut Tx<'_>, group_id: &str, name: &str, role: &str) -> Result<Option<Membership>, Error> {
    let sql = format!("SELECT {MEMBER} FROM policy_members WHERE group_id = ?1 AND name = ?2 AND role = ?3");
    tx.query_opt(&sql, &params![group_id, name, role], member)
}

pub(crate) fn put_members(tx: &mut Tx<'_>, members: &[Membership], version: i64) -> Result<(), Error> {
    let columns = ["group_id", "name", "role", "state", "since", "expires", "changed"];
    let rows: Vec<_> = members
        .iter()
        .map(|m| values![&m.group_id, &m.name, &m.role, m.state.name(), m.since, m.expires, version])
        .collect();
    tx.upsert_many("policy_members", &columns, &["group_id", "name", "role"], &rows).map(drop)
}

const REQUEST: &str = "r.id, r.group_id, g.path, r.name, r.notes, r.status, r.motivation, r.created, r.updated";

fn request(row: &Row) -> Result<GroupRequest, Error> {
    let status = row.get::<String>(5)?;
    Ok(GroupRequest {
        id: row.get(0)?,
        group_id: row.get(1)?,
        group_path: row.get(2)?,
        name: row.get(3)?,
        notes: row.get(4)?,
        status: RequestStatus::named(&status)
            .ok_or_else(|| Error::Invalid(format!("{status:?} is no status of a request")))?,
        motivation: row.get(6)?,
        created: row.get(7)?,
        updated: row.get(8)?,
    })
}

pub(crate) fn insert_request(tx: &mut Tx<'_>, request: &GroupRequest) -> Result<(), Error> {
    let columns = ["id", "group_id", "name", "notes", "status", "created", "updated"];
    let row = values![
        &request.id,
        &request.group_id,
        &request.name,
        &request.notes,
        request.status.name(),
        request.created,
        request.updated
    ];
    tx.insert_many("policy_group_requests", &columns, &[row]).map(drop)
}

pub(crate) fn request_by_id(tx: &mut Tx<'_>, id: &str) -> Result<Option<GroupRequest>, Error> {
    let sql = format!(
        "SELECT {REQUEST} FROM policy_group_requests r JOIN policy_groups g ON g.id = r.group_id WHERE r.id = ?1"
    );
    tx.query_opt(&sql, &params![id], request)
}

/// Which requests a list shows.
#[derive(Clone, Debug, Default)]
pub(crate) struct RequestFilter {
    pub(crate) name: Option<String>,
    pub(crate) group_path: Option<String>,
    pub(crate) status: Option<RequestStatus>,
}

/// Requests after the one of this id, in the order in which they came.
pub(crate) fn requests(
    tx: &mut Tx<'_>,
    filter: &RequestFilter,
    after: &str,
    limit: usize,
) -> Result<Vec<GroupRequest>, Error> {
    let mut sql = format!(
        "SELECT {REQUEST} FROM policy_group_requests r JOIN policy_groups g ON g.id = r.group_id WHERE r.id > ?1"
    );
    let mut params = vec![dte_store::Value::from(after)];
    let mut also = |column: &str, value: Option<&str>| {
        if let Some(value) = value {
            params.push(value.into());
            sql.push_str(&format!(" AND {column} = ?{}", params.len()));
        }
    };
    also("r.name", filter.name.as_deref());
    also("g.path", filter.group_path.as_deref());
    also("r.status", filter.status.map(RequestStatus::name));
    params.push(limit.into());
    sql.push_str(&format!(" ORDER BY r.id LIMIT ?{}", params.len()));
    tx.query(&sql, &params, request)
}

pub(crate) fn decide_request(
    tx: &mut Tx<'_>,
    id: &str,
    status: RequestStatus,
    motivation: Option<&str>,
    by: &str,
    now: Timestamp,
) -> Result<(), Error> {
    let sql =
        "UPDATE policy_group_requests SET status = ?2, motivation = ?3, decided_by = ?4, updated = ?5 WHERE id = ?1";
    let motivation = motivation.map(str::to_owned);
    tx.execute(sql, &params![id, status.name(), motivation, by, now]).map(drop)
}

pub(crate) fn delete_request(tx: &mut Tx<'_>, id: &str) -> Result<(), Error> {
    tx.execute("DELETE FROM policy_group_requests WHERE id = ?1", &params![id]).map(drop)
}

/// Ends all memberships of an account, and its open requests.
pub(crate) fn leave_all(tx: &mut Tx<'_>, name: &str, now: Timestamp, version: i64) -> Result<(), Error> {
    let sql = "UPDATE policy_members SET state = 'left', since = ?2, changed = ?3 WHERE name = ?1 AND state <> 'left'";
    tx.execute(sql, &params![name, now, version])?;
    tx.execute("DELETE FROM policy_group_requests WHERE name = ?1 AND status = 'PENDING'", &params![name]).map(drop)
}
