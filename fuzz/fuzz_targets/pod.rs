//! Pods as strangers send them. What is accepted is clean, and asking for more never turns a refusal into a plan.
#![no_main]

use dte_compute::pod::{MAX_CONTAINERS, PodPlan, expand, is_dns_label};
use dte_compute::quantity::Quantity;
use k8s_openapi::api::core::v1::Pod;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    words(text);
    let Ok(pod) = serde_json::from_str::<Pod>(text) else { return };
    let outcome = PodPlan::read(&pod);
    let mut privileged = pod.clone();
    if let Some(container) = privileged.spec.as_mut().and_then(|spec| spec.containers.first_mut()) {
        container.security_context.get_or_insert_default().privileged = Some(true);
        assert!(PodPlan::read(&privileged).is_err(), "a privileged container is taken");
    }
    let Ok(plan) = outcome else { return };
    let count = plan.all_containers().count();
    assert!(!plan.containers.is_empty() && count <= MAX_CONTAINERS);
    assert!(is_dns_label(&plan.namespace) && plan.name.split('.').all(is_dns_label));
    let mut names = std::collections::BTreeSet::new();
    for container in plan.all_containers() {
        assert!(is_dns_label(&container.name) && names.insert(&container.name));
        assert!(container.keeps_entrypoint || !container.argv.is_empty());
        assert!(container.argv.iter().all(|word| !word.contains('\0')));
        assert!(
            container
                .env
                .iter()
                .all(|(name, value)| !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0'))
        );
        assert!(
            container.working_dir.as_ref().is_none_or(|folder| !folder.contains('\0')),
            "{:?}",
            container.working_dir
        );
    }
    // A plan is kept as text between two starts of the engine.
    let kept = serde_json::to_string(&plan).expect("a plan can be written");
    assert_eq!(serde_json::from_str::<PodPlan>(&kept).expect("and read"), plan);
});

fn words(text: &str) {
    // One pass: what comes out of a variable is not looked at again.
    let once = expand(text, |_| Some("$(A)".to_owned()));
    assert!(once.len() <= text.len().saturating_mul(2).saturating_add(4));
    assert_eq!(expand(&text.replace('$', "$$"), |_| Some("no".to_owned())), text);
    if let Some(quantity) = Quantity::parse(text) {
        assert!(quantity.units() == u64::MAX || u128::from(quantity.units()) * 1_000 >= u128::from(quantity.millis()));
        if quantity.millis() < u64::MAX {
            assert_eq!(Quantity::parse(&format!("{}m", quantity.millis())), Some(quantity), "{text:?}");
        }
    }
}
