//! One configuration document: a TOML file, then environment variables, then flags.
//!
//! Every crate owns its section as a type with `#[serde(deny_unknown_fields, default)]`. [`Document::section`] gives the
//! typed section to the crate; [`Document::check`] names *every* unknown key and bad value with its line, by noting the
//! first mistake, blanking it out and reading again.

use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use toml_edit::{Array, Document as Parsed, DocumentMut, Item, Table, Value};

/// Prefix of environment variables: `DTE_EDGE__FSYNC=false` sets `fsync` in `[edge]`.
pub const ENV_PREFIX: &str = "DTE_";
/// Separates section and key in an environment variable.
const ENV_SEPARATOR: &str = "__";

/// What is wrong in a configuration, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}")]
pub struct Mistake {
    /// `dte.toml:12` or `environment variable DTE_HTTP__LIMIT`.
    pub place: String,
    pub message: String,
}

/// All mistakes of one configuration; never empty.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct BadConfig(pub Vec<Mistake>);

/// A section's name and how to try it: the composition root lists one for every crate that is configured.
#[derive(Clone, Copy)]
pub struct Section {
    name: &'static str,
    try_read: fn(&Parsed<String>, &str) -> Result<(), toml_edit::de::Error>,
}

impl Section {
    pub const fn of<T: DeserializeOwned>(name: &'static str) -> Self {
        Section { name, try_read: |parsed, name| read_section::<T>(parsed.as_table(), name).map(|_| ()) }
    }
}

/// The configuration as written, with all layers applied.
#[derive(Clone, Debug)]
pub struct Document {
    file: Option<PathBuf>,
    source: String,
    merged: DocumentMut,
    overrides: Vec<(String, String, String)>,
}

impl Document {
    /// An empty document: all defaults.
    pub fn empty() -> Self {
        Document { file: None, source: String::new(), merged: DocumentMut::new(), overrides: Vec::new() }
    }

    /// Reads `file`, or nothing when there is none.
    pub fn load(file: Option<&Path>) -> Result<Self, BadConfig> {
        let Some(path) = file else { return Ok(Document::empty()) };
        let source = std::fs::read_to_string(path).map_err(|error| {
            BadConfig(vec![Mistake { place: path.display().to_string(), message: format!("cannot be read: {error}") }])
        })?;
        Document::parse(&source, Some(path))
    }

    /// Reads a document from text; `file` is only for messages.
    pub fn parse(source: &str, file: Option<&Path>) -> Result<Self, BadConfig> {
        let place = |span: Option<Range<usize>>| place_of(file, source, span);
        let merged = source.parse::<DocumentMut>().map_err(|error| {
            BadConfig(vec![Mistake { place: place(error.span()), message: error.message().to_owned() }])
        })?;
        Ok(Document { file: file.map(Path::to_owned), source: source.to_owned(), merged, overrides: Vec::new() })
    }

    /// Applies `DTE_SECTION__KEY` variables. A value that reads as TOML (a number, `true`, a list) is taken as such, any
    /// other is a string.
    pub fn with_env(mut self, vars: impl IntoIterator<Item = (String, String)>) -> Self {
        for (name, value) in vars {
            let Some(path) = name.strip_prefix(ENV_PREFIX) else { continue };
            if let Some((section, key)) = path.split_once(ENV_SEPARATOR) {
                let origin = format!("environment variable {name}");
                self.set(&section.to_lowercase(), &key.to_lowercase(), &value, origin);
            }
        }
        self
    }

    /// Sets one key, as a command-line flag does.
    pub fn set(&mut self, section: &str, key: &str, value: &str, origin: impl Into<String>) {
        let parsed: Value = value.parse().unwrap_or_else(|_| Value::from(value));
        let table = self.merged.entry(section).or_insert_with(|| Item::Table(Table::new()));
        if let Some(table) = table.as_table_like_mut() {
            table.insert(key, Item::Value(parsed));
            self.overrides.push((section.to_owned(), key.to_owned(), origin.into()));
        }
    }

    /// Adds an entry, written as an inline table, to the list `[[section.key]]`.
    pub fn push(&mut self, section: &str, key: &str, entry: &str, origin: impl Into<String>) -> Result<(), Mistake> {
        let origin = origin.into();
        let wrong = |message: String| Mistake { place: origin.clone(), message };
        let entry: Value = entry.parse().map_err(|error| wrong(format!("{error}")))?;
        let Value::InlineTable(entry) = entry else {
            return Err(wrong("an entry of a list must be a table".to_owned()));
        };
        let table = self.merged.entry(section).or_insert_with(|| Item::Table(Table::new()));
        let table = table.as_table_like_mut().ok_or_else(|| wrong(format!("[{section}] is no table")))?;
        match table.entry(key).or_insert(Item::Value(Value::Array(Array::new()))) {
            Item::ArrayOfTables(list) => list.push(entry.into_table()),
            Item::Value(Value::Array(list)) => list.push(entry),
            _ => return Err(wrong(format!("[{section}] {key} is no list"))),
        }
        self.overrides.push((section.to_owned(), key.to_owned(), origin));
        Ok(())
    }

