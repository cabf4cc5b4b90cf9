//! Scopes of a token as capabilities (WLCG token profile 1.3; `contracts`: "Capabilities and path semantics").

use std::sync::{Arc, LazyLock};

use super::path::StoragePath;

/// What somebody wants to do with a stored thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StorageOp {
    /// Read content; also list a directory.
    Read,
    /// Make what was not there; give what is there a name that is free.
    Create,
    /// Make, overwrite, rename, delete.
    Modify,
    /// See that it is there, its size and times.
    Stat,
    /// Bring it from tape, pin it, release it.
    Stage,
}

/// The power of a `storage.*` scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StoragePower {
    Read,
    Create,
    Modify,
    Stage,
    Poll,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct StorageScope {
    power: StoragePower,
    path: StoragePath,
}

/// The scopes of one token. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scopes(Arc<Listed>);

static NONE: LazyLock<Arc<Listed>> = LazyLock::new(Arc::default);

impl Default for Scopes {
    fn default() -> Self {
        Scopes(Arc::clone(&NONE))
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Listed {
    names: Vec<String>,
    storage: Vec<StorageScope>,
    capabilities: bool,
}

/// A scope that makes the whole token worthless.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("scope {scope}: {why}")]
pub struct BadScope {
    scope: String,
    why: String,
}

/// The scope that carries an administrator's power when a token has other capabilities; only administrators get it.
pub const ADMIN_SCOPE: &str = "dte.admin";

/// Families of scopes that are capabilities: with one of them in a token, only the scopes decide.
const CAPABILITY_FAMILIES: &[&str] = &[
    "storage.",
    "compute.",
    "dte.",
    "events.",
    "provenance.",
    "accounting.",
    "ams.",
    "registry.",
    "policy.",
    "scim:",
    "iam:",
];

/// The scope of clients of an FTS; a capability too.
const FTS: &str = "fts";

/// The scopes that mean something here, with what they are for. `/PATH` and `:OBJECT` stand for one's own words.
pub const KNOWN_SCOPES: &[(&str, &str)] = &[
    ("storage.read:/PATH", "read files, list folders"),
    ("storage.create:/PATH", "make files and folders, give them new names, overwrite none"),
    ("storage.modify:/PATH", "make, overwrite, rename and delete"),
    ("storage.stage:/PATH", "bring from tape, pin, release"),
    ("storage.poll:/PATH", "see where a file is"),
    ("compute.read", "look at one's pods and their logs"),
    ("compute.create", "start pods"),
    ("compute.modify", "change one's pods"),
    ("compute.cancel", "end one's pods"),
    ("dte.lake", "the catalogue of the data lake: all that the account may"),
    ("dte.lake.read", "the catalogue of the data lake: reading"),
    ("dte.transfer", "transfers: submit, look at one's own, cancel them"),
    ("fts", "the same, in the word of FTS clients"),
    ("dte.twins", "one's twins"),
    ("events.read", "read and stream events"),
    ("events.subscribe", "subscribe to events"),
    ("events.publish", "publish events"),
    ("provenance.read", "read provenance"),
    ("provenance.write", "write provenance"),
    ("accounting.read", "see one's usage"),
    ("scim:read", "read accounts and groups over SCIM; for administrators"),
    ("scim:write", "change accounts and groups over SCIM; for administrators"),
    ("iam:admin.read", "read what INDIGO IAM's administration shows; for administrators"),
    ("iam:admin.write", "change it; for administrators"),
    (ADMIN_SCOPE, "all that an administrator may; for administrators"),
    ("wlcg", "no capability: all that the account may"),
    ("wlcg.groups", "no capability: the groups of the account"),
    ("openid", "no capability: who the account is"),
    ("profile", "no capability: its name"),
    ("email", "no capability: its address"),
    ("offline_access", "no capability: a refresh token"),
];

/// Scopes for which there is room at once.
const MOST_EXPECTED: usize = 64;

/// Whether a scope is one of [`KNOWN_SCOPES`], alone or with an object of its own (`compute.read:/x`).
pub fn is_known(scope: &str) -> bool {
    let name = scope.split_once(':').map_or(scope, |(name, _)| name);
    KNOWN_SCOPES.iter().any(|(known, _)| known.split_once(':').map_or(*known, |(name, _)| name) == name)
}

impl Scopes {
    /// Reads the `scope` claim. Paths are relative to `base`, the issuer's area at this resource.
    pub fn parse(claim: &str, base: &StoragePath) -> Result<Self, BadScope> {
        let mut listed = Listed::default();
        // Words and the spaces between them.
        listed.names.reserve(1 + claim.bytes().filter(u8::is_ascii_whitespace).count().min(MOST_EXPECTED));
        for name in claim.split_ascii_whitespace() {
            listed.add(name, base)?;
        }
        Ok(Scopes(Arc::new(listed)))
    }

    /// The scopes as they were written.
    pub fn names(&self) -> &[String] {
        &self.0.names
    }

    /// Whether the token says what it may do; then groups and local rights do not count.
    pub fn have_capabilities(&self) -> bool {
        self.0.capabilities
    }

    /// Whether the scope itself, or the same with a path or object (`compute.create:/x`), is there.
    pub fn contain(&self, wanted: &str) -> bool {
        self.0
            .names
            .iter()
            .any(|name| name.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with(':')))
    }

    /// Whether exactly this scope is there.
    pub fn contain_exactly(&self, wanted: &str) -> bool {
        self.0.names.iter().any(|name| name == wanted)
    }

    /// Whether a storage scope permits `op` at `path`.
    pub fn permit_storage(&self, op: StorageOp, path: &StoragePath) -> bool {
        self.0.storage.iter().any(|scope| scope.permits(op, path))
    }
}

impl Listed {
    fn add(&mut self, name: &str, base: &StoragePath) -> Result<(), BadScope> {
        let bad = |why: String| BadScope { scope: name.chars().take(80).collect(), why };
        if let Some(rest) = name.strip_prefix("storage.") {
            let (power, path) = rest.split_once(':').ok_or_else(|| bad("the path is missing".to_owned()))?;
            let power = match power {
                "read" => Some(StoragePower::Read),
                "create" => Some(StoragePower::Create),
                "modify" => Some(StoragePower::Modify),
                "stage" => Some(StoragePower::Stage),
                "poll" => Some(StoragePower::Poll),
                _ => None,
            };
            if let Some(power) = power {
                let path = StoragePath::parse_encoded(path).map_err(|path| bad(path.to_string()))?;
                self.storage.push(StorageScope { power, path: path.beneath(base) });
            }
        }
        let is_fts = name.strip_prefix(FTS).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'));
        self.capabilities |= is_fts || CAPABILITY_FAMILIES.iter().any(|family| name.starts_with(family));
        self.names.push(name.to_owned());
        Ok(())
    }
}

impl StorageScope {
    fn permits(&self, op: StorageOp, path: &StoragePath) -> bool {
        use StoragePower::{Create, Modify, Poll, Read, Stage};
        let writes = matches!(self.power, Create | Modify);
        let fits = match (op, self.power) {
            (StorageOp::Stat, _) => true,
            (StorageOp::Read, Read) | (StorageOp::Modify, Modify) | (StorageOp::Stage, Stage) => true,
            (StorageOp::Create, Create | Modify) => true,
            (
                StorageOp::Read | StorageOp::Create | StorageOp::Modify | StorageOp::Stage,
                Read | Create | Modify | Stage | Poll,
            ) => false,
        };
        if !fits {
            return false;
        }
        if self.path.covers(path) {
            // A scope written with a slash at the end is for a directory, not for a file of that name.
            return !(self.path.is_directory() && self.path.same_place(path) && !path.is_directory());
        }
        // Who may make things in a place may make, and look for, the directories that lead to it.
        writes && path.is_directory() && path.covers(&self.path) && matches!(op, StorageOp::Create | StorageOp::Stat)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scopes(claim: &str) -> Scopes {
        Scopes::parse(claim, &StoragePath::parse("/").expect("a path")).expect("scopes")
    }

    fn permits(claim: &str, op: StorageOp, path: &str) -> bool {
        scopes(claim).permit_storage(op, &StoragePath::parse(path).expect("a path"))
    }

    #[test]
    fn powers() {
        use StorageOp::{Create, Modify, Read, Stage, Stat};
        for (claim, allowed) in [
            ("storage.read:/a", vec![Read, Stat]),
            ("storage.create:/a", vec![Create, Stat]),
            ("storage.modify:/a", vec![Create, Modify, Stat]),
            ("storage.stage:/a", vec![Stage, Stat]),
            ("storage.poll:/a", vec![Stat]),
        ] {
            for op in [Read, Create, Modify, Stat, Stage] {
                assert_eq!(permits(claim, op, "/a/f"), allowed.contains(&op), "{claim} {op:?}");
                assert!(!permits(claim, op, "/b"), "{claim} {op:?}");
                assert!(!permits(claim, op, "/ab"), "{claim} {op:?}");
            }
        }
    }

    #[test]
    fn a_slash_at_the_end_is_a_directory() {
        assert!(permits("storage.create:/a/", StorageOp::Create, "/a/f"));
        assert!(permits("storage.create:/a/", StorageOp::Create, "/a/"));
        assert!(!permits("storage.create:/a/", StorageOp::Create, "/a"));
        assert!(permits("storage.create:/a", StorageOp::Create, "/a"));
        assert!(permits("storage.read:/", StorageOp::Read, "/"));
        assert!(permits("storage.read:/", StorageOp::Read, "/x"));
    }

    #[test]
    fn leading_directories() {
        assert!(permits("storage.create:/a/b/c", StorageOp::Create, "/a/"));
        assert!(permits("storage.create:/a/b/c", StorageOp::Stat, "/a/"));
        assert!(!permits("storage.create:/a/b/c", StorageOp::Create, "/a"));
        assert!(!permits("storage.modify:/a/b/c", StorageOp::Modify, "/a/"));
        assert!(!permits("storage.read:/a/b/c", StorageOp::Stat, "/a/"));
    }

    #[test]
    fn a_path_is_mandatory() {
        let base = StoragePath::parse("/").expect("a path");
        for bad in [
            "storage.read",
            "openid storage.modify",
            "storage.read:",
            "storage.read:a",
            "storage.read:/../a",
            "storage.read:/a%2Fb",
        ] {
            assert!(Scopes::parse(bad, &base).is_err(), "{bad}");
        }
    }

    #[test]
    fn base_paths() {
        let base = StoragePath::parse("/vo").expect("a path");
        let scopes = Scopes::parse("storage.read:/data", &base).expect("scopes");
        assert!(scopes.permit_storage(StorageOp::Read, &StoragePath::parse("/vo/data/f").expect("a path")));
        assert!(!scopes.permit_storage(StorageOp::Read, &StoragePath::parse("/data/f").expect("a path")));
    }

    #[test]
    fn capabilities() {
        assert!(!scopes("openid profile offline_access wlcg").have_capabilities());
        assert!(scopes("openid compute.create").have_capabilities());
        for one in ["events.read", "provenance.read", "fts", "fts:submit-transfer", "dte.unheard-of"] {
            assert!(scopes(one).have_capabilities(), "{one}");
        }
        assert!(!scopes("ftsomething").have_capabilities());
        assert!(scopes("fts:submit-transfer").contain("fts"));
        assert!(!scopes("dte.lake.read").contain("dte.lake"));
        assert!(is_known("storage.read:/x") && is_known("compute.read:/x") && is_known("dte.lake"));
        assert!(!is_known("storage.write:/x") && !is_known("compute") && !is_known(""));
        assert!(scopes("compute.create").contain("compute.create"));
        assert!(scopes("dte.deploy:/p").contain("dte.deploy"));
        assert!(!scopes("compute.created").contain("compute.create"));
    }
}
