//! A lake of its own for trying real clients: `serve READY_FILE`.
//!
//! Writes its address and an administrator's token to READY_FILE, one on each line, and serves `/rucio` until it is told to
//! stop. There is no transfer service, so rules that need copies wait.

use dte_identity::testing::TestEngine;
use dte_lake::Service;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let ready = std::env::args().nth(1).ok_or("usage: serve READY_FILE")?;
    let password = std::env::var("DTE_WALKER_PASSWORD").unwrap_or_else(|_| "a good long password 4711".to_owned());
    let engine = TestEngine::start(async |ctx| Ok(Service::open(ctx.for_service(Service::NAME)).await?.mounts())).await;
    // Somebody with a password, for clients that log in with one.
    engine.identity.add_user("walker", false, "admin").await?;
    engine.identity.set_password("walker", &password, None, "admin").await?;
    let server = engine.listen();
    let address = engine.url.as_str().trim_end_matches('/').to_owned();
    std::fs::write(&ready, format!("{address}\n{}\n", engine.admin_token().expose()))?;
    tokio::signal::ctrl_c().await?;
    server.stop(std::time::Duration::from_secs(5)).await;
    engine.stop().await;
    Ok(())
}
