//! Plugin `interlink`: another place that speaks interLink is a site. With `side = "plugin"` it is an upstream plugin (Slurm,
//! HTCondor, ARC, …) behind our API; with `side = "api"` an interLink API server, which may be another engine.
//!
//! What such a place does not promise is made good here:
//!
//! * it may start a second job for the same pod: a note is on disk before a pod is handed over, and a pod with a
//!   note but no answer is looked for by its UID before it is handed over again;
//! * it may answer for other pods than were asked for, or for one only: what counts is the UID, and silence is no news;
//! * it may answer without containers or without states, which would look as if all had gone well: that is no news either;
//! * it may break down under requests that come together: they go one after the other;
//! * it may forget logs with the job: they are fetched when a pod ends;
//! * it may believe what pods say: annotations and paths that end up in scripts are refused.
//!
//! Such a place sees no folder of ours, so it takes no pods with data of the lake.

mod logs;
mod news;
mod notes;
mod poll;
mod refuse;
mod site;

use std::path::{Path, PathBuf};
use std::time::Duration;

use dte_base::units::Span;
use dte_protocol_interlink::Side;
use serde::Deserialize;

pub use site::InterlinkSite;

/// `[[compute.sites]]` with `plugin = "interlink"`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InterlinkConfig {
    pub name: String,
    /// `http://…`, `https://…` or `unix:///path/of.sock`.
    pub url: String,
    pub side: Side,
    /// A file with the bearer token to show, read for every call.
    pub token_file: Option<PathBuf>,
    /// The authority of the place's own certificate, PEM, if the machine does not know it.
    pub ca: Option<PathBuf>,
    /// The certificate to show there, PEM, with those above it; and its key, which may be in the same file. Files that change
    /// are read again.
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
    /// How often pods are asked for.
    pub every: Span,
    /// Plugins repeat an answer for a while: how long until one is certainly new.
    pub settle: Span,
    /// Whether one question may name several pods; found out when it is not said.
    pub together: Option<bool>,
    /// Requests at once. One: upstream's Slurm plugin is known to break down when two change its list of jobs together.
    pub at_once: usize,
    /// Pods that may be there at once.
    pub pods: u64,
    /// Capacity to show when the place does not say its own.
    pub cpu: String,
    pub memory: String,
    /// `true`: everybody's pods may go there; the place keeps them from each other. Else only administrators' pods.
    pub open: bool,
    /// Annotations that mean something to the place's job scripts and that pods may nevertheless have.
    pub annotations: Vec<String>,
}

impl Default for InterlinkConfig {
    fn default() -> Self {
        InterlinkConfig {
            name: String::new(),
            url: String::new(),
            side: Side::Plugin,
            token_file: None,
            ca: None,
            certificate: None,
            key: None,
            every: Span(Duration::from_secs(2)),
            settle: Span(Duration::from_secs(12)),
            together: None,
            at_once: 1,
            pods: 1_000,
            cpu: "1000".into(),
            memory: "1Ti".into(),
            open: false,
            annotations: Vec::new(),
        }
    }
}

/// Where the site's API begins, as a URL that the client understands.
pub(crate) fn base_of(url: &str) -> Result<url::Url, String> {
    if let Some(path) = url.strip_prefix("unix://") {
        return dte_http::unix::url(Path::new(path)).ok_or_else(|| format!("{url:?} is not the path of a socket"));
    }
    match url.parse::<url::Url>() {
        Ok(parsed) if matches!(parsed.scheme(), "http" | "https") && parsed.has_host() => Ok(parsed),
        _ => Err(format!("url {url:?} is not http://…, https://… or unix:///…")),
    }
}

/// Why files for TLS would do nothing: a place that should know us by them would never see them.
pub(crate) fn unused_tls(config: &InterlinkConfig, base: &url::Url) -> Option<String> {
    let named = [("certificate", &config.certificate), ("ca", &config.ca)];
    let (key, _) = named.into_iter().find(|(_, file)| file.is_some()).filter(|_| base.scheme() != "https")?;
    Some(format!("{key} is for https://…, and url is {:?}", config.url))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_for_tls_without_tls() {
        for (url, is_good) in [("https://a.example", true), ("http://a.example", false), ("unix:///run/a.sock", false)]
        {
            let base = base_of(url).expect("a URL");
            let config = |certificate: Option<&str>, ca: Option<&str>| InterlinkConfig {
                url: url.to_owned(),
                certificate: certificate.map(Into::into),
                ca: ca.map(Into::into),
                ..InterlinkConfig::default()
            };
            assert_eq!(unused_tls(&config(Some("c.pem"), None), &base).is_none(), is_good, "{url}");
            assert_eq!(unused_tls(&config(None, Some("ca.pem")), &base).is_none(), is_good, "{url}");
            assert_eq!(unused_tls(&config(None, None), &base), None);
        }
    }

    #[test]
    fn urls() {
        for good in ["http://127.0.0.1:4000", "https://site.example/interlink", "unix:///run/plugin.sock"] {
            assert!(base_of(good).is_ok(), "{good}");
        }
        for bad in ["", "127.0.0.1:4000", "ftp://x", "unix://relative", "unix://"] {
            assert!(base_of(bad).is_err(), "{bad}");
        }
    }
}
