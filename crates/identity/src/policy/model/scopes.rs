//! Scope policies: which of the scopes that somebody asks for are given (`contracts`: "Scope policies").
//!
//! An account's own policies decide first; what they leave open its groups' policies decide, then those for everybody. Within
//! each of the three a denial wins. A scope that nobody decided about is dropped.

use dte_base::time::Timestamp;
use regex::{Regex, RegexBuilder};

use crate::model::path::StoragePath;

/// The most scopes of one policy.
pub(crate) const MOST_SCOPES: usize = 200;
/// The longest scope, in bytes.
pub(crate) const LONGEST_SCOPE: usize = 512;
/// The largest compiled expression, in bytes.
const LARGEST_EXPRESSION: usize = 64 << 10;
/// Scopes that only administrators get, also those that begin so.
const ADMIN_SCOPES: &[&str] = &["dte.admin", "policy.admin", "scim:", "iam:"];
/// The scope that is never filtered.
const ALWAYS: &str = "openid";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    Permit,
    Deny,
}

impl Rule {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Rule::Permit => "PERMIT",
            Rule::Deny => "DENY",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        [Rule::Permit, Rule::Deny].into_iter().find(|rule| rule.name() == name)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Matching {
    /// The same text.
    Eq,
    /// The whole scope matches the expression.
    Regexp,
    /// The same name, and a path beneath: by components, never by letters.
    Path,
}

impl Matching {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Matching::Eq => "EQ",
            Matching::Regexp => "REGEXP",
            Matching::Path => "PATH",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        [Matching::Eq, Matching::Regexp, Matching::Path].into_iter().find(|matching| matching.name() == name)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ScopePolicy {
    pub(crate) id: i64,
    pub(crate) description: String,
    pub(crate) rule: Rule,
    pub(crate) matching: Matching,
    /// For one account, for the members of one group, or for everybody.
    pub(crate) account: Option<String>,
    pub(crate) group_id: Option<String>,
    /// None: every scope.
    pub(crate) scopes: Vec<String>,
    pub(crate) created: Timestamp,
    pub(crate) updated: Timestamp,
    pub(crate) deleted: bool,
}

/// A policy that is ready to be asked.
#[derive(Clone, Debug)]
pub(crate) struct Ready {
    pub(crate) policy: ScopePolicy,
    expressions: Vec<Regex>,
}

/// `storage.read:/a/b` as name and path.
fn with_path(scope: &str) -> Option<(&str, StoragePath)> {
    let (name, path) = scope.split_once(':')?;
    StoragePath::parse_encoded(path).ok().map(|path| (name, path))
}

impl Ready {
    /// Refuses what cannot be asked, in words.
    pub(crate) fn new(policy: ScopePolicy) -> Result<Self, String> {
        if policy.account.is_some() && policy.group_id.is_some() {
            return Err("a policy is for an account, for a group, or for everybody".to_owned());
        }
        if policy.scopes.len() > MOST_SCOPES {
            return Err(format!("a policy has at most {MOST_SCOPES} scopes"));
        }
        let is_odd = |scope: &&String| {
            scope.is_empty()
                || scope.len() > LONGEST_SCOPE
                || scope.chars().any(|c| c.is_whitespace() || c.is_control())
        };
        if let Some(odd) = policy.scopes.iter().find(is_odd) {
            return Err(format!("{:?} is not a scope", odd.chars().take(40).collect::<String>()));
        }
        let mut expressions = Vec::new();
        match policy.matching {
            Matching::Eq => {}
            Matching::Regexp => {
                for text in &policy.scopes {
                    let whole = RegexBuilder::new(&format!("^(?:{text})$")).size_limit(LARGEST_EXPRESSION).build();
                    expressions.push(whole.map_err(|error| format!("{text:?} is not an expression: {error}"))?);
                }
            }
            Matching::Path => {
                if let Some(bad) = policy.scopes.iter().find(|scope| with_path(scope).is_none()) {
                    return Err(format!("{bad:?} is not a scope with a path such as storage.read:/data"));
                }
            }
        }
        Ok(Ready { policy, expressions })
    }

