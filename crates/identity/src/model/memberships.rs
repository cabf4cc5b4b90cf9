//! Groups and capabilities as they stand in claims, of a token or of the issuer's answer about one.

use super::capability::Capability;
use super::claims::{Claim, Claims};
use super::decide::{Policy, Profile};
use super::group::Group;
use super::reject::Reject;

/// With more values than this in one claim, a token is refused.
const MOST_GROUPS: usize = 1_000;

/// Where an issuer writes groups, and what its words mean here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupClaim {
    /// The claim: by its name, or else a path of names (`realm_access.roles`).
    pub claim: String,
    /// Values are groups beneath this one; without it they are in a notation that says the organisation too.
    pub below: Option<Group>,
}

/// What somebody belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memberships {
    pub groups: Vec<Group>,
    pub capabilities: Vec<Capability>,
}

impl Memberships {
    /// Reads the claims that the issuer's profile or settings name. What cannot be read is no membership, save in the WLCG
    /// profile, where it makes the token unacceptable.
    pub fn read(claims: &Claims, policy: &Policy) -> Result<Self, Reject> {
        let mut found = Memberships::default();
        for mapping in &policy.group_claims {
            for text in values(lookup(claims, &mapping.claim))? {
                found.take(text, mapping.below.as_ref());
            }
        }
        if !policy.group_claims.is_empty() {
            return Ok(found);
        }
        match policy.profile {
            Profile::Wlcg => {
                for text in values(claims.get("wlcg.groups"))? {
                    let group = Group::from_wlcg(text).ok_or(Reject::Groups)?;
                    // An issuer speaks for one organisation: what it says about others counts for nothing.
                    if policy.vo.as_ref().is_none_or(|vo| *vo == group.vo) {
                        found.groups.push(group);
                    }
                }
            }
            Profile::Aarc => {
                for name in ["eduperson_entitlement", "entitlements"] {
                    values(claims.get(name))?.into_iter().for_each(|text| found.take(text, None));
                }
            }
            Profile::Generic => values(claims.get("groups"))?.into_iter().for_each(|text| found.take(text, None)),
        }
        Ok(found)
    }

    fn take(&mut self, text: &str, below: Option<&Group>) {
        match below {
            Some(below) => {
                let parts = text.strip_prefix('/').unwrap_or(text).split('/').map(str::to_owned).collect::<Vec<_>>();
                if parts.iter().all(|part| !part.is_empty() && part != "." && part != "..") {
                    let path = below.path.iter().cloned().chain(parts).collect();
                    self.groups.push(Group { path, ..below.clone() });
                }
            }
            None => match Group::parse(text) {
                Some(group) => self.groups.push(group),
                None => self.capabilities.extend(Capability::parse(text)),
            },
        }
    }

    /// Adds what is not there yet.
    pub fn join(&mut self, more: &Memberships) {
        for group in &more.groups {
            if !self.groups.contains(group) {
                self.groups.push(group.clone());
            }
        }
        for capability in &more.capabilities {
            if !self.capabilities.contains(capability) {
                self.capabilities.push(capability.clone());
            }
        }
    }
}

/// The claim of this very name, or the one at the end of the path that it is.
fn lookup<'a>(claims: &'a Claims, name: &str) -> Option<Claim<'a>> {
    if let Some(claim) = claims.get(name) {
        return Some(claim);
    }
    let (first, rest) = name.split_once('.')?;
    let Claim::Other(outer) = claims.get(first)? else { return None };
    rest.split('.').try_fold(outer, |value, part| value.get(part)).map(Claim::Other)
}

/// A list of texts; one text counts as a list of one.
fn values(claim: Option<Claim<'_>>) -> Result<Vec<&str>, Reject> {
    match claim.map(Claim::texts) {
        None => Ok(Vec::new()),
        Some(Some(list)) if list.len() <= MOST_GROUPS => Ok(list),
        Some(_) => Err(Reject::Groups),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::path::StoragePath;
    use serde_json::{Value, json};

    fn read(profile: Profile, group_claims: Vec<GroupClaim>, claims: Value) -> Result<Memberships, Reject> {
        let policy = Policy {
            issuer: "https://issuer.example".to_owned(),
            audiences: Vec::new(),
            audience_optional: false,
            profile,
            vo: Some("vo".to_owned()),
            base: StoragePath::parse("/").expect("a path"),
            max_lifetime: None,
            required_scopes: Vec::new(),
            group_claims,
        };
        Memberships::read(&Claims::from(claims.as_object().cloned().expect("an object")), &policy)
    }

    fn names(found: &Memberships) -> Vec<String> {
        found.groups.iter().map(Group::name).collect()
    }

    #[test]
    fn by_profile() {
        let claims = json!({
            "wlcg.groups": ["/vo/a", "/cms/b"],
            "eduperson_entitlement": ["urn:x:group:vo:c", "rubbish", "urn:x:res:twin:act:run"],
            "entitlements": "urn:x:group:vo:d",
            "groups": ["/vo/e/Role=r", "bare"],
        });
        let of = |profile| read(profile, Vec::new(), claims.clone()).expect("read");
        assert_eq!(names(&of(Profile::Wlcg)), ["/vo/a"], "another organisation's group does not count");
        assert_eq!(names(&of(Profile::Aarc)), ["/vo/c", "/vo/d"]);
        assert_eq!(of(Profile::Aarc).capabilities.len(), 1);
        assert_eq!(names(&of(Profile::Generic)), ["/vo/e"]);
        assert_eq!(read(Profile::Wlcg, Vec::new(), json!({"wlcg.groups": ["bare"]})), Err(Reject::Groups));
        for bad in [json!(7), json!([7]), json!({"a": 1}), json!(vec!["/a"; MOST_GROUPS + 1])] {
            assert_eq!(read(Profile::Generic, Vec::new(), json!({"groups": bad})), Err(Reject::Groups));
        }
    }

    #[test]
    fn by_settings() {
        let below = Group::from_wlcg("/vo/roles");
        let claim = |name: &str, below| GroupClaim { claim: name.to_owned(), below };
        let claims = json!({
            "realm_access": {"roles": ["ops", "/deep/er", "..", "a//b", ""]}, "flat.name": ["/vo/x"], "wlcg.groups": ["/vo/y"],
        });
        let settings = vec![claim("realm_access.roles", below), claim("flat.name", None), claim("absent.roles", None)];
        let found = read(Profile::Wlcg, settings, claims).expect("read");
        assert_eq!(names(&found), ["/vo/roles/ops", "/vo/roles/deep/er", "/vo/x"]);
    }
}
