//! The end of a run: its products are read and recorded, its forecast is judged, alerts are raised, and the run is told of,
//! all in one transaction.

use dte_base::id::derived_id;
use dte_base::time::Timestamp;
use dte_identity::UserRef;
use dte_protocol_interlink::{LogOptions, LogStruct};
use dte_protocol_rucio::Did;
use dte_store::{Error, Event, NewWork, Tx};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::model::alert::{self, Condition, Step};
use crate::model::document::{Document, Model, ProductFormat};
use crate::model::forecast::{self, Row};
use crate::model::names::{self, Place};
use crate::model::pod::{self, File};
use crate::model::run::Happening;
use crate::store::forecasts::{self, Judged};
use crate::store::runs::{self, Product, Run};
use crate::store::{SOURCE, alerts, queue, request_model, twins};
use crate::work::engine::{Engine, Failure, Loaded};

/// How much of a failed run's log is kept with it.
const LOG_TAIL: usize = 16 * 1024;
const LOG_LINES: u32 = 200;
/// The reason of pods whose owner may do nothing any more.
const SUSPENDED: &str = "Suspended";
/// The most of a log that is handed on.
const LOG_MOST: usize = 16 << 20;

/// What the end of a pod tells, as far as it concerns us.
#[derive(Debug, Default, Deserialize)]
struct Outcome {
    #[serde(default)]
    phase: String,
    /// One word.
    #[serde(default)]
    reason: Option<String>,
    /// A sentence.
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    exit_code: Option<i64>,
    #[serde(default)]
    site: Option<String>,
    #[serde(default)]
    why: Option<String>,
    #[serde(default)]
    started: Option<Timestamp>,
    #[serde(default)]
    finished: Option<Timestamp>,
    #[serde(default)]
    cpu_seconds: f64,
    #[serde(default)]
    outputs: Vec<Output>,
}

impl Outcome {
    fn was_suspended(&self) -> bool {
        self.phase == "Failed" && self.reason.as_deref() == Some(SUSPENDED)
    }

    fn why_it_failed(&self) -> String {
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        match (given(&self.reason), given(&self.message)) {
            (Some(reason), Some(message)) => format!("{reason}: {message}"),
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => format!("the pod ended as {}", self.phase),
        }
    }
}

#[derive(Debug, Deserialize)]
struct Output {
    did: String,
    bytes: u64,
    adler32: String,
}

/// A product that was read.
#[derive(Clone)]
struct Read {
    product: Product,
    /// Of a forecast.
    rows: Option<Vec<Row>>,
}

/// Ends a run whose pod has ended.
pub async fn conclude(engine: &Engine, loaded: &Loaded, model: &Model, run: Run) -> Result<(), Failure> {
    let outcome: Outcome = run.outcome.clone().map(serde_json::from_value).and_then(Result::ok).unwrap_or_default();
    let result = if outcome.phase == "Succeeded" {
        products(engine, loaded, &run, &outcome).await?
    } else {
        Err(outcome.why_it_failed())
    };
    let log = match &result {
        Ok(_) => None,
        Err(_) => log_of(engine, loaded, &run).await,
    };
    let mut ended = charged(run, &outcome);
    ended.log = log;
    match result {
        Ok(read) => {
            close(engine, loaded, &read).await?;
            record(engine, loaded, ended, read).await
        }
        // A pod that was ended because its owner was suspended says nothing about the model: it runs again.
        Err(reason) if ended.attempt < model.retries || outcome.was_suspended() => again(engine, ended, reason).await,
        Err(reason) => {
            ended.reason = Some(reason);
            fail(engine, loaded, ended).await
        }
    }
}

