//! What a person granted to a client: the tokens that come of it, and the chain of refresh tokens.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dte_base::id::new_id;
use dte_base::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::clients::Registration;
use super::model::client::Grant;
use super::model::scope::{self, GROUPS, OFFLINE, OPENID};
use super::refusal::Refusal;
use super::rules::Revocable;
use super::store::{clients as client_table, grants, grants::Family};
use crate::Identity;
use crate::audit::Entry;
use crate::issue::Draft;
use crate::model::group::Group;
use crate::model::scope::ADMIN_SCOPE;

/// What a person said yes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Granted {
    pub(crate) user: String,
    pub(crate) scopes: Vec<String>,
    pub(crate) audiences: Vec<String>,
    /// When the person signed in, in seconds.
    pub(crate) auth_time: i64,
    /// When the person said yes, in seconds: what is made void later is so for what comes of it too.
    #[serde(default)]
    pub(crate) approved: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) nonce: Option<String>,
    /// Who acts for the person (RFC 8693): it stays with every token that comes of the grant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) act: Option<Value>,
}

/// What goes into an answer of the token endpoint.
pub(crate) struct Issue<'a> {
    pub(crate) client: &'a Registration,
    pub(crate) grant_id: &'a str,
    pub(crate) granted: &'a Granted,
    /// Those of the grant, or fewer.
    pub(crate) scopes: &'a [String],
    pub(crate) audiences: &'a [String],
    pub(crate) refresh_token: Option<String>,
}

impl Identity {
    /// Whether a token may be made now that acts for this person.
    pub(crate) fn check_person(&self, user: &str) -> Result<(), Refusal> {
        if !self.is_welcome(&self.user_ref(user)) {
            return Err(Refusal::grant("the account is not active or is suspended"));
        }
        self.not_yet(user).map_or(Ok(()), Err)
    }

    /// What the person has to do before there is a token, as the client is told.
    pub(crate) fn not_yet(&self, user: &str) -> Option<Refusal> {
        self.obstacle(user).map(|obstacle| Refusal {
            page: Some(self.0.client.url_of(&obstacle.page)),
            ..Refusal::new("access_denied", obstacle.reason)
        })
    }

    /// Those of the wanted scopes that this client may have for this person.
    pub(crate) fn scopes_for(&self, user: &str, client: &Registration, wanted: &[String]) -> Vec<String> {
        let narrowed = scope::narrow(wanted, &client.metadata.scopes);
        let is_admin = self.directory().users.get(user).is_some_and(|account| account.admin);
        let permitted = self.permitted_scopes(user, &narrowed);
        let kept = narrowed.iter().filter(|scope| {
            (scope.as_str() == OPENID || permitted.contains(scope)) && (scope.as_str() != ADMIN_SCOPE || is_admin)
        });
        kept.filter(|scope| scope.as_str() != OFFLINE || client.may(Grant::Refresh)).cloned().collect()
    }

    /// The groups that a token with these scopes shows.
    pub(crate) fn groups_for(&self, user: &str, scopes: &[String]) -> Vec<String> {
        let wants = |group: &Group| {
            scopes.iter().any(|scope| scope == GROUPS || scope.strip_prefix("wlcg.groups:") == Some(&group.name()))
        };
        let mut names: Vec<String> =
            self.groups_of(user).iter().filter(|group| wants(group)).map(Group::name).collect();
        // Once for each role, and the roles of one group follow each other.
        names.dedup();
        names
    }

    /// What ID tokens and userinfo say about a person, by scope.
    pub(crate) fn person_claims(&self, user: &str, scopes: &[String]) -> Map<String, Value> {
        let has = |name: &str| scopes.iter().any(|scope| scope == name);
        let mut claims = Map::new();
        if has("profile") {
            let profile = self.person(user).map(|person| person.profile);
            let shown = profile.as_ref().map_or_else(|| user.to_owned(), |profile| profile.shown_name(user));
            claims.insert("name".to_owned(), shown.into());
            claims.insert("preferred_username".to_owned(), user.into());
            for (claim, text) in profile.iter().flat_map(|p| [("given_name", &p.given), ("family_name", &p.family)]) {
                if !text.is_empty() {
                    claims.insert(claim.to_owned(), text.as_str().into());
                }
            }
        }
        if has("email")
            && let Some(person) = self.person(user)
            && !person.profile.email.is_empty()
        {
            // An administrator wrote it down; nobody has shown that mail arrives there.
            claims.insert("email".to_owned(), person.profile.email.into());
            claims.insert("email_verified".to_owned(), false.into());
        }
        if has("groups") {
            let mut names: Vec<String> =
                self.groups_of(user).iter().map(|group| group.name().trim_start_matches('/').to_owned()).collect();
            names.dedup();
            claims.insert("groups".to_owned(), names.into());
        }
        if scopes.iter().any(|scope| scope == GROUPS || scope.starts_with("wlcg.groups:")) {
            claims.insert("wlcg.groups".to_owned(), self.groups_for(user, scopes).into());
        }
        claims
    }

