//! `[edge]` of the configuration.

use std::path::PathBuf;

use serde::Deserialize;

/// What `[edge]` may say.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EdgeConfig {
    /// Whether a file is on disk before the client hears that it was stored. Without it a power cut may lose files that
    /// were acknowledged; a crash of the engine alone never does.
    pub fsync: bool,
    /// Areas besides `home` and `local`, or other settings for those two.
    pub areas: Vec<AreaConfig>,
}

impl Default for EdgeConfig {
    fn default() -> Self {
        EdgeConfig { fsync: true, areas: Vec::new() }
    }
}

/// One storage area, served at `/dav/NAME`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AreaConfig {
    pub name: String,
    /// The folder. For `home` and `local` it may be left out.
    #[serde(default)]
    pub path: Option<PathBuf>,
    #[serde(default)]
    pub mode: AreaMode,
    #[serde(default)]
    pub users: AreaUsers,
    #[serde(default)]
    pub mapping_file: Option<PathBuf>,
    /// Whether DELETE takes a folder with all that is in it. Otherwise a folder must be empty.
    #[serde(default)]
    pub recursive_delete: bool,
    #[serde(default)]
    pub links: AreaLinks,
}

/// Who writes in the folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AreaMode {
    /// The engine alone, as itself.
    #[default]
    Webdav,
    /// A site's own filesystem, used under the users' own accounts.
    Facility,
}

/// Under which account files are touched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AreaUsers {
    /// The engine's own.
    #[default]
    #[serde(rename = "self")]
    Own,
    /// The account that `mapping_file` gives to a user.
    Mapped,
}

/// What to do with symbolic links in the folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AreaLinks {
    /// They do not exist for clients.
    #[default]
    Refused,
    /// They are followed as long as they stay in the area.
    Within,
}
