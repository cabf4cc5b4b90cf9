//! `dte config check`.

use crate::cli::{Common, Config};
use crate::failure::Failure;
use crate::settings::Settings;
use crate::show;

pub fn config(common: &Common, command: Config) -> Result<(), Failure> {
    let Config::Check = command;
    let settings = Settings::load(common, &[])?;
    settings.check()?;
    if common.json {
        show::json(&serde_json::json!({ "mistakes": [] }))?;
    } else {
        show::line("the configuration is good");
    }
    Ok(())
}
