//! The one decision about what a principal may do: a few rules, any of which permits, and what each that does not has to say.

use super::path::StoragePath;
use super::principal::{Identified, Standing};
use super::scope::{ADMIN_SCOPE, StorageOp};

/// What is wanted, read already.
#[derive(Clone, Copy, Debug)]
pub enum Wanted<'a> {
    /// A scope by name.
    Scope(&'a str),
    Storage(StorageOp, &'a StoragePath),
    Admin,
}

/// What one rule says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Permits,
    /// It does not permit, for the reason with this stable id.
    Silent(&'static str),
}

/// A rule: its name, and what it says.
type Rule = (&'static str, fn(&Identified, Wanted<'_>) -> Verdict);

/// Any of these permits; none forbids. Bans and accounts were looked at before there was a principal.
const RULES: &[Rule] = &[("administrator", administrator), ("scope", scope), ("account", account), ("grant", grant)];

/// Whether any rule permits. Allocates nothing.
pub fn is_permitted(who: &Identified, wanted: Wanted<'_>) -> bool {
    RULES.iter().any(|(_, rule)| rule(who, wanted) == Verdict::Permits)
}

/// What every rule says, in order.
pub fn weigh(who: &Identified, wanted: Wanted<'_>) -> impl Iterator<Item = (&'static str, Verdict)> {
    RULES.iter().map(move |(name, rule)| (*name, rule(who, wanted)))
}

/// Why nothing permits.
pub fn reasons(who: &Identified, wanted: Wanted<'_>) -> Vec<&'static str> {
    weigh(who, wanted)
        .filter_map(|(_, verdict)| match verdict {
            Verdict::Silent(reason) => Some(reason),
            Verdict::Permits => None,
        })
        .collect()
}

/// A reason in words.
pub fn in_words(reason: &str) -> &'static str {
    match reason {
        "not-an-administrator" => "the account is no administrator",
        "administrator-confined" => {
            "the account is an administrator, but the token confines itself to other capabilities"
        }
        "scope-missing" => "no scope of the token permits it",
        "account-confined" => "the token says what it may do, so the rights of the account do not count",
        "identity-only" => "the token only says who somebody is",
        "no-account" => "there is no local account behind the token",
        "not-own-area" => "the path is not in the account's own area",
        "not-for-accounts" => "an account alone does not permit it",
        "grant-confined" => "the token says what it may do, so what the operator grants to its groups does not count",
        "no-grant" => "the operator grants it to none of the token's groups",
        "bad-path" => "the path cannot be a path",
        _ => "",
    }
}

/// Whether an administrator acts whose token does not confine itself to other capabilities.
pub fn is_admin(who: &Identified) -> bool {
    who.standing == Standing::User { admin: true }
        && (!who.scopes.have_capabilities() || who.scopes.contain_exactly(ADMIN_SCOPE))
}

fn administrator(who: &Identified, _: Wanted<'_>) -> Verdict {
    if is_admin(who) {
        Verdict::Permits
    } else if who.standing == (Standing::User { admin: true }) {
        Verdict::Silent("administrator-confined")
    } else {
        Verdict::Silent("not-an-administrator")
    }
}

fn scope(who: &Identified, wanted: Wanted<'_>) -> Verdict {
    let permits = match wanted {
        Wanted::Scope(name) => who.scopes.contain(name),
        Wanted::Storage(op, path) => who.scopes.permit_storage(op, path),
        // A scope makes nobody an administrator.
        Wanted::Admin => false,
    };
    if permits { Verdict::Permits } else { Verdict::Silent("scope-missing") }
}

/// What local users may without any scope; guests have their own area.
fn account(who: &Identified, wanted: Wanted<'_>) -> Verdict {
    if who.scopes.have_capabilities() {
        return Verdict::Silent("account-confined");
    }
    match (wanted, who.standing) {
        (_, Standing::Client) => Verdict::Silent("no-account"),
        (_, Standing::Named) => Verdict::Silent("identity-only"),
        (Wanted::Admin, _) => Verdict::Silent("not-for-accounts"),
        (Wanted::Scope(_), Standing::User { .. }) => Verdict::Permits,
        (Wanted::Scope(_), Standing::Guest) => Verdict::Silent("no-account"),
        (Wanted::Storage(op, path), _) if is_own_area(&who.name, op, path) => Verdict::Permits,
        (Wanted::Storage(..), _) => Verdict::Silent("not-own-area"),
    }
}

/// `/home/NAME`, and a look at the way there.
fn is_own_area(name: &str, op: StorageOp, path: &StoragePath) -> bool {
    match path.components() {
        [] => op == StorageOp::Stat,
        [home] => home == "home" && op == StorageOp::Stat,
        [home, own, ..] => home == "home" && own == name,
    }
}

fn grant(who: &Identified, wanted: Wanted<'_>) -> Verdict {
    if who.scopes.have_capabilities() || who.standing == Standing::Named {
        return Verdict::Silent("grant-confined");
    }
    let permits = match wanted {
        Wanted::Scope(name) => who.granted.contain(name),
        Wanted::Storage(op, path) => who.granted.permit_storage(op, path),
        Wanted::Admin => false,
    };
    if permits { Verdict::Permits } else { Verdict::Silent("no-grant") }
}

#[cfg(test)]
mod tests {
    use super::super::scope::Scopes;
    use super::*;
    use dte_base::time::Timestamp;
    use proptest::prelude::*;

