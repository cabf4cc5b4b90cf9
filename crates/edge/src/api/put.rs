//! PUT.

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use dte_http::Problem;
use dte_protocol_webdav::digest::{Algorithm, Digest, stated};
use dte_protocol_webdav::etag::{Conditions, ETagList, Verdict};
use futures_util::StreamExt as _;
use http::header::{CONTENT_LENGTH, ETAG, LAST_MODIFIED};
use http::{HeaderMap, StatusCode};

use super::asked::{Asked, Place, on_disk};
use super::get::{DIGEST, REPR_DIGEST, answer, value};
use super::refusal::{bad_digest, condition, from_os, full};
use crate::disk::Fault;
use crate::disk::area::Outcome;
use crate::disk::intake::{Untaken, take_in};
use crate::disk::part::{Part, Published, Terms};

/// Bodies up to this size are taken in first and then stored in one go.
const SMALL: usize = 256 * 1024;

pub async fn put(asked: Asked, body: Body) -> Result<Response, Problem> {
    let place = asked.place_in_area()?;
    if place.path.is_root() || place.full.is_collection() {
        return Err(Problem::method_not_allowed("this is a folder"));
    }
    let may = asked.may_write(&place.full)?;
    if asked.headers.contains_key("content-range") {
        return Err(Problem::bad_request("a part of a file cannot be put; send the whole"));
    }
    let mut terms = Terms {
        length: length(&asked.headers)?,
        digests: stated(&asked.headers).map_err(bad_digest)?,
        may_replace: may.replace,
        pass: asked.pass.clone(),
    };
    check_conditions(&asked, &place, &mut terms).await?;
    check_room(&place, &terms).await?;
    let mut stream = body.into_data_stream();
    let mut first = Vec::new();
    let mut size = 0;
    let published = loop {
        match stream.next().await {
            Some(Ok(piece)) => {
                size += piece.len();
                first.push(piece);
                if size > SMALL {
                    break put_large(place, terms, first, stream).await;
                }
            }
            Some(Err(error)) => return Err(broken(&error)),
            None => break put_small(&asked, place, terms, first).await,
        }
    };
    Ok(stored(&published?))
}

fn length(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(value) = headers.get(CONTENT_LENGTH) else { return Ok(None) };
    let length = value.to_str().ok().and_then(|text| text.parse().ok());
    length.map(Some).ok_or_else(|| Problem::bad_request("Content-Length is not a number"))
}

/// `If-None-Match: *` is kept by the kernel at the moment of naming; other conditions are looked at before.
async fn check_conditions(asked: &Asked, place: &Place, terms: &mut Terms) -> Result<(), Problem> {
    let mut conditions = Conditions::of(&asked.headers);
    if conditions.if_none_match == Some(ETagList::Any) {
        terms.may_replace = false;
        // Looked at now as well, so that nobody sends a large body in vain.
    } else if conditions.is_empty() {
        return Ok(());
    }
    conditions.if_modified_since = None;
    let place = place.clone();
    let facts = on_disk(move || Ok(place.area.look(&place.path)?)).await?;
    let tag = facts.as_ref().map(|facts| (facts.etag(), facts.modified()));
    match conditions.judge(tag.as_ref().map(|(tag, modified)| (tag, *modified)), false) {
        Verdict::Failed => Err(condition("the file is not in the state that was asked for")),
        _ => Ok(()),
    }
}

/// A body that cannot fit, or may not be stored there, is refused before it is sent.
async fn check_room(place: &Place, terms: &Terms) -> Result<(), Problem> {
    if terms.length.is_some_and(|length| length <= SMALL as u64) {
        return Ok(());
    }
    let (place, pass, length) = (place.clone(), terms.pass.clone(), terms.length.unwrap_or(0));
    let room = on_disk(move || {
        drop(place.area.unlocked_name(&place.path, &[], &pass)?);
        Ok(place.area.room()?)
    });
    if room.await?.available < length { Err(full()) } else { Ok(()) }
}

fn broken(error: &dyn std::error::Error) -> Problem {
    tracing::debug!(%error, "an upload broke off");
    Problem::from(Fault::CutShort)
}

/// One hop for everything. Where the client waits for the disk many shall wait together, else few threads are best.
async fn put_small(asked: &Asked, place: Place, terms: Terms, pieces: Vec<Bytes>) -> Result<Published, Problem> {
    let waits = place.area.treatment.fsync;
    let work = move || {
        let mut part = Part::create(place.area.clone(), &terms.digests)?;
        part.append(&pieces)?;
        part.publish(&place.path, &terms)
    };
    let outcome = if waits { on_disk(work).await } else { asked.edge.workers.run(work).await };
    outcome.map_err(explain)
}

async fn put_large(
    place: Place,
    terms: Terms,
    first: Vec<Bytes>,
    stream: axum::body::BodyDataStream,
) -> Result<Published, Problem> {
    take_in(place.area, place.path, terms, first, stream).await.map_err(|untaken| match untaken {
        Untaken::Content(error) => broken(&error),
        Untaken::Disk(fault) => explain(fault),
        Untaken::Lost(text) => Problem::internal(format!("the upload could not be finished: {text}")),
    })
}

fn explain(fault: Fault) -> Problem {
    match fault {
        Fault::Os(rustix::io::Errno::NOTDIR) => Problem::conflict("a file is in the way of the folder"),
        Fault::Os(error) => from_os(error),
        other => other.into(),
    }
}

fn stored(published: &Published) -> Response {
    let mut headers = HeaderMap::with_capacity(6);
    headers.insert(ETAG, value(published.facts.etag().to_string()));
    headers.insert(LAST_MODIFIED, value(published.facts.modified().http_date()));
    let adler32: Vec<&Digest> =
        published.digests.iter().filter(|digest| digest.algorithm() == Algorithm::Adler32).collect();
    for digest in adler32 {
        headers.insert(DIGEST, value(digest.legacy()));
    }
    if let Some(digest) = published.digests.iter().find(|digest| digest.algorithm() == Algorithm::Sha256) {
        headers.insert(REPR_DIGEST, value(digest.structured()));
    }
    let status = match published.outcome {
        Outcome::Created => StatusCode::CREATED,
        Outcome::Replaced => StatusCode::NO_CONTENT,
    };
    answer(status, headers, Body::empty())
}
