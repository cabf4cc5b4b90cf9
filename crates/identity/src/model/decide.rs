//! Whether the claims of a correctly signed token are good for us (checks 7 to 12 and 14 of the validation table).

use std::sync::Arc;
use std::time::Duration;

use dte_base::time::Timestamp;
use serde_json::Value;

use super::capability::Capability;
use super::claims::{Claim, Claims};
use super::group::Group;
use super::memberships::{GroupClaim, Memberships};
use super::path::StoragePath;
use super::reject::Reject;
use super::scope::Scopes;

/// Every audience, as the WLCG profile writes it.
pub const ANY_AUDIENCE: &str = "https://wlcg.cern.ch/jwt/v1/any";
/// How far an issuer's clock may be ahead of ours.
pub const SKEW: Duration = Duration::from_secs(60);
/// Subjects longer than this are refused.
const LONGEST_SUBJECT: usize = 255;

/// Which rules an issuer's tokens follow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    #[default]
    Wlcg,
    Aarc,
    Generic,
}

/// What is expected of one issuer's tokens.
#[derive(Clone, Debug)]
pub struct Policy {
    pub issuer: String,
    /// Our names for this issuer's tokens.
    pub audiences: Vec<String>,
    pub audience_optional: bool,
    pub profile: Profile,
    pub vo: Option<String>,
    /// The issuer's area at this resource.
    pub base: StoragePath,
    pub max_lifetime: Option<Duration>,
    pub required_scopes: Vec<String>,
    /// Where groups stand; none: where the profile says.
    pub group_claims: Vec<GroupClaim>,
}

/// What a good token says.
#[derive(Clone, Debug, PartialEq)]
pub struct Accepted {
    pub subject: String,
    pub client_id: Option<String>,
    pub acting: Option<String>,
    pub scopes: Scopes,
    pub groups: Arc<[Group]>,
    /// Capability entitlements.
    pub capabilities: Arc<[Capability]>,
    pub token_id: Option<String>,
    pub issued: Option<Timestamp>,
    pub expires: Timestamp,
}

/// Decides, in the order of the table. Claims that are not named here are ignored.
pub fn decide(claims: &Claims, policy: &Policy, now: Timestamp) -> Result<Accepted, Reject> {
    let wlcg = policy.profile == Profile::Wlcg;
    let now = now.as_seconds();
    let skew = SKEW.as_secs().cast_signed();

    let expires = claims.seconds("exp")?.ok_or(Reject::Missing("exp"))?;
    if now >= expires {
        return Err(Reject::Expired);
    }
    let issued = claims.seconds("iat")?;
    for begin in [claims.seconds("nbf")?, issued].into_iter().flatten() {
        if begin > now + skew {
            return Err(Reject::NotYet);
        }
    }
    if wlcg && issued.is_none() {
        return Err(Reject::Missing("iat"));
    }
    if let Some(most) = policy.max_lifetime {
        let begin = issued.ok_or(Reject::Missing("iat"))?;
        if expires - begin > most.as_secs().cast_signed() {
            return Err(Reject::Lifetime);
        }
    }
    let audiences = audience(claims, policy)?;
    if wlcg {
        version(claims)?;
    }
    let subject = claims.text("sub")?.ok_or(Reject::Missing("sub"))?;
    let printable = |c: char| c.is_ascii() && !c.is_ascii_control();
    if subject.is_empty() || subject.len() > LONGEST_SUBJECT || !subject.chars().all(printable) {
        return Err(Reject::Subject);
    }
    let client_id = match claims.text("client_id")? {
        Some(client) => Some(client),
        None => claims.text("azp")?,
    };
    let scope = claims.text("scope")?;
    let scopes = Scopes::parse(scope.unwrap_or_default(), &policy.base).map_err(|_| Reject::Scope)?;
    let Memberships { groups, capabilities } = Memberships::read(claims, policy)?;
    let says_nothing = scope.is_none() && groups.is_empty();
    let for_client = client_id.is_some_and(|client| audiences.contains(&client));
    let is_id_token = claims.get("nonce").is_some() || claims.get("at_hash").is_some() || (for_client && says_nothing);
    if is_id_token || says_other_use(claims) {
        return Err(Reject::IdToken);
    }
    if wlcg && scope.is_none() && claims.get("wlcg.groups").is_none() {
        return Err(Reject::Missing("scope"));
    }
    if !policy.required_scopes.iter().all(|wanted| scopes.contain_exactly(wanted)) {
        return Err(Reject::ScopeMissing);
    }
    Ok(Accepted {
        subject: subject.to_owned(),
        client_id: client_id.map(str::to_owned),
        acting: actor(claims)?,
        scopes,
        groups: groups.into(),
        capabilities: capabilities.into(),
        token_id: claims.text("jti")?.map(str::to_owned),
        issued: issued.map(Timestamp::from_seconds),
        expires: Timestamp::from_seconds(expires),
    })
}

