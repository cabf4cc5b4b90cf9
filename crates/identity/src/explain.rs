//! Explanations: the decision about a token or a person, step by step, made by the same functions that decide.
//!
//! `POST /policy/v1/explain` and `dte auth explain`. Everybody may ask about a token that they hold and about themselves;
//! about others, administrators.

use axum::extract::State;
use dte_base::secret::Secret;
use dte_base::time::Timestamp;
use dte_http::{Json, Problem};
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use crate::Identity;
use crate::issue::USUAL_LIFETIME;
use crate::model::decide::Accepted;
use crate::model::decision::{self, Verdict, Wanted};
use crate::model::denial::Denial;
use crate::model::group::Group;
use crate::model::path::StoragePath;
use crate::model::principal::{Principal, Standing};
use crate::model::reject::{CHECKS, Reject};
use crate::model::scope::{Scopes, StorageOp};
use crate::model::token;
use crate::routes::{Mount, Require, Routes};

/// Where it is asked.
const PLACE: &str = "/policy/v1/explain";

/// What is asked: would this be permitted, and why (not)?
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Question {
    /// A token; its text goes nowhere.
    pub token: Option<Secret>,
    /// Without a token: an account here, or with `issuer` somebody whom that issuer knows. Neither: whoever asks.
    pub subject: Option<String>,
    pub issuer: Option<String>,
    /// The scopes that the subject's token would have; default: all rights.
    pub scope: Option<String>,
    /// The groups that a foreign issuer would name.
    pub groups: Vec<String>,
    /// A scope (`compute.create`), `admin`, or `storage.read|create|modify|stat|stage` with `object`.
    pub action: String,
    /// The path, as below `/dav`.
    pub object: Option<String>,
}

/// How one step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Passed,
    Failed,
    /// Another way led on, or it matters elsewhere.
    Noted,
}

/// One step of a decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    pub check: String,
    pub outcome: Outcome,
    /// The stable id of the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// Who was decided about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    pub issuer: String,
    pub subject: String,
    pub name: String,
    pub standing: String,
    pub scopes: Vec<String>,
    /// What the operator grants to the subject's groups.
    pub granted: Vec<String>,
    pub groups: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acting: Option<String>,
    pub expires: Timestamp,
}

/// A decision with all that led to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    pub permitted: bool,
    /// The stable id of what decided.
    pub reason: String,
    /// All reasons of a denial.
    pub reasons: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<About>,
    pub steps: Vec<Step>,
}

/// What cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum BadQuestion {
    #[error("action is missing: a scope such as compute.create, admin, or storage.read with an object")]
    NoAction,
    #[error("{0} needs an object: a path that begins with a slash")]
    NoObject(String),
    #[error("{0}")]
    Scope(String),
    #[error("{0:?} is not a group")]
    Group(String),
    #[error("say a token or a subject, not both")]
    Both,
    #[error("say a token or a subject")]
    Nobody,
    #[error("there is no signing key")]
    NoKey,
}

/// An action, read.
enum Action {
    Scope(String),
    Storage(StorageOp, String),
    Admin,
}

impl Action {
    fn read(action: &str, object: Option<&str>) -> Result<Self, BadQuestion> {
        let op = match action {
            "" => return Err(BadQuestion::NoAction),
            "admin" | "dte.admin" => return Ok(Action::Admin),
            "storage.read" => StorageOp::Read,
            "storage.create" => StorageOp::Create,
            "storage.modify" => StorageOp::Modify,
            "storage.stat" => StorageOp::Stat,
            "storage.stage" => StorageOp::Stage,
            scope => return Ok(Action::Scope(scope.to_owned())),
        };
        let path =
            object.filter(|path| path.starts_with('/')).ok_or_else(|| BadQuestion::NoObject(action.to_owned()))?;
        Ok(Action::Storage(op, path.to_owned()))
    }
}

/// Steps as they are made.
#[derive(Default)]
struct Steps(Vec<Step>);

