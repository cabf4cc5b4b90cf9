//! Forecasts, and how good they were.

use dte_store::{Error, Row as SqlRow, Tx, Value, params, values};

use crate::model::forecast::Row;
use crate::model::month::Month;
use crate::model::skill::{Climatology, Pair, Score};
use crate::store::observations;

/// Which forecasts: a product of a twin and the series that judges it.
#[derive(Clone, Copy, Debug)]
pub struct Judged<'a> {
    pub twin: &'a str,
    pub product: &'a str,
    pub source: &'a str,
}

const COLUMNS: [&str; 10] =
    ["twin", "product", "issue", "lead", "target", "mean", "lower80", "upper80", "lower95", "upper95"];

fn read(row: &SqlRow) -> Result<(Month, Row), Error> {
    Ok((
        row.get(0)?,
        Row {
            lead: row.get(1)?,
            target: row.get(2)?,
            mean: row.get(3)?,
            lower80: row.get(4)?,
            upper80: row.get(5)?,
            lower95: row.get(6)?,
            upper95: row.get(7)?,
        },
    ))
}

/// The means of a reference period; `None` before all of it is known.
pub fn climatology(
    tx: &mut Tx<'_>,
    twin: &str,
    source: &str,
    from: Month,
    to: Month,
) -> Result<Option<Climatology>, Error> {
    let values = observations::values(tx, twin, source, from, to)?;
    let whole = usize::try_from(to.since(from) + 1).is_ok_and(|months| months == values.len());
    Ok(if whole { Climatology::of(values) } else { None })
}

/// Records a forecast.
pub fn add(tx: &mut Tx<'_>, twin: &str, product: &str, issue: Month, rows: &[Row]) -> Result<(), Error> {
    let rows: Vec<Vec<Value>> = rows
        .iter()
        .map(|row| {
            values![
                twin,
                product,
                issue,
                row.lead,
                row.target,
                row.mean,
                row.lower80,
                row.upper80,
                row.lower95,
                row.upper95
            ]
        })
        .collect();
    tx.insert_many("workflow_forecasts", &COLUMNS, &rows)?;
    Ok(())
}

/// Forecasts issued from a month to a month, in order of issue and lead.
pub fn issued(tx: &mut Tx<'_>, twin: &str, product: &str, from: Month, to: Month) -> Result<Vec<(Month, Row)>, Error> {
    tx.query(
        "SELECT issue, lead, target, mean, lower80, upper80, lower95, upper95 FROM workflow_forecasts
         WHERE twin = ?1 AND product = ?2 AND issue >= ?3 AND issue <= ?4 ORDER BY issue, lead",
        &params![twin, product, from, to],
        read,
    )
}

/// The month of the newest forecast.
pub fn newest(tx: &mut Tx<'_>, twin: &str, product: &str) -> Result<Option<Month>, Error> {
    tx.query_opt(
        "SELECT issue FROM workflow_forecasts WHERE twin = ?1 AND product = ?2 ORDER BY issue DESC LIMIT 1",
        &params![twin, product],
        |row| row.get(0),
    )
}

/// A new forecast: counts what is observed of its targets already.
pub fn judge_forecast(
    tx: &mut Tx<'_>,
    judged: Judged<'_>,
    climatology: &Climatology,
    issue: Month,
    rows: &[Row],
) -> Result<(), Error> {
    let (Some(first), Some(last)) = (rows.iter().map(|row| row.target).min(), rows.iter().map(|row| row.target).max())
    else {
        return Ok(());
    };
    let Some(start) = observations::value(tx, judged.twin, judged.source, issue)? else { return Ok(()) };
    let truths = observations::values(tx, judged.twin, judged.source, first, last)?;
    for row in rows {
        let Some((_, truth)) = truths.iter().find(|(month, _)| *month == row.target) else { continue };
        let pair = Pair { issue, target: row.target, mean: row.mean, start, truth: *truth };
        count(tx, judged, row.lead, &pair, climatology)?;
    }
    Ok(())
}

/// A new observation: counts the forecasts that were waiting for it.
pub fn judge_observation(
    tx: &mut Tx<'_>,
    judged: Judged<'_>,
    climatology: &Climatology,
    target: Month,
) -> Result<(), Error> {
    let Some(truth) = observations::value(tx, judged.twin, judged.source, target)? else { return Ok(()) };
    let waiting = tx.query(
        "SELECT issue, lead, target, mean, lower80, upper80, lower95, upper95 FROM workflow_forecasts
         WHERE twin = ?1 AND product = ?2 AND target = ?3 ORDER BY issue",
        &params![judged.twin, judged.product, target],
        read,
    )?;
    for (issue, row) in waiting {
        let Some(start) = observations::value(tx, judged.twin, judged.source, issue)? else { continue };
        let pair = Pair { issue, target, mean: row.mean, start, truth };
        count(tx, judged, row.lead, &pair, climatology)?;
    }
    Ok(())
}

fn count(tx: &mut Tx<'_>, judged: Judged<'_>, lead: u32, pair: &Pair, climatology: &Climatology) -> Result<(), Error> {
    let mut score = tx
        .query_opt(
            "SELECT lead, pairs, model, persistence, climatology FROM workflow_scores
             WHERE twin = ?1 AND product = ?2 AND lead = ?3",
            &params![judged.twin, judged.product, lead],
            read_score,
        )?
        .map(|(_, score)| score)
        .unwrap_or_default();
    score.add(pair, climatology);
    let row = values![
        judged.twin,
        judged.product,
        lead,
        score.count,
        score.model.to_string(),
        score.persistence.to_string(),
        score.climatology.to_string()
    ];
    let columns = ["twin", "product", "lead", "pairs", "model", "persistence", "climatology"];
    tx.upsert_many("workflow_scores", &columns, &["twin", "product", "lead"], &[row])?;
    Ok(())
}

fn read_score(row: &SqlRow) -> Result<(u32, Score), Error> {
    let sum = |column: usize| -> Result<i128, Error> {
        let text: String = row.get(column)?;
        text.parse().map_err(|_| Error::Invalid("a stored sum of squares cannot be read".to_owned()))
    };
    Ok((row.get(0)?, Score { count: row.get(1)?, model: sum(2)?, persistence: sum(3)?, climatology: sum(4)? }))
}

/// The scores by lead.
pub fn scores(tx: &mut Tx<'_>, twin: &str, product: &str) -> Result<Vec<(u32, Score)>, Error> {
    tx.query(
        "SELECT lead, pairs, model, persistence, climatology FROM workflow_scores
         WHERE twin = ?1 AND product = ?2 ORDER BY lead",
        &params![twin, product],
        read_score,
    )
}
