//! `dte vkubelet`: a node of a Kubernetes cluster whose pods run at a site.

use std::net::SocketAddr;
use std::time::Duration;

use dte_base::tasks::Tasks;
use dte_vkubelet::dropin::{self, Said};
use dte_vkubelet::settings::{DEFAULT_PORT, Settings};

use crate::cli::{Common, Vkubelet};
use crate::engine::asked_to_stop;
use crate::failure::Failure;

/// An engine on this machine, where nothing else is said.
const HERE: &str = "http://127.0.0.1:8990";
/// How long calls that go on may take at the end.
const LAST_WORDS: Duration = Duration::from_secs(8);

pub async fn vkubelet(common: &Common, command: &Vkubelet) -> Result<(), Failure> {
    let filter = std::env::var("RUST_LOG").unwrap_or_else(|_| "info".to_owned());
    dte_base::telemetry::init(&filter, dte_base::telemetry::LogFormat::Text);
    let settings = settings(common, command)?;
    let tasks = Tasks::new();
    let stop = asked_to_stop();
    let running = tasks.clone();
    let run = dte_vkubelet::run(settings, running);
    tokio::pin!(run);
    tokio::select! {
        outcome = &mut run => outcome?,
        asked = stop => asked?,
    }
    // Pods go on at the site; the next start takes them up again.
    if !tasks.stop_and_wait(LAST_WORDS).await {
        eprintln!("dte: some calls did not end in time");
    }
    Ok(())
}

fn settings(common: &Common, command: &Vkubelet) -> Result<Settings, Failure> {
    let bad = |text: String| Failure::new(text).with_code(2);
    let engine = common.url.as_ref().map_or(HERE, url::Url::as_str).trim_end_matches('/');
    let interlink = match &command.interlink_url {
        Some(url) => url.clone(),
        None => format!("{engine}/interlink").parse()?,
    };
    let state_dir = command.state_dir.clone().unwrap_or_else(|| common.data_dir.join("vkubelet"));
    let mut settings = Settings::of(command.node_name.clone(), interlink, state_dir);
    settings.token_file = common.token_file.clone();
    if let Some(file) = &command.drop_in {
        let said = Said { interlink: command.interlink_url.clone(), token_file: common.token_file.clone() };
        for note in dropin::apply(file, &mut settings, said)? {
            eprintln!("dte: {}: {note}", file.display());
        }
    }
    if command.site_ca.is_some() {
        settings.site_tls.roots = command.site_ca.clone();
    }
    if let (Some(cert), Some(key)) = (&command.site_cert, &command.site_key) {
        settings.site_tls.identity = Some((cert.clone(), key.clone()));
    }
    if settings.site_tls.identity.is_some() && settings.interlink.scheme() != "https" {
        return Err(bad(format!(
            "a certificate is shown to https://… only, and the site is at {}",
            settings.interlink
        )));
    }
    settings.kubeconfig = command.kubeconfig.clone();
    settings.site = command.site.clone();
    settings.node_ip = command.node_ip.unwrap_or(settings.node_ip);
    settings.listen = command.listen.unwrap_or_else(|| SocketAddr::new(settings.node_ip, DEFAULT_PORT));
    if command.serving_signer.is_some() {
        settings.serving_signer = command.serving_signer.clone();
    }
    if let (Some(cert), Some(key)) = (&command.tls_cert, &command.tls_key) {
        (settings.certificate, settings.serving_signer) = (Some((cert.clone(), key.clone())), None);
    }
    settings.client_ca = command.client_ca.clone();
    for label in &command.labels {
        let (key, value) = label.split_once('=').ok_or_else(|| bad(format!("--label {label}: write KEY=VALUE")))?;
        settings.labels.insert(key.to_owned(), value.to_owned());
    }
    for amount in &command.resources {
        let (name, amount) =
            amount.split_once('=').ok_or_else(|| bad(format!("--resource {amount}: write NAME=AMOUNT")))?;
        let resources = &mut settings.resources;
        match name {
            "cpu" => resources.cpu = amount.to_owned(),
            "memory" => resources.memory = amount.to_owned(),
            "pods" => resources.pods = amount.to_owned(),
            other => drop(resources.extended.insert(other.to_owned(), amount.to_owned())),
        }
    }
    if let Some(address) = &command.kubernetes_api {
        let parts = address.rsplit_once(':').and_then(|(host, port)| Some((host.to_owned(), port.parse().ok()?)));
        settings.kubernetes_api =
            Some(parts.ok_or_else(|| bad(format!("--kubernetes-api {address}: write HOST:PORT")))?);
    }
    settings.real_platform_labels = command.real_platform_labels;
    settings.evict_when_away = command.evict_when_away;
    (settings.ping_every, settings.status_every) = (command.ping_every, command.status_every);
    Ok(settings)
}
