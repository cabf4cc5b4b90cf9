//! Capability entitlements (AARC-G027): what somebody may do at a resource, said by the identity provider.

use super::group::{decoded, namespace};

/// `<NAMESPACE>:res:<RESOURCE>[:<PART>]*[:act:<ACTION>[,<ACTION>]*][#<AUTHORITY>]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capability {
    pub namespace: String,
    /// The resource and the parts within it.
    pub resource: Vec<String>,
    /// None: every action.
    pub actions: Vec<String>,
    pub authority: Option<String>,
}

impl Capability {
    /// Nothing for what cannot be read.
    pub fn parse(urn: &str) -> Option<Self> {
        let (name, authority) = match urn.split_once('#') {
            Some((_, "")) => return None,
            Some((name, authority)) => (name, Some(authority.to_owned())),
            None => (urn, None),
        };
        let (space, rest) = name.split_once(":res:")?;
        let (resource, actions) = match rest.split_once(":act:") {
            Some((resource, actions)) => (resource, actions.split(',').map(decoded).collect::<Option<Vec<_>>>()?),
            None => (rest, Vec::new()),
        };
        let resource = resource.split(':').map(decoded).collect::<Option<Vec<_>>>()?;
        Some(Capability { namespace: namespace(space)?, resource, actions, authority })
    }

    /// Whether holding `self` satisfies `required`: the same resource or one that holds it, and all the actions.
    pub fn satisfies(&self, required: &Capability) -> bool {
        let every = self.actions.is_empty();
        self.namespace == required.namespace
            && required.resource.starts_with(&self.resource)
            && (every
                || (!required.actions.is_empty() && required.actions.iter().all(|act| self.actions.contains(act))))
            && (required.authority.is_none() || self.authority == required.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn matching() {
        let capability = |text: &str| Capability::parse(text).expect("a capability");
        let held = capability("urn:mace:egi.eu:res:twin:enso:act:run,read#aai.egi.eu");
        for good in
            ["urn:mace:egi.eu:res:twin:enso:act:run", "URN:mace:egi.eu:res:twin:enso:north:act:read,run#aai.egi.eu"]
        {
            assert!(held.satisfies(&capability(good)), "{good}");
        }
        for bad in [
            "urn:mace:egi.eu:res:twin:enso",
            "urn:mace:egi.eu:res:twin:act:run",
            "urn:mace:egi.eu:res:twin:enso:act:delete",
            "urn:mace:egi.eu:res:twin:enso:act:run#other",
            "urn:geant:egi.eu:res:twin:enso:act:run",
        ] {
            assert!(!held.satisfies(&capability(bad)), "{bad}");
        }
        assert!(capability("urn:x:res:twin").satisfies(&capability("urn:x:res:twin:a:act:b")));
        for bad in ["", "urn:x:res:", "urn:x:res:a:act:", "urn:x:res::a", "x:res:a", "urn:x:res:a#", "urn:x:group:a"] {
            assert_eq!(Capability::parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,60}") {
            if let Some(capability) = Capability::parse(&text) {
                prop_assert!(capability.satisfies(&capability));
            }
        }
    }
}
