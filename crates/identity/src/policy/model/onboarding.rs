//! How providers and communities come in and go: states, what leads from one to another, and what must be known before
//! (`contracts`: "Onboarding state machines").

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Provider,
    Community,
}

/// Questions of the security baseline that every provider answers, in short.
pub(crate) const BASELINE: [&str; 12] = [
    "Do you follow Sirtfi?",
    "Do your users agree to an AUP, and can they be contacted?",
    "Do you inform those affected when access is restricted, and restrict it only for operational or security reasons?",
    "Do you honour the confidentiality of what you are told?",
    "Do you respect data protection and contracts, and use personal data for stated purposes only?",
    "Do you keep logs that let an activity be reconstructed, for 180 days or more?",
    "Do you follow good practice in patching, vulnerabilities and configuration?",
    "Do you operate so that others are not endangered?",
    "Do you cooperate in incident response in good time?",
    "Do you keep the duties of logs and cooperation after retiring?",
    "Do you waive liability claims among participants?",
    "Do you hold suppliers and components to equivalent terms?",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    Draft,
    Submitted,
    Validating,
    ChangesRequested,
    Approved,
    Probation,
    Production,
    Suspended,
    Retiring,
    Retired,
    Rejected,
    Withdrawn,
}

impl State {
    pub(crate) const ALL: [State; 12] = [
        State::Draft,
        State::Submitted,
        State::Validating,
        State::ChangesRequested,
        State::Approved,
        State::Probation,
        State::Production,
        State::Suspended,
        State::Retiring,
        State::Retired,
        State::Rejected,
        State::Withdrawn,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            State::Draft => "draft",
            State::Submitted => "submitted",
            State::Validating => "validating",
            State::ChangesRequested => "changes_requested",
            State::Approved => "approved",
            State::Probation => "probation",
            State::Production => "production",
            State::Suspended => "suspended",
            State::Retiring => "retiring",
            State::Retired => "retired",
            State::Rejected => "rejected",
            State::Withdrawn => "withdrawn",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        State::ALL.into_iter().find(|state| state.name() == name)
    }

    /// What may follow.
    pub(crate) fn allowed(self) -> &'static [State] {
        use State::*;
        match self {
            Draft => &[Submitted, Withdrawn],
            Submitted => &[Validating, ChangesRequested, Rejected, Withdrawn],
            Validating => &[ChangesRequested, Approved, Rejected, Withdrawn],
            ChangesRequested => &[Submitted, Withdrawn],
            Approved => &[Probation, Withdrawn],
            Probation => &[Production, Withdrawn],
            Production => &[Suspended, Retiring, Withdrawn],
            Suspended => &[Production, Retiring, Withdrawn],
            Retiring => &[Retired, Withdrawn],
            Retired | Rejected | Withdrawn => &[],
        }
    }

    /// Whether the applicant may still change what was said.
    pub(crate) fn is_open(self) -> bool {
        matches!(self, State::Draft | State::ChangesRequested)
    }

    /// Whether the applicant takes this step; all others are for administrators.
    pub(crate) fn is_applicants(self) -> bool {
        matches!(self, State::Submitted | State::Withdrawn)
    }
}

