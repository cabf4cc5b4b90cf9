//! Groups, in one form for the notations in use (WLCG groups, AARC-G002/G069 entitlements).

/// A group of a virtual organisation, with the role in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Group {
    pub vo: String,
    pub path: Vec<String>,
    /// `member` counts as no role.
    pub role: Option<String>,
    /// Who says so (`#authority`, or nothing).
    pub authority: Option<String>,
}

impl Group {
    /// `/vo[/group]*`: each part begins with a letter or digit.
    pub fn from_wlcg(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix('/')?.split('/').map(|part| {
            let mut letters = part.chars();
            let first = letters.next().is_some_and(|c| c.is_ascii_alphanumeric());
            (first && letters.all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-')))
                .then(|| part.to_owned())
        });
        let vo = parts.next()??;
        let path = parts.collect::<Option<Vec<_>>>()?;
        Some(Group { vo, path, role: None, authority: None })
    }

    /// `<NAMESPACE>:group:<VO>[:<GROUP>]*[:role=<ROLE>][#<AUTHORITY>]`. Nothing for what cannot be read.
    pub fn from_entitlement(urn: &str) -> Option<Self> {
        let (name, authority) = match urn.split_once('#') {
            Some((name, authority)) => (name, Some(authority.to_owned())),
            None => (urn, None),
        };
        if !name.get(..4).is_some_and(|nid| nid.eq_ignore_ascii_case("urn:")) {
            return None;
        }
        let (_, rest) = name.split_once(":group:")?;
        let mut parts = Vec::new();
        let mut role = None;
        for part in rest.split(':') {
            let part = percent_encoding::percent_decode_str(part).decode_utf8().ok()?;
            match part.strip_prefix("role=") {
                Some(text) if role.is_none() && !text.is_empty() => role = Some(text.to_owned()),
                Some(_) => return None,
                None if part.is_empty() || role.is_some() => return None,
                None => parts.push(part.into_owned()),
            }
        }
        let mut parts = parts.into_iter();
        let vo = parts.next()?;
        Some(Group { vo, path: parts.collect(), role: role.filter(|role| role != "member"), authority })
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

    /// Whether membership in `self` satisfies `required`: the same group or one beneath it, with the role and the
    /// authority that `required` names.
    pub fn satisfies(&self, required: &Group) -> bool {
        self.vo == required.vo
            && self.path.starts_with(&required.path)
            && (required.role.is_none() || self.role == required.role)
            && (required.authority.is_none() || self.authority == required.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wlcg() {
        assert_eq!(Group::from_wlcg("/atlas/prod").expect("a group").name(), "/atlas/prod");
        for bad in ["", "/", "atlas", "/atlas/", "//x", "/-a", "/a b", "/a/../b"] {
            assert_eq!(Group::from_wlcg(bad), None, "{bad}");
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
        let member = Group::from_entitlement("URN:geant:h.de:group:VO:sub%20group:role=member").expect("a group");
        assert_eq!((member.role, member.path), (None, vec!["sub group".to_owned()]));
        for bad in [
            "",
            "x",
            "urn:mace:egi.eu",
            "urn:x:group:",
            "urn:x:group::a",
            "urn:x:group:a:role=",
            "urn:x:group:a:role=b:c",
        ] {
            assert_eq!(Group::from_entitlement(bad), None, "{bad}");
        }
    }

    #[test]
    fn matching_is_by_component() {
        let group = |text: &str| Group::from_wlcg(text).expect("a group");
        assert!(group("/vo/a/b").satisfies(&group("/vo/a")));
        assert!(!group("/vo/ab").satisfies(&group("/vo/a")));
        assert!(!group("/vo").satisfies(&group("/vo/a")));
    }
}
