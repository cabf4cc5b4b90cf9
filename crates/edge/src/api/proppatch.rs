//! PROPPATCH: properties that clients leave with a file or folder.

use axum::body::Body;
use axum::response::Response;
use dte_http::Problem;
use dte_identity::StorageOp;
use dte_protocol_webdav::multistatus::{Multistatus, Value, is_sound};
use dte_protocol_webdav::propfind::{Change, parse_proppatch};
use dte_protocol_webdav::xml::Name;
use http::StatusCode;

use super::asked::{Asked, Place, on_disk};
use super::propfind::{whole, xml};
use super::refusal::bad_xml;
use crate::disk::{Fault, kept};
use crate::model::facts::{Facts, Kind};
use crate::model::kept::Refused;
use crate::model::lock::{Pass, Touch};

/// Each property is told what became of it, in the form that clients understand; the request itself is no failure.
pub async fn proppatch(asked: Asked, body: Body) -> Result<Response, Problem> {
    let place = asked.place_in_area()?;
    asked.may(StorageOp::Modify, &place.full, false)?;
    let body = whole(body).await?;
    let changes = parse_proppatch(&body).map_err(bad_xml)?;
    let full = place.full.clone();
    let mut names: Vec<Name> = Vec::new();
    for name in changes.iter().map(Change::name) {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    let pass = asked.pass.clone();
    let (facts, outcome) = on_disk(move || change(&place, &pass, &changes)).await?;
    let mut out = Multistatus::new();
    let href = asked.href(&full.as_collection(facts.is_folder()));
    match outcome {
        Ok(()) => {
            let done: Vec<(Name, Value)> = names.into_iter().map(|name| (name, Value::Empty)).collect();
            out.resource(&href, &done, &[]);
        }
        // All or nothing (RFC 4918 section 9.2).
        Err(blame) => {
            let (status, guilty) = match blame {
                Blame::Refused(Refused::Live(names)) => ("403 Forbidden", names),
                Blame::Refused(Refused::TooMany(names)) => ("507 Insufficient Storage", names),
                Blame::Unsound(names) => ("403 Forbidden", names),
                Blame::NoRoom => ("507 Insufficient Storage", names.clone()),
            };
            names.retain(|name| !guilty.contains(name));
            out.resource(&href, &[], &[(status, guilty), ("424 Failed Dependency", names)]);
        }
    }
    Ok(xml(StatusCode::MULTI_STATUS, out.finish()))
}

/// Why no property was changed.
enum Blame {
    Refused(Refused),
    NoRoom,
    /// Values that would spoil an answer.
    Unsound(Vec<Name>),
}

/// Values that cannot come back as they are. The reader refuses them already; this holds whatever it overlooks.
fn unsound(changes: &[Change]) -> Vec<Name> {
    let is_unsound = |change: &&Change| matches!(change, Change::Set(name, value) if !is_sound(name, value));
    let mut names: Vec<Name> = Vec::new();
    for name in changes.iter().filter(is_unsound).map(Change::name) {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

fn change(place: &Place, pass: &Pass, changes: &[Change]) -> Result<(Facts, Result<(), Blame>), Fault> {
    let area = &place.area;
    let facts = area.facts(&place.path)?;
    if facts.kind == Kind::Other || (place.full.is_collection() && !facts.is_folder()) {
        return Err(Fault::Os(rustix::io::Errno::NOENT));
    }
    let unsound = unsound(changes);
    if !unsound.is_empty() {
        return Ok((facts, Err(Blame::Unsound(unsound))));
    }
    let _held = area.unlocked(&[Touch::One(place.path.clone())], pass)?;
    // Of two changes at once neither is lost.
    let _turn = area.properties.lock();
    let file = area.root.open_read(&place.path)?;
    let mut present = kept::read(&file)?;
    if let Err(refused) = present.change(changes) {
        return Ok((facts, Err(Blame::Refused(refused))));
    }
    let is_first = !kept::are_used(&area.root);
    match kept::write(&area.root, &file, &present) {
        Ok(()) => {
            if area.treatment.fsync {
                rustix::fs::fsync(&file)?;
                if is_first {
                    rustix::fs::fsync(&area.root)?;
                }
            }
            Ok((facts, Ok(())))
        }
        Err(Fault::NoRoomForProperties) => Ok((facts, Err(Blame::NoRoom))),
        Err(fault) => Err(fault),
    }
}
