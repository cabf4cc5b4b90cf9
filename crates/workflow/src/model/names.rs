//! What things are called in the data lake and on disk.

use dte_protocol_rucio::Did;

use super::document::{Document, Observes, Produces};
use super::month::Month;

/// Stands for the month in the name of an observation file.
pub const MONTH: &str = "{month}";
/// Stands for the month that a forecast was made in.
pub const ISSUE_MONTH: &str = "{issue_month}";

/// The month in a file name that follows `pattern`; `None` when the name does not follow it.
pub fn month_of(pattern: &str, name: &str) -> Option<Month> {
    let (before, after) = pattern.split_once(MONTH)?;
    name.strip_prefix(before)?.strip_suffix(after)?.parse().ok()
}

/// The glob for all names that may follow `pattern`.
pub fn glob(pattern: &str) -> String {
    pattern.replace(MONTH, "*")
}

/// The name of the watch over a source's folder.
pub fn watch(twin: &str, source: &str) -> String {
    format!("twin.{twin}.{source}")
}

/// Where a series of datasets lives in the lake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub scope: String,
    pub container: String,
}

impl Place {
    pub fn of_observes(document: &Document, one: &Observes) -> Place {
        Place {
            scope: one.data.scope.as_ref().map_or_else(|| document.twin.value.clone(), |scope| scope.value.clone()),
            container: one.data.container.as_ref().map_or_else(|| one.name.value.clone(), |name| name.value.clone()),
        }
    }

    pub fn of_product(document: &Document, one: &Produces) -> Place {
        Place {
            scope: one.data.scope.as_ref().map_or_else(|| document.twin.value.clone(), |scope| scope.value.clone()),
            container: one.data.container.as_ref().map_or_else(|| one.name.value.clone(), |name| name.value.clone()),
        }
    }

    pub fn container(&self) -> Did {
        Did::new(&self.scope, &self.container)
    }

    /// The dataset of a month.
    pub fn dataset(&self, month: Month) -> Did {
        Did::new(&self.scope, format!("{}.{month}", self.container))
    }

    /// The dataset of what was known before the first month.
    pub fn history(&self) -> Did {
        Did::new(&self.scope, format!("{}.history", self.container))
    }

    pub fn file(&self, name: &str) -> Did {
        Did::new(&self.scope, name)
    }
}

/// The product's file of an issue month.
pub fn product_file(document: &Document, one: &Produces, issue: Month) -> Did {
    let place = Place::of_product(document, one);
    place.file(&one.filename.value.replace(ISSUE_MONTH, &issue.to_string()))
}

/// The model program's DID: its content is in its name, so a changed program is another file.
pub fn program(scope: &str, model: &str, sha256: &str) -> Did {
    let short = &sha256[..sha256.len().min(16)];
    Did::new(scope, format!("{model}-{short}"))
}

/// A path of the document made absolute: relative ones begin at `base`. `None` where that does not lead anywhere.
pub fn absolute(path: &str, base: Option<&str>) -> Option<String> {
    let joined = if path.starts_with('/') { path.to_owned() } else { format!("{}/{path}", base?) };
    if !joined.starts_with('/') || joined.contains('\0') {
        return None;
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in joined.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            plain => parts.push(plain),
        }
    }
    Some(format!("/{}", parts.join("/")))
}

/// Whether `text` names a part of a twin: it becomes part of DIDs, watch names and pod names.
pub fn is_name(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !text.is_empty() && text.len() <= 25 && text.bytes().all(plain) && !text.starts_with('-') && !text.ends_with('-')
}

/// Whether `text` is one component of a path that leads nowhere else.
pub fn is_file_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= 200 && text != "." && text != ".." && !text.contains(['/', '\\', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let month: Month = "1980-01".parse().expect("month");
        assert_eq!(month_of("nino12-{month}.csv", "nino12-1980-01.csv"), Some(month));
        assert_eq!(month_of("nino12-{month}.csv", "nino12-1980-1.csv"), None);
        assert_eq!(month_of("nino12-{month}.csv", "nino12-.csv"), None);
        assert_eq!(month_of("{month}.csv", "1980-01.csv"), Some(month));
        assert_eq!(month_of("x{month}x", "x"), None);
        assert_eq!(glob("nino12-{month}.csv"), "nino12-*.csv");
    }

    #[test]
    fn paths() {
        assert_eq!(absolute("in", Some("/a/b")).as_deref(), Some("/a/b/in"));
        assert_eq!(absolute("../in/./x", Some("/a/b/")).as_deref(), Some("/a/in/x"));
        assert_eq!(absolute("/x//y", None).as_deref(), Some("/x/y"));
        assert_eq!(absolute("in", None), None);
        assert_eq!(absolute("../../..", Some("/a")), None);
        assert_eq!(absolute("x", Some("relative")), None);
    }

    #[test]
    fn names() {
        assert!(is_name("enso") && is_name("nino-12"));
        for bad in ["", "-a", "a-", "Enso", "a.b", "a/b", "abcdefghijklmnopqrstuvwxyz"] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
