//! The areas of an edge.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use dte_base::tasks::Tasks;
use dte_http::Client;
use dte_protocol_webdav::path::{ResourcePath, check_component};
use dte_storage::beneath::Links;
use parking_lot::Mutex;
use url::Url;

use crate::config::{AreaConfig, AreaLinks, AreaMode, AreaUsers, EdgeConfig};
use crate::disk::Area;
use crate::disk::area::{SharedArea, Treatment};
use crate::disk::workers::Workers;
use crate::third_party::ThirdParty;

/// The area in which each person has a folder.
pub const HOME: &str = "home";
/// The area behind the RSE `LOCAL`.
pub const LOCAL: &str = "local";

/// What all requests share.
pub struct Edge {
    areas: BTreeMap<String, SharedArea>,
    /// Under which URL clients know us; a `Destination` must be there.
    pub public_url: Url,
    /// Copies from and to other servers.
    pub third_party: ThirdParty,
    /// For short work that waits for no disk.
    pub workers: Workers,
    /// People whose folder in `home` is known to exist.
    homes: Mutex<HashSet<String>>,
}

impl Edge {
    /// Opens `home`, `local` and the configured areas. The error is a text for the operator.
    pub fn open(config: &EdgeConfig, data_dir: &Path, client: Client, tasks: Tasks) -> Result<Edge, String> {
        let storage = data_dir.join("storage");
        let mut areas = BTreeMap::new();
        for settings in &config.areas {
            let name = settings.name.as_str();
            check_name(settings)?;
            let treatment = Treatment {
                fsync: config.fsync,
                recursive_delete: settings.recursive_delete || name == HOME,
                create_parents: settings.create_parents,
                links: match settings.links {
                    AreaLinks::Refused => Links::Refused,
                    AreaLinks::Within => Links::Within,
                },
            };
            let folder = match &settings.path {
                Some(path) if path.is_absolute() => path.clone(),
                Some(path) => data_dir.join(path),
                None if name == HOME || name == LOCAL => storage.join(name),
                None => return Err(format!("[[edge.areas]] {name}: the path is missing")),
            };
            if areas.insert(name.to_owned(), open(name, &settings.vos, &folder, treatment)?).is_some() {
                return Err(format!("[[edge.areas]] {name}: there are two areas of this name"));
            }
        }
        for (name, recursive_delete) in [(HOME, true), (LOCAL, false)] {
            if !areas.contains_key(name) {
                let treatment =
                    Treatment { fsync: config.fsync, recursive_delete, create_parents: true, links: Links::Refused };
                areas.insert(name.to_owned(), open(name, &[], &storage.join(name), treatment)?);
            }
        }
        check_nesting(&areas)?;
        let workers = Workers::start().map_err(|error| format!("the edge's threads do not start: {error}"))?;
        let public_url = client.public_url().clone();
        let third_party = ThirdParty::new(config.third_party.clone(), client, tasks);
        Ok(Edge { areas, public_url, third_party, workers, homes: Mutex::default() })
    }

    pub fn area(&self, name: &str) -> Option<&SharedArea> {
        self.areas.get(name)
    }

    pub fn areas(&self) -> impl Iterator<Item = &SharedArea> {
        self.areas.values()
    }

    /// Makes a person's folder if it is not there yet. Cheap after the first time.
    pub fn make_home(&self, name: &str) -> Result<(), crate::disk::Fault> {
        let Some(home) = self.areas.get(HOME) else { return Ok(()) };
        if self.homes.lock().contains(name) {
            return Ok(());
        }
        if let Ok(path) = ResourcePath::root().child(name) {
            home.make_folders(&path)?;
            self.homes.lock().insert(name.to_owned());
        }
        Ok(())
    }

    /// Whether a person's folder is known to be there.
    pub fn knows_home(&self, name: &str) -> bool {
        self.homes.lock().contains(name)
    }
}

