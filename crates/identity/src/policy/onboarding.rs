//! Applications of providers and communities. Every step says who, when, why, from where, and on what evidence.

use dte_base::id::new_id;
use dte_base::time::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::change::Refusal;
use super::groups::bounded;
use super::model::onboarding::{Approval, Kind, Role, State, is_approved};
use super::store::onboarding as table;
use crate::Identity;

/// The most approvals that one application collects.
const MOST_APPROVALS: usize = 50;
/// The most pieces of evidence of one step.
const MOST_EVIDENCE: usize = 50;

/// An application.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Application {
    pub(crate) id: String,
    pub(crate) kind: Kind,
    pub(crate) name: String,
    pub(crate) state: State,
    /// Grows with every change; who changes must have seen the last.
    pub(crate) version: i64,
    pub(crate) document: Value,
    pub(crate) approvals: Vec<Approval>,
    pub(crate) applicant: String,
    pub(crate) created: Timestamp,
    pub(crate) updated: Timestamp,
}

/// One step of an application.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Step {
    pub(crate) version: i64,
    pub(crate) at: Timestamp,
    pub(crate) actor: String,
    pub(crate) before: State,
    pub(crate) after: State,
    pub(crate) reason: String,
    /// Digests: of the document, and of what was shown besides.
    pub(crate) evidence: Value,
}

/// What somebody wants to happen to an application.
#[derive(Clone, Debug)]
pub(crate) enum Wish {
    /// New words, while it is open.
    Redraft(Value),
    /// An approval; the second one, by another person in the other capacity, lets it pass.
    Approve(Role),
    Become(State),
}

/// Why, and on what evidence (SHA-256 digests in hexadecimal digits).
#[derive(Clone, Debug, Default)]
pub(crate) struct Grounds {
    pub(crate) reason: String,
    pub(crate) evidence: Vec<String>,
}

impl Identity {
    pub(crate) async fn apply_for(
        &self,
        kind: Kind,
        name: &str,
        document: Value,
        by: &str,
    ) -> Result<Application, Refusal> {
        let name = bounded("name", name)?;
        if name.is_empty() || !document.is_object() {
            return Err(Refusal::Invalid("name what applies; the document is an object".to_owned()));
        }
        let applicant = by.to_owned();
        self.policy_change(by, move |change| {
            let made = Application {
                id: new_id().to_string(),
                kind,
                name: name.clone(),
                state: State::Draft,
                version: 1,
                document: document.clone(),
                approvals: Vec::new(),
                applicant: applicant.clone(),
                created: change.now,
                updated: change.now,
            };
            table::put(change.tx, &made)?;
            change.note(&format!("{}.draft", kind.name()), &made.id, json!({"name": name}));
            Ok(made)
        })
        .await
    }

    /// Makes a step of an application whose `version` the caller has seen.
    pub(crate) async fn step_application(
        &self,
        kind: Kind,
        id: &str,
        version: i64,
        wish: Wish,
        grounds: Grounds,
        by: &str,
    ) -> Result<Application, Refusal> {
        let reason = bounded("reason", &grounds.reason)?;
        let is_digest = |text: &String| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if grounds.evidence.len() > MOST_EVIDENCE || !grounds.evidence.iter().all(is_digest) {
            return Err(Refusal::Invalid(format!("evidence: at most {MOST_EVIDENCE} SHA-256 digests")));
        }
        let (id, actor) = (id.to_owned(), by.to_owned());
        self.policy_change(by, move |change| {
            let found =
                table::by_id(change.tx, kind, &id)?.ok_or_else(|| Refusal::NoSuch(format!("application {id}")))?;
            if found.version != version {
                let what = format!("the application is at version {}, not {version}: read it again", found.version);
                return Err(Refusal::Conflict(what));
            }
            let before = found.state;
            let mut next = taken(found, &wish, &actor)?;
            if next.state != before && reason.is_empty() {
                return Err(Refusal::Invalid("reason: say why".to_owned()));
            }
            next.version += 1;
            next.updated = change.now;
            table::put(change.tx, &next)?;
            let document = hex::encode(Sha256::digest(next.document.to_string().as_bytes()));
            let step = Step {
                version: next.version,
                at: change.now,
                actor: actor.clone(),
                before,
                after: next.state,
                reason: reason.clone(),
                evidence: json!({"document": document, "shown": grounds.evidence}),
            };
            table::add_step(change.tx, &id, &step)?;
            let action = format!("{}.{}", kind.name(), next.state.name());
            change.note(&action, &id, json!({"before": before, "reason": reason, "document": document}));
            Ok(next)
        })
        .await
    }
}

/// The application after a wish, if that can be.
fn taken(mut found: Application, wish: &Wish, actor: &str) -> Result<Application, Refusal> {
    let illegal = |found: &Application, allowed: Vec<State>| Refusal::Illegal {
        what: format!("the application is {}", found.state.name()),
        allowed: allowed.into_iter().map(|state| state.name().to_owned()).collect(),
    };
    match wish {
        Wish::Redraft(document) => {
            if !found.state.is_open() {
                return Err(illegal(&found, found.state.allowed().to_vec()));
            }
            if !document.is_object() {
                return Err(Refusal::Invalid("the document is an object".to_owned()));
            }
            found.document = document.clone();
        }
        Wish::Approve(role) => {
            if !found.state.allowed().contains(&State::Approved) {
                return Err(illegal(&found, found.state.allowed().to_vec()));
            }
            if actor == found.applicant {
                return Err(Refusal::Conflict("nobody approves the own application".to_owned()));
            }
            if !found.kind.approvers().contains(role) || found.approvals.len() >= MOST_APPROVALS {
                return Err(Refusal::Invalid(format!("as: one of {:?}", found.kind.approvers()).to_lowercase()));
            }
            found.approvals.push(Approval { role: *role, by: actor.to_owned() });
            if is_approved(found.kind, &found.applicant, &found.approvals) {
                found.state = State::Approved;
            }
        }
        Wish::Become(state) => {
            let allowed = found.state.allowed();
            // Approval has a way of its own, with two people.
            if !allowed.contains(state) || *state == State::Approved {
                return Err(illegal(
                    &found,
                    allowed.iter().copied().filter(|state| *state != State::Approved).collect(),
                ));
            }
            if *state == State::Submitted {
                let missing = found.kind.missing(&found.document);
                if !missing.is_empty() {
                    return Err(Refusal::Invalid(format!("missing: {}", missing.join(", "))));
                }
            }
            if matches!(state, State::Submitted | State::ChangesRequested) {
                // What was approved is not what is said now.
                found.approvals.clear();
            }
            found.state = *state;
        }
    }
    Ok(found)
}
