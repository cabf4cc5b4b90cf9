//! Forecasts the sea surface temperature of the eastern equatorial Pacific (Niño 1+2) for the next six months.
//!
//! Reads every `*.csv` file of `$DTE_INPUTS/observations` and writes `$DTE_OUTPUTS/forecast.csv`. The same input gives the
//! same output, byte for byte. Exit codes: 65 the observations are not a series of months, 66 there are none,
//! 74 the forecast cannot be written, 78 the environment is incomplete.

mod forecast;
mod linear;
mod month;
mod series;
#[cfg(test)]
mod skill;

use std::env;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use forecast::Forecast;
use month::Month;
use series::Unusable;

const BAD_DATA: u8 = 65;
const NO_INPUT: u8 = 66;
const CANNOT_WRITE: u8 = 74;
const BAD_ENVIRONMENT: u8 = 78;

fn main() -> ExitCode {
    match run() {
        Ok(said) => {
            println!("{said}");
            ExitCode::SUCCESS
        }
        Err((code, why)) => {
            eprintln!("enso-model: {why}");
            ExitCode::from(code)
        }
    }
}

fn run() -> Result<String, (u8, String)> {
    let folder = |name: &str| {
        env::var_os(name).map(PathBuf::from).ok_or_else(|| (BAD_ENVIRONMENT, format!("{name} is not set")))
    };
    let series = series::read(&folder("DTE_INPUTS")?.join("observations")).map_err(|error| match error {
        Unusable::Folder(why) => (NO_INPUT, why),
        Unusable::Data(why) => (BAD_DATA, why),
    })?;
    let months = series.values.len();
    let Some(forecasts) = forecast::forecast(&series) else {
        return Err((BAD_DATA, format!("{months} months are too few: {} are needed", forecast::FEWEST_MONTHS)));
    };
    let issue = series.month(months - 1);
    let path = folder("DTE_OUTPUTS")?.join("forecast.csv");
    std::fs::write(&path, table(issue, &forecasts)).map_err(|e| (CANNOT_WRITE, format!("{}: {e}", path.display())))?;
    Ok(format!("fitted on {months} months, {} to {issue}; forecast {} months ahead", series.first, forecasts.len()))
}

/// The forecast as CSV.
fn table(issue: Month, forecasts: &[Forecast]) -> String {
    let mut text = String::from(
        "issue_month,target_month,lead,mean_c,lower80_c,upper80_c,lower95_c,upper95_c,climatology_c,anomaly_c\n",
    );
    for f in forecasts {
        let ((low80, high80), (low95, high95)) = (f.interval_80(), f.interval_95());
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{issue},{},{},{:.3},{low80:.3},{high80:.3},{low95:.3},{high95:.3},{:.3},{:.3}",
            f.target,
            f.lead,
            f.mean,
            f.climatology,
            f.mean - f.climatology
        );
    }
    text
}
