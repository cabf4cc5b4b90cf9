//! Terms of use and who accepted them: versions are drafted, published and retired; acceptances are only ever added, each
//! bound by a hash to the one before; what stands between a person and a token is answered from memory.

use dte_base::id::new_id;
use dte_base::time::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::change::{Change, Refusal};
use super::model::aup::{AupVersion, ChangeClass, Document, Need, Owner, Semver, Status, Terms, current};
use super::store::{acceptances, aups};
use crate::Identity;
use crate::model::principal::{Principal, Standing};

/// The most drafts and versions of one owner.
const MOST_VERSIONS: usize = 1_000;
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

/// What a new version shall be.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) version: Option<Semver>,
    pub(crate) change_class: ChangeClass,
    pub(crate) document: Document,
    pub(crate) terms: Terms,
    pub(crate) effective_from: Option<Timestamp>,
}

/// What a person must accept, has time to accept, or has accepted.
#[derive(Clone, Debug)]
pub(crate) struct Requirement {
    /// The version that is shown.
    pub(crate) version: AupVersion,
    pub(crate) need: Need,
}

fn no_version(id: &str) -> Refusal {
    Refusal::NoSuch(format!("version {id} of an AUP"))
}

fn checked(document: &Document, terms: &Terms) -> Result<(), Refusal> {
    let faults: Vec<String> = document.faults().into_iter().chain(terms.faults()).collect();
    if faults.is_empty() { Ok(()) } else { Err(Refusal::Invalid(faults.join("; "))) }
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
    /// Drafts a version.
    pub(crate) async fn draft_aup(&self, owner: &Owner, draft: Draft, by: &str) -> Result<AupVersion, Refusal> {
        checked(&draft.document, &draft.terms)?;
        let owner = owner.clone();
        self.policy_change(by, move |change| insert_draft(change, &owner, &draft)).await
    }

    /// Changes a draft. A version that was published is never changed: there is a new one.
    pub(crate) async fn redraft_aup(&self, id: &str, draft: Draft, by: &str) -> Result<AupVersion, Refusal> {
        checked(&draft.document, &draft.terms)?;
        let id = id.to_owned();
        self.policy_change(by, move |change| {
            let mut found = aups::by_id(change.tx, &id)?.ok_or_else(|| no_version(&id))?;
            if found.status != Status::Draft {
                return Err(Refusal::Conflict(format!(
                    "{} {} is {}: its text stays as it is; draft a new version",
                    found.owner,
                    found.version,
                    found.status.name()
                )));
            }
            found.change_class = draft.change_class;
            found.text_sha256 = draft.document.digest();
            found.document = draft.document.clone();
            found.terms = draft.terms.clone();
            found.effective_from = draft.effective_from.unwrap_or(found.effective_from);
            aups::put(change.tx, &found, change.version)?;
            change.note("aup.redraft", &found.owner.to_string(), json!({"id": id, "text_sha256": found.text_sha256}));
            Ok(found)
        })
        .await
    }

    /// Publishes a draft. `digest`: of the text that was reviewed; another text is refused.
    pub(crate) async fn publish_aup(&self, id: &str, digest: Option<&str>, by: &str) -> Result<AupVersion, Refusal> {
        let (id, digest) = (id.to_owned(), digest.map(str::to_owned));
        self.policy_change(by, move |change| {
            let found = aups::by_id(change.tx, &id)?.ok_or_else(|| no_version(&id))?;
            if digest.as_ref().is_some_and(|digest| *digest != found.text_sha256) {
                return Err(Refusal::Conflict(format!(
                    "the text is another one: its SHA-256 is {}",
                    found.text_sha256
                )));
            }
            publish(change, found)
        })
        .await
    }

    /// Takes a version out of force. What was accepted stays recorded.
    pub(crate) async fn retire_aup(&self, id: &str, by: &str) -> Result<AupVersion, Refusal> {
        let id = id.to_owned();
        self.policy_change(by, move |change| {
            let found = aups::by_id(change.tx, &id)?.ok_or_else(|| no_version(&id))?;
            retire(change, found)
        })
        .await
    }

    /// Takes all versions of an owner out of force. Says whether there was one.
    pub(crate) async fn retire_all_aups(&self, owner: &Owner, by: &str) -> Result<bool, Refusal> {
        let owner = owner.clone();
        self.policy_change(by, move |change| {
            let all = aups::of_owner(change.tx, &owner)?;
            let published: Vec<_> = all.into_iter().filter(|version| version.status == Status::Published).collect();
            let any = !published.is_empty();
            published.into_iter().try_for_each(|version| retire(change, version).map(drop))?;
            Ok(any)
        })
        .await
    }

    /// Drafts and publishes at once; with `only_first`, when there is none in force.
    pub(crate) async fn put_aup(
        &self,
        owner: &Owner,
        draft: Draft,
        only_first: bool,
        by: &str,
    ) -> Result<AupVersion, Refusal> {
        checked(&draft.document, &draft.terms)?;
        let owner = owner.clone();
        self.policy_change(by, move |change| {
            if only_first && current(&aups::of_owner(change.tx, &owner)?).is_some() {
                return Err(Refusal::Conflict(format!("there is an AUP of {owner} already")));
            }
            let made = insert_draft(change, &owner, &draft)?;
            publish(change, made)
        })
        .await
    }

    /// Asks everybody again, without a new text.
    pub(crate) async fn touch_aup(&self, owner: &Owner, by: &str) -> Result<Option<AupVersion>, Refusal> {
        let owner = owner.clone();
        self.policy_change(by, move |change| {
            let all = aups::of_owner(change.tx, &owner)?;
            let Some(mut found) = current(&all).cloned() else { return Ok(None) };
            found.touched = Some(change.now);
            aups::put(change.tx, &found, change.version)?;
            change.note("aup.touch", &owner.to_string(), json!({"id": found.id}));
            Ok(Some(found))
        })
        .await
    }

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

fn insert_draft(change: &mut Change<'_, '_>, owner: &Owner, draft: &Draft) -> Result<AupVersion, Refusal> {
    let all = aups::of_owner(change.tx, owner)?;
    if all.len() >= MOST_VERSIONS {
        return Err(Refusal::Conflict(format!("{owner} has {MOST_VERSIONS} versions already")));
    }
    let last = all.iter().map(|version| version.version).max();
    let version = draft.version.unwrap_or_else(|| Semver::following(last, draft.change_class));
    if last.is_some_and(|last| version <= last) {
        return Err(Refusal::Conflict(format!("the version must be greater than the last one of {owner}")));
    }
    let made = AupVersion {
        id: new_id().to_string(),
        owner: owner.clone(),
        seq: all.last().map_or(0, |version| version.seq) + 1,
        version,
        status: Status::Draft,
        change_class: draft.change_class,
        text_sha256: draft.document.digest(),
        document: draft.document.clone(),
        effective_from: draft.effective_from.unwrap_or(change.now),
        terms: draft.terms.clone(),
        created: change.now,
        published_at: None,
        retired_at: None,
        touched: None,
    };
    aups::put(change.tx, &made, change.version)?;
    let detail = json!({"id": made.id, "version": version, "text_sha256": made.text_sha256});
    change.note("aup.draft", &owner.to_string(), detail);
    Ok(made)
}

fn become_status(version: &AupVersion, next: Status) -> Result<(), Refusal> {
    if version.status.may_become(next) {
        return Ok(());
    }
    let all = [Status::Draft, Status::Published, Status::Retired];
    let allowed = all.into_iter().filter(|status| version.status.may_become(*status));
    Err(Refusal::Illegal {
        what: format!("{} {} is {}", version.owner, version.version, version.status.name()),
        allowed: allowed.map(|status| status.name().to_owned()).collect(),
    })
}

fn publish(change: &mut Change<'_, '_>, mut version: AupVersion) -> Result<AupVersion, Refusal> {
    become_status(&version, Status::Published)?;
    checked(&version.document, &version.terms)?;
    if version.document.digest() != version.text_sha256 {
        return Err(Refusal::Conflict("the stored text is not the one that was drafted".to_owned()));
    }
    version.status = Status::Published;
    version.published_at = Some(change.now);
    version.effective_from = version.effective_from.max(change.now);
    aups::put(change.tx, &version, change.version)?;
    let detail = json!({
        "id": version.id, "version": version.version, "class": version.change_class, "text_sha256": version.text_sha256,
        "effective_from": version.effective_from,
    });
    change.note("aup.publish", &version.owner.to_string(), detail);
    Ok(version)
}

fn retire(change: &mut Change<'_, '_>, mut version: AupVersion) -> Result<AupVersion, Refusal> {
    become_status(&version, Status::Retired)?;
    version.status = Status::Retired;
    version.retired_at = Some(change.now);
    aups::put(change.tx, &version, change.version)?;
    change.note("aup.retire", &version.owner.to_string(), json!({"id": version.id, "version": version.version}));
    Ok(version)
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
        let detail =
            json!({"subject": one.subject, "version": version.version, "id": one.aup_id, "method": one.method});
        change.note(&format!("aup.{}", kind.name()), &one.owner, detail);
        made.push(one);
    }
    acceptances::append(change.tx, &made, change.version)?;
    Ok(made)
}
