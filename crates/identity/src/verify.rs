//! From the text of a token to a principal: the order of the table, with the I/O between the pure parts.
//!
//! What a token says ([`Evidence`]) is found out once and remembered; whether its holder is welcome is looked at again
//! whenever accounts, bans or keys changed, and a token that was seen before costs one hash.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use dte_base::time::Timestamp;
use lru::LruCache;
use parking_lot::Mutex;
use ring::digest::{SHA256, digest};

use crate::Identity;
use crate::directory::Suspect;
use crate::issuer::model::scope::ALL_RIGHTS;
use crate::issuer::rules::grant_of;
use crate::model::decide::{Accepted, Policy, decide};
use crate::model::group::Group;
use crate::model::memberships::Memberships;
use crate::model::principal::{Identified, Principal, Standing};
use crate::model::reject::Reject;
use crate::model::scope::{ADMIN_SCOPE, Scopes};
use crate::model::token;
use crate::trust::{self, Issuer};

/// Tokens are remembered in so many parts, so that requests seldom wait for each other.
const SHARDS: usize = 16;
/// Good tokens that one part remembers.
const REMEMBERED: NonZeroUsize = at_least_one(1_024);
/// Bad tokens that one part remembers.
const REFUSED: NonZeroUsize = at_least_one(256);
/// What was found out about a token is believed for at most this long: groups, grants and keys of others change.
pub(crate) const LONGEST_MEMORY: Duration = Duration::from_secs(60);

const fn at_least_one(size: usize) -> NonZeroUsize {
    match NonZeroUsize::new(size) {
        Some(size) => size,
        None => NonZeroUsize::MIN,
    }
}

/// Tokens by their SHA-256, so that no token is kept.
pub(crate) struct VerifiedTokens {
    shards: [Mutex<Shard>; SHARDS],
    memory: Duration,
}

struct Shard {
    good: LruCache<[u8; 32], Verified>,
    bad: LruCache<[u8; 32], (Reject, Instant)>,
}

struct Verified {
    evidence: Arc<Evidence>,
    principal: Principal,
    generation: u64,
}

/// What a token says, its signature checked.
pub(crate) struct Evidence {
    accepted: Accepted,
    source: Source,
    /// When the oldest part of it was found out.
    since: Instant,
}

/// Who says it.
enum Source {
    /// We, under this key, about a subject of this issuer.
    Own { key_id: Arc<str>, about: String },
    /// The trusted issuer at this place of the list.
    Foreign(usize),
}

/// What is known about a token without looking into it.
enum Known {
    Good(Principal),
    /// Good when it was looked at, but accounts, bans or keys changed since.
    Once(Arc<Evidence>),
    Bad(Reject),
    Nothing,
}

impl VerifiedTokens {
    /// `memory`: how long what was found out is believed.
    pub(crate) fn new(memory: Duration) -> Self {
        let shard = || Mutex::new(Shard { good: LruCache::new(REMEMBERED), bad: LruCache::new(REFUSED) });
        VerifiedTokens { shards: std::array::from_fn(|_| shard()), memory: memory.min(LONGEST_MEMORY) }
    }

    fn shard(&self, digest: &[u8; 32]) -> &Mutex<Shard> {
        &self.shards[usize::from(digest[0]) % SHARDS]
    }

    /// Expiry, and whether anything changed since, are looked at every time.
    fn recall(&self, digest: &[u8; 32], generation: u64, now: Timestamp) -> Known {
        let mut shard = self.shard(digest).lock();
        if let Some(known) = shard.good.get(digest) {
            if now.as_seconds() >= known.principal.expires.as_seconds() {
                shard.good.pop(digest);
                return Known::Bad(Reject::Expired);
            }
            if known.evidence.since.elapsed() >= self.memory {
                shard.good.pop(digest);
                return Known::Nothing;
            }
            if known.generation == generation {
                return Known::Good(known.principal.clone());
            }
            return Known::Once(Arc::clone(&known.evidence));
        }
        match shard.bad.get(digest) {
            Some((reject, since)) if since.elapsed() < self.memory => Known::Bad(reject.clone()),
            _ => Known::Nothing,
        }
    }

