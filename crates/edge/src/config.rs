//! `[edge]` of the configuration.

use std::path::PathBuf;
use std::time::Duration;

use dte_base::units::{Bytes, Span};
use serde::{Deserialize, Serialize};

/// What `[edge]` may say.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EdgeConfig {
    /// Whether a file is on disk before the client hears that it was stored. Without it a power cut may lose files that
    /// were acknowledged; a crash of the engine alone never does.
    pub fsync: bool,
    /// Copies from and to other servers that clients order (HTTP third-party copy).
    pub third_party: ThirdPartyConfig,
    /// A report on the storage (WLCG Storage Resource Reporting) at `/srr`, and accounting records (StAR) at `/srr/star`; none
    /// when left out.
    pub report: Option<ReportConfig>,
    /// Areas besides `home` and `local`, or other settings for those two.
    pub areas: Vec<AreaConfig>,
}

impl Default for EdgeConfig {
    fn default() -> Self {
        EdgeConfig { fsync: true, third_party: ThirdPartyConfig::default(), report: None, areas: Vec::new() }
    }
}

/// `[edge.third_party]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ThirdPartyConfig {
    /// Copies at once; further ones wait, and say so.
    pub concurrency: usize,
    /// Copies at once from and to one other host, whatever the port.
    pub per_host: usize,
    /// Copies at once of one person; a quarter of `concurrency` when left out. A service that orders all copies under one name
    /// needs more.
    pub per_person: Option<usize>,
    /// Copies that wait at most; further ones are refused. One person may have a quarter of them.
    pub waiting: usize,
    /// A connection on which no byte comes for this long is given up. A download goes on with another one, if the file is
    /// still the same.
    pub pause: Span,
    /// A copy of which no byte moves for this long is given up.
    pub stall: Span,
    /// A copy that moves fewer bytes a second than this (such as 16KiB), over `least_rate_over`, is given up. 0 for no such limit.
    pub least_rate: Bytes,
    pub least_rate_over: Span,
    /// How often whoever ordered a copy hears how far it is. Clients expect at most five seconds.
    pub marker_interval: Span,
}

impl Default for ThirdPartyConfig {
    fn default() -> Self {
        let seconds = |count| Span(Duration::from_secs(count));
        ThirdPartyConfig {
            concurrency: 50,
            per_host: 25,
            per_person: None,
            waiting: 1_000,
            pause: seconds(30),
            stall: seconds(90),
            least_rate: Bytes(16 << 10),
            least_rate_over: seconds(300),
            marker_interval: seconds(5),
        }
    }
}

/// One person gets this part of what all have together.
const PART_OF_ONE: usize = 4;

impl ThirdPartyConfig {
    pub(crate) fn per_person(&self) -> usize {
        self.per_person.unwrap_or(self.concurrency / PART_OF_ONE).max(1)
    }

    pub(crate) fn waiting_per_person(&self) -> usize {
        (self.waiting / PART_OF_ONE).max(1)
    }
}

/// `[edge.report]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReportConfig {
    /// What the storage is called; the name of the host when left out.
    pub name: Option<String>,
    /// The site's name in accounting records.
    pub site: Option<String>,
    pub quality: Quality,
    /// Whether everybody may read the report. Otherwise it takes an administrator, as the records always do.
    pub public: bool,
    /// How often all areas are looked through; a second is the least. Collectors expect at most 15 minutes.
    pub every: Span,
}

impl Default for ReportConfig {
    fn default() -> Self {
        let every = Span(Duration::from_secs(600));
        ReportConfig { name: None, site: None, quality: Quality::Production, public: false, every }
    }
}

/// How much a storage is to be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Quality {
    Production,
    Testing,
    PreProduction,
    Development,
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
    /// Whether an upload makes the folders that it needs, as grid clients expect it. Without, it is refused (RFC 4918).
    #[serde(default = "yes")]
    pub create_parents: bool,
    #[serde(default)]
    pub links: AreaLinks,
    /// The virtual organisations for which it is, as the report says.
    #[serde(default)]
    pub vos: Vec<String>,
}

fn yes() -> bool {
    true
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
    /// They are followed as long as they stay in the area. A lock is for the path under which it was taken: what has a second
    /// path through a link can be changed there.
    Within,
}
