//! Where the engine's things are and how it is configured: file, environment, flags.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dte_base::config::{BadConfig, Document, Section};
use dte_base::telemetry::LogFormat;
use serde::Deserialize;

use crate::cli::Common;

/// `[log]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// Directives as in `RUST_LOG`: `info,dte_lake=debug`.
    pub filter: String,
    pub format: LogFormat,
}

impl Default for LogConfig {
    fn default() -> Self {
        LogConfig { filter: "warn,dte=info".to_owned(), format: LogFormat::Text }
    }
}

/// Sections of the engine itself and of the floors; those of the services come from [`crate::services`].
const OWN_SECTIONS: &[Section] = &[
    Section::of::<LogConfig>("log"),
    Section::of::<dte_store::Options>("store"),
    Section::of::<dte_identity::config::IdentityConfig>("identity"),
];

/// The name of the configuration file where none is named.
const FILE_NAME: &str = "dte.toml";

/// Everything that is known before the engine opens.
#[derive(Clone, Debug)]
pub struct Settings {
    pub data_dir: PathBuf,
    pub document: Arc<Document>,
}

impl Settings {
    /// Reads the configuration. `overrides` are flags: section, key, value.
    pub fn load(common: &Common, overrides: &[(&'static str, &'static str, String)]) -> Result<Self, BadConfig> {
        let file = common.config.clone().or_else(|| default_file(&common.data_dir));
        let mut document = Document::load(file.as_deref())?.with_env(std::env::vars());
        if let Ok(url) = std::env::var("DTE_STORE") {
            document.set("store", "url", &format!("{url:?}"), "environment variable DTE_STORE");
        }
        for (section, key, value) in overrides {
            document.set(section, key, &format!("{value:?}"), format!("flag --{key}"));
        }
        let data_dir = std::path::absolute(&common.data_dir).unwrap_or_else(|_| common.data_dir.clone());
        Ok(Settings { data_dir, document: Arc::new(document) })
    }

    /// All mistakes of the configuration.
    pub fn check(&self) -> Result<(), BadConfig> {
        let sections: Vec<Section> = crate::services::sections();
        let mistakes = self.document.check(&sections, true);
        if mistakes.is_empty() { Ok(()) } else { Err(BadConfig(mistakes)) }
    }
}

/// The sections that exist.
pub fn own_sections() -> impl Iterator<Item = Section> {
    OWN_SECTIONS.iter().chain(dte_http::SECTIONS).copied()
}

fn default_file(data_dir: &Path) -> Option<PathBuf> {
    [data_dir.join(FILE_NAME), PathBuf::from(FILE_NAME)].into_iter().find(|path| path.is_file())
}
