//! Communities (VOs) and groups: a tree of paths, who is in, who manages, and requests to be let in.

use dte_base::id::new_id;
use dte_base::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::change::{Change, Refusal};
use super::model::membership::{Event, State, group_path, parent, role};
use super::store::groups as table;
use crate::Identity;
use crate::issuer::rules::grant_of;
use crate::model::principal::{Principal, Standing};

/// The longest description of a group, note or motivation, in bytes.
pub(crate) const LONGEST_TEXT: usize = 2_000;
/// The most managers of one group.
pub(crate) const MOST_MANAGERS: usize = 100;
/// The most members that are named in one request.
pub(crate) const MOST_AT_ONCE: usize = 20_000;
/// The members that one audit record lists; more go into further records.
const NAMED_IN_AUDIT: usize = 500;

/// A group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct GroupRecord {
    pub(crate) id: String,
    /// `/vo/group`
    pub(crate) path: String,
    pub(crate) description: String,
    pub(crate) managers: Vec<String>,
    pub(crate) created: Timestamp,
    pub(crate) modified: Timestamp,
    #[serde(skip)]
    pub(crate) deleted: bool,
}

/// Somebody in a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Membership {
    pub(crate) group_id: String,
    pub(crate) name: String,
    /// Empty: a plain member.
    pub(crate) role: String,
    pub(crate) state: State,
    pub(crate) since: Timestamp,
    pub(crate) expires: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum RequestStatus {
    Pending,
    Approved,
    Rejected,
}

impl RequestStatus {
    pub(crate) fn name(self) -> &'static str {
        match self {
            RequestStatus::Pending => "PENDING",
            RequestStatus::Approved => "APPROVED",
            RequestStatus::Rejected => "REJECTED",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        [Self::Pending, Self::Approved, Self::Rejected].into_iter().find(|status| status.name() == name)
    }
}

/// A request to be let into a group.
#[derive(Clone, Debug)]
pub(crate) struct GroupRequest {
    pub(crate) id: String,
    pub(crate) group_id: String,
    pub(crate) group_path: String,
    pub(crate) name: String,
    pub(crate) notes: String,
    pub(crate) status: RequestStatus,
    pub(crate) motivation: Option<String>,
    pub(crate) created: Timestamp,
    pub(crate) updated: Timestamp,
}

/// A change of one membership.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) name: String,
    pub(crate) role: String,
    pub(crate) event: Event,
    /// With [`Event::Admit`] and [`Event::Renew`].
    pub(crate) expires: Option<Timestamp>,
}

/// A text from outside that is kept.
pub(crate) fn bounded(what: &str, text: &str) -> Result<String, Refusal> {
    if text.len() > LONGEST_TEXT {
        return Err(Refusal::Invalid(format!("the {what} has at most {LONGEST_TEXT} bytes")));
    }
    Ok(text.trim().to_owned())
}

fn no_group(path: &str) -> Refusal {
    Refusal::NoSuch(format!("group {path}"))
}

/// A person with all rights of the account: neither a client nor a token that is confined to something else.
pub(crate) fn is_person(principal: &Principal) -> bool {
    matches!(principal.standing, Standing::User { .. }) && !principal.scopes.have_capabilities()
}

/// A person with a token that they made themselves: no program's that they let act for them, no service's, and none of an
/// issuer elsewhere.
pub(crate) fn is_person_in_person(principal: &Principal) -> bool {
    let is_made_here = principal.token_id.as_deref().is_some_and(|id| grant_of(id).is_none());
    is_person(principal) && is_made_here && principal.acting.is_none() && !principal.is_foreign
}

impl Identity {
    /// Whether the principal may change the group: administrators, and managers of it or of one above it.
    pub(crate) fn manages(&self, principal: &Principal, path: &str) -> bool {
        principal.is_admin() || (is_person(principal) && self.0.policy.state().manages(principal.name(), path))
    }

    pub(crate) async fn add_group(
        &self,
        path: &str,
        description: &str,
        managers: &[String],
        by: &str,
    ) -> Result<GroupRecord, Refusal> {
        let path = group_path(path).map_err(Refusal::Invalid)?;
        let description = bounded("description", description)?;
        let managers = self.known_managers(managers)?;
        self.policy_change(by, move |change| {
            if let Some(above) = parent(&path)
                && table::group_by_path(change.tx, above)?.is_none()
            {
                return Err(no_group(above));
            }
            if table::group_by_path(change.tx, &path)?.is_some() {
                return Err(Refusal::Conflict(format!("there is a group {path} already")));
            }
            let group = GroupRecord {
                id: new_id().to_string(),
                path: path.clone(),
                description: description.clone(),
                managers: managers.clone(),
                created: change.now,
                modified: change.now,
                deleted: false,
            };
            table::insert_group(change.tx, &group, change.version)?;
            change.note("group.add", &path, json!({"id": group.id, "managers": managers}));
            Ok(group)
        })
        .await
    }

