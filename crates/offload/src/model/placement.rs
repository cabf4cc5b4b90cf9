//! Which site takes a pod that names none: a first rule, the same for everybody, and every reason told.
//!
//! A site is passed over for good where the pod does not fit (size, images) or may not be (no sandbox), and for now
//! where it does not answer, has not the devices asked for, or has enough waiting already. Of the rest the one wins that has most of the pod's inputs, then the
//! one where the pod is expected to wait the shortest, then the one with the most free places, then the one that stands first
//! in the configuration.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use dte_compute::quantity::Quantity;
use dte_protocol_interlink::RawPod;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::order;

/// How long a pod is thought to run at a site where none has ended yet.
const UNKNOWN_RUN: Duration = Duration::from_secs(60);
/// A site is given as many waiting pods of one person as it has places, so that it never idles, few wait at the wrong one, and
/// nobody's pods keep another's away from where places are given in fair order.
const WAITING_PER_PLACE: u64 = 1;

/// What a pod needs of a site.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    pub cpu_millis: u64,
    pub memory_bytes: u64,
    /// `nvidia.com/gpu` and the like.
    pub extended: BTreeMap<String, u64>,
    /// Container and image.
    pub images: Vec<(String, String)>,
    /// An administrator's: it may run without a sandbox.
    pub is_trusted: bool,
    /// Files that are staged before it starts.
    pub inputs: u64,
    /// It has inputs, outputs or a program that the engine stages.
    pub has_data: bool,
}

/// Annotations that order data.
const DATA: &[&str] = &[order::INPUTS, order::OUTPUTS, order::CODE];

impl Needs {
    /// What the pod asks for: `requests`, or else `limits`; of its containers together, or of its largest init container if
    /// that is more. What cannot be read as a quantity is refused elsewhere, and nothing here.
    pub fn read(pod: &RawPod, is_trusted: bool, inputs: usize) -> Needs {
        Needs::summed(pod, is_trusted, inputs, asked)
    }

    /// The most that the pod may take, which is what its owner's quota is charged with: batch systems are asked for the limits.
    pub fn at_most(pod: &RawPod) -> Needs {
        Needs::summed(pod, false, 0, most_of)
    }

    fn summed(pod: &RawPod, is_trusted: bool, inputs: usize, asked: fn(&Value) -> BTreeMap<String, Quantity>) -> Needs {
        let annotations = pod.0.pointer("/metadata/annotations");
        let has_data = annotations.is_some_and(|all| DATA.iter().any(|name| all.get(*name).is_some()));
        let inputs = u64::try_from(inputs).unwrap_or(u64::MAX);
        let mut needs = Needs { is_trusted, inputs, has_data, ..Needs::default() };
        let mut together: BTreeMap<String, Quantities> = BTreeMap::new();
        for (kind, is_main) in [("containers", true), ("initContainers", false)] {
            for container in pod.0.pointer(&format!("/spec/{kind}")).and_then(Value::as_array).into_iter().flatten() {
                let text = |name: &str| container.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
                needs.images.push((text("name"), text("image")));
                for (resource, quantity) in asked(container) {
                    let sums = together.entry(resource).or_default();
                    if is_main {
                        sums.sum_millis = sums.sum_millis.saturating_add(quantity.millis());
                        sums.sum = sums.sum.saturating_add(quantity.units());
                    } else {
                        sums.most_millis = sums.most_millis.max(quantity.millis());
                        sums.most = sums.most.max(quantity.units());
                    }
                }
            }
        }
        for (resource, sums) in together {
            match resource.as_str() {
                "cpu" => needs.cpu_millis = sums.sum_millis.max(sums.most_millis),
                "memory" => needs.memory_bytes = sums.sum.max(sums.most),
                // Space on disk is no figure that sites give.
                "ephemeral-storage" => {}
                _ if sums.sum.max(sums.most) == 0 => {}
                _ => drop(needs.extended.insert(resource, sums.sum.max(sums.most))),
            }
        }
        needs
    }
}

/// Of one resource: of all containers together, and of the largest init container.
#[derive(Default)]
struct Quantities {
    sum_millis: u64,
    most_millis: u64,
    sum: u64,
    most: u64,
}

/// The resources that a container asks for: what is requested counts before what is the limit.
fn asked(container: &Value) -> BTreeMap<String, Quantity> {
    let mut all = amounts(container, "limits");
    all.extend(amounts(container, "requests"));
    all
}