/// In what capacity somebody approves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    Operations,
    Security,
    Sponsor,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Provider => "provider",
            Kind::Community => "community",
        }
    }

    /// Who must approve: two people.
    pub(crate) fn approvers(self) -> [Role; 2] {
        match self {
            Kind::Provider => [Role::Operations, Role::Security],
            Kind::Community => [Role::Operations, Role::Sponsor],
        }
    }

    /// What is missing before it can be submitted.
    pub(crate) fn missing(self, document: &Value) -> Vec<String> {
        let texts: &[&str] = match self {
            Kind::Provider => &[
                "/legal_entity",
                "/country",
                "/contacts/admin",
                "/contacts/security",
                "/contacts/privacy",
                "/aup_version",
                "/privacy_notice",
                "/access_policy",
                "/sla",
            ],
            Kind::Community => &[
                "/name",
                "/purpose",
                "/security_contact",
                "/expected_usage",
                "/data_classification",
                "/aup_version",
                "/membership_policy",
            ],
        };
        let text = |value: Option<&Value>| value.and_then(Value::as_str).is_some_and(|text| !text.trim().is_empty());
        let name = |path: &str| path.trim_start_matches('/').replace('/', ".");
        let mut missing: Vec<String> =
            texts.iter().filter(|path| !text(document.pointer(path))).map(|path| name(path)).collect();
        match self {
            Kind::Provider => {
                let services = document["services"].as_array().map(Vec::as_slice).unwrap_or_default();
                let is_whole =
                    |service: &Value| ["name", "type", "endpoint"].iter().all(|part| text(service.get(part)));
                if services.is_empty() || !services.iter().all(is_whole) {
                    missing.push("services (each with name, type, endpoint)".to_owned());
                }
                for number in 1..=BASELINE.len() {
                    let answer = &document["baseline"][number.to_string().as_str()];
                    if !answer["answer"].is_boolean() || !text(answer.get("evidence")) {
                        missing.push(format!("baseline.{number} (answer, evidence)"));
                    }
                }
            }
            Kind::Community => {
                let people = document["representatives"].as_array().map(Vec::as_slice).unwrap_or_default();
                let mut names: Vec<&str> = people.iter().filter_map(Value::as_str).map(str::trim).collect();
                names.retain(|name| !name.is_empty());
                names.sort_unstable();
                names.dedup();
                if names.len() < 2 {
                    missing.push("representatives (two or more)".to_owned());
                }
            }
        }
        missing
    }
}

/// An approval, and by whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Approval {
    pub(crate) role: Role,
    pub(crate) by: String,
}

/// Whether two people approved, in both capacities, neither of them the applicant.
pub(crate) fn is_approved(kind: Kind, applicant: &str, approvals: &[Approval]) -> bool {
    let [one, other] = kind.approvers();
    let of = |role: Role| approvals.iter().filter(move |known| known.role == role && known.by != applicant);
    of(one).any(|first| of(other).any(|second| second.by != first.by))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_state_to_every_other() {
        use State::*;
        let table: [(State, &[State]); 12] = [
            (Draft, &[Submitted, Withdrawn]),
            (Submitted, &[Validating, ChangesRequested, Rejected, Withdrawn]),
            (Validating, &[ChangesRequested, Approved, Rejected, Withdrawn]),
            (ChangesRequested, &[Submitted, Withdrawn]),
            (Approved, &[Probation, Withdrawn]),
            (Probation, &[Production, Withdrawn]),
            (Production, &[Suspended, Retiring, Withdrawn]),
            (Suspended, &[Production, Retiring, Withdrawn]),
            (Retiring, &[Retired, Withdrawn]),
            (Retired, &[]),
            (Rejected, &[]),
            (Withdrawn, &[]),
        ];
        for (from, wanted) in table {
            for to in State::ALL {
                assert_eq!(from.allowed().contains(&to), wanted.contains(&to), "{from:?} {to:?}");
            }
            assert_eq!(State::named(from.name()), Some(from));
            assert_eq!(from.allowed().is_empty(), matches!(from, Retired | Rejected | Withdrawn));
        }
    }

    #[test]
    fn two_people_approve() {
        let by = |role, by: &str| Approval { role, by: by.to_owned() };
        use Role::{Operations, Security, Sponsor};
        let ok = |list: &[Approval]| is_approved(Kind::Provider, "applicant", list);
        assert!(ok(&[by(Operations, "a"), by(Security, "b")]));
        assert!(!ok(&[by(Operations, "a"), by(Security, "a")]), "one person twice");
        assert!(!ok(&[by(Operations, "applicant"), by(Security, "b")]), "the applicant");
        assert!(!ok(&[by(Operations, "a"), by(Operations, "b")]));
        assert!(!ok(&[by(Operations, "a"), by(Sponsor, "b")]));
        assert!(ok(&[by(Operations, "a"), by(Security, "a"), by(Security, "b")]));
        assert!(is_approved(Kind::Community, "x", &[by(Operations, "a"), by(Sponsor, "b")]));
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(Kind::Provider.missing(&json!({})).len(), 9 + 1 + BASELINE.len());
        assert_eq!(Kind::Community.missing(&json!({"representatives": ["a", "a "]})).len(), 8);
        let community = json!({
            "name": "ocean.example", "purpose": "p", "security_contact": "s", "expected_usage": "u", "data_classification": "c",
            "aup_version": "1.0.0", "membership_policy": "m", "representatives": ["a", "b"],
        });
        assert!(Kind::Community.missing(&community).is_empty());
    }
}
