//! Browser sessions: how a person gets from the command line to the pages without a password.
//!
//! A login code is 128 random bits, good for five minutes and for one use; the command line shows it as a link. Using it
//! begins a session: 256 random bits in a cookie that scripts cannot read and that no other site's page makes the browser
//! send with a form (`HttpOnly`, `SameSite=Lax`: a relying party's link to our consent page has to carry it). Both lie in the store as keyed hashes only. A session ends by signing out, after
//! eight idle hours, after a month, or with the account. Only mounts that say so ([`Routes::sessions`]) take the cookie.
//!
//! [`Routes::sessions`]: crate::Routes::sessions

use std::time::Duration;

use dte_base::secret::Secret;
use dte_base::time::Timestamp;
use dte_store::{Migration, Tx, params};
use http::HeaderMap;
use http::header::COOKIE;
use serde_json::Value;

use crate::Identity;
use crate::audit::Entry;
use crate::issue::Error;
use crate::model::principal::{Identified, Principal, Standing, UserRef};
use crate::model::scope::Scopes;

pub(crate) const MIGRATIONS: &[Migration] = &[Migration { version: 1, sql: include_str!("store/session.sql") }];

/// How long a login code is good.
pub const CODE_LIFETIME: Duration = Duration::from_secs(300);
/// A session that is not used for so long is over.
pub const SESSION_IDLE: Duration = Duration::from_secs(8 * 3_600);
/// No session lives longer, however much it is used.
pub const SESSION_LONGEST: Duration = Duration::from_secs(30 * 86_400);
/// How exactly the last use is noted: reading pages must not write each time.
const TOUCH: Duration = Duration::from_secs(60);
/// Longer texts are not ours.
const LONGEST_SECRET: usize = 128;

impl Identity {
    /// A code with which a browser becomes `user`'s, once, within [`CODE_LIFETIME`]. `by` is who asks, for the audit.
    pub async fn login_code(&self, user: &str, by: &str) -> Result<Secret, Error> {
        let account = self.user_ref(user);
        if !self.directory().users.get(user).is_some_and(|account| account.active) {
            return Err(Error::NoAccount(user.to_owned()));
        }
        if !self.is_welcome(&account) {
            return Err(Error::Banned(user.to_owned()));
        }
        let code = hex::encode(rand::random::<[u8; 16]>());
        let hash = self.0.vault.hash_secret(&code);
        let entry = vec![Entry::change(by, "login.code", user, Value::Null)];
        let (audit, user) = (self.audit().clone(), user.to_owned());
        self.0
            .store
            .write(move |tx| {
                let now = Timestamp::now();
                sweep(tx, now)?;
                tx.execute(
                    "INSERT INTO identity_login_codes (hash, name, expires) VALUES (?1, ?2, ?3)",
                    &params![hash.as_slice(), &user, now + CODE_LIFETIME],
                )?;
                audit.append(tx, &entry).map_err(Error::from)
            })
            .await?;
        Ok(Secret::new(code))
    }

    /// The address with a [`Identity::login_code`] in it.
    pub async fn login_url(&self, user: &str, by: &str) -> Result<Secret, Error> {
        let code = self.login_code(user, by).await?;
        Ok(Secret::new(self.0.client.url_of(&format!("/ui/login?code={}", code.expose()))))
    }

    /// Uses a login code up and gives the session's secret, for the cookie. `None` when the code is not good (any more).
    pub async fn begin_session(&self, code: &str) -> Result<Option<Secret>, Error> {
        if code.len() > LONGEST_SECRET {
            return Ok(None);
        }
        let code = self.0.vault.hash_secret(code);
        let secret = hex::encode(rand::random::<[u8; 32]>());
        let hash = self.0.vault.hash_secret(&secret);
        let audit = self.audit().clone();
        let begun = self.0.store.write(move |tx| -> Result<bool, Error> {
            let now = Timestamp::now();
            let sql = "DELETE FROM identity_login_codes WHERE hash = ?1 RETURNING name, expires";
            let found = tx.query_opt(sql, &params![code.as_slice()], |row| {
                Ok((row.get::<String>(0)?, row.get::<Timestamp>(1)?))
            })?;
            let Some((name, _)) = found.filter(|(_, expires)| *expires > now) else { return Ok(false) };
            tx.execute(
                "INSERT INTO identity_sessions (hash, name, begun, used) VALUES (?1, ?2, ?3, ?3)",
                &params![hash.as_slice(), &name, now],
            )?;
            audit.append(tx, &[Entry::change(&name, "session.begin", &name, Value::Null)])?;
            Ok(true)
        });
        Ok(begun.await?.then(|| Secret::new(secret)))
    }

