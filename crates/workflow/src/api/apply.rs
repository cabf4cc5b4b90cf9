//! `PUT /twins/{name}`: applies a document. Applying the same again changes nothing; a changed one is a new version.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, State};
use dte_base::time::Timestamp;
use dte_http::{Json, Problem, Query};
use dte_identity::Principal;
use dte_protocol_rucio::Did;
use http::StatusCode;
use serde::Deserialize;
use serde_json::Value;
use serde_saphyr::Spanned;
use sha2::{Digest, Sha256};

use super::{problem, twins::view};
use crate::model::document::{Document, Observes};
use crate::model::mistake::Mistake;
use crate::model::names::{self, Place};
use crate::model::pod::Program;
use crate::store::twins::{self, Programs, State as TwinState, Twin};
use crate::store::{request_apply, sources};
use crate::work::engine::Engine;
use crate::work::program;

/// How long the answer waits for the document to take effect.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The query of a PUT.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// The absolute folder in which the document's relative paths begin.
    base: Option<String>,
}

/// Applies the document in the body.
pub async fn put(
    State(engine): State<Engine>,
    principal: Principal,
    Path(name): Path<String>,
    Query(options): Query<Options>,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let text = String::from_utf8(body.to_vec()).map_err(|_| Problem::bad_request("the document is not UTF-8 text"))?;
    let document = Document::parse(&text).map_err(refused)?;
    if document.twin.value != name {
        return Err(refused(Mistake::at(
            &document.twin,
            format!("the document is of {:?}, not of {name:?}", document.twin.value),
        )));
    }
    let known = {
        let name = name.clone();
        engine.store.read(move |tx| twins::get(tx, &name)).await.map_err(|error: dte_store::Error| error.into())
    };
    let known: Option<Twin> = known.map_err(|problem: Problem| problem)?;
    may_apply(&principal, &document, known.as_ref())?;
    let base = options.base.filter(|base| !base.is_empty());
    check_paths(&principal, &document, base.as_deref())?;
    let programs = programs(&document, base.as_deref()).await?;
    let digest = digest(&text, base.as_deref(), &programs)?;
    let owner = known.as_ref().map_or_else(|| principal.user_ref(), |twin| twin.owner.clone());
    let twin = Twin {
        name: name.clone(),
        version: 1,
        document: text,
        base,
        digest,
        owner,
        state: TwinState::Applying,
        programs,
        created: Timestamp::now(),
        applied: Timestamp::now(),
        cpu: 0,
        wall: 0,
    };
    let created = write(&engine, twin, document, principal.name().to_owned()).await?;
    let shown = settled(&engine, &name).await?;
    Ok((if created { StatusCode::CREATED } else { StatusCode::OK }, Json(shown)))
}

/// A mistake in the document, with its place for programs.
fn refused(mistake: Mistake) -> Problem {
    let problem = Problem::unprocessable(mistake.to_string()).with_type("urn:dte:twin:mistake");
    if mistake.line == 0 { problem } else { problem.with("line", mistake.line).with("column", mistake.column) }
}

fn may_apply(principal: &Principal, document: &Document, known: Option<&Twin>) -> Result<(), Problem> {
    if let Some(twin) = known
        && !principal.is_admin()
        && !principal.is(&twin.owner)
    {
        return Err(Problem::forbidden(format!("the twin {} belongs to somebody else", twin.name)));
    }
    let owner = known.map_or(principal.name(), |twin| twin.owner.name.as_str());
    match &document.policy.owner {
        Some(named) if named.value != owner => {
            Err(refused(Mistake::at(named, format!("the owner is who applies the twin first: {owner}"))))
        }
        _ => Ok(()),
    }
}

/// Paths of the engine's machine are for administrators: a twin must not be a way to read what its owner could not.
fn check_paths(principal: &Principal, document: &Document, base: Option<&str>) -> Result<(), Problem> {
    for observes in &document.observes {
        absolute(&observes.folder, base)?;
        if !principal.is_admin() {
            let text = "watching a folder of the engine's machine is for administrators";
            return Err(Problem::forbidden(Mistake::at(&observes.folder, text).to_string()));
        }
    }
    for model in &document.models {
        let program = &model.container.program;
        if did(&program.value).is_none() {
            absolute(program, base)?;
            if !principal.is_admin() {
                let text =
                    "a program from the engine's machine is for administrators; name a DID scope:name of the lake";
                return Err(Problem::forbidden(Mistake::at(program, text).to_string()));
            }
        }
    }
    Ok(())
}

