//! The refresh grant (RFC 6749 section 6, RFC 9700 section 4.14): all is looked at again with each use.

use dte_base::time::Timestamp;
use serde_json::Value;

use crate::Identity;
use crate::issuer::clients::Registration;
use crate::issuer::grant::Issue;
use crate::issuer::model::params::Params;
use crate::issuer::model::scope;
use crate::issuer::refusal::Refusal;
use crate::issuer::store::clients;
use crate::issuer::store::grants::{self, Family};

/// Registrations that are looked at in one go.
const SERVICES_AT_ONCE: usize = 256;

/// What a refresh token is worth.
#[derive(Debug, PartialEq, Eq)]
enum Worth {
    /// Good; the number is the one that the client gets next.
    Good {
        rotate: bool,
        next: i64,
    },
    /// An old one: somebody has a copy.
    Reused,
    Over,
}

fn worth(
    family: &Family,
    number: i64,
    rotates: bool,
    idle: std::time::Duration,
    grace: std::time::Duration,
    now: Timestamp,
) -> Worth {
    if family.ended || family.expires < now || now.since(family.used) > idle {
        return Worth::Over;
    }
    if number == family.number {
        return Worth::Good { rotate: rotates, next: family.number + i64::from(rotates) };
    }
    // An answer that was lost, or two programs with one token: both get the same next token.
    if number + 1 == family.number && now.since(family.rotated) <= grace {
        return Worth::Good { rotate: false, next: family.number };
    }
    Worth::Reused
}

pub(super) async fn grant(identity: &Identity, client: &Registration, params: &Params) -> Result<Value, Refusal> {
    let text = params.get("refresh_token").ok_or_else(|| Refusal::request("refresh_token is missing"))?;
    let unknown = || Refusal::grant("the refresh token is not known, or is over");
    let (family, number) = identity.find_family(text).await?.ok_or_else(unknown)?;
    if family.client_id != client.client_id {
        // Another client's: not worth more than one that was made up.
        return Err(unknown());
    }
    let granted = family.granted.clone();
    if !identity.counts(&granted.user, &family.client_id, family.created)
        || identity.is_taken_back(Some(&format!("{}.", family.id)), None)
    {
        return Err(unknown());
    }
    if !identity.is_welcome(&identity.user_ref(&granted.user)) {
        // For good: lifting a ban does not bring back what was out there.
        identity.end_family(&family.id, &family.granted.user, &client.client_id, "the account is suspended").await?;
        return Err(Refusal::grant("the account is not active or is suspended"));
    }
    identity.check_person(&granted.user)?;
    let wanted = params.words("scope");
    scope::check(&wanted).map_err(|bad| Refusal::new("invalid_scope", bad.to_string()))?;
    if !scope::is_subset(&wanted, &granted.scopes) {
        return Err(Refusal::new("invalid_scope", "a refresh cannot have more scopes than were granted"));
    }
    let asked = if wanted.is_empty() { granted.scopes.clone() } else { wanted };
    // Policies and the client's own scopes may have changed since.
    let scopes = identity.scopes_for(&granted.user, client, &asked);
    if scopes.is_empty() {
        return Err(Refusal::new("invalid_scope", "none of the scopes is permitted any more"));
    }
    let named = params.audiences()?;
    for audience in named.iter().filter(|audience| !granted.audiences.contains(audience)) {
        if !is_for(identity, client, audience).await? {
            let text = format!(
                "the person was not asked about the audience {audience}, and it is of no service that an administrator registered"
            );
            return Err(Refusal::new("invalid_target", text));
        }
    }
    let audiences = if named.is_empty() { granted.audiences.clone() } else { named };

    let config = &identity.0.issuing.config;
    let rotates = client.is_public() || config.rotate_for_all;
    let (idle, grace) = (config.refresh_idle.0, config.refresh_grace.0);
    let id = family.id.clone();
    let outcome = identity.0.store.write(move |tx| -> Result<Worth, dte_store::Error> {
        let Some(current) = grants::find(tx, &id)? else { return Ok(Worth::Over) };
        let now = Timestamp::now();
        let worth = worth(&current, number, rotates, idle, grace, now);
        if let Worth::Good { rotate, .. } = worth {
            grants::note_use(tx, &id, rotate, now)?;
        }
        Ok(worth)
    });
    match outcome.await? {
        Worth::Good { next, .. } => identity.answer(Issue {
            client,
            grant_id: &family.id,
            granted: &granted,
            scopes: &scopes,
            audiences: &audiences,
            refresh_token: Some(identity.refresh_text(&family, next)),
        }),
        Worth::Reused => {
            identity
                .end_family(&family.id, &family.granted.user, &client.client_id, "an old refresh token was used")
                .await?;
            Err(Refusal::grant("the refresh token was used before; the grant is revoked"))
        }
        Worth::Over => Err(unknown()),
    }
}

/// Whether a program may have a token for an audience that was not on the page on which the person agreed: this engine, what
/// an administrator registered for, and, for programs that registered themselves, services that an administrator registered.
async fn is_for(identity: &Identity, client: &Registration, audience: &str) -> Result<bool, Refusal> {
    if client.registered_by.is_some() || identity.0.own_policy.audiences.iter().any(|own| own == audience) {
        return Ok(true);
    }
    let audience = audience.to_owned();
    let found = identity.0.store.read(move |tx| -> Result<bool, dte_store::Error> {
        let mut after = String::new();
        loop {
            let page = clients::page(tx, &after, SERVICES_AT_ONCE)?;
            let Some(last) = page.last() else { return Ok(false) };
            after.clone_from(&last.client_id);
            let is_of = |one: &&Registration| one.client_id == audience || one.metadata.audiences.contains(&audience);
            if page.iter().filter(|one| one.active && one.registered_by.is_some()).any(|one| is_of(&one)) {
                return Ok(true);
            }
        }
    });
    Ok(found.await?)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::issuer::grant::Granted;

    #[test]
    fn what_a_refresh_token_is_worth() {
        let at = |seconds: i64| Timestamp::from_seconds(seconds);
        let family = Family {
            id: "g".to_owned(),
            client_id: "c".to_owned(),
            granted: Granted {
                user: "u".to_owned(),
                scopes: vec![],
                audiences: vec![],
                auth_time: 0,
                approved: 0,
                nonce: None,
                act: None,
            },
            number: 3,
            rotated: at(1_000),
            created: at(0),
            used: at(1_000),
            expires: at(5_000),
            ended: false,
        };
        let look = |family: &Family, number: i64, rotates: bool, now: i64| {
            worth(family, number, rotates, Duration::from_secs(600), Duration::from_secs(60), at(now))
        };
        assert_eq!(look(&family, 3, true, 1_100), Worth::Good { rotate: true, next: 4 });
        assert_eq!(look(&family, 3, false, 1_100), Worth::Good { rotate: false, next: 3 });
        assert_eq!(look(&family, 2, true, 1_060), Worth::Good { rotate: false, next: 3 });
        assert_eq!(look(&family, 2, true, 1_061), Worth::Reused);
        assert_eq!(look(&family, 1, true, 1_001), Worth::Reused);
        assert_eq!(look(&family, 4, true, 1_001), Worth::Reused);
        assert_eq!(look(&family, 3, true, 1_601), Worth::Over);
        assert_eq!(look(&Family { expires: at(1_001), ..family.clone() }, 3, true, 1_002), Worth::Over);
        assert_eq!(look(&Family { ended: true, ..family }, 3, true, 1_001), Worth::Over);
    }
}
