//! Groups, in one form for the notations in use: WLCG groups, VOMS FQANs, AARC-G002/G069 entitlements.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// What AARC-G069 leaves as it is in a component; everything else is percent-encoded.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
/// Groups that the identity provider itself keeps carry this element before their name (EGI Check-in).
const REGISTRY: &str = ":group:registry";

/// A group of a virtual organisation, with the role in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Group {
    pub vo: String,
    pub path: Vec<String>,
    /// `member` counts as no role.
    pub role: Option<String>,
    /// Who says so (`#authority`, or nothing).
    pub authority: Option<String>,
    /// Of an entitlement: `urn:mace:egi.eu`, the namespace identifier in lower case; with `:group:registry` at the end for
    /// groups of the provider's own registry.
    pub namespace: Option<String>,
}

impl Group {
    /// `/vo[/group]*`: each part begins with a letter or digit.
    pub fn from_wlcg(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix('/')?.split('/').map(|part| is_plain(part).then(|| part.to_owned()));
        let vo = parts.next()??;
        let path = parts.collect::<Option<Vec<_>>>()?;
        Some(Group { vo, path, ..Group::default() })
    }

    /// `/vo[/group]*[/Role=r][/Capability=NULL]`: the attribute name of VOMS. Other capabilities than `NULL` are long gone
    /// from the field and are not read.
    pub fn from_fqan(text: &str) -> Option<Self> {
        let text = match text.split_once("/Capability=") {
            Some((text, "NULL")) => text,
            Some(_) => return None,
            None => text,
        };
        let (name, role) = match text.split_once("/Role=") {
            Some((_, role)) if !is_plain(role) => return None,
            Some((name, role)) => (name, Some(role.to_owned())),
            None => (text, None),
        };
        let role = role.filter(|role| role != "NULL" && role != "member");
        Some(Group { role, ..Group::from_wlcg(name)? })
    }

    /// `<NAMESPACE>:group:<VO>[:<GROUP>]*[:role=<ROLE>][#<AUTHORITY>]`. Nothing for what cannot be read.
    pub fn from_entitlement(urn: &str) -> Option<Self> {
        let (name, authority) = match urn.split_once('#') {
            Some((_, "")) => return None,
            Some((name, authority)) => (name, Some(authority.to_owned())),
            None => (urn, None),
        };
        let (space, mut rest) = name.split_once(":group:")?;
        let mut namespace = namespace(space)?;
        if let Some(own) = rest.strip_prefix("registry:")
            && !own.starts_with("role=")
        {
            namespace.push_str(REGISTRY);
            rest = own;
        }
        let mut parts = Vec::new();
        let mut role = None;
        for part in rest.split(':') {
            match part.strip_prefix("role=") {
                Some(text) if role.is_none() && !text.is_empty() => role = Some(decoded(text)?),
                Some(_) => return None,
                None if part.is_empty() || role.is_some() => return None,
                None => parts.push(decoded(part)?),
            }
        }
        let mut parts = parts.into_iter();
        let vo = parts.next()?;
        let role = role.filter(|role| role != "member");
        Some(Group { vo, path: parts.collect(), role, authority, namespace: Some(namespace) })
    }

    /// Any of the notations.
    pub fn parse(text: &str) -> Option<Self> {
        Group::from_wlcg(text).or_else(|| Group::from_fqan(text)).or_else(|| Group::from_entitlement(text))
    }

    /// `/vo/group`, without role and authority.
    pub fn name(&self) -> String {
        let mut name = format!("/{}", self.vo);
        for part in &self.path {
            name.push('/');
            name.push_str(part);
        }
        name
    }

    /// The FQAN; nothing when a part has letters that VOMS has no way to write.
    pub fn fqan(&self) -> Option<String> {
        let parts = std::iter::once(&self.vo).chain(&self.path).chain(&self.role);
        if !parts.into_iter().all(|part| is_plain(part)) {
            return None;
        }
        let role = self.role.as_deref().unwrap_or("NULL");
        Some(format!("{}/Role={role}/Capability=NULL", self.name()))
    }

