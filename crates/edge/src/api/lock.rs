//! LOCK and UNLOCK.

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use dte_base::id::new_id;
use dte_base::time::Timestamp;
use dte_http::Problem;
use dte_identity::StorageOp;
use dte_protocol_webdav::DAV;
use dte_protocol_webdav::header::Depth;
use dte_protocol_webdav::lock::{
    ActiveLock, LockRequest, answer as lock_answer, discovery, lock_token, parse_lock, timeout,
};
use dte_protocol_webdav::multistatus::{CONTENT_TYPE as XML, is_sound};
use dte_protocol_webdav::xml::Name;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};

use super::asked::{Asked, Place, on_disk};
use super::get::{answer, value};
use super::propfind::whole;
use super::refusal::{bad_header, bad_xml, condition, locked};
use crate::disk::area::Outcome;
use crate::disk::locks::Denied;
use crate::disk::part::{Part, Terms};
use crate::disk::{Area, Fault};
use crate::model::lock::{Lock, size_of_owner, term};

const LOCK_TOKEN: HeaderName = HeaderName::from_static("lock-token");
/// Longest text of an owner that is kept, together with its language.
const LONGEST_OWNER: usize = 2_048;
/// Longest path that is locked; filesystems take no longer one either.
const LONGEST_PATH: usize = 4_096;

/// A lock keeps others from writing, so it needs the right to replace what is there.
pub async fn lock(asked: Asked, body: Body) -> Result<Response, Problem> {
    let place = asked.place_in_area()?;
    asked.may(StorageOp::Modify, &place.full, false)?;
    let body = whole(body).await?;
    let until = Timestamp::now() + term(timeout(&asked.headers).map_err(bad_header)?);
    match parse_lock(&body).map_err(bad_xml)? {
        Some(request) => give(&asked, place, request, until).await,
        None => refresh(&asked, place, until).await,
    }
}

async fn give(asked: &Asked, place: Place, request: LockRequest, until: Timestamp) -> Result<Response, Problem> {
    let is_deep = match Depth::of(&asked.headers).map_err(bad_header)? {
        None | Some(Depth::Infinity) => true,
        Some(Depth::Zero) => false,
        Some(Depth::One) => return Err(Problem::bad_request("Depth must be 0 or infinity here")),
    };
    check_size(&place, &request)?;
    let mut lock = Lock {
        token: format!("urn:uuid:{}", new_id()),
        path: place.path.clone(),
        is_folder: false,
        is_deep,
        scope: request.scope,
        holder: asked.principal.user_ref(),
        owner: request.owner,
        expires: until,
    };
    let pass = asked.pass.clone();
    let terms = Terms { pass, ..Terms::default() };
    let wants_folder = place.full.is_collection();
    let shared = place.area.clone();
    let work = on_disk(move || {
        let area = &place.area;
        if let Some(other) = area.locks.hold()?.all().find(|other| other.conflicts_with(&lock)) {
            return Ok(Err(Denied::Conflict(other.path.clone())));
        }
        let (facts, outcome) = match area.look(&lock.path)? {
            Some(facts) => (facts, Outcome::Replaced),
            None => (make_empty(&place, &terms)?, Outcome::Created),
        };
        if wants_folder && !facts.is_folder() {
            return Err(Fault::Os(rustix::io::Errno::NOTDIR));
        }
        lock.is_folder = facts.is_folder();
        Ok(area.locks.add(lock.clone()).map(|()| (lock, outcome)))
    });
    match work.await? {
        Ok((lock, outcome)) => {
            let status = if outcome == Outcome::Created { StatusCode::CREATED } else { StatusCode::OK };
            Ok(shown(asked, &shared, status, &lock, true))
        }
        Err(denied) => Err(explain(&shared, denied)),
    }
}

/// What is kept of a lock is small, and can stand in every answer.
fn check_size(place: &Place, request: &LockRequest) -> Result<(), Problem> {
    if place.full.plain().len() > LONGEST_PATH {
        return Err(Problem::bad_request(format!("a path that is locked has at most {LONGEST_PATH} bytes")));
    }
    let Some(owner) = &request.owner else { return Ok(()) };
    if size_of_owner(owner) > LONGEST_OWNER {
        return Err(Problem::too_large(format!("an owner of a lock has at most {LONGEST_OWNER} bytes")));
    }
    if !is_sound(&Name::new(DAV, "owner"), owner) {
        return Err(Problem::bad_request("the owner of the lock is not XML that could be given back"));
    }
    Ok(())
}