/// The resources that a container may take: the larger of what is requested and the limit.
fn most_of(container: &Value) -> BTreeMap<String, Quantity> {
    let mut all = amounts(container, "limits");
    for (resource, requested) in amounts(container, "requests") {
        let most = all.entry(resource).or_insert(requested);
        if requested.millis() > most.millis() {
            *most = requested;
        }
    }
    all
}

fn amounts(container: &Value, kind: &str) -> BTreeMap<String, Quantity> {
    let list = container.pointer(&format!("/resources/{kind}")).and_then(Value::as_object);
    let read = |(resource, amount): (&String, &Value)| {
        let text = amount.as_str().map_or_else(|| amount.to_string(), str::to_owned);
        Quantity::parse(&text).map(|quantity| (resource.clone(), quantity))
    };
    list.into_iter().flatten().filter_map(read).collect()
}

/// A site as it is now.
#[derive(Clone, Debug, Default)]
pub struct Candidate {
    pub name: String,
    /// Why it cannot be asked now.
    pub down: Option<String>,
    /// Why there is no sandbox, if there is none.
    pub unsafe_because: Option<String>,
    pub images: Vec<String>,
    pub cpu_millis: u64,
    pub memory_bytes: u64,
    pub extended: BTreeMap<String, u64>,
    /// Pods that may run at once.
    pub places: u64,
    pub running: u64,
    /// Pods that were given to it and do not run yet.
    pub waiting: u64,
    /// Those of the pod's owner among them.
    pub own_waiting: u64,
    /// How long pods ran there, on average.
    pub mean_run: Option<Duration>,
    /// How many of the pod's inputs have been staged there.
    pub inputs_held: u64,
    /// It sees no folder of this engine, so no data can be staged there.
    pub takes_no_data: bool,
}

impl Candidate {
    fn runs_image(&self, image: &str) -> bool {
        self.images.iter().any(|known| known == "*" || known == image)
    }

    fn free(&self) -> u64 {
        self.places.saturating_sub(self.running.saturating_add(self.waiting))
    }

    /// How long one more pod would wait: nothing while a place is free, else one run for each round of pods before it.
    fn expected_wait(&self) -> Duration {
        let before = self.running.saturating_add(self.waiting);
        let rounds = (before / self.places.max(1)).min(u64::from(u32::MAX));
        self.mean_run.unwrap_or(UNKNOWN_RUN).saturating_mul(u32::try_from(rounds).unwrap_or(u32::MAX))
    }
}

/// Whether a site takes the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It could.
    Fits,
    /// Not now; perhaps later.
    NotNow,
    /// Not as the pod and the site are.
    Never,
}

/// What was thought of one site.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Considered {
    pub site: String,
    pub verdict: Verdict,
    /// One sentence; it names the field where the pod asks for something that is not there.
    pub reason: String,
    pub inputs_held: u64,
    pub expected_wait_seconds: u64,
    pub free_places: u64,
}

/// Where the pod goes, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// None: it waits, or nobody will ever take it.
    pub site: Option<String>,
    pub reason: String,
    pub considered: Vec<Considered>,
}

impl Decision {
    /// Whether no site will ever take the pod as things are.
    pub fn is_hopeless(&self) -> bool {
        self.site.is_none() && self.considered.iter().all(|one| one.verdict == Verdict::Never)
    }
}

/// Decides among these sites.
pub fn place(needs: &Needs, sites: &[Candidate]) -> Decision {
    let considered: Vec<Considered> = sites.iter().map(|site| consider(needs, site)).collect();
    let fitting = considered.iter().filter(|one| one.verdict == Verdict::Fits);
    let best =
        fitting.min_by_key(|one| (Reverse(one.inputs_held), one.expected_wait_seconds, Reverse(one.free_places)));
    let site = best.map(|one| one.site.clone());
    let reason = match best {
        Some(best) => why_best(best, &considered),
        None if considered.is_empty() => "this engine has no sites".to_owned(),
        None => {
            let reasons: Vec<String> = considered.iter().map(|one| format!("{}: {}", one.site, one.reason)).collect();
            let is_hopeless = considered.iter().all(|one| one.verdict == Verdict::Never);
            let first = if is_hopeless { "no site can take this pod" } else { "no site takes this pod now" };
            format!("{first}: {}", reasons.join("; "))
        }
    };
    Decision { site, reason, considered }
}

