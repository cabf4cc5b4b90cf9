//! COPY from and to another server (HTTP third-party copy, as WLCG storage speaks it).

use std::sync::Arc;

use axum::response::Response;
use dte_http::Problem;
use dte_identity::StorageOp;
use dte_protocol_webdav::header::{Depth, overwrite, text};
use dte_storage::Location;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};

use super::asked::{Asked, Place, on_disk};
use super::get::answer;
use super::reference::is_own;
use super::refusal::{bad_header, condition};
use crate::disk::Fault;
use crate::disk::store::AreaStore;
use crate::third_party::{Order, Verification, Way};

/// Begins the names of headers that are for the other server.
const TRANSFER_HEADER: &str = "transferheader";
/// Streams that a client may ask for; one is used. gfal2 asks for none when it leaves that to the server.
const MOST_STREAMS: u32 = 64;

/// Whether a COPY names another server. One to a place of our own, without anything to tell another server, is local.
pub fn is_meant(asked: &Asked) -> bool {
    if asked.headers.contains_key("source") {
        return true;
    }
    let Some(destination) = asked.headers.get("destination").and_then(|value| value.to_str().ok()) else {
        return false;
    };
    let Some((scheme, rest)) = destination.trim().split_once("://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    !is_own(asked, scheme, authority) || asked.headers.keys().any(|name| name.as_str().starts_with(TRANSFER_HEADER))
}

pub async fn copy(asked: Asked) -> Result<Response, Problem> {
    let place = asked.place_in_area()?;
    let source = text(&asked.headers, "source").map_err(bad_header)?;
    let (way, url) = match (source, text(&asked.headers, "destination").map_err(bad_header)?) {
        (Some(_), Some(_)) => return Err(Problem::bad_request("Source and Destination cannot both be given")),
        (Some(url), None) => (Way::Pull, url),
        (None, Some(url)) => (Way::Push, url),
        (None, None) => return Err(Problem::bad_request("No Source or Destination specified")),
    };
    let is_folder = || Problem::method_not_allowed("this is a folder; only files are copied from and to other servers");
    if place.path.is_root() || place.full.is_collection() {
        return Err(is_folder());
    }
    let may_replace = match way {
        Way::Pull => asked.may_write(&place.full)?.replace,
        Way::Push => asked.may(StorageOp::Read, &place.full, false).map(|()| true)?,
    };
    let party = asked.edge.third_party.party(url, passed_on(&asked.headers)?);
    let party = party.map_err(|error| Problem::bad_request(error.to_string()))?;
    let overwrite = overwrite(&asked.headers).map_err(bad_header)?;
    let facts = if way == Way::Pull { look_at_target(&asked, &place).await? } else { look(&place).await? };
    match (way, &facts) {
        (_, Some(facts)) if facts.is_folder() => return Err(is_folder()),
        (Way::Pull, Some(_)) if !overwrite => {
            return Err(condition("the destination exists and may not be overwritten"));
        }
        (Way::Pull, Some(_)) if !may_replace => {
            return Err(Problem::forbidden("replacing what is there needs storage.modify"));
        }
        (Way::Push, None) => return Err(Problem::not_found("there is no such file or folder")),
        _ => {}
    }
    let verification = read_values(&asked.headers)?;
    let here = Location::new(
        Arc::new(AreaStore { area: place.area, pass: asked.pass.clone() }),
        place.path,
        place.full.plain(),
    );
    // What may be replaced at the other server is for that server to say.
    let overwrite = overwrite && may_replace;
    let person = asked.principal.user_ref();
    let report = asked.edge.third_party.start(Order { person, way, here, party, overwrite, verification });
    let report = report.ok_or_else(|| {
        let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too many copies wait already; try again later");
        problem.with_header(http::header::RETRY_AFTER, "60")
    })?;
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/perf-marker-stream"));
    Ok(answer(StatusCode::ACCEPTED, headers, report))
}

async fn look(place: &Place) -> Result<Option<crate::model::facts::Facts>, Problem> {
    let place = place.clone();
    Ok(on_disk(move || Ok(place.area.look(&place.path)?)).await?)
}

/// What is to be replaced, if anything is. A lock, or a folder that is missing and is not to be made, is told at once.
async fn look_at_target(asked: &Asked, place: &Place) -> Result<Option<crate::model::facts::Facts>, Problem> {
    let (place, pass) = (place.clone(), asked.pass.clone());
    let looked = on_disk(move || {
        let area = &place.area;
        drop(area.unlocked_name(&place.path, &[], &pass)?);
        if !area.treatment.create_parents && area.look(&place.path.parent().unwrap_or_default())?.is_none() {
            return Err(Fault::NoParent);
        }
        Ok(area.look(&place.path)?)
    });
    Ok(looked.await?)
}

/// The headers that the other server is to be shown: `TransferHeaderAuthorization: …` becomes `Authorization: …`.
fn passed_on(headers: &HeaderMap) -> Result<HeaderMap, Problem> {
    let mut passed = HeaderMap::new();
    for (name, value) in headers {
        let Some(rest) = name.as_str().strip_prefix(TRANSFER_HEADER).filter(|rest| !rest.is_empty()) else { continue };
        let bad = |_| Problem::bad_request(format!("{name} names no header"));
        passed.append(HeaderName::try_from(rest).map_err(bad)?, value.clone());
    }
    Ok(passed)
}

/// The values that say how, each checked.
fn read_values(headers: &HeaderMap) -> Result<Verification, Problem> {
    let text = |name| text(headers, name).map_err(bad_header);
    if let Some(credential) = text("credential")?
        && !credential.eq_ignore_ascii_case("none")
    {
        return Err(Problem::bad_request(format!("Unsupported Credential header value: {credential}")));
    }
    if Depth::of(headers).map_err(bad_header)? == Some(Depth::One) {
        return Err(Problem::bad_request("Depth must be 0 or infinity here"));
    }
    if let Some(streams) = text("x-number-of-streams")? {
        let number = streams.parse::<u32>().ok().filter(|number| *number <= MOST_STREAMS);
        number.ok_or_else(|| {
            Problem::bad_request(format!("X-Number-Of-Streams must be a number from 0 to {MOST_STREAMS}"))
        })?;
    }
    match text("requirechecksumverification")?.map(str::to_ascii_lowercase).as_deref() {
        None => Ok(Verification::WherePossible),
        Some("true") => Ok(Verification::Required),
        Some("false") => Ok(Verification::LengthOnly),
        Some(_) => Err(Problem::bad_request("RequireChecksumVerification must be true or false")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, HeaderValue::from_static(value));
        }
        map
    }

    #[test]
    fn what_is_passed_on() {
        let given =
            headers(&[("transferheaderauthorization", "Bearer t"), ("transferheader", "x"), ("authorization", "mine")]);
        let passed = passed_on(&given).expect("reads");
        assert_eq!(passed.len(), 1);
        assert_eq!(passed["authorization"], "Bearer t");
    }

    #[test]
    fn values() {
        assert_eq!(read_values(&headers(&[])).ok(), Some(Verification::WherePossible));
        let all = [("credential", "none"), ("x-number-of-streams", "4"), ("requirechecksumverification", "False")];
        assert_eq!(read_values(&headers(&all)).ok(), Some(Verification::LengthOnly));
        for bad in [
            ("credential", "gridsite"),
            ("x-number-of-streams", "many"),
            ("x-number-of-streams", "-1"),
            ("requirechecksumverification", "maybe"),
            ("depth", "1"),
        ] {
            assert!(read_values(&headers(&[bad])).is_err(), "{bad:?}");
        }
    }
}
