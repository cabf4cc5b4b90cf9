//! Token exchange (RFC 8693): a client with a secret turns a token that it was sent into one of its own, as policies permit.

use dte_base::time::Timestamp;
use serde_json::{Value, json};

use crate::Identity;
use crate::issuer::clients::Registration;
use crate::issuer::grant::{self, Granted, Issue};
use crate::issuer::inspect::OwnToken;
use crate::issuer::model::exchange::{Party, permitted};
use crate::issuer::model::params::Params;
use crate::issuer::model::scope::{self, ALL_RIGHTS, OFFLINE};
use crate::issuer::refusal::Refusal;
use crate::model::claims::Claim;
use crate::model::principal::Standing;

const ACCESS: &str = "urn:ietf:params:oauth:token-type:access_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const REFRESH: &str = "urn:ietf:params:oauth:token-type:refresh_token";
/// Services that acted one after another.
const LONGEST_CHAIN: usize = 3;

pub(super) async fn grant(identity: &Identity, client: &Registration, params: &Params) -> Result<Value, Refusal> {
    if client.is_public() {
        return Err(Refusal::new("unauthorized_client", "token exchange needs a client with a secret"));
    }
    let subject = params.get("subject_token").ok_or_else(|| Refusal::request("subject_token is missing"))?;
    if !matches!(params.get("subject_token_type"), Some(ACCESS | JWT)) {
        return Err(Refusal::request(format!("subject_token_type must be {ACCESS}")));
    }
    if params.get("actor_token").is_some() {
        return Err(Refusal::request("actor_token is not taken: the client that asks is the actor"));
    }
    let requested = params.get("requested_token_type").unwrap_or(ACCESS);
    if !matches!(requested, ACCESS | JWT | REFRESH) {
        return Err(Refusal::request("requested_token_type is not one that there is here"));
    }
    let own = identity.inspect(subject).map_err(|reject| Refusal::grant(format!("subject_token: {reject}")))?;
    if own.principal.standing == Standing::Client || own.principal.issuer != identity.issuer() {
        return Err(Refusal::grant("subject_token must be of a local account"));
    }
    let before = own.claims.get("act").map(Claim::to_value);
    let chain = actors(before.as_ref());
    if own.client_id() == client.client_id || chain.contains(&client.client_id) {
        return Err(Refusal::grant("the client has exchanged this token already"));
    }
    if chain.len() >= LONGEST_CHAIN {
        return Err(Refusal::grant("too many services act one after another"));
    }
    let user = own.principal.subject.clone();
    identity.check_person(&user)?;
    let scopes = scopes(identity, client, params, &own, requested).await?;
    let audiences = audiences(identity, client, params, &own)?;
    let act = match before {
        Some(before) => json!({"sub": client.client_id, "act": before}),
        None => json!({"sub": client.client_id}),
    };
    let auth_time = own.claims.seconds("auth_time").ok().flatten().unwrap_or_default();
    let granted = Granted {
        user,
        scopes,
        audiences,
        auth_time,
        approved: Timestamp::now().as_seconds(),
        nonce: None,
        act: Some(act),
    };
    let grant_id = grant::grant_id();
    let family = identity.new_family(client, &grant_id, &granted);
    if family.number == 0 && requested == REFRESH {
        return Err(Refusal::new("invalid_scope", "a refresh token needs the scope offline_access"));
    }
    let kept = family.clone();
    identity.0.store.write(move |tx| grant::begin(tx, &kept, None)).await?;
    let mut answer = identity.answer(Issue {
        client,
        grant_id: &grant_id,
        granted: &granted,
        scopes: &granted.scopes,
        audiences: &granted.audiences,
        refresh_token: identity.first_refresh(&family),
    })?;
    answer["issued_token_type"] = if requested == REFRESH { REFRESH } else { ACCESS }.into();
    Ok(answer)
}

async fn scopes(
    identity: &Identity,
    client: &Registration,
    params: &Params,
    own: &OwnToken,
    requested: &str,
) -> Result<Vec<String>, Refusal> {
    let mut wanted = params.words("scope");
    scope::check(&wanted).map_err(|bad| Refusal::new("invalid_scope", bad.to_string()))?;
    if wanted.is_empty() {
        wanted = scope::narrow(own.scopes(), &client.metadata.scopes);
    }
    if requested == REFRESH && !wanted.iter().any(|scope| scope == OFFLINE) {
        wanted.push(OFFLINE.to_owned());
    }
    let origin = identity.find_client(own.client_id()).await?;
    let origin_scopes = origin.as_ref().map(|origin| origin.metadata.scopes.as_slice()).unwrap_or_default();
    // A token with all rights covers any capability, so that it can be narrowed.
    let mut has = own.scopes().to_vec();
    if has.iter().any(|scope| scope == ALL_RIGHTS) {
        has.extend(wanted.iter().filter(|scope| is_capability(scope)).cloned());
    }
    let parties = (
        Party { client_id: own.client_id(), scopes: origin_scopes },
        Party { client_id: &client.client_id, scopes: &client.metadata.scopes },
    );
    let directory = identity.directory();
    let permitted = permitted(&directory.rules.policies, &parties.0, &parties.1, &has, &wanted)
        .ok_or_else(|| Refusal::new("access_denied", "no policy permits this exchange"))?;
    let scopes = identity.scopes_for(&own.principal.subject, client, &permitted);
    match wanted.iter().find(|scope| !scopes.contains(scope)) {
        Some(refused) => Err(Refusal::new("invalid_scope", format!("the exchange does not give {refused}"))),
        None if scopes.is_empty() => Err(Refusal::new("invalid_scope", "no scope is left")),
        None => Ok(scopes),
    }
}

fn is_capability(scope: &str) -> bool {
    ["storage.", "compute."].iter().any(|family| scope.starts_with(family))
}

/// Ours, those of the client, and those that the token has already.
fn audiences(
    identity: &Identity,
    client: &Registration,
    params: &Params,
    own: &OwnToken,
) -> Result<Vec<String>, Refusal> {
    let named = params.audiences()?;
    let may = |audience: &&String| {
        **audience == identity.audience()
            || client.metadata.audiences.contains(audience)
            || own.audiences.contains(audience)
    };
    match named.iter().find(|audience| !may(audience)) {
        Some(other) => Err(Refusal::new("invalid_target", format!("the client may not ask for the audience {other}"))),
        None => Ok(named),
    }
}

/// Who acted before, the last first.
fn actors(act: Option<&Value>) -> Vec<String> {
    let mut found = Vec::new();
    let mut next = act;
    while let Some(actor) = next {
        if let Some(name) = actor["sub"].as_str() {
            found.push(name.to_owned());
        }
        if found.len() > LONGEST_CHAIN {
            break;
        }
        next = actor.get("act");
    }
    found
}
