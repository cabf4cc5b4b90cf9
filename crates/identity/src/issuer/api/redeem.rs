//! Redeeming what a person said yes to: an authorisation code (RFC 6749 section 4.1.3) or a device code (RFC 8628 section 3.4).

use std::time::{Duration, Instant};

use dte_base::time::Timestamp;
use serde_json::Value;

use crate::Identity;
use crate::issuer::clients::Registration;
use crate::issuer::grant::{self, Granted, Issue};
use crate::issuer::model::params::Params;
use crate::issuer::model::pkce;
use crate::issuer::refusal::Refusal;
use crate::issuer::store::codes::{self, Code, DeviceState};
use crate::issuer::store::grants::Family;

/// How often a device may ask.
pub(super) const INTERVAL: Duration = Duration::from_secs(5);
/// A device that asks too often must wait so much longer each time (RFC 8628 section 3.5).
const SLOWER: Duration = Duration::from_secs(5);
/// Clocks of sleepers are not exact.
const TOLERANCE: Duration = Duration::from_millis(500);
const LONGEST_CODE: usize = 256;

/// What came of a code.
enum Outcome {
    Good(Box<(Code, Family)>),
    /// It was used before: whoever used it first may have stolen it.
    Replayed(Box<Code>),
    Bad(&'static str),
    /// The person has to do something first; the code stays good for as long as it is.
    NotYet(Refusal),
}

pub(super) async fn code(identity: &Identity, client: &Registration, params: &Params) -> Result<Value, Refusal> {
    let text = params.get("code").ok_or_else(|| Refusal::request("code is missing"))?;
    if text.len() > LONGEST_CODE {
        return Err(Refusal::grant("the code is not known"));
    }
    let hash = identity.0.vault.hash_secret(&format!("code {text}"));
    let client_id = client.client_id.clone();
    let redirect = params.get("redirect_uri").map(str::to_owned);
    let verifier = params.get("code_verifier").map(str::to_owned);
    let first_use = identity.first_use(client);
    // What is kept of the grant begins in the same transaction, so that a code makes one or none.
    let registration = client.clone();
    let maker = identity.clone();
    let outcome = identity.0.store.write(move |tx| -> Result<Outcome, dte_store::Error> {
        let Some(code) = codes::find_code(tx, &hash)? else { return Ok(Outcome::Bad("the code is not known")) };
        if code.client_id != client_id {
            return Ok(Outcome::Bad("the code is not known"));
        }
        if code.used {
            return Ok(Outcome::Replayed(Box::new(code)));
        }
        let now = Timestamp::now();
        let wrong = if code.expires < now {
            Some("the code has expired")
        } else if redirect.as_deref() != Some(code.redirect_uri.as_str()) {
            Some("redirect_uri is not the one that the code was sent to")
        } else if !pkce::proves(code.challenge.as_deref(), verifier.as_deref()) {
            Some("code_verifier is not the one of the code's challenge")
        } else {
            None
        };
        if wrong.is_none()
            && let Some(refusal) = maker.not_yet(&code.granted.user)
        {
            return Ok(Outcome::NotYet(refusal));
        }
        // Whatever else comes of it: a code is tried once.
        codes::mark_code(tx, &hash, now)?;
        if let Some(why) = wrong {
            return Ok(Outcome::Bad(why));
        }
        let family = maker.new_family(&registration, &code.grant_id, &code.granted);
        grant::begin(tx, &family, first_use.as_deref())?;
        Ok(Outcome::Good(Box::new((code, family))))
    });
    match outcome.await? {
        Outcome::Good(good) => {
            let (code, family) = *good;
            // A refusal here leaves a family that nobody has a token of; it goes when it expires.
            identity.check_person(&code.granted.user)?;
            identity.answer(Issue {
                client,
                grant_id: &code.grant_id,
                granted: &code.granted,
                scopes: &code.granted.scopes,
                audiences: &code.granted.audiences,
                refresh_token: identity.first_refresh(&family),
            })
        }
        Outcome::Replayed(code) => {
            let why = "its code was used twice";
            identity.end_family(&code.grant_id, &code.granted.user, &client.client_id, why).await?;
            Err(Refusal::grant("the code was used before; what was issued for it is revoked"))
        }
        Outcome::Bad(why) => Err(Refusal::grant(why)),
        Outcome::NotYet(refusal) => Err(refusal),
    }
}

/// What came of a device code.
enum Polled {
    Wait,
    Unknown,
    Expired,
    Denied,
    Verifier,
    NotYet(Refusal),
    Good(Box<(Granted, Family)>),
}

pub(super) async fn device(identity: &Identity, client: &Registration, params: &Params) -> Result<Value, Refusal> {
    let text = params.get("device_code").ok_or_else(|| Refusal::request("device_code is missing"))?;
    if text.len() > LONGEST_CODE {
        return Err(Refusal::grant("the device code is not known"));
    }
    let hash = identity.0.vault.hash_secret(&format!("device {text}"));
    slow_down(identity, &hash)?;
    let (key, client_id) = (hash.clone(), client.client_id.clone());
    // Waiting is most of it: that only reads.
    let waits = identity.0.store.read(move |tx| -> Result<bool, dte_store::Error> {
        let found = codes::find_device(tx, &key)?.filter(|device| device.client_id == client_id);
        Ok(found
            .is_some_and(|device| matches!(device.state, DeviceState::Waiting) && device.expires > Timestamp::now()))
    });
    if waits.await? {
        return Err(Refusal::new("authorization_pending", "the person has not decided yet"));
    }
    let grant_id = grant::grant_id();
    let (client_id, id) = (client.client_id.clone(), grant_id.clone());
    let verifier = params.get("code_verifier").map(str::to_owned);
    let first_use = identity.first_use(client);
    let (registration, maker) = (client.clone(), identity.clone());
    let polled = identity.0.store.write(move |tx| -> Result<Polled, dte_store::Error> {
        let found = codes::find_device(tx, &hash)?.filter(|device| device.client_id == client_id);
        let Some(device) = found else { return Ok(Polled::Unknown) };
        if device.expires < Timestamp::now() {
            return Ok(Polled::Expired);
        }
        if !pkce::proves(device.challenge.as_deref(), verifier.as_deref()) {
            return Ok(Polled::Verifier);
        }
        match device.state {
            DeviceState::Waiting => Ok(Polled::Wait),
            DeviceState::Denied => Ok(Polled::Denied),
            DeviceState::Granted(granted) => {
                if let Some(refusal) = maker.not_yet(&granted.user) {
                    return Ok(Polled::NotYet(refusal));
                }
                codes::delete_device(tx, &device.hash)?;
                let family = maker.new_family(&registration, &id, &granted);
                grant::begin(tx, &family, first_use.as_deref())?;
                Ok(Polled::Good(Box::new((granted, family))))
            }
        }
    });
    match polled.await? {
        Polled::Wait => Err(Refusal::new("authorization_pending", "the person has not decided yet")),
        Polled::Unknown => Err(Refusal::grant("the device code is not known, or was used")),
        Polled::Expired => Err(Refusal::new("expired_token", "the device code has expired; begin again")),
        Polled::Denied => Err(Refusal::new("access_denied", "the person said no")),
        Polled::Verifier => Err(Refusal::grant("code_verifier is not the one of the device code's challenge")),
        Polled::NotYet(refusal) => Err(refusal),
        Polled::Good(good) => {
            let (granted, family) = *good;
            identity.check_person(&granted.user)?;
            identity.answer(Issue {
                client,
                grant_id: &grant_id,
                granted: &granted,
                scopes: &granted.scopes,
                audiences: &granted.audiences,
                refresh_token: identity.first_refresh(&family),
            })
        }
    }
}

fn slow_down(identity: &Identity, hash: &[u8]) -> Result<(), Refusal> {
    let mut polls = identity.0.issuing.polls.lock();
    let now = Instant::now();
    match polls.get_mut(hash) {
        Some((last, interval)) => {
            let since = now.duration_since(*last);
            *last = now;
            if since + TOLERANCE < *interval {
                *interval += SLOWER;
                return Err(Refusal::new("slow_down", format!("wait {} seconds between", interval.as_secs())));
            }
        }
        None => {
            polls.put(hash.to_vec(), (now, INTERVAL));
        }
    }
    Ok(())
}