impl Steps {
    fn passed(&mut self, check: &str, detail: impl Into<String>) {
        self.0.push(Step { check: check.to_owned(), outcome: Outcome::Passed, reason: None, detail: detail.into() });
    }

    fn add(&mut self, check: &str, outcome: Outcome, reason: &str, detail: impl Into<String>) {
        let reason = Some(reason.to_owned());
        self.0.push(Step { check: check.to_owned(), outcome, reason, detail: detail.into() });
    }

    /// All checks of a token up to the one that failed.
    fn token_checks(&mut self, is_opaque: bool, failed: Option<&Reject>) {
        for check in CHECKS {
            if let Some(reject) = failed.filter(|reject| reject.check() == *check) {
                self.add(check, Outcome::Failed, reject.id(), reject.to_string());
                return;
            }
            let only_for_jwt = matches!(*check, "algorithm" | "key" | "signature");
            if !((is_opaque && only_for_jwt) || (!is_opaque && *check == "introspection")) {
                self.passed(check, "");
            }
        }
    }

    fn refused(self, reject: &Reject) -> Explanation {
        let id = reject.id().to_owned();
        Explanation { permitted: false, reason: id.clone(), reasons: vec![id], about: None, steps: self.0 }
    }
}

impl Identity {
    /// Decides, and says how. `asker` is who is meant when the question names nobody.
    pub async fn explain(&self, question: &Question, asker: Option<&Principal>) -> Result<Explanation, BadQuestion> {
        let action = Action::read(&question.action, question.object.as_deref())?;
        let mut steps = Steps::default();
        let found = match (&question.token, &question.subject) {
            (Some(_), Some(_)) => return Err(BadQuestion::Both),
            (Some(token), None) => self.of_token(token.expose().trim(), &mut steps).await,
            (None, Some(subject)) => {
                let found = self.of_subject(subject, question)?;
                steps.token_checks(false, found.as_ref().err());
                // Only what is about the person was looked at: there is no token.
                steps.0.retain(|step| {
                    matches!(step.check.as_str(), "account" | "ban" | "issuer") || step.reason.is_some()
                });
                found
            }
            (None, None) => Ok(asker.ok_or(BadQuestion::Nobody)?.clone()),
        };
        let who = match found {
            Ok(who) => who,
            Err(reject) => return Ok(steps.refused(&reject)),
        };
        self.note_agreements(&who, &mut steps);
        Ok(conclude(&who, &action, steps))
    }

    async fn of_token(&self, text: &str, steps: &mut Steps) -> Result<Principal, Reject> {
        let is_opaque = matches!(token::parse(text), Err(Reject::Opaque));
        let outcome = if text.len() > token::LONGEST {
            Err(Reject::TooLong)
        } else {
            let mut hash = [0; 32];
            hash.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
            match self.examine(text, &hash, Timestamp::now()).await {
                Ok(evidence) => self.judge(&evidence),
                Err(reject) => Err(reject),
            }
        };
        steps.token_checks(is_opaque, outcome.as_ref().err());
        outcome
    }

    /// Somebody with a token that nobody has to make.
    fn of_subject(&self, subject: &str, question: &Question) -> Result<Result<Principal, Reject>, BadQuestion> {
        let scope = question.scope.as_deref().unwrap_or("wlcg");
        let scopes =
            Scopes::parse(scope, &self.0.own_policy.base).map_err(|bad| BadQuestion::Scope(bad.to_string()))?;
        let group = |text: &String| Group::parse(text).ok_or_else(|| BadQuestion::Group(text.clone()));
        let groups = question.groups.iter().map(group).collect::<Result<Vec<_>, _>>()?;
        let now = Timestamp::now();
        let accepted = Accepted {
            subject: subject.to_owned(),
            client_id: None,
            acting: None,
            scopes,
            groups: groups.into(),
            capabilities: std::sync::Arc::default(),
            token_id: None,
            issued: Some(now),
            expires: now + USUAL_LIFETIME,
        };
        let issuer = question.issuer.as_deref().unwrap_or(self.issuer());
        self.judge_subject(issuer, accepted).ok_or(BadQuestion::NoKey)
    }

