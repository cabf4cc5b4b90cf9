//! MOVE and COPY inside the server.

use axum::response::{IntoResponse as _, Response};
use dte_http::Problem;
use dte_identity::StorageOp;
use dte_protocol_webdav::header::{Depth, overwrite, text};
use dte_protocol_webdav::path::{BadPath, ResourcePath};
use http::StatusCode;
use url::Url;

use super::asked::{Asked, MayWrite, Place, on_disk, place_of};
use super::refusal::{bad_header, bad_path, condition};
use crate::disk::Fault;
use crate::disk::area::Outcome;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Move,
    Copy,
}

pub async fn relocate(asked: Asked, verb: Verb) -> Result<Response, Problem> {
    let from = asked.place_in_area()?;
    let to = destination(&asked, verb)?;
    let overwrite = overwrite(&asked.headers).map_err(bad_header)?;
    let deep = match Depth::of(&asked.headers).map_err(bad_header)? {
        None | Some(Depth::Infinity) => true,
        Some(Depth::Zero) if verb == Verb::Copy => false,
        Some(_) => return Err(Problem::bad_request("Depth must be infinity here")),
    };
    let may = permit(&asked, verb, &from.full, &to.full)?;
    if from.path.is_root() || to.path.is_root() {
        return Err(Problem::forbidden("a storage area itself cannot be moved, copied or replaced"));
    }
    if from.full.components() == to.full.components() {
        return Err(Problem::forbidden("source and destination are the same"));
    }
    if from.area.name != to.area.name {
        let what = if verb == Verb::Move { "Move" } else { "Local copy" };
        return Err(Problem::bad_request(format!("{what} across storage areas is not supported")));
    }
    if to.path.is_within(&from.path) || (overwrite && from.path.is_within(&to.path)) {
        return Err(Problem::conflict("a folder cannot be put into itself, nor in the place of one that holds it"));
    }
    let replace = overwrite && may.replace;
    let work = on_disk(move || {
        if from.full.is_collection() {
            from.area.must_be_folder(&from.path)?;
        }
        match verb {
            Verb::Move => from.area.relocate(&from.path, &to.path, replace),
            Verb::Copy => from.area.copy(&from.path, &to.path, replace, deep),
        }
    });
    match work.await {
        Ok(Outcome::Created) => Ok(StatusCode::CREATED.into_response()),
        Ok(Outcome::Replaced) => Ok(StatusCode::NO_CONTENT.into_response()),
        Err(Fault::Exists) if overwrite => Err(Problem::forbidden("replacing what is there needs storage.modify")),
        Err(Fault::Exists) => Err(condition("the destination exists and may not be overwritten")),
        Err(fault) => Err(fault.into()),
    }
}

/// What may be done with the destination. Where creating counts, the names are taken as those of files: who may only make
/// the folders that lead to a place, or a folder of this name, may not put content there.
fn permit(asked: &Asked, verb: Verb, from: &ResourcePath, to: &ResourcePath) -> Result<MayWrite, Problem> {
    let to = to.clone().as_collection(false);
    match verb {
        Verb::Copy => asked.may(StorageOp::Read, from, false)?,
        // A new name for what is there loses nothing, so who may create at both ends may give it.
        Verb::Move => asked.may(StorageOp::Modify, from, false).or_else(|denied| {
            let from = from.clone().as_collection(false);
            let both = [&from, &to].into_iter().all(|path| asked.may(StorageOp::Create, path, false).is_ok());
            if both { Ok(()) } else { Err(denied) }
        })?,
    }
    asked.may_write(&to)
}

/// The place that `Destination` names: a URL of our own, or a path.
fn destination(asked: &Asked, verb: Verb) -> Result<Place, Problem> {
    let text = text(&asked.headers, "destination").map_err(bad_header)?;
    let text = text.ok_or_else(|| Problem::bad_request("No Source or Destination specified"))?;
    let raw = match text.split_once("://") {
        None => text,
        Some((scheme, rest)) => {
            let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
            if !is_own(asked, scheme, authority) {
                let what = if verb == Verb::Move { "moved" } else { "copied in this way" };
                let text = format!("a file cannot be {what} to another server");
                return Err(Problem::new(StatusCode::BAD_GATEWAY, text));
            }
            path
        }
    };
    let inner = raw.strip_prefix(&asked.prefix).filter(|rest| rest.is_empty() || rest.starts_with('/'));
    let inner = inner.ok_or_else(|| Problem::bad_request("the destination is not in this storage"))?;
    // Some clients do not encode what they put here, so a percent sign that begins no escape is taken as it stands. What
    // can be decoded and is refused stays refused.
    let inner = inner.split(['?', '#']).next().unwrap_or_default();
    let path = match ResourcePath::parse(inner) {
        Err(BadPath::BadEscape) => ResourcePath::from_plain(inner),
        other => other,
    };
    place_of(&asked.edge, &path.map_err(bad_path)?)
}

/// Whether an authority is one under which clients reach us: the public one, or the one that this client used.
pub(super) fn is_own(asked: &Asked, scheme: &str, authority: &str) -> bool {
    let web = match scheme.to_ascii_lowercase().as_str() {
        "http" | "dav" => "http",
        "https" | "davs" => "https",
        _ => return false,
    };
    let used = asked.headers.get("host").and_then(|host| host.to_str().ok());
    if used.is_some_and(|used| used.eq_ignore_ascii_case(authority)) {
        return true;
    }
    let Ok(url) = format!("{web}://{authority}/").parse::<Url>() else { return false };
    let public = &asked.edge.public_url;
    url.host_str() == public.host_str() && url.port_or_known_default() == public.port_or_known_default()
}
