//! Summaries of usage.

use std::collections::{BTreeMap, HashMap};

use dte_base::time::Timestamp;
use serde::Serialize;

use super::price::{Prices, micro};
use super::usage::Kind;

/// By what usage is summed up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    Day,
    User,
    Twin,
}

impl Group {
    pub fn parse(text: &str) -> Option<Group> {
        match text {
            "day" => Some(Group::Day),
            "user" => Some(Group::User),
            "twin" => Some(Group::Twin),
            _ => None,
        }
    }
}

/// The sums of one day, user, twin, scope and kind, as they are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// `1983-01-31`
    pub day: String,
    pub user: String,
    pub twin: String,
    pub scope: String,
    pub kind: Kind,
    pub records: i64,
    pub cpu_micros: i64,
    pub wall_micros: i64,
    pub core_micros: i64,
    pub bytes: i64,
    /// Σ bytes × minute of the day at which each began to be held.
    pub byte_minutes: i64,
    pub cost_nano: i64,
}

/// The sums of one day, user or twin.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Row {
    pub key: String,
    pub compute: Compute,
    pub storage: Storage,
    pub transfer: Transfer,
    /// Millionths of the currency unit, of all three.
    pub cost_micro: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Compute {
    pub records: i64,
    pub cpu_seconds: f64,
    pub wall_seconds: f64,
    pub core_hours: f64,
    pub cost_micro: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Storage {
    pub records: i64,
    pub bytes: i64,
    pub gb_months: f64,
    pub cost_micro: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Transfer {
    pub records: i64,
    pub bytes: i64,
    pub cost_micro: i64,
}

/// Sums that are still exact.
#[derive(Default)]
struct Sums {
    records: [i64; 3],
    bytes: [i64; 3],
    cost_nano: [i64; 3],
    cpu: i64,
    wall: i64,
    core: i64,
    byte_minutes: i128,
}

const MINUTE: i64 = 60_000_000;

/// Bytes × minutes that the replicas of a cell have been held until `now`.
pub fn held(cell: &Cell, now: Timestamp) -> i128 {
    let begin = format!("{}T00:00:00Z", cell.day).parse::<Timestamp>().unwrap_or(now);
    let minutes = (now.as_micros() - begin.as_micros()).div_euclid(MINUTE).max(0);
    (i128::from(cell.bytes) * i128::from(minutes) - i128::from(cell.byte_minutes)).max(0)
}

/// The minute of the day, for [`Cell::byte_minutes`].
pub fn minute_of_day(time: Timestamp) -> i64 {
    time.as_micros().rem_euclid(86_400_000_000) / MINUTE
}

/// Sums cells up. `twin_of` says whose a scope is.
pub fn sum(
    cells: &[Cell],
    group: Group,
    twin_of: &HashMap<String, String>,
    prices: &Prices,
    now: Timestamp,
) -> Vec<Row> {
    let mut all: BTreeMap<String, Sums> = BTreeMap::new();
    for cell in cells {
        let key = match group {
            Group::Day => cell.day.clone(),
            Group::User => cell.user.clone(),
            Group::Twin => twin(cell, twin_of),
        };
        let sums = all.entry(key).or_default();
        let kind = cell.kind as usize;
        let add = |sum: &mut i64, more: i64| *sum = sum.saturating_add(more);
        add(&mut sums.records[kind], cell.records);
        add(&mut sums.bytes[kind], cell.bytes);
        add(&mut sums.cost_nano[kind], cell.cost_nano);
        add(&mut sums.cpu, cell.cpu_micros);
        add(&mut sums.wall, cell.wall_micros);
        add(&mut sums.core, cell.core_micros);
        if cell.kind == Kind::Storage {
            sums.byte_minutes = sums.byte_minutes.saturating_add(held(cell, now));
        }
    }
    all.into_iter().map(|(key, sums)| row(key, &sums, prices)).collect()
}

/// Whose a cell is: the pod's twin, or the twin whose scope it is. Empty when it belongs to no twin.
pub fn twin(cell: &Cell, twin_of: &HashMap<String, String>) -> String {
    if cell.twin.is_empty() { twin_of.get(&cell.scope).cloned().unwrap_or_default() } else { cell.twin.clone() }
}

fn row(key: String, sums: &Sums, prices: &Prices) -> Row {
    let seconds = |micros: i64| micros as f64 / 1e6;
    let [compute, storage, transfer] = [Kind::Compute, Kind::Storage, Kind::Transfer].map(|kind| kind as usize);
    let storage_nano = prices.storage_nano(sums.byte_minutes);
    Row {
        key,
        compute: Compute {
            records: sums.records[compute],
            cpu_seconds: seconds(sums.cpu),
            wall_seconds: seconds(sums.wall),
            core_hours: seconds(sums.core) / 3_600.0,
            cost_micro: micro(sums.cost_nano[compute]),
        },
        storage: Storage {
            records: sums.records[storage],
            bytes: sums.bytes[storage],
            gb_months: sums.byte_minutes as f64 / 1e9 / (30.0 * 24.0 * 60.0),
            cost_micro: micro(storage_nano),
        },
        transfer: Transfer {
            records: sums.records[transfer],
            bytes: sums.bytes[transfer],
            cost_micro: micro(sums.cost_nano[transfer]),
        },
        cost_micro: micro(
            sums.cost_nano[compute].saturating_add(storage_nano).saturating_add(sums.cost_nano[transfer]),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(kind: Kind, twin: &str, scope: &str) -> Cell {
        Cell {
            day: "2000-01-01".into(),
            user: "alice".into(),
            twin: twin.into(),
            scope: scope.into(),
            kind,
            records: 1,
            cpu_micros: 1_000_000,
            wall_micros: 2_000_000,
            core_micros: 2_000_000,
            bytes: 1_000_000_000,
            byte_minutes: 0,
            cost_nano: 5_000,
        }
    }

    #[test]
    fn data_belong_to_the_twin_of_their_scope() {
        let cells =
            [cell(Kind::Compute, "enso", ""), cell(Kind::Storage, "", "enso"), cell(Kind::Transfer, "", "other")];
        let twin_of = HashMap::from([("enso".to_owned(), "enso".to_owned())]);
        let month_later = "2000-01-31T00:00:00Z".parse().expect("a time");
        let rows = sum(&cells, Group::Twin, &twin_of, &Prices::default(), month_later);
        assert_eq!(rows.iter().map(|row| row.key.as_str()).collect::<Vec<_>>(), ["", "enso"]);
        assert_eq!((rows[1].storage.gb_months, rows[1].storage.cost_micro), (1.0, 20_000));
        assert_eq!(rows[1].cost_micro, 20_005);
        assert_eq!(rows[0].transfer.bytes, 1_000_000_000);
        assert_eq!(sum(&cells, Group::Day, &twin_of, &Prices::default(), month_later).len(), 1);
    }

    #[test]
    fn held_counts_from_the_minute() {
        let mut half = cell(Kind::Storage, "", "s");
        half.byte_minutes = half.bytes * minute_of_day("2000-01-01T12:00:30Z".parse().expect("a time"));
        let end = "2000-01-02T00:00:00Z".parse().expect("a time");
        assert_eq!(held(&half, end), i128::from(half.bytes) * 720);
        assert_eq!(held(&half, Timestamp::EPOCH), 0, "a clock that went back");
    }
}
