//! Write locks: what they cover, which do not go together, and who gets by them (RFC 4918 sections 6 and 7).

use std::time::Duration;

use dte_base::time::Timestamp;
use dte_identity::UserRef;
use dte_protocol_webdav::fragment::Fragment;
use dte_protocol_webdav::lock::LockScope;
use dte_protocol_webdav::path::ResourcePath;

/// A lock is given for this long when nobody says how long.
const USUAL: Duration = Duration::from_secs(600);
/// And at most for this long; it can be refreshed.
const LONGEST: Duration = Duration::from_secs(24 * 3_600);

/// For how long a lock is given.
pub fn term(asked: Option<Duration>) -> Duration {
    asked.map_or(USUAL, |asked| asked.min(LONGEST))
}

/// A write lock in an area.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    pub token: String,
    /// Below the area.
    pub path: ResourcePath,
    pub is_folder: bool,
    /// Whether it is for all that is in a folder, now and later.
    pub is_deep: bool,
    pub scope: LockScope,
    pub holder: UserRef,
    pub owner: Option<Fragment>,
    pub expires: Timestamp,
}

impl Lock {
    /// Whether it is in force for what is at `path`.
    pub fn covers(&self, path: &ResourcePath) -> bool {
        path.is_within(&self.path) && (self.is_deep || path.components().len() == self.path.components().len())
    }

    /// Whether the two cannot be there at once.
    pub fn conflicts_with(&self, other: &Lock) -> bool {
        let overlap = self.covers(&other.path) || other.covers(&self.path);
        overlap && (self.scope == LockScope::Exclusive || other.scope == LockScope::Exclusive)
    }

    /// About as many bytes as it takes where it is kept.
    pub fn bytes(&self) -> usize {
        const REST: usize = 256;
        let path: usize = self.path.components().iter().map(|part| part.len() + 1).sum();
        REST + path + self.token.len() + self.owner.as_ref().map_or(0, size_of_owner)
    }

    pub fn is_held_by(&self, person: &UserRef) -> bool {
        self.holder.issuer == person.issuer && self.holder.subject == person.subject
    }
}

/// Bytes of what a client said of a lock's owner.
pub fn size_of_owner(owner: &Fragment) -> usize {
    owner.xml.len() + owner.lang.as_ref().map_or(0, String::len)
}

/// What a request shows to get by locks: who asks, and the tokens that they named. A token alone is no right, since
/// everybody who may look at a resource can see the tokens of its locks.
#[derive(Clone, Debug, Default)]
pub struct Pass {
    pub person: Option<UserRef>,
    pub tokens: Vec<String>,
}

impl Pass {
    fn is_for(&self, lock: &Lock) -> bool {
        self.tokens.contains(&lock.token) && self.person.as_ref().is_some_and(|person| lock.is_held_by(person))
    }
}

/// Something that a request is about to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Touch {
    /// The content or the properties of one resource.
    One(ResourcePath),
    /// A resource with all that is in it.
    Tree(ResourcePath),
    /// Which members a folder has.
    Members(ResourcePath),
}

impl Touch {
    fn path(&self) -> &ResourcePath {
        match self {
            Touch::One(path) | Touch::Tree(path) | Touch::Members(path) => path,
        }
    }

    fn meets(&self, lock: &Lock) -> bool {
        lock.covers(self.path()) || matches!(self, Touch::Tree(path) if lock.path.is_within(path))
    }
}