/// What set the site apart from the others that would have taken the pod.
fn why_best(best: &Considered, considered: &[Considered]) -> String {
    let others: Vec<&Considered> =
        considered.iter().filter(|one| one.verdict == Verdict::Fits && one.site != best.site).collect();
    let name = &best.site;
    if others.is_empty() {
        return match considered.len() {
            1 => format!("{name} is the only site"),
            _ => format!("{name} is the only site that takes it now"),
        };
    }
    if others.iter().all(|one| one.inputs_held < best.inputs_held) {
        return format!("{name} has {} of its inputs, more than any other site", best.inputs_held);
    }
    if others.iter().all(|one| one.expected_wait_seconds > best.expected_wait_seconds) {
        return match best.expected_wait_seconds {
            0 => format!("{name} is the only site with a free place"),
            seconds => format!("at {name} it is expected to wait the shortest, about {seconds} s"),
        };
    }
    if others.iter().all(|one| one.free_places < best.free_places) {
        return format!("{name} has the most free places, {}", best.free_places);
    }
    format!("{name} stands first among the sites that are as good for it")
}

fn consider(needs: &Needs, site: &Candidate) -> Considered {
    let (verdict, reason) = match (never(needs, site), not_now(needs, site)) {
        (Some(why), _) => (Verdict::Never, why),
        (None, Some(why)) => (Verdict::NotNow, why),
        (None, None) => (Verdict::Fits, fits(needs, site)),
    };
    Considered {
        site: site.name.clone(),
        verdict,
        reason,
        inputs_held: site.inputs_held.min(needs.inputs),
        expected_wait_seconds: site.expected_wait().as_secs(),
        free_places: site.free(),
    }
}

fn fits(needs: &Needs, site: &Candidate) -> String {
    let place = match (site.free(), site.expected_wait().as_secs()) {
        (0, seconds) => format!("no place is free, expected wait {seconds} s"),
        (free, _) => format!("{free} of {} places free", site.places),
    };
    match needs.inputs {
        0 => place,
        inputs => format!("{place}; has {} of {inputs} inputs", site.inputs_held.min(inputs)),
    }
}

/// Why the pod can never run there.
fn never(needs: &Needs, site: &Candidate) -> Option<String> {
    if let Some(why) = &site.unsafe_because
        && !needs.is_trusted
    {
        return Some(format!("it has no sandbox ({why}) and takes pods of administrators only"));
    }
    if let Some((container, image)) = needs.images.iter().find(|(_, image)| !site.runs_image(image)) {
        let known = site.images.join(", ");
        return Some(format!("spec.containers[{container}].image is {image:?}, and it runs {known}"));
    }
    if needs.has_data && site.takes_no_data {
        let named = DATA.join(", ");
        return Some(format!("annotations {named}: it sees no folder of this engine, so it takes no pods with data"));
    }
    // What a site that does not answer has is not known.
    if site.down.is_some() {
        return None;
    }
    if needs.cpu_millis > site.cpu_millis {
        let (asked, there) = (cores(needs.cpu_millis), cores(site.cpu_millis));
        return Some(format!("spec.containers[].resources cpu: {asked} asked for, and it has {there}"));
    }
    if needs.memory_bytes > site.memory_bytes {
        let (asked, there) = (needs.memory_bytes, site.memory_bytes);
        return Some(format!("spec.containers[].resources memory: {asked} bytes asked for, and it has {there}"));
    }
    None
}

/// Why it cannot be given there now.
fn not_now(needs: &Needs, site: &Candidate) -> Option<String> {
    if let Some(why) = &site.down {
        return Some(format!("it does not answer: {why}"));
    }
    // Devices are added to sites, so a pod that wants some waits for them, as it does in Kubernetes.
    for (resource, asked) in &needs.extended {
        let there = site.extended.get(resource).copied().unwrap_or(0);
        if *asked > there {
            return Some(format!("spec.containers[].resources {resource}: {asked} asked for, and it has {there}"));
        }
    }
    let most = site.places.saturating_mul(1 + WAITING_PER_PLACE);
    let (places, own) = (site.places, site.own_waiting);
    (site.running.saturating_add(own) >= most)
        .then(|| format!("all {places} places are taken and {own} pods of the same owner wait there already"))
}