    /// The entitlement (AARC-G069), in its own namespace or else in `namespace`.
    pub fn entitlement(&self, namespace: &str) -> String {
        let namespace = self.namespace.as_deref().unwrap_or(namespace);
        let mut urn = namespace.to_owned();
        if !namespace.ends_with(REGISTRY) {
            urn.push_str(":group");
        }
        for part in std::iter::once(&self.vo).chain(&self.path) {
            urn.push(':');
            urn.extend(utf8_percent_encode(part, ENCODED));
        }
        if let Some(role) = &self.role {
            urn.push_str(":role=");
            urn.extend(utf8_percent_encode(role, ENCODED));
        }
        if let Some(authority) = &self.authority {
            urn.push('#');
            urn.push_str(authority);
        }
        urn
    }

    /// Whether membership in `self` satisfies `required`: the same group or one beneath it, with the role, the authority and
    /// the namespace that `required` names.
    pub fn satisfies(&self, required: &Group) -> bool {
        self.vo == required.vo
            && self.path.starts_with(&required.path)
            && (required.role.is_none() || self.role == required.role)
            && (required.authority.is_none() || self.authority == required.authority)
            && (required.namespace.is_none() || self.namespace == required.namespace)
    }
}

/// A component of a WLCG group or FQAN.
fn is_plain(part: &str) -> bool {
    let mut letters = part.chars();
    let first = letters.next().is_some_and(|c| c.is_ascii_alphanumeric());
    first && letters.all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

pub(super) fn decoded(part: &str) -> Option<String> {
    percent_decode_str(part).decode_utf8().ok().map(std::borrow::Cow::into_owned).filter(|part| !part.is_empty())
}

/// `urn:<NID>[:…]` with the scheme and the namespace identifier in lower case: only these two do not mind it (RFC 8141).
pub(super) fn namespace(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once(':')?;
    let (nid, rest) = rest.split_once(':').map_or((rest, None), |(nid, rest)| (nid, Some(rest)));
    let named = !nid.is_empty() && nid.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if !scheme.eq_ignore_ascii_case("urn") || !named || rest.is_some_and(|rest| rest.split(':').any(str::is_empty)) {
        return None;
    }
    let mut name = format!("urn:{}", nid.to_ascii_lowercase());
    if let Some(rest) = rest {
        name.push(':');
        name.push_str(rest);
    }
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn wlcg() {
        assert_eq!(Group::from_wlcg("/atlas/prod").expect("a group").name(), "/atlas/prod");
        for bad in ["", "/", "atlas", "/atlas/", "//x", "/-a", "/a b", "/a/../b"] {
            assert_eq!(Group::from_wlcg(bad), None, "{bad}");
        }
    }

    #[test]
    fn fqans() {
        let group = Group::from_fqan("/atlas/prod/Role=production/Capability=NULL").expect("a group");
        assert_eq!((group.name().as_str(), group.role.as_deref()), ("/atlas/prod", Some("production")));
        for plain in ["/atlas", "/atlas/Role=NULL", "/atlas/Role=NULL/Capability=NULL", "/atlas/Role=member"] {
            assert_eq!(
                Group::from_fqan(plain).expect("a group"),
                Group::from_wlcg("/atlas").expect("a group"),
                "{plain}"
            );
        }
        for bad in ["", "/Role=x", "/a/Role=", "/a/Role=x/b", "/a/Role=x/Role=y", "/a/Capability=x", "/a/Role=a b"] {
            assert_eq!(Group::from_fqan(bad), None, "{bad}");
        }
    }

    #[test]
    fn entitlements() {
        let group = Group::from_entitlement("urn:mace:egi.eu:group:vo.openeo.cloud:role=vm_operator#aai.egi.eu")
            .expect("a group");
        assert_eq!(
            (group.vo.as_str(), group.role.as_deref(), group.authority.as_deref()),
            ("vo.openeo.cloud", Some("vm_operator"), Some("aai.egi.eu"))
        );
        let member = Group::from_entitlement("URN:Geant:h.de:group:VO:sub%20group:role=member").expect("a group");
        assert_eq!((member.role, member.path), (None, vec!["sub group".to_owned()]));
        assert_eq!(member.namespace.as_deref(), Some("urn:geant:h.de"));
        for bad in [
            "",
            "x",
            "urn:mace:egi.eu",
            "urn:x:group:",
            "urn:x:group::a",
            "urn:x:group:a:role=",
            "urn:x:group:a:role=b:c",
            "urn:x:group:a#",
            "urn::group:a",
            "urn:x::y:group:a",
            "url:x:group:a",
        ] {
            assert_eq!(Group::from_entitlement(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_providers_own_registry() {
        let own =
            Group::from_entitlement("urn:mace:egi.eu:group:registry:ops:role=member#aai.egi.eu").expect("a group");
        assert_eq!(own.vo, "ops");
        assert_eq!(own.entitlement(""), "urn:mace:egi.eu:group:registry:ops#aai.egi.eu");
        let community = Group::from_entitlement("urn:mace:egi.eu:group:ops#aai.egi.eu").expect("a group");
        assert!(!own.satisfies(&community) && !community.satisfies(&own));
        let named_so = Group::from_entitlement("urn:mace:egi.eu:group:registry:role=x").expect("a group");
        assert_eq!(named_so.vo, "registry");
    }

    #[test]
    fn matching_is_by_component() {
        let group = |text: &str| Group::parse(text).expect("a group");
        assert!(group("/vo/a/b").satisfies(&group("/vo/a")));
        assert!(!group("/vo/ab").satisfies(&group("/vo/a")));
        assert!(!group("/vo").satisfies(&group("/vo/a")));
        let member = group("urn:mace:egi.eu:group:vo:a:role=admin#aai.egi.eu");
        assert!(member.satisfies(&group("/vo/a")) && member.satisfies(&group("/vo/Role=admin")));
        assert!(member.satisfies(&group("URN:MACE:egi.eu:group:vo")));
        for other in [
            "/vo/Role=Admin",
            "/VO",
            "urn:mace:EGI.eu:group:vo",
            "urn:mace:egi.eu:group:vo#other",
            "urn:geant:egi.eu:group:vo",
        ] {
            assert!(!member.satisfies(&group(other)), "{other}");
        }
    }

    fn plain() -> impl Strategy<Value = String> {
        "[a-zA-Z0-9][a-zA-Z0-9_.-]{0,6}"
    }

    proptest! {
        #[test]
        fn wlcg_and_fqan_lose_nothing(
            parts in proptest::collection::vec(plain(), 1..4),
            role in proptest::option::of(plain()),
        ) {
            prop_assume!(role.as_deref() != Some("NULL") && role.as_deref() != Some("member"));
            let group = Group { vo: parts[0].clone(), path: parts[1..].to_vec(), role, ..Group::default() };
            let fqan = group.fqan().expect("plain parts");
            prop_assert_eq!(Group::from_fqan(&fqan), Some(group.clone()));
            if group.role.is_none() {
                prop_assert_eq!(Group::from_wlcg(&group.name()), Some(group));
            }
        }

        #[test]
        fn entitlements_lose_nothing(
            parts in proptest::collection::vec("\\PC{1,6}", 1..4),
            role in proptest::option::of("\\PC{1,6}"),
            authority in proptest::option::of("[a-z.]{1,8}"),
            registry in any::<bool>(),
        ) {
            prop_assume!(role.as_deref() != Some("member") && (registry || parts[0] != "registry"));
            let namespace = format!("urn:mace:egi.eu{}", if registry { REGISTRY } else { "" });
            let group = Group { vo: parts[0].clone(), path: parts[1..].to_vec(), role, authority, namespace: Some(namespace) };
            let urn = group.entitlement("urn:x");
            prop_assert_eq!(Group::from_entitlement(&urn), Some(group), "{}", urn);
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,60}") {
            if let Some(group) = Group::parse(&text) {
                prop_assert!(!group.vo.is_empty() && group.satisfies(&group));
            }
        }
    }
}