/// The first lock that is in the way. Of shared locks the token of one is enough, if that one is in force where the other is in
/// the way.
pub fn in_the_way<'a>(
    locks: impl Iterator<Item = &'a Lock> + Clone,
    touches: &[Touch],
    pass: &Pass,
) -> Option<&'a Lock> {
    for touch in touches {
        let passed = |lock: &Lock| {
            let shared_here = |other: &Lock| {
                let place = if lock.covers(touch.path()) { touch.path() } else { &lock.path };
                let same_place = other.covers(place);
                other.scope == LockScope::Shared && same_place && pass.is_for(other)
            };
            pass.is_for(lock) || (lock.scope == LockScope::Shared && locks.clone().any(shared_here))
        };
        if let Some(lock) = locks.clone().find(|lock| touch.meets(lock) && !passed(lock)) {
            return Some(lock);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> ResourcePath {
        ResourcePath::from_plain(text).expect("path")
    }

    fn person(name: &str) -> UserRef {
        UserRef { issuer: "us".into(), subject: name.into(), name: name.into() }
    }

    fn lock(at: &str, is_deep: bool, scope: LockScope, who: &str) -> Lock {
        Lock {
            token: format!("urn:{who}:{at}"),
            path: path(at),
            is_folder: is_deep,
            is_deep,
            scope,
            holder: person(who),
            owner: None,
            expires: Timestamp::from_seconds(1),
        }
    }

    fn pass(who: &str, locks: &[&Lock]) -> Pass {
        Pass { person: Some(person(who)), tokens: locks.iter().map(|lock| lock.token.clone()).collect() }
    }

    #[test]
    fn conflicts() {
        use LockScope::{Exclusive, Shared};
        let deep = lock("/a", true, Shared, "eva");
        assert!(deep.conflicts_with(&lock("/a/b", false, Exclusive, "max")));
        assert!(!deep.conflicts_with(&lock("/a/b", false, Shared, "max")));
        assert!(lock("/a/b", false, Exclusive, "max").conflicts_with(&deep));
        assert!(!lock("/a", false, Exclusive, "max").conflicts_with(&lock("/a/b", false, Exclusive, "eva")));
        assert!(!lock("/ab", true, Exclusive, "max").conflicts_with(&lock("/a", true, Exclusive, "eva")));
    }

    #[test]
    fn who_gets_by() {
        use LockScope::{Exclusive, Shared};
        let (file, folder) = (lock("/a/f", false, Exclusive, "eva"), lock("/a", false, Exclusive, "max"));
        let locks = [file.clone(), folder.clone()];
        let blocked =
            |touch: Touch, pass: &Pass| in_the_way(locks.iter(), &[touch], pass).map(|lock| lock.token.clone());
        let nobody = Pass::default();
        assert!(blocked(Touch::One(path("/a/f")), &nobody).is_some());
        assert!(blocked(Touch::One(path("/a/f")), &pass("eva", &[])).is_some(), "the token must be shown");
        assert!(blocked(Touch::One(path("/a/f")), &pass("max", &[&file])).is_some(), "by the holder");
        assert!(blocked(Touch::One(path("/a/f")), &pass("eva", &[&file])).is_none());
        assert!(blocked(Touch::One(path("/a/g")), &nobody).is_none(), "the folder's lock is not deep");
        assert!(blocked(Touch::Members(path("/a")), &nobody).is_some());
        assert!(blocked(Touch::Tree(path("/")), &pass("max", &[&folder])).is_some());
        assert!(blocked(Touch::Tree(path("/b")), &nobody).is_none());
        let shared = [lock("/a", true, Shared, "eva"), lock("/a/f", false, Shared, "max")];
        for one in &shared {
            let pass = pass(&one.holder.name, &[one]);
            assert!(in_the_way(shared.iter(), &[Touch::One(path("/a/f"))], &pass).is_none());
        }
        assert!(in_the_way(shared.iter(), &[Touch::One(path("/a/g"))], &pass("max", &[&shared[1]])).is_some());
        let folder = [lock("/a", true, Shared, "eva"), lock("/a", false, Shared, "max")];
        assert!(
            in_the_way(folder.iter(), &[Touch::One(path("/a/f"))], &pass("max", &[&folder[1]])).is_some(),
            "not deep"
        );
        assert!(in_the_way(folder.iter(), &[Touch::One(path("/a"))], &pass("max", &[&folder[1]])).is_none());
        assert!(in_the_way(shared.iter(), &[Touch::Tree(path("/"))], &pass("max", &[&shared[1]])).is_some());
        assert_eq!(term(Some(Duration::MAX)), LONGEST);
    }
}