    fn remember(&self, digest: [u8; 32], evidence: Arc<Evidence>, principal: &Principal, generation: u64) {
        let entry = Verified { evidence, principal: principal.clone(), generation };
        self.shard(&digest).lock().good.put(digest, entry);
    }

    fn forget(&self, digest: &[u8; 32]) {
        self.shard(digest).lock().good.pop(digest);
    }

    fn remember_refusal(&self, digest: [u8; 32], reject: &Reject) {
        self.shard(&digest).lock().bad.put(digest, (reject.clone(), Instant::now()));
    }
}

impl Identity {
    /// Verifies a token. Fails closed: whatever cannot be found out is a refusal.
    pub async fn verify(&self, text: &str) -> Result<Principal, Reject> {
        if text.len() > token::LONGEST {
            return Err(Reject::TooLong);
        }
        // Read before anything else: a change that comes in between makes what is remembered here void.
        let generation = self.0.generation.load(Ordering::Acquire);
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
        let now = Timestamp::now();
        let tokens = &self.0.verified;
        let evidence = match tokens.recall(&hash, generation, now) {
            Known::Good(principal) => {
                let is_ours = principal.issuer == self.0.issuer;
                if is_ours && self.is_taken_back(principal.token_id.as_deref(), principal.client_id.as_deref()) {
                    tokens.forget(&hash);
                    return Err(Reject::Revoked);
                }
                return Ok(principal);
            }
            Known::Bad(reject) => return Err(reject),
            Known::Once(evidence) => evidence,
            Known::Nothing => match self.examine(text, &hash, now).await {
                Ok(evidence) => Arc::new(evidence),
                Err(reject) => {
                    tracing::info!(reason = reject.id(), "a token was refused");
                    if reject.lasts() {
                        tokens.remember_refusal(hash, &reject);
                    }
                    return Err(reject);
                }
            },
        };
        match self.judge(&evidence) {
            Ok(principal) => {
                tokens.remember(hash, evidence, &principal, generation);
                Ok(principal)
            }
            Err(reject) => {
                tracing::info!(reason = reject.id(), "a token was refused");
                tokens.forget(&hash);
                Err(reject)
            }
        }
    }

    /// Checks 1 to 12: what the token says, believed or refused.
    pub(crate) async fn examine(&self, text: &str, hash: &[u8; 32], now: Timestamp) -> Result<Evidence, Reject> {
        let since = Instant::now();
        let token = match token::parse(text) {
            Err(Reject::Opaque) => return self.examine_opaque(text, hash, now).await,
            parsed => parsed?,
        };
        // The configured issuer is looked up first: nothing that an unlisted one names is ever fetched.
        let issuer = token.claims.text("iss")?.ok_or(Reject::Missing("iss"))?;
        if issuer == self.0.issuer {
            let keys = self.0.keys.read().clone();
            let key = keys.public(&token.key_id).ok_or(Reject::KeyUnknown)?;
            key.verify(token.algorithm, token.message, token.signature)?;
            let accepted = decide(&token.claims, &self.0.own_policy, now)?;
            let about = trust::subject_issuer(&token.claims, &self.0.issuer, accepted.acting.is_some())?;
            return Ok(Evidence { accepted, source: Source::Own { key_id: token.key_id, about }, since });
        }
        let (place, issuer) = self.trusted(issuer).ok_or(Reject::Issuer)?;
        let key = issuer.key(&self.0.client, &token.key_id).await?;
        key.verify(token.algorithm, token.message, token.signature)?;
        let accepted = decide(&token.claims, &issuer.policy, now)?;
        self.complete(text, hash, issuer, Evidence { accepted, source: Source::Foreign(place), since }).await
    }

