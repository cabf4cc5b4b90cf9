//! The other end of the admin socket: what the command line uses.

use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::body::Body;
use dte_base::secret::Secret;
use dte_http::Reply;
use http::header::{CONTENT_TYPE, HOST};
use http::{Method, Request};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use crate::audit::{AuditRecord, AuditReport};
use crate::directory::{Ban, NewBan, User};
use crate::erasure::Erasure;
use crate::issuer::KeyTimes;
use crate::issuer::clients::ClientView;
use crate::routes::RouteInfo;
use crate::socket::{
    self, ClientGiven, ClientState, ClientWanted, LoginGiven, LoginWanted, TokenGiven, TokenWanted, UserState,
    UserWanted,
};
use crate::{Explanation, NewNotBefore, NotBefore};

/// How long the engine may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why administration did not work.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    #[error("no engine is running in {} ({error})", .data_dir.display())]
    NoEngine { data_dir: PathBuf, error: std::io::Error },
    #[error("the engine does not let this user in")]
    NotTheOwner,
    #[error("the engine did not answer in time")]
    Timeout,
    #[error(transparent)]
    Refused(dte_http::ClientError),
}

/// Administers the engine that runs in a data directory.
#[derive(Clone, Debug)]
pub struct AdminClient {
    data_dir: PathBuf,
}

