//! Makes the world as a document says: scopes, containers with their rules, the programs, the watches.

use std::collections::BTreeSet;
use std::time::Duration;

use dte_protocol_rucio::{LakeClient, NewDid, NewRule};
use dte_store::{Claim, Event};
use http::StatusCode;
use serde_json::json;

use crate::model::document::{Document, Placement};
use crate::model::month::Month;
use crate::model::names::{self, Place};
use crate::store::sources::{self, Source};
use crate::store::twins::{self, Programs, State, Twin};
use crate::store::{SOURCE, request_model, request_observe, troubles};
use crate::work::Target;
use crate::work::engine::{Engine, Failure, Loaded};
use crate::work::program;

/// A file that nobody said is closed counts as complete when it stood still for this long.
const SETTLE: &str = "1s";
const PATIENCE: Duration = Duration::from_secs(30);

/// One try to apply the newest version of a twin, or to take a deleted one down.
pub async fn apply(engine: &Engine, claim: &Claim) -> Result<(), Failure> {
    let target: Target = claim.payload()?;
    let Some(loaded) = engine.load(&target.twin).await? else { return Ok(()) };
    if loaded.twin.state == State::Deleted {
        return take_down(engine, &loaded).await;
    }
    let Loaded { twin, document } = &loaded;
    let lake = engine.whole_lake(&twin.owner)?;
    let account = lake.whoami().await?;
    for scope in scopes(document) {
        lake.ensure_scope(&account, &scope).await?;
    }
    for (place, placement) in places(document) {
        container(&lake, &place, placement).await?;
    }
    let mut programs = Programs::new();
    for (model, known) in &twin.programs {
        programs.insert(model.clone(), program::keep(engine, &lake, &twin.owner, known).await?);
    }
    declare_sources(engine, twin, document).await?;
    for observes in &document.observes {
        let name = names::watch(&twin.name, &observes.name.value);
        let folder = names::absolute(&observes.folder.value, twin.base.as_deref());
        let folder = folder.ok_or_else(|| Failure::Other(format!("{} is not absolute", observes.folder.value)))?;
        watch(engine, twin, &name, &folder, &names::glob(&observes.pattern.value)).await?;
    }
    drop_old_sources(engine, &loaded).await?;
    activate(engine, &loaded, programs).await
}

fn places(document: &Document) -> Vec<(Place, &Placement)> {
    let observed = document.observes.iter().map(|one| (Place::of_observes(document, one), &one.placement));
    let produced = document.produces.iter().map(|one| (Place::of_product(document, one), &one.placement));
    observed.chain(produced).collect()
}

fn scopes(document: &Document) -> BTreeSet<String> {
    let own = std::iter::once(document.twin.value.clone());
    own.chain(places(document).into_iter().map(|(place, _)| place.scope)).collect()
}

/// The container and the rule that places what will be in it.
async fn container(lake: &LakeClient, place: &Place, placement: &Placement) -> Result<(), Failure> {
    let did = place.container();
    lake.ensure_dids(&[NewDid::container(&did)]).await?;
    let lifetime = placement.lifetime.and_then(|span| i64::try_from(span.0.as_secs()).ok());
    let rule = NewRule {
        comment: Some("placement of a twin".to_owned()),
        lifetime,
        ..NewRule::new(did, placement.copies, &placement.rses)
    };
    lake.add_rule(&rule).await?;
    Ok(())
}

/// The places in the order of arrivals, before any file can arrive.
async fn declare_sources(engine: &Engine, twin: &Twin, document: &Document) -> Result<(), Failure> {
    let wanted: Vec<Source> = document
        .observes
        .iter()
        .map(|one| {
            // Without a history the first month is expected at once; it is arrival 1 all the same.
            let (next_arrival, next_month): (u64, Option<Month>) =
                if one.history.is_some() { (0, None) } else { (1, Some(one.start)) };
            Source {
                twin: twin.name.clone(),
                source: one.name.value.clone(),
                watch: names::watch(&twin.name, &one.name.value),
                next_arrival,
                next_month,
            }
        })
        .collect();
    engine.store.write(move |tx| wanted.iter().try_for_each(|source| sources::ensure(tx, source))).await?;
    Ok(())
}

/// Declares a watch; one that is there as wanted stays, another of its name is replaced.
async fn watch(engine: &Engine, twin: &Twin, name: &str, path: &str, pattern: &str) -> Result<(), Failure> {
    let token = engine.token(&twin.owner, &[])?;
    let url = engine.url_of("/events/api/v1/watches");
    let body = json!({ "name": name, "path": path, "pattern": pattern, "settle": SETTLE });
    let declared = engine.client.post(&url).bearer(&token).timeout(PATIENCE).json(&body).send().await?;
    if declared.status != StatusCode::CONFLICT {
        declared.ok().await?;
        return Ok(());
    }
    let replaced =
        engine.client.put(format!("{url}/{name}")).bearer(&token).timeout(PATIENCE).json(&body).send().await?;
    replaced.ok().await?;
    Ok(())
}

async fn unwatch(engine: &Engine, twin: &Twin, name: &str) -> Result<(), Failure> {
    let token = engine.token(&twin.owner, &[])?;
    let url = engine.url_of(&format!("/events/api/v1/watches/{name}"));
    let reply = engine.client.delete(url).bearer(&token).timeout(PATIENCE).send().await?;
    if reply.status != StatusCode::NOT_FOUND {
        reply.ok().await?;
    }
    Ok(())
}

/// Watches of series that the document does not observe any more.
async fn drop_old_sources(engine: &Engine, loaded: &Loaded) -> Result<(), Failure> {
    let name = loaded.twin.name.clone();
    let known = engine.store.read(move |tx| sources::of(tx, &name)).await?;
    for old in known.into_iter().filter(|source| loaded.document.observes(&source.source).is_none()) {
        unwatch(engine, &loaded.twin, &old.watch).await?;
        engine.store.write(move |tx| sources::forget_empty(tx, &old.twin, &old.source)).await?;
    }
    Ok(())
}

async fn take_down(engine: &Engine, loaded: &Loaded) -> Result<(), Failure> {
    let name = loaded.twin.name.clone();
    let known = engine.store.read(move |tx| sources::of(tx, &name)).await?;
    for source in known {
        unwatch(engine, &loaded.twin, &source.watch).await?;
    }
    let name = loaded.twin.name.clone();
    engine.store.write(move |tx| troubles::clear(tx, &name, "apply")).await?;
    Ok(())
}

async fn activate(engine: &Engine, loaded: &Loaded, programs: Programs) -> Result<(), Failure> {
    let Loaded { twin, document } = loaded.clone();
    engine
        .store
        .write(move |tx| {
            if !twins::activate(tx, &twin.name, twin.version, &programs)? {
                return Ok(());
            }
            troubles::clear(tx, &twin.name, "apply")?;
            for observes in &document.observes {
                request_observe(tx, &twin.name, &observes.name.value)?;
            }
            for model in &document.models {
                request_model(tx, &twin.name, &model.name.value)?;
            }
            let data = json!({ "twin": twin.name, "version": twin.version, "owner": twin.owner.name });
            tx.emit(Event::new("org.dte.workflow.twin.applied", SOURCE, twin.name.clone(), data))
        })
        .await?;
    Ok(())
}
