//! Takes in the files of one source, strictly in order.
//!
//! For each file: is it its turn, are the bytes those that were announced, does the gate let it pass. Then the bytes are
//! written to the storage element, and only then the observation is accepted, in one transaction with its values, its
//! place in the order and the forecasts that it judges. Registering it in the lake follows and is repeated until it is done.

use std::io::ErrorKind;
use std::path::Path;

use bytes::Bytes;
use cap_std::ambient_authority;
use cap_std::fs::Dir;
use dte_protocol_rucio::{Attachment, Did, NewDid, NewReplica};
use dte_store::{Claim, Error, Event, Tx};
use serde_json::json;

use crate::model::document::{Observes, SeriesGate};
use crate::model::gate::{self, Expected, Gates};
use crate::model::month::Month;
use crate::model::names::{self, Place};
use crate::model::number::Micro;
use crate::store::forecasts::{self, Judged};
use crate::store::observations::{self, Observation, State};
use crate::store::sources::{self, Source};
use crate::store::{SOURCE, troubles, twins};
use crate::work::Target;
use crate::work::engine::{Engine, Failure, Loaded};

/// Works until there is nothing to do for the source now.
pub async fn observe(engine: &Engine, claim: &Claim) -> Result<(), Failure> {
    let target: Target = claim.payload()?;
    let mut troubled = true;
    while !engine.tasks.is_stopping() {
        let Some(loaded) = engine.load(&target.twin).await? else { return Ok(()) };
        if loaded.twin.state != twins::State::Active {
            return Ok(());
        }
        let Some(observes) = loaded.document.observes(&target.part).cloned() else { return Ok(()) };
        let (twin, part) = (target.twin.clone(), target.part.clone());
        let found = engine
            .store
            .read(move |tx| {
                let source = sources::get(tx, &twin, &part)?;
                Ok::<_, Error>(source.zip(observations::next(tx, &twin, &part)?))
            })
            .await?;
        let Some((source, file)) = found else {
            if troubled {
                let (twin, part) = (target.twin.clone(), format!("observes {}", target.part));
                engine.store.write(move |tx| troubles::clear(tx, &twin, &part)).await?;
            }
            return Ok(());
        };
        let intake = Intake { engine, loaded: &loaded, observes: &observes, source: &source };
        if file.state == State::Accepted {
            intake.register(&file).await?
        } else {
            intake.look_at(&file).await?
        }
        if troubled {
            let (twin, part) = (target.twin.clone(), format!("observes {}", target.part));
            engine.store.write(move |tx| troubles::clear(tx, &twin, &part)).await?;
            troubled = false;
        }
    }
    Ok(())
}

/// What a file turns out to be.
enum Turn {
    /// It is its turn, and this is what it must hold.
    Now(Expected),
    Held(String),
    Refused(String),
    Superseded(String),
}

struct Intake<'a> {
    engine: &'a Engine,
    loaded: &'a Loaded,
    observes: &'a Observes,
    source: &'a Source,
}

