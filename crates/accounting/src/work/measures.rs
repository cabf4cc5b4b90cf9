//! The sums for Prometheus. They are read from the store, so they are true over restarts and with several processes.

use std::sync::LazyLock;
use std::time::Duration;

use dte_base::tasks::Tasks;
use dte_base::telemetry;
use dte_base::time::Timestamp;
use dte_store::{Error, Store};
use prometheus::IntGaugeVec;

use crate::model::price::Prices;
use crate::model::summary::{Group, sum};
use crate::store::summaries;

/// Looks at most this often.
const PAUSE: Duration = Duration::from_secs(15);

static RECORDS: LazyLock<IntGaugeVec> =
    LazyLock::new(|| telemetry::gauge("dte_accounting_records", "Usage records.", &["kind"]));
static AMOUNT: LazyLock<IntGaugeVec> =
    LazyLock::new(|| telemetry::gauge("dte_accounting_usage", "Usage in all: seconds and bytes.", &["measure"]));
static COST: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    telemetry::gauge("dte_accounting_cost_micro", "Cost in all, in millionths of the currency unit.", &["kind"])
});

pub fn start(store: &Store, tasks: &Tasks, prices: &Prices) {
    let (store, stop, prices) = (store.clone(), tasks.stop_token(), prices.clone());
    tasks.spawn("accounting measures", async move {
        let mut woken = store.watch_events();
        loop {
            match show(&store, &prices).await {
                Ok(()) => {}
                Err(Error::Closed) => return,
                Err(error) => tracing::warn!(%error, "the sums of accounting could not be read"),
            }
            tokio::select! {
                () = stop.cancelled() => return,
                changed = async { tokio::time::sleep(PAUSE).await; woken.changed().await } => if changed.is_err() { return },
            }
        }
    });
}

async fn show(store: &Store, prices: &Prices) -> Result<(), Error> {
    let cells = store.read(|tx| summaries::cells(tx, None, "", "9999-12-31")).await?;
    let rows = sum(&cells, Group::User, &Default::default(), prices, Timestamp::now());
    let total = |of: &dyn Fn(&crate::model::summary::Row) -> i64| rows.iter().map(of).fold(0_i64, i64::saturating_add);
    for (kind, records, cost) in [
        ("compute", total(&|r| r.compute.records), total(&|r| r.compute.cost_micro)),
        ("storage", total(&|r| r.storage.records), total(&|r| r.storage.cost_micro)),
        ("transfer", total(&|r| r.transfer.records), total(&|r| r.transfer.cost_micro)),
    ] {
        RECORDS.with_label_values(&[kind]).set(records);
        COST.with_label_values(&[kind]).set(cost);
    }
    for (measure, amount) in [
        ("cpu_seconds", total(&|r| r.compute.cpu_seconds as i64)),
        ("wall_seconds", total(&|r| r.compute.wall_seconds as i64)),
        ("stored_bytes", total(&|r| r.storage.bytes)),
        ("moved_bytes", total(&|r| r.transfer.bytes)),
    ] {
        AMOUNT.with_label_values(&[measure]).set(amount);
    }
    Ok(())
}
