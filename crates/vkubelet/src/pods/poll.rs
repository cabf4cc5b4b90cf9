//! Asks the site how the pods go, all in one question, and tells the cluster what is new.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dte_protocol_interlink::{PodStatus as News, RawPod};
use futures_util::{StreamExt, stream};

use super::controller::Controller;
use super::status::{self, Now};
use super::table::{Entry, Stage};
use super::{report, table};
use crate::Error;
use crate::events::Kind;
use crate::ledger;

/// Changes that are written at once.
const AT_ONCE: usize = 16;
/// A site that does not name a pod so many times in a row has lost it.
const LOST_AFTER: u32 = 5;
const LOST: &str = "The pod status was not found and may have been deleted from the provider";

/// News that comes together is asked for together.
const GATHER: Duration = Duration::from_millis(20);

/// Asks until the end: for all pods now and then, and at once for those that the site says have changed.
pub async fn run(controller: Arc<Controller>) {
    let mut silent = false;
    let mut only: Option<HashSet<String>> = None;
    let mut asked_all = Instant::now();
    while !controller.tasks.is_stopping() {
        match round(&controller, only.take()).await {
            Ok(()) => silent = false,
            Err(error) if !silent => {
                silent = true;
                tracing::warn!(%error, "the site does not say how pods go; they are left as they are");
            }
            Err(_) => {}
        }
        let rest = controller.settings.status_every.saturating_sub(asked_all.elapsed());
        tokio::select! {
            () = tokio::time::sleep(rest) => asked_all = Instant::now(),
            uids = news(&controller) => only = Some(uids),
            () = controller.tasks.stopping() => {}
        }
    }
}

async fn news(controller: &Controller) -> HashSet<String> {
    let uids = controller.heard.next().await;
    tokio::time::sleep(GATHER).await;
    uids
}

/// Asks for the pods named, or for all.
async fn round(controller: &Arc<Controller>, only: Option<HashSet<String>>) -> Result<(), Error> {
    let mut entries = controller.table.at_site();
    if let Some(only) = &only {
        entries.retain(|entry| only.contains(entry.raw.uid()));
    }
    if entries.is_empty() {
        return Ok(());
    }
    // Other servers hand the whole pod on to their plugin.
    let brief = controller.site.is_engine();
    let asked: Vec<RawPod> =
        entries.iter().map(|entry| if brief { ledger::bare(&entry.raw) } else { (*entry.raw).clone() }).collect();
    let answers = controller.site.status(&asked).await?;
    let mut answers: HashMap<String, News> = answers.into_iter().map(|news| (news.uid.clone(), news)).collect();
    let work = entries.into_iter().map(|entry| {
        let news = answers.remove(entry.raw.uid());
        async move {
            let uid = entry.raw.uid().to_owned();
            if let Err(error) = one(controller, &uid, entry, news).await {
                tracing::warn!(%uid, %error, "the cluster did not take a pod's status; it is told again");
            }
        }
    });
    stream::iter(work).buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
    Ok(())
}

async fn one(controller: &Arc<Controller>, uid: &str, entry: Entry, news: Option<News>) -> Result<(), Error> {
    let is_ending = matches!(entry.stage, Stage::Ending { .. });
    let Some(news) = news.filter(|news| !news.name.is_empty()) else {
        if is_ending {
            controller.finish(uid).await?;
            return Ok(());
        }
        let missing = controller.table.with(uid, |entry| {
            entry.missing = entry.missing.saturating_add(1);
            entry.missing
        });
        if missing.is_some_and(|times| times >= LOST_AFTER) {
            controller.fail(uid, &entry, "NotFound", LOST).await?;
        }
        return Ok(());
    };
    controller.table.with(uid, |entry: &mut table::Entry| entry.missing = 0);
    let next = status::next(&entry.pod, &controller.node.facts(), &news, Now::get());
    let began = next.phase.as_deref() == Some("Running") && status::phase(&entry.pod) != "Running";
    let ended = matches!(next.phase.as_deref(), Some("Succeeded" | "Failed"));
    report::tell(controller, uid, &entry.pod, next).await?;
    if began {
        controller.say(uid, &entry.pod, Kind::Normal, "Started", "The containers run at the site").await;
    }
    if is_ending && ended {
        controller.finish(uid).await?;
    } else if ended {
        controller.table.with(uid, |entry| entry.stage = Stage::Rest);
        // It may have been deleted meanwhile.
        controller.wake(uid);
    }
    Ok(())
}
