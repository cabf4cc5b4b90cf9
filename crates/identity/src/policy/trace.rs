//! Who was behind something: from a token, a subject, a client, a pod, a transfer or a request to the identity, what it had
//! agreed to, the client, and every action on record.

use std::collections::BTreeSet;

use dte_base::time::Timestamp;
use serde_json::{Value, json};

use super::agreements::Record;
use super::change::Refusal;
use super::store::acceptances::{self, Filter};
use super::store::trace::{Line, Told, events_about, mentioning};
use crate::Identity;
use crate::model::known::Known;
use crate::store::audit::of_subject;

/// Records of the trail that are looked at in one read.
const WINDOW: i64 = 5_000;
/// Records that one answer holds.
pub(crate) const MOST: usize = 1_000;
/// Identities that one answer describes.
const MOST_IDENTITIES: usize = 50;
/// Events that one answer shows.
const MOST_EVENTS: usize = 100;
/// Acceptances of one identity that are shown.
const MOST_ACCEPTANCES: usize = 1_000;
/// Reads that a question of somebody who is no administrator may cost; the next question goes on from there.
const OWN_READS: usize = 8;
/// Reads of events for such a question.
const OWN_EVENT_READS: usize = 20;
/// Shorter texts would be found in nearly everything.
pub(crate) const SHORTEST: usize = 3;

/// Whether a value anywhere in a record is this text: as a whole, or as a part of a path.
fn says(value: &Value, text: &str) -> bool {
    match value {
        Value::String(known) => known == text || known.split(['/', '?', '&', '=']).any(|part| part == text),
        Value::Array(list) => list.iter().any(|value| says(value, text)),
        Value::Object(map) => map.values().any(|value| says(value, text)),
        _ => false,
    }
}

fn shown((seq, at, body): &Line) -> Value {
    let mut shown = json!({"seq": seq, "at": at});
    if let (Value::Object(into), Value::Object(body)) = (&mut shown, body) {
        into.extend(body.iter().map(|(name, value)| (name.clone(), value.clone())));
    }
    shown
}

/// A record in the copy of the person whom it is about: what others did, without the details, which may name others.
fn own_copy(line: &Line, who: &Known) -> Value {
    let mut shown = shown(line);
    if let (false, Value::Object(map)) = (who.is_own(&line.2), &mut shown) {
        map.retain(|member, _| matches!(member.as_str(), "seq" | "at" | "kind" | "action" | "object"));
    }
    shown
}

fn shown_event(event: &Told) -> Value {
    json!({"seq": event.seq, "at": event.at, "type": event.kind, "subject": event.subject, "user": event.user})
}

impl Identity {
    /// Records of the audit trail after `after` in which something is named.
    async fn lines_about(&self, text: &str, after: i64) -> Result<Vec<Line>, Refusal> {
        let (mut found, mut seq) = (Vec::new(), after);
        while found.len() < MOST {
            let wanted = text.to_owned();
            let (lines, end) = self.0.store.read(move |tx| mentioning(tx, &wanted, seq, WINDOW)).await?;
            found.extend(lines.into_iter().filter(|(_, _, body)| says(body, text)));
            match end {
                Some(end) => seq = end,
                None => break,
            }
        }
        found.truncate(MOST);
        Ok(found)
    }

    /// Records after `after` of what a person did in which something is named, and where to go on. The index of subjects
    /// leads to them, and one question reads only so many.
    async fn own_lines(&self, who: &Known, text: &str, after: i64) -> Result<(Vec<Line>, Option<i64>), Refusal> {
        let (mut found, mut seq) = (Vec::new(), after);
        for _ in 0..OWN_READS {
            let name = who.name.clone();
            let lines = self.0.store.read(move |tx| of_subject(tx, &name, seq, WINDOW)).await?;
            let is_whole = i64::try_from(lines.len()).unwrap_or(WINDOW) < WINDOW;
            for line in lines {
                seq = line.0;
                if who.is_own(&line.2) && says(&line.2, text) {
                    found.push(line);
                }
                if found.len() == MOST {
                    return Ok((found, Some(seq)));
                }
            }
            if is_whole {
                return Ok((found, None));
            }
        }
        Ok((found, Some(seq)))
    }

