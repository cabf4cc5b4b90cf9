//! The admin socket: `DATA_DIR/admin.sock`, mode 0600. Only the operating-system user who runs the engine, and root, get
//! in; the kernel says who is at the other end. There is no other right to be had by being local.

use std::path::Path;

use axum::Router;
use axum::extract::{Path as Segment, State};
use axum::routing::{delete, get, post};
use dte_base::tasks::Tasks;
use dte_base::time::Timestamp;
use dte_base::units::Span;
use dte_http::{Json, Problem, Query, UnixDoor};
use serde::{Deserialize, Serialize};

use crate::audit::{AuditRecord, AuditReport};
use crate::context::OpenError;
use crate::directory::{Ban, NewBan, User};
use crate::erasure::Erasure;
use crate::issue::USUAL_LIFETIME;
use crate::issuer::KeyTimes;
use crate::issuer::clients::ClientView;
use crate::routes::RouteInfo;
use crate::{Error, Explanation, FIRST_ADMIN, Identity, NewNotBefore, NotBefore, Question};

/// The socket's name in the data directory.
pub const SOCKET: &str = "admin.sock";
/// Who did it, in the audit.
const BY: &str = "admin socket";

pub(crate) fn serve(identity: &Identity, data_dir: &Path, tasks: &Tasks) -> Result<(), OpenError> {
    let path = data_dir.join(SOCKET);
    let who = who_may_enter(nix::unistd::geteuid().as_raw());
    // The data directory belongs to this process alone, so a socket that is there is a dead one's.
    let door = UnixDoor::bind(&path, 0o600, who, "admin socket").map_err(OpenError::at(&path))?;
    let (router, inside) = (router(identity.clone()), tasks.clone());
    tasks.spawn("identity.admin_socket", async move { door.serve(router, inside).await });
    Ok(())
}

/// The owner of the engine, and root.
fn who_may_enter(owner: u32) -> Vec<u32> {
    vec![owner, 0]
}

fn router(identity: Identity) -> Router {
    Router::new()
        .route("/token", post(token))
        .route("/login-code", post(login_code))
        .route("/users", get(users).post(add_user))
        .route("/users/{name}", post(set_user))
        .route("/users/{name}/password", post(set_password))
        .route("/users/{name}/erase", post(erase_user))
        .route("/clients", get(clients).post(add_client))
        .route("/clients/{client_id}", post(set_client).delete(delete_client))
        .route("/keys", get(keys).post(rotate_keys))
        .route("/keys/{kid}", delete(drop_key))
        .route("/bans", get(bans).post(add_ban))
        .route("/bans/{id}", delete(lift_ban))
        .route("/revocations", get(revocations).post(revoke_before))
        .route("/revocations/{id}", delete(lift_revocation))
        .route("/explain", post(explain))
        .route("/routes", get(routes))
        .route("/audit/verify", get(verify_audit))
        .route("/audit/trace", get(trace_audit))
        .route("/audit/who", get(who))
        .with_state(identity)
}

/// `POST /token`
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TokenWanted {
    pub user: Option<String>,
    /// Separated by spaces; none: all rights of the user.
    pub scope: Option<String>,
    pub audience: Option<String>,
    pub lifetime: Option<Span>,
}

/// What `POST /token` gives.
#[derive(Serialize, Deserialize)]
pub struct TokenGiven {
    pub token: String,
    pub expires: Timestamp,
}

/// `POST /login-code`
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoginWanted {
    pub user: Option<String>,
}

/// What `POST /login-code` gives: an address that signs a browser in, once, until `expires`.
#[derive(Serialize, Deserialize)]
pub struct LoginGiven {
    pub url: String,
    pub expires: Timestamp,
}

/// `POST /users`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserWanted {
    pub name: String,
    #[serde(default)]
    pub admin: bool,
}

/// `POST /users/NAME`
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserState {
    pub admin: bool,
    pub active: bool,
}

/// `POST /users/NAME/password`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PasswordWanted {
    pub password: dte_base::secret::Secret,
}

/// `POST /clients`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientWanted {
    pub client_id: String,
    #[serde(default)]
    pub scopes: Vec<String>,
    #[serde(default)]
    pub audiences: Vec<String>,
}

