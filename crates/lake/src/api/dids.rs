//! `/dids`: names may contain slashes, so a path is scope, name, and a fixed end that says what is asked.

use axum::extract::{Path, State};
use dte_identity::Routes;
use dte_protocol_rucio::{Class, Did};
use http::StatusCode;

use super::answer::{Answer, Failure};
use super::request::{Asking, Call, did};
use super::{CHANGES, READS, dids_change, dids_more, dids_read, files, metadata, rules};
use crate::Lake;

pub(super) fn routes(routes: Routes<Lake>) -> Routes<Lake> {
    routes
        .post("/dids", CHANGES, dids_change::create_many)
        .post("/dids/", CHANGES, dids_change::create_many)
        .post("/dids/attachments", CHANGES, dids_change::attachments)
        .post("/dids/bulkfiles", CHANGES, files::bulk)
        .post("/dids/bulkmeta", READS, metadata::bulk_get)
        .post("/dids/bulkdidsmeta", CHANGES, metadata::bulk_set)
        .post("/dids/sample", CHANGES, dids_more::sample)
        .post("/dids/resurrect", CHANGES, dids_more::resurrect)
        .get("/archives/{*path}", READS, dids_more::archive)
        .get("/dids/{*path}", READS, get)
        .post("/dids/{*path}", CHANGES, post)
        .put("/dids/{*path}", CHANGES, put)
        .delete("/dids/{*path}", CHANGES, delete)
}

/// What a path asks of which DID.
fn split<'p>(path: &'p str, ends: &[&'static str]) -> Result<(Did, &'static str), Failure> {
    let (scope, rest) = path.split_once('/').ok_or_else(no_route)?;
    for end in ends {
        let name = rest.strip_suffix(end).and_then(|name: &'p str| name.strip_suffix('/'));
        if let Some(name) = name.filter(|name| !name.is_empty()) {
            return Ok((did(scope, name)?, end));
        }
    }
    Ok((did(scope, rest)?, ""))
}

pub(super) fn no_route() -> Failure {
    Failure::new(Class::RucioException, "No such path").with_status(Class::RucioException, StatusCode::NOT_FOUND)
}

async fn get(State(lake): State<Lake>, _: Asking, Path(path): Path<String>, call: Call) -> Answer {
    if let Some(scope) = path.strip_suffix("/dids/search") {
        return dids_read::search(lake, scope.to_owned(), call).await;
    }
    if let Some((scope, "")) = path.split_once('/').or(Some((path.as_str(), ""))) {
        return dids_read::scope(lake, scope.to_owned(), call).await;
    }
    if let Some(guid) = path.strip_suffix("/guid").filter(|guid| !guid.contains('/')) {
        return dids_more::by_guid(lake, guid).await;
    }
    let ends = ["dids/history", "dids", "status", "files", "parents", "meta", "associated_rules", "rules", "follow"];
    let (did, end) = split(&path, &ends)?;
    match end {
        "" | "status" => dids_read::get(lake, did, call).await,
        "dids" => dids_read::content(lake, did).await,
        "dids/history" => dids_read::history(lake, did).await,
        "files" => files::list(lake, did, call).await,
        "parents" => dids_read::parents(lake, did).await,
        "meta" => metadata::get(lake, did, call).await,
        "rules" => rules::of_did(lake, did).await,
        "associated_rules" => rules::holding(lake, did).await,
        "follow" => dids_more::followers(lake, did).await,
        _ => Err(no_route()),
    }
}

async fn post(State(lake): State<Lake>, asking: Asking, Path(path): Path<String>, call: Call) -> Answer {
    if let Some((before, key)) = path.rsplit_once("/meta/")
        && !key.contains('/')
        && before.contains('/')
    {
        let (did, _) = split(before, &[])?;
        return metadata::set_one(lake, asking, did, key.to_owned(), call).await;
    }
    match split(&path, &["dids", "meta", "follow"])? {
        (did, "follow") => dids_more::follow(lake, asking, did, call).await,
        (did, "dids") => dids_change::attach(lake, asking, did, call).await,
        (did, "meta") => metadata::set(lake, asking, did, call).await,
        (did, _) => dids_change::create(lake, asking, did, call).await,
    }
}

async fn put(State(lake): State<Lake>, asking: Asking, Path(path): Path<String>, call: Call) -> Answer {
    match split(&path, &["status"])? {
        (did, "status") => dids_change::status(lake, asking, did, call).await,
        _ => Err(no_route()),
    }
}

async fn delete(State(lake): State<Lake>, asking: Asking, Path(path): Path<String>, call: Call) -> Answer {
    match split(&path, &["dids", "meta", "follow"])? {
        (did, "follow") => dids_more::unfollow(lake, asking, did, call).await,
        (did, "dids") => dids_change::detach(lake, asking, did, call).await,
        (did, "meta") => metadata::delete(lake, asking, did, call).await,
        _ => Err(no_route()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_slashes() {
        let ends = ["dids/history", "dids", "files"];
        let parts = |path| split(path, &ends).map(|(did, end)| (did.to_string(), end)).ok();
        assert_eq!(parts("s/n"), Some(("s:n".into(), "")));
        assert_eq!(parts("s/a/b/c/files"), Some(("s:a/b/c".into(), "files")));
        assert_eq!(parts("s/a/dids/history"), Some(("s:a".into(), "dids/history")));
        assert_eq!(parts("s/files"), Some(("s:files".into(), "")), "a name, not an end");
        assert_eq!(parts("s/../n"), None);
        assert_eq!(parts("s"), None);
    }
}
