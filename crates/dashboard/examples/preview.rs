//! The pages over services that only pretend, with a month arriving every so often: to look at them, and to try
//! `conformance/dashboard` without a whole engine. `cargo run --example preview -- SECONDS-BETWEEN-MONTHS`

#[path = "../tests/fakes/mod.rs"]
mod fakes;
#[path = "../tests/sample/mod.rs"]
mod sample;

use std::time::Duration;

use dte_dashboard::Service;
use dte_identity::testing::TestEngine;
use dte_store::Event;

const FIRST: usize = 40;
const LAST: usize = 372;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pace: f64 = std::env::args().nth(1).unwrap_or_else(|| "1".to_owned()).parse()?;
    let world = fakes::World::at(FIRST);
    let engine = TestEngine::start(async |ctx| {
        let mut mounts = fakes::mounts(&world);
        mounts.extend(Service::open(ctx.for_service("dashboard")).await?.mounts());
        Ok(mounts)
    })
    .await;
    let _serving = engine.listen();
    println!("url {}", engine.url);
    for _ in 0..8 {
        println!("login {}", engine.identity.login_url("admin", "preview").await?.expose());
    }
    println!("token {}", engine.admin_token().expose());
    for months in (FIRST + 1)..=LAST {
        tokio::time::sleep(Duration::from_secs_f64(pace)).await;
        world.reach(months);
        // A burst, as a real arrival makes one.
        for _ in 0..20 {
            let event = Event::new("org.dte.preview", "/preview", "enso", serde_json::json!({}));
            engine.store.write(move |tx| tx.emit(event.clone())).await?;
        }
    }
    std::future::pending::<()>().await;
    Ok(())
}
