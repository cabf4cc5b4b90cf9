//! `dte up` and `dte serve`: an engine in this process until it is asked to stop.

use std::sync::Arc;

use crate::cli::{Common, DropIn, Listening, Serve, Up};
use crate::drop_in;
use crate::engine::{Engine, asked_to_stop};
use crate::failure::Failure;
use crate::services::{self, Entry};
use crate::settings::Settings;

/// The flags that stand for keys of the configuration.
pub fn overrides(listening: &Listening) -> Vec<(&'static str, &'static str, String)> {
    listening.listen.iter().map(|address| ("listen", "address", address.to_string())).collect()
}

pub async fn up(common: &Common, up: &Up) -> Result<(), Failure> {
    run(common, &up.listening, &up.drop_in, &services::ALL.iter().collect::<Vec<_>>()).await
}

pub async fn serve(common: &Common, serve: &Serve) -> Result<(), Failure> {
    let find = |name: &String| {
        services::named(name).ok_or_else(|| {
            let known: Vec<&str> = services::ALL.iter().map(|entry| entry.name).collect();
            Failure::new(format!("there is no service {name:?}; there are: {}", known.join(", "))).with_code(2)
        })
    };
    let wanted = serve.services.iter().map(find).collect::<Result<Vec<&Entry>, _>>()?;
    // In the order in which they open, each once.
    let chosen: Vec<&'static Entry> =
        services::ALL.iter().filter(|entry| wanted.iter().any(|w| w.name == entry.name)).collect();
    run(common, &serve.listening, &serve.drop_in, &chosen).await
}

async fn run(
    common: &Common,
    listening: &Listening,
    drop_in: &DropIn,
    services: &[&'static Entry],
) -> Result<(), Failure> {
    let mut settings = Settings::load(common, &overrides(listening))?;
    for note in drop_in::apply(drop_in, Arc::make_mut(&mut settings.document))? {
        eprintln!("dte: {note}");
    }
    let stop = asked_to_stop();
    let engine = Engine::start(&settings, services).await?;
    engine.announce(listening.ready_file.as_deref())?;
    eprintln!("dte listens on {}", engine.url());
    if engine.context.public_url.origin() != engine.url().origin() {
        eprintln!(
            "  it is known as {}: storage addresses and tokens carry that name, so listen there or put a proxy there",
            engine.context.public_url
        );
    }
    eprintln!("  the page:  dte ui --data-dir {}", common.data_dir.display());
    eprintln!("  a token:   dte token --data-dir {}", common.data_dir.display());
    stop.await?;
    engine.stop().await
}
