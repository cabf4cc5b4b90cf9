//! Files of upstream's interLink, read as if they were configuration of ours: [`api_server`] and [`slurm_plugin`].
//!
//! Each key of such a file has a meaning here, or becomes a note that says what to do instead; none is passed over. What `dte.toml`,
//! the environment and flags say goes first; sites and sockets are added to theirs.

mod api_server;
mod slurm_plugin;

use std::path::Path;

use dte_base::config::Document;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use toml_edit::{Array, InlineTable};

use crate::cli::DropIn;
use crate::failure::Failure;

/// What may be done by those who come without a token: with pods, all of it.
const PODS: [&str; 4] = ["compute.create", "compute.read", "compute.cancel", "compute.modify"];
/// As whom pods run that no wall keeps from the account of the jobs.
const ADMINISTRATOR: &str = "dte.admin";

/// A key that has no meaning here, and what to do instead.
type Instead = (&'static str, &'static str);

/// One file on its way into the configuration.
struct Reading<'a> {
    file: &'a Path,
    document: &'a mut Document,
    /// For whoever comes without a token.
    account: &'a str,
    notes: Vec<String>,
}

/// Reads the files into `document`. What comes back are notes for the operator.
pub fn apply(files: &DropIn, document: &mut Document) -> Result<Vec<String>, Failure> {
    let mut notes = Vec::new();
    let account = files.interlink_account.as_str();
    if let Some(file) = &files.slurm_plugin_config {
        let mut reading = Reading { file, document, account, notes: Vec::new() };
        slurm_plugin::apply(&mut reading)?;
        notes.append(&mut reading.notes);
    }
    if let Some(file) = &files.interlink_config {
        let mut reading = Reading { file, document, account, notes: Vec::new() };
        api_server::apply(&mut reading, files.slurm_plugin_config.is_some())?;
        notes.append(&mut reading.notes);
    }
    Ok(notes)
}

impl Reading<'_> {
    fn wrong(&self, message: impl std::fmt::Display) -> Failure {
        Failure::new(format!("{}: {message}", self.file.display())).with_code(2)
    }

    fn note(&mut self, text: impl std::fmt::Display) {
        self.notes.push(format!("{}: {text}", self.file.display()));
    }

    /// The file's keys, as a whole and as those that mean something.
    fn read<T: DeserializeOwned>(&self) -> Result<(Map<String, Value>, T), Failure> {
        let text = std::fs::read_to_string(self.file).map_err(|error| self.wrong(error))?;
        let all = serde_saphyr::from_str(&text).map_err(|error| self.wrong(error))?;
        Ok((all, serde_saphyr::from_str(&text).map_err(|error| self.wrong(error))?))
    }

    /// Tells of keys that nothing here reads. Empty ones ask for nothing.
    fn tell_of_others(&mut self, all: &Map<String, Value>, known: &[&str], instead: &[Instead]) {
        for (key, value) in all {
            let is_empty = matches!(value, Value::Null | Value::Bool(false)) || value.as_str() == Some("");
            if known.contains(&key.as_str()) || is_empty {
                continue;
            }
            match instead.iter().find(|(name, _)| name == key) {
                Some((_, instead)) => self.note(format_args!("{key} is left out: {instead}")),
                None => self.note(format_args!("{key} is not known and left out")),
            }
        }
    }

    /// Upstream lets variables go before its files.
    fn tell_of_variables(&mut self, names: &[&str]) {
        for name in names.iter().filter(|name| std::env::var_os(name).is_some()) {
            self.note(format_args!("the variable {name} is left out: write it into the file"));
        }
    }

    fn is_set(&self, section: &str, key: &str) -> bool {
        self.document.has(section, key)
    }

    /// Sets a key that nobody has set.
    fn set(&mut self, section: &'static str, key: &'static str, value: &str) {
        if !self.document.has(section, key) {
            // A text is TOML of itself.
            let value = toml_edit::Value::from(value).to_string();
            self.document.set(section, key, &value, self.file.display().to_string());
        }
    }

    fn push(&mut self, section: &'static str, key: &'static str, entry: &InlineTable) -> Result<(), Failure> {
        Ok(self.document.push(section, key, &entry.to_string(), self.file.display().to_string())?)
    }

    /// A socket for whoever this user of the machine is.
    fn socket(&mut self, path: &str, side: &str) -> Result<(), Failure> {
        let mut entry = InlineTable::new();
        entry.insert("path", path.into());
        entry.insert("account", self.account.into());
        entry.insert("side", side.into());
        entry.insert("scopes", PODS.into_iter().chain([ADMINISTRATOR]).collect::<Array>().into());
        self.push("offload", "sockets", &entry)?;
        let account = self.account;
        self.note(format_args!(
            "{path} lets in this machine's user who runs the engine, as the account {account} with all its rights over pods"
        ));
        Ok(())
    }

    /// How much is logged, if nobody has said it.
    fn log(&mut self, verbose: bool, errors_only: bool) {
        match (verbose, errors_only) {
            (true, _) => self.set("log", "filter", "info,dte=debug"),
            (false, true) => self.set("log", "filter", "error"),
            (false, false) => {}
        }
    }
}

/// The path in `unix:///path`.
fn socket_path(address: &str) -> Option<&str> {
    address.strip_prefix("unix://").filter(|path| path.starts_with('/'))
}

/// Numbers may be written as text, and are in upstream's examples.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The configuration that files make, and the notes about them.
    pub fn made(toml: &str, api: Option<&str>, plugin: Option<&str>) -> Result<(Document, String), String> {
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str, text: Option<&str>| {
            text.map(|text| {
                let path = folder.path().join(name);
                std::fs::write(&path, text).expect("written");
                path
            })
        };
        let files = DropIn {
            interlink_config: file("api.yaml", api),
            slurm_plugin_config: file("plugin.yaml", plugin),
            interlink_account: "site".to_owned(),
        };
        let mut document = Document::parse(toml, None).expect("parses");
        let notes = apply(&files, &mut document).map_err(|failure| failure.to_string())?;
        let mistakes = document.check(&crate::services::sections(), true);
        assert!(mistakes.is_empty(), "{mistakes:?}");
        Ok((document, notes.join("\n")))
    }

    #[test]
    fn what_is_configured_goes_first() {
        let toml = "[log]\nfilter = 'warn'\n[[compute.sites]]\nplugin = 'host'\nname = 'local'\n";
        let api = "InterlinkAddress: unix:///run/api.sock\nSidecarURL: unix:///run/plugin.sock\nVerboseLogging: true\n";
        let (document, _) = made(toml, Some(api), None).expect("configured");
        let log: crate::settings::LogConfig = document.section("log").expect("valid");
        assert_eq!(log.filter, "warn");
        let compute: dte_compute::ComputeConfig = document.section("compute").expect("valid");
        assert_eq!(compute.sites.len(), 2);
    }

    #[test]
    fn files_that_cannot_be_read_name_themselves() {
        let error = made("", Some("InterlinkAddress: [\n"), None).expect_err("refused");
        assert!(error.contains("api.yaml"), "{error}");
    }
}