/// What `POST /clients` gives; the secret is never shown again.
#[derive(Serialize, Deserialize)]
pub struct ClientGiven {
    pub client_id: String,
    pub client_secret: String,
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        match error {
            Error::NoAccount(_) | Error::NoBan(_) | Error::NoClient(_) | Error::NoKey(_) | Error::NoPolicy(_) => {
                Problem::not_found(text)
            }
            Error::Taken(_) | Error::NotErased(_) | Error::LastAdministrator => Problem::conflict(text),
            Error::Banned(_) | Error::Client => Problem::forbidden(text),
            Error::Name(_)
            | Error::Scope(_)
            | Error::Lifetime
            | Error::Audience(_)
            | Error::BanOfAll
            | Error::Group(_)
            | Error::LastWayIn
            | Error::UnknownIssuer(_) => Problem::bad_request(text),
            Error::TooManyFailures(_) => Problem::too_many_requests(text),
            Error::Signing(_) => Problem::internal(text),
            Error::Store(error) => error.into(),
        }
    }
}

async fn token(State(identity): State<Identity>, Json(wanted): Json<TokenWanted>) -> Result<Json<TokenGiven>, Problem> {
    let lifetime = wanted.lifetime.map_or(USUAL_LIFETIME, |span| span.0);
    let scopes: Vec<&str> = wanted.scope.as_deref().unwrap_or_default().split_ascii_whitespace().collect();
    let user = wanted.user.as_deref().unwrap_or(FIRST_ADMIN);
    let expires = Timestamp::now() + lifetime;
    let token = identity.issue_token(user, &scopes, wanted.audience.as_deref(), lifetime, BY)?;
    Ok(Json(TokenGiven { token: token.expose().to_owned(), expires }))
}

async fn login_code(
    State(identity): State<Identity>,
    Json(wanted): Json<LoginWanted>,
) -> Result<Json<LoginGiven>, Problem> {
    let expires = Timestamp::now() + crate::session::CODE_LIFETIME;
    let url = identity.login_url(wanted.user.as_deref().unwrap_or(FIRST_ADMIN), BY).await?;
    Ok(Json(LoginGiven { url: url.expose().to_owned(), expires }))
}

async fn users(State(identity): State<Identity>) -> Json<Vec<User>> {
    Json(identity.users())
}

async fn add_user(State(identity): State<Identity>, Json(wanted): Json<UserWanted>) -> Result<Json<User>, Problem> {
    Ok(Json(identity.add_user(&wanted.name, wanted.admin, BY).await?))
}

async fn set_user(
    State(identity): State<Identity>,
    Segment(name): Segment<String>,
    Json(state): Json<UserState>,
) -> Result<(), Problem> {
    Ok(identity.set_user(&name, state.admin, state.active, BY).await?)
}

async fn erase_user(
    State(identity): State<Identity>,
    Segment(name): Segment<String>,
) -> Result<Json<Erasure>, Problem> {
    Ok(Json(identity.erase(&name, BY).await?))
}

async fn set_password(
    State(identity): State<Identity>,
    Segment(name): Segment<String>,
    Json(wanted): Json<PasswordWanted>,
) -> Result<(), Problem> {
    Ok(identity.set_password(&name, wanted.password.expose(), None, BY).await?)
}

async fn add_client(
    State(identity): State<Identity>,
    Json(wanted): Json<ClientWanted>,
) -> Result<Json<ClientGiven>, Problem> {
    let scopes: Vec<&str> = wanted.scopes.iter().map(String::as_str).collect();
    let audiences: Vec<&str> = wanted.audiences.iter().map(String::as_str).collect();
    let secret = identity.add_client(&wanted.client_id, &scopes, &audiences, BY).await?;
    Ok(Json(ClientGiven { client_id: wanted.client_id, client_secret: secret.expose().to_owned() }))
}

/// `POST /clients/CLIENT_ID`
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientState {
    pub active: bool,
}

#[derive(Deserialize)]
struct ClientPage {
    #[serde(default)]
    after: String,
}