    /// What stands between the person and the next token; one that is there already is good until its end.
    fn note_agreements(&self, who: &Principal, steps: &mut Steps) {
        if who.issuer == self.issuer()
            && matches!(who.standing, Standing::User { .. })
            && let Some(obstacle) = self.obstacle(&who.subject)
        {
            let detail = format!("no new token is given out until this is settled at {}", obstacle.page);
            steps.add("agreements", Outcome::Noted, obstacle.reason, detail);
        }
    }
}

/// The rules about the action.
fn conclude(who: &Principal, action: &Action, mut steps: Steps) -> Explanation {
    let path = match action {
        Action::Storage(_, path) => StoragePath::parse(path).map_err(|bad| bad.to_string()),
        _ => StoragePath::parse("/").map_err(|bad| bad.to_string()),
    };
    let about = Some(about(who));
    let path = match path {
        Ok(path) => path,
        Err(why) => {
            steps.add("object", Outcome::Failed, "bad-path", why);
            let reason = "bad-path".to_owned();
            return Explanation {
                permitted: false,
                reason: reason.clone(),
                reasons: vec![reason],
                about,
                steps: steps.0,
            };
        }
    };
    let wanted = match action {
        Action::Scope(scope) => Wanted::Scope(scope),
        Action::Storage(op, _) => Wanted::Storage(*op, &path),
        Action::Admin => Wanted::Admin,
    };
    let permitted = decision::is_permitted(who, wanted);
    let mut reason = if permitted { String::new() } else { "insufficient".to_owned() };
    let mut reasons = Vec::new();
    for (rule, verdict) in decision::weigh(who, wanted) {
        let check = format!("rule {rule}");
        match verdict {
            Verdict::Permits => {
                if reason.is_empty() {
                    rule.clone_into(&mut reason);
                }
                steps.passed(&check, "permits it");
            }
            Verdict::Silent(why) => {
                let outcome = if permitted { Outcome::Noted } else { Outcome::Failed };
                steps.add(&check, outcome, why, decision::in_words(why));
                if !permitted {
                    reasons.push(why.to_owned());
                }
            }
        }
    }
    Explanation { permitted, reason, reasons, about, steps: steps.0 }
}

fn about(who: &Principal) -> About {
    About {
        issuer: who.issuer.clone(),
        subject: who.subject.clone(),
        name: who.name().to_owned(),
        standing: match who.standing {
            Standing::User { admin: true } => "administrator",
            Standing::User { admin: false } => "account",
            Standing::Client => "client",
            Standing::Guest => "guest",
            Standing::Named => "identity only",
        }
        .to_owned(),
        scopes: who.scopes.names().to_vec(),
        granted: who.granted.names().to_vec(),
        groups: who.groups.iter().map(Group::name).collect(),
        acting: who.acting.clone(),
        expires: who.expires,
    }
}

/// The endpoint, beneath whatever else is at `/policy`.
pub(crate) fn mount(identity: &Identity) -> Mount {
    let what = "oneself, or a token that one has; others only for administrators";
    let routes = Routes::new("identity").post("/", Require::HandlerChecks(what), ask).with_state(identity.clone());
    Mount { prefix: PLACE, routes }
}

async fn ask(
    State(identity): State<Identity>,
    principal: Principal,
    Json(question): Json<Question>,
) -> Result<Json<Explanation>, Problem> {
    if question.subject.is_some() {
        principal.must_be_admin().map_err(|denial: Denial| Problem::from(denial))?;
    }
    identity.explain(&question, Some(&principal)).await.map(Json).map_err(Problem::from)
}

impl From<BadQuestion> for Problem {
    fn from(bad: BadQuestion) -> Self {
        Problem::bad_request(bad.to_string())
    }
}
