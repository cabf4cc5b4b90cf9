//! GET and HEAD.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use dte_http::Problem;
use dte_identity::StorageOp;
use dte_protocol_webdav::digest::{Algorithm, Dialect, Digest, wanted};
use dte_protocol_webdav::etag::{Conditions, Verdict, if_range_holds};
use dte_protocol_webdav::range::{ByteRange, Selection, select};
use http::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, LAST_MODIFIED,
};
use http::{HeaderMap, StatusCode};
use rustix::io::Errno;

use super::asked::{Asked, Place, on_disk};

use super::listing::{self, is_list_of_homes};
use super::refusal::{self, condition};
use crate::disk::body::FileBody;
use crate::disk::opened::{Opened, SMALL};
use crate::disk::{Fault, sums};
use crate::model::facts::Facts;
use crate::model::media::type_of;

pub const DIGEST: HeaderName = HeaderName::from_static("digest");
pub const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");

/// How much of the answer is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Content,
    HeadOnly,
}

pub async fn get(asked: Asked, part: Part) -> Result<Response, Problem> {
    let op = if part == Part::Content { StorageOp::Read } else { StorageOp::Stat };
    let Some(place) = asked.place()? else {
        asked.may(StorageOp::Stat, &asked.path, true)?;
        return listing::areas(&asked, part);
    };
    // Whether it is a file or a folder is not known yet. Everybody may see that there is a `home`.
    let as_file = asked.may(op, &place.full, false);
    if as_file.is_err() {
        let op = if is_list_of_homes(&place) { StorageOp::Stat } else { op };
        asked.may(op, &place.full, true)?;
    }
    let opened = open(&place).await?;
    if opened.facts.is_folder() {
        return listing::folder(&asked, &place, &opened.facts, part).await;
    }
    if place.full.is_collection() {
        return Err(Problem::not_found("there is no such folder"));
    }
    // A scope that is for a folder of this name is not for a file.
    as_file?;
    file(&asked, &place, opened, part).await
}

async fn open(place: &Place) -> Result<Opened, Problem> {
    match Opened::open_cached(&place.area, &place.path) {
        Err(Errno::AGAIN) => {}
        other => return other.map_err(refusal::from_os),
    }
    let place = place.clone();
    Ok(on_disk(move || Ok(Opened::open(&place.area, &place.path)?)).await?)
}

async fn file(asked: &Asked, place: &Place, opened: Opened, part: Part) -> Result<Response, Problem> {
    let facts = opened.facts;
    let etag = facts.etag();
    let conditions = Conditions::of(&asked.headers);
    let mut headers = HeaderMap::with_capacity(12);
    headers.insert(ETAG, value(etag.to_string()));
    headers.insert(LAST_MODIFIED, value(facts.modified().http_date()));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    match conditions.judge(Some((&etag, facts.modified())), true) {
        Verdict::Proceed => {}
        Verdict::NotModified => return Ok(answer(StatusCode::NOT_MODIFIED, headers, Body::empty())),
        Verdict::Failed => return Err(condition("the file is not in the state that was asked for")),
    }
    let opened = Arc::new(opened);
    let selection = selection(asked, &facts, part);
    let is_whole_and_small = selection == Selection::Whole && facts.size <= SMALL && part == Part::Content;
    let content = if is_whole_and_small { Some(content(&opened).await?) } else { None };
    state_digests(&mut headers, asked, &opened, content.as_ref()).await?;
    let media = type_of(place.path.name().unwrap_or_default());
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media));
    // Said here and not left to the connection, since calls within the engine have none.
    headers.insert(CONTENT_LENGTH, HeaderValue::from(facts.size));
    if part == Part::HeadOnly {
        return Ok(answer(StatusCode::OK, headers, Body::empty()));
    }
    if let Some(content) = content {
        return Ok(answer(StatusCode::OK, headers, Body::from(content)));
    }
    let Ok(opened) = Arc::try_unwrap(opened) else { return Err(Problem::internal("the file is still being read")) };
    match selection {
        Selection::Whole => {
            let body = match facts.size.checked_sub(1) {
                None => Body::empty(),
                Some(last) => Body::new(FileBody::stretch(opened.file, ByteRange { first: 0, last })),
            };
            Ok(answer(StatusCode::OK, headers, body))
        }
        Selection::Unsatisfiable => {
            let range = format!("bytes */{}", facts.size);
            let problem = Problem::new(StatusCode::RANGE_NOT_SATISFIABLE, format!("the file has {} bytes", facts.size));
            Err(problem.with_header(CONTENT_RANGE, range))
        }
        Selection::Ranges(ranges) => match ranges.as_slice() {
            [range] => {
                headers.insert(CONTENT_RANGE, value(range.content_range(facts.size)));
                headers.insert(CONTENT_LENGTH, HeaderValue::from(range.length()));
                let body = Body::new(FileBody::stretch(opened.file, *range));
                Ok(answer(StatusCode::PARTIAL_CONTENT, headers, body))
            }
            several => Ok(multipart(headers, opened, several, facts.size, media)),
        },
    }
}

