//! Where a file of a deterministic storage element lies: the path is a function of the DID (`lfn2pfn_algorithm`).

use md5::{Digest, Md5};

/// How a deterministic storage element derives paths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PathFormula {
    /// `scope/ab/cd/name`, `abcd…` = MD5 of `scope:name`: spreads files over folders.
    #[default]
    Hash,
    /// `scope/name`.
    Identity,
}

impl PathFormula {
    /// The formula that the attribute `lfn2pfn_algorithm` names; `None` if it is not one of ours.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "hash" | "default" => Some(PathFormula::Hash),
            "identity" => Some(PathFormula::Identity),
            _ => None,
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            PathFormula::Hash => "hash",
            PathFormula::Identity => "identity",
        }
    }

    /// The path of a DID, relative to the prefix of a protocol.
    pub fn path(self, scope: &str, name: &str) -> String {
        match self {
            PathFormula::Hash => hash_path(scope, name),
            PathFormula::Identity => format!("{}/{name}", scope_folders(scope)),
        }
    }

    /// The name in `scope` whose path this is; `None` when it is the path of none.
    pub fn name_of<'p>(self, path: &'p str, scope: &str) -> Option<&'p str> {
        let rest = path.trim_start_matches('/').strip_prefix(scope_folders(scope).as_str())?.strip_prefix('/')?;
        let name = match self {
            PathFormula::Identity => rest,
            PathFormula::Hash => rest.splitn(3, '/').nth(2)?,
        };
        (self.path(scope, name) == path.trim_start_matches('/')).then_some(name)
    }
}

/// Scopes of users and groups are folders of folders: `user.jdoe` is `user/jdoe`.
fn scope_folders(scope: &str) -> String {
    if scope.starts_with("user") || scope.starts_with("group") { scope.replace('.', "/") } else { scope.to_owned() }
}

/// `scope/ab/cd/name`. The hash is of the scope before its dots become folders.
pub fn hash_path(scope: &str, name: &str) -> String {
    let mut digest = Md5::new();
    digest.update(scope.as_bytes());
    digest.update(b":");
    digest.update(name.as_bytes());
    let hash = digest.finalize();
    format!("{}/{:02x}/{:02x}/{name}", scope_folders(scope), hash[0], hash[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_as_seen_on_a_server() {
        assert_eq!(hash_path("mock448417", "a/b.root"), "mock448417/d9/7c/a/b.root");
        assert_eq!(hash_path("user.jdoe", "f1"), "user/jdoe/7f/2d/f1");
    }

    #[test]
    fn names_of_paths() {
        for formula in [PathFormula::Hash, PathFormula::Identity] {
            let path = formula.path("user.jdoe", "a/b.dat");
            assert_eq!(formula.name_of(&path, "user.jdoe"), Some("a/b.dat"));
            assert_eq!(formula.name_of(&path, "other"), None);
        }
        assert_eq!(PathFormula::Hash.name_of("s/00/00/n", "s"), None);
    }

    #[test]
    fn identity() {
        assert_eq!(PathFormula::Identity.path("group.phys", "f1"), "group/phys/f1");
        assert_eq!(PathFormula::named("nope"), None);
    }
}
