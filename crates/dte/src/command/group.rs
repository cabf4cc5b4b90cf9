//! `dte group`: communities, groups and members of a running engine, through the same API that other clients use.

use http::Method;
use serde_json::{Value, json};

use crate::cli::{Common, Group, GroupRequest, Member};
use crate::failure::Failure;
use crate::remote::Remote;
use crate::show;

const NOTHING: Option<&()> = None;

pub async fn group(common: &Common, command: Group) -> Result<(), Failure> {
    let remote = Remote::find(common).await?;
    match command {
        Group::Add { path, description, managers } => {
            let wanted = json!({"path": path, "description": description, "managers": managers});
            let made: Value = remote.call(Method::POST, "/policy/v1/groups", Some(&wanted)).await?;
            if common.json {
                return show::json(&made);
            }
            show::line(format!("group {path} is there"));
        }
        Group::List => {
            let groups = all(&remote, "/policy/v1/groups").await?;
            if common.json {
                return show::json(&groups);
            }
            let row = |group: &Value| vec![text(group, "path"), text(group, "description"), managers(group)];
            show::table(&["GROUP", "DESCRIPTION", "MANAGERS"], &groups.iter().map(row).collect::<Vec<_>>());
        }
        Group::Delete { path } => {
            let id = id_of(&remote, &path).await?;
            remote.call::<Value>(Method::DELETE, &format!("/policy/v1/groups/{id}"), NOTHING).await?;
            show::line(format!("group {path} is gone"));
        }
        Group::Member(command) => member(common, &remote, command).await?,
        Group::Request(command) => request(common, &remote, command).await?,
    }
    Ok(())
}

async fn member(common: &Common, remote: &Remote, command: Member) -> Result<(), Failure> {
    match command {
        Member::Add { path, names, role, expires } => {
            let id = id_of(remote, &path).await?;
            let one = |name: &String| json!({"name": name, "role": role, "expires": expires});
            let wanted = json!({"members": names.iter().map(one).collect::<Vec<_>>()});
            let members = format!("/policy/v1/groups/{id}/members");
            remote.call::<Value>(Method::POST, &members, Some(&wanted)).await?;
            show::line(format!("in {path}: {}", names.join(", ")));
        }
        Member::List { path } => {
            let id = id_of(remote, &path).await?;
            let members = all(remote, &format!("/policy/v1/groups/{id}/members")).await?;
            if common.json {
                return show::json(&members);
            }
            let row = |one: &Value| ["name", "role", "state", "since", "expires"].map(|part| text(one, part)).to_vec();
            show::table(&["NAME", "ROLE", "STATE", "SINCE", "UNTIL"], &members.iter().map(row).collect::<Vec<_>>());
        }
        Member::Remove { path, name, role } => {
            let id = id_of(remote, &path).await?;
            let place = format!("/policy/v1/groups/{id}/members/{}?role={}", part(&name), part(&role));
            remote.call::<Value>(Method::DELETE, &place, NOTHING).await?;
            show::line(format!("{name} is not in {path} any more"));
        }
    }
    Ok(())
}

async fn request(common: &Common, remote: &Remote, command: GroupRequest) -> Result<(), Failure> {
    match command {
        GroupRequest::List => {
            let found: Value = remote.get("/oidc/iam/group_requests?status=PENDING").await?;
            let requests = found["Resources"].as_array().cloned().unwrap_or_default();
            if common.json {
                return show::json(&requests);
            }
            let row = |one: &Value| ["uuid", "username", "groupName", "notes"].map(|part| text(one, part)).to_vec();
            show::table(&["ID", "WHO", "GROUP", "WHY"], &requests.iter().map(row).collect::<Vec<_>>());
        }
        GroupRequest::Approve { id } => {
            let path = format!("/oidc/iam/group_requests/{}/approve", part(&id));
            let decided: Value = remote.call(Method::POST, &path, NOTHING).await?;
            show::line(format!("{} is in {} now", text(&decided, "username"), text(&decided, "groupName")));
        }
        GroupRequest::Reject { id, reason } => {
            let path = format!("/oidc/iam/group_requests/{}/reject?motivation={}", part(&id), part(&reason));
            let decided: Value = remote.call(Method::POST, &path, NOTHING).await?;
            show::line(format!("{} is not let into {}", text(&decided, "username"), text(&decided, "groupName")));
        }
    }
    Ok(())
}

/// The id of the group at a path.
async fn id_of(remote: &Remote, path: &str) -> Result<String, Failure> {
    let found: Value = remote.get(&format!("/policy/v1/groups?path={}", part(path))).await?;
    let id = found["items"].as_array().and_then(|groups| groups.first()).and_then(|group| group["id"].as_str());
    id.map(str::to_owned).ok_or_else(|| Failure::new(format!("there is no group {path}")))
}

/// All pages of a list.
async fn all(remote: &Remote, path: &str) -> Result<Vec<Value>, Failure> {
    let (mut found, mut after) = (Vec::new(), String::new());
    loop {
        let mut page: Value = remote.get(&format!("{path}?limit=500{after}")).await?;
        if let Some(items) = page["items"].as_array_mut() {
            found.append(items);
        }
        let Some(next) = page["next"].as_str() else { return Ok(found) };
        after = format!("&after={}", part(next));
    }
}

fn managers(group: &Value) -> String {
    let names = group["managers"].as_array().map(Vec::as_slice).unwrap_or_default();
    names.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
}

fn text(value: &Value, member: &str) -> String {
    value[member].as_str().unwrap_or_default().to_owned()
}

fn part(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