/// Check 9. Gives the token's audiences.
fn audience<'a>(claims: &'a Claims, policy: &Policy) -> Result<Vec<&'a str>, Reject> {
    let named: Vec<&str> = match claims.get("aud") {
        None if policy.audience_optional && policy.profile != Profile::Wlcg => return Ok(Vec::new()),
        None => return Err(Reject::Missing("aud")),
        Some(claim) => claim.texts().ok_or(Reject::ClaimType("aud"))?,
    };
    let ours = |name: &&str| *name == ANY_AUDIENCE || policy.audiences.iter().any(|audience| audience == name);
    if named.iter().any(ours) { Ok(named) } else { Err(Reject::Audience) }
}

/// Check 10: `MAJOR.MINOR`, major 1.
fn version(claims: &Claims) -> Result<(), Reject> {
    let text = claims.text("wlcg.ver")?.ok_or(Reject::Missing("wlcg.ver"))?;
    let (major, minor) = text.split_once('.').ok_or(Reject::Version)?;
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if digits(major) && digits(minor) && major == "1" { Ok(()) } else { Err(Reject::Version) }
}

/// Keycloak and others write into the claims what a token is for.
fn says_other_use(claims: &Claims) -> bool {
    let is = |name: &str, uses: &[&str]| {
        claims
            .get(name)
            .and_then(Claim::as_str)
            .is_some_and(|text| uses.iter().any(|known| known.eq_ignore_ascii_case(text)))
    };
    is("typ", &["ID", "Refresh", "Offline", "Logout"]) || is("token_use", &["id", "refresh"])
}

