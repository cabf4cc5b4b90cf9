//! `dte token`: prints a bearer token on standard output and nothing else.

use std::path::Path;

use dte_base::secret::Secret;
use dte_base::units::Span;
use dte_identity::socket::TokenWanted;
use dte_identity::{AdminClient, KNOWN_SCOPES, is_known_scope};

use super::administration::Administration;
use crate::cli::{Common, Token};
use crate::failure::Failure;
use crate::show;

pub async fn token(common: &Common, command: &Token) -> Result<(), Failure> {
    check_scopes(command.scope.as_deref().unwrap_or_default())?;
    let engine = Administration::open(common).await?;
    let wanted = TokenWanted {
        user: Some(command.user.clone()),
        scope: command.scope.clone(),
        audience: command.audience.clone(),
        lifetime: Some(Span(command.lifetime)),
    };
    let token = engine.token(wanted).await?;
    engine.close().await?;
    show::line(token.expose());
    Ok(())
}

/// A scope that means nothing would make a token that opens nothing, or one that opens all: a slip must be told.
fn check_scopes(scopes: &str) -> Result<(), Failure> {
    let Some(odd) = scopes.split_whitespace().find(|scope| !is_known_scope(scope)) else { return Ok(()) };
    let width = KNOWN_SCOPES.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let list: String = KNOWN_SCOPES.iter().map(|(name, what)| format!("\n  {name:<width$}  {what}")).collect();
    Err(Failure::new(format!("{odd:?} is not a scope of this engine; there are:{list}")).with_code(2))
}

/// The administrator's token from the socket of the engine that runs in `data_dir`.
pub async fn from_socket(data_dir: &Path) -> Result<Secret, Failure> {
    let wanted = TokenWanted { user: None, scope: None, audience: None, lifetime: None };
    Ok(AdminClient::new(data_dir).token(&wanted).await?)
}
