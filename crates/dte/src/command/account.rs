//! Accounts, bans and the audit trail, whether the engine runs or not; clients, routes and the link to the page of one that runs.

use std::io::{BufRead, Read};
use std::path::Path;

use dte_base::secret::Secret;
use dte_identity::socket::{ClientWanted, UserState};
use dte_identity::{AdminClient, NewBan, NewNotBefore};
use url::Url;

use super::administration::Administration;
use crate::cli::{Audit, Auth, Ban, Client, Common, Keys, User};
use crate::command::explain::explain;
use crate::command::trace::trace;
use crate::failure::Failure;
use crate::remote::ADDRESS_FILE;
use crate::show;

/// No password is longer, in bytes.
const LONGEST_LINE: u64 = 4_096;

pub async fn user(common: &Common, command: User) -> Result<(), Failure> {
    let engine = Administration::open(common).await?;
    match command {
        User::Add { name, admin } => {
            let user = engine.add_user(&name, admin).await?;
            if common.json {
                show::json(&user)?;
            } else {
                show::line(format!("account {} is there; `dte token --user {}` prints a token", user.name, user.name));
            }
        }
        User::Set { name, admin, active } => {
            let known = engine.users().await?.into_iter().find(|user| user.name == name);
            let known = known.ok_or_else(|| Failure::new(format!("there is no account {name}")))?;
            let state = UserState { admin: admin.unwrap_or(known.admin), active: active.unwrap_or(known.active) };
            engine.set_user(&name, state).await?;
            let (role, word) = (
                if state.admin { "an administrator" } else { "a user" },
                if state.active { "active" } else { "suspended: it can do nothing until it is active again" },
            );
            if common.json {
                show::json(&dte_identity::User { admin: state.admin, active: state.active, ..known })?;
            } else {
                show::line(format!("account {name} is {role}, and {word}"));
            }
        }
        User::Erase { name, yes: _ } => {
            let erasure = engine.erase_user(&name).await?;
            if common.json {
                show::json(&erasure)?;
            } else {
                show::line(format!("{name} is erased; what is kept stands under {}:", erasure.pseudonym));
                let count =
                    |one: &dte_identity::Remains| one.records.map_or_else(String::new, |count| count.to_string());
                let rows: Vec<Vec<String>> =
                    erasure.remains.iter().map(|one| vec![one.what.clone(), count(one), one.why.clone()]).collect();
                show::table(&["KEPT", "RECORDS", "WHY"], &rows);
            }
        }
        User::Password { name, stdin: _ } => {
            let password = first_line()?;
            engine.set_password(&name, &password).await?;
            show::line(format!("{name} has a new password; sessions of {name} are over"));
        }
        User::List => {
            let users = engine.users().await?;
            if common.json {
                show::json(&users)?;
            } else {
                let yes = |value: bool| if value { "yes" } else { "no" }.to_owned();
                let rows: Vec<Vec<String>> = users
                    .iter()
                    .map(|u| vec![u.name.clone(), yes(u.admin), yes(u.active), u.created.to_string()])
                    .collect();
                show::table(&["NAME", "ADMIN", "ACTIVE", "SINCE"], &rows);
            }
        }
    }
    engine.close().await
}

/// A secret from the standard input: never from the command line, where every process of the host could read it.
fn first_line() -> Result<Secret, Failure> {
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .take(LONGEST_LINE)
        .read_line(&mut line)
        .map_err(|error| Failure::new(format!("the standard input cannot be read: {error}")))?;
    let line = line.strip_suffix('\n').unwrap_or(&line);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() {
        return Err(Failure::new("there is no password in the first line of the standard input"));
    }
    Ok(Secret::new(line))
}

pub async fn client(common: &Common, command: Client) -> Result<(), Failure> {
    let engine = AdminClient::new(&common.data_dir);
    match command {
        Client::Add { client_id, scope } => {
            let scopes = scope.split_whitespace().map(str::to_owned).collect();
            let given = engine.add_client(&ClientWanted { client_id, scopes, audiences: Vec::new() }).await?;
            if common.json {
                return show::json(&given);
            }
            show::line(format!(
                "client {} with the secret {}; it is not shown again",
                given.client_id, given.client_secret
            ));
        }
        Client::List => {
            let clients = engine.clients().await?;
            if common.json {
                return show::json(&clients);
            }
            let row = |client: dte_identity::ClientView| {
                let by = client.registered_by.unwrap_or_else(|| "-".to_owned());
                let since = client.created.map_or_else(|| "-".to_owned(), |created| created.to_string());
                vec![client.client_id, client.name, if client.active { "yes" } else { "no" }.to_owned(), by, since]
            };
            show::table(
                &["CLIENT", "NAME", "ACTIVE", "MADE BY", "SINCE"],
                &clients.into_iter().map(row).collect::<Vec<_>>(),
            );
        }
        Client::Suspend { client_id } => {
            engine.set_client(&client_id, false).await?;
            show::line(format!("client {client_id} is suspended"));
        }
        Client::Resume { client_id } => {
            engine.set_client(&client_id, true).await?;
            show::line(format!("client {client_id} is active"));
        }
        Client::Delete { client_id } => {
            engine.delete_client(&client_id).await?;
            show::line(format!("client {client_id} is gone"));
        }
    }
    Ok(())
}

