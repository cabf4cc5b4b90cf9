//! Who may be inside a pod that runs: its owner and administrators, as long as both are welcome here.

use std::sync::Arc;

use dte_compute::Site;
use dte_identity::{Principal, UserRef};
use http::StatusCode;
use serde_json::Value;
use uuid::Uuid;

use super::answer::{Refusal, may_see};
use crate::shared::Shared;
use crate::store;

/// Where the pod is, and the people for whom a session in it goes on: whoever asks and the owner.
pub async fn site_of(
    shared: &Shared,
    principal: &Principal,
    uid: Uuid,
) -> Result<(Arc<dyn Site>, [UserRef; 2]), Refusal> {
    let unknown = || Refusal::new(StatusCode::NOT_FOUND, format!("there is no pod {uid}"));
    let head = store::heads(&shared.store, vec![uid]).await?.pop().filter(|head| may_see(principal, &head.owner));
    let head = head.ok_or_else(unknown)?;
    // Some sites take pods of administrators alone, because nothing stands between those and the site's own account.
    if head.trusted && !principal.is_admin() && !shared.acts_for_administrator(principal) {
        let text = format!("pod {uid} was started with an administrator's rights, and what you show has none");
        return Err(Refusal::new(StatusCode::FORBIDDEN, text));
    }
    if head.node != shared.node {
        let text = format!("pod {uid} belongs to another process of this engine, which has its containers");
        return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, text));
    }
    let site = shared.site(Some(&head.site)).ok_or_else(unknown)?.clone();
    Ok((site, [principal.user_ref(), head.owner]))
}

/// Writes down that somebody is inside a pod, whoever's it is.
pub fn note(shared: &Shared, principal: &Principal, action: &str, uid: Uuid, owner: &UserRef, mut detail: Value) {
    detail["owner"] = owner.name.as_str().into();
    shared.identity.audit().done(principal, action, &uid.to_string(), detail);
}

/// Resolves when one of these people may no longer work here.
pub async fn unwelcome(shared: &Shared, users: &[UserRef]) {
    let mut accounts = shared.identity.watch_changes();
    loop {
        accounts.borrow_and_update();
        if users.iter().any(|user| !shared.is_welcome(user)) {
            return;
        }
        if accounts.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