impl Intake<'_> {
    async fn look_at(&self, file: &Observation) -> Result<(), Failure> {
        let expected = match self.turn(file).await? {
            Turn::Now(expected) => expected,
            Turn::Held(reason) => return self.settle(file, State::Held, reason).await,
            Turn::Refused(reason) => return self.settle(file, State::Refused, reason).await,
            Turn::Superseded(reason) => return self.settle(file, State::Superseded, reason).await,
        };
        let bytes = match self.read(file).await? {
            Ok(bytes) => bytes,
            Err((state, reason)) => return self.settle(file, state, reason).await,
        };
        let rows = match gate::check(&bytes, &self.observes.series, self.gates(), expected) {
            Ok(rows) => rows,
            Err(refusal) => return self.settle(file, State::Refused, refusal.to_string()).await,
        };
        let place = Place::of_observes(&self.loaded.document, self.observes);
        let did = place.file(&file.name);
        let owner = &self.loaded.twin.owner;
        let lake = self.engine.lake(owner)?;
        self.engine.upload(&lake, owner, &self.observes.placement.landing, &did, bytes).await?;
        self.accept(file, rows, &did, &self.dataset(file)).await?;
        Ok(())
    }

    fn gates(&self) -> Gates {
        let check = self.loaded.document.checks.series.iter().find(|check| check.of.value == self.observes.name.value);
        let in_range = check.is_none_or(|check| check.require.value.contains(&SeriesGate::InRange));
        let range = self.observes.series.range.as_ref().map(|range| range.value);
        Gates { range: range.filter(|_| in_range) }
    }

    fn dataset(&self, file: &Observation) -> Did {
        let place = Place::of_observes(&self.loaded.document, self.observes);
        file.month.map_or_else(|| place.history(), |month| place.dataset(month))
    }

    /// Whether it is this file's turn.
    async fn turn(&self, file: &Observation) -> Result<Turn, Failure> {
        let history = self.observes.history.as_ref();
        let Some(month) = file.month else {
            let Some(history) = history.filter(|history| history.file.value == file.name) else {
                let pattern = &self.observes.pattern.value;
                return Ok(Turn::Refused(format!("the name does not follow {pattern:?}; rename the file")));
            };
            return match self.source.next_month {
                None => Ok(Turn::Now(Expected::History { from: history.from.value, to: self.observes.start.plus(-1) })),
                Some(_) => self.known(file, "the history").await,
            };
        };
        match self.source.next_month {
            None => {
                let name = history.map_or("the history", |history| history.file.value.as_str());
                Ok(Turn::Held(format!("waits for the history {name}")))
            }
            Some(next) if month == next => Ok(Turn::Now(Expected::Month(month))),
            Some(next) if month > next => Ok(Turn::Held(format!("waits for {next}"))),
            Some(_) if month < self.observes.start => {
                Ok(Turn::Refused(format!("month {month} is before {}, where the twin starts", self.observes.start)))
            }
            Some(_) => self.known(file, &format!("month {month}")).await,
        }
    }

    /// A file for something that is in the series already.
    async fn known(&self, file: &Observation, what: &str) -> Result<Turn, Failure> {
        let (twin, source, name) = (file.twin.clone(), file.source.clone(), file.name.clone());
        let before = self.engine.store.read(move |tx| observations::accepted_as(tx, &twin, &source, &name)).await?;
        Ok(match before {
            Some(before) if before.adler32 == file.adler32 && before.bytes == file.bytes => {
                Turn::Superseded(format!("{what} is known with the same content"))
            }
            _ => Turn::Refused(format!(
                "{what} is known already and forecasts rest on it; an observation is not changed afterwards"
            )),
        })
    }

    /// The bytes, if they are those that were announced. The inner error is the file's own fault; anything else that keeps
    /// it from being read (a folder that is away, an engine that stops) is waited out.
    async fn read(&self, file: &Observation) -> Result<Result<Bytes, (State, String)>, Failure> {
        if file.bytes > gate::MAX_BYTES {
            let most = dte_base::units::Bytes(gate::MAX_BYTES);
            return Ok(Err((State::Refused, format!("the file is larger than {most}"))));
        }
        let folder = names::absolute(&self.observes.folder.value, self.loaded.twin.base.as_deref()).unwrap_or_default();
        let (place, name) = (folder.clone(), file.name.clone());
        let read = tokio::task::spawn_blocking(move || {
            // Beneath the folder and nowhere else, also when the name is a link.
            let folder = Dir::open_ambient_dir(Path::new(&place), ambient_authority())?;
            Ok::<_, std::io::Error>(folder.read(&name))
        });
        let read = read.await.map_err(|error| Failure::Other(error.to_string()))?;
        let bytes = match read.map_err(|error| Failure::Other(format!("{folder}: {error}")))? {
            Ok(bytes) => Bytes::from(bytes),
            // The same content would not be announced again, so it is looked for.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => {
                let reason = format!("the file cannot be read: {error}; put it into the folder again");
                return Ok(Err((State::Missing, reason)));
            }
            Err(error) => return Err(Failure::Other(format!("{folder}/{}: {error}", file.name))),
        };
        let adler32 = format!("{:08x}", simd_adler32::adler32(&bytes.as_ref()));
        if bytes.len() as u64 != file.bytes || adler32 != file.adler32 {
            let reason = "the file was changed after it was announced; its new content counts";
            return Ok(Err((State::Superseded, reason.to_owned())));
        }
        Ok(Ok(bytes))
    }

    /// Notes what became of a file that is not taken now.
    async fn settle(&self, file: &Observation, state: State, reason: String) -> Result<(), Failure> {
        let file = file.clone();
        self.engine
            .store
            .write(move |tx| {
                if !observations::settle(tx, &file.id, State::Pending, state, Some(&reason))? {
                    return Ok::<_, Error>(());
                }
                if state == State::Missing {
                    // Found out again and again; the status shows it.
                    return Ok(());
                }
                let kind = format!("org.dte.workflow.observation.{}", state.as_str());
                let data = json!({
                    "twin": file.twin, "observes": file.source, "file": file.name, "bytes": file.bytes,
                    "adler32": file.adler32, "reason": reason,
                });
                tx.emit(Event::new(kind, SOURCE, format!("{}/{}", file.twin, file.name), data))
            })
            .await?;
        Ok(())
    }

    /// Makes the file part of the series, and judges the forecasts that waited for it.
    async fn accept(
        &self,
        file: &Observation,
        rows: Vec<(Month, Micro)>,
        did: &Did,
        dataset: &Did,
    ) -> Result<(), Failure> {
        let (file, source, loaded) = (file.clone(), self.source.clone(), self.loaded.clone());
        let next = file.month.map_or(self.observes.start, Month::next);
        let (did, dataset) = (did.to_string(), dataset.to_string());
        self.engine
            .store
            .write(move |tx| {
                let now = sources::get(tx, &file.twin, &file.source)?;
                let still = now
                    .is_some_and(|now| now.next_arrival == source.next_arrival && now.next_month == source.next_month);
                // Somebody else took this place in the meantime; whoever looks next decides anew.
                if !still || !observations::accept(tx, &file.id, source.next_arrival, &did, &dataset)? {
                    return Ok::<_, Error>(());
                }
                observations::add_values(tx, &file.twin, &file.source, source.next_arrival, &rows)?;
                sources::advance(tx, &file.twin, &file.source, source.next_arrival + 1, next)?;
                observations::release(tx, &file.twin, &file.source, next)?;
                if let Some(month) = file.month {
                    judge(tx, &loaded, &file.source, month)?;
                }
                let data = json!({
                    "twin": file.twin, "observes": file.source, "file": file.name, "arrival": source.next_arrival,
                    "month": file.month, "did": did, "dataset": dataset, "bytes": file.bytes, "adler32": file.adler32,
                });
                let subject = format!("{}/{}", file.twin, file.name);
                tx.emit(Event::new("org.dte.workflow.observation.accepted", SOURCE, subject, data))
            })
            .await?;
        Ok(())
    }

    /// Makes the lake know the file: a dataset of its own, closed, in the series' container.
    async fn register(&self, file: &Observation) -> Result<(), Failure> {
        let place = Place::of_observes(&self.loaded.document, self.observes);
        let (did, dataset) = (place.file(&file.name), self.dataset(file));
        let lake = self.engine.lake(&self.loaded.twin.owner)?;
        let replica = NewReplica::new(&did, file.bytes, file.adler32.clone());
        lake.add_replicas(&self.observes.placement.landing, &[replica]).await?;
        let wanted = NewDid { dids: vec![did.clone()], ..NewDid::dataset(&dataset) };
        lake.ensure_dids(&[wanted]).await?;
        lake.attach(&[Attachment::new(&place.container(), [dataset.clone()])]).await?;
        lake.close(&dataset).await?;
        let id = file.id.clone();
        self.engine.store.write(move |tx| observations::set_registered(tx, &id)).await?;
        Ok(())
    }
}

/// Counts the forecasts of a month that is observed now.
fn judge(tx: &mut Tx<'_>, loaded: &Loaded, source: &str, month: Month) -> Result<(), Error> {
    let twin = loaded.twin.name.as_str();
    for check in loaded.document.checks.skill.iter().filter(|check| check.against.value == source) {
        let judged = Judged { twin, product: &check.forecast.value, source };
        let (from, to) = (check.reference.from.value, check.reference.to.value);
        if let Some(climatology) = forecasts::climatology(tx, twin, source, from, to)? {
            forecasts::judge_observation(tx, judged, &climatology, month)?;
        }
    }
    Ok(())
}
