//! TLS of our listeners and of outbound connections: rustls with ring.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, InconsistentKeys, RootCertStore, ServerConfig};

use crate::authorities::AskForCertificate;

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
    #[error("TLS: {0}")]
    Rustls(#[from] rustls::Error),
    #[error("this machine has no trusted root certificates ({0})")]
    NoRoots(String),
}

pub(crate) fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Makes ring the process's provider, for libraries that ask rustls for one.
pub(crate) fn install_provider() {
    // An error only says that there is one already.
    drop(rustls::crypto::ring::default_provider().install_default());
}

/// What our listeners show, and by what they ask clients for theirs. HTTP/2 is offered before HTTP/1.1.
pub(crate) fn server(cert: &Path, key: &Path, asking: Option<AskForCertificate>) -> Result<ServerConfig, TlsError> {
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let builder = match asking {
        Some(asking) => builder.with_client_cert_verifier(Arc::new(asking)),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(certificates(cert)?, private_key(key)?)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
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

pub(crate) fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
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