/// Clients in one answer.
const CLIENTS_AT_ONCE: usize = 500;

async fn clients(
    State(identity): State<Identity>,
    Query(page): Query<ClientPage>,
) -> Result<Json<Vec<ClientView>>, Problem> {
    Ok(Json(identity.clients(&page.after, CLIENTS_AT_ONCE).await?))
}

async fn set_client(
    State(identity): State<Identity>,
    Segment(client_id): Segment<String>,
    Json(state): Json<ClientState>,
) -> Result<(), Problem> {
    Ok(identity.set_client(&client_id, state.active, BY).await?)
}

async fn delete_client(State(identity): State<Identity>, Segment(client_id): Segment<String>) -> Result<(), Problem> {
    Ok(identity.delete_client(&client_id, BY).await?)
}

async fn keys(State(identity): State<Identity>) -> Result<Json<Vec<KeyTimes>>, Problem> {
    Ok(Json(identity.signing_keys().await?))
}

async fn rotate_keys(State(identity): State<Identity>) -> Result<Json<KeyTimes>, Problem> {
    Ok(Json(identity.rotate_keys(BY).await?))
}

async fn drop_key(State(identity): State<Identity>, Segment(kid): Segment<String>) -> Result<(), Problem> {
    Ok(identity.drop_key(&kid, BY).await?)
}

#[derive(Deserialize)]
struct BanFilter {
    #[serde(default)]
    all: bool,
}

async fn bans(State(identity): State<Identity>, Query(filter): Query<BanFilter>) -> Result<Json<Vec<Ban>>, Problem> {
    Ok(Json(identity.bans(filter.all).await?))
}

async fn add_ban(State(identity): State<Identity>, Json(wanted): Json<NewBan>) -> Result<Json<Ban>, Problem> {
    Ok(Json(identity.ban(wanted, BY).await?))
}

async fn lift_ban(State(identity): State<Identity>, Segment(id): Segment<String>) -> Result<(), Problem> {
    Ok(identity.lift_ban(&id, BY).await?)
}

async fn revocations(State(identity): State<Identity>) -> Json<Vec<NotBefore>> {
    Json(identity.revocations())
}

async fn revoke_before(
    State(identity): State<Identity>,
    Json(wanted): Json<NewNotBefore>,
) -> Result<Json<NotBefore>, Problem> {
    Ok(Json(identity.revoke_before(wanted, BY).await?))
}

async fn lift_revocation(State(identity): State<Identity>, Segment(id): Segment<String>) -> Result<(), Problem> {
    Ok(identity.lift_revocation(&id, BY).await?)
}

async fn explain(
    State(identity): State<Identity>,
    Json(question): Json<Question>,
) -> Result<Json<Explanation>, Problem> {
    Ok(Json(identity.explain(&question, None).await?))
}

async fn routes(State(identity): State<Identity>) -> Json<Vec<RouteInfo>> {
    Json(identity.routes())
}

async fn verify_audit(State(identity): State<Identity>) -> Result<Json<AuditReport>, Problem> {
    Ok(Json(identity.audit().verify().await?))
}

#[derive(Deserialize)]
struct Trace {
    subject: String,
    #[serde(default)]
    after: i64,
    #[serde(default = "usual_trace")]
    limit: usize,
}

fn usual_trace() -> usize {
    1_000
}

#[derive(Deserialize)]
struct Named {
    text: String,
    #[serde(default)]
    after: i64,
}

async fn who(State(identity): State<Identity>, Query(asked): Query<Named>) -> Result<Json<serde_json::Value>, Problem> {
    Ok(Json(identity.trace(&asked.text, asked.after, BY).await?))
}

async fn trace_audit(
    State(identity): State<Identity>,
    Query(wanted): Query<Trace>,
) -> Result<Json<Vec<AuditRecord>>, Problem> {
    Ok(Json(identity.audit().trace(&wanted.subject, wanted.after, wanted.limit.min(usual_trace())).await?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_owner_and_root_enter() {
        assert_eq!((who_may_enter(1_000), who_may_enter(0)), (vec![1_000, 0], vec![0, 0]));
    }
}
