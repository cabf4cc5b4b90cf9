//! From a name and a password to a session.
//!
//! *Known browser*: where somebody has signed in, a cookie stays that names the account and is keyed so that only we can
//! make it. Failures from such a browser are counted apart from those of strangers, so that nobody keeps an owner out by
//! failing in their place. It proves nothing else.

use std::net::IpAddr;
use std::time::Duration;

use dte_base::secret::Secret;
use dte_base::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use subtle::ConstantTimeEq;

use super::AccountError;
use super::attempts::{PER_ACCOUNT, PER_ADDRESS, address_key};
use super::password::check_rules;
use super::store::{self, steps};
use crate::audit::{Denied, Entry};
use crate::directory::is_name;
use crate::issuer::programs;
use crate::model::principal::{Principal, Standing};
use crate::{Error, Identity};

/// Descriptions of browsers are cut after so many characters: they come from outside.
const LONGEST_AGENT: usize = 200;

/// Who came with a link may change how they come in for so long.
const FRESH_LINK: Duration = Duration::from_secs(900);

/// How somebody came in, as the sessions page shows it.
pub(crate) const BY_PASSWORD: &str = "password";

/// What is known of who is at the door.
#[derive(Clone, Debug, Default)]
pub(crate) struct Caller {
    pub(crate) address: Option<IpAddr>,
    pub(crate) agent: String,
    /// The cookie of a browser in which somebody has signed in before.
    pub(crate) known_browser: Option<String>,
    /// The session that was there before; the new one takes its place.
    pub(crate) session: Option<String>,
}

/// Somebody has shown a first proof and has a second factor.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct HalfWay {
    pub(crate) name: String,
    pub(crate) way: String,
    pub(crate) next: String,
}

/// What comes after a first proof.
pub(crate) enum Entered {
    Session(Secret),
    /// A code is to be asked for.
    NeedsCode,
}

impl Identity {
    /// Checks a name with its password, for protocols that have nothing better (HTTP Basic, Rucio's `userpass`). `from` is
    /// the address of who asks ([`dte_http::PeerAddress`]). Gives all that the account may; refuses accounts with a second
    /// factor.
    ///
    /// Failures slow down further tries for the account and for the address. It takes as long for names that do not exist.
    pub async fn check_password(
        &self,
        name: &str,
        password: &str,
        from: Option<IpAddr>,
    ) -> Result<Principal, AccountError> {
        let caller = Caller { address: from, ..Caller::default() };
        self.try_password(name, password, &caller).await?;
        if self.has_second_factor(name).await? {
            return Err(AccountError::SecondFactor);
        }
        let admin = self.directory().users.get(name).is_some_and(|user| user.admin);
        let expires = Timestamp::now() + crate::session::SESSION_IDLE;
        Ok(crate::session::principal(self.user_ref(name), admin, expires))
    }

    /// Whether the password is right and the account may come in.
    pub(crate) async fn try_password(&self, name: &str, password: &str, caller: &Caller) -> Result<(), AccountError> {
        let attempts = &self.0.accounts.attempts;
        let address = address_key(caller.address);
        let account = self.account_key(name, caller);
        attempts.take(&address, PER_ADDRESS).map_err(AccountError::Wait)?;
        attempts.take(&account, PER_ACCOUNT).map_err(AccountError::Wait)?;
        let stored = if is_name(name) {
            let wanted = name.to_owned();
            self.0.store.read(move |tx| store::password(tx, &wanted)).await?
        } else {
            None
        };
        let is_right = self.0.accounts.passwords.is(stored, password).await?;
        let user = self.user_ref(name);
        if is_right && self.is_welcome(&user) {
            attempts.give_back(&address, PER_ADDRESS);
            attempts.give_back(&account, PER_ACCOUNT);
            return Ok(());
        }
        // People type passwords where names belong: only names that exist are noted.
        let who = self.directory().users.contains_key(name).then_some(user);
        self.note_failure(who, "wrong-password");
        Err(AccountError::Wrong)
    }