    /// Whose session this is; `None` when it is over or was none. Notes that it was used.
    pub async fn session(&self, secret: &str) -> Result<Option<Principal>, Error> {
        if secret.len() > LONGEST_SECRET {
            return Ok(None);
        }
        let hash = self.0.vault.hash_secret(secret);
        let key = hash.clone();
        let sql = "SELECT name, begun, used FROM identity_sessions WHERE hash = ?1";
        let found = self.0.store.read(move |tx| -> Result<_, Error> {
            let read =
                |row: &dte_store::Row| Ok((row.get::<String>(0)?, row.get::<Timestamp>(1)?, row.get::<Timestamp>(2)?));
            Ok(tx.query_opt(sql, &params![key.as_slice()], read)?)
        });
        let Some((name, begun, used)) = found.await? else { return Ok(None) };
        let now = Timestamp::now();
        if now.since(used) > SESSION_IDLE || now.since(begun) > SESSION_LONGEST {
            return Ok(None);
        }
        let user = self.user_ref(&name);
        let admin = match self.directory().users.get(&name) {
            Some(account) if account.active && self.is_welcome(&user) => account.admin,
            _ => return Ok(None),
        };
        if now.since(used) > TOUCH {
            self.0
                .store
                .write(move |tx| -> Result<(), Error> {
                    tx.execute(
                        "UPDATE identity_sessions SET used = ?2 WHERE hash = ?1",
                        &params![hash.as_slice(), now],
                    )?;
                    Ok(())
                })
                .await?;
        }
        Ok(Some(principal(user, admin, begun + SESSION_LONGEST)))
    }

    /// Signs out.
    pub async fn end_session(&self, secret: &str) -> Result<(), Error> {
        let hash = self.0.vault.hash_secret(secret);
        let audit = self.audit().clone();
        self.0
            .store
            .write(move |tx| -> Result<(), Error> {
                let sql = "DELETE FROM identity_sessions WHERE hash = ?1 RETURNING name";
                let Some(name) = tx.query_opt(sql, &params![hash.as_slice()], |row| row.get::<String>(0))? else {
                    return Ok(());
                };
                audit.append(tx, &[Entry::change(&name, "session.end", &name, Value::Null)]).map_err(Error::from)
            })
            .await?;
        self.sessions_ended();
        Ok(())
    }

    /// Whether a session has not been ended. Says nothing about its age.
    pub(crate) async fn is_session(&self, secret: &str) -> Result<bool, Error> {
        let hash = self.0.vault.hash_secret(secret);
        let sql = "SELECT name FROM identity_sessions WHERE hash = ?1";
        let found = self.0.store.read(move |tx| -> Result<Option<String>, Error> {
            Ok(tx.query_opt(sql, &params![hash.as_slice()], |row| row.get(0))?)
        });
        Ok(found.await?.is_some())
    }

    /// The token that forms of this session carry, so that another site's page cannot send them (CSRF).
    pub fn session_form_token(&self, secret: &str) -> String {
        hex::encode(&self.0.vault.hash_secret(&format!("form of {secret}"))[..16])
    }

    /// The cookie's name: cookies do not tell ports apart, so two engines on one host need two names.
    pub fn session_cookie_name(&self) -> String {
        let port = self.0.client.public_url().port_or_known_default().unwrap_or_default();
        format!("dte_session_{port}")
    }

    /// The session's secret in the `Cookie` headers.
    pub fn session_secret(&self, headers: &HeaderMap) -> Option<String> {
        cookie(headers, &self.session_cookie_name())
    }
}

/// The value of a cookie.
pub(crate) fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(known, _)| *known == name).map(|(_, value)| value.to_owned())
}

/// Forgets what nobody can use any more.
fn sweep(tx: &mut Tx<'_>, now: Timestamp) -> Result<(), Error> {
    tx.execute("DELETE FROM identity_login_codes WHERE expires < ?1", &params![now])?;
    tx.execute(
        "DELETE FROM identity_sessions WHERE used < ?1 OR begun < ?2",
        &params![now - SESSION_IDLE, now - SESSION_LONGEST],
    )?;
    Ok(())
}

/// All that the account may.
pub(crate) fn principal(user: UserRef, admin: bool, expires: Timestamp) -> Principal {
    Principal::new(Identified {
        issuer: user.issuer,
        subject: user.subject,
        client_id: None,
        acting: None,
        scopes: Scopes::default(),
        granted: Scopes::default(),
        groups: std::sync::Arc::default(),
        vo: None,
        token_id: None,
        expires,
        issued: None,
        is_foreign: false,
        standing: Standing::User { admin },
        name: user.name,
    })
}
