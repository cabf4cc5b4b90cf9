//! Tokens that we give out: to people, to clients, and to services that act for somebody.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use dte_base::id::new_id;
use dte_base::secret::Secret;
use dte_base::time::Timestamp;
use lru::LruCache;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use subtle::ConstantTimeEq;

use crate::Identity;
use crate::audit::Entry;
use crate::directory::Suspect;
use crate::model::principal::UserRef;
use crate::model::scope::{ADMIN_SCOPE, Scopes};
use crate::trust::ACTING_FOR_ISSUER;

/// How long a token lives when nobody says otherwise.
pub const USUAL_LIFETIME: Duration = Duration::from_secs(3_600);
/// No token lives longer.
pub const LONGEST_LIFETIME: Duration = Duration::from_secs(7 * 86_400);
/// How long a service may act with one token.
const ACTING_LIFETIME: Duration = Duration::from_secs(600);
/// An acting token that lives shorter than this is not handed out again.
const ACTING_MARGIN: Duration = Duration::from_secs(180);
const ACTING_REMEMBERED: NonZeroUsize = match NonZeroUsize::new(4_096) {
    Some(size) => size,
    None => NonZeroUsize::MIN,
};
/// The scope of tokens that carry all rights of their subject.
const ALL_RIGHTS: &str = "wlcg";
/// The version of the WLCG profile that our tokens follow.
const PROFILE_VERSION: &str = "1.0";

/// Why something about accounts or tokens cannot be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there is no active account {0}")]
    NoAccount(String),
    #[error("there is an account or client {0} already")]
    Taken(String),
    #[error("{0:?} cannot be a name: lower-case letters, digits, `.`, `_`, `-`, at most 64")]
    Name(String),
    #[error("{0} is suspended")]
    Banned(String),
    #[error("{0}")]
    Scope(String),
    #[error("a token lives at most {}", dte_base::units::Span(LONGEST_LIFETIME))]
    Lifetime,
    #[error("the client or its secret is not known")]
    Client,
    #[error("the client may not ask for the audience {0}")]
    Audience(String),
    #[error("too many failures; try again in {}", dte_base::units::Span(*.0))]
    TooManyFailures(Duration),
    #[error("a ban must name somebody")]
    BanOfAll,
    #[error("{0:?} is not a group such as /vo/group, /vo/Role=chief or urn:mace:egi.eu:group:vo.example.eu#aai.egi.eu")]
    Group(String),
    #[error("there is no client {0}")]
    NoClient(String),
    #[error("there is no signing key {0} in use")]
    NoKey(String),
    #[error("there is no exchange policy {0}")]
    NoPolicy(String),
    #[error("there is no ban {0} in force")]
    NoBan(String),
    #[error("{0}")]
    NotErased(String),
    #[error("this is the last administrator who can work: make another one first (`dte user add NAME --admin`)")]
    LastAdministrator,
    #[error("this is the only way into the account")]
    LastWayIn,
    #[error("{0} is no issuer that is trusted here")]
    UnknownIssuer(String),
    #[error("the token cannot be signed: {0}")]
    Signing(String),
    #[error(transparent)]
    Store(#[from] dte_store::Error),
}

/// What goes into a token.
#[derive(Debug, Default)]
pub(crate) struct Draft<'a> {
    pub(crate) subject: &'a str,
    pub(crate) client_id: &'a str,
    pub(crate) scope: &'a str,
    pub(crate) audience: &'a [&'a str],
    pub(crate) lifetime: Duration,
    /// Who acts for the subject (RFC 8693 section 4.1).
    pub(crate) act: Option<Value>,
    /// The issuer of the subject when that is not us.
    pub(crate) elsewhere: Option<&'a str>,
    pub(crate) groups: &'a [String],
    /// The grant that the token comes from; its `jti` begins with it.
    pub(crate) grant: Option<&'a str>,
}

/// A token of the client-credentials grant.
#[derive(Clone, Debug)]
pub struct ClientToken {
    pub token: Secret,
    pub scope: String,
    pub lifetime: Duration,
}

impl Identity {
    /// A token for a local account. No scopes: all rights of the account. `audience`: us, unless said otherwise.
    pub fn issue_token(
        &self,
        user: &str,
        scopes: &[&str],
        audience: Option<&str>,
        lifetime: Duration,
        by: &str,
    ) -> Result<Secret, Error> {
        if lifetime > LONGEST_LIFETIME || lifetime < Duration::from_secs(1) {
            return Err(Error::Lifetime);
        }
        self.check_scopes(scopes)?;
        let directory = self.directory();
        let account = directory.users.get(user).filter(|account| account.active);
        let account = account.ok_or_else(|| Error::NoAccount(user.to_owned()))?;
        let who = Suspect { issuer: &self.0.issuer, subject: user, client_id: None, vo: None, token_id: None };
        if self.is_banned(&directory, &who, &[]) {
            return Err(Error::Banned(user.to_owned()));
        }
        if scopes.contains(&ADMIN_SCOPE) && !account.admin {
            return Err(Error::Scope(format!("{user} is no administrator")));
        }
        let scope = if scopes.is_empty() { ALL_RIGHTS.to_owned() } else { scopes.join(" ") };
        let audience = audience.unwrap_or(&self.0.audience);
        let draft = Draft {
            subject: user,
            client_id: "dte",
            scope: &scope,
            audience: &[audience],
            lifetime,
            ..Draft::default()
        };
        let (token, token_id) = self.sign(&draft)?;
        let detail = json!({"token_id": token_id, "scope": scope, "audience": audience, "seconds": lifetime.as_secs()});
        self.audit().note(Entry::change(by, "token.issue", user, detail));
        Ok(token)
    }