fn charged(run: Run, outcome: &Outcome) -> Run {
    let started = outcome.started.or(run.submitted).unwrap_or(run.started);
    let finished = outcome.finished.unwrap_or_else(Timestamp::now);
    let wall = i64::try_from(finished.since(started).as_micros()).unwrap_or(i64::MAX);
    Run {
        exit_code: outcome.exit_code,
        site: outcome.site.clone(),
        why: outcome.why.clone().or_else(|| run.why.clone()),
        ended: Some(finished),
        cpu: (outcome.cpu_seconds.clamp(0.0, 1e9) * 1e6) as i64,
        wall,
        ..run
    }
}

/// Reads what the run gave back. The inner error is the run's own fault.
async fn products(
    engine: &Engine,
    loaded: &Loaded,
    run: &Run,
    outcome: &Outcome,
) -> Result<Result<Vec<Read>, String>, Failure> {
    let document = &loaded.document;
    let mut read = Vec::new();
    for product in document.products_of(&run.model) {
        let did = names::product_file(document, product, run.issue);
        let Some(output) = outcome.outputs.iter().find(|output| output.did == did.to_string()) else {
            return Ok(Err(format!("the model wrote no {}", product.output.value)));
        };
        let rows = match product.format {
            ProductFormat::Opaque => None,
            ProductFormat::ForecastCsv => match forecast_of(engine, loaded, run, &did, output).await? {
                Ok(rows) => Some(rows),
                Err(why) => return Ok(Err(format!("the forecast {} cannot be used: {why}", product.output.value))),
            },
        };
        let file = File {
            did: output.did.clone(),
            name: did.name.clone(),
            bytes: output.bytes,
            adler32: output.adler32.clone(),
        };
        let product = Product {
            product: product.name.value.clone(),
            arrival: run.arrival,
            issue: run.issue,
            run: run.uid.clone(),
            file,
            dataset: Place::of_product(document, product).dataset(run.issue).to_string(),
        };
        read.push(Read { product, rows });
    }
    Ok(Ok(read))
}

async fn forecast_of(
    engine: &Engine,
    loaded: &Loaded,
    run: &Run,
    did: &Did,
    output: &Output,
) -> Result<Result<Vec<Row>, String>, Failure> {
    if output.bytes > forecast::MAX_BYTES as u64 {
        return Ok(Err(format!("it is larger than {}", dte_base::units::Bytes(forecast::MAX_BYTES as u64))));
    }
    let owner = &loaded.twin.owner;
    let lake = engine.lake(owner)?;
    let bytes = engine.download(&lake, owner, did, forecast::MAX_BYTES).await?;
    let adler32 = format!("{:08x}", simd_adler32::adler32(&bytes.as_ref()));
    if adler32 != output.adler32 {
        return Err(Failure::Other(format!(
            "{did} has the checksum {adler32} where {} was registered",
            output.adler32
        )));
    }
    Ok(match std::str::from_utf8(&bytes) {
        Ok(text) => forecast::read(text, run.issue),
        Err(_) => Err("the text is not UTF-8".to_owned()),
    })
}

/// Notes the products and closes their datasets: from here on they are what they are. Noted first, because the lake may
/// say that a dataset is in place as soon as it is closed.
async fn close(engine: &Engine, loaded: &Loaded, read: &[Read]) -> Result<(), Failure> {
    let (twin, products) = (loaded.twin.name.clone(), read.iter().map(|one| one.product.clone()).collect::<Vec<_>>());
    engine.store.write(move |tx| products.iter().try_for_each(|product| runs::add_product(tx, &twin, product))).await?;
    let lake = engine.lake(&loaded.twin.owner)?;
    for one in read {
        let dataset: Did = one.product.dataset.parse().map_err(|error| Failure::Other(format!("{error}")))?;
        lake.close(&dataset).await?;
    }
    Ok(())
}

/// The end of the run's log, if whoever ran it still has it.
async fn log_of(engine: &Engine, loaded: &Loaded, run: &Run) -> Option<String> {
    let text = fetch_log(engine, &loaded.twin.owner, run, LOG_LINES).await.ok()?;
    let mut start = text.len().saturating_sub(LOG_TAIL);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    Some(text[start..].to_owned())
}

