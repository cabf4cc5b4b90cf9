//! Copies between two other storages, made by one of them.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use dte_protocol_webdav::path::ResourcePath;
use dte_storage::third_party::{Active, Party, Undone, copy_between, offers_copies};
use dte_storage::{Copied, CopyOrder, Errno, Error, Location, Side};

use crate::model::support::TpcSupport;
use crate::shared::Shared;
use crate::store::storages;
use crate::work::storage::Parties;

/// How long is believed what a storage said of itself.
const MEMORY: Duration = Duration::from_secs(600);
/// Storages that are remembered; when there are more, all are asked again.
const MOST_KNOWN: usize = 10_000;

/// Which storages copy to and from others by themselves, by their authority.
#[derive(Default)]
pub struct Copiers(Mutex<HashMap<String, (Instant, bool)>>);

impl Copiers {
    fn known(&self, authority: &str) -> Option<bool> {
        let known = self.0.lock().ok()?;
        known.get(authority).filter(|(since, _)| since.elapsed() < MEMORY).map(|(_, copies)| *copies)
    }

    fn note(&self, authority: &str, copies: bool) {
        if let Ok(mut known) = self.0.lock() {
            if known.len() >= MOST_KNOWN {
                known.clear();
            }
            known.insert(authority.to_owned(), (Instant::now(), copies));
        }
    }

    async fn ask(&self, party: &Party) -> bool {
        if let Some(known) = self.known(party.authority()) {
            return known;
        }
        match offers_copies(party).await {
            Ok(copies) => {
                self.note(party.authority(), copies);
                copies
            }
            // A storage that is away or does not know the question; the copy itself will tell more.
            Err(error) => {
                if !error.is_recoverable() {
                    self.note(party.authority(), false);
                }
                false
            }
        }
    }
}

/// The destination fetches the file, or the source brings it, whichever can and may. `names` are the storage elements of both.
pub async fn make(
    shared: &Shared,
    parties: &Parties,
    names: [&str; 2],
    destination: &Location,
    order: &CopyOrder,
) -> Result<Copied, Undone> {
    let said = support(shared, names).await?;
    let mut last = Error::new(Errno::ENOSYS, "neither storage copies to or from others by itself").at(Side::Transfer);
    for (active, party) in [(Active::Destination, &parties.destination), (Active::Source, &parties.source)] {
        if !said.iter().all(|support| support.allows(active)) || !shared.copiers.ask(party).await {
            continue;
        }
        make_folder(destination).await?;
        match copy_between(&parties.source, &parties.destination, active, order, &shared.tasks).await {
            Err(Undone::Unsupported(error)) => {
                shared.copiers.note(party.authority(), false);
                last = error;
            }
            other => return other,
        }
    }
    Err(Undone::Unsupported(last))
}

/// What an administrator says of both.
async fn support(shared: &Shared, names: [&str; 2]) -> Result<[TpcSupport; 2], Error> {
    let [from, to] = names.map(str::to_owned);
    let read = shared
        .store
        .read(move |tx| Ok::<_, dte_store::Error>([storages::support_of(tx, &from)?, storages::support_of(tx, &to)?]));
    read.await.map_err(|error| Error::new(Errno::EIO, error.to_string()).at(Side::Transfer))
}

/// Servers differ in whether they make the folders that lead to a file.
async fn make_folder(destination: &Location) -> Result<(), Error> {
    let folder: ResourcePath = destination.path.parent().unwrap_or_default();
    match destination.store.make_folder(&folder).await {
        // A server may know folders by the names of files only, or give tokens no right to make any.
        Err(error) if matches!(error.errno, Errno::ENOSYS | Errno::EACCES) => Ok(()),
        other => other.map_err(|error| error.at(Side::Destination)),
    }
}