    /// A token that only its issuer can read: when exactly one issuer is there to be asked.
    async fn examine_opaque(&self, text: &str, hash: &[u8; 32], now: Timestamp) -> Result<Evidence, Reject> {
        let since = Instant::now();
        let found = self.0.trusted.iter().position(|issuer| issuer.asking.introspects());
        let place = found.filter(|_| token::is_opaque(text)).ok_or(Reject::Opaque)?;
        let issuer = &self.0.trusted[place];
        let claims = issuer.introspect(&self.0.client, text).await?;
        let accepted = decide(&claims, &issuer.policy, now)?;
        self.complete(text, hash, issuer, Evidence { accepted, source: Source::Foreign(place), since }).await
    }

    /// Adds the groups that stand in the issuer's userinfo only.
    async fn complete(
        &self,
        text: &str,
        hash: &[u8; 32],
        issuer: &Issuer,
        mut evidence: Evidence,
    ) -> Result<Evidence, Reject> {
        if !issuer.asking.userinfo {
            return Ok(evidence);
        }
        let accepted = &mut evidence.accepted;
        let (told, at) = issuer.memberships(&self.0.client, text, hash, &accepted.subject, accepted.expires).await?;
        let mut all = Memberships { groups: accepted.groups.to_vec(), capabilities: accepted.capabilities.to_vec() };
        all.join(&told);
        (accepted.groups, accepted.capabilities) = (all.groups.into(), all.capabilities.into());
        evidence.since = evidence.since.min(at);
        Ok(evidence)
    }

    fn trusted(&self, issuer: &str) -> Option<(usize, &Issuer)> {
        self.0.trusted.iter().enumerate().find(|(_, known)| known.is(issuer))
    }

    /// Check 13, on what is in force now: key, account, revocation, bans.
    pub(crate) fn judge(&self, evidence: &Evidence) -> Result<Principal, Reject> {
        let accepted = evidence.accepted.clone();
        match &evidence.source {
            Source::Own { key_id, about } => {
                // A key that was dropped takes its tokens with it.
                self.0.keys.read().public(key_id).ok_or(Reject::KeyUnknown)?;
                self.of_ours(about, accepted)
            }
            Source::Foreign(place) => {
                let issuer = self.0.trusted.get(*place).ok_or(Reject::Issuer)?;
                let granted = issuer.granted(&accepted);
                if let Some(account) = self.linked_account(&issuer.policy.issuer, &accepted.subject) {
                    return self.linked(&issuer.policy, &account, accepted, granted);
                }
                self.guest(&issuer.policy, accepted, granted)
            }
        }
    }

    /// The same for a token that nobody has to make; nothing when we could make none.
    pub(crate) fn judge_subject(&self, issuer: &str, accepted: Accepted) -> Option<Result<Principal, Reject>> {
        let source = if issuer == self.0.issuer {
            let key_id = self.0.keys.read().signing()?.kid.as_str().into();
            Source::Own { key_id, about: issuer.to_owned() }
        } else {
            match self.trusted(issuer) {
                Some((place, _)) => Source::Foreign(place),
                None => return Some(Err(Reject::Issuer)),
            }
        };
        Some(self.judge(&Evidence { accepted, source, since: Instant::now() }))
    }