fn absolute(path: &Spanned<String>, base: Option<&str>) -> Result<String, Problem> {
    names::absolute(&path.value, base).ok_or_else(|| {
        let text = format!("{:?} is relative; say where it begins with ?base=/absolute/folder", path.value);
        refused(Mistake::at(path, text))
    })
}

fn did(program: &str) -> Option<Did> {
    if program.starts_with(['/', '.']) { None } else { program.parse().ok() }
}

/// The models' programs, read from where the document says.
async fn programs(document: &Document, base: Option<&str>) -> Result<Programs, Problem> {
    let mut programs = Programs::new();
    for model in &document.models {
        let named = &model.container.program;
        let name = model.name.value.clone();
        if let Some(did) = did(&named.value) {
            let unread =
                Program { did: did.to_string(), sha256: String::new(), bytes: 0, adler32: String::new(), path: None };
            programs.insert(name, unread);
            continue;
        }
        let path = absolute(named, base)?;
        let bytes = program::read(&path).await.map_err(|why| refused(Mistake::at(named, why)))?;
        programs.insert(name.clone(), program::describe(&document.twin.value, &name, &path, &bytes));
    }
    Ok(programs)
}

/// What makes one version differ from another: the text, where its paths begin, the programs' content.
fn digest(text: &str, base: Option<&str>, programs: &Programs) -> Result<String, Problem> {
    let dids: Vec<&str> = programs.values().map(|program| program.did.as_str()).collect();
    let whole = serde_json::to_vec(&(text, base, dids)).map_err(|error| Problem::internal(error.to_string()))?;
    Ok(hex::encode(Sha256::digest(whole)))
}

/// Writes the version if it is one. `true` when the twin is new.
async fn write(engine: &Engine, twin: Twin, document: Document, by: String) -> Result<bool, Problem> {
    let own = engine.clone();
    engine
        .store
        .write(move |tx| {
            let known = twins::get(tx, &twin.name)?;
            let next = match &known {
                None => twin.clone(),
                Some(now) if now.digest == twin.digest && now.state != TwinState::Deleted => {
                    if now.state == TwinState::Applying {
                        request_apply(tx, &twin.name)?;
                    }
                    return Ok::<_, Problem>(false);
                }
                Some(now) => {
                    keeps_its_data(tx, &own, now, &document)?;
                    Twin { version: now.version + 1, created: now.created, owner: now.owner.clone(), ..twin.clone() }
                }
            };
            twins::put(tx, &next, &by)?;
            request_apply(tx, &twin.name)?;
            Ok(known.is_none())
        })
        .await
}

/// A series that has begun cannot change what it is.
fn keeps_its_data(tx: &mut dte_store::Tx<'_>, engine: &Engine, now: &Twin, next: &Document) -> Result<(), Problem> {
    let Ok(before) = engine.document(now) else { return Ok(()) };
    for old in &before.observes {
        let name = &old.name.value;
        let begun = sources::get(tx, &now.name, name)?
            .is_some_and(|source| source.next_arrival > u64::from(old.history.is_none()));
        let Some(new) = next.observes(name).filter(|_| begun) else { continue };
        if identity(&before, old) != identity(next, new) {
            let text = format!(
                "{name} has begun, so its pattern, start, history, column and place in the lake stay; give a new series a new name"
            );
            return Err(Problem::conflict(Mistake::at(&new.name, text).to_string()));
        }
    }
    Ok(())
}

/// What a series is.
fn identity(document: &Document, one: &Observes) -> (String, String, Option<(String, String)>, String, Place) {
    (
        one.pattern.value.clone(),
        one.start.to_string(),
        one.history.as_ref().map(|history| (history.file.value.clone(), history.from.value.to_string())),
        one.series.value.value.clone(),
        Place::of_observes(document, one),
    )
}

/// The twin as soon as it is active or in trouble, or as it is when patience ends.
async fn settled(engine: &Engine, name: &str) -> Result<Value, Problem> {
    let begun = tokio::time::Instant::now();
    loop {
        let loaded = engine.load(name).await.map_err(problem)?;
        let loaded = loaded.ok_or_else(|| Problem::not_found(format!("there is no twin {name}")))?;
        let shown = view(engine, &loaded).await?;
        let waiting =
            loaded.twin.state == TwinState::Applying && shown["troubles"].as_array().is_none_or(Vec::is_empty);
        if !waiting || begun.elapsed() > PATIENCE {
            return Ok(shown);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