pub async fn ban(common: &Common, command: Ban) -> Result<(), Failure> {
    let engine = Administration::open(common).await?;
    match command {
        Ban::Add { subject, issuer, group, reason } => {
            let ban = engine.add_ban(NewBan { subject, issuer, group, reason, ..NewBan::default() }).await?;
            if common.json { show::json(&ban)? } else { show::line(format!("ban {} is in force", ban.id)) }
        }
        Ban::Tokens { issuer, client, subject, before, reason } => {
            let before = before.unwrap_or_else(dte_base::time::Timestamp::now);
            let rule = NewNotBefore { issuer, client_id: client, subject, before, reason };
            let made = engine.revoke_before(rule).await?;
            if common.json {
                show::json(&made)?;
            } else {
                let issuer = &made.rule.issuer;
                show::line(format!("tokens of {issuer} issued before {before} are refused: rule {}", made.id));
            }
        }
        Ban::Revoked { lift: Some(id) } => {
            engine.lift_revocation(&id).await?;
            show::line(format!("rule {id} is lifted"));
        }
        Ban::Revoked { lift: None } => {
            let rules = engine.revocations().await?;
            if common.json {
                show::json(&rules)?;
                return engine.close().await;
            }
            let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "any".to_owned());
            let row = |r: &dte_identity::NotBefore| {
                let rule = &r.rule;
                let (client, subject) = (text(&rule.client_id), text(&rule.subject));
                vec![r.id.clone(), rule.issuer.clone(), client, subject, rule.before.to_string(), rule.reason.clone()]
            };
            let rows: Vec<Vec<String>> = rules.iter().map(row).collect();
            show::table(&["ID", "ISSUER", "CLIENT", "SUBJECT", "BEFORE", "REASON"], &rows);
        }
        Ban::List => {
            let bans = engine.bans().await?;
            if common.json {
                show::json(&bans)?;
            } else {
                let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "any".to_owned());
                let row = |b: &dte_identity::Ban| {
                    let who = &b.who;
                    let reason = who.reason.clone();
                    vec![text(&who.subject), text(&who.issuer), text(&who.group), reason, b.created.to_string()]
                };
                show::table(
                    &["SUBJECT", "ISSUER", "GROUP", "REASON", "SINCE"],
                    &bans.iter().map(row).collect::<Vec<_>>(),
                );
            }
        }
        Ban::Lift { subject, issuer, group } => {
            let bans = engine.bans().await?;
            let same = |ban: &&dte_identity::Ban| {
                is_same(&ban.who.subject, &subject)
                    && (issuer.is_none() || is_same(&ban.who.issuer, &issuer))
                    && (group.is_none() || ban.who.group == group)
            };
            let found: Vec<_> = bans.iter().filter(same).collect();
            if found.is_empty() {
                let who = subject.or(group).unwrap_or_default();
                return Err(Failure::new(format!("{who} is not banned")));
            }
            for ban in found {
                engine.lift_ban(&ban.id).await?;
                show::line(format!("ban {} is lifted", ban.id));
            }
        }
    }
    engine.close().await
}

/// Whether two texts name the same: names in certificates are written in several ways.
fn is_same(one: &Option<String>, other: &Option<String>) -> bool {
    let name = |text: &Option<String>| text.as_ref().and_then(|text| text.parse::<dte_http::DistinguishedName>().ok());
    one == other || name(one).is_some_and(|one| name(other) == Some(one))
}

pub async fn audit(common: &Common, command: Audit) -> Result<(), Failure> {
    let engine = Administration::open(common).await?;
    match command {
        Audit::Verify => {
            let report = engine.verify_audit().await?;
            show::json(&report)?;
            if let Some(at) = report.broken_at {
                let why = report.why.unwrap_or_default();
                return Err(Failure::new(format!("the audit trail is not whole: at record {at}, {why}")));
            }
        }
        Audit::Trace(wanted) => trace(common, &engine, &wanted).await?,
    }
    engine.close().await
}

pub async fn auth(common: &Common, command: Auth) -> Result<(), Failure> {
    let engine = AdminClient::new(&common.data_dir);
    match command {
        Auth::Explain(wanted) => return explain(common, wanted).await,
        Auth::Keys { command } => return keys(common, &engine, command).await,
        Auth::Routes => {}
    }
    let routes = engine.routes().await?;
    if common.json {
        return show::json(&routes);
    }
    let rows: Vec<Vec<String>> =
        routes.into_iter().map(|route| vec![route.method, route.path, route.requirement, route.service]).collect();
    show::table(&["METHOD", "PATH", "REQUIRES", "SERVICE"], &rows);
    Ok(())
}

async fn keys(common: &Common, engine: &AdminClient, command: Option<Keys>) -> Result<(), Failure> {
    match command {
        None => {}
        Some(Keys::Rotate) => drop(engine.rotate_keys().await?),
        Some(Keys::Drop { kid }) => engine.drop_key(&kid).await?,
    }
    let keys = engine.keys().await?;
    if common.json {
        return show::json(&keys);
    }
    let row =
        |key: dte_identity::KeyTimes| vec![key.kid, key.state, key.created.to_string(), key.signs_from.to_string()];
    show::table(&["KEY", "STATE", "MADE", "SIGNS FROM"], &keys.into_iter().map(row).collect::<Vec<_>>());
    Ok(())
}

pub async fn ui(common: &Common) -> Result<(), Failure> {
    let address = std::fs::read_to_string(common.data_dir.join(ADDRESS_FILE))
        .map_err(|_| Failure::new(format!("no engine is running in {}", common.data_dir.display())))?;
    show::line(login_link(&common.data_dir, &Url::parse(address.trim())?).await?);
    Ok(())
}

/// A link that opens the page once, for a few minutes.
pub async fn login_link(data_dir: &Path, engine: &Url) -> Result<String, Failure> {
    let link = Url::parse(&AdminClient::new(data_dir).login(None).await?.url)?;
    // The engine may listen elsewhere than under its public name.
    let query = link.query().map(|query| format!("?{query}")).unwrap_or_default();
    Ok(format!("{}{}{query}", engine.as_str().trim_end_matches('/'), link.path()))
}
