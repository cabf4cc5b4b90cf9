//! A folder watch as it is declared.

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use dte_base::units::Span;
use serde::{Deserialize, Serialize};

use super::glob::{BadGlob, Glob};

/// How new files are noticed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The kernel's notifications where the filesystem has them, else looking again and again.
    #[default]
    Auto,
    /// The kernel's notifications. They miss what other machines do on a network filesystem.
    Inotify,
    /// Looking again and again.
    Poll,
}

/// What a person declares.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Unique in the engine: `[A-Za-z0-9][A-Za-z0-9._-]{0,63}`.
    pub name: String,
    /// The folder: absolute, without `..`. Folders beneath it are not looked into.
    pub path: PathBuf,
    /// Which file names count.
    #[serde(default = "every_name")]
    pub pattern: String,
    /// A file that no close or move announced is complete when size and time of change stood still for this long.
    #[serde(default = "default_settle")]
    pub settle: Span,
    #[serde(default)]
    pub mode: Mode,
    /// How often a polled folder is looked at.
    #[serde(default = "default_interval")]
    pub interval: Span,
}

fn every_name() -> String {
    "*".to_owned()
}

fn default_settle() -> Span {
    Span(Duration::from_secs(1))
}

fn default_interval() -> Span {
    Span(Duration::from_secs(1))
}

/// The shortest time between two looks at a folder.
pub const SHORTEST_INTERVAL: Duration = Duration::from_millis(20);
/// The longest that a person may make others wait for a file.
pub const LONGEST_SETTLE: Duration = Duration::from_secs(86_400);

/// A declaration that cannot be accepted.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadWatch {
    #[error("a watch's name is 1 to 64 letters, digits, '.', '_' or '-', beginning with a letter or digit")]
    Name,
    #[error("the path must be absolute and without '.' and '..'")]
    Path,
    #[error(transparent)]
    Pattern(#[from] BadGlob),
    #[error("settle must be at most a day")]
    Settle,
    #[error("interval must be between 20ms and a day")]
    Interval,
}

impl Spec {
    /// Checks the declaration; the answer holds what was parsed.
    pub fn check(&self) -> Result<Glob, BadWatch> {
        if !is_name(&self.name) {
            return Err(BadWatch::Name);
        }
        if !is_plain_absolute(&self.path) {
            return Err(BadWatch::Path);
        }
        if self.settle.0 > LONGEST_SETTLE {
            return Err(BadWatch::Settle);
        }
        if self.interval.0 < SHORTEST_INTERVAL || self.interval.0 > LONGEST_SETTLE {
            return Err(BadWatch::Interval);
        }
        Ok(Glob::parse(&self.pattern)?)
    }
}

/// Whether `name` can name a watch.
pub fn is_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    name.len() <= 64 && name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(allowed)
}

fn is_plain_absolute(path: &Path) -> bool {
    let text = path.to_str().unwrap_or_default();
    path.is_absolute()
        && !text.contains('\0')
        && !text.split('/').any(|part| part == ".")
        && path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)))
}

/// Names of files that are on their way by convention and never count.
pub fn is_ignored(name: &str) -> bool {
    name.starts_with('.') || name.ends_with(".part") || name.ends_with(".tmp")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(name: &str, path: &str) -> Spec {
        serde_json::from_value(serde_json::json!({"name": name, "path": path})).expect("reads")
    }

    #[test]
    fn declarations() {
        assert!(spec("nino", "/data/in").check().is_ok());
        assert_eq!(spec("", "/data").check(), Err(BadWatch::Name));
        assert_eq!(spec("-a", "/data").check(), Err(BadWatch::Name));
        assert_eq!(spec("a/b", "/data").check(), Err(BadWatch::Name));
        for path in ["data", "/data/../etc", "/data/./in", ""] {
            assert_eq!(spec("a", path).check(), Err(BadWatch::Path), "{path}");
        }
        let unknown = serde_json::json!({"name": "a", "path": "/", "patern": "*"});
        assert!(serde_json::from_value::<Spec>(unknown).is_err());
    }

    #[test]
    fn names_on_their_way() {
        assert!(is_ignored(".hidden") && is_ignored("a.part") && is_ignored("a.tmp"));
        assert!(!is_ignored("a.csv") && !is_ignored("part.csv"));
    }
}
