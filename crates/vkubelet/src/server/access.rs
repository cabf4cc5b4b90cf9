//! Who may call the kubelet, decided by the cluster: authenticated by its certificate authority or by a token review, permitted by
//! a subject access review, as a real kubelet does it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode, header};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, PostParams};
use parking_lot::Mutex;
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::Refusal;
use crate::Error;
use crate::cluster::{Cluster, found};
use crate::settings::Settings;

/// How long an answer of the cluster is remembered.
const PERMITTED_FOR: Duration = Duration::from_secs(60);
const DENIED_FOR: Duration = Duration::from_secs(10);
/// Answers that are remembered at most.
const MOST: usize = 10_000;

/// The certificate that a connection was opened with.
#[derive(Clone)]
pub struct Peer(pub Option<CertificateDer<'static>>);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Caller {
    name: String,
    groups: Vec<String>,
    uid: Option<String>,
    extra: BTreeMap<String, Vec<String>>,
}

/// What a request shows of its caller.
enum Shown {
    Certificate(Option<Caller>),
    Token(String),
    Nothing,
}

fn shown(request: &Request) -> Shown {
    if let Some(certificate) = request.extensions().get::<Peer>().and_then(|peer| peer.0.as_ref()) {
        return Shown::Certificate(of_certificate(certificate));
    }
    let token = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    match token.and_then(|text| text.strip_prefix("Bearer ")) {
        Some(token) => Shown::Token(token.to_owned()),
        None => Shown::Nothing,
    }
}

type Question = (Caller, &'static str, &'static str);

/// Asks the cluster, and remembers what it said.
pub struct Access {
    cluster: Cluster,
    node: String,
    answers: Mutex<HashMap<Question, (bool, Instant)>>,
}

/// The authority whose certificates are believed: a file, or what the cluster publishes for servers that extend it.
pub async fn client_authority(cluster: &Cluster, settings: &Settings) -> Result<String, Error> {
    if let Some(file) = &settings.client_ca {
        return tokio::fs::read_to_string(file)
            .await
            .map_err(|error| Error::Server(format!("the client authority {}: {error}", file.display())));
    }
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), "kube-system");
    let published = found(maps.get("extension-apiserver-authentication").await)?;
    let authority = published.and_then(|map| map.data).and_then(|mut data| data.remove("client-ca-file"));
    authority.ok_or_else(|| {
        Error::Server(
            "the cluster publishes no client authority (kube-system/extension-apiserver-authentication): name a file"
                .to_owned(),
        )
    })
}

impl Access {
    pub fn new(cluster: Cluster, node: &str) -> Self {
        Access { cluster, node: node.to_owned(), answers: Mutex::new(HashMap::new()) }
    }

    async fn caller(&self, shown: Shown) -> Result<Option<Caller>, Error> {
        match shown {
            Shown::Certificate(caller) => Ok(caller),
            Shown::Token(token) => self.of_token(&token).await,
            Shown::Nothing => Ok(None),
        }
    }

    async fn of_token(&self, token: &str) -> Result<Option<Caller>, Error> {
        let review = TokenReview {
            spec: TokenReviewSpec { token: Some(token.to_owned()), ..TokenReviewSpec::default() },
            ..TokenReview::default()
        };
        let reviews: Api<TokenReview> = Api::all(self.cluster.client.clone());
        let status = reviews.create(&PostParams::default(), &review).await?.status.unwrap_or_default();
        if !status.authenticated.unwrap_or(false) {
            return Ok(None);
        }
        let user = status.user.unwrap_or_default();
        Ok(Some(Caller {
            name: user.username.unwrap_or_default(),
            groups: user.groups.unwrap_or_default(),
            uid: user.uid,
            extra: user.extra.unwrap_or_default(),
        }))
    }

