//! Asking an issuer about a token: introspection of tokens that say nothing themselves (RFC 7662), and userinfo where groups
//! stand only there (OpenID Connect Core, section 5.3). Answers are remembered within bounds; few questions are asked at once.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use dte_base::secret::Secret;
use dte_base::time::Timestamp;
use dte_http::{Client, ClientError, Reply};
use lru::LruCache;
use parking_lot::Mutex;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::config::IntrospectionConfig;
use crate::model::memberships::Memberships;
use crate::model::reject::Reject;
use crate::model::token::{Claim, Claims};
use crate::trust::{Issuer, check_url};
use crate::verify::LONGEST_MEMORY;

/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Questions to one issuer at the same time; strangers with made-up tokens must not make us a burden to it.
const AT_ONCE: usize = 16;
/// After a question that got no answer, none is asked for this long.
const PAUSE: Duration = Duration::from_secs(5);
const LARGEST_ANSWER: usize = 256 * 1024;
/// While userinfo does not answer, what it said last is used for this long, and never after the token's end.
const GROUPS_USABLE: Duration = Duration::from_secs(300);
/// Userinfo answers that are remembered for one issuer.
const REMEMBERED: NonZeroUsize = match NonZeroUsize::new(4_096) {
    Some(size) => size,
    None => NonZeroUsize::MIN,
};

/// How we introduce ourselves to the introspection endpoint.
pub(crate) struct Introspection {
    endpoint: Option<String>,
    /// `client_secret_basic`.
    authorization: Secret,
}

impl Introspection {
    /// Reads the client's secret.
    pub(crate) fn open(config: &IntrospectionConfig) -> Result<Self, String> {
        if let Some(endpoint) = &config.endpoint {
            check_url(endpoint).map_err(|what| format!("introspection endpoint: {what}"))?;
        }
        let path = &config.client_secret_file;
        let secret = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let secret = secret.trim();
        if secret.is_empty() {
            return Err(format!("{} holds no secret", path.display()));
        }
        // RFC 6749 section 2.3.1: both parts are form-encoded before they are joined.
        let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let pair = format!("{}:{}", encoded(&config.client_id), encoded(secret));
        let authorization = Secret::new(format!("Basic {}", STANDARD.encode(pair)));
        Ok(Introspection { endpoint: config.endpoint.clone(), authorization })
    }
}

/// What we ask one issuer, and what it said.
pub(crate) struct Asking {
    introspection: Option<Introspection>,
    pub(crate) userinfo: bool,
    turns: Semaphore,
    /// When a question last got no answer.
    silent: Mutex<Option<Instant>>,
    memberships: Mutex<LruCache<[u8; 32], Told>>,
    /// Groups are asked for again after this long.
    pub(crate) fresh: Duration,
}

#[derive(Clone)]
struct Told {
    at: Instant,
    memberships: Arc<Memberships>,
}

impl Asking {
    pub(crate) fn new(introspection: Option<Introspection>, userinfo: bool) -> Self {
        Asking {
            introspection,
            userinfo,
            turns: Semaphore::new(AT_ONCE),
            silent: Mutex::new(None),
            memberships: Mutex::new(LruCache::new(REMEMBERED)),
            fresh: LONGEST_MEMORY,
        }
    }

    pub(crate) fn introspects(&self) -> bool {
        self.introspection.is_some()
    }

    /// A place among those who ask; none while the issuer is silent or too many ask already.
    async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        if self.silent.lock().is_some_and(|since| since.elapsed() < PAUSE) {
            return None;
        }
        tokio::time::timeout(PATIENCE, self.turns.acquire()).await.ok()?.ok()
    }

    fn answered<T>(&self, issuer: &str, outcome: Result<T, ClientError>) -> Option<T> {
        match outcome {
            Ok(value) => Some(value),
            Err(error) => {
                tracing::warn!(issuer, %error, "an issuer did not answer about a token");
                // Not after a refusal: one odd token must not keep the others from being asked about.
                if error.is_transient() {
                    *self.silent.lock() = Some(Instant::now());
                }
                None
            }
        }
    }
}

