//! From the text of a token to a principal: the order of the table, with the I/O between the pure parts.

use std::num::NonZeroUsize;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use dte_base::time::Timestamp;
use lru::LruCache;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use crate::Identity;
use crate::directory::Suspect;
use crate::model::decide::{Accepted, Policy, decide};
use crate::model::principal::{Identified, Principal, Standing};
use crate::model::reject::Reject;
use crate::model::scope::Scopes;
use crate::model::token::{self, Claims};
use crate::trust;

/// Tokens that are remembered as good.
const REMEMBERED: NonZeroUsize = match NonZeroUsize::new(16_384) {
    Some(size) => size,
    None => NonZeroUsize::MIN,
};
/// A decision is made afresh after this long, whatever the token's lifetime: groups, grants and keys change.
const LONGEST_MEMORY: Duration = Duration::from_secs(60);

/// Good tokens by their SHA-256, so that no token is kept.
pub(crate) struct VerifiedTokens(Mutex<LruCache<[u8; 32], Verified>>);

struct Verified {
    principal: Principal,
    since: Instant,
    generation: u64,
}

impl Default for VerifiedTokens {
    fn default() -> Self {
        VerifiedTokens(Mutex::new(LruCache::new(REMEMBERED)))
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
        let digest: [u8; 32] = Sha256::digest(text).into();
        let now = Timestamp::now();
        {
            let mut verified = self.0.verified.0.lock();
            match verified.get(&digest) {
                Some(known)
                    if known.generation == generation
                        && now.as_seconds() < known.principal.expires.as_seconds()
                        && known.since.elapsed() < LONGEST_MEMORY =>
                {
                    return Ok(known.principal.clone());
                }
                Some(_) => {
                    verified.pop(&digest);
                }
                None => {}
            }
        }
        let principal = self.verify_afresh(text, now).await.inspect_err(|reject| {
            tracing::info!(reason = reject.id(), "a token was refused");
        })?;
        let entry = Verified { principal: principal.clone(), since: Instant::now(), generation };
        self.0.verified.0.lock().put(digest, entry);
        Ok(principal)
    }

    async fn verify_afresh(&self, text: &str, now: Timestamp) -> Result<Principal, Reject> {
        let token = token::parse(text)?;
        let issuer = token.claims.text("iss")?.ok_or(Reject::Missing("iss"))?;
        if issuer == self.0.issuer {
            let keys = self.0.keys.read().clone();
            let key = keys.public(&token.key_id).ok_or(Reject::KeyUnknown)?;
            key.verify(token.algorithm, token.message, token.signature)?;
            let accepted = decide(&token.claims, &self.0.own_policy, now)?;
            return self.of_ours(&token.claims, accepted);
        }
        let issuer = self.0.trusted.iter().find(|known| known.is(issuer)).ok_or(Reject::Issuer)?;
        let key = issuer.key(&self.0.client, &token.key_id).await?;
        key.verify(token.algorithm, token.message, token.signature)?;
        let accepted = decide(&token.claims, &issuer.policy, now)?;
        let granted = issuer.granted(&accepted.groups);
        self.guest(&issuer.policy, accepted, granted)
    }

    /// A token that we made.
    fn of_ours(&self, claims: &Claims, accepted: Accepted) -> Result<Principal, Reject> {
        let about = trust::subject_issuer(claims, &self.0.issuer, accepted.acting.is_some())?;
        if about != self.0.issuer {
            // A service acts for somebody whom a foreign issuer knows; that issuer must still be trusted.
            let issuer = self.0.trusted.iter().find(|known| known.is(&about)).ok_or(Reject::Issuer)?;
            return self.guest(&issuer.policy, accepted, Scopes::default());
        }
        let directory = self.directory();
        let standing = if let Some(user) = directory.users.get(&accepted.subject) {
            if !user.active {
                return Err(Reject::Account);
            }
            Standing::User { admin: user.admin }
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
            accepted.groups.retain(|group| groups.iter().any(|now| now.vo == group.vo && now.path == group.path));
        }
        self.welcome(about, None, accepted, standing, name, Scopes::default())
    }

    fn guest(&self, policy: &Policy, accepted: Accepted, granted: Scopes) -> Result<Principal, Reject> {
        let name = trust::guest_name(&policy.issuer, &accepted.subject);
        self.welcome(policy.issuer.clone(), policy.vo.clone(), accepted, Standing::Guest, name, granted)
    }

    /// Check 13, and the principal.
    fn welcome(
        &self,
        issuer: String,
        vo: Option<String>,
        accepted: Accepted,
        standing: Standing,
        name: String,
        granted: Scopes,
    ) -> Result<Principal, Reject> {
        let who = Suspect {
            issuer: &issuer,
            subject: &accepted.subject,
            client_id: accepted.client_id.as_deref(),
            vo: vo.as_deref(),
            token_id: accepted.token_id.as_deref(),
        };
        if self.directory().is_banned(&who) {
            return Err(Reject::Banned);
        }
        Ok(Principal::new(Identified {
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
            standing,
            name,
        }))
    }
}
