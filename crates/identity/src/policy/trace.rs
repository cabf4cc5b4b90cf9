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
fn own_copy(line: &Line, name: &str) -> Value {
    let mut shown = shown(line);
    let is_own = ["by", "subject"].iter().any(|member| line.2[*member] == name);
    if let (false, Value::Object(map)) = (is_own, &mut shown) {
        map.retain(|member, _| matches!(member.as_str(), "seq" | "at" | "kind" | "action" | "object"));
    }
    shown
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

    /// The newest events about something, for example a pod or a transfer.
    async fn events_about(&self, text: &str) -> Result<Vec<Told>, Refusal> {
        let (mut found, mut before) = (Vec::new(), None);
        while found.len() < MOST_EVENTS {
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
        let events = self.events_about(text).await?;
        let mut names: BTreeSet<String> = events.iter().filter_map(|event| event.4.clone()).collect();
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
        let event = |(seq, at, kind, subject, user): &Told| json!({"seq": seq, "at": at, "type": kind, "subject": subject, "user": user});
        Ok(json!({
            "asked": text, "records": lines.iter().map(shown).collect::<Vec<_>>(),
            "events": events.iter().map(event).collect::<Vec<_>>(), "identities": identities, "next": next,
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
        let mut answer = self.traced(text, after).await?;
        let is_own = |one: &Value| ["by", "subject", "name"].iter().any(|member| one[*member] == name);
        for (list, whose) in [("records", ""), ("identities", ""), ("events", "user")] {
            if let Value::Array(items) = &mut answer[list] {
                items.retain(|one| if whose.is_empty() { is_own(one) } else { one[whose] == name });
            }
        }
        Ok(answer)
    }

    /// Who a name is: the account or client, its groups, what it agreed to and when.
    async fn described(&self, name: &str) -> Result<Option<Value>, Refusal> {
        let directory = self.directory();
        let accepted = self.acceptances_of(name).await?;
        let kind = if directory.users.contains_key(name) {
            "account"
        } else if directory.clients.contains_key(name) {
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
            .filter(|ban| ban.who.subject.as_deref() == Some(name) || ban.who.client_id.as_deref() == Some(name))
            .map(|ban| ban.id.as_str())
            .collect();
        Ok(Some(json!({
            "name": name, "kind": kind, "active": user.map(|user| user.active), "admin": user.map(|user| user.admin),
            "since": user.map(|user| user.created), "as_of": now, "groups": groups, "bans": bans,
            "aup": accepted.iter().map(|record| self.shown_acceptance(record)).collect::<Vec<_>>(),
        })))
    }

    async fn acceptances_of(&self, name: &str) -> Result<Vec<Record>, Refusal> {
        let filter = Filter { subject: Some(name.to_owned()), ..Filter::default() };
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
        let acceptances = self.acceptances_of(name).await?;
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
            "audit": audit.iter().map(|line| own_copy(line, name)).collect::<Vec<_>>(),
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
