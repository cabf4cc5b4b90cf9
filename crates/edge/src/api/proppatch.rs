//! PROPPATCH: properties that clients leave with a file or folder.

use axum::body::Body;
use axum::response::Response;
use dte_http::Problem;
use dte_identity::StorageOp;
use dte_protocol_webdav::multistatus::{Multistatus, Value};
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
}

fn change(place: &Place, pass: &Pass, changes: &[Change]) -> Result<(Facts, Result<(), Blame>), Fault> {
    let area = &place.area;
    let facts = area.facts(&place.path)?;
    if facts.kind == Kind::Other || (place.full.is_collection() && !facts.is_folder()) {
        return Err(Fault::Os(rustix::io::Errno::NOENT));
    }
    let _held = area.unlocked(&[Touch::One(place.path.clone())], pass)?;
    // Of two changes at once neither is lost.
    let _turn = area.properties.lock();
    let file = area.root.open_read(&place.path)?;
    let mut present = kept::read(&file)?;
    if let Err(refused) = present.change(changes) {
        return Ok((facts, Err(Blame::Refused(refused))));
    }
    match kept::write(&area.root, &file, &present) {
        Ok(()) => Ok((facts, Ok(()))),
        Err(Fault::NoRoomForProperties) => Ok((facts, Err(Blame::NoRoom))),
        Err(fault) => Err(fault),
    }
}
