//! Accounts as administrators change them: status, attributes, identities.

use axum::extract::{Path, State};
use dte_base::time::Timestamp;
use dte_identity::Routes;
use dte_protocol_rucio::Class;
use http::StatusCode;
use serde_json::{Value, json};

use super::answer::{Answer, Failure, created, done, json, lines};
use super::request::{Asking, Call, invalid};
use super::rses::attribute;
use super::{CHANGES, READS};
use crate::Lake;
use crate::error::Error;
use crate::store::accounts;
use crate::store::people::{self, Known};

/// In which ways people can be known elsewhere.
const KINDS: [&str; 6] = ["X509", "GSS", "USERPASS", "SSH", "SAML", "OIDC"];
/// Longest identity that is kept.
const LONGEST_IDENTITY: usize = 2048;

pub(super) fn routes(routes: Routes<Lake>) -> Routes<Lake> {
    routes
        .put("/accounts/{account}", CHANGES, update)
        .delete("/accounts/{account}", CHANGES, delete)
        .get("/accounts/{account}/attr/", READS, attributes)
        .get("/accounts/{account}/attr", READS, attributes)
        .post("/accounts/{account}/attr/{key}", CHANGES, add_attribute)
        .delete("/accounts/{account}/attr/{key}", CHANGES, delete_attribute)
        .get("/accounts/{account}/identities", READS, identities)
        .post("/accounts/{account}/identities", CHANGES, add_identity)
        .delete("/accounts/{account}/identities", CHANGES, delete_identity)
        .get("/identities/accounts", READS, accounts_of)
        .get("/identities/{*path}", READS, accounts_of_path)
        .put("/identities/{*path}", CHANGES, own_password)
        .put("/scopes/{account}/{scope}", CHANGES, move_scope)
}

async fn update(State(lake): State<Lake>, asking: Asking, Path(account): Path<String>, call: Call) -> Answer {
    asking.0.needs_admin("update account")?;
    let fields = call.dictionary()?;
    let known = ["account_type", "status", "email"];
    if let Some(other) = fields.0.keys().find(|key| !known.contains(&key.as_str())) {
        return Err(Failure::new(Class::ValueError, format!("The account key {other} cannot be set")));
    }
    let (email, status, kind) = (fields.text("email")?, fields.text("status")?, fields.text("account_type")?);
    if let Some(other) = status.as_deref().filter(|status| !["ACTIVE", "SUSPENDED", "DELETED"].contains(status)) {
        return Err(Failure::new(Class::ValueError, format!("'{other}' is not a status of accounts")));
    }
    if let Some(other) = kind.as_deref().filter(|kind| !["USER", "GROUP", "SERVICE"].contains(kind)) {
        return Err(Failure::new(Class::ValueError, format!("'{other}' is not a type of accounts")));
    }
    stays(&account, status.as_deref())?;
    let now = Timestamp::now();
    let name = account.clone();
    lake.change(move |tx| {
        accounts::get(tx, &name)?;
        if let Some(email) = &email {
            people::set_email(tx, &name, Some(email), now)?;
        }
        if let Some(kind) = &kind {
            people::set_kind(tx, &name, kind, now)?;
        }
        match &status {
            Some(status) => people::set_status(tx, &name, status, now),
            None => Ok::<_, Error>(()),
        }
    })
    .await?;
    lake.forget(&account);
    done()
}

/// Somebody who can administer stays.
fn stays(account: &str, status: Option<&str>) -> Result<(), Failure> {
    match status {
        Some("SUSPENDED" | "DELETED") if account == "root" => {
            let denied = Failure::new(Class::AccessDenied, "The account root cannot be suspended or deleted");
            Err(denied.with_status(Class::AccessDenied, StatusCode::FORBIDDEN))
        }
        _ => Ok(()),
    }
}

async fn delete(State(lake): State<Lake>, asking: Asking, Path(account): Path<String>) -> Answer {
    asking.0.needs_admin("delete account")?;
    stays(&account, Some("DELETED"))?;
    let (name, now) = (account.clone(), Timestamp::now());
    lake.change(move |tx| people::set_status(tx, &name, "DELETED", now)).await?;
    lake.forget(&account);
    done()
}

/// The right of an administrator is shown as an attribute, also where it comes from the engine.
async fn attributes(State(lake): State<Lake>, Asking(caller, _): Asking, Path(account): Path<String>) -> Answer {
    let name = account.clone();
    let mut found = lake.store.read(move |tx| people::attributes(tx, &name)).await?;
    let own = account == "root" || (account == caller.account && caller.admin);
    if own && !found.iter().any(|(key, _)| key == "admin") {
        found.push(("admin".to_owned(), "true".to_owned()));
    }
    json(&found.iter().map(|(key, value)| json!({"key": key, "value": attribute(value)})).collect())
}

/// `[a-zA-Z0-9-_/.]`, 1 to 30 characters.
fn is_attribute(text: &str) -> bool {
    (1..=30).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_/.".contains(&b))
}

