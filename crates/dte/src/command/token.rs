//! `dte token`: prints a bearer token on standard output and nothing else.

use std::path::Path;

use dte_base::secret::Secret;
use dte_base::units::Span;
use dte_identity::AdminClient;
use dte_identity::socket::TokenWanted;

use crate::cli::{Common, Token};
use crate::engine::identity_at_rest;
use crate::failure::Failure;
use crate::settings::Settings;
use crate::show;

pub async fn token(common: &Common, command: &Token) -> Result<(), Failure> {
    let token = if AdminClient::is_there(&common.data_dir) {
        let wanted = TokenWanted {
            user: Some(command.user.clone()),
            scope: command.scope.clone(),
            audience: command.audience.clone(),
            lifetime: Some(Span(command.lifetime)),
        };
        AdminClient::new(&common.data_dir).token(&wanted).await?
    } else {
        at_rest(common, command).await?
    };
    show::line(token.expose());
    Ok(())
}

/// The engine does not run, so this command takes the store's lock itself.
async fn at_rest(common: &Common, command: &Token) -> Result<Secret, Failure> {
    let settings = Settings::load(common, &[])?;
    let elsewhere = std::env::var_os("DTE_STORE").is_some() || settings.document.has("store", "url");
    if !elsewhere && !settings.data_dir.join("dte.sqlite").exists() {
        return Err(Failure::new(format!(
            "there is no engine in {}: start one with `dte up`",
            common.data_dir.display()
        )));
    }
    let (identity, tasks) = identity_at_rest(&settings).await?;
    let scopes: Vec<&str> = command.scope.as_deref().unwrap_or_default().split_whitespace().collect();
    let token =
        identity.issue_token(&command.user, &scopes, command.audience.as_deref(), command.lifetime, "command line")?;
    tasks.stop_and_wait(std::time::Duration::from_secs(5)).await;
    Ok(token)
}

/// The administrator's token from the socket of the engine that runs in `data_dir`.
pub async fn from_socket(data_dir: &Path) -> Result<Secret, Failure> {
    let wanted = TokenWanted { user: None, scope: None, audience: None, lifetime: None };
    Ok(AdminClient::new(data_dir).token(&wanted).await?)
}