    fn who(standing: Standing, scope: &str, granted: &str) -> Identified {
        let base = StoragePath::parse("/").expect("a path");
        Identified {
            issuer: "https://iss".to_owned(),
            subject: "alice".to_owned(),
            client_id: None,
            acting: None,
            scopes: Scopes::parse(scope, &base).expect("scopes"),
            granted: Scopes::parse(granted, &base).expect("scopes"),
            groups: std::sync::Arc::default(),
            vo: None,
            token_id: None,
            expires: Timestamp::EPOCH,
            issued: None,
            is_foreign: false,
            standing,
            name: "alice".to_owned(),
        }
    }

    #[test]
    fn every_denial_has_all_its_reasons_in_words() {
        let path = StoragePath::parse("/data/f").expect("a path");
        for standing in [
            Standing::User { admin: true },
            Standing::User { admin: false },
            Standing::Client,
            Standing::Guest,
            Standing::Named,
        ] {
            for scope in ["", "compute.read"] {
                for wanted in [Wanted::Admin, Wanted::Scope("x.y"), Wanted::Storage(StorageOp::Read, &path)] {
                    let who = who(standing, scope, "");
                    if !is_permitted(&who, wanted) {
                        let reasons = reasons(&who, wanted);
                        assert_eq!(reasons.len(), RULES.len());
                        assert!(reasons.iter().all(|reason| !in_words(reason).is_empty()), "{reasons:?}");
                    }
                }
            }
        }
        let confined = who(Standing::User { admin: true }, "compute.read", "");
        assert_eq!(
            reasons(&confined, Wanted::Admin),
            ["administrator-confined", "scope-missing", "account-confined", "grant-confined"]
        );
    }

    const SCOPES: &[&str] = &[
        "openid",
        "wlcg",
        "compute.create",
        "compute.read:/x",
        "storage.read:/home/alice",
        "storage.read:/a",
        "storage.modify:/a/b",
        "storage.create:/a/",
        "storage.stage:/",
        "dte.admin",
    ];

    fn some_scopes() -> impl Strategy<Value = Vec<&'static str>> {
        proptest::sample::subsequence(SCOPES, 0..=SCOPES.len())
    }

    fn standing() -> impl Strategy<Value = Standing> {
        prop_oneof![
            Just(Standing::User { admin: true }),
            Just(Standing::User { admin: false }),
            Just(Standing::Client),
            Just(Standing::Guest),
            Just(Standing::Named)
        ]
    }

    #[derive(Clone, Debug)]
    enum Ask {
        Scope(&'static str),
        Storage(StorageOp, String),
        Admin,
    }

    fn ask() -> impl Strategy<Value = Ask> {
        let op = proptest::sample::select(vec![
            StorageOp::Read,
            StorageOp::Create,
            StorageOp::Modify,
            StorageOp::Stat,
            StorageOp::Stage,
        ]);
        let path =
            proptest::collection::vec("home|alice|a|b|ab", 0..4).prop_map(|parts| format!("/{}", parts.join("/")));
        prop_oneof![
            proptest::sample::select(vec!["compute.create", "compute.read", "dte.admin"]).prop_map(Ask::Scope),
            (op, path).prop_map(|(op, path)| Ask::Storage(op, path)),
            Just(Ask::Admin),
        ]
    }

    fn permitted(who: &Identified, ask: &Ask) -> bool {
        match ask {
            Ask::Scope(name) => is_permitted(who, Wanted::Scope(name)),
            Ask::Storage(op, path) => {
                is_permitted(who, Wanted::Storage(*op, &StoragePath::parse(path).expect("a path")))
            }
            Ask::Admin => is_permitted(who, Wanted::Admin),
        }
    }

    proptest! {
        /// A token with capabilities may what they say, and nothing more: no account, group or grant adds to it.
        #[test]
        fn a_confined_token_never_gains(scopes in some_scopes(), granted in some_scopes(), standing in standing(), ask in ask()) {
            let full = who(standing, &scopes.join(" "), &granted.join(" "));
            prop_assume!(full.scopes.have_capabilities());
            let bare = who(Standing::Client, &scopes.join(" "), "");
            prop_assert_eq!(permitted(&full, &ask), permitted(&bare, &ask) || is_admin(&full));
        }

        /// One more capability in a token that has some never takes away; losing the rank of administrator never adds.
        #[test]
        fn rights_grow_with_scopes_and_shrink_with_rank(scopes in some_scopes(), more in some_scopes(), ask in ask()) {
            let user = Standing::User { admin: false };
            let less = who(user, &scopes.join(" "), "");
            let all = who(user, &[scopes.clone(), more].concat().join(" "), "");
            if less.scopes.have_capabilities() && permitted(&less, &ask) {
                prop_assert!(permitted(&all, &ask));
            }
            if permitted(&less, &ask) {
                let admin = who(Standing::User { admin: true }, &scopes.join(" "), "");
                prop_assert!(permitted(&admin, &ask));
            }
        }

        /// A longer name is another name: `/home/alicex` is not alice's, nor does `storage.read:/a` reach `/ab`.
        #[test]
        fn paths_are_compared_by_component(tail in "[a-z]{1,3}", rest in "[a-z/]{0,5}") {
            let rest = rest.trim_matches('/').replace("//", "/");
            let own = format!("/home/alice{tail}/{rest}");
            let shared = format!("/a{tail}/{rest}");
            let alice = who(Standing::User { admin: false }, "openid", "");
            let reader = who(Standing::User { admin: false }, "storage.read:/a", "");
            for (who, path) in [(&alice, own), (&reader, shared)] {
                if let Ok(path) = StoragePath::parse(&path) {
                    prop_assert!(!is_permitted(who, Wanted::Storage(StorageOp::Read, &path)));
                }
            }
        }
    }
}
