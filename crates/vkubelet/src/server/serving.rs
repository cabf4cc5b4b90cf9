//! The kubelet's certificate from the cluster: asked for as a CertificateSigningRequest, served once somebody has approved it, and
//! asked for anew before it ends. Until there is one, callers see one of our own.
//!
//! API servers that check kubelets (`--kubelet-certificate-authority`) want this. Certificate and key are kept in the state folder,
//! for nobody else to read, so that a restart needs no new approval.

use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dte_base::tasks::Tasks;
use dte_base::time::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, PostParams};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::certificate::Shown;
use crate::Error;
use crate::cluster::{Cluster, found};
use crate::settings::Settings;

/// Who signs such certificates, where nothing else is said.
pub const USUAL_SIGNER: &str = "kubernetes.io/kubelet-serving";
const USAGES: &[&str] = &["digital signature", "server auth"];
/// How often a request is looked at.
const LOOK: Duration = Duration::from_secs(5);
/// After a refusal, or a failure.
const PAUSE: Duration = Duration::from_secs(600);
/// Of its life, when a certificate is replaced.
const RENEW_AT_PERCENT: u64 = 80;

/// Asks for certificates as long as the kubelet runs.
pub struct Keeper {
    cluster: Cluster,
    node: String,
    ip: IpAddr,
    signer: String,
    file: PathBuf,
    shown: Arc<Shown>,
}

/// What became of a request.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Signed(Vec<u8>),
    Waits,
    Refused(String),
}

impl Keeper {
    /// Nothing when no signer is named.
    pub fn new(cluster: Cluster, settings: &Settings, shown: Arc<Shown>) -> Option<Self> {
        let signer = settings.serving_signer.clone()?;
        let (node, ip) = (settings.node_name.clone(), settings.node_ip);
        let file = settings.state_dir.join(&cluster.id).join(format!("{node}.serving.pem"));
        Some(Keeper { cluster, node, ip, signer, file, shown })
    }

    /// Until the kubelet stops.
    pub async fn run(self, tasks: Tasks) {
        let kept = std::fs::read(&self.file).ok();
        let mut good_for = kept.and_then(|pem| self.serve(&pem, &pem));
        loop {
            let pause = match good_for.take() {
                Some(rest) => rest,
                None => match self.obtain(&tasks).await {
                    Ok(rest) => rest,
                    Err(error) => {
                        tracing::warn!(%error, "the cluster gives no certificate for the kubelet's address; it goes on with what it has");
                        PAUSE
                    }
                },
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = tasks.stopping() => return,
            }
        }
    }

    /// Shows a certificate, if it is one for this node; for how long.
    fn serve(&self, chain: &[u8], key: &[u8]) -> Option<Duration> {
        let rest = remaining(chain, self.ip, Timestamp::now())?;
        match self.shown.replace(chain, key) {
            Ok(()) => Some(rest),
            Err(error) => {
                tracing::warn!(%error, "a certificate for the kubelet's address cannot be used");
                None
            }
        }
    }

    /// One request, to its end.
    async fn obtain(&self, tasks: &Tasks) -> Result<Duration, Error> {
        let wrong = |error: rcgen::Error| Error::Server(error.to_string());
        let key = KeyPair::generate().map_err(wrong)?;
        let request = request(&self.node, self.ip, &self.signer, &key).map_err(wrong)?;
        let all: Api<CertificateSigningRequest> = Api::all(self.cluster.client.clone());
        let made = all.create(&PostParams::default(), &request).await?;
        let name = made.metadata.name.unwrap_or_default();
        tracing::info!(%name, signer = %self.signer, "asked the cluster for a certificate; somebody approves it: kubectl certificate approve {name}");
        loop {
            let now = found(all.get(&name).await)?;
            match now.as_ref().map_or(Answer::Refused("it was deleted".to_owned()), answer) {
                Answer::Signed(chain) => {
                    let key = key.serialize_pem();
                    let rest = self.serve(&chain, key.as_bytes());
                    let rest = rest
                        .ok_or_else(|| Error::Server(format!("{name}: the certificate is not what was asked for")))?;
                    write(&self.file, &chain, key.as_bytes())?;
                    tracing::info!(%name, "the cluster's certificate is shown from now on");
                    return Ok(rest);
                }
                Answer::Refused(why) => return Err(Error::Server(format!("{name}: {why}"))),
                Answer::Waits => {}
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = tasks.stopping() => return Ok(PAUSE),
            }
        }
    }
}