/// RFC 8693 section 4.1: who acts for the subject.
fn actor(claims: &Claims) -> Result<Option<String>, Reject> {
    match claims.get("act") {
        None => Ok(None),
        Some(Claim::Other(Value::Object(act))) => match act.get("sub") {
            Some(Value::String(service)) => Ok(Some(service.clone())),
            _ => Err(Reject::ClaimType("act")),
        },
        Some(_) => Err(Reject::ClaimType("act")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NOW: i64 = 1_700_000_000;

    fn policy(profile: Profile) -> Policy {
        Policy {
            issuer: "https://issuer.example".to_owned(),
            audiences: vec!["https://twin.example".to_owned()],
            audience_optional: false,
            profile,
            vo: Some("vo".to_owned()),
            base: StoragePath::parse("/").expect("a path"),
            max_lifetime: None,
            required_scopes: Vec::new(),
            group_claims: Vec::new(),
        }
    }

    fn good() -> Value {
        json!({
            "iss": "https://issuer.example", "sub": "alice", "aud": "https://twin.example", "exp": NOW + 600,
            "nbf": NOW, "iat": NOW, "jti": "j", "wlcg.ver": "1.0", "scope": "storage.read:/data openid",
            "unknown": {"admin": true},
        })
    }

    /// The good claims with `changes`; null removes.
    fn outcome_with(policy: &Policy, changes: Value) -> Result<Accepted, Reject> {
        let (Value::Object(mut claims), Value::Object(changes)) = (good(), changes) else { panic!("objects") };
        for (name, value) in changes {
            if value.is_null() {
                claims.remove(&name);
            } else {
                claims.insert(name, value);
            }
        }
        decide(&Claims::from(claims), policy, Timestamp::from_seconds(NOW))
    }

    fn outcome(changes: Value) -> Result<Accepted, Reject> {
        outcome_with(&policy(Profile::Wlcg), changes)
    }

    #[test]
    fn a_good_token() {
        let accepted = outcome(json!({})).expect("accepted");
        assert_eq!((accepted.subject.as_str(), accepted.token_id.as_deref()), ("alice", Some("j")));
        assert!(accepted.scopes.have_capabilities());
        assert_eq!(accepted.expires, Timestamp::from_seconds(NOW + 600));
    }

    #[test]
    fn row_7_expiry_without_skew() {
        assert_eq!(outcome(json!({"exp": NOW})), Err(Reject::Expired));
        assert_eq!(outcome(json!({"exp": NOW - 1})), Err(Reject::Expired));
        assert!(outcome(json!({"exp": NOW + 1})).is_ok());
        assert_eq!(outcome(json!({"exp": null})), Err(Reject::Missing("exp")));
        for wrong in [json!("1800000000"), json!(1.8e9), json!(-1), json!(true), json!([NOW + 5]), json!(u64::MAX)] {
            assert_eq!(outcome(json!({"exp": wrong.clone()})), Err(Reject::ClaimType("exp")), "{wrong}");
        }
    }

    #[test]
    fn row_8_not_before_with_skew() {
        assert!(outcome(json!({"nbf": NOW + 60, "iat": NOW + 60})).is_ok());
        assert_eq!(outcome(json!({"nbf": NOW + 61})), Err(Reject::NotYet));
        assert_eq!(outcome(json!({"iat": NOW + 61})), Err(Reject::NotYet));
        assert_eq!(outcome(json!({"nbf": "0"})), Err(Reject::ClaimType("nbf")));
        assert_eq!(outcome(json!({"iat": null})), Err(Reject::Missing("iat")));
    }

    #[test]
    fn row_9_audience() {
        for fine in [json!("https://twin.example"), json!(["x", "https://twin.example"]), json!(ANY_AUDIENCE)] {
            assert!(outcome(json!({"aud": fine.clone()})).is_ok(), "{fine}");
        }
        for other in [
            json!("https://twin.example/"),
            json!("https://TWIN.example"),
            json!("https://twin"),
            json!(["x"]),
            json!([]),
        ] {
            assert_eq!(outcome(json!({"aud": other.clone()})), Err(Reject::Audience), "{other}");
        }
        assert_eq!(outcome(json!({"aud": null})), Err(Reject::Missing("aud")));
        assert_eq!(outcome(json!({"aud": ["https://twin.example", 7]})), Err(Reject::ClaimType("aud")));
        let optional = Policy { audience_optional: true, ..policy(Profile::Generic) };
        assert!(outcome_with(&optional, json!({"aud": null})).is_ok());
        let never = Policy { audience_optional: true, ..policy(Profile::Wlcg) };
        assert_eq!(outcome_with(&never, json!({"aud": null})), Err(Reject::Missing("aud")));
    }

    #[test]
    fn row_10_version() {
        assert!(outcome(json!({"wlcg.ver": "1.42"})).is_ok());
        for wrong in ["2.0", "1", "1.", ".0", "1.0.0", "01.0", "1.x", ""] {
            assert_eq!(outcome(json!({"wlcg.ver": wrong})), Err(Reject::Version), "{wrong}");
        }
        assert_eq!(outcome(json!({"wlcg.ver": 1.0})), Err(Reject::ClaimType("wlcg.ver")));
        assert!(outcome_with(&policy(Profile::Generic), json!({"wlcg.ver": null})).is_ok());
    }

    #[test]
    fn row_11_subject() {
        assert_eq!(outcome(json!({"sub": null})), Err(Reject::Missing("sub")));
        for wrong in ["", &"x".repeat(256), "a\nb", "ü"] {
            assert_eq!(outcome(json!({"sub": wrong})), Err(Reject::Subject), "{wrong}");
        }
        assert_eq!(outcome(json!({"sub": 7})), Err(Reject::ClaimType("sub")));
    }

    #[test]
    fn row_12_id_tokens() {
        assert_eq!(outcome(json!({"nonce": "n"})), Err(Reject::IdToken));
        assert_eq!(outcome(json!({"at_hash": "h"})), Err(Reject::IdToken));
        for (name, wrong) in [("typ", "ID"), ("typ", "Refresh"), ("token_use", "id")] {
            assert_eq!(outcome(json!({name: wrong})), Err(Reject::IdToken), "{name}={wrong}");
        }
        assert!(outcome(json!({"typ": "Bearer"})).is_ok());
        let client = json!({"azp": "https://twin.example", "scope": null});
        assert_eq!(outcome_with(&policy(Profile::Generic), client), Err(Reject::IdToken));
        assert_eq!(outcome(json!({"scope": null})), Err(Reject::Missing("scope")));
    }

    #[test]
    fn row_14_unknown_claims_decide_nothing() {
        assert_eq!(
            outcome(json!({"admin": true, "role": "root"})).map(|a| a.scopes),
            outcome(json!({})).map(|a| a.scopes)
        );
    }

    #[test]
    fn scopes_and_groups() {
        assert_eq!(outcome(json!({"scope": "storage.read"})), Err(Reject::Scope));
        assert_eq!(outcome(json!({"wlcg.groups": ["no slash"]})), Err(Reject::Groups));
        assert_eq!(outcome(json!({"wlcg.groups": vec!["/vo"; 1_001]})), Err(Reject::Groups));
        assert_eq!(outcome(json!({"wlcg.groups": ["/vo/a"], "scope": null})).expect("accepted").groups.len(), 1);
        let strict = Policy { required_scopes: vec!["dte".to_owned()], ..policy(Profile::Wlcg) };
        assert_eq!(outcome_with(&strict, json!({})), Err(Reject::ScopeMissing));
        let short = Policy { max_lifetime: Some(Duration::from_secs(599)), ..policy(Profile::Wlcg) };
        assert_eq!(outcome_with(&short, json!({})), Err(Reject::Lifetime));
    }

    #[test]
    fn actors() {
        assert_eq!(outcome(json!({"act": {"sub": "workflow"}})).expect("accepted").acting.as_deref(), Some("workflow"));
        assert_eq!(outcome(json!({"act": "workflow"})), Err(Reject::ClaimType("act")));
    }
}