    fn applies_to(&self, scope: &str) -> bool {
        if self.policy.scopes.is_empty() {
            return true;
        }
        match self.policy.matching {
            Matching::Eq => self.policy.scopes.iter().any(|known| known == scope),
            Matching::Regexp => self.expressions.iter().any(|expression| expression.is_match(scope)),
            Matching::Path => {
                let Some((name, path)) = with_path(scope) else { return false };
                let known = self.policy.scopes.iter().filter_map(|known| with_path(known));
                let mut same = known.filter(|(known, _)| *known == name);
                // Who may have all of `/` would have what is denied beneath it.
                let denies = self.policy.rule == Rule::Deny;
                same.any(|(_, known)| known.covers(&path) || (denies && path.covers(&known)))
            }
        }
    }
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asking<'a> {
    pub(crate) account: &'a str,
    pub(crate) group_ids: &'a [String],
    pub(crate) is_admin: bool,
}

/// Those of the wanted scopes that may be given.
pub(crate) fn permitted<'w>(policies: &[Ready], who: Asking<'_>, wanted: &'w [String]) -> Vec<&'w String> {
    let of_account = |ready: &Ready| ready.policy.account.as_deref() == Some(who.account);
    let of_groups = |ready: &Ready| ready.policy.group_id.as_ref().is_some_and(|id| who.group_ids.contains(id));
    let of_all = |ready: &Ready| ready.policy.account.is_none() && ready.policy.group_id.is_none();
    let stages: [&dyn Fn(&Ready) -> bool; 3] = [&of_account, &of_groups, &of_all];
    let is_given = |scope: &&String| {
        if scope.as_str() == ALWAYS {
            return true;
        }
        if !who.is_admin && ADMIN_SCOPES.iter().any(|admin| scope.starts_with(admin)) {
            return false;
        }
        let decision = stages.iter().find_map(|stage| {
            let mut decided = policies.iter().filter(|ready| stage(ready) && ready.applies_to(scope)).peekable();
            decided.peek()?;
            Some(decided.all(|ready| ready.policy.rule == Rule::Permit))
        });
        decision == Some(true)
    };
    wanted.iter().filter(is_given).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn policy(rule: Rule, matching: Matching, account: Option<&str>, group: Option<&str>, scopes: &[&str]) -> Ready {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Ready::new(ScopePolicy {
            id: 1,
            description: String::new(),
            rule,
            matching,
            account: owned(account),
            group_id: owned(group),
            scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
            created: Timestamp::EPOCH,
            updated: Timestamp::EPOCH,
            deleted: false,
        })
        .expect("a policy")
    }

    fn given(policies: &[Ready], groups: &[&str], is_admin: bool, wanted: &str) -> String {
        let groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
        let wanted: Vec<String> = wanted.split_whitespace().map(str::to_owned).collect();
        let who = Asking { account: "alice", group_ids: &groups, is_admin };
        permitted(policies, who, &wanted).into_iter().cloned().collect::<Vec<_>>().join(" ")
    }

    const ALL: &[&str] = &[];

    #[test]
    fn account_before_group_before_everybody() {
        use Matching::Eq;
        use Rule::{Deny, Permit};
        let everybody = policy(Permit, Eq, None, None, ALL);
        assert_eq!(given(&[], &[], true, "openid a"), "openid", "nobody decided");
        assert_eq!(given(std::slice::from_ref(&everybody), &[], false, "openid a b"), "openid a b");
        let no_a = policy(Deny, Eq, None, None, &["a"]);
        let policies = [
            everybody,
            no_a,
            policy(Permit, Eq, None, Some("g"), &["a"]),
            policy(Deny, Eq, None, Some("h"), &["a", "b"]),
        ];
        assert_eq!(given(&policies, &[], false, "a b"), "b");
        assert_eq!(given(&policies, &["g"], false, "a b"), "a b", "the group decides before everybody");
        assert_eq!(given(&policies, &["g", "h"], false, "a b openid"), "openid", "a denial wins");
        let mut policies = policies.to_vec();
        policies.push(policy(Permit, Eq, Some("alice"), None, &["a"]));
        policies.push(policy(Deny, Eq, Some("bob"), None, ALL));
        assert_eq!(given(&policies, &["g", "h"], false, "a b"), "a", "the account decides first");
    }

    #[test]
    fn administrators_scopes_are_theirs() {
        let all = [policy(Rule::Permit, Matching::Eq, None, None, ALL)];
        let wanted = "dte.admin policy.admin scim:write iam:admin.read compute.read";
        assert_eq!(given(&all, &[], false, wanted), "compute.read");
        assert_eq!(given(&all, &[], true, wanted), wanted);
    }

    #[test]
    fn paths_go_by_components() {
        let foo = [policy(Rule::Permit, Matching::Path, None, None, &["storage.read:/foo"])];
        let wanted = "storage.read:/foo storage.read:/foo/bar storage.read:/foobar storage.read:/ storage.modify:/foo storage.read:/foo/../x storage.read";
        assert_eq!(given(&foo, &[], false, wanted), "storage.read:/foo storage.read:/foo/bar");
        let secret = [
            policy(Rule::Permit, Matching::Eq, None, None, ALL),
            policy(Rule::Deny, Matching::Path, None, None, &["storage.read:/a/secret"]),
        ];
        let wanted =
            "storage.read:/ storage.read:/a storage.read:/a/secret/x storage.read:/a/open storage.read:/a/secrets";
        assert_eq!(given(&secret, &[], false, wanted), "storage.read:/a/open storage.read:/a/secrets");
        let dots = [policy(Rule::Permit, Matching::Regexp, None, None, &["compute\\.(read|create)"])];
        assert_eq!(given(&dots, &[], false, "compute.read computeXread compute.readx xcompute.read"), "compute.read");
    }

    #[test]
    fn what_cannot_be_asked_is_refused() {
        let make = |matching, scopes: &[&str], both: bool| {
            let mut wanted = policy(Rule::Permit, Matching::Eq, None, None, ALL).policy;
            wanted.matching = matching;
            wanted.scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
            wanted.account = both.then(|| "a".to_owned());
            wanted.group_id = both.then(|| "g".to_owned());
            Ready::new(wanted)
        };
        assert!(make(Matching::Eq, &["a"], false).is_ok());
        for (matching, scopes) in [
            (Matching::Eq, vec!["a b"]),
            (Matching::Eq, vec![""]),
            (Matching::Regexp, vec!["("]),
            (Matching::Regexp, vec!["(a{1000}){1000}"]),
            (Matching::Path, vec!["storage.read"]),
            (Matching::Path, vec!["storage.read:/a/../b"]),
            (Matching::Eq, vec!["x"; MOST_SCOPES + 1]),
        ] {
            assert!(make(matching, &scopes, false).is_err(), "{scopes:?}");
        }
        assert!(make(Matching::Eq, &["a"], true).is_err());
    }

    fn some_policy() -> impl Strategy<Value = Ready> {
        let scope = proptest::sample::select(vec!["a", "b", "storage.read:/x", "storage.read:/x/y", "dte.admin"]);
        let whom = proptest::sample::select(vec![
            (None, None),
            (Some("alice"), None),
            (Some("bob"), None),
            (None, Some("g")),
            (None, Some("h")),
        ]);
        (any::<bool>(), any::<bool>(), whom, proptest::collection::vec(scope, 0..3)).prop_map(
            |(permit, path, (account, group), scopes)| {
                let rule = if permit { Rule::Permit } else { Rule::Deny };
                let is_path = path && scopes.iter().all(|scope| scope.contains('/'));
                policy(rule, if is_path { Matching::Path } else { Matching::Eq }, account, group, &scopes)
            },
        )
    }

    const WANTED: &str = "openid a b storage.read:/x storage.read:/x/y storage.read:/xy dte.admin";

    proptest! {
        #[test]
        fn never_more_than_was_asked_for(policies in proptest::collection::vec(some_policy(), 0..8)) {
            let given = given(&policies, &["g"], false, WANTED);
            prop_assert!(given.split(' ').all(|scope| WANTED.split(' ').any(|wanted| wanted == scope)));
            prop_assert!(given.starts_with("openid") && !given.contains("dte.admin"));
        }

        #[test]
        fn a_further_denial_gives_nothing(policies in proptest::collection::vec(some_policy(), 0..8), one in some_policy(), own in any::<bool>()) {
            let mut one = one;
            one.policy.rule = Rule::Deny;
            one.policy.group_id = None;
            one.policy.account = Some(if own { "alice" } else { "bob" }.to_owned());
            let before = given(&policies, &["g"], false, WANTED);
            let mut more = policies.clone();
            more.push(one);
            let after = given(&more, &["g"], false, WANTED);
            prop_assert!(after.split(' ').all(|scope| before.split(' ').any(|known| known == scope)));
        }

        #[test]
        fn order_does_not_matter(policies in proptest::collection::vec(some_policy(), 0..8)) {
            let mut reversed = policies.clone();
            reversed.reverse();
            prop_assert_eq!(given(&policies, &["g"], false, WANTED), given(&reversed, &["g"], false, WANTED));
        }
    }
}
