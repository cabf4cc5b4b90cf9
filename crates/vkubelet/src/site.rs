//! The site: an interLink API server, our own engine or another's.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use dte_base::secret::Secret;
use dte_http::{CertifiedClient, Client, Reply};
use dte_protocol_interlink::{
    CreateStruct, InterlinkClient, InterlinkError, LogStruct, PodCreateRequests, PodStatus, RawPod, SESSION_HEADER,
};
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use crate::Error;
use crate::settings::{Settings, Taint};

/// Pods in one question about their status.
const BATCH: usize = 500;

fn of_files(error: dte_http::TlsError) -> Error {
    Error::Settings(format!("for the site: {error}"))
}

/// The site behind a node.
pub struct Site {
    client: CertifiedClient,
    base: Url,
    settings: Settings,
    /// The server is an engine of ours, which knows more than the protocol asks for.
    is_engine: AtomicBool,
    /// The server answers for one pod at a time only.
    is_single: AtomicBool,
}

/// What a ping said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ping {
    /// The body, shown to people.
    pub text: String,
    pub resources: BTreeMap<String, String>,
    /// `None`: the site says nothing of taints.
    pub taints: Option<Vec<Taint>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PingBody {
    resources: BTreeMap<String, Value>,
    taints: Option<Vec<Taint>>,
}

#[derive(Deserialize)]
struct Accelerator {
    #[serde(rename = "resourceType")]
    kind: String,
    available: Value,
}

impl Site {
    pub fn new(settings: &Settings) -> Result<Self, Error> {
        let base = match settings.interlink.scheme() {
            "http" | "https" => Some(settings.interlink.clone()),
            "unix" => dte_http::unix::url(Path::new(settings.interlink.path())),
            _ => None,
        };
        let Some(base) = base else {
            return Err(Error::Settings(format!(
                "the site's address {} must be http://…, https://… or unix:///PATH of a socket",
                settings.interlink
            )));
        };
        let client = CertifiedClient::new(base.clone(), settings.site_tls.clone()).map_err(of_files)?;
        Ok(Site {
            client,
            base,
            settings: settings.clone(),
            is_engine: AtomicBool::new(false),
            is_single: AtomicBool::new(false),
        })
    }

    /// Whether `$` in values must be doubled, because the site expands `$(NAME)` itself.
    pub fn is_engine(&self) -> bool {
        self.is_engine.load(Ordering::Relaxed)
    }

