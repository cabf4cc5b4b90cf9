//! The built-in issuer on the wire (`contracts`: "Embedded issuer: endpoints").

mod discovery;
mod token;

use crate::Identity;
use crate::routes::{Mount, Require, Routes};

const OPEN: Require = Require::Public("issuer metadata and public keys are for everybody");

/// The issuer is `PUBLIC_URL/oidc`. Its metadata is beneath it (OpenID Connect Discovery) and, as RFC 8414 wants it,
/// with the well-known part before the issuer's path.
pub(crate) fn mounts(identity: &Identity) -> Vec<Mount> {
    let issuer = crate::pages::people(Routes::new("identity"))
        .get("/.well-known/openid-configuration", OPEN, discovery::metadata)
        .get("/.well-known/oauth-authorization-server", OPEN, discovery::metadata)
        .get("/jwk", OPEN, discovery::keys)
        .post("/token", Require::Public("clients authenticate with their own credentials"), token::grant)
        .with_state(identity.clone());
    let inserted = || Routes::new("identity").get("/oidc", OPEN, discovery::metadata).with_state(identity.clone());
    vec![
        Mount { prefix: "/oidc", routes: issuer },
        Mount { prefix: "/.well-known/openid-configuration", routes: inserted() },
        Mount { prefix: "/.well-known/oauth-authorization-server", routes: inserted() },
    ]
}
