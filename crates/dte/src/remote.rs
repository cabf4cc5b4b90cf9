//! A running engine as the commands see it: an address and a token.

use std::path::{Path, PathBuf};

use dte_base::secret::Secret;
use dte_http::{Client, HttpConfig};
use http::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use url::Url;

use crate::cli::Common;
use crate::failure::Failure;

/// Where an engine notes its address for commands that name the same data directory.
pub const ADDRESS_FILE: &str = "address";
const DEFAULT_URL: &str = "http://127.0.0.1:8990";

/// A running engine.
#[derive(Clone)]
pub struct Remote {
    pub client: Client,
    pub url: Url,
    pub token: Secret,
}

impl Remote {
    /// Finds the engine that the flags and the environment name.
    pub async fn find(common: &Common) -> Result<Self, Failure> {
        let url = match known_url(common)? {
            Some(url) => url,
            None => parse(DEFAULT_URL)?,
        };
        let token = match given_token(common)? {
            Some(token) => token,
            None => socket_token(&common.data_dir).await?,
        };
        Ok(Remote::at(url, token))
    }

    /// The engine at `url`.
    pub fn at(url: Url, token: Secret) -> Self {
        // Nothing is served by a command, so the client's own URL is one that nobody asks for.
        let nobody = Url::parse("http://nobody.invalid").unwrap_or_else(|_| url.clone());
        Remote { client: Client::new(&HttpConfig::default(), nobody), url, token }
    }

    /// `PATH` below the engine's address.
    pub fn url_of(&self, path: &str) -> String {
        format!("{}{path}", self.url.as_str().trim_end_matches('/'))
    }

    /// The base of a service's API, for the typed clients.
    pub fn base(&self, path: &str) -> Result<Url, Failure> {
        parse(&self.url_of(path))
    }

    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.call(Method::GET, path, None::<&()>).await
    }

    pub async fn text(&self, path: &str) -> Result<String, Failure> {
        let reply = self.client.get(self.url_of(path)).bearer(&self.token).send().await?;
        Ok(reply.ok().await?.text().await?)
    }

    /// Calls with a JSON body and reads a JSON answer; an empty answer is `null`.
    pub async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&(impl Serialize + ?Sized)>,
    ) -> Result<T, Failure> {
        let mut request = self.client.request(method, self.url_of(path)).bearer(&self.token);
        if let Some(body) = body {
            request = request.json(body);
        }
        let text = request.send().await?.ok().await?.text().await?;
        let text = if text.trim().is_empty() { "null" } else { &text };
        serde_json::from_str(text)
            .map_err(|error| Failure::new(format!("the answer of {path} is not understood: {error}")))
    }
}

/// The address that the flags or the data directory tell.
pub fn known_url(common: &Common) -> Result<Option<Url>, Failure> {
    if let Some(url) = &common.url {
        return Ok(Some(url.clone()));
    }
    let noted = std::fs::read_to_string(common.data_dir.join(ADDRESS_FILE)).ok();
    noted.map(|text| parse(text.trim())).transpose()
}

fn parse(text: &str) -> Result<Url, Failure> {
    Url::parse(text).map_err(|error| Failure::new(format!("{text:?} is not an address: {error}")))
}

/// A token from a file or from the environment, in the order of the WLCG token discovery.
pub fn given_token(common: &Common) -> Result<Option<Secret>, Failure> {
    if let Some(file) = &common.token_file {
        return read_token(file).map(Some);
    }
    let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.trim().is_empty());
    if let Some(token) = variable("BEARER_TOKEN") {
        return Ok(Some(Secret::new(token.trim())));
    }
    variable("BEARER_TOKEN_FILE").map(|file| read_token(&PathBuf::from(file))).transpose()
}

pub fn read_token(file: &Path) -> Result<Secret, Failure> {
    let text = std::fs::read_to_string(file).map_err(|error| Failure::new(format!("{}: {error}", file.display())))?;
    Ok(Secret::new(text.trim()))
}

/// The operating-system user who runs the engine needs no token: the socket in the data directory gives one.
async fn socket_token(data_dir: &Path) -> Result<Secret, Failure> {
    if !dte_identity::AdminClient::is_there(data_dir) {
        return Err(Failure::new(format!(
            "no engine is running in {} and no token is given: start one with `dte up`, or name another with --url and \
             --token-file",
            data_dir.display()
        )));
    }
    crate::command::token::from_socket(data_dir).await
}
