//! Who accepted which terms of use: acceptances are only ever added, each bound by a hash to the one before; what stands
//! between a person and a token is answered from memory.

use dte_base::id::new_id;
use dte_base::time::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::change::{Change, Refusal};
use super::model::aup::{AupVersion, Need, Owner, Status};
use super::store::{acceptances, aups};
use crate::Identity;
use crate::model::principal::{Principal, Standing};

/// The most terms that are accepted at once.
const MOST_AT_ONCE: usize = 100;

/// A program's account that accepts nothing itself: whoever is responsible for it did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Exemption {
    pub(crate) name: String,
    pub(crate) reason: String,
    pub(crate) by: String,
    pub(crate) since: Timestamp,
    #[serde(skip)]
    pub(crate) ended: bool,
}

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Accept,
    Revoke,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Accept => "accept",
            Kind::Revoke => "revoke",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        [Kind::Accept, Kind::Revoke].into_iter().find(|kind| kind.name() == name)
    }
}

/// How it was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Method {
    Web,
    Api,
    OnBehalf,
}

impl Method {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Method::Web => "web",
            Method::Api => "api",
            Method::OnBehalf => "on_behalf",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        [Method::Web, Method::Api, Method::OnBehalf].into_iter().find(|method| method.name() == name)
    }
}

/// One acceptance or its revocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) seq: i64,
    pub(crate) id: String,
    pub(crate) kind: Kind,
    pub(crate) issuer: String,
    pub(crate) subject: String,
    pub(crate) owner: String,
    pub(crate) aup_id: String,
    pub(crate) aup_seq: i64,
    pub(crate) text_sha256: String,
    pub(crate) at: Timestamp,
    pub(crate) method: Method,
    pub(crate) actor: String,
    pub(crate) agent_hash: String,
    pub(crate) locale: String,
    /// Stands for the subject in the evidence, so that the subject can be erased and the chain still be checked.
    pub(crate) subject_digest: Vec<u8>,
    pub(crate) evidence: Vec<u8>,
}

impl Record {
    /// Binds the record to the one before it.
    pub(crate) fn bound_to(&self, before: &[u8]) -> Vec<u8> {
        let text = json!([
            self.seq,
            self.id,
            self.kind.name(),
            hex::encode(&self.subject_digest),
            self.owner,
            self.aup_id,
            self.text_sha256,
            self.at.as_micros(),
            self.method.name(),
            self.agent_hash,
            self.locale,
        ]);
        Sha256::new().chain_update(before).chain_update(text.to_string()).finalize().to_vec()
    }

    pub(crate) fn shown(&self) -> Value {
        json!({
            "seq": self.seq, "id": self.id, "kind": self.kind, "subject": {"iss": self.issuer, "sub": self.subject},
            "owner": self.owner, "aup_version_id": self.aup_id, "text_sha256": self.text_sha256, "at": self.at,
            "method": self.method, "actor": self.actor, "user_agent_hash": self.agent_hash, "locale": self.locale,
            "evidence_hash": hex::encode(&self.evidence),
        })
    }
}

/// Who accepts, and how that came to us.
#[derive(Clone, Debug)]
pub(crate) struct Signature {
    pub(crate) issuer: String,
    pub(crate) subject: String,
    pub(crate) method: Method,
    pub(crate) actor: String,
    pub(crate) user_agent: String,
    pub(crate) locale: String,
}

/// What a person must accept, has time to accept, or has accepted.
#[derive(Clone, Debug)]
pub(crate) struct Requirement {
    /// The version that is shown.
    pub(crate) version: AupVersion,
    pub(crate) need: Need,
}

pub(super) fn no_version(id: &str) -> Refusal {
    Refusal::NoSuch(format!("version {id} of an AUP"))
}

/// Whether the principal is somebody who can agree to something: a person, not a program.
pub(crate) fn can_agree(principal: &Principal) -> bool {
    match principal.standing {
        Standing::User { .. } => true,
        Standing::Client | Standing::Named => false,
        // A foreign program's token is about itself.
        Standing::Guest => principal.client_id.as_deref() != Some(principal.subject.as_str()),
    }
}

impl Identity {
    /// Records that somebody accepts these versions, all or none.
    pub(crate) async fn accept(&self, ids: &[String], signature: Signature) -> Result<Vec<Record>, Refusal> {
        if ids.is_empty() || ids.len() > MOST_AT_ONCE {
            return Err(Refusal::Invalid(format!("name 1 to {MOST_AT_ONCE} versions")));
        }
        let (ids, actor) = (ids.to_vec(), signature.actor.clone());
        let secrets = self.clone();
        self.policy_change(&actor, move |change| {
            let mut found = Vec::new();
            for id in &ids {
                let version = aups::by_id(change.tx, id)?.ok_or_else(|| no_version(id))?;
                if version.status != Status::Published {
                    let what = format!("{} {} is {}", version.owner, version.version, version.status.name());
                    return Err(Refusal::Conflict(format!("{what}, and cannot be accepted")));
                }
                found.push(version);
            }
            record(change, &secrets, Kind::Accept, &signature, &found)
        })
        .await
    }