fn check_name(settings: &AreaConfig) -> Result<(), String> {
    let name = &settings.name;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if check_component(name).is_err() || !name.chars().all(plain) || name.starts_with('.') {
        return Err(format!(
            "[[edge.areas]] {name:?}: a name has letters, digits, - _ . and does not begin with a dot"
        ));
    }
    if settings.mode == AreaMode::Facility || settings.users == AreaUsers::Mapped || settings.mapping_file.is_some() {
        return Err(format!(
            "[[edge.areas]] {name}: mode = \"facility\", users = \"mapped\" and mapping_file are not supported yet"
        ));
    }
    Ok(())
}

/// No area lies in another one: what is hidden, locked or permitted in one would lie open in the other.
fn check_nesting(areas: &BTreeMap<String, SharedArea>) -> Result<(), String> {
    let explain = |area: &Area, error: std::io::Error| format!("storage area {}: {error}", area.name);
    let mut roots = HashMap::new();
    for area in areas.values() {
        let stat = rustix::fs::fstat(&area.root).map_err(|error| explain(area, error.into()))?;
        if let Some(other) = roots.insert((stat.st_dev, stat.st_ino), &area.name) {
            return Err(format!("[[edge.areas]] {} and {other} are the same folder", area.name));
        }
    }
    for area in areas.values() {
        let folder = std::fs::canonicalize(&area.folder).map_err(|error| explain(area, error))?;
        for above in folder.ancestors().skip(1) {
            // By number, so that no second name of a folder helps.
            let Ok(stat) = rustix::fs::stat(above) else { continue };
            if let Some(other) = roots.get(&(stat.st_dev, stat.st_ino)) {
                return Err(format!("[[edge.areas]] {} lies in the area {other}; areas lie side by side", area.name));
            }
        }
    }
    Ok(())
}

fn open(name: &str, vos: &[String], folder: &Path, treatment: Treatment) -> Result<SharedArea, String> {
    let area = Area::open(name, vos, folder, treatment);
    area.map(Arc::new).map_err(|error| format!("storage area {name} at {}: {error}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open_with(text: &str) -> Result<Vec<String>, String> {
        let temp = tempfile::tempdir().expect("temp");
        let document = dte_base::config::Document::parse(text, None).expect("parses");
        let config: EdgeConfig = document.section("edge").expect("section");
        let url: Url = "http://127.0.0.1:8990".parse().expect("url");
        let client = Client::new(&dte_http::HttpConfig::default(), url);
        Edge::open(&config, temp.path(), client, Tasks::new())
            .map(|edge| edge.areas().map(|area| area.name.clone()).collect())
    }

    #[test]
    fn areas() {
        assert_eq!(open_with("").expect("opens"), ["home", "local"]);
        let beside = "[[edge.areas]]\nname = \"a\"\npath = \"x/a\"\n[[edge.areas]]\nname = \"b\"\npath = \"x/ab\"\n";
        assert_eq!(open_with(beside).expect("opens"), ["a", "b", "home", "local"]);
        let more = "[[edge.areas]]\nname = \"disk1\"\npath = \"d1\"\nrecursive_delete = true\n";
        assert_eq!(open_with(more).expect("opens"), ["disk1", "home", "local"]);
        for bad in [
            "[[edge.areas]]\nname = \"a/b\"\npath = \"x\"\n",
            "[[edge.areas]]\nname = \"..\"\npath = \"x\"\n",
            "[[edge.areas]]\nname = \"x\"\n",
            "[[edge.areas]]\nname = \"x\"\npath = \"x\"\n[[edge.areas]]\nname = \"x\"\npath = \"y\"\n",
            "[[edge.areas]]\nname = \"x\"\npath = \"x\"\nmode = \"facility\"\n",
            "[[edge.areas]]\nname = \"x\"\npath = \"x\"\n[[edge.areas]]\nname = \"y\"\npath = \"x/y\"\n",
            "[[edge.areas]]\nname = \"x\"\npath = \"x\"\n[[edge.areas]]\nname = \"y\"\npath = \"x\"\n",
            "[[edge.areas]]\nname = \"x\"\npath = \"storage\"\n",
            "[[edge.areas]]\nname = \"x\"\npath = \"storage/home/eva\"\n",
        ] {
            assert!(open_with(bad).is_err(), "{bad}");
        }
    }
}
