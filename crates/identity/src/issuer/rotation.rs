//! Signing keys: the next is published before it signs, the last is published until its last token has expired.

use std::time::Duration;

use dte_base::tasks::Tasks;
use dte_base::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::store::keys as table;
use crate::Identity;
use crate::audit::Entry;
use crate::issue::{Error, LONGEST_LIFETIME};
use crate::keys::SigningKey;

/// How often it is looked whether a key's time has come.
const LOOK: Duration = Duration::from_secs(600);

/// A signing key, as administrators see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyTimes {
    pub kid: String,
    /// `previous`, `current` or `next`.
    pub state: String,
    pub created: Timestamp,
    pub signs_from: Timestamp,
}

/// What has to be done about the keys, the oldest turn first.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Nothing,
    /// Its last token has expired.
    Retire(String),
    /// A new key that signs from then on.
    Publish(Timestamp),
}

fn step(keys: &[(String, Timestamp, Timestamp)], life: Duration, publish: Duration, now: Timestamp) -> Step {
    let current = keys.iter().rposition(|(_, _, from)| *from <= now);
    let Some(current) = current else { return Step::Publish(now) };
    if current > 0 && keys[current].2 + LONGEST_LIFETIME + publish < now {
        return Step::Retire(keys[0].0.clone());
    }
    let (_, created, from) = &keys[current];
    // A key from before rotation has no turn; it counts from when it was made.
    let turn = (*from).max(*created) + life;
    if current + 1 == keys.len() && turn - publish <= now {
        return Step::Publish(turn.max(now + publish));
    }
    Step::Nothing
}

impl Identity {
    /// Keys in use, in the order of their turns.
    pub async fn signing_keys(&self) -> Result<Vec<KeyTimes>, Error> {
        let now = Timestamp::now();
        let keys = self.0.store.read(table::times).await?;
        let current = keys.iter().rposition(|(_, _, from)| *from <= now);
        let state = |place: usize| match current {
            Some(current) if place == current => "current",
            Some(current) if place < current => "previous",
            _ => "next",
        };
        let view = |(place, (kid, created, signs_from)): (usize, (String, Timestamp, Timestamp))| KeyTimes {
            kid,
            state: state(place).to_owned(),
            created,
            signs_from,
        };
        Ok(keys.into_iter().enumerate().map(view).collect())
    }

    /// Publishes a new key, which signs when everybody has had the time to see it. With a key that waits already, that one
    /// stays. Gives the key that will sign next.
    pub async fn rotate_keys(&self, by: &str) -> Result<KeyTimes, Error> {
        let from = Timestamp::now() + self.0.issuing.config.key_publish.0;
        if !self.signing_keys().await?.iter().any(|key| key.state == "next") {
            self.publish_key(from, by).await?;
        }
        let keys = self.signing_keys().await?;
        keys.into_iter().next_back().ok_or_else(|| Error::Signing("there is no key".to_owned()))
    }

    /// Emergency: a key is no longer ours, from now on. What it signed is worth nothing; when it was the one that signs,
    /// another does at once.
    pub async fn drop_key(&self, kid: &str, by: &str) -> Result<(), Error> {
        let keys = self.signing_keys().await?;
        let dropped = keys.iter().find(|key| key.kid == kid).ok_or_else(|| Error::NoKey(kid.to_owned()))?;
        let heir = keys.iter().find(|key| key.state == "next").map(|key| key.kid.clone());
        let fresh = match (dropped.state.as_str(), &heir) {
            ("current", None) => Some(self.make_key()?),
            _ => None,
        };
        let is_current = dropped.state == "current";
        let entry = Entry::change(by, "key.drop", kid, json!({"state": dropped.state}));
        let kid = kid.to_owned();
        let now = Timestamp::now();
        self.change(vec![entry], move |tx| {
            table::retire(tx, &kid, now)?;
            match (&fresh, &heir) {
                (Some((new, sealed)), _) => table::insert(tx, new, sealed, now, now)?,
                (None, Some(heir)) if is_current => table::sign_from(tx, heir, now)?,
                _ => {}
            }
            Ok(())
        })
        .await?;
        self.read_keys().await
    }

    fn make_key(&self) -> Result<(String, Vec<u8>), Error> {
        let signing = |error: crate::OpenError| Error::Signing(error.to_string());
        let (key, der) = SigningKey::generate().map_err(signing)?;
        let sealed = self.0.vault.seal(&key.kid, &der).map_err(signing)?;
        Ok((key.kid, sealed))
    }

    async fn publish_key(&self, from: Timestamp, by: &str) -> Result<(), Error> {
        let (kid, sealed) = self.make_key()?;
        let entry = Entry::change(by, "key.publish", &kid, json!({"signs_from": from}));
        let now = Timestamp::now();
        self.change(vec![entry], move |tx| {
            // Another process may have been faster.
            let waits = table::times(tx)?.iter().any(|(_, _, signs_from)| *signs_from > now);
            if waits { Ok(()) } else { Ok(table::insert(tx, &kid, &sealed, now, from)?) }
        })
        .await?;
        self.read_keys().await
    }

    /// Turns keys over for as long as the engine runs.
    pub(crate) async fn turn_keys(self, tasks: Tasks) {
        loop {
            if let Err(error) = self.turn_once().await {
                tracing::warn!(%error, "the signing keys could not be looked after");
            }
            let life = self.0.issuing.config.key_life.0;
            tokio::select! {
                () = tokio::time::sleep(LOOK.min(life / 4).max(Duration::from_millis(200))) => {}
                () = tasks.stopping() => return,
            }
        }
    }

    async fn turn_once(&self) -> Result<(), Error> {
        let config = &self.0.issuing.config;
        let keys = self.0.store.read(table::times).await?;
        match step(&keys, config.key_life.0, config.key_publish.0, Timestamp::now()) {
            Step::Nothing => Ok(()),
            Step::Publish(from) => self.publish_key(from, "engine").await,
            Step::Retire(kid) => {
                let entry = Entry::change("engine", "key.retire", &kid, serde_json::Value::Null);
                let now = Timestamp::now();
                self.change(vec![entry], move |tx| Ok(table::retire(tx, &kid, now).map(drop)?)).await?;
                self.read_keys().await
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_before_it_signs_and_kept_until_nothing_of_it_is_left() {
        let day = |n: u64| Duration::from_secs(n * 86_400);
        let at = |days: u64| Timestamp::from_seconds(0) + day(days);
        let key = |name: &str, created: u64, from: u64| (name.to_owned(), at(created), at(from));
        let plan = |keys: &[(String, Timestamp, Timestamp)], now: u64| step(keys, day(100), day(2), at(now));
        assert_eq!(plan(&[], 5), Step::Publish(at(5)));
        // The first key, made before there was rotation.
        let first = ("a".to_owned(), at(10), at(0));
        assert_eq!(plan(std::slice::from_ref(&first), 20), Step::Nothing);
        assert_eq!(plan(std::slice::from_ref(&first), 108), Step::Publish(at(110)));
        // The engine was off for long: still two days before it signs.
        assert_eq!(plan(std::slice::from_ref(&first), 300), Step::Publish(at(302)));
        let two = [first, key("b", 108, 110)];
        assert_eq!(plan(&two, 109), Step::Nothing);
        assert_eq!(plan(&two, 111), Step::Nothing);
        assert_eq!(plan(&two, 120), Step::Retire("a".to_owned()));
        assert_eq!(plan(&two[1..], 120), Step::Nothing);
        assert_eq!(plan(&two[1..], 208), Step::Publish(at(210)));
    }
}
