//! What goes on for somebody after they were let in: a handler at work, an answer that is still being sent (a stream of events,
//! a log that is followed, a large file). It stops when they are banned, when their account is closed, when they cease to be
//! the administrator that they came as, or when the session that they came by ends. So a ban needs no help of services to end what is open.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use dte_http::ClientCertificate;
use http::header::CONTENT_TYPE;
use http_body::{Body as _, Frame, SizeHint};

use crate::Identity;
use crate::directory::Suspect;
use crate::model::denial::Denial;
use crate::model::principal::{Principal, Standing};

/// How often a session is looked at that may have ended elsewhere.
const LOOK: Duration = Duration::from_secs(30);
/// Answers that are known to be no longer than this are sent at once, so nobody watches over them.
const SHORT: u64 = 64 << 10;

tokio::task_local! {
    /// Whether the handler at work goes on when its caller may not stay.
    static TO_THE_END: AtomicBool;
}

/// What somebody was let in by, if not by a token.
#[derive(Default)]
pub(crate) struct CameBy {
    /// The secret of a session.
    pub(crate) session: Option<String>,
    pub(crate) certificate: Option<ClientCertificate>,
}

/// From here the handler that calls this goes on to its answer, though it ends its caller's own stay. Outside of handlers
/// nobody is sent away.
pub(crate) fn to_the_end() {
    let outcome = TO_THE_END.try_with(|goes_on| goes_on.store(true, Ordering::Relaxed));
    if outcome.is_err() {
        tracing::debug!("nobody's request");
    }
}

impl Identity {
    /// Whether somebody who was let in may still be here. Bans of tokens and clients count too, other than in
    /// [`Identity::is_welcome`], which knows the person only.
    pub(crate) fn may_stay(&self, principal: &Principal) -> bool {
        let who = Suspect {
            issuer: &principal.issuer,
            subject: &principal.subject,
            client_id: principal.client_id.as_deref(),
            vo: principal.vo.as_deref(),
            token_id: principal.token_id.as_deref(),
        };
        let directory = self.directory();
        let stands = match principal.standing {
            Standing::User { admin } => {
                directory.users.get(&principal.subject).is_some_and(|user| user.active && (user.admin || !admin))
            }
            Standing::Client => directory.clients.get(&principal.subject).is_some_and(|client| client.active),
            Standing::Named => directory.users.get(&principal.subject).is_some_and(|user| user.active),
            Standing::Guest => true,
        };
        stands && !self.is_banned(&directory, &who, &principal.groups) && !self.is_void_by_now(principal, &who)
    }

    /// Whether the token that somebody came with was taken back, or made void for its age.
    fn is_void_by_now(&self, principal: &Principal, who: &Suspect<'_>) -> bool {
        // A session has no token.
        if principal.token_id.is_none() {
            return false;
        }
        let is_ours = principal.issuer == self.0.issuer;
        let client = principal.client_id.as_deref();
        let directory = self.directory();
        let is_suspended = client.is_some_and(|client| directory.rules.is_suspended(client));
        (is_ours && (is_suspended || self.is_taken_back(principal.token_id.as_deref(), client)))
            || directory.is_void(who, principal.issued)
    }

    /// Resolves when somebody may not stay any longer.
    fn sent_away(&self, principal: &Principal, way: CameBy) -> impl Future<Output = ()> + Send + use<> {
        let (identity, principal) = (self.clone(), principal.clone());
        let CameBy { session, certificate } = way;
        let mut changes = self.watch_changes();
        async move {
            let is_good = |shown: &ClientCertificate| !identity.is_certificate_banned(shown);
            while identity.may_stay(&principal) && certificate.as_ref().is_none_or(is_good) {
                let is_over = tokio::select! {
                    changed = changes.changed() => match changed {
                        Ok(()) => identity.has_ended(session.as_deref()).await,
                        // Identity is going, and the engine with it.
                        Err(_) => std::future::pending::<bool>().await,
                    },
                    // Perhaps at another process.
                    () = tokio::time::sleep(LOOK), if session.is_some() => identity.has_ended(session.as_deref()).await,
                };
                if is_over {
                    return;
                }
            }
        }
    }

    /// Whether a session is over. When the store cannot say, it goes on until it can.
    async fn has_ended(&self, session: Option<&str>) -> bool {
        let Some(secret) = session else { return false };
        match self.is_session(secret).await {
            Ok(is_there) => !is_there,
            Err(error) => {
                tracing::warn!(%error, "a session could not be looked at");
                false
            }
        }
    }

    /// Does what a handler does, for as long as its caller may stay.
    pub(crate) async fn attend(
        &self,
        principal: &Principal,
        way: CameBy,
        work: impl Future<Output = Response>,
    ) -> Result<Response, Denial> {
        let sent_away = self.sent_away(principal, way);
        let mut sent_away = Box::pin(sent_away);
        let working = async {
            let mut work = pin!(work);
            let goes_on = tokio::select! {
                // Who is banned by what they ask for still hears the answer.
                biased;
                response = &mut work => return Some((response, true)),
                () = &mut sent_away => TO_THE_END.with(|known| known.load(Ordering::Relaxed)),
            };
            if goes_on { Some((work.await, false)) } else { None }
        };
        let Some((response, is_attended)) = TO_THE_END.scope(AtomicBool::new(false), working).await else {
            return Err(Denial::bad_token("banned", "you have been suspended meanwhile"));
        };
        if !is_attended {
            return Ok(response);
        }
        let size = response.body().size_hint();
        if response.body().is_end_stream() || size.upper().is_some_and(|most| most <= SHORT) {
            return Ok(response);
        }
        // The end of a stream of events is no news; a file that merely ended would look whole.
        let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let ends_well = kind.starts_with("text/event-stream");
        Ok(response.map(|body| Body::new(Attended { body, sent_away, ends_well, is_over: false })))
    }
}

/// A body that breaks off when its reader is sent away.
struct Attended<F> {
    body: Body,
    sent_away: Pin<Box<F>>,
    ends_well: bool,
    is_over: bool,
}

impl<F: Future<Output = ()> + Send> http_body::Body for Attended<F> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        if this.is_over || this.sent_away.as_mut().poll(cx).is_ready() {
            let breaks_off = !this.ends_well && !this.is_over;
            this.is_over = true;
            return Poll::Ready(breaks_off.then(|| Err(axum::Error::new(SentAway))));
        }
        Pin::new(&mut this.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.is_over || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Why an answer broke off.
#[derive(Debug, thiserror::Error)]
#[error("whom this was for has been suspended")]
struct SentAway;