    /// A token with which `service` acts for `user` in the background: short-lived and remembered, so asking for it before
    /// each call is right. Whether the user is still welcome is checked here and again at each use. No scopes: all rights
    /// of the user; `dte.admin` is dropped when the user is no administrator.
    pub fn acting_token(
        &self,
        user: &UserRef,
        service: &str,
        scopes: &[&str],
        audience: Option<&str>,
    ) -> Result<Secret, Error> {
        self.check_scopes(scopes)?;
        let generation = self.0.generation.load(Ordering::Acquire);
        if !self.is_welcome(user) {
            return Err(Error::Banned(user.name.clone()));
        }
        let is_ours = user.issuer == self.0.issuer;
        let is_admin = is_ours && self.directory().users.get(&user.subject).is_some_and(|account| account.admin);
        let kept: Vec<&str> = scopes.iter().copied().filter(|scope| *scope != ADMIN_SCOPE || is_admin).collect();
        let scope = match (kept.is_empty(), scopes.is_empty()) {
            (true, true) => ALL_RIGHTS.to_owned(),
            // All that was asked for was dropped: that must not turn into all rights.
            (true, false) => "dte.nothing".to_owned(),
            _ => kept.join(" "),
        };
        let audience = audience.unwrap_or(&self.0.audience);
        let key = (user.clone(), service.to_owned(), scope.clone(), audience.to_owned());
        if let Some(token) = self.0.acting.recall(&key, generation) {
            return Ok(token);
        }
        let elsewhere = (!is_ours).then_some(user.issuer.as_str());
        let draft = Draft {
            subject: &user.subject,
            client_id: service,
            scope: &scope,
            audience: &[audience],
            lifetime: ACTING_LIFETIME,
            act: Some(json!({"sub": service})),
            elsewhere,
            ..Draft::default()
        };
        let (token, _) = self.sign(&draft)?;
        self.0.acting.remember(key, token.clone(), generation);
        Ok(token)
    }

    /// The client-credentials grant (RFC 6749 section 4.4).
    pub fn client_token(
        &self,
        client_id: &str,
        secret: &str,
        scope: Option<&str>,
        audience: Option<&str>,
    ) -> Result<ClientToken, Error> {
        let audiences: Vec<String> =
            audience.filter(|audience| !audience.is_empty()).map(str::to_owned).into_iter().collect();
        self.client_token_for(client_id, secret, scope, &audiences)
    }

    /// The same for several audiences; none: us.
    pub(crate) fn client_token_for(
        &self,
        client_id: &str,
        secret: &str,
        scope: Option<&str>,
        audiences: &[String],
    ) -> Result<ClientToken, Error> {
        let directory = self.directory();
        let hash = self.0.vault.hash_secret(secret);
        // Where there is no client there is nothing to guess: perhaps another process made it a moment ago.
        let client = directory.clients.get(client_id).ok_or(Error::Client)?;
        if !bool::from(client.secret_hash.ct_eq(&hash)) {
            // The right secret is always right: guessing slows down those who guess, and shuts nobody out.
            let wait = self.0.failures.check(client_id);
            self.0.failures.note(client_id);
            return Err(wait.err().unwrap_or(Error::Client));
        }
        if !client.active || directory.rules.is_suspended(client_id) {
            return Err(Error::Client);
        }
        self.client_token_of(client_id, scope, audiences)
    }

    /// The same for a client that has proved who it is.
    pub(crate) fn client_token_of(
        &self,
        client_id: &str,
        scope: Option<&str>,
        audiences: &[String],
    ) -> Result<ClientToken, Error> {
        let directory = self.directory();
        let client = directory.clients.get(client_id).filter(|client| client.active).ok_or(Error::Client)?;
        let who = Suspect {
            issuer: &self.0.issuer,
            subject: client_id,
            client_id: Some(client_id),
            vo: None,
            token_id: None,
        };
        if self.is_banned(&directory, &who, &[]) {
            return Err(Error::Banned(client_id.to_owned()));
        }
        let scope = match scope.map(str::trim).filter(|scope| !scope.is_empty()) {
            None => client.scopes.join(" "),
            Some(wanted) => {
                let unknown =
                    wanted.split_ascii_whitespace().find(|scope| !client.scopes.iter().any(|known| known == scope));
                if let Some(unknown) = unknown {
                    return Err(Error::Scope(format!("the client may not ask for {unknown}")));
                }
                wanted.to_owned()
            }
        };
        let may = |audience: &&String| **audience == self.0.audience || client.audiences.contains(audience);
        if let Some(other) = audiences.iter().find(|audience| !may(audience)) {
            return Err(Error::Audience(other.clone()));
        }
        let own = [self.0.audience.as_str()];
        let named: Vec<&str> = audiences.iter().map(String::as_str).collect();
        let lifetime = self.0.issuing.config.token_lifetime.0;
        let draft = Draft {
            subject: client_id,
            client_id,
            scope: &scope,
            audience: if named.is_empty() { &own } else { &named },
            lifetime,
            ..Draft::default()
        };
        let (token, token_id) = self.sign(&draft)?;
        self.audit().note(Entry::change(
            client_id,
            "token.issue",
            client_id,
            json!({"token_id": token_id, "scope": scope}),
        ));
        Ok(ClientToken { token, scope, lifetime })
    }