/// A name that nothing has is locked by giving it to an empty file (RFC 4918 section 7.3). Its folder must be there.
fn make_empty(place: &Place, terms: &Terms) -> Result<crate::model::facts::Facts, Fault> {
    if place.full.is_collection() || place.area.look(&place.path.parent().unwrap_or_default())?.is_none() {
        return Err(Fault::NoParent);
    }
    Ok(Part::create(place.area.clone(), &[])?.publish(&place.path, terms)?.facts)
}

async fn refresh(asked: &Asked, place: Place, until: Timestamp) -> Result<Response, Problem> {
    let [token] = asked.pass.tokens.as_slice() else {
        return Err(Problem::bad_request("a LOCK without a body names one lock in the header If, to refresh it"));
    };
    let (token, person) = (token.clone(), asked.principal.user_ref());
    let shared = place.area.clone();
    let work = on_disk(move || {
        let area = &place.area;
        let is_there = area
            .locks
            .hold()?
            .all()
            .any(|lock| lock.token == token && lock.covers(&place.path) && lock.is_held_by(&person));
        Ok(if is_there { area.locks.prolong(&token, until) } else { Ok(None) })
    });
    match work.await? {
        Ok(Some(lock)) => Ok(shown(asked, &shared, StatusCode::OK, &lock, false)),
        Ok(None) => Err(condition("you hold no such lock here")),
        Err(denied) => Err(explain(&shared, denied)),
    }
}

pub async fn unlock(asked: Asked) -> Result<Response, Problem> {
    let place = asked.place_in_area()?;
    asked.may(StorageOp::Modify, &place.full, false)?;
    let token = lock_token(&asked.headers).map_err(bad_header)?;
    let token = token.ok_or_else(|| Problem::bad_request("UNLOCK needs the header Lock-Token"))?.to_owned();
    let (area, person, is_admin) = (place.area.clone(), asked.principal.user_ref(), asked.principal.is_admin());
    let work = on_disk(move || {
        let found = area.locks.hold()?.all().find(|lock| lock.token == token && lock.covers(&place.path)).cloned();
        Ok(match found {
            None => Err(Problem::conflict("there is no such lock here")),
            // Somebody must be able to take away a lock that was left behind.
            Some(lock) if !is_admin && !lock.is_held_by(&person) => {
                Err(Problem::forbidden("the lock is somebody else's"))
            }
            Some(lock) => area.locks.remove(&lock.token).map_err(|denied| explain(&area, denied)),
        })
    });
    work.await?.map(|()| StatusCode::NO_CONTENT.into_response())
}

fn explain(area: &Area, denied: Denied) -> Problem {
    match denied {
        Denied::Conflict(path) => locked("another lock is in the way", "no-conflicting-lock", &area.full(&path)),
        Denied::TooMany => Problem::insufficient_storage("there are too many locks already; unlock some, or wait"),
        Denied::Os(error) => Fault::Os(error).into(),
    }
}

/// Locks as `lockdiscovery` shows them to this client: as many as there is room for in so many bytes, but one at least. Whoever
/// may not read what is there does not hear what the holders say of themselves.
pub fn shown_locks(asked: &Asked, area: &Area, locks: &[&Lock], with_owners: bool, room: usize) -> String {
    let now = Timestamp::now();
    let mut out = String::new();
    for lock in locks {
        let root = asked.href(&area.full(&lock.path).as_collection(lock.is_folder));
        let one = discovery([ActiveLock {
            token: &lock.token,
            root: &root,
            scope: lock.scope,
            is_deep: lock.is_deep,
            owner: lock.owner.as_ref().filter(|_| with_owners),
            seconds_left: lock.expires.since(now).as_secs(),
        }]);
        if !out.is_empty() && out.len() + one.len() > room {
            break;
        }
        out.push_str(&one);
    }
    out
}

fn shown(asked: &Asked, area: &Area, status: StatusCode, lock: &Lock, is_new: bool) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(XML));
    if is_new {
        headers.insert(LOCK_TOKEN, value(format!("<{}>", lock.token)));
    }
    let body = lock_answer(&shown_locks(asked, area, &[lock], true, 0));
    answer(status, headers, Body::from(body))
}
