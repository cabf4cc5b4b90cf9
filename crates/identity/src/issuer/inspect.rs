//! A look at a token of ours for the issuer's own endpoints, whoever it is meant for.

use dte_base::time::Timestamp;

use crate::Identity;
use crate::model::decide::{Policy, decide};
use crate::model::principal::Principal;
use crate::model::reject::Reject;
use crate::model::token::{self, Claim, Claims};
use crate::trust;

/// A good access token of ours.
pub(crate) struct OwnToken {
    pub(crate) principal: Principal,
    pub(crate) claims: Claims,
    pub(crate) audiences: Vec<String>,
}

impl OwnToken {
    pub(crate) fn client_id(&self) -> &str {
        self.claims.text("client_id").ok().flatten().unwrap_or_default()
    }

    pub(crate) fn scopes(&self) -> &[String] {
        self.principal.scopes.names()
    }
}

impl Identity {
    /// All checks of [`Identity::verify`], save that the token may be meant for anybody.
    pub(crate) fn inspect(&self, text: &str) -> Result<OwnToken, Reject> {
        let token = token::parse(text)?;
        if token.claims.text("iss")? != Some(self.0.issuer.as_str()) {
            return Err(Reject::Issuer);
        }
        let keys = self.0.keys.read().clone();
        let key = keys.public(&token.key_id).ok_or(Reject::KeyUnknown)?;
        key.verify(token.algorithm, token.message, token.signature)?;
        let named = token.claims.get("aud").and_then(Claim::texts).unwrap_or_default();
        let audiences: Vec<String> = named.into_iter().map(str::to_owned).collect();
        let anybody = Policy { audiences: audiences.clone(), ..self.0.own_policy.clone() };
        let accepted = decide(&token.claims, &anybody, Timestamp::now())?;
        let about = trust::subject_issuer(&token.claims, &self.0.issuer, accepted.acting.is_some())?;
        let principal = self.of_ours(&about, accepted)?;
        Ok(OwnToken { principal, claims: token.claims, audiences })
    }
}
