//! DELETE and MKCOL.

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use dte_http::Problem;
use dte_identity::StorageOp;
use futures_util::StreamExt as _;
use http::StatusCode;

use super::asked::{Asked, on_disk};
use super::refusal::condition;
use crate::disk::Fault;
use dte_protocol_webdav::etag::{Conditions, Verdict};

pub async fn delete(asked: Asked) -> Result<Response, Problem> {
    let place = asked.place_in_area()?;
    asked.may(StorageOp::Modify, &place.full, false)?;
    if place.path.is_root() {
        return Err(Problem::forbidden("a storage area itself cannot be deleted"));
    }
    let conditions = Conditions::of(&asked.headers);
    let (as_folder, pass) = (place.full.is_collection(), asked.pass.clone());
    let outcome = on_disk(move || {
        if as_folder {
            place.area.must_be_folder(&place.path)?;
        }
        if !conditions.is_empty() {
            let facts = place.area.facts(&place.path)?;
            if conditions.judge(Some((&facts.etag(), facts.modified())), false) == Verdict::Failed {
                return Ok(false);
            }
        }
        place.area.delete(&place.path, &pass).map(|()| true)
    });
    if outcome.await? {
        Ok(StatusCode::NO_CONTENT.into_response())
    } else {
        Err(condition("the file is not in the state that was asked for"))
    }
}

pub async fn mkcol(asked: Asked, body: Body) -> Result<Response, Problem> {
    let place = asked.place_in_area()?;
    asked.may(StorageOp::Create, &place.full, true)?;
    if place.path.is_root() {
        return Err(Problem::method_not_allowed("there is something of this name already"));
    }
    // RFC 4918 section 9.3: a body that is not understood.
    let mut stream = body.into_data_stream();
    while let Some(piece) = stream.next().await {
        match piece {
            Ok(piece) if piece.is_empty() => {}
            Ok(_) => return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "MKCOL takes no body")),
            Err(_) => return Err(Problem::bad_request("the body broke off")),
        }
    }
    let pass = asked.pass.clone();
    match on_disk(move || place.area.make_folder(&place.path, &pass)).await {
        Ok(()) => Ok(StatusCode::CREATED.into_response()),
        Err(Fault::Exists) => Err(Problem::method_not_allowed("there is something of this name already")),
        Err(fault) => Err(fault.into()),
    }
}