    /// The newest events about something, for example a pod or a transfer, among those of so many reads.
    async fn events_about(&self, text: &str, reads: usize) -> Result<Vec<Told>, Refusal> {
        let (mut found, mut before) = (Vec::new(), None);
        for _ in 0..reads {
            if found.len() >= MOST_EVENTS {
                break;
            }
            let wanted = text.to_owned();
            let (events, from) = self.0.store.read(move |tx| events_about(tx, &wanted, before, WINDOW)).await?;
            found.extend(events);
            match from {
                Some(from) => before = Some(from),
                None => break,
            }
        }
        found.truncate(MOST_EVENTS);
        Ok(found)
    }

    /// The answer to a question of incident response: the records in which something is named, the events about it, and
    /// who the people and programs are that these name.
    pub(crate) async fn traced(&self, text: &str, after: i64) -> Result<Value, Refusal> {
        if text.len() < SHORTEST {
            return Err(Refusal::Invalid(format!("name something of at least {SHORTEST} bytes")));
        }
        let lines = self.lines_about(text, after).await?;
        let events = self.events_about(text, usize::MAX).await?;
        let mut names: BTreeSet<String> = events.iter().filter_map(|event| event.user.clone()).collect();
        for (_, _, body) in &lines {
            for member in ["by", "object", "subject", "client_id"] {
                names.extend(body[member].as_str().map(str::to_owned));
            }
        }
        names.insert(text.to_owned());
        let mut identities = Vec::new();
        for name in names.into_iter().take(MOST * 3) {
            if identities.len() < MOST_IDENTITIES
                && let Some(identity) = self.described(&name).await?
            {
                identities.push(identity);
            }
        }
        let next = if lines.len() == MOST { lines.last().map(|line| line.0) } else { None };
        Ok(json!({
            "asked": text, "records": lines.iter().map(shown).collect::<Vec<_>>(),
            "events": events.iter().map(shown_event).collect::<Vec<_>>(), "identities": identities, "next": next,
        }))
    }

    /// The same for an administration that is no request. `by` is who asks: reading the trail is itself on record.
    pub async fn trace(&self, text: &str, after: i64, by: &str) -> Result<Value, dte_http::Problem> {
        let answer = self.traced(text, after).await?;
        self.audit().note(crate::audit::Entry::change(by, "audit.trace", text, json!({})));
        Ok(answer)
    }

    /// What a person did themselves with something, and who they are in that: nothing of others.
    pub(crate) async fn own_trace(&self, name: &str, text: &str, after: i64) -> Result<Value, Refusal> {
        if text.len() < SHORTEST {
            return Err(Refusal::Invalid(format!("name something of at least {SHORTEST} bytes")));
        }
        let who = self.known_as(name);
        let (lines, next) = self.own_lines(&who, text, after).await?;
        let is_own = |event: &Told| match (&event.issuer, &event.user) {
            (Some(issuer), Some(user)) => who.is(issuer, user),
            (None, Some(user)) => user == name,
            (_, None) => false,
        };
        let mut events = self.events_about(text, OWN_EVENT_READS).await?;
        events.retain(is_own);
        let is_named = text == name || !lines.is_empty() || !events.is_empty();
        let identities: Vec<Value> =
            if is_named { self.described(name).await?.into_iter().collect() } else { Vec::new() };
        Ok(json!({
            "asked": text, "records": lines.iter().map(shown).collect::<Vec<_>>(),
            "events": events.iter().map(shown_event).collect::<Vec<_>>(), "identities": identities, "next": next,
        }))
    }

