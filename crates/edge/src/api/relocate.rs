//! MOVE and COPY inside the server.

use axum::response::{IntoResponse as _, Response};
use dte_http::Problem;
use dte_identity::StorageOp;
use dte_protocol_webdav::header::{Depth, overwrite, text};
use dte_protocol_webdav::path::ResourcePath;
use http::StatusCode;

use super::asked::{Asked, MayWrite, Place, on_disk};
use super::reference::{Reference, resolve};
use super::refusal::{bad_header, condition};
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
    let (replace, pass) = (overwrite && may.replace, asked.pass.clone());
    let work = on_disk(move || {
        if from.full.is_collection() {
            from.area.must_be_folder(&from.path)?;
        }
        match verb {
            Verb::Move => from.area.relocate(&from.path, &to.path, replace, &pass),
            Verb::Copy => from.area.copy(&from.path, &to.path, replace, deep, &pass),
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
    match resolve(asked, text)? {
        Reference::Here(place) => Ok(place),
        Reference::Elsewhere => {
            let what = if verb == Verb::Move { "moved" } else { "copied in this way" };
            Err(Problem::new(StatusCode::BAD_GATEWAY, format!("a file cannot be {what} to another server")))
        }
    }
}