    pub(crate) fn note_failure(&self, who: Option<crate::UserRef>, reason: &'static str) {
        self.audit().denied(Denied {
            who,
            certificate: None,
            reason,
            service: "identity",
            method: "POST".to_owned(),
            object: "/oidc/login".to_owned(),
        });
    }

    /// Whose failures these are: of a browser that the owner has used, or of anybody.
    pub(crate) fn account_key(&self, name: &str, caller: &Caller) -> String {
        match caller.known_browser.as_deref().and_then(|cookie| self.known_browser(cookie, name)) {
            Some(browser) => format!("browser {browser} {name}"),
            None => format!("account {name}"),
        }
    }

    /// What a browser keeps in which this account has signed in.
    pub(crate) fn new_known_browser(&self, name: &str) -> String {
        let nonce = hex::encode(rand::random::<[u8; 16]>());
        let mark = self.browser_mark(name, &nonce);
        format!("{nonce}.{mark}.{name}")
    }

    fn known_browser(&self, cookie: &str, name: &str) -> Option<String> {
        let (nonce, rest) = cookie.split_once('.')?;
        let (mark, owner) = rest.split_once('.')?;
        let wanted = self.browser_mark(owner, nonce);
        (owner == name && bool::from(wanted.as_bytes().ct_eq(mark.as_bytes()))).then(|| nonce.to_owned())
    }

    fn browser_mark(&self, name: &str, nonce: &str) -> String {
        hex::encode(&self.0.vault.hash_secret(&format!("known browser {nonce} {name}"))[..16])
    }

    /// After a first proof: a session, or the question for a code, whose answer must come from the browser with `browser`.
    pub(crate) async fn enter(
        &self,
        name: &str,
        way: &str,
        next: &str,
        browser: &str,
        caller: &Caller,
    ) -> Result<Entered, AccountError> {
        if self.has_second_factor(name).await? {
            let half = HalfWay { name: name.to_owned(), way: way.to_owned(), next: next.to_owned() };
            self.put_step(&step_of(browser), &half).await?;
            return Ok(Entered::NeedsCode);
        }
        Ok(Entered::Session(self.open_session(name, way, caller).await?))
    }

    /// Who is half way in, in this browser.
    pub(crate) async fn half_way(&self, browser: &str) -> Result<Option<HalfWay>, AccountError> {
        self.peek_step(&step_of(browser)).await
    }

    /// The second step: a code of the authenticator, or a recovery code.
    pub(crate) async fn finish_with_code(
        &self,
        half: &HalfWay,
        code: &str,
        browser: &str,
        caller: &Caller,
    ) -> Result<Secret, AccountError> {
        let attempts = &self.0.accounts.attempts;
        let address = address_key(caller.address);
        let account = format!("code of {}", self.account_key(&half.name, caller));
        attempts.take(&address, PER_ADDRESS).map_err(AccountError::Wait)?;
        attempts.take(&account, PER_ACCOUNT).map_err(AccountError::Wait)?;
        let Some(kind) = self.use_code(&half.name, code).await? else {
            self.note_failure(Some(self.user_ref(&half.name)), "wrong-code");
            return Err(AccountError::WrongCode);
        };
        if self.take_step::<HalfWay>(&step_of(browser)).await?.is_none_or(|now| now.name != half.name) {
            return Err(AccountError::Wrong);
        }
        attempts.give_back(&address, PER_ADDRESS);
        attempts.give_back(&account, PER_ACCOUNT);
        self.open_session(&half.name, &format!("{} and {kind}", half.way), caller).await
    }

