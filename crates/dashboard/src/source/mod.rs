//! Where the values on the pages come from: the services' public routes, asked with the viewer's own rights.
//!
//! What cannot be read is left out and said in its place; only a twin that is not there (or not for this viewer) makes a
//! page fail.

pub mod compute;
pub mod engine;
pub mod lineage;
pub mod twin;
mod wire;

use std::time::Duration;

use axum::body::Body;
use dte_base::secret::Secret;
use dte_base::tasks::Tasks;
use dte_http::{Client, ClientError};
use http::header::{AUTHORIZATION, HeaderValue, InvalidHeaderValue};
use http::{Request, Response};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::address::component;

/// How long a page waits for a part of it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks services for one viewer.
#[derive(Clone)]
pub struct Reader {
    client: Client,
    shown: HeaderValue,
}

impl Reader {
    /// With the `Authorization` header that the viewer sent.
    pub fn showing(client: Client, shown: HeaderValue) -> Reader {
        Reader { client, shown }
    }

    /// With a token.
    pub fn bearing(client: Client, token: &Secret) -> Result<Reader, InvalidHeaderValue> {
        let mut shown = HeaderValue::from_str(&format!("Bearer {}", token.expose()))?;
        shown.set_sensitive(true);
        Ok(Reader { client, shown })
    }

    /// The JSON at a path of ours.
    pub async fn json<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.ask(path).await?.json().await
    }

    /// JSON values, one a line, as Rucio streams them.
    pub async fn lines(&self, path: &str) -> Result<Vec<Value>, ClientError> {
        let text = self.ask(path).await?.text().await?;
        let parse = |line: &str| serde_json::from_str(line).map_err(|error| ClientError::Json(error.to_string()));
        text.lines().filter(|line| !line.trim().is_empty()).map(parse).collect()
    }

    /// The text that a question in JSON is answered with.
    pub async fn text_of(&self, path: &str, question: &Value) -> Result<String, ClientError> {
        let request =
            self.client.post(self.client.url_of(path)).header(AUTHORIZATION, self.shown.clone()).timeout(PATIENCE);
        request.json(question).send().await?.ok().await?.text().await
    }

    /// Hands a caller's WebSocket on to a path of ours.
    async fn relay(&self, tasks: &Tasks, path: &str, caller: Request<Body>) -> Result<Response<Body>, ClientError> {
        self.client.relay_web_socket(tasks, caller, &self.client.url_of(path), Some(self.shown.clone())).await
    }

    async fn ask(&self, path: &str) -> Result<dte_http::Reply, ClientError> {
        let request =
            self.client.get(self.client.url_of(path)).header(AUTHORIZATION, self.shown.clone()).timeout(PATIENCE);
        request.send().await?.ok().await
    }
}

/// A path from a pattern, each `{}` filled with one component.
fn path(pattern: &str, components: &[&str]) -> String {
    let mut filled = String::new();
    let mut components = components.iter();
    for (i, text) in pattern.split("{}").enumerate() {
        if i > 0 {
            filled.push_str(&components.next().map_or_else(String::new, |text| component(text)));
        }
        filled.push_str(text);
    }
    filled
}

/// The first of `keys` that is there and a text.
fn text(value: &Value, keys: &[&str]) -> Option<String> {
    keys.iter().find_map(|key| value.get(key)?.as_str().filter(|text| !text.is_empty()).map(str::to_owned))
}

/// The first of `keys` that is there and a whole number.
fn number(value: &Value, keys: &[&str]) -> Option<u64> {
    keys.iter().find_map(|key| value.get(key)?.as_u64())
}

/// A list, given as such or as the `items` of a page.
fn items(value: &Value) -> &[Value] {
    value.as_array().or_else(|| value.get("items")?.as_array()).map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_within_their_components() {
        assert_eq!(
            path("/twins/api/v1/twins/{}/runs?limit=1", &["a/../b?c"]),
            "/twins/api/v1/twins/a%2F..%2Fb%3Fc/runs?limit=1"
        );
    }
}