fn cores(millis: u64) -> String {
    format!("{}", millis as f64 / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn site(name: &str) -> Candidate {
        Candidate {
            name: name.to_owned(),
            images: vec!["host".to_owned()],
            cpu_millis: 4_000,
            memory_bytes: 8 << 30,
            places: 4,
            ..Candidate::default()
        }
    }

    fn pod() -> Needs {
        Needs { cpu_millis: 1_000, images: vec![("c".to_owned(), "host".to_owned())], inputs: 3, ..Needs::default() }
    }

    #[test]
    fn a_quota_is_charged_with_the_most_that_a_pod_may_take() {
        let resources = json!({"requests": {"cpu": "1m", "memory": "2Gi"}, "limits": {"cpu": "64", "memory": "1Gi"}});
        let pod = RawPod(json!({"spec": {"containers": [{"name": "c", "image": "host", "resources": resources}]}}));
        let (asked, most) = (Needs::read(&pod, false, 0), Needs::at_most(&pod));
        assert_eq!((asked.cpu_millis, asked.memory_bytes), (1, 2 << 30));
        assert_eq!((most.cpu_millis, most.memory_bytes), (64_000, 2 << 30));
    }

    #[test]
    fn what_a_pod_needs() {
        let needs = Needs::read(
            &RawPod(json!({"spec": {
            "initContainers": [{"name": "i", "image": "host", "resources": {"requests": {"memory": "8Gi"}}}],
            "containers": [
                {"name": "a", "image": "host", "resources": {"limits": {"cpu": "2", "memory": "1Gi", "nvidia.com/gpu": 1}, "requests": {"cpu": "500m"}}},
                {"name": "b", "image": "x", "resources": {"limits": {"cpu": 1, "nvidia.com/gpu": "0"}}},
            ]}})),
            false,
            2,
        );
        assert_eq!((needs.cpu_millis, needs.memory_bytes, needs.inputs), (1_500, 8 << 30, 2));
        assert_eq!(needs.extended, BTreeMap::from([("nvidia.com/gpu".to_owned(), 1)]));
        assert_eq!(needs.images.len(), 3);
    }

    #[test]
    fn the_order_of_the_rule() {
        let busy = Candidate { running: 4, waiting: 1, mean_run: Some(Duration::from_secs(5)), ..site("a") };
        let decided = place(&pod(), &[busy.clone(), site("b")]);
        assert_eq!(decided.site.as_deref(), Some("b"), "{decided:?}");
        assert!(decided.reason.contains("free place"), "{}", decided.reason);
        let with_data = Candidate { inputs_held: 2, ..busy };
        let decided = place(&pod(), &[site("b"), with_data.clone()]);
        assert_eq!(decided.site.as_deref(), Some("a"), "the data is worth the wait");
        let others = Candidate { waiting: 400, own_waiting: 0, ..with_data.clone() };
        assert!(place(&pod(), &[others]).site.is_some(), "others that wait are no reason not to wait beside them");
        let full = Candidate { waiting: 4, own_waiting: 4, ..with_data };
        assert_eq!(place(&pod(), &[site("b"), full.clone()]).site.as_deref(), Some("b"));
        let waits = place(&pod(), &[full]);
        assert!(waits.site.is_none() && !waits.is_hopeless() && waits.reason.contains("4 places"), "{waits:?}");
        let down = Candidate { down: Some("connection refused".to_owned()), ..site("c") };
        assert!(!place(&pod(), &[down]).is_hopeless());
    }

    #[test]
    fn what_is_never_possible_names_the_field() {
        let refused = |needs: Needs, sites: &[Candidate]| {
            let decision = place(&needs, sites);
            assert!(decision.is_hopeless(), "{decision:?}");
            decision.reason
        };
        let with = |change: fn(&mut Needs)| {
            let mut needs = pod();
            change(&mut needs);
            needs
        };
        assert!(refused(with(|n| n.cpu_millis = 64_000), &[site("a")]).contains("resources cpu: 64 asked"));
        assert!(refused(with(|n| n.memory_bytes = 1 << 60), &[site("a")]).contains("resources memory"));
        let gpu = with(|n| n.extended.extend([("nvidia.com/gpu".to_owned(), 1)]));
        let waits = place(&gpu, &[site("a")]);
        assert!(!waits.is_hopeless() && waits.site.is_none(), "{waits:?}");
        assert!(waits.considered.iter().any(|one| one.reason.contains("nvidia.com/gpu: 1 asked")), "{waits:?}");
        let far = Candidate { takes_no_data: true, images: vec!["*".to_owned()], ..site("far") };
        assert!(refused(with(|n| n.has_data = true), std::slice::from_ref(&far)).contains("dte.io/inputs"));
        assert!(place(&with(|n| n.images[0].1 = "alpine".to_owned()), &[far]).site.is_some());
        assert!(refused(with(|n| n.images[0].1 = "alpine".to_owned()), &[site("a")]).contains(".image"));
        let open = Candidate { unsafe_because: Some("no namespaces".to_owned()), ..site("a") };
        assert!(refused(pod(), std::slice::from_ref(&open)).contains("sandbox"));
        assert_eq!(place(&Needs { is_trusted: true, ..pod() }, &[open]).site.as_deref(), Some("a"));
        assert!(refused(pod(), &[]).contains("no sites"));
    }

    prop_compose! {
        fn some_site()(places in 1..6u64, running in 0..8u64, waiting in 0..8u64, cpu in 0..4u64, gpus in 0..3u64,
            held in 0..5u64, run in proptest::option::of(1..100u64), down in proptest::bool::weighted(0.2),
            open in proptest::bool::weighted(0.2)) -> Candidate {
            Candidate {
                places, running, waiting, cpu_millis: cpu * 1_000, inputs_held: held,
                mean_run: run.map(Duration::from_secs),
                extended: BTreeMap::from([("gpu".to_owned(), gpus)]),
                down: down.then(|| "down".to_owned()),
                unsafe_because: open.then(|| "open".to_owned()),
                ..site("")
            }
        }
    }

    fn some_sites() -> impl Strategy<Value = Vec<Candidate>> {
        proptest::collection::vec(some_site(), 0..6).prop_map(|mut sites| {
            for (index, site) in sites.iter_mut().enumerate() {
                site.name = format!("s{index}");
            }
            sites
        })
    }

    prop_compose! {
        fn some_needs()(cpu in 0..4u64, gpus in 0..3u64, inputs in 0..5u64, is_trusted in any::<bool>()) -> Needs {
            let extended = (gpus > 0).then(|| ("gpu".to_owned(), gpus)).into_iter().collect();
            Needs { cpu_millis: cpu * 1_000, extended, inputs, is_trusted, ..pod() }
        }
    }

    proptest! {
        #[test]
        fn the_choice_is_allowed_and_best(needs in some_needs(), sites in some_sites()) {
            let decision = place(&needs, &sites);
            let fitting: Vec<&Considered> =
                decision.considered.iter().filter(|one| one.verdict == Verdict::Fits).collect();
            prop_assert_eq!(decision.site.is_some(), !fitting.is_empty());
            prop_assert_eq!(decision.considered.len(), sites.len());
            prop_assert!(!decision.reason.is_empty() && decision.considered.iter().all(|one| !one.reason.is_empty()));
            if let Some(name) = &decision.site {
                let at = sites.iter().position(|site| site.name == *name).expect("one of them");
                let (site, chosen) = (&sites[at], &decision.considered[at]);
                prop_assert_eq!(chosen.verdict, Verdict::Fits);
                prop_assert!(site.down.is_none() && (needs.is_trusted || site.unsafe_because.is_none()));
                prop_assert!(needs.cpu_millis <= site.cpu_millis);
                prop_assert!(needs.extended.iter().all(|(name, asked)| site.extended.get(name).is_some_and(|n| n >= asked)));
                for other in fitting {
                    prop_assert!(other.inputs_held <= chosen.inputs_held);
                    prop_assert!(other.inputs_held < chosen.inputs_held
                        || other.expected_wait_seconds >= chosen.expected_wait_seconds);
                }
            }
        }

        #[test]
        fn who_asks_for_more_gets_no_more(needs in some_needs(), sites in some_sites()) {
            let before = place(&needs, &sites);
            let mut more = needs.clone();
            more.cpu_millis += 1_000;
            *more.extended.entry("gpu".to_owned()).or_default() += 1;
            more.is_trusted = false;
            for (was, is) in before.considered.iter().zip(place(&more, &sites).considered) {
                prop_assert!(was.verdict == Verdict::Fits || is.verdict != Verdict::Fits);
                prop_assert!(was.verdict != Verdict::Never || is.verdict == Verdict::Never);
            }
        }

        #[test]
        fn a_further_site_does_not_harm(needs in some_needs(), sites in some_sites(), further in some_site()) {
            let before = place(&needs, &sites);
            let more: Vec<Candidate> = sites.into_iter().chain([further]).collect();
            let after = place(&needs, &more);
            prop_assert!(before.site.is_none() || after.site.is_some());
            prop_assert!(before.considered.is_empty() || before.is_hopeless() || !after.is_hopeless());
        }

        #[test]
        fn one_more_before_it_is_no_shorter_wait(site in some_site()) {
            let more = Candidate { waiting: site.waiting + 1, ..site.clone() };
            prop_assert!(more.expected_wait() >= site.expected_wait());
        }
    }
}