    /// Who a name is: the account or client, its groups, what it agreed to and when.
    async fn described(&self, name: &str) -> Result<Option<Value>, Refusal> {
        let directory = self.directory();
        let is_account = directory.users.contains_key(name);
        let is_ours = is_account || directory.clients.contains_key(name);
        // An account's namesakes elsewhere are others.
        let accepted = self.acceptances_of(is_ours.then(|| self.issuer()), name).await?;
        let kind = if is_account {
            "account"
        } else if is_ours {
            "client"
        } else if !accepted.is_empty() {
            "other"
        } else {
            return Ok(None);
        };
        let user = directory.users.get(name);
        let now = Timestamp::now();
        let groups: Vec<String> = self.groups_of(name).iter().map(crate::model::group::Group::name).collect();
        let bans: Vec<&str> = directory
            .bans
            .iter()
            .filter(|ban| !is_ours || ban.who.issuer.as_deref().is_none_or(|issuer| issuer == self.issuer()))
            .filter(|ban| ban.who.subject.as_deref() == Some(name) || ban.who.client_id.as_deref() == Some(name))
            .map(|ban| ban.id.as_str())
            .collect();
        Ok(Some(json!({
            "name": name, "kind": kind, "active": user.map(|user| user.active), "admin": user.map(|user| user.admin),
            "since": user.map(|user| user.created), "as_of": now, "groups": groups, "bans": bans,
            "aup": accepted.iter().map(|record| self.shown_acceptance(record)).collect::<Vec<_>>(),
        })))
    }

    /// What somebody accepted; without an issuer, at any.
    async fn acceptances_of(&self, issuer: Option<&str>, name: &str) -> Result<Vec<Record>, Refusal> {
        let filter = Filter { issuer: issuer.map(str::to_owned), subject: Some(name.to_owned()), ..Filter::default() };
        Ok(self.0.store.read(move |tx| acceptances::list(tx, &filter, 0, MOST_ACCEPTANCES)).await?)
    }

    /// A record with the number of the version.
    fn shown_acceptance(&self, record: &Record) -> Value {
        let mut shown = record.shown();
        let state = self.0.policy.state();
        let owner = super::model::aup::Owner::parse(&record.owner);
        let versions = owner.as_ref().map(|owner| state.aups_of(owner)).unwrap_or_default();
        shown["version"] = json!(versions.iter().find(|version| version.id == record.aup_id).map(|one| one.version));
        shown
    }

    /// All that identity keeps about a local account: the person's own copy.
    pub(crate) async fn export_of(&self, name: &str) -> Result<Value, Refusal> {
        let person = self.person(name).ok_or_else(|| Refusal::NoSuch(format!("account {name}")))?;
        let acceptances = self.acceptances_of(Some(self.issuer()), name).await?;
        let who = self.known_as(name);
        let audit = self.lines_about(name, 0).await?;
        let wanted = super::store::groups::RequestFilter { name: Some(name.to_owned()), ..Default::default() };
        let requests = self.0.store.read(move |tx| super::store::groups::requests(tx, &wanted, "", MOST)).await?;
        let now = Timestamp::now();
        let memberships: Vec<Value> = {
            let state = self.0.policy.state();
            let each = |(group, role, standing): (&super::groups::GroupRecord, &str, super::memory::Standing)| {
                json!({
                    "group": group.path, "role": role, "state": standing.state.at(standing.expires, now),
                    "since": standing.since, "expires": standing.expires,
                })
            };
            state.memberships_of(name).into_iter().map(each).collect()
        };
        let requests: Vec<Value> = requests
            .iter()
            .map(|one| {
                json!({
                    "group": one.group_path, "notes": one.notes, "status": one.status.name(), "motivation": one.motivation,
                    "created": one.created, "updated": one.updated,
                })
            })
            .collect();
        let is_whole = audit.len() < MOST;
        Ok(json!({
            "as_of": now,
            "account": person.user,
            "profile": {
                "display_name": person.profile.display, "given_name": person.profile.given,
                "family_name": person.profile.family, "email": person.profile.email,
            },
            "memberships": memberships,
            "group_requests": requests,
            "acceptances": acceptances.iter().map(|record| self.shown_acceptance(record)).collect::<Vec<_>>(),
            "audit": audit.iter().filter(|line| who.is_about(&line.2)).map(|line| own_copy(line, &who)).collect::<Vec<_>>(),
            "audit_is_whole": is_whole,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_name_things_whole() {
        let body = json!({"by": "alice", "object": "/interlink/pods/abc-123?force=yes", "detail": {"names": ["bob"]}});
        for named in ["alice", "abc-123", "bob", "yes"] {
            assert!(says(&body, named), "{named}");
        }
        for other in ["ali", "alicea", "abc", "bo", "detail"] {
            assert!(!says(&body, other), "{other}");
        }
    }
}