    /// The answer of the token endpoint.
    pub(crate) fn answer(&self, issue: Issue<'_>) -> Result<Value, Refusal> {
        let lifetime = self.0.issuing.config.token_lifetime.0;
        let granted = issue.granted;
        if !self.counts(&granted.user, &issue.client.client_id, Timestamp::from_seconds(granted.approved)) {
            return Err(Refusal::grant("what was agreed to does not count any more"));
        }
        let own = [self.0.audience.clone()];
        let audiences = if issue.audiences.is_empty() { &own[..] } else { issue.audiences };
        let scope = issue.scopes.join(" ");
        let groups = self.groups_for(&granted.user, issue.scopes);
        let (token, token_id) = self.sign(&Draft {
            subject: &granted.user,
            client_id: &issue.client.client_id,
            scope: &scope,
            audience: &audiences.iter().map(String::as_str).collect::<Vec<_>>(),
            lifetime,
            act: granted.act.clone(),
            elsewhere: None,
            groups: &groups,
            grant: Some(issue.grant_id),
        })?;
        let mut answer = json!({
            "access_token": token.expose(), "token_type": "Bearer", "expires_in": lifetime.as_secs(), "scope": scope,
        });
        if issue.scopes.iter().any(|scope| scope == OPENID) && granted.act.is_none() {
            answer["id_token"] = self.id_token(&issue, token.expose(), lifetime)?.into();
        }
        if let Some(refresh) = issue.refresh_token {
            answer["refresh_token"] = refresh.into();
        }
        let detail = json!({
            "token_id": token_id, "client": issue.client.client_id, "scope": scope, "audience": audiences, "act": granted.act,
        });
        self.audit().note(Entry::change(&granted.user, "token.issue", &granted.user, detail));
        Ok(answer)
    }

    fn id_token(&self, issue: &Issue<'_>, access_token: &str, lifetime: Duration) -> Result<String, Refusal> {
        let now = Timestamp::now();
        let mut claims = self.person_claims(&issue.granted.user, issue.scopes);
        let mut put = |name: &str, value: Value| claims.insert(name.to_owned(), value);
        put("iss", self.0.issuer.as_str().into());
        put("sub", issue.granted.user.as_str().into());
        put("aud", issue.client.client_id.as_str().into());
        put("azp", issue.client.client_id.as_str().into());
        put("iat", now.as_seconds().into());
        put("exp", (now + lifetime).as_seconds().into());
        put("auth_time", issue.granted.auth_time.into());
        // OpenID Connect Core section 3.1.3.6: the left half of the hash. It also keeps anybody from taking it for an access token.
        put("at_hash", URL_SAFE_NO_PAD.encode(&Sha256::digest(access_token)[..16]).into());
        if let Some(nonce) = &issue.granted.nonce {
            put("nonce", nonce.as_str().into());
        }
        let keys = self.0.keys.read().clone();
        let key = keys.signing().ok_or_else(|| Refusal::ours("there is no signing key"))?;
        key.sign_as("JWT", &claims).map_err(Refusal::ours)
    }

    /// What is kept of a grant: with `offline_access` a family of refresh tokens, else that there is an access token, so that
    /// the person can end it.
    pub(crate) fn new_family(&self, client: &Registration, grant_id: &str, granted: &Granted) -> Family {
        let offline = granted.scopes.iter().any(|scope| scope == OFFLINE) && client.may(Grant::Refresh);
        let now = Timestamp::now();
        let config = &self.0.issuing.config;
        Family {
            id: grant_id.to_owned(),
            client_id: client.client_id.clone(),
            // A nonce is for the first ID token only.
            granted: Granted { nonce: None, ..granted.clone() },
            number: i64::from(offline),
            rotated: now,
            created: now,
            used: now,
            expires: now + if offline { config.refresh_lifetime.0 } else { config.token_lifetime.0 },
            ended: false,
        }
    }

    /// The refresh token that a new family begins with, if it has one.
    pub(crate) fn first_refresh(&self, family: &Family) -> Option<String> {
        (family.number > 0).then(|| self.refresh_text(family, family.number))
    }

    /// The text of a refresh token. It can be made again, so it need not be stored.
    pub(crate) fn refresh_text(&self, family: &Family, number: i64) -> String {
        let seal = self.0.vault.hash_secret(&format!("refresh {} {number} {}", family.id, family.created.as_micros()));
        format!("{}.{number}.{}", family.id, URL_SAFE_NO_PAD.encode(seal))
    }

    /// The family of a refresh token and the token's number, if it is one of ours.
    pub(crate) async fn find_family(&self, text: &str) -> Result<Option<(Family, i64)>, Refusal> {
        let mut parts = text.split('.');
        let (Some(id), Some(number), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            return Ok(None);
        };
        let Some(number) = number.parse::<i64>().ok().filter(|number| *number > 0) else { return Ok(None) };
        if text.len() > 160 {
            return Ok(None);
        }
        let id = id.to_owned();
        let family = self.0.store.read(move |tx| grants::find(tx, &id)).await?;
        Ok(family
            .filter(|family| bool::from(self.refresh_text(family, number).as_bytes().ct_eq(text.as_bytes())))
            .map(|family| (family, number)))
    }

    /// Ends a family, with the access tokens that came from it.
    pub(crate) async fn end_family(&self, id: &str, user: &str, by: &str, why: &'static str) -> Result<(), Refusal> {
        let entry = Entry::change(by, "grant.end", id, json!({"why": why, "user": user}));
        let key = id.to_owned();
        let end = move |tx: &mut dte_store::Tx<'_>| grants::end(tx, &key, Timestamp::now()).map(drop);
        Ok(self.take_back(&[Revocable::Grant(id)], entry, end).await?)
    }

    /// Notes that somebody uses this client, so that its registration stays.
    pub(crate) fn first_use(&self, client: &Registration) -> Option<String> {
        (!client.used).then(|| client.client_id.clone())
    }
}

/// In a transaction that redeems something: begins the family and notes the first use of the client.
pub(crate) fn begin(
    tx: &mut dte_store::Tx<'_>,
    family: &Family,
    first_use: Option<&str>,
) -> Result<(), dte_store::Error> {
    let now = Timestamp::now();
    grants::sweep(tx, now)?;
    grants::insert(tx, family)?;
    match first_use {
        Some(client_id) => client_table::note_use(tx, client_id, now),
        None => Ok(()),
    }
}

/// A fresh id for a grant.
pub(crate) fn grant_id() -> String {
    new_id().simple().to_string()
}
