//! TLS of our listeners and of outbound connections: rustls with ring.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, InconsistentKeys, RootCertStore, ServerConfig,
    SignatureScheme,
};

/// Files with authorities in a folder of them; the last is what the grid's folders have.
const AUTHORITY_FILES: &[&str] = &["pem", "crt", "0"];

/// A certificate or key that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{file}: {message}")]
    File { file: PathBuf, message: String },
    #[error("[http] tls_cert and tls_key must be set together")]
    HalfConfigured,
    #[error("[http] client_ca: certificates are asked for with TLS only: set tls_cert and tls_key")]
    ClientsWithoutTls,
    #[error("[http] client_ca: {0} has no certificate of an authority")]
    NoAuthority(PathBuf),
    #[error("[http] client_ca: {0}")]
    Authority(String),
    #[error("TLS: {0}")]
    Rustls(#[from] rustls::Error),
    #[error("this machine has no trusted root certificates ({0})")]
    NoRoots(String),
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Makes ring the process's provider, for libraries that ask rustls for one.
pub(crate) fn install_provider() {
    // An error only says that there is one already.
    drop(rustls::crypto::ring::default_provider().install_default());
}

/// What our listeners show, and whose certificates they ask clients for. HTTP/2 is offered before HTTP/1.1.
pub(crate) fn server(cert: &Path, key: &Path, client_ca: Option<&Path>) -> Result<ServerConfig, TlsError> {
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let builder = match client_ca {
        Some(authorities) => builder.with_client_cert_verifier(Arc::new(AskForCertificate::from(authorities)?)),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(certificates(cert)?, private_key(key)?)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Asks clients for a certificate, and lets those pass that show none. One that is not good ends the connection with the alert
/// that says why (`certificate_expired`, `unknown_ca`, …); the log has it too.
#[derive(Debug)]
struct AskForCertificate(Arc<dyn ClientCertVerifier>);

impl AskForCertificate {
    fn from(authorities: &Path) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        for file in authority_files(authorities)? {
            for certificate in certificates(&file)? {
                roots
                    .add(certificate)
                    .map_err(|error| TlsError::File { file: file.clone(), message: error.to_string() })?;
            }
        }
        if roots.is_empty() {
            return Err(TlsError::NoAuthority(authorities.to_owned()));
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
            .allow_unauthenticated()
            .build()
            .map_err(|error| TlsError::Authority(error.to_string()))?;
        Ok(AskForCertificate(verifier))
    }
}

impl ClientCertVerifier for AskForCertificate {
    fn client_auth_mandatory(&self) -> bool {
        self.0.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.0.verify_client_cert(certificate, between, now).inspect_err(|error| {
            crate::metrics::refused("client certificate");
            tracing::info!(%error, "a client's certificate {} was refused", crate::certificate::of_refused(certificate));
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// A file, or what a folder has of them.
fn authority_files(path: &Path) -> Result<Vec<PathBuf>, TlsError> {
    let failed = |error: std::io::Error| TlsError::File { file: path.to_owned(), message: error.to_string() };
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        if file.extension().and_then(|end| end.to_str()).is_some_and(|end| AUTHORITY_FILES.contains(&end)) {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

/// What one place that we call has of its own: a root to be trusted beside the machine's, and who we are there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM, one or several certificates.
    pub roots: Option<PathBuf>,
    /// PEM: a certificate with those above it, and its key, which may be in the same file.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// What we trust and show where these files count.
pub(crate) fn client_with(files: &TlsFiles) -> Result<ClientConfig, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (mut added, _) = roots.add_parsable_certificates(found.certs);
    if let Some(file) = &files.roots {
        for certificate in certificates(file)? {
            roots.add(certificate)?;
            added += 1;
        }
    }
    if added == 0 {
        let cause = found.errors.first().map_or_else(|| "none found".to_owned(), ToString::to_string);
        return Err(TlsError::NoRoots(cause));
    }
    let mut provider = rustls::crypto::ring::default_provider();
    if *files != TlsFiles::default() {
        // Who has an authority of its own may have old habits, too.
        provider.kx_groups.push(&crate::curve::Secp521r1);
    }
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let mut config = match &files.identity {
        Some((certificate, key)) => config.with_client_cert_resolver(Arc::new(identity(certificate, key)?)),
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Who we are at one place. rustls cannot read proxies of a certificate (RFC 3820), which others take: whether the key fits is
/// then for them to find out.
fn identity(certificate: &Path, key: &Path) -> Result<SingleCertAndKey, TlsError> {
    let signing = provider().key_provider.load_private_key(private_key(key)?)?;
    let whole = CertifiedKey::new(certificates(certificate)?, signing);
    match whole.keys_match() {
        Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            let message = format!("it is not the key of {}", certificate.display());
            Err(TlsError::File { file: key.to_owned(), message })
        }
        Err(rustls::Error::NoCertificatesPresented) => {
            Err(TlsError::File { file: certificate.to_owned(), message: "there is no certificate".to_owned() })
        }
        _ => Ok(whole.into()),
    }
}

fn unusable(file: &Path) -> impl FnOnce(rustls::pki_types::pem::Error) -> TlsError {
    let file = file.to_owned();
    move |error| TlsError::File { file, message: error.to_string() }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all = CertificateDer::pem_file_iter(file).map_err(unusable(file))?;
    all.collect::<Result<_, _>>().map_err(unusable(file))
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(file).map_err(unusable(file))
}

/// What we trust when we call out: the machine's root certificates, read once at the first call.
pub(crate) fn client() -> Result<ClientConfig, TlsError> {
    client_with(&TlsFiles::default())
}