/// The log of a run, from whoever runs it; `lines` from its end, at most [`LOG_MOST`] bytes.
pub async fn fetch_log(engine: &Engine, owner: &UserRef, run: &Run, lines: u32) -> Result<String, Failure> {
    let identity =
        pod::Run { twin: &run.twin, model: &run.model, arrival: run.arrival, issue: run.issue, attempt: run.attempt };
    let asked = LogStruct {
        namespace: run.twin.clone(),
        pod_uid: run.uid.clone(),
        pod_name: identity.pod_name(),
        container_name: run.model.clone(),
        options: LogOptions {
            tail: i64::from(lines),
            bytes: if lines == 0 { LOG_MOST as i64 } else { 0 },
            ..LogOptions::default()
        },
    };
    let bytes = engine.interlink(owner)?.logs(&asked).await?.bytes(LOG_MOST).await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A run that succeeded: all of it in one transaction.
async fn record(engine: &Engine, loaded: &Loaded, run: Run, read: Vec<Read>) -> Result<(), Failure> {
    let loaded = loaded.clone();
    engine
        .store
        .write(move |tx| {
            let Some(state) = run.state.after(Happening::Recorded) else { return Ok::<_, Error>(()) };
            let done = Run { state, reason: None, outcome: None, ..run.clone() };
            if !runs::update(tx, run.state, &done)? {
                return Ok(());
            }
            for one in &read {
                if let Some(rows) = &one.rows {
                    judge(tx, &loaded.document, &run, &one.product.product, rows)?;
                }
            }
            twins::charge(tx, &run.twin, run.cpu, run.wall)?;
            let products: Vec<&Product> = read.iter().map(|one| &one.product).collect();
            tell(tx, &done, &products)?;
            request_model(tx, &run.twin, &run.model)
        })
        .await?;
    Ok(())
}

/// A run that gave nothing.
async fn fail(engine: &Engine, loaded: &Loaded, run: Run) -> Result<(), Failure> {
    let loaded = loaded.clone();
    engine
        .store
        .write(move |tx| {
            let Some(state) = run.state.after(Happening::GaveNothing) else { return Ok::<_, Error>(()) };
            let failed = Run { state, outcome: None, ..run.clone() };
            if !runs::update(tx, run.state, &failed)? {
                return Ok(());
            }
            twins::charge(tx, &run.twin, run.cpu, run.wall)?;
            tell(tx, &failed, &[])?;
            wake_followers(tx, &loaded.document, &run.twin, &run.model)?;
            request_model(tx, &run.twin, &run.model)
        })
        .await?;
    Ok(())
}

/// The same arrival once more, as another pod.
async fn again(engine: &Engine, run: Run, reason: String) -> Result<(), Failure> {
    engine
        .store
        .write(move |tx| {
            if run.state.after(Happening::TriedAgain).is_none() {
                return Ok::<_, Error>(());
            }
            let attempt = run.attempt + 1;
            let next = pod::Run { twin: &run.twin, model: &run.model, arrival: run.arrival, issue: run.issue, attempt };
            let still =
                runs::get(tx, &run.uid)?.is_some_and(|now| now.state == run.state && now.attempt == run.attempt);
            if !still {
                return Ok(());
            }
            twins::charge(tx, &run.twin, run.cpu, run.wall)?;
            let reason = format!("try {attempt} failed: {reason}");
            runs::begin_again(tx, &run.uid, &next.uid().to_string(), attempt, &reason)
        })
        .await?;
    Ok(())
}

/// Models that wait for this one learn that it ended.
pub fn wake_followers(tx: &mut Tx<'_>, document: &Document, twin: &str, model: &str) -> Result<(), Error> {
    for product in document.products_of(model) {
        let followers = document.models.iter().filter(|one| one.on.dataset_ready.value == product.name.value);
        for follower in followers {
            request_model(tx, twin, &follower.name.value)?;
        }
    }
    Ok(())
}

/// Tells of the end of a run, once.
pub fn tell(tx: &mut Tx<'_>, run: &Run, products: &[&Product]) -> Result<(), Error> {
    let dids: Vec<Value> = products
        .iter()
        .map(|one| json!({ "name": one.product, "did": one.file.did, "bytes": one.file.bytes, "adler32": one.file.adler32 }))
        .collect();
    let data = json!({
        "twin": run.twin,
        "model": run.model,
        "arrival": run.arrival,
        "issue_month": run.issue,
        "pod_uid": run.uid,
        "attempt": run.attempt,
        "version": run.version,
        "state": run.state.as_str(),
        "reason": run.reason,
        "exit_code": run.exit_code,
        "site": run.site,
        "why": run.why,
        "forecast_did": products.first().map(|one| one.file.did.as_str()),
        "products": dids,
        "cpu_seconds": run.cpu as f64 / 1e6,
        "wall_seconds": run.wall as f64 / 1e6,
    });
    let subject = format!("{}/{}/{}", run.twin, run.model, run.issue);
    let id = derived_id(&["run.finished", &run.uid]);
    tx.emit(Event::new("org.dte.workflow.run.finished", SOURCE, subject, data).with_id(id))
}

/// Records a forecast, counts it against what is observed, and looks whether people must be told.
fn judge(tx: &mut Tx<'_>, document: &Document, run: &Run, product: &str, rows: &[Row]) -> Result<(), Error> {
    forecasts::add(tx, &run.twin, product, run.issue, rows)?;
    let Some(check) = document.checks.skill.iter().find(|check| check.forecast.value == product) else { return Ok(()) };
    let source = check.against.value.as_str();
    let (from, to) = (check.reference.from.value, check.reference.to.value);
    let Some(climatology) = forecasts::climatology(tx, &run.twin, source, from, to)? else { return Ok(()) };
    let judged = Judged { twin: &run.twin, product, source };
    forecasts::judge_forecast(tx, judged, &climatology, run.issue, rows)?;
    for declared in document.alerts.iter().filter(|one| one.forecast.value == product) {
        let condition = Condition {
            at_least: declared.when.anomaly_at_least,
            first_lead: declared.when.leads.value.0,
            last_lead: declared.when.leads.value.1,
            probability: declared.when.probability.value,
            over_below: declared.over_below.value,
        };
        let open = alerts::open(tx, &run.twin, &declared.name.value)?;
        match alert::step(&condition, open.is_some(), rows, &climatology) {
            Step::Same => {}
            Step::Raise(signal) => {
                let kind = alerts::Kind {
                    twin: &run.twin,
                    alert: &declared.name.value,
                    forecast: product,
                    severity: declared.severity.as_str(),
                    message: &declared.message,
                };
                let raised = alerts::raise(tx, kind, run.issue, &run.uid, &signal)?;
                announce(tx, "raised", &raised)?;
                if declared.webhook.is_some() {
                    let payload = json!({ "twin": run.twin, "alert": raised.id });
                    tx.enqueue(NewWork::new(queue::WEBHOOK, raised.id.clone(), payload))?;
                }
            }
            Step::Over => {
                if let Some(open) = open {
                    alerts::end(tx, &open.id, run.issue)?;
                    announce(tx, "ended", &alerts::Raised { ended_issue_month: Some(run.issue), ..open })?;
                }
            }
        }
    }
    Ok(())
}

fn announce(tx: &mut Tx<'_>, what: &str, raised: &alerts::Raised) -> Result<(), Error> {
    let mut data = serde_json::to_value(raised).map_err(|error| Error::Invalid(error.to_string()))?;
    data["twin"] = raised.twin.clone().into();
    let id = derived_id(&["alert", what, &raised.id]);
    let subject = format!("{}/{}", raised.twin, raised.alert);
    tx.emit(Event::new(format!("org.dte.workflow.alert.{what}"), SOURCE, subject, data).with_id(id))
}
