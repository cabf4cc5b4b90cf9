//! Groups in all notations and capability entitlements. The first line is what somebody holds, the second what is required.
#![no_main]

use dte_identity::model::capability::Capability;
use dte_identity::model::group::Group;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (held, required) = text.split_once('\n').unwrap_or((text, text));
    for one in [held, required] {
        notations(one);
    }
    if let (Some(held), Some(required)) = (Group::parse(held), Group::parse(required)) {
        group_decisions(&held, &required);
    }
    if let (Some(held), Some(required)) = (Capability::parse(held), Capability::parse(required)) {
        capability_decisions(&held, &required);
    }
});

/// Nothing gets lost or gained on the way through the notations.
fn notations(text: &str) {
    let Some(group) = Group::parse(text) else { return };
    let written = group.entitlement("urn:x");
    let again = Group::from_entitlement(&written).expect("what we write we can read");
    assert_eq!(
        (&again.vo, &again.path, &again.role, &again.authority),
        (&group.vo, &group.path, &group.role, &group.authority)
    );
    assert!(group.namespace.is_none() || again.namespace == group.namespace);
    assert_eq!(again.entitlement("urn:y"), written, "written, read, written");
    if let Some(fqan) = group.fqan() {
        let again = Group::from_fqan(&fqan).expect("what we write we can read");
        assert_eq!((&again.vo, &again.path, &again.role), (&group.vo, &group.path, &group.role));
        assert_eq!(again.fqan(), Some(fqan));
    }
}

fn group_decisions(held: &Group, required: &Group) {
    assert!(held.satisfies(held));
    let satisfied = held.satisfies(required);
    if satisfied {
        assert!(held.vo == required.vo && held.path.starts_with(&required.path));
    }
    // Who asks for more gets no more.
    let mut narrower = vec![required.clone(); 3];
    narrower[0].path.push("below".to_owned());
    narrower[1].role.get_or_insert_with(|| "role".to_owned());
    narrower[2].authority.get_or_insert_with(|| "authority".to_owned());
    for narrow in &narrower {
        assert!(satisfied || !held.satisfies(narrow), "{held:?} {narrow:?}");
    }
    // Who is in a group beneath is in the group.
    let mut beneath = held.clone();
    beneath.path.push("beneath".to_owned());
    assert!(!satisfied || beneath.satisfies(required));
    assert!(!held.satisfies(&beneath), "a member of a group is not one of every group beneath");
}

fn capability_decisions(held: &Capability, required: &Capability) {
    assert!(held.satisfies(held));
    let satisfied = held.satisfies(required);
    if satisfied {
        assert!(held.namespace == required.namespace && required.resource.starts_with(&held.resource));
        assert!(held.actions.is_empty() || required.actions.iter().all(|action| held.actions.contains(action)));
    }
    let mut narrow = required.clone();
    narrow.resource.push("part".to_owned());
    // A part of a resource is within it; nobody gets at a resource through one of its parts.
    assert!(!satisfied || held.satisfies(&narrow));
    assert!(!narrow.satisfies(required));
    let mut more = required.clone();
    more.actions.push("one more".to_owned());
    assert!(satisfied || required.actions.is_empty() || !held.satisfies(&more), "{held:?} {more:?}");
}
