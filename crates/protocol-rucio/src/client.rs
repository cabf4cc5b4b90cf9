//! [`LakeClient`]: what one service asks a Rucio server, ours (in memory) or another's (HTTP).
//!
//! Calls that create are idempotent from the caller's view where the name says `ensure_` and wherever the text says so:
//! "exists already" is a success, so a caller that was killed between the call and its own note just calls again.

use dte_base::secret::Secret;
use dte_http::{Client, ClientError};
use http::{Method, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use url::Url;

use crate::did::{Attachment, ContentEntry, Did, DidInfo, DidType, FileEntry, NewDid};
use crate::exception::{Class, Exception};
use crate::replica::{NewReplica, ReplicaEntry};
use crate::rse::{Protocol, RseInfo};
use crate::rule::{LockEntry, NewRule, RuleInfo};

/// Most bytes of one answer that are read into memory.
const ANSWER_LIMIT: usize = 64 << 20;

/// What may stand in a path segment of a name: slashes stay, since names contain them.
const NAME: AsciiSet = NON_ALPHANUMERIC.remove(b'/').remove(b'.').remove(b'-').remove(b'_').remove(b'~');
const SEGMENT: AsciiSet = NON_ALPHANUMERIC.remove(b'.').remove(b'-').remove(b'_').remove(b'~');

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum LakeError {
    /// The server answered with an error.
    #[error(transparent)]
    Exception(#[from] Exception),
    /// No answer.
    #[error(transparent)]
    Http(#[from] ClientError),
    /// An answer that is not what the protocol says.
    #[error("unexpected answer of the data lake to {call}: {detail}")]
    Malformed { call: String, detail: String },
}

impl LakeError {
    /// Whether the server said this exception.
    pub fn is(&self, class: Class) -> bool {
        matches!(self, LakeError::Exception(exception) if exception.is(class))
    }

    /// Something named in the call is not known (404).
    pub fn is_not_found(&self) -> bool {
        matches!(self, LakeError::Exception(exception) if exception.status == StatusCode::NOT_FOUND)
    }

    /// Asking again later may help: no answer, or the server says that it cannot now.
    pub fn is_transient(&self) -> bool {
        match self {
            LakeError::Http(error) => error.is_transient(),
            LakeError::Exception(exception) => {
                exception.status.is_server_error() || exception.status == StatusCode::TOO_MANY_REQUESTS
            }
            LakeError::Malformed { .. } => false,
        }
    }
}

/// A client of a Rucio server.
#[derive(Clone)]
pub struct LakeClient {
    client: Client,
    base: Url,
    token: Secret,
}

impl LakeClient {
    /// `base` is where the REST API begins, e.g. `https://engine.example.org/rucio`; a trailing slash does not matter.
    pub fn new(client: Client, base: Url, token: Secret) -> Self {
        LakeClient { client, base, token }
    }

    /// The account of the token.
    pub async fn whoami(&self) -> Result<String, LakeError> {
        let account: Value = self.json(Method::GET, "accounts/whoami", None::<&()>).await?;
        text_field("whoami", &account, "account")
    }

    /// Makes the scope for `account` if it is not there.
    pub async fn ensure_scope(&self, account: &str, scope: &str) -> Result<(), LakeError> {
        let path = format!("accounts/{}/scopes/{}", segment(account), segment(scope));
        existing_is_done(self.done(Method::POST, &path, None::<&()>).await, &[Class::Duplicate])
    }

    /// Makes the storage element if it is not there.
    pub async fn ensure_rse(&self, rse: &str) -> Result<(), LakeError> {
        let path = format!("rses/{}", segment(rse));
        existing_is_done(self.done(Method::POST, &path, Some(&json!({}))).await, &[Class::Duplicate])
    }

    /// Adds a way to reach the storage element; one that exists stays as it is.
    pub async fn ensure_protocol(&self, rse: &str, protocol: &Protocol) -> Result<(), LakeError> {
        let path = format!("rses/{}/protocols/{}", segment(rse), segment(&protocol.scheme));
        existing_is_done(self.done(Method::POST, &path, Some(protocol)).await, &[Class::Duplicate])
    }

    /// Sets an attribute that is not set yet.
    pub async fn ensure_rse_attribute(&self, rse: &str, key: &str, value: &str) -> Result<(), LakeError> {
        let path = format!("rses/{}/attr/{}", segment(rse), segment(key));
        existing_is_done(self.done(Method::POST, &path, Some(&json!({ "value": value }))).await, &[Class::Duplicate])
    }

    pub async fn get_rse(&self, rse: &str) -> Result<RseInfo, LakeError> {
        self.json(Method::GET, &format!("rses/{}", segment(rse)), None::<&()>).await
    }

    /// Names of the storage elements that match an expression.
    pub async fn list_rses(&self, expression: &str) -> Result<Vec<String>, LakeError> {
        let path = format!("rses/?expression={}", segment(expression));
        let rows: Vec<Value> = self.stream(Method::GET, &path, None::<&()>).await?;
        rows.iter().map(|row| text_field("list_rses", row, "rse")).collect()
    }

    /// The PFNs that files have, or will have, at a deterministic storage element, in the order of `dids`.
    pub async fn lfns2pfns(&self, rse: &str, dids: &[Did]) -> Result<Vec<String>, LakeError> {
        let query: Vec<String> = dids.iter().map(|did| format!("lfn={}", segment(&did.to_string()))).collect();
        let path = format!("rses/{}/lfns2pfns?{}", segment(rse), query.join("&"));
        let map: serde_json::Map<String, Value> = self.json(Method::GET, &path, None::<&()>).await?;
        dids.iter()
            .map(|did| {
                map.get(&did.to_string())
                    .and_then(Value::as_str)
                    .map(str::to_owned)
                    .ok_or_else(|| LakeError::Malformed { call: path.clone(), detail: format!("no PFN for {did}") })
            })
            .collect()
    }

    /// The PFN that `did` has, or will have, at `rse`.
    pub async fn pfn(&self, rse: &str, did: &Did) -> Result<String, LakeError> {
        Ok(self.lfns2pfns(rse, std::slice::from_ref(did)).await?.remove(0))
    }

    /// Files that [`LakeClient::reading_token`] takes at once.
    pub const READ_AT_ONCE: usize = 16;

    /// A token that reads just these files at the lake's own storage, for a few minutes; none where nothing of them is there.
    /// `AccessDenied` when one of them is not for the asker. An addition of this engine to Rucio's API.
    pub async fn reading_token(&self, dids: &[Did]) -> Result<Option<Secret>, LakeError> {
        let body = json!({ "dids": dids });
        let answer: Value = self.json(Method::POST, "credentials/storage", Some(&body)).await?;
        Ok(answer.get("token").and_then(Value::as_str).map(Secret::new))
    }

    /// Accounts and groups (`/vo/group`) that alone may read the files of a scope, besides its owner; none is everybody.
    pub async fn readers(&self, scope: &str) -> Result<Vec<String>, LakeError> {
        let path = format!("access/{}", segment(scope));
        let answer: Value = self.json(Method::GET, &path, None::<&()>).await?;
        let list = answer.get("readers").and_then(Value::as_array).cloned().unwrap_or_default();
        Ok(list.iter().filter_map(Value::as_str).map(str::to_owned).collect())
    }

    /// Names the readers of a scope, in place of those that were named.
    pub async fn set_readers(&self, scope: &str, readers: &[String]) -> Result<(), LakeError> {
        let path = format!("access/{}", segment(scope));
        self.done(Method::PUT, &path, Some(&json!({ "readers": readers }))).await
    }

    /// Makes datasets and containers, all or none; `DataIdentifierAlreadyExists` if one is there.
    pub async fn add_dids(&self, dids: &[NewDid]) -> Result<(), LakeError> {
        self.done(Method::POST, "dids", Some(&dids)).await
    }

    /// Makes the datasets and containers that are not there yet.
    pub async fn ensure_dids(&self, dids: &[NewDid]) -> Result<(), LakeError> {
        match self.add_dids(dids).await {
            Err(error) if error.is(Class::DataIdentifierAlreadyExists) => {
                for did in dids {
                    let one = self.add_dids(std::slice::from_ref(did)).await;
                    existing_is_done(one, &[Class::DataIdentifierAlreadyExists])?;
                }
                Ok(())
            }
            other => other,
        }
    }

    /// Registers copies at `rse`, and with them the files that are not known yet. Idempotent.
    pub async fn add_replicas(&self, rse: &str, files: &[NewReplica]) -> Result<(), LakeError> {
        self.done(Method::POST, "replicas", Some(&json!({ "rse": rse, "files": files }))).await
    }

    /// Attaches children to parents, all or none; children that are attached already are skipped.
    pub async fn attach(&self, attachments: &[Attachment]) -> Result<(), LakeError> {
        let body = json!({ "attachments": attachments, "ignore_duplicate": true });
        self.done(Method::POST, "dids/attachments", Some(&body)).await
    }

    /// Detaches children.
    pub async fn detach(&self, parent: &Did, children: &[Did]) -> Result<(), LakeError> {
        self.done(Method::DELETE, &did_path(parent, "/dids"), Some(&json!({ "dids": children }))).await
    }

    /// Closes a collection: nothing can be attached any more. One that is closed already is done.
    pub async fn close(&self, did: &Did) -> Result<(), LakeError> {
        match self.done(Method::PUT, &did_path(did, "/status"), Some(&json!({ "open": false }))).await {
            Err(error) if error.is(Class::UnsupportedOperation) => match self.get_did(did).await?.open {
                Some(false) => Ok(()),
                _ => Err(error),
            },
            other => other,
        }
    }

    pub async fn get_did(&self, did: &Did) -> Result<DidInfo, LakeError> {
        self.json(Method::GET, &did_path(did, ""), None::<&()>).await
    }

    /// Direct children.
    pub async fn list_content(&self, did: &Did) -> Result<Vec<ContentEntry>, LakeError> {
        self.stream(Method::GET, &did_path(did, "/dids"), None::<&()>).await
    }

    /// Files at any depth.
    pub async fn list_files(&self, did: &Did) -> Result<Vec<FileEntry>, LakeError> {
        self.stream(Method::GET, &did_path(did, "/files"), None::<&()>).await
    }

    /// The scopes of an account. (A server says 404 where there are none.)
    pub async fn list_scopes(&self, account: &str) -> Result<Vec<String>, LakeError> {
        match self.json(Method::GET, &format!("accounts/{}/scopes/", segment(account)), None::<&()>).await {
            Err(error) if error.is_not_found() => Ok(Vec::new()),
            other => other,
        }
    }

    /// Names in `scope` that match `pattern` (`*` is any text).
    pub async fn list_dids(&self, scope: &str, pattern: &str, kind: Option<DidType>) -> Result<Vec<String>, LakeError> {
        let kind = kind.map_or("all", |kind| match kind {
            DidType::File => "file",
            DidType::Dataset => "dataset",
            DidType::Container => "container",
        });
        let path = format!("dids/{}/dids/search?type={kind}&name={}", segment(scope), segment(pattern));
        self.stream(Method::GET, &path, None::<&()>).await
    }

    /// Where the files of these DIDs are. Available copies only; files of collections without any are left out.
    pub async fn list_replicas(&self, dids: &[Did]) -> Result<Vec<ReplicaEntry>, LakeError> {
        self.list_replicas_at(dids, None).await
    }

    /// As [`LakeClient::list_replicas`], at storage elements that match `rse_expression` only.
    pub async fn list_replicas_at(
        &self,
        dids: &[Did],
        rse_expression: Option<&str>,
    ) -> Result<Vec<ReplicaEntry>, LakeError> {
        let body = json!({ "dids": dids, "rse_expression": rse_expression });
        self.stream(Method::POST, "replicas/list", Some(&body)).await
    }

    /// Makes a rule and answers its id. The same rule again (same DID, account, expression, copies) is done: its id is
    /// looked up.
    pub async fn add_rule(&self, rule: &NewRule) -> Result<String, LakeError> {
        let answer: Result<Vec<String>, LakeError> = self.json(Method::POST, "rules/", Some(rule)).await;
        match answer {
            Ok(ids) => ids
                .into_iter()
                .next()
                .ok_or_else(|| LakeError::Malformed { call: "rules/".to_owned(), detail: "no rule id".to_owned() }),
            Err(error) if error.is(Class::DuplicateRule) => {
                let Some(did) = rule.dids.first() else { return Err(error) };
                let account = match &rule.account {
                    Some(account) => account.clone(),
                    None => self.whoami().await?,
                };
                let same = self.list_rules(did).await?.into_iter().find(|known| {
                    known.account == account
                        && known.rse_expression == rule.rse_expression
                        && known.copies == rule.copies
                });
                same.map(|known| known.id).ok_or(error)
            }
            Err(error) => Err(error),
        }
    }

    pub async fn get_rule(&self, id: &str) -> Result<RuleInfo, LakeError> {
        self.json(Method::GET, &format!("rules/{}", segment(id)), None::<&()>).await
    }

    /// Rules on the DID itself.
    pub async fn list_rules(&self, did: &Did) -> Result<Vec<RuleInfo>, LakeError> {
        self.stream(Method::GET, &did_path(did, "/rules"), None::<&()>).await
    }

    /// The locks of a rule, file by file.
    pub async fn list_locks(&self, rule_id: &str) -> Result<Vec<LockEntry>, LakeError> {
        self.stream(Method::GET, &format!("rules/{}/locks", segment(rule_id)), None::<&()>).await
    }

    /// Asks for the rule's end (Rucio lets it live one more hour).
    pub async fn delete_rule(&self, id: &str) -> Result<(), LakeError> {
        self.done(Method::DELETE, &format!("rules/{}", segment(id)), Some(&json!({}))).await
    }

    async fn done<B: Serialize + ?Sized>(&self, method: Method, path: &str, body: Option<&B>) -> Result<(), LakeError> {
        self.text(method, path, body).await.map(|_| ())
    }

    async fn json<T: DeserializeOwned, B: Serialize + ?Sized>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
    ) -> Result<T, LakeError> {
        let text = self.text(method, path, body).await?;
        serde_json::from_str(&text).map_err(|error| malformed(path, &error))
    }

    async fn stream<T: DeserializeOwned, B: Serialize + ?Sized>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
    ) -> Result<Vec<T>, LakeError> {
        let text = self.text(method, path, body).await?;
        text.lines()
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_str(line).map_err(|error| malformed(path, &error)))
            .collect()
    }

    /// Sends a request and answers the body of a success.
    async fn text<B: Serialize + ?Sized>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
    ) -> Result<String, LakeError> {
        let url = format!("{}/{path}", self.base.as_str().trim_end_matches('/'));
        let url = Url::parse(&url).map_err(|error| malformed(path, &error))?;
        let reply = self.send(method, url, body).await?;
        let (status, headers) = (reply.status, reply.headers.clone());
        let bytes = reply.bytes(ANSWER_LIMIT).await?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if status.is_success() { Ok(text) } else { Err(Exception::read(status, &headers, &text).into()) }
    }

    async fn send<B: Serialize + ?Sized>(
        &self,
        method: Method,
        url: Url,
        body: Option<&B>,
    ) -> Result<dte_http::Reply, LakeError> {
        // `/accounts/whoami` answers with a redirect; the client follows those of GET only.
        let mut request = self.client.request(method, url).bearer(&self.token).follow(2);
        if let Some(body) = body {
            request = request.json(body);
        }
        Ok(request.send().await?)
    }
}

fn existing_is_done(result: Result<(), LakeError>, classes: &[Class]) -> Result<(), LakeError> {
    match result {
        Err(error) if classes.iter().any(|class| error.is(*class)) => Ok(()),
        other => other,
    }
}

fn malformed(call: &str, detail: &dyn std::fmt::Display) -> LakeError {
    LakeError::Malformed { call: call.to_owned(), detail: detail.to_string() }
}

fn text_field(call: &str, value: &Value, key: &str) -> Result<String, LakeError> {
    let text = value.get(key).and_then(Value::as_str);
    text.map(str::to_owned).ok_or_else(|| malformed(call, &format!("no {key:?} in {value}")))
}

fn segment(text: &str) -> String {
    utf8_percent_encode(text, &SEGMENT).to_string()
}

/// `dids/<scope>/<name><rest>`.
fn did_path(did: &Did, rest: &str) -> String {
    format!("dids/{}/{}{rest}", segment(&did.scope), utf8_percent_encode(&did.name, &NAME))
}