    /// Begins a session with a fresh secret; the one that was there before is over.
    pub(crate) async fn open_session(&self, name: &str, way: &str, caller: &Caller) -> Result<Secret, AccountError> {
        if !self.is_welcome(&self.user_ref(name)) {
            return Err(AccountError::Wrong);
        }
        let secret = hex::encode(rand::random::<[u8; 32]>());
        let hash = self.0.vault.hash_secret(&secret);
        let before = caller.session.as_deref().map(|secret| self.0.vault.hash_secret(secret));
        let agent: String = caller.agent.chars().filter(|c| !c.is_control()).take(LONGEST_AGENT).collect();
        let (audit, name, way) = (self.audit().clone(), name.to_owned(), way.to_owned());
        self.0
            .store
            .write(move |tx| -> Result<(), Error> {
                if let Some(before) = &before {
                    steps::end_any_session(tx, before)?;
                }
                steps::begin_session(tx, &hash, &name, &way, &agent)?;
                Ok(audit.append(tx, &[Entry::change(&name, "session.begin", &name, json!({"way": way}))])?)
            })
            .await?;
        Ok(Secret::new(secret))
    }

    /// Gives an account a (new) password. Its sessions end, but for the one that `keep` is the secret of. `by` is who does
    /// it, for the audit.
    pub async fn set_password(
        &self,
        name: &str,
        password: &str,
        keep: Option<&str>,
        by: &str,
    ) -> Result<(), AccountError> {
        if !is_name(name) || !self.directory().users.contains_key(name) {
            return Err(Error::NoAccount(name.to_owned()).into());
        }
        check_rules(name, password).map_err(AccountError::Rule)?;
        let hash = self.0.accounts.passwords.hash(password).await?;
        let keep = keep.map(|secret| self.0.vault.hash_secret(secret));
        let entry = vec![Entry::change(by, "password.set", name, Value::Null)];
        // Somebody else sets it when it was lost or stolen: what a thief let in goes out as well.
        let is_rescue = by != name;
        let (account, by, audit) = (name.to_owned(), by.to_owned(), self.audit().clone());
        self.change(entry, move |tx| {
            store::set_password(tx, &account, &hash)?;
            steps::end_sessions(tx, &account, keep.as_deref())?;
            if is_rescue {
                programs::end_all(tx, &audit, &account, &by)?;
            }
            Ok(())
        })
        .await?;
        Ok(())
    }

    /// Asks again for the password of somebody who is signed in, before something that a thief of the session must not do,
    /// unless [`Identity::asks_password`] says that there is nothing to ask for.
    pub(crate) async fn confirm_password(
        &self,
        principal: &Principal,
        password: &str,
        caller: &Caller,
    ) -> Result<(), AccountError> {
        if !matches!(principal.standing, Standing::User { .. }) {
            return Err(AccountError::refused("only local accounts have a password"));
        }
        if !self.asks_password(principal.name(), caller.session.as_deref()).await? {
            return Ok(());
        }
        match self.try_password(principal.name(), password, caller).await {
            Err(AccountError::Wrong) => Err(AccountError::refused("that is not your present password")),
            other => other,
        }
    }

    /// Whether somebody who is signed in must show their password before they change how they come in. Not when they have
    /// none; nor when they have just come with a link: that is how somebody gets in again who has forgotten it.
    pub(crate) async fn asks_password(&self, name: &str, session: Option<&str>) -> Result<bool, AccountError> {
        if !self.has_password(name).await? {
            return Ok(false);
        }
        let Some(session) = session else { return Ok(true) };
        let hash = self.0.vault.hash_secret(session);
        let beginning = self.0.store.read(move |tx| steps::beginning(tx, &hash)).await?;
        let is_fresh_link =
            beginning.is_some_and(|(begun, way)| way.is_none() && Timestamp::now().since(begun) < FRESH_LINK);
        Ok(!is_fresh_link)
    }

    pub(crate) async fn has_password(&self, name: &str) -> Result<bool, AccountError> {
        let name = name.to_owned();
        Ok(self.0.store.read(move |tx| store::password(tx, &name)).await?.is_some())
    }
}

fn step_of(browser: &str) -> String {
    format!("second factor {browser}")
}
