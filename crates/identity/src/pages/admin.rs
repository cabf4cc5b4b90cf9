//! Administration of local accounts.

use axum::extract::{Path, State};
use axum::response::Response;
use dte_http::{Form, Query};
use http::{HeaderMap, StatusCode};
use maud::{Markup, html};
use serde::Deserialize;

use super::door::see_other;
use super::form::{admin_form, alert, done, failed, must_be_admin, token, told};
use super::{Viewer, page, refusal};
use crate::Identity;
use crate::accounts::AccountError;
use crate::accounts::second::Factor;
use crate::directory::User;

/// Accounts on one page.
const PAGE: usize = 100;

/// The pages of administrators.
pub(super) fn tabs(here: &str) -> Markup {
    let tabs = [("users", "Accounts"), ("registrations", "Requests"), ("bans", "Bans")];
    html! {
        nav.row.tabs aria-label="Administration" {
            @for (path, words) in tabs {
                a.button href={ "/oidc/admin/" (path) } aria-current=[(path == here).then_some("page")] { (words) }
            }
        }
    }
}

/// `GET /admin`
pub(super) async fn home() -> Response {
    see_other("/oidc/admin/users")
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Wanted {
    after: String,
    q: String,
    done: String,
}

/// `GET /admin/users`
pub(super) async fn list(
    State(identity): State<Identity>,
    headers: HeaderMap,
    Query(wanted): Query<Wanted>,
) -> Response {
    match must_be_admin(&identity, &headers, "/oidc/admin/users").await {
        Ok(viewer) => draw_list(&identity, &viewer, &wanted, StatusCode::OK, None),
        Err(elsewhere) => elsewhere,
    }
}

fn draw_list(
    identity: &Identity,
    viewer: &Viewer,
    wanted: &Wanted,
    status: StatusCode,
    wrong: Option<&str>,
) -> Response {
    let users = identity.users();
    let fits = |user: &&User| user.name.contains(&wanted.q) && user.name > wanted.after;
    let mut shown: Vec<&User> = users.iter().filter(fits).take(PAGE + 1).collect();
    let more = shown.len() > PAGE;
    shown.truncate(PAGE);
    let last = shown.last().map(|user| user.name.clone()).unwrap_or_default();
    let content = html! {
        (tabs("users"))
        (alert(wrong))
        (done((wanted.done == "added").then_some("The account is there.")))
        form.row method="get" action="/oidc/admin/users" {
            label for="q" { "Name contains" input #q type="search" name="q" value=(wanted.q) maxlength="64"; }
            button { "Find" }
        }
        section.card aria-label="Accounts" {
            table #users {
                thead { tr { th scope="col" { "Name" } th scope="col" { "State" } th scope="col" { "Administrator" } th scope="col" { "Since" } } }
                tbody {
                    @for user in &shown {
                        tr {
                            td { a href={ "/oidc/admin/users/" (user.name) } { (user.name) } }
                            td { (state(identity, user)) }
                            td { @if user.admin { "yes" } @else { "no" } }
                            td { (user.created.day()) }
                        }
                    }
                }
            }
            @if shown.is_empty() { p.soft { "No account fits." } }
            @if more { p { a href={ "/oidc/admin/users?after=" (last) "&q=" (query(&wanted.q)) } rel="next" { "More" } } }
        }
        section.card aria-labelledby="add-h" {
            h2 #add-h { "Add an account" }
            form method="post" action="/oidc/admin/users" {
                (token(&viewer.csrf))
                label for="name" {
                    "Name"
                    span.hint { "lower-case letters, digits, dots, dashes; it is never given twice" }
                    input #name type="text" name="name" autocomplete="off" autocapitalize="none" spellcheck="false" required maxlength="64";
                }
                label.check for="admin" { input #admin type="checkbox" name="admin" value="yes"; "Administrator" }
                button.primary { "Add" }
            }
        }
    };
    page(status, "Accounts", Some(viewer), &content)
}

fn query(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

fn state(identity: &Identity, user: &User) -> Markup {
    let is_welcome = identity.is_welcome(&identity.user_ref(&user.name));
    html! {
        @if !user.active { span.pill.bad { "suspended" } }
        @else if !is_welcome { span.pill.bad { "banned" } }
        @else { span.pill.good { "active" } }
    }
}

#[derive(Deserialize)]
pub(super) struct NewUser {
    #[serde(default)]
    csrf: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    admin: String,
}

/// `POST /admin/users`
pub(super) async fn add(State(identity): State<Identity>, headers: HeaderMap, Form(sent): Form<NewUser>) -> Response {
    let viewer = match admin_form(&identity, &headers, &sent.csrf).await {
        Ok(viewer) => viewer,
        Err(refused) => return refused,
    };
    match identity.add_user(sent.name.trim(), sent.admin == "yes", viewer.principal.name()).await {
        Ok(user) => see_other(&format!("/oidc/admin/users/{}?done=added", user.name)),
        Err(error) => {
            let (status, words) = told(&error.into());
            draw_list(&identity, &viewer, &Wanted::default(), status, Some(&words))
        }
    }
}

/// `GET /admin/users/{name}`
pub(super) async fn one(
    State(identity): State<Identity>,
    headers: HeaderMap,
    Path(name): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Response {
    let viewer = match must_be_admin(&identity, &headers, "/oidc/admin/users").await {
        Ok(viewer) => viewer,
        Err(elsewhere) => return elsewhere,
    };
    let words = match wanted.done.as_str() {
        "added" => Some("The account is there. A link below signs its owner in, once, to set a password."),
        "changed" => Some("The account is changed."),
        _ => None,
    };
    draw_one(&identity, &viewer, &name, StatusCode::OK, None, &done(words)).await
}

async fn draw_one(
    identity: &Identity,
    viewer: &Viewer,
    name: &str,
    status: StatusCode,
    wrong: Option<&str>,
    above: &Markup,
) -> Response {
    let Some(user) = identity.directory().users.get(name).cloned() else {
        return refusal(StatusCode::NOT_FOUND, "Not found", "There is no such account.", Some(viewer));
    };
    match about(identity, viewer, &user).await {
        Ok(content) => {
            let whole = html! { (tabs("users")) (alert(wrong)) (above) (content) };
            page(status, name, Some(viewer), &whole)
        }
        Err(error) => failed(&error, Some(viewer)),
    }
}

async fn about(identity: &Identity, viewer: &Viewer, user: &User) -> Result<Markup, AccountError> {
    let factor = identity.second_factor(&user.name).await?;
    let sessions = identity.sessions_of(&user.name, None).await?;
    let has_password = identity.has_password(&user.name).await?;
    let links = identity.links_of(&user.name);
    let is_self = viewer.principal.name() == user.name;
    let has_factor = matches!(factor, Factor::On { .. });
    Ok(html! {
        section.card aria-label="About the account" {
            dl.pairs {
                dt { "State" } dd { (state(identity, user)) }
                dt { "Administrator" } dd { @if user.admin { "yes" } @else { "no" } }
                dt { "Since" } dd { (user.created.day()) }
                dt { "Password" } dd { @if has_password { "yes" } @else { "no" } }
                dt { "Second factor" } dd { @if has_factor { "yes" } @else { "no" } }
                dt { "Sessions" } dd { (sessions.len()) }
                @for link in &links { dt { "Identity" } dd { (link.shown) ", " code { (link.subject) } " at " (link.issuer) } }
            }
            form.row method="post" action={ "/oidc/admin/users/" (user.name) } {
                (token(&viewer.csrf))
                @if is_self { p.soft { "Your own account: another administrator can suspend it or take its rights." } }
                @else {
                    @if user.active { button.danger name="action" value="suspend" { "Suspend" } }
                    @else { button name="action" value="restore" { "Restore" } }
                    @if user.admin { button name="action" value="end-admin" { "Take administrator rights" } }
                    @else { button name="action" value="make-admin" { "Make administrator" } }
                    @if user.active { button name="action" value="sign-in-link" { "Make a sign-in link" } }
                    @if has_factor { button name="action" value="remove-factor" { "Remove second factor" } }
                }
                @if !sessions.is_empty() && !is_self { button name="action" value="end-sessions" { "End sessions" } }
            }
        }
    })
}

#[derive(Deserialize)]
pub(super) struct Act {
    #[serde(default)]
    csrf: String,
    #[serde(default)]
    action: String,
}

/// `POST /admin/users/{name}`
pub(super) async fn act(
    State(identity): State<Identity>,
    headers: HeaderMap,
    Path(name): Path<String>,
    Form(sent): Form<Act>,
) -> Response {
    let viewer = match admin_form(&identity, &headers, &sent.csrf).await {
        Ok(viewer) => viewer,
        Err(refused) => return refused,
    };
    let none = html! {};
    match apply(&identity, &viewer, &name, &sent.action).await {
        Ok(None) => see_other(&format!("/oidc/admin/users/{}?done=changed", query(&name))),
        Ok(Some(shown)) => draw_one(&identity, &viewer, &name, StatusCode::OK, None, &shown).await,
        Err(error) => {
            let (status, words) = told(&error);
            draw_one(&identity, &viewer, &name, status, Some(&words), &none).await
        }
    }
}

async fn apply(identity: &Identity, viewer: &Viewer, name: &str, action: &str) -> Result<Option<Markup>, AccountError> {
    let by = viewer.principal.name();
    if by == name {
        return Err(AccountError::refused("your own account is for another administrator to change"));
    }
    let user = identity.directory().users.get(name).cloned();
    let user = user.ok_or_else(|| AccountError::refused("there is no such account"))?;
    match action {
        "suspend" => identity.set_user(name, user.admin, false, by).await?,
        "restore" => identity.set_user(name, user.admin, true, by).await?,
        "make-admin" => identity.set_user(name, true, user.active, by).await?,
        "end-admin" => identity.set_user(name, false, user.active, by).await?,
        "end-sessions" => identity.end_other_sessions(name, None, by).await.map(drop)?,
        "remove-factor" => identity.remove_factor(name, by).await.map(drop)?,
        "sign-in-link" => {
            let link = identity.login_url(name, by).await?;
            return Ok(Some(html! {
                section.card role="status" {
                    p { "This link signs " (name) " in once, within five minutes. It is not shown again:" }
                    p { code #link { (link.expose()) } }
                }
            }));
        }
        _ => return Err(AccountError::refused("this page does not know what to do")),
    }
    Ok(None)
}
