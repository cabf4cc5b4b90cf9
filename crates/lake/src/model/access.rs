//! Who may read the bytes of files: as in Rucio every account of the engine, unless the owner of a scope names its readers. The
//! catalogue itself stays open to all accounts.

use dte_identity::Group;

use super::policy::Caller;

/// Longer names are no accounts.
const LONGEST_ACCOUNT: usize = 64;
/// Readers of one scope, at most.
pub const MOST_READERS: usize = 1_000;

/// Somebody who may read a scope whose readers are named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reader {
    Account(String),
    /// `/vo/group`, and the groups beneath it.
    Group(Group),
}

impl Reader {
    /// An account name, or a group as `/vo/group`.
    pub fn parse(text: &str) -> Option<Reader> {
        if text.starts_with('/') {
            return Group::from_wlcg(text).map(Reader::Group);
        }
        let fits = !text.is_empty() && text.len() <= LONGEST_ACCOUNT;
        (fits && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b)))
            .then(|| Reader::Account(text.to_owned()))
    }

    pub fn text(&self) -> String {
        match self {
            Reader::Account(name) => name.clone(),
            Reader::Group(group) => group.name(),
        }
    }

    fn is(&self, caller: &Caller, groups: &[Group]) -> bool {
        match self {
            Reader::Account(name) => *name == caller.account,
            Reader::Group(wanted) => groups.iter().any(|group| group.satisfies(wanted)),
        }
    }
}

/// Whether the caller, who is in these groups, may read the files of a scope. No readers: everybody may.
pub fn may_read(caller: &Caller, groups: &[Group], owner: &str, readers: &[Reader]) -> bool {
    readers.is_empty()
        || caller.admin
        || caller.account == owner
        || readers.iter().any(|reader| reader.is(caller, groups))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers() {
        let caller = |account: &str, admin| Caller { account: account.to_owned(), admin, engine_admin: admin };
        let (alice, root) = (caller("alice", false), caller("root", true));
        let reader = |text: &str| Reader::parse(text).expect("a reader");
        let group = |text: &str| Group::from_wlcg(text).expect("a group");
        assert!(may_read(&alice, &[], "bob", &[]), "open when nobody is named");
        assert!(!may_read(&alice, &[], "bob", &[reader("carol")]));
        assert!(!may_read(&alice, &[], "bob", &[reader("alic")]));
        assert!(may_read(&alice, &[], "alice", &[reader("carol")]), "the owner");
        assert!(may_read(&root, &[], "bob", &[reader("carol")]), "administrators");
        assert!(may_read(&alice, &[], "bob", &[reader("carol"), reader("alice")]));
        let sea = [reader("/ocean/enso")];
        assert!(may_read(&alice, &[group("/ocean/enso")], "bob", &sea));
        assert!(may_read(&alice, &[group("/ocean/enso/night")], "bob", &sea));
        for other in ["/ocean", "/ocean/ensoul", "/land/enso"] {
            assert!(!may_read(&alice, &[group(other)], "bob", &sea), "{other}");
        }
        for odd in ["", "/", "a b", "//x", "/vo/", "\u{fc}"] {
            assert_eq!(Reader::parse(odd), None, "{odd:?}");
        }
        assert_eq!(reader("/ocean/enso").text(), "/ocean/enso");
    }
}