    /// Whether `caller` may do `verb` to this node's `part`.
    async fn permits(&self, caller: Caller, verb: &'static str, part: &'static str) -> Result<bool, Error> {
        let question = (caller, verb, part);
        if let Some((answer, at)) = self.answers.lock().get(&question).copied()
            && at.elapsed() < if answer { PERMITTED_FOR } else { DENIED_FOR }
        {
            return Ok(answer);
        }
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(question.0.name.clone()),
                groups: Some(question.0.groups.clone()),
                uid: question.0.uid.clone(),
                extra: Some(question.0.extra.clone()),
                resource_attributes: Some(ResourceAttributes {
                    verb: Some(verb.to_owned()),
                    version: Some("v1".to_owned()),
                    resource: Some("nodes".to_owned()),
                    subresource: Some(part.to_owned()),
                    name: Some(self.node.clone()),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let reviews: Api<SubjectAccessReview> = Api::all(self.cluster.client.clone());
        let answer = reviews.create(&PostParams::default(), &review).await?.status.is_some_and(|status| status.allowed);
        let mut answers = self.answers.lock();
        if answers.len() >= MOST {
            answers.clear();
        }
        answers.insert(question, (answer, Instant::now()));
        Ok(answer)
    }
}

/// The subject of a certificate: its common name is the user, its organisations are the groups.
fn of_certificate(certificate: &CertificateDer<'_>) -> Option<Caller> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let subject = parsed.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
    let mut groups: Vec<String> =
        subject.iter_organization().filter_map(|group| group.as_str().ok()).map(str::to_owned).collect();
    groups.push("system:authenticated".to_owned());
    Some(Caller { name, groups, uid: None, extra: BTreeMap::new() })
}

/// What a request does to the node, in the cluster's words.
fn action(method: &Method, path: &str) -> (&'static str, &'static str) {
    let verb = match *method {
        Method::GET | Method::HEAD => "get",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        _ => "delete",
    };
    let part = match path.trim_start_matches('/').split('/').next().unwrap_or_default() {
        "stats" => "stats",
        "metrics" => "metrics",
        "logs" => "log",
        "healthz" => "healthz",
        "pods" | "runningpods" => "pods",
        _ => "proxy",
    };
    (verb, part)
}

/// Lets a request through, or not.
pub async fn check(State(access): State<Arc<Access>>, request: Request, next: Next) -> Response {
    let caller = match access.caller(shown(&request)).await {
        Ok(Some(caller)) => caller,
        Ok(None) => return Refusal(StatusCode::UNAUTHORIZED, "Unauthorized".to_owned()).into_response(),
        Err(error) => return Refusal(StatusCode::SERVICE_UNAVAILABLE, error.to_string()).into_response(),
    };
    let (verb, part) = action(request.method(), request.uri().path());
    let name = caller.name.clone();
    let mut answer = access.permits(caller.clone(), verb, part).await;
    // Whoever may do everything with the node may do the smaller things.
    if matches!(answer, Ok(false)) && matches!(part, "pods" | "healthz") {
        answer = access.permits(caller, verb, "proxy").await;
    }
    match answer {
        Ok(true) => next.run(request).await,
        Ok(false) => {
            let text = format!("Forbidden (user={name}, verb={verb}, resource=nodes, subresource(s)=[{part}])");
            Refusal(StatusCode::FORBIDDEN, text).into_response()
        }
        Err(error) => Refusal(StatusCode::SERVICE_UNAVAILABLE, error.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_request_does() {
        assert_eq!(action(&Method::GET, "/containerLogs/n/p/c"), ("get", "proxy"));
        assert_eq!(action(&Method::POST, "/exec/n/p/c"), ("create", "proxy"));
        assert_eq!(action(&Method::GET, "/stats/summary"), ("get", "stats"));
        assert_eq!(action(&Method::GET, "/metrics/resource"), ("get", "metrics"));
        assert_eq!(action(&Method::GET, "/pods"), ("get", "pods"));
    }

    #[test]
    fn a_certificate_names_user_and_groups() {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut params = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
        params.distinguished_name.push(rcgen::DnType::CommonName, "kube-apiserver");
        params.distinguished_name.push(rcgen::DnType::OrganizationName, "system:masters");
        let made = params.self_signed(&key).expect("a certificate");
        let caller = of_certificate(made.der()).expect("a caller");
        assert_eq!((caller.name.as_str(), caller.groups[0].as_str()), ("kube-apiserver", "system:masters"));
    }
}