impl Issuer {
    /// What the issuer says about an opaque token. The claims that come back are checked like a token's own.
    pub(crate) async fn introspect(&self, client: &Client, token: &str) -> Result<Claims, Reject> {
        let asking = &self.asking;
        let ours = asking.introspection.as_ref().ok_or(Reject::Opaque)?;
        let endpoint = match &ours.endpoint {
            Some(endpoint) => endpoint.clone(),
            None => {
                let metadata = self.metadata(client).await.ok_or(Reject::IntrospectionUnavailable)?;
                metadata.introspection.clone().ok_or(Reject::IntrospectionUnavailable)?
            }
        };
        let _turn = asking.turn().await.ok_or(Reject::IntrospectionUnavailable)?;
        let form = [("token", token), ("token_type_hint", "access_token")];
        let request = client.post(&endpoint).header("authorization", ours.authorization.expose());
        let request = request.header("accept", "application/json").form(&form).timeout(PATIENCE);
        let outcome = async { whole(request.send().await?.ok().await?).await };
        let answer = asking.answered(&self.policy.issuer, outcome.await).ok_or(Reject::IntrospectionUnavailable)?;
        let answer = Claims::read(answer.into())?;
        if !matches!(answer.get("active"), Some(Claim::Other(Value::Bool(true)))) {
            return Err(Reject::Inactive);
        }
        match answer.text("iss")? {
            Some(issuer) if !self.is(issuer) => Err(Reject::Issuer),
            _ => Ok(answer),
        }
    }

    /// The groups that only the issuer's userinfo tells, and how old the answer is.
    pub(crate) async fn memberships(
        &self,
        client: &Client,
        token: &str,
        digest: &[u8; 32],
        subject: &str,
        expires: Timestamp,
    ) -> Result<(Arc<Memberships>, Instant), Reject> {
        let known = self.asking.memberships.lock().get(digest).cloned();
        if let Some(known) = known.as_ref().filter(|known| known.at.elapsed() < self.asking.fresh) {
            return Ok((Arc::clone(&known.memberships), known.at));
        }
        match self.ask_userinfo(client, token, subject).await {
            Ok(memberships) => {
                let told = Told { at: Instant::now(), memberships: Arc::new(memberships) };
                self.asking.memberships.lock().put(*digest, told.clone());
                Ok((told.memberships, told.at))
            }
            // The issuer is silent: a little longer with what it said. (The end of the token was checked before.)
            Err(Reject::UserinfoUnavailable) => match known {
                Some(known) if known.at.elapsed() < GROUPS_USABLE && Timestamp::now() < expires => {
                    Ok((known.memberships, known.at))
                }
                _ => Err(Reject::UserinfoUnavailable),
            },
            Err(refused) => {
                self.asking.memberships.lock().pop(digest);
                Err(refused)
            }
        }
    }

    async fn ask_userinfo(&self, client: &Client, token: &str, subject: &str) -> Result<Memberships, Reject> {
        let unavailable = Reject::UserinfoUnavailable;
        let metadata = self.metadata(client).await.ok_or(unavailable.clone())?;
        let endpoint = metadata.userinfo.clone().ok_or(unavailable.clone())?;
        let _turn = self.asking.turn().await.ok_or(unavailable.clone())?;
        let request = client.get(&endpoint).bearer(token).header("accept", "application/json").timeout(PATIENCE);
        let outcome = async {
            let reply = request.send().await?;
            match reply.status.as_u16() {
                // It knows the token, and says that it is not good (any more).
                401 | 403 => Ok(None),
                _ => whole(reply.ok().await?).await.map(Some),
            }
        };
        let claims = match self.asking.answered(&self.policy.issuer, outcome.await) {
            Some(Some(text)) => Claims::read(text.into())?,
            Some(None) => return Err(Reject::Inactive),
            None => return Err(unavailable),
        };
        // OpenID Connect Core 5.3.2: an answer about somebody else must not be used.
        if claims.text("sub")? != Some(subject) {
            return Err(Reject::Subject);
        }
        Memberships::read(&claims, &self.policy)
    }
}

async fn whole(reply: Reply) -> Result<Bytes, ClientError> {
    let slow = |_| ClientError::Timeout { host: "the issuer".to_owned(), limit: PATIENCE };
    tokio::time::timeout(PATIENCE, reply.bytes(LARGEST_ANSWER)).await.map_err(slow)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_secret() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("secret");
        std::fs::write(&path, "s:e cret\n").expect("written");
        let config = |endpoint: Option<&str>| IntrospectionConfig {
            endpoint: endpoint.map(str::to_owned),
            client_id: "us:1".to_owned(),
            client_secret_file: path.clone(),
        };
        let opened = Introspection::open(&config(None)).expect("opened");
        let text = STANDARD.decode(opened.authorization.expose().trim_start_matches("Basic ")).expect("base64");
        assert_eq!(text, b"us%3A1:s%3Ae%20cret");
        assert!(Introspection::open(&config(Some("http://issuer.example/introspect"))).is_err());
        std::fs::write(&path, "\n").expect("written");
        assert!(Introspection::open(&config(None)).is_err());
    }
}