    /// Sets the description and the managers; what is not given stays.
    pub(crate) async fn set_group(
        &self,
        id: &str,
        description: Option<&str>,
        managers: Option<&[String]>,
        by: &str,
    ) -> Result<GroupRecord, Refusal> {
        let description = description.map(|text| bounded("description", text)).transpose()?;
        let managers = managers.map(|managers| self.known_managers(managers)).transpose()?;
        let id = id.to_owned();
        self.policy_change(by, move |change| {
            let mut group = table::group_by_id(change.tx, &id)?.ok_or_else(|| no_group(&id))?;
            group.modified = change.now;
            if let Some(description) = &description {
                group.description.clone_from(description);
            }
            if let Some(managers) = &managers {
                group.managers.clone_from(managers);
            }
            table::update_group(change.tx, &group, change.version)?;
            let detail = json!({"description": description, "managers": managers});
            change.note("group.set", &group.path, detail);
            Ok(group)
        })
        .await
    }

    /// Ends a group without groups beneath it, and all memberships in it.
    pub(crate) async fn delete_group(&self, id: &str, by: &str) -> Result<(), Refusal> {
        let id = id.to_owned();
        self.policy_change(by, move |change| {
            let group = table::group_by_id(change.tx, &id)?.ok_or_else(|| no_group(&id))?;
            if table::has_children(change.tx, &group.path)? {
                return Err(Refusal::Conflict(format!("there are groups beneath {}", group.path)));
            }
            table::delete_group(change.tx, &id, change.now, change.version)?;
            change.note("group.delete", &group.path, json!({"id": id}));
            Ok(())
        })
        .await
    }

    /// Changes memberships of one group, all or none.
    pub(crate) async fn step_members(&self, id: &str, steps: Vec<Step>, by: &str) -> Result<(), Refusal> {
        self.check_steps(&steps)?;
        let id = id.to_owned();
        self.policy_change(by, move |change| {
            let group = table::group_by_id(change.tx, &id)?.ok_or_else(|| no_group(&id))?;
            apply_steps(change, &group, &steps)
        })
        .await
    }

    /// Those who are let in exist, and ends lie ahead.
    pub(crate) fn check_steps(&self, steps: &[Step]) -> Result<(), Refusal> {
        if steps.len() > MOST_AT_ONCE {
            return Err(Refusal::Invalid(format!("at most {MOST_AT_ONCE} members at once")));
        }
        let (directory, now) = (self.directory(), Timestamp::now());
        for step in steps {
            if matches!(step.event, Event::Admit | Event::Request) && !directory.users.contains_key(&step.name) {
                return Err(Refusal::NoSuch(format!("account {}", step.name)));
            }
            if step.expires.is_some_and(|end| end <= now) {
                return Err(Refusal::Invalid("the end of a membership lies ahead".to_owned()));
            }
            role(&step.role).map_err(Refusal::Invalid)?;
        }
        Ok(())
    }

    /// Asks to be let into a group.
    pub(crate) async fn request_group(&self, path: &str, name: &str, notes: &str) -> Result<GroupRequest, Refusal> {
        let path = group_path(path).map_err(Refusal::Invalid)?;
        let notes = bounded("notes", notes)?;
        if notes.is_empty() {
            return Err(Refusal::Invalid("notes: say why you ask".to_owned()));
        }
        let by = name.to_owned();
        self.policy_change(name, move |change| {
            let group = table::group_by_path(change.tx, &path)?.ok_or_else(|| no_group(&path))?;
            let known = table::membership(change.tx, &group.id, &by, "")?;
            let at = known.as_ref().map(|known| known.state.at(known.expires, change.now));
            if at.is_some_and(State::counts) {
                return Err(Refusal::Invalid(format!("{by} is a member of {path} already")));
            }
            if at == Some(State::Requested) {
                return Err(Refusal::Invalid(format!("{by} has asked for {path} already")));
            }
            let step = Step { name: by.clone(), role: String::new(), event: Event::Request, expires: None };
            apply_steps(change, &group, &[step])?;
            let request = GroupRequest {
                id: new_id().to_string(),
                group_id: group.id,
                group_path: path.clone(),
                name: by.clone(),
                notes: notes.clone(),
                status: RequestStatus::Pending,
                motivation: None,
                created: change.now,
                updated: change.now,
            };
            table::insert_request(change.tx, &request)?;
            Ok(request)
        })
        .await
    }