    /// The address of one of the site's paths.
    pub fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.base.as_str().trim_end_matches('/'))
    }

    /// A client with the certificate that the files have by now.
    pub fn http(&self) -> Result<Client, Error> {
        self.client.client().map_err(of_files)
    }

    /// The token, as the file has it now.
    pub async fn token(&self) -> Result<Option<Secret>, Error> {
        let Some(file) = &self.settings.token_file else { return Ok(None) };
        let text = tokio::fs::read_to_string(file)
            .await
            .map_err(|error| Error::Settings(format!("the token file {}: {error}", file.display())))?;
        Ok(Some(Secret::new(text.trim())))
    }

    async fn client(&self) -> Result<InterlinkClient, Error> {
        Ok(InterlinkClient::new(self.http()?, &self.base, self.token().await?))
    }

    /// Whether the site is well and what it has.
    pub async fn ping(&self) -> Result<Ping, Error> {
        let text = self.ask(Method::POST, "pinglink").await?;
        let mut ping = read_ping(&text);
        // Only an engine of ours has this path.
        let sites = self.ask(Method::GET, "sites").await.ok();
        let sites = sites.and_then(|text| serde_json::from_str::<Value>(&text).ok());
        let items = sites.as_ref().and_then(|sites| sites.get("items")).and_then(Value::as_array);
        self.is_engine.store(items.is_some(), Ordering::Relaxed);
        if let Some(name) = &self.settings.site {
            let Some(own) = items.into_iter().flatten().find(|site| site["name"] == json!(name)) else {
                return Err(Error::Settings(format!("{} has no site {name:?}", self.base)));
            };
            let amount = |key: &str| own["capacity"][key].as_u64();
            let units = [("cpu_millis", "cpu", "m"), ("memory_bytes", "memory", ""), ("pods", "pods", "")];
            for (key, resource, unit) in units {
                if let Some(amount) = amount(key) {
                    ping.resources.insert(resource.to_owned(), format!("{amount}{unit}"));
                }
            }
        }
        Ok(ping)
    }

    async fn ask(&self, method: Method, path: &str) -> Result<String, Error> {
        let mut request = self.http()?.request(method, self.url(path)).header(SESSION_HEADER, "PingInterLink#0");
        if let Some(token) = self.token().await? {
            request = request.bearer(&token);
        }
        let reply = request.send().await.map_err(InterlinkError::from)?;
        let status = reply.status;
        let text = reply.text().await.map_err(InterlinkError::from)?;
        match status.is_success() {
            true => Ok(text),
            false => Err(InterlinkError::Refused { status, text: text.trim().to_owned() }.into()),
        }
    }

    pub async fn create(&self, request: &PodCreateRequests) -> Result<CreateStruct, Error> {
        Ok(self.client().await?.create(request).await?)
    }

    pub async fn delete(&self, pod: &RawPod) -> Result<(), Error> {
        match self.client().await?.delete(pod).await {
            Ok(_) => Ok(()),
            Err(InterlinkError::Refused { status, .. }) if status.as_u16() == 404 => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    pub async fn logs(&self, asked: &LogStruct) -> Result<Reply, Error> {
        Ok(self.client().await?.logs(asked).await?)
    }

    /// How pods go, in as few calls as the site allows. Pods that it does not know are missing.
    pub async fn status(&self, pods: &[RawPod]) -> Result<Vec<PodStatus>, Error> {
        let client = self.client().await?;
        let mut all = Vec::with_capacity(pods.len());
        for batch in pods.chunks(BATCH) {
            if self.is_single.load(Ordering::Relaxed) {
                for pod in batch {
                    all.extend(one(&client, pod).await?);
                }
                continue;
            }
            let answers = client.status(batch).await?;
            let has = |pod: &RawPod| answers.iter().any(|answer| answer.uid == pod.uid());
            let missing: Vec<&RawPod> = batch.iter().filter(|pod| !has(pod)).collect();
            // Some plugins look at the first pod of a question only.
            if batch.len() > 1 && !missing.is_empty() && !self.is_engine() {
                for pod in missing {
                    if let Some(answer) = one(&client, pod).await? {
                        self.is_single.store(true, Ordering::Relaxed);
                        all.push(answer);
                    }
                }
            }
            all.extend(answers.into_iter().filter(|answer| batch.iter().any(|pod| pod.uid() == answer.uid)));
        }
        Ok(all)
    }
}

/// The status of one pod; some servers say 404 for one that they do not know.
async fn one(client: &InterlinkClient, pod: &RawPod) -> Result<Option<PodStatus>, Error> {
    match client.status(std::slice::from_ref(pod)).await {
        Ok(answers) => Ok(answers.into_iter().find(|answer| answer.uid == pod.uid())),
        Err(InterlinkError::Refused { status, .. }) if status.as_u16() == 404 => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn read_ping(text: &str) -> Ping {
    let mut ping = Ping { text: text.trim().to_owned(), ..Ping::default() };
    let Ok(body) = serde_json::from_str::<PingBody>(text) else { return ping };
    let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    for (name, value) in &body.resources {
        if name != "accelerators" {
            ping.resources.insert(name.clone(), plain(value));
        } else if let Ok(list) = serde_json::from_value::<Vec<Accelerator>>(value.clone()) {
            ping.resources.extend(list.iter().map(|one| (one.kind.clone(), plain(&one.available))));
        }
    }
    ping.taints = body.taints;
    ping
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pings_of_all_kinds() {
        assert_eq!(read_ping("null").resources.len(), 0);
        assert_eq!(read_ping("[]").text, "[]");
        let ping = read_ping(
            r#"{"status":"ok","resources":{"cpu":"4","accelerators":[{"resourceType":"nvidia.com/gpu","available":"2"}]},
                "taints":[{"key":"k","effect":"NoSchedule"}]}"#,
        );
        assert_eq!((ping.resources["cpu"].as_str(), ping.resources["nvidia.com/gpu"].as_str()), ("4", "2"));
        assert_eq!(ping.taints.expect("taints")[0].key, "k");
    }
}