    fn check_scopes(&self, scopes: &[&str]) -> Result<(), Error> {
        if let Some(odd) = scopes.iter().find(|scope| scope.is_empty() || scope.contains(char::is_whitespace)) {
            return Err(Error::Scope(format!("{odd:?} is not one scope")));
        }
        Scopes::parse(&scopes.join(" "), &self.0.own_policy.base).map(drop).map_err(|bad| Error::Scope(bad.to_string()))
    }

    pub(crate) fn sign(&self, draft: &Draft<'_>) -> Result<(Secret, String), Error> {
        let now = Timestamp::now();
        let token_id = match draft.grant {
            Some(grant) => format!("{grant}.{}", hex::encode(rand::random::<[u8; 8]>())),
            None => new_id().to_string(),
        };
        let mut claims = Map::new();
        let mut put = |name: &str, value: Value| claims.insert(name.to_owned(), value);
        put("iss", self.0.issuer.as_str().into());
        put("sub", draft.subject.into());
        match draft.audience {
            [one] => put("aud", (*one).into()),
            several => put("aud", several.into()),
        };
        put("iat", now.as_seconds().into());
        put("nbf", now.as_seconds().into());
        put("exp", (now + draft.lifetime).as_seconds().into());
        put("jti", token_id.as_str().into());
        put("wlcg.ver", PROFILE_VERSION.into());
        put("scope", draft.scope.into());
        put("client_id", draft.client_id.into());
        if let Some(act) = &draft.act {
            put("act", act.clone());
        }
        if let Some(issuer) = draft.elsewhere {
            put(ACTING_FOR_ISSUER, issuer.into());
        }
        if !draft.groups.is_empty() {
            put("wlcg.groups", draft.groups.into());
        }
        let keys = self.0.keys.read().clone();
        let key = keys.signing().ok_or_else(|| Error::Signing("there is no signing key".to_owned()))?;
        let text = key.sign(&claims).map_err(|error| Error::Signing(error.to_string()))?;
        Ok((Secret::new(text), token_id))
    }
}

type ActingKey = (UserRef, String, String, String);

/// Acting tokens that live long enough to be handed out again.
pub(crate) struct ActingTokens(Mutex<LruCache<ActingKey, (Secret, Instant, u64)>>);

impl Default for ActingTokens {
    fn default() -> Self {
        ActingTokens(Mutex::new(LruCache::new(ACTING_REMEMBERED)))
    }
}

impl ActingTokens {
    fn recall(&self, key: &ActingKey, generation: u64) -> Option<Secret> {
        let mut known = self.0.lock();
        let (token, made, under) = known.get(key)?;
        (*under == generation && made.elapsed() + ACTING_MARGIN < ACTING_LIFETIME).then(|| token.clone())
    }

    fn remember(&self, key: ActingKey, token: Secret, generation: u64) {
        self.0.lock().put(key, (token, Instant::now(), generation));
    }
}

/// Slows down those who try secrets: after [`FailureLimit::MOST`] failures in a minute a client must wait.
#[derive(Default)]
pub(crate) struct FailureLimit(Mutex<HashMap<String, (Instant, u32)>>);

impl FailureLimit {
    const MOST: u32 = 10;
    const WINDOW: Duration = Duration::from_secs(60);
    /// Names that are remembered at once.
    const NAMES: usize = 4_096;

    pub(crate) fn check(&self, name: &str) -> Result<(), Error> {
        match self.0.lock().get(short(name)) {
            Some((since, failures)) if *failures >= Self::MOST && since.elapsed() < Self::WINDOW => {
                Err(Error::TooManyFailures(Self::WINDOW.saturating_sub(since.elapsed())))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn note(&self, name: &str) {
        let mut known = self.0.lock();
        if known.len() >= Self::NAMES {
            known.retain(|_, (since, _)| since.elapsed() < Self::WINDOW);
        }
        if known.len() >= Self::NAMES {
            // Somebody tries names: forget them all rather than grow.
            known.clear();
        }
        let entry = known.entry(short(name).to_owned()).or_insert((Instant::now(), 0));
        if entry.0.elapsed() >= Self::WINDOW {
            *entry = (Instant::now(), 0);
        }
        entry.1 += 1;
    }
}

/// Names come from outside: only so much of them is kept.
fn short(name: &str) -> &str {
    name.char_indices().nth(64).map_or(name, |(end, _)| &name[..end])
}