    /// Records that somebody takes back what was accepted of a version.
    pub(crate) async fn revoke(&self, id: &str, signature: Signature) -> Result<Record, Refusal> {
        let (id, actor) = (id.to_owned(), signature.actor.clone());
        let secrets = self.clone();
        self.policy_change(&actor, move |change| {
            let version = aups::by_id(change.tx, &id)?.ok_or_else(|| no_version(&id))?;
            let newest = acceptances::newest(change.tx, &signature.issuer, &signature.subject, &id)?;
            if newest.is_none_or(|newest| newest.kind == Kind::Revoke) {
                return Err(Refusal::NoSuch(format!("acceptance of {id} by {}", signature.subject)));
            }
            let made = record(change, &secrets, Kind::Revoke, &signature, &[version])?;
            made.into_iter().next().ok_or_else(|| no_version(&id))
        })
        .await
    }

    /// Takes back all that somebody accepted of an owner.
    pub(crate) async fn revoke_all(&self, owner: &Owner, signature: Signature) -> Result<(), Refusal> {
        let (owner, actor, secrets) = (owner.clone(), signature.actor.clone(), self.clone());
        self.policy_change(&actor, move |change| {
            let mut signed = Vec::new();
            for version in aups::of_owner(change.tx, &owner)? {
                let newest = acceptances::newest(change.tx, &signature.issuer, &signature.subject, &version.id)?;
                if newest.is_some_and(|newest| newest.kind == Kind::Accept) {
                    signed.push(version);
                }
            }
            record(change, &secrets, Kind::Revoke, &signature, &signed).map(drop)
        })
        .await
    }

    /// Exempts an account of a program, or ends that.
    pub(crate) async fn exempt(&self, name: &str, reason: Option<&str>, by: &str) -> Result<(), Refusal> {
        let reason_given = reason.map(|text| super::groups::bounded("reason", text)).transpose()?;
        if reason_given.as_ref().is_some_and(String::is_empty) {
            return Err(Refusal::Invalid("reason: say whose program it is and who accepted for it".to_owned()));
        }
        if !self.directory().users.contains_key(name) {
            return Err(Refusal::NoSuch(format!("account {name}")));
        }
        let (name, who) = (name.to_owned(), by.to_owned());
        self.policy_change(by, move |change| {
            let one = Exemption {
                name: name.clone(),
                reason: reason_given.clone().unwrap_or_default(),
                by: who.clone(),
                since: change.now,
                ended: reason_given.is_none(),
            };
            aups::put_exemption(change.tx, &one, change.version)?;
            let action = if one.ended { "aup.exempt.end" } else { "aup.exempt" };
            change.note(action, &name, json!({"reason": one.reason}));
            Ok(())
        })
        .await
    }

    /// Everything that a person is asked to accept or has accepted.
    pub(crate) fn requirements(&self, issuer: &str, subject: &str) -> Vec<Requirement> {
        let communities_too = issuer == self.issuer();
        self.0.policy.state().requirements(issuer, subject, communities_too, Timestamp::now())
    }

    /// Whether something must be accepted before anything new begins for this person. No store read.
    pub(crate) fn must_accept(&self, issuer: &str, subject: &str) -> bool {
        let communities_too = issuer == self.issuer();
        self.0.policy.state().must_accept(issuer, subject, communities_too, Timestamp::now())
    }
}

fn record(
    change: &mut Change<'_, '_>,
    identity: &Identity,
    kind: Kind,
    signature: &Signature,
    versions: &[AupVersion],
) -> Result<Vec<Record>, Refusal> {
    let (mut seq, mut before) = acceptances::last(change.tx)?;
    let subject_digest = identity.0.vault.hash_secret(&format!("subject {} {}", signature.issuer, signature.subject));
    let agent = Sha256::digest(signature.user_agent.as_bytes());
    let mut made = Vec::with_capacity(versions.len());
    for version in versions {
        seq += 1;
        let mut one = Record {
            seq,
            id: new_id().to_string(),
            kind,
            issuer: signature.issuer.clone(),
            subject: signature.subject.clone(),
            owner: version.owner.to_string(),
            aup_id: version.id.clone(),
            aup_seq: version.seq,
            text_sha256: version.text_sha256.clone(),
            at: change.now,
            method: signature.method,
            actor: signature.actor.clone(),
            agent_hash: if signature.user_agent.is_empty() { String::new() } else { hex::encode(&agent[..8]) },
            locale: signature.locale.chars().take(35).collect(),
            subject_digest: subject_digest.clone(),
            evidence: Vec::new(),
        };
        one.evidence = one.bound_to(&before);
        before.clone_from(&one.evidence);
        let detail = json!({
            "issuer": one.issuer, "subject": one.subject, "version": version.version, "id": one.aup_id, "method": one.method,
        });
        change.note(&format!("aup.{}", kind.name()), &one.owner, detail);
        made.push(one);
    }
    acceptances::append(change.tx, &made, change.version)?;
    Ok(made)
}