impl AdminClient {
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        AdminClient { data_dir: data_dir.into() }
    }

    /// Whether there is a socket; the engine behind it may still be gone.
    pub fn is_there(data_dir: &Path) -> bool {
        data_dir.join(socket::SOCKET).exists()
    }

    pub async fn token(&self, wanted: &TokenWanted) -> Result<Secret, AdminError> {
        let given: TokenGiven = self.call(Method::POST, "/token", Some(wanted)).await?;
        Ok(Secret::new(given.token))
    }

    /// An address that signs a browser in as `user` (the first administrator if none is named), once.
    pub async fn login(&self, user: Option<&str>) -> Result<LoginGiven, AdminError> {
        self.call(Method::POST, "/login-code", Some(&LoginWanted { user: user.map(str::to_owned) })).await
    }

    pub async fn users(&self) -> Result<Vec<User>, AdminError> {
        self.call(Method::GET, "/users", NOTHING).await
    }

    pub async fn add_user(&self, name: &str, admin: bool) -> Result<User, AdminError> {
        self.call(Method::POST, "/users", Some(&UserWanted { name: name.to_owned(), admin })).await
    }

    pub async fn set_user(&self, name: &str, state: UserState) -> Result<(), AdminError> {
        self.send(Method::POST, &format!("/users/{}", segment(name)), Some(&state)).await.map(drop)
    }

    /// Erases a person, for good.
    pub async fn erase_user(&self, name: &str) -> Result<Erasure, AdminError> {
        self.call(Method::POST, &format!("/users/{}/erase", segment(name)), Some(&serde_json::json!({}))).await
    }

    /// The account's sessions end.
    pub async fn set_password(&self, name: &str, password: &Secret) -> Result<(), AdminError> {
        let body = serde_json::json!({"password": password.expose()});
        self.send(Method::POST, &format!("/users/{}/password", segment(name)), Some(&body)).await.map(drop)
    }

    pub async fn add_client(&self, wanted: &ClientWanted) -> Result<ClientGiven, AdminError> {
        self.call(Method::POST, "/clients", Some(wanted)).await
    }

    /// All clients of the issuer.
    pub async fn clients(&self) -> Result<Vec<ClientView>, AdminError> {
        let mut found: Vec<ClientView> = Vec::new();
        loop {
            let after = found.last().map(|client| client.client_id.clone()).unwrap_or_default();
            let page: Vec<ClientView> =
                self.call(Method::GET, &format!("/clients?after={}", segment(&after)), NOTHING).await?;
            let is_last = page.is_empty() || (after.is_empty() && page.iter().all(|client| client.created.is_none()));
            found.extend(page);
            if is_last {
                return Ok(found);
            }
        }
    }

    /// Suspends a client, or lets it back in.
    pub async fn set_client(&self, client_id: &str, active: bool) -> Result<(), AdminError> {
        self.send(Method::POST, &format!("/clients/{}", segment(client_id)), Some(&ClientState { active }))
            .await
            .map(drop)
    }

    pub async fn delete_client(&self, client_id: &str) -> Result<(), AdminError> {
        self.send(Method::DELETE, &format!("/clients/{}", segment(client_id)), NOTHING).await.map(drop)
    }

    /// Signing keys in use.
    pub async fn keys(&self) -> Result<Vec<KeyTimes>, AdminError> {
        self.call(Method::GET, "/keys", NOTHING).await
    }

    /// Publishes the next signing key, and gives it.
    pub async fn rotate_keys(&self) -> Result<KeyTimes, AdminError> {
        self.call(Method::POST, "/keys", NOTHING).await
    }

    /// Emergency: this key is no longer ours.
    pub async fn drop_key(&self, kid: &str) -> Result<(), AdminError> {
        self.send(Method::DELETE, &format!("/keys/{}", segment(kid)), NOTHING).await.map(drop)
    }

    pub async fn add_ban(&self, who: &NewBan) -> Result<Ban, AdminError> {
        self.call(Method::POST, "/bans", Some(who)).await
    }

    /// With `all` also those that were lifted.
    pub async fn bans(&self, all: bool) -> Result<Vec<Ban>, AdminError> {
        self.call(Method::GET, &format!("/bans?all={all}"), NOTHING).await
    }

    pub async fn lift_ban(&self, id: &str) -> Result<(), AdminError> {
        self.send(Method::DELETE, &format!("/bans/{}", segment(id)), NOTHING).await.map(drop)
    }

    /// Makes everything void that an issuer gave out before a moment.
    pub async fn revoke_before(&self, rule: &NewNotBefore) -> Result<NotBefore, AdminError> {
        self.call(Method::POST, "/revocations", Some(rule)).await
    }

    pub async fn revocations(&self) -> Result<Vec<NotBefore>, AdminError> {
        self.call(Method::GET, "/revocations", NOTHING).await
    }

    pub async fn lift_revocation(&self, id: &str) -> Result<(), AdminError> {
        self.send(Method::DELETE, &format!("/revocations/{}", segment(id)), NOTHING).await.map(drop)
    }

    /// Asks for a decision with all its steps. The question is a [`Question`](crate::Question) as JSON.
    pub async fn explain(&self, question: &serde_json::Value) -> Result<Explanation, AdminError> {
        self.call(Method::POST, "/explain", Some(question)).await
    }

    pub async fn routes(&self) -> Result<Vec<RouteInfo>, AdminError> {
        self.call(Method::GET, "/routes", NOTHING).await
    }

    pub async fn verify_audit(&self) -> Result<AuditReport, AdminError> {
        self.call(Method::GET, "/audit/verify", NOTHING).await
    }

    /// All records of a subject.
    pub async fn trace_audit(&self, subject: &str) -> Result<Vec<AuditRecord>, AdminError> {
        let mut found: Vec<AuditRecord> = Vec::new();
        loop {
            let after = found.last().map_or(0, |record| record.seq);
            let path = format!("/audit/trace?subject={}&after={after}", segment(subject));
            let page: Vec<AuditRecord> = self.call(Method::GET, &path, NOTHING).await?;
            if page.is_empty() {
                return Ok(found);
            }
            found.extend(page);
        }
    }

    /// Who was behind something: a token, a pod, a transfer, anything that records name.
    pub async fn trace(&self, text: &str, after: i64) -> Result<serde_json::Value, AdminError> {
        self.call(Method::GET, &format!("/audit/who?text={}&after={after}", segment(text)), NOTHING).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, AdminError> {
        self.send(method, path, body).await?.json().await.map_err(AdminError::Refused)
    }

    async fn send(&self, method: Method, path: &str, body: Option<&impl Serialize>) -> Result<Reply, AdminError> {
        tokio::time::timeout(PATIENCE, self.exchange(method, path, body)).await.map_err(|_| AdminError::Timeout)?
    }

    async fn exchange(&self, method: Method, path: &str, body: Option<&impl Serialize>) -> Result<Reply, AdminError> {
        let no_engine = |error| AdminError::NoEngine { data_dir: self.data_dir.clone(), error };
        let broken = |error: String| AdminError::Refused(dte_http::ClientError::Broken(error));
        let stream = {
            let address = dte_http::door::reachable(&self.data_dir.join(socket::SOCKET)).map_err(no_engine)?;
            UnixStream::connect(&address.path).await.map_err(|error| match error.kind() {
                std::io::ErrorKind::PermissionDenied => AdminError::NotTheOwner,
                _ => no_engine(error),
            })?
        };
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| broken(error.to_string()))?;
        let driver = tokio::spawn(connection);
        let mut request = Request::new(Body::empty());
        *request.method_mut() = method;
        *request.uri_mut() =
            path.parse().map_err(|_| AdminError::Refused(dte_http::ClientError::BadUrl(path.to_owned())))?;
        request.headers_mut().insert(HOST, http::HeaderValue::from_static("admin.sock"));
        if let Some(body) = body {
            let text = serde_json::to_vec(body).map_err(|error| broken(error.to_string()))?;
            request.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
            *request.body_mut() = Body::from(text);
        }
        // A connection that is closed before it answers was turned away at the door.
        let response = sender.send_request(request).await.map_err(|error| {
            if error.is_incomplete_message() || error.is_canceled() {
                AdminError::NotTheOwner
            } else {
                broken(error.to_string())
            }
        })?;
        let reply = Reply::from(response.map(Body::new));
        let (status, headers) = (reply.status, reply.headers.clone());
        let reply = reply.ok().await.map_err(AdminError::Refused)?;
        let whole = reply.bytes(64 << 20).await.map_err(AdminError::Refused)?;
        drop(sender);
        driver.abort();
        Ok(Reply { status, headers, body: Body::from(whole) })
    }
}

const NOTHING: Option<&()> = None;

fn segment(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}