/// Ranges count only for content, and only while `If-Range` holds.
fn selection(asked: &Asked, facts: &Facts, part: Part) -> Selection {
    let text = |name: &str| asked.headers.get(name).and_then(|value| value.to_str().ok());
    let holds = text("if-range").is_none_or(|condition| if_range_holds(condition, &facts.etag(), facts.modified()));
    let range = text("range").filter(|_| holds && part == Part::Content);
    select(range, facts.size)
}

async fn content(opened: &Arc<Opened>) -> Result<Bytes, Problem> {
    match opened.content_cached() {
        Err(Errno::AGAIN) => {}
        other => return other.map(Bytes::from).map_err(refusal::from_os),
    }
    let opened = opened.clone();
    Ok(on_disk(move || Ok(Bytes::from(opened.content_waiting()?))).await?)
}

/// Says the checksums that were asked for, and the stored adler32 unasked, as grid storage does.
async fn state_digests(
    headers: &mut HeaderMap,
    asked: &Asked,
    opened: &Arc<Opened>,
    content: Option<&Bytes>,
) -> Result<(), Problem> {
    let wanted = wanted(&asked.headers);
    if !wanted.iter().any(|(dialect, _)| *dialect == Dialect::Legacy)
        && let Some(digest) = &opened.adler32
    {
        headers.insert(DIGEST, value(digest.legacy()));
    }
    for (dialect, algorithm) in wanted {
        let digest = digest_of(opened, algorithm, content).await?;
        match dialect {
            Dialect::Legacy => headers.insert(DIGEST, value(digest.legacy())),
            Dialect::Structured => headers.insert(REPR_DIGEST, value(digest.structured())),
        };
    }
    Ok(())
}

async fn digest_of(opened: &Arc<Opened>, algorithm: Algorithm, content: Option<&Bytes>) -> Result<Digest, Fault> {
    let stored = match (&opened.adler32, algorithm) {
        (Some(digest), Algorithm::Adler32) => Some(digest.clone()),
        _ => sums::stored(&opened.file, algorithm, &opened.facts),
    };
    if let Some(digest) = stored {
        return Ok(digest);
    }
    if let Some(content) = content {
        let mut sums = dte_storage::Checksums::of([algorithm]);
        sums.update(content);
        return sums.get(algorithm).ok_or(Fault::Changed);
    }
    let opened = opened.clone();
    on_disk(move || sums::compute(&opened.file, algorithm, &opened.facts)).await
}

fn multipart(mut headers: HeaderMap, opened: Opened, ranges: &[ByteRange], size: u64, media: &str) -> Response {
    let boundary = dte_base::id::new_id().simple().to_string();
    let head = |range: &ByteRange| {
        let range = range.content_range(size);
        Bytes::from(format!("\r\n--{boundary}\r\nContent-Type: {media}\r\nContent-Range: {range}\r\n\r\n"))
    };
    let parts = ranges.iter().map(|range| (Some(head(range)), Some(*range)));
    let end = (Some(Bytes::from(format!("\r\n--{boundary}--\r\n"))), None);
    let body = FileBody::parts(opened.file, parts.chain([end]));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(body.left()));
    headers.insert(CONTENT_TYPE, value(format!("multipart/byteranges; boundary={boundary}")));
    answer(StatusCode::PARTIAL_CONTENT, headers, Body::new(body))
}

pub fn answer(status: StatusCode, headers: HeaderMap, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// A header's value. Only texts that we made ourselves come here, so they always fit.
pub fn value(text: String) -> HeaderValue {
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}
