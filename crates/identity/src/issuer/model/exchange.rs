//! Who may exchange whose tokens for which scopes (RFC 8693; the policies of INDIGO IAM).

use serde::{Deserialize, Serialize};

use super::scope::{covers, is_administrative};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Rule {
    Permit,
    Deny,
}

/// Which client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "matchParam", rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum ClientMatch {
    Any,
    ById(String),
    /// Clients that may ask for this scope.
    ByScope(String),
}

/// Which scopes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "matchParam", rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum ScopeMatch {
    Any,
    Eq(String),
    /// This, or narrower by components of its path.
    Path(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ScopeRule {
    pub(crate) rule: Rule,
    #[serde(flatten)]
    pub(crate) scope: ScopeMatch,
}

/// `/iam/api/exchange/policies`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ExchangePolicy {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<String>,
    #[serde(default)]
    pub(crate) description: String,
    pub(crate) rule: Rule,
    /// To whom the token that is exchanged was given.
    pub(crate) origin_client: ClientMatch,
    /// Who exchanges it.
    pub(crate) destination_client: ClientMatch,
    /// Without any: all scopes of the token that is exchanged.
    #[serde(default)]
    pub(crate) scope_policies: Vec<ScopeRule>,
}

/// One side of an exchange.
pub(crate) struct Party<'a> {
    pub(crate) client_id: &'a str,
    pub(crate) scopes: &'a [String],
}

impl ClientMatch {
    fn is(&self, party: &Party<'_>) -> bool {
        match self {
            ClientMatch::Any => true,
            ClientMatch::ById(id) => id == party.client_id,
            ClientMatch::ByScope(scope) => party.scopes.contains(scope),
        }
    }
}

impl ScopeMatch {
    fn fits(&self, scope: &str) -> bool {
        match self {
            ScopeMatch::Any => true,
            ScopeMatch::Eq(known) => known == scope,
            ScopeMatch::Path(known) => covers(known, scope),
        }
    }
}

/// Those of `wanted` that the destination gets out of a token with `subject_scopes`. Nothing when no policy permits the
/// exchange or one denies it. What the token itself does not carry needs a policy that names it.
pub(crate) fn permitted(
    policies: &[ExchangePolicy],
    origin: &Party<'_>,
    destination: &Party<'_>,
    subject_scopes: &[String],
    wanted: &[String],
) -> Option<Vec<String>> {
    let hit: Vec<&ExchangePolicy> = policies
        .iter()
        .filter(|policy| policy.origin_client.is(origin) && policy.destination_client.is(destination))
        .collect();
    if hit.is_empty() || hit.iter().any(|policy| policy.rule == Rule::Deny && policy.scope_policies.is_empty()) {
        return None;
    }
    if !hit.iter().any(|policy| policy.rule == Rule::Permit) {
        return None;
    }
    let decide = |scope: &String| {
        let rules = || hit.iter().flat_map(|policy| policy.scope_policies.iter().map(|rule| (policy.rule, rule)));
        let denied =
            rules().any(|(outer, rule)| (outer == Rule::Deny || rule.rule == Rule::Deny) && rule.scope.fits(scope));
        if denied || is_administrative(scope) {
            return false;
        }
        let named = rules().any(|(outer, rule)| {
            outer == Rule::Permit
                && rule.rule == Rule::Permit
                && rule.scope != ScopeMatch::Any
                && rule.scope.fits(scope)
        });
        let any = hit.iter().any(|policy| {
            let rules = &policy.scope_policies;
            policy.rule == Rule::Permit
                && (rules.is_empty()
                    || rules.iter().any(|rule| rule.rule == Rule::Permit && rule.scope == ScopeMatch::Any))
        });
        named || (any && subject_scopes.iter().any(|has| covers(has, scope)))
    };
    Some(wanted.iter().filter(|scope| decide(scope)).cloned().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn policy(text: serde_json::Value) -> ExchangePolicy {
        serde_json::from_value(text).expect("a policy")
    }

    fn words(text: &str) -> Vec<String> {
        text.split_ascii_whitespace().map(str::to_owned).collect()
    }

    fn outcome(policies: &[ExchangePolicy], subject: &str, wanted: &str) -> Option<Vec<String>> {
        let scopes = words("openid storage.read:/");
        let (origin, destination) =
            (Party { client_id: "agent", scopes: &scopes }, Party { client_id: "fts", scopes: &scopes });
        permitted(policies, &origin, &destination, &words(subject), &words(wanted))
    }

    #[test]
    fn nothing_without_a_policy_and_nothing_more_than_it_says() {
        let any = policy(json!({"rule": "PERMIT", "originClient": {"type": "ANY"},
            "destinationClient": {"type": "BY_ID", "matchParam": "fts"}}));
        assert_eq!(outcome(&[], "openid", "openid"), None);
        assert_eq!(outcome(std::slice::from_ref(&any), "openid", "openid"), Some(words("openid")));
        assert_eq!(
            outcome(std::slice::from_ref(&any), "openid", "openid offline_access dte.admin"),
            Some(words("openid"))
        );
        let other = policy(json!({"rule": "PERMIT", "originClient": {"type": "BY_ID", "matchParam": "x"},
            "destinationClient": {"type": "ANY"}}));
        assert_eq!(outcome(&[other], "openid", "openid"), None);
        let named =
            policy(json!({"rule": "PERMIT", "originClient": {"type": "ANY"}, "destinationClient": {"type": "ANY"},
            "scopePolicies": [{"rule": "PERMIT", "type": "EQ", "matchParam": "offline_access"},
                              {"rule": "PERMIT", "type": "PATH", "matchParam": "storage.read:/data"}]}));
        assert_eq!(
            outcome(&[named], "openid", "openid offline_access storage.read:/data/x storage.read:/database"),
            Some(words("offline_access storage.read:/data/x"))
        );
        let deny = policy(json!({"rule": "DENY", "originClient": {"type": "BY_SCOPE", "matchParam": "openid"},
            "destinationClient": {"type": "ANY"}}));
        assert_eq!(outcome(&[any.clone(), deny], "openid", "openid"), None);
        let deny_one =
            policy(json!({"rule": "DENY", "originClient": {"type": "ANY"}, "destinationClient": {"type": "ANY"},
            "scopePolicies": [{"rule": "DENY", "type": "PATH", "matchParam": "storage.read:/secret"}]}));
        assert_eq!(
            outcome(&[any, deny_one], "openid storage.read:/", "openid storage.read:/secret/x storage.read:/open"),
            Some(words("openid storage.read:/open"))
        );
    }
}