    /// Says yes or no to a request.
    pub(crate) async fn decide_request(
        &self,
        id: &str,
        yes: bool,
        motivation: Option<&str>,
        by: &str,
    ) -> Result<GroupRequest, Refusal> {
        let motivation =
            motivation.map(|text| bounded("motivation", text)).transpose()?.filter(|text| !text.is_empty());
        if !yes && motivation.is_none() {
            return Err(Refusal::Invalid("motivation: say why not".to_owned()));
        }
        let (id, decider) = (id.to_owned(), by.to_owned());
        self.policy_change(by, move |change| {
            let request = pending(change, &id)?;
            let group =
                table::group_by_id(change.tx, &request.group_id)?.ok_or_else(|| no_group(&request.group_path))?;
            let event = if yes { Event::Admit } else { Event::Decline };
            let step = Step { name: request.name.clone(), role: String::new(), event, expires: None };
            let known = table::membership(change.tx, &group.id, &request.name, "")?;
            // A manager may have decided about the person without looking at the request.
            if known.is_some_and(|known| known.state == State::Requested) {
                apply_steps(change, &group, &[step])?;
            }
            let status = if yes { RequestStatus::Approved } else { RequestStatus::Rejected };
            table::decide_request(change.tx, &id, status, motivation.as_deref(), &decider, change.now)?;
            let action = if yes { "group.request.approve" } else { "group.request.reject" };
            change.note(action, &group.path, json!({"request": id, "name": request.name, "motivation": motivation}));
            Ok(GroupRequest { status, motivation: motivation.clone(), updated: change.now, ..request })
        })
        .await
    }

    /// Takes a request back. One that was decided stays, as evidence, unless an administrator removes it.
    pub(crate) async fn delete_request(&self, id: &str, by: &str, admin: bool) -> Result<(), Refusal> {
        let id = id.to_owned();
        self.policy_change(by, move |change| {
            let request = match pending(change, &id) {
                Err(Refusal::Invalid(_)) if admin => None,
                other => Some(other?),
            };
            if let Some(request) = request
                && let Some(group) = table::group_by_id(change.tx, &request.group_id)?
                && let Some(known) = table::membership(change.tx, &group.id, &request.name, "")?
                && known.state == State::Requested
            {
                let step = Step { name: request.name, role: String::new(), event: Event::Leave, expires: None };
                apply_steps(change, &group, &[step])?;
            }
            table::delete_request(change.tx, &id)?;
            change.note("group.request.delete", &id, json!({}));
            Ok(())
        })
        .await
    }

    fn known_managers(&self, managers: &[String]) -> Result<Vec<String>, Refusal> {
        if managers.len() > MOST_MANAGERS {
            return Err(Refusal::Invalid(format!("a group has at most {MOST_MANAGERS} managers")));
        }
        let directory = self.directory();
        if let Some(nobody) = managers.iter().find(|name| !directory.users.contains_key(*name)) {
            return Err(Refusal::NoSuch(format!("account {nobody}")));
        }
        let mut managers = managers.to_vec();
        managers.sort();
        managers.dedup();
        Ok(managers)
    }
}

fn pending(change: &mut Change<'_, '_>, id: &str) -> Result<GroupRequest, Refusal> {
    let request = table::request_by_id(change.tx, id)?.ok_or_else(|| Refusal::NoSuch(format!("request {id}")))?;
    if request.status != RequestStatus::Pending {
        return Err(Refusal::Invalid(format!("the request is {} already", request.status.name())));
    }
    Ok(request)
}

/// Takes memberships of a group through the state machine. One read and one write, however many they are.
pub(crate) fn apply_steps(change: &mut Change<'_, '_>, group: &GroupRecord, steps: &[Step]) -> Result<(), Refusal> {
    let known = match steps {
        [step] => table::membership(change.tx, &group.id, &step.name, &role(&step.role).map_err(Refusal::Invalid)?)?
            .into_iter()
            .collect(),
        _ => table::members_of(change.tx, &group.id)?,
    };
    let mut known: std::collections::HashMap<(String, String), Membership> =
        known.into_iter().map(|member| ((member.name.clone(), member.role.clone()), member)).collect();
    let mut written = std::collections::BTreeMap::new();
    for step in steps {
        let role = role(&step.role).map_err(Refusal::Invalid)?;
        let key = (step.name.clone(), role.clone());
        let before = known.get(&key);
        let state = before.map_or(State::Left, |member| member.state.at(member.expires, change.now));
        let after = state.after(step.event).ok_or_else(|| Refusal::Illegal {
            what: format!("{} is {} in {}", step.name, state.name(), group.path),
            allowed: state.allowed().iter().map(|event| format!("{event:?}").to_lowercase()).collect(),
        })?;
        let is_same = state == after && step.event == Event::Admit && step.expires.is_none();
        if before.is_some() && is_same {
            continue;
        }
        let expires = match step.event {
            Event::Admit | Event::Renew => step.expires,
            _ => before.and_then(|member| member.expires),
        };
        let member = Membership {
            group_id: group.id.clone(),
            name: step.name.clone(),
            role,
            state: after,
            since: change.now,
            expires,
        };
        known.insert(key.clone(), member.clone());
        written.insert(key, member);
    }
    let rows: Vec<Membership> = written.into_values().collect();
    table::put_members(change.tx, &rows, change.version)?;
    for state in State::ALL {
        let of_state: Vec<&Membership> = rows.iter().filter(|member| member.state == state).collect();
        for some in of_state.chunks(NAMED_IN_AUDIT) {
            let each =
                |member: &&Membership| json!({"name": member.name, "role": member.role, "expires": member.expires});
            let members: Vec<_> = some.iter().map(each).collect();
            change.note(&format!("member.{}", state.name()), &group.path, json!({"members": members}));
        }
    }
    Ok(())
}