    /// Whether the document says something about this key.
    pub fn has(&self, section: &str, key: &str) -> bool {
        self.merged.get(section).and_then(Item::as_table_like).is_some_and(|table| table.contains_key(key))
    }

    /// The typed section `name`; its defaults when it is absent.
    pub fn section<T: DeserializeOwned>(&self, name: &'static str) -> Result<T, BadConfig> {
        read_section(self.merged.as_table(), name).map_err(|error| {
            let mut mistakes = self.check(&[Section::of::<T>(name)], false);
            if mistakes.is_empty() {
                let message = error.message().to_owned();
                mistakes
                    .push(Mistake { place: self.origin_of(name, &message), message: format!("[{name}] {message}") });
            }
            BadConfig(mistakes)
        })
    }

    /// Every unknown key and bad value of the file and of the overrides. `whole` also names sections that nobody owns.
    pub fn check(&self, sections: &[Section], whole: bool) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        let mut text = self.source.clone();
        for section in sections {
            self.check_section(section, &mut text, &mut mistakes);
        }
        let known = |name: &str| sections.iter().any(|s| s.name == name);
        if whole && let Ok(parsed) = Parsed::parse(self.source.clone()) {
            for (name, item) in parsed.iter().filter(|(name, _)| !known(name)) {
                let span = parsed.key(name).and_then(toml_edit::Key::span).or_else(|| item.span());
                mistakes.push(Mistake {
                    place: place_of(self.file.as_deref(), &self.source, span),
                    message: format!("unknown section `{name}`{}", suggestion(name, sections)),
                });
            }
        }
        if mistakes.is_empty() {
            self.check_overrides(sections, whole, &mut mistakes);
        }
        mistakes
    }

    fn check_section(&self, section: &Section, text: &mut String, mistakes: &mut Vec<Mistake>) {
        loop {
            let Ok(parsed) = Parsed::parse(text.clone()) else { return };
            let Err(error) = (section.try_read)(&parsed, section.name) else { return };
            let span = error.span().or_else(|| parsed.get(section.name).and_then(Item::span));
            mistakes.push(Mistake {
                place: place_of(self.file.as_deref(), &self.source, span.clone()),
                message: format!("[{}] {}", section.name, error.message().trim()),
            });
            let region = span.and_then(|span| offending_region(parsed.as_table(), &span));
            match region {
                Some(region) if !text[region.clone()].trim().is_empty() => blank(text, region),
                _ => return,
            }
        }
    }

    fn check_overrides(&self, sections: &[Section], whole: bool, mistakes: &mut Vec<Mistake>) {
        for section in sections {
            let Ok(parsed) = Parsed::parse(self.merged.to_string()) else { return };
            if let Err(error) = (section.try_read)(&parsed, section.name) {
                let message = error.message().trim().to_owned();
                mistakes.push(Mistake {
                    place: self.origin_of(section.name, &message),
                    message: format!("[{}] {message}", section.name),
                });
            }
        }
        if whole {
            for (name, key, origin) in &self.overrides {
                if !sections.iter().any(|s| s.name == name) {
                    mistakes.push(Mistake {
                        place: origin.clone(),
                        message: format!("unknown section `{name}` (for key `{key}`)"),
                    });
                }
            }
        }
    }

    /// Where a mistake that is not in the file came from: the override whose key the message speaks of, or all of them.
    fn origin_of(&self, section: &str, message: &str) -> String {
        let of_section = || self.overrides.iter().filter(|(name, ..)| name == section);
        let named = of_section().find(|(_, key, _)| message.contains(&format!("`{key}`")));
        match named.or_else(|| of_section().next_back()) {
            Some((_, _, origin)) => origin.clone(),
            None => place_of(self.file.as_deref(), &self.source, None),
        }
    }
}

fn read_section<T: DeserializeOwned>(table: &Table, name: &str) -> Result<T, toml_edit::de::Error> {
    let item = table.get(name).cloned().unwrap_or_else(|| Item::Table(Table::new()));
    let value = match item {
        Item::Value(value) => value,
        Item::Table(table) => Value::InlineTable(table.into_inline_table()),
        Item::ArrayOfTables(tables) => Value::Array(tables.into_array()),
        Item::None => Value::InlineTable(toml_edit::InlineTable::new()),
    };
    T::deserialize(serde::de::IntoDeserializer::<toml_edit::de::Error>::into_deserializer(value))
}

fn place_of(file: Option<&Path>, source: &str, span: Option<Range<usize>>) -> String {
    let name = file.map_or_else(|| "configuration".to_owned(), |path| path.display().to_string());
    match span {
        Some(span) => {
            let line = source[..span.start.min(source.len())].matches('\n').count() + 1;
            format!("{name}:{line}")
        }
        None => name,
    }
}

