//! Which scopes a token gets of those that were asked for.

use crate::model::path::StoragePath;
use crate::model::scope::{self as known, ADMIN_SCOPE, KNOWN_SCOPES, Scopes};

pub(crate) const OFFLINE: &str = "offline_access";
pub(crate) const OPENID: &str = "openid";
/// All that the person may do.
pub(crate) const ALL_RIGHTS: &str = "wlcg";
pub(crate) const GROUPS: &str = "wlcg.groups";
/// What a client that names no scopes is registered with, and what the metadata lists.
pub(crate) const SUPPORTED: &[&str] = &[
    OPENID,
    "profile",
    "email",
    "groups",
    OFFLINE,
    ALL_RIGHTS,
    GROUPS,
    "storage.read:/",
    "storage.create:/",
    "storage.modify:/",
    "storage.stage:/",
    "compute.read",
    "compute.create",
    "compute.modify",
    "compute.cancel",
];
/// Power over the engine or other people; only an administrator registers clients with these.
const ADMINISTRATIVE: &[&str] = &["policy.admin", "iam:", "scim:", "registry.write"];
/// Families of scopes that somebody understands; others are dropped.
const FAMILIES: &[&str] = &["storage.", "compute.", "dte.", "accounting.", "ams.", "registry.", "policy.", "wlcg."];
const MOST: usize = 128;
const LONGEST: usize = 512;
/// All scopes of a request together, in bytes.
const LONGEST_LIST: usize = 4_096;

/// Scopes that cannot be read; the whole request fails.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct BadScopes(String);

/// Checks the form: RFC 6749 section 3.3, and every `storage.*` with a path.
pub(crate) fn check(wanted: &[String]) -> Result<(), BadScopes> {
    if wanted.len() > MOST {
        return Err(BadScopes(format!("there are more than {MOST} scopes")));
    }
    if wanted.iter().map(|scope| scope.len() + 1).sum::<usize>() > LONGEST_LIST {
        return Err(BadScopes(format!("the scopes are longer than {LONGEST_LIST} bytes")));
    }
    let is_good = |scope: &&String| {
        scope.len() <= LONGEST && scope.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\'))
    };
    if let Some(bad) = wanted.iter().find(|scope| !is_good(scope)) {
        return Err(BadScopes(format!("{:?} is not a scope", bad.chars().take(40).collect::<String>())));
    }
    let root = StoragePath::parse("/").map_err(|bad| BadScopes(bad.to_string()))?;
    Scopes::parse(&wanted.join(" "), &root).map(drop).map_err(|bad| BadScopes(bad.to_string()))
}

pub(crate) fn is_administrative(scope: &str) -> bool {
    scope == ADMIN_SCOPE || ADMINISTRATIVE.iter().any(|family| scope.starts_with(family))
}

/// Whether a scope means something here.
pub(crate) fn is_known(scope: &str) -> bool {
    let is_ours = SUPPORTED.contains(&scope) || known::is_known(scope);
    is_ours || is_administrative(scope) || FAMILIES.iter().any(|family| scope.starts_with(family))
}

/// Whether whoever may ask for `has` may ask for `wanted`: the same, the same with a narrower path, by components, never by
/// the beginning of the text.
pub(crate) fn covers(has: &str, wanted: &str) -> bool {
    if has == wanted {
        return true;
    }
    let split = |text: &str| text.split_once(':').map(|(family, rest)| (family.to_owned(), rest.to_owned()));
    match (split(has), split(wanted)) {
        (None, Some((family, _))) => has == family && !family.starts_with("storage."),
        (Some((has, place)), Some((wanted, path))) if has == wanted => {
            match (StoragePath::parse_encoded(&place), StoragePath::parse_encoded(&path)) {
                (Ok(place), Ok(path)) => {
                    place.covers(&path) && !(place.is_directory() && place.same_place(&path) && !path.is_directory())
                }
                _ => false,
            }
        }
        _ => false,
    }
}