/// What kubelets ask for.
fn request(node: &str, ip: IpAddr, signer: &str, key: &KeyPair) -> Result<CertificateSigningRequest, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
    params.distinguished_name.push(DnType::CommonName, format!("system:node:{node}"));
    params.subject_alt_names = vec![SanType::IpAddress(ip)];
    let pem = params.serialize_request(key)?.pem()?;
    Ok(CertificateSigningRequest {
        metadata: ObjectMeta { generate_name: Some(format!("vk-{node}-")), ..ObjectMeta::default() },
        spec: CertificateSigningRequestSpec {
            request: ByteString(pem.into_bytes()),
            signer_name: signer.to_owned(),
            usages: Some(USAGES.iter().map(|usage| (*usage).to_owned()).collect()),
            ..CertificateSigningRequestSpec::default()
        },
        status: None,
    })
}

fn answer(request: &CertificateSigningRequest) -> Answer {
    let Some(status) = &request.status else { return Answer::Waits };
    for condition in status.conditions.iter().flatten() {
        if matches!(condition.type_.as_str(), "Denied" | "Failed") {
            let words = condition.message.as_deref().or(condition.reason.as_deref()).unwrap_or_default();
            return Answer::Refused(format!("{}: {words}", condition.type_));
        }
    }
    match &status.certificate {
        Some(certificate) if !certificate.0.is_empty() => Answer::Signed(certificate.0.clone()),
        _ => Answer::Waits,
    }
}

/// How long a certificate for this address is good until it should be replaced; nothing when it is not good any more.
fn remaining(chain: &[u8], ip: IpAddr, now: Timestamp) -> Option<Duration> {
    let der = CertificateDer::from_pem_slice(chain).ok()?;
    let (_, parsed) = X509Certificate::from_der(&der).ok()?;
    let octets = match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let names = &parsed.subject_alternative_name().ok()??.value.general_names;
    names.iter().find(|name| matches!(name, GeneralName::IPAddress(own) if *own == octets.as_slice()))?;
    let validity = parsed.validity();
    let (begin, end) = (validity.not_before.timestamp(), validity.not_after.timestamp());
    let life = u64::try_from(end - begin).ok()?;
    let renew = Timestamp::from_seconds(begin) + Duration::from_secs(life / 100 * RENEW_AT_PERCENT);
    (now < renew).then(|| renew.since(now))
}

fn write(file: &Path, chain: &[u8], key: &[u8]) -> io::Result<()> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let draft = file.with_extension("part");
    let mut open = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    open.write_all(chain)?;
    open.write_all(b"\n")?;
    open.write_all(key)?;
    open.sync_all()?;
    std::fs::rename(&draft, file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn what_is_asked_for() {
        let key = KeyPair::generate().expect("a key");
        let made = request("n1", HERE, USUAL_SIGNER, &key).expect("a request");
        assert_eq!(made.metadata.generate_name.as_deref(), Some("vk-n1-"));
        let pem = String::from_utf8(made.spec.request.0).expect("text");
        assert!(pem.starts_with("-----BEGIN CERTIFICATE REQUEST-----"), "{pem}");
    }

    #[test]
    fn answers() {
        let with = |status: Value| {
            let mut one = json!({"metadata": {}, "spec": {"request": "", "signerName": "s"}});
            one["status"] = status;
            answer(&serde_json::from_value(one).expect("a request"))
        };
        assert_eq!(with(json!({})), Answer::Waits);
        assert_eq!(with(json!({"conditions": [{"type": "Approved", "status": "True"}]})), Answer::Waits);
        assert_eq!(with(json!({"certificate": "eA=="})), Answer::Signed(b"x".to_vec()));
        let denied = json!({"conditions": [{"type": "Denied", "status": "True", "message": "no"}]});
        assert_eq!(with(denied), Answer::Refused("Denied: no".to_owned()));
    }

    #[test]
    fn how_long_it_is_good() {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("parameters");
        (params.not_before, params.not_after) = (rcgen::date_time_ymd(2030, 1, 1), rcgen::date_time_ymd(2030, 1, 11));
        let pem = params.self_signed(&KeyPair::generate().expect("a key")).expect("a certificate").pem();
        let at = |text: &str| remaining(pem.as_bytes(), HERE, text.parse().expect("a time"));
        assert_eq!(at("2030-01-01T00:00:00Z").expect("good").as_secs() / 86_400, 8);
        assert_eq!(at("2030-01-10T00:00:00Z"), None);
        let elsewhere = IpAddr::from([10, 0, 0, 1]);
        assert_eq!(remaining(pem.as_bytes(), elsewhere, "2030-01-01T00:00:00Z".parse().expect("a time")), None);
        assert_eq!(remaining(b"nothing", HERE, Timestamp::EPOCH), None);
    }

    #[test]
    fn it_is_kept_for_us_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("cluster/n.serving.pem");
        write(&file, b"chain", b"key").expect("written");
        assert_eq!(std::fs::read(&file).expect("there"), b"chain\nkey");
        assert_eq!(std::fs::metadata(&file).expect("there").permissions().mode() & 0o777, 0o600);
    }
}
