//! Terms of use of the infrastructure, of communities and of providers: versions are drafted, published once and retired.

use dte_base::id::new_id;
use dte_base::time::Timestamp;
use serde_json::json;

use super::agreements::no_version;
use super::change::{Change, Refusal};
use super::model::aup::{AupVersion, ChangeClass, Document, Owner, Semver, Status, Terms, current};
use super::store::aups;
use crate::Identity;

/// The most drafts and versions of one owner.
const MOST_VERSIONS: usize = 1_000;

/// What a new version shall be.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) version: Option<Semver>,
    pub(crate) change_class: ChangeClass,
    pub(crate) document: Document,
    pub(crate) terms: Terms,
    pub(crate) effective_from: Option<Timestamp>,
}

fn checked(document: &Document, terms: &Terms) -> Result<(), Refusal> {
    let faults: Vec<String> = document.faults().into_iter().chain(terms.faults()).collect();
    if faults.is_empty() { Ok(()) } else { Err(Refusal::Invalid(faults.join("; "))) }
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