    /// A token that we made.
    pub(crate) fn of_ours(&self, about: &str, accepted: Accepted) -> Result<Principal, Reject> {
        self.refuse_taken_back(&accepted)?;
        if about != self.0.issuer {
            // A service acts for somebody whom a foreign issuer knows; that issuer must still be trusted.
            let (_, issuer) = self.trusted(about).ok_or(Reject::Issuer)?;
            return self.guest(&issuer.policy, accepted, Scopes::default());
        }
        let directory = self.directory();
        let standing = if let Some(user) = directory.users.get(&accepted.subject) {
            if !user.active {
                return Err(Reject::Account);
            }
            if self.is_banned_through_link(&directory, &accepted.subject) {
                return Err(Reject::Banned);
            }
            let granted = accepted.token_id.as_deref().and_then(grant_of).is_some();
            if granted && !accepted.scopes.have_capabilities() && !accepted.scopes.contain_exactly(ALL_RIGHTS) {
                // A person let a program know who they are; that is not leave to act for them.
                Standing::Named
            } else {
                // A program administers only when it was told so in words.
                let admin = user.admin && (!granted || accepted.scopes.contain_exactly(ADMIN_SCOPE));
                Standing::User { admin }
            }
        } else if directory.clients.get(&accepted.subject).is_some_and(|client| client.active) {
            Standing::Client
        } else {
            return Err(Reject::Account);
        };
        let name = accepted.subject.clone();
        let mut accepted = accepted;
        if let Standing::User { .. } = standing {
            // Who has left a group since the token was made is not in it any more.
            let groups = self.groups_of(&name);
            let is_in = |group: &&Group| groups.iter().any(|now| now.vo == group.vo && now.path == group.path);
            accepted.groups = accepted.groups.iter().filter(is_in).cloned().collect();
        }
        self.welcome(about.to_owned(), None, accepted, standing, name, Scopes::default()).map(Principal::new)
    }

    /// Somebody whom a trusted issuer knows and who has an account here: the account, but never as an administrator. That
    /// takes a token of ours, which the operator's own issuer alone can make.
    fn linked(&self, policy: &Policy, account: &str, accepted: Accepted, granted: Scopes) -> Result<Principal, Reject> {
        let directory = self.directory();
        if !directory.users.get(account).is_some_and(|user| user.active) {
            return Err(Reject::Account);
        }
        let here = Suspect {
            issuer: &self.0.issuer,
            subject: account,
            client_id: accepted.client_id.as_deref(),
            vo: policy.vo.as_deref(),
            token_id: accepted.token_id.as_deref(),
        };
        let there = Suspect { issuer: &policy.issuer, subject: &accepted.subject, ..here };
        self.0.said_groups.note(trust::person(&policy.issuer, &accepted.subject), &accepted.groups);
        if self.is_banned(&directory, &there, &accepted.groups) || self.is_banned_through_link(&directory, account) {
            return Err(Reject::Banned);
        }
        let accepted = Accepted { subject: account.to_owned(), ..accepted };
        let standing = Standing::User { admin: false };
        let issuer = self.0.issuer.clone();
        let known = self.welcome(issuer, policy.vo.clone(), accepted, standing, account.to_owned(), granted)?;
        Ok(Principal::new(Identified { is_foreign: true, ..known }))
    }

    fn guest(&self, policy: &Policy, accepted: Accepted, granted: Scopes) -> Result<Principal, Reject> {
        let person = trust::person(&policy.issuer, &accepted.subject);
        let name = trust::guest_name(&person);
        self.0.said_groups.note(person, &accepted.groups);
        let issuer = policy.issuer.clone();
        let known = self.welcome(issuer, policy.vo.clone(), accepted, Standing::Guest, name, granted)?;
        Ok(Principal::new(Identified { is_foreign: true, ..known }))
    }

    /// Check 13, and who it is.
    pub(crate) fn welcome(
        &self,
        issuer: String,
        vo: Option<String>,
        accepted: Accepted,
        standing: Standing,
        name: String,
        granted: Scopes,
    ) -> Result<Identified, Reject> {
        let who = Suspect {
            issuer: &issuer,
            subject: &accepted.subject,
            client_id: accepted.client_id.as_deref(),
            vo: vo.as_deref(),
            token_id: accepted.token_id.as_deref(),
        };
        if self.is_banned(&self.directory(), &who, &accepted.groups) {
            return Err(Reject::Banned);
        }
        if self.directory().is_void(&who, accepted.issued) {
            return Err(Reject::Revoked);
        }
        Ok(Identified {
            issuer,
            subject: accepted.subject,
            client_id: accepted.client_id,
            acting: accepted.acting,
            scopes: accepted.scopes,
            granted,
            groups: accepted.groups,
            vo,
            token_id: accepted.token_id,
            expires: accepted.expires,
            issued: accepted.issued,
            is_foreign: false,
            standing,
            name,
        })
    }
}
