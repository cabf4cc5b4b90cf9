//! A client for one place, with a certificate or a root of its own whose files change: certificates may live for hours only.

use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use url::Url;

use super::Client;
use crate::config::HttpConfig;
use crate::tls::{TlsError, TlsFiles};

/// When each of the files was written, as far as anybody can tell.
type Times = Vec<Option<SystemTime>>;

/// Reads the files again when one of them has changed. Without files it is an ordinary client.
pub struct CertifiedClient {
    files: TlsFiles,
    made: Mutex<(Times, Client)>,
}

impl CertifiedClient {
    /// Reads the files: what is wrong with them is better told now. `public_url`: what is our own, and so never called.
    pub fn new(public_url: Url, files: TlsFiles) -> Result<Self, TlsError> {
        let times = files.times();
        let client = made(&public_url, &files)?;
        Ok(CertifiedClient { files, made: Mutex::new((times, client)) })
    }

    /// A client with what the files have by now.
    pub fn client(&self) -> Result<Client, TlsError> {
        let times = self.files.times();
        let mut known = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if known.0 != times {
            let client = made(known.1.public_url(), &self.files)?;
            *known = (times, client);
        }
        Ok(known.1.clone())
    }
}

fn made(public_url: &Url, files: &TlsFiles) -> Result<Client, TlsError> {
    let config = HttpConfig::default();
    if *files == TlsFiles::default() {
        return Ok(Client::new(&config, public_url.clone()));
    }
    Client::with_tls(&config, public_url.clone(), files)
}

impl TlsFiles {
    fn times(&self) -> Times {
        let identity = self.identity.iter().flat_map(|(certificate, key)| [certificate, key]);
        let written = |file| std::fs::metadata(file).and_then(|about| about.modified()).ok();
        self.roots.iter().chain(identity).map(written).collect()
    }
}