/// The smallest `key = value` or table that holds `span`.
fn offending_region(table: &dyn toml_edit::TableLike, span: &Range<usize>) -> Option<Range<usize>> {
    for (name, item) in table.iter() {
        let key = table.key(name).and_then(toml_edit::Key::span);
        let tables: Vec<&dyn toml_edit::TableLike> = match item {
            Item::ArrayOfTables(list) => list.iter().map(|t| t as &dyn toml_edit::TableLike).collect(),
            other => other.as_table_like().into_iter().collect(),
        };
        for inner in tables {
            if let Some(region) = offending_region(inner, span) {
                return Some(region);
            }
        }
        let (Some(start), Some(value)) = (key.as_ref().map(|k| k.start).or(item.span().map(|s| s.start)), item.span())
        else {
            continue;
        };
        let region = start.min(value.start)..value.end;
        if region.start <= span.start && span.end <= region.end {
            return Some(region);
        }
    }
    None
}

/// Overwrites a region with spaces, keeping line breaks so that later lines keep their numbers.
fn blank(text: &mut String, region: Range<usize>) {
    let spaces: String = text[region.clone()].bytes().map(|b| if b == b'\n' { '\n' } else { ' ' }).collect();
    text.replace_range(region, &spaces);
}

fn suggestion(name: &str, sections: &[Section]) -> String {
    let close = sections.iter().find(|s| s.name.starts_with(name) || name.starts_with(s.name));
    close.map_or_else(String::new, |s| format!(", did you mean `{}`?", s.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, serde::Deserialize, PartialEq)]
    #[serde(deny_unknown_fields, default)]
    struct Edge {
        fsync: bool,
        limit: u32,
        areas: Vec<Area>,
    }

    #[derive(Debug, Default, serde::Deserialize, PartialEq)]
    #[serde(deny_unknown_fields, default)]
    struct Area {
        name: String,
    }

    const SECTIONS: &[Section] = &[Section::of::<Edge>("edge")];

    #[test]
    fn layers_apply_in_order() {
        let vars = [("DTE_EDGE__LIMIT".to_owned(), "7".to_owned()), ("HOME".to_owned(), "/".to_owned())];
        let mut document = Document::parse("[edge]\nfsync = true\nlimit = 3\n", None).expect("parses").with_env(vars);
        document.set("edge", "fsync", "false", "--no-fsync");
        let edge: Edge = document.section("edge").expect("valid");
        assert_eq!(edge, Edge { fsync: false, limit: 7, areas: vec![] });
    }

    #[test]
    fn entries_join_a_list_however_it_was_written() {
        for text in ["[[edge.areas]]\nname = \"a\"\n", "[edge]\nareas = [{ name = \"a\" }]\n"] {
            let mut document = Document::parse(text, None).expect("parses");
            document.push("edge", "areas", "{ name = \"b\" }", "a flag").expect("added");
            let edge: Edge = document.section("edge").expect("valid");
            assert_eq!(edge.areas.iter().map(|area| area.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
            assert!(document.check(SECTIONS, true).is_empty());
        }
        let mut document = Document::empty();
        document.push("edge", "areas", "{ nmae = \"b\" }", "a flag").expect("added");
        assert_eq!(document.check(SECTIONS, true)[0].place, "a flag");
        assert!(document.push("edge", "areas", "7", "a flag").is_err());
    }

    #[test]
    fn every_mistake_is_named_with_its_line() {
        let text = "[edge]\nfsnc = true\nlimit = \"many\"\n\n[[edge.areas]]\nname = \"a\"\npaht = 1\n\n[egde]\nx = 1\n";
        let document = Document::parse(text, Some(Path::new("dte.toml"))).expect("parses");
        let mistakes = document.check(SECTIONS, true);
        let places: Vec<&str> = mistakes.iter().map(|m| m.place.as_str()).collect();
        for place in ["dte.toml:2", "dte.toml:3", "dte.toml:7", "dte.toml:9"] {
            assert!(places.contains(&place), "{place} is missing in {mistakes:#?}");
        }
        assert_eq!(mistakes.len(), 4, "{mistakes:#?}");
    }

    #[test]
    fn a_bad_variable_is_named() {
        let vars = [("DTE_EDGE__LIMIT".to_owned(), "many".to_owned())];
        let document = Document::parse("[edge]\nlimit = 3\n", None).expect("parses").with_env(vars);
        let mistakes = document.check(SECTIONS, true);
        assert_eq!(mistakes.len(), 1, "{mistakes:#?}");
        assert_eq!(mistakes[0].place, "environment variable DTE_EDGE__LIMIT");
    }

    #[test]
    fn text_that_is_not_toml() {
        let error = Document::parse("[edge\n", Some(Path::new("dte.toml"))).expect_err("refused");
        assert_eq!(error.0[0].place, "dte.toml:1");
    }
}
