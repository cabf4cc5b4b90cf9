//! A transfer service with a storage in memory, for trying real clients: `serve READY_FILE [CONFIG]`.
//!
//! Writes its address and an administrator's token to READY_FILE, one on each line, and serves `/fts` and `/dav` until it is
//! told to stop. CONFIG is text as in `dte.toml`.

#[path = "../tests/fixture/storage.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod storage;

use dte_identity::testing::{TestEngine, TestSetup};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let ready = arguments.next().ok_or("usage: serve READY_FILE [CONFIG]")?;
    let setup = TestSetup::config(&arguments.next().unwrap_or_default());
    let engine = TestEngine::start_with(setup, async |ctx| {
        let service = dte_transfer::Service::open(ctx.for_service(dte_transfer::Service::NAME)).await?;
        let mut mounts = service.mounts();
        mounts.push(storage::FakeStorage::new().mount());
        Ok(mounts)
    })
    .await;
    let server = engine.listen();
    let address = engine.url.as_str().trim_end_matches('/').to_owned();
    std::fs::write(&ready, format!("{address}\n{}\n", engine.admin_token().expose()))?;
    tokio::signal::ctrl_c().await?;
    server.stop(std::time::Duration::from_secs(5)).await;
    engine.stop().await;
    Ok(())
}
