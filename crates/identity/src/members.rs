//! Local accounts, and clients that an administrator makes.

use dte_base::secret::Secret;
use dte_base::time::Timestamp;
use dte_store::Tx;
use serde_json::json;

use crate::audit::Entry;
use crate::directory::{self, Directory, Suspect, User};
use crate::issue::Error;
use crate::policy::store::profiles;
use crate::{Identity, store};

impl Identity {
    pub fn users(&self) -> Vec<User> {
        let mut users: Vec<User> = self.directory().users.values().cloned().collect();
        users.sort_by(|a, b| a.name.cmp(&b.name));
        users
    }

    /// Makes a local account. `by` is who does it, for the audit.
    pub async fn add_user(&self, name: &str, admin: bool, by: &str) -> Result<User, Error> {
        if !directory::is_new_name(name) {
            return Err(Error::Name(name.to_owned()));
        }
        let user = User { name: name.to_owned(), admin, active: true, created: Timestamp::now() };
        let made = user.clone();
        let entry = Entry::change(by, "user.add", name, json!({"admin": admin}));
        let erased = self.erased_hash(name);
        self.change(vec![entry], move |tx| {
            if store::is_taken(tx, &made.name, &erased)? {
                return Err(Error::Taken(made.name.clone()));
            }
            store::insert_user(tx, &made).map_err(Error::from)
        })
        .await?;
        Ok(user)
    }

    /// Whether there is somebody who can administer: an account that is an active administrator and is not banned.
    pub(crate) fn has_administrator(&self, tx: &mut Tx<'_>) -> Result<bool, dte_store::Error> {
        let directory = Directory::load(tx)?;
        let can = |user: &User| {
            let who = Suspect { issuer: self.issuer(), subject: &user.name, client_id: None, vo: None, token_id: None };
            user.admin
                && user.active
                && !self.is_banned(&directory, &who, &[])
                && !self.is_banned_through_link(&directory, &user.name)
        };
        Ok(directory.users.values().any(can))
    }

    /// Refuses a change, at the end of its transaction, that leaves nobody who can administer. `before`: whether there was
    /// somebody; an engine without one can still be mended.
    pub(crate) fn must_keep_administrator(&self, tx: &mut Tx<'_>, before: bool) -> Result<(), Error> {
        if before && !self.has_administrator(tx)? {
            return Err(Error::LastAdministrator);
        }
        Ok(())
    }

    /// Changes what a local account is. An inactive account can do nothing, and keeps its name.
    pub async fn set_user(&self, name: &str, admin: bool, active: bool, by: &str) -> Result<(), Error> {
        let entry = Entry::change(by, "user.set", name, json!({"admin": admin, "active": active}));
        let (account, by, audit) = (name.to_owned(), by.to_owned(), self.audit().clone());
        let identity = self.clone();
        self.change(vec![entry], move |tx| {
            // Who is gone stays gone.
            if profiles::is_gone(tx, &account)? {
                return Err(Error::NoAccount(account.clone()));
            }
            let before = identity.has_administrator(tx)?;
            if !store::update_user(tx, &account, admin, active)? {
                return Err(Error::NoAccount(account.clone()));
            }
            if !active {
                crate::accounts::store::steps::end_sessions(tx, &account, None)?;
                crate::issuer::programs::end_all(tx, &audit, &account, &by)?;
            }
            identity.must_keep_administrator(tx, before)
        })
        .await
    }

    /// Makes a client of the built-in issuer and gives its secret, which is never shown again.
    pub async fn add_client(
        &self,
        client_id: &str,
        scopes: &[&str],
        audiences: &[&str],
        by: &str,
    ) -> Result<Secret, Error> {
        if !directory::is_new_name(client_id) {
            return Err(Error::Name(client_id.to_owned()));
        }
        let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        crate::model::scope::Scopes::parse(&scopes.join(" "), &self.0.own_policy.base)
            .map_err(|bad| Error::Scope(bad.to_string()))?;
        let secret = hex::encode(rand::random::<[u8; 32]>());
        let client = directory::Client {
            client_id: client_id.to_owned(),
            secret_hash: self.0.vault.hash_secret(&secret),
            scopes: owned(scopes),
            audiences: owned(audiences),
            active: true,
        };
        let entry = Entry::change(by, "client.add", client_id, json!({"scopes": scopes}));
        let erased = self.erased_hash(client_id);
        self.change(vec![entry], move |tx| {
            if store::is_taken(tx, &client.client_id, &erased)? {
                return Err(Error::Taken(client.client_id.clone()));
            }
            store::insert_client(tx, &client).map_err(Error::from)
        })
        .await?;
        Ok(Secret::new(secret))
    }
}