async fn add_attribute(
    State(lake): State<Lake>,
    asking: Asking,
    Path((account, key)): Path<(String, String)>,
    call: Call,
) -> Answer {
    asking.0.needs_admin("add attribute")?;
    let value = match call.dictionary()?.0.get("value") {
        None => return Err(Failure::new(Class::KeyError, "'value' not defined")),
        Some(Value::String(text)) if matches!(text.as_str(), "True" | "False") => text.to_ascii_lowercase(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    if !is_attribute(&key) || !is_attribute(&value) {
        return Err(invalid("keys and values of attributes have 1 to 30 letters, digits, - _ / ."));
    }
    let name = account.clone();
    lake.change(move |tx| people::add_attribute(tx, &name, &key, &value)).await?;
    lake.forget(&account);
    created()
}

async fn delete_attribute(
    State(lake): State<Lake>,
    asking: Asking,
    Path((account, key)): Path<(String, String)>,
) -> Answer {
    asking.0.needs_admin("delete attribute")?;
    let name = account.clone();
    lake.change(move |tx| people::delete_attribute(tx, &name, &key)).await?;
    lake.forget(&account);
    done()
}

async fn identities(State(lake): State<Lake>, _: Asking, Path(account): Path<String>) -> Answer {
    let (own, others) = lake
        .store
        .read(move |tx| {
            accounts::get(tx, &account)?;
            Ok::<_, Error>((accounts::principal(tx, &account)?, people::identities(tx, &account)?))
        })
        .await?;
    let own = own.and_then(|text| serde_json::from_str::<dte_identity::UserRef>(&text).ok());
    let own = own.iter().map(
        |user| json!({"identity": format!("SUB={}, ISS={}", user.subject, user.issuer), "type": "OIDC", "email": null}),
    );
    let others = others.iter().map(|one| json!({"identity": one.identity, "type": one.kind, "email": one.email}));
    lines(&own.chain(others).collect::<Vec<Value>>())
}

fn kind_of(text: &str) -> Result<String, Failure> {
    let kind = text.to_ascii_uppercase();
    match KINDS.contains(&kind.as_str()) {
        true => Ok(kind),
        false => Err(Failure::new(Class::IdentityError, format!("'{text}' is not a type of identities"))),
    }
}

/// Links an identity to an account. Passwords are the engine's own affair: none is taken here.
async fn add_identity(State(lake): State<Lake>, asking: Asking, Path(account): Path<String>, call: Call) -> Answer {
    asking.0.needs_admin("add identity")?;
    let fields = call.dictionary()?;
    let identity = fields.required_text("identity")?;
    let kind = kind_of(&fields.required_text("authtype")?)?;
    if identity.is_empty() || identity.len() > LONGEST_IDENTITY {
        return Err(Failure::new(Class::IdentityError, "The identity is empty or too long"));
    }
    if fields.text("password")?.is_some_and(|password| !password.is_empty()) {
        let message = "Passwords are set in the engine, by the person or with `dte user password`; \
                       leave the password out to link the user name to this account";
        return Err(Failure::new(Class::IdentityError, message));
    }
    let known = Known { identity, kind, email: fields.text("email")? };
    let is_default = fields.truth("default", false)?;
    let now = Timestamp::now();
    lake.change(move |tx| people::add_identity(tx, &account, &known, is_default, now)).await?;
    created()
}

async fn delete_identity(State(lake): State<Lake>, asking: Asking, Path(account): Path<String>, call: Call) -> Answer {
    asking.0.needs_admin("delete identity")?;
    let fields = call.dictionary()?;
    let (identity, kind) = (fields.required_text("identity")?, kind_of(&fields.required_text("authtype")?)?);
    lake.change(move |tx| people::delete_identity(tx, &account, &identity, &kind)).await?;
    done()
}

async fn accounts_of(State(lake): State<Lake>, asking: Asking, call: Call) -> Answer {
    let missing = |key: &str| Failure::new(Class::ValueError, format!("'{key}' is missing"));
    let identity = call.query("identity_key").ok_or_else(|| missing("identity_key"))?.to_owned();
    let kind = call.query("type").ok_or_else(|| missing("type"))?.to_owned();
    accounts_named(lake, asking, identity, &kind).await
}

/// `KEY/TYPE/accounts`, as older clients ask; the key may contain slashes.
async fn accounts_of_path(State(lake): State<Lake>, asking: Asking, Path(path): Path<String>) -> Answer {
    let parts = path.strip_suffix("/accounts").and_then(|path| path.rsplit_once('/'));
    let (identity, kind) = parts.ok_or_else(super::dids::no_route)?;
    accounts_named(lake, asking, identity.to_owned(), kind).await
}

async fn accounts_named(lake: Lake, _: Asking, identity: String, kind: &str) -> Answer {
    let kind = kind_of(kind).map_err(|_| Failure::new(Class::ValueError, format!("'{kind}' is not a type")))?;
    let found = lake.store.read(move |tx| people::accounts_of(tx, &identity, &kind)).await?;
    json(&found.into_iter().map(|(account, _)| Value::String(account)).collect())
}

async fn own_password(_: Asking, Path(_): Path<String>) -> Answer {
    let message = "Passwords are set in the engine, by the person or with `dte user password`";
    Err(Failure::new(Class::ValueError, message))
}

async fn move_scope(
    State(lake): State<Lake>,
    asking: Asking,
    Path((account, scope)): Path<(String, String)>,
) -> Answer {
    lake.change(move |tx| {
        accounts::owner(tx, &scope)?;
        // Nobody is given a scope by another account that is theirs: with it come what others wrote there and who may read.
        asking.0.needs_admin("update scope")?;
        people::move_scope(tx, &scope, &account)
    })
    .await
    .map_err(|error| Failure::from(error).with_status(Class::AccessDenied, StatusCode::FORBIDDEN))?;
    created()
}