/// Those of `wanted` that `allowed` covers, each once.
pub(crate) fn narrow(wanted: &[String], allowed: &[String]) -> Vec<String> {
    let mut kept: Vec<String> = Vec::new();
    for scope in wanted {
        if !kept.contains(scope) && allowed.iter().any(|has| covers(has, scope)) {
            kept.push(scope.clone());
        }
    }
    kept
}

/// Whether all of `wanted` is covered.
pub(crate) fn is_subset(wanted: &[String], granted: &[String]) -> bool {
    wanted.iter().all(|scope| granted.iter().any(|has| covers(has, scope)))
}

/// What a scope lets the client do, in a person's words.
pub(crate) fn in_words(scope: &str) -> String {
    let (family, place) = scope.split_once(':').map_or((scope, ""), |(family, place)| (family, place));
    let text = match family {
        OPENID => "know who you are",
        "profile" => "read your name",
        "email" => "read your e-mail address",
        "groups" | GROUPS => "read the groups that you are in",
        OFFLINE => "keep access while you are away",
        ALL_RIGHTS => "do everything that you may do",
        "storage.read" => "read files",
        "storage.create" => "add files",
        "storage.modify" => "change and delete files",
        "storage.stage" => "bring files from tape",
        "compute.read" => "see jobs",
        "compute.create" => "start jobs",
        "compute.modify" => "change jobs",
        "compute.cancel" => "stop jobs",
        ADMIN_SCOPE => "administer this engine",
        _ => match KNOWN_SCOPES.iter().find(|(name, _)| name.split(':').next() == Some(family)) {
            Some((_, text)) => text,
            None => return format!("use {scope}"),
        },
    };
    if place.is_empty() { text.to_owned() } else { format!("{text} under {place}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words(text: &str) -> Vec<String> {
        text.split_ascii_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn by_components() {
        assert!(covers("storage.read:/", "storage.read:/a/b"));
        assert!(covers("storage.read:/a", "storage.read:/a"));
        assert!(covers("storage.read:/a", "storage.read:/a/b"));
        assert!(covers("wlcg.groups", "wlcg.groups:/vo"));
        for (has, wanted) in [
            ("storage.read:/foo", "storage.read:/foobar"),
            ("storage.read:/foo", "storage.read:/foo/../bar"),
            ("storage.read:/foo", "storage.read:/"),
            ("storage.read:/foo/", "storage.read:/foo"),
            ("storage.read:/", "storage.modify:/"),
            ("storage.read", "storage.read:/a"),
            ("wlcg.groups:/vo/a", "wlcg.groups"),
            ("compute", "compute.read"),
            ("compute.read", "compute.readall"),
            ("wlcg", "wlcg.groups"),
        ] {
            assert!(!covers(has, wanted), "{has} {wanted}");
        }
    }

    #[test]
    fn narrowed() {
        let allowed = words("openid storage.read:/data compute.create");
        assert_eq!(
            narrow(&words("openid openid storage.read:/data/x storage.read:/ dte.admin"), &allowed),
            words("openid storage.read:/data/x")
        );
        assert!(is_subset(&words("openid"), &allowed) && !is_subset(&words("openid profile"), &allowed));
        assert!(check(&words("openid storage.read:/a")).is_ok());
        for bad in ["storage.read", "storage.read:/a/../b", "a\"b"] {
            assert!(check(&words(bad)).is_err(), "{bad}");
        }
        assert!(is_administrative("dte.admin") && is_administrative("iam:admin.read") && !is_administrative("openid"));
        assert!(!is_known("eduperson_entitlement") && is_known("dte.deploy:/p"));
    }

    proptest! {
        #[test]
        fn what_is_narrowed_is_a_subset(wanted in proptest::collection::vec("storage\\.(read|modify):(/[ab]{1,2}){0,3}|openid|wlcg", 0..6),
                                        allowed in proptest::collection::vec("storage\\.(read|modify):(/[ab]{1,2}){0,3}|openid|wlcg", 0..6)) {
            let kept = narrow(&wanted, &allowed);
            prop_assert!(is_subset(&kept, &allowed));
            prop_assert!(kept.iter().all(|scope| wanted.contains(scope)));
            prop_assert_eq!(narrow(&kept, &allowed), kept);
        }
    }
}
