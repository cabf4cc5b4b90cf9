//! What the kubelet shows and whom it believes.

use std::sync::Arc;

use parking_lot::RwLock;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};

use crate::Error;
use crate::settings::Settings;

fn wrong(error: impl std::fmt::Display) -> Error {
    Error::Server(error.to_string())
}

/// What callers see: the configured certificate, or one of our own. It can be replaced while the server runs.
#[derive(Debug)]
pub struct Shown(RwLock<Arc<CertifiedKey>>);

impl Shown {
    pub fn new(settings: &Settings) -> Result<Self, Error> {
        let (chain, key) = own(settings)?;
        Ok(Shown(RwLock::new(Arc::new(whole(chain, key)?))))
    }

    /// Shows another from now on: PEM.
    pub fn replace(&self, chain: &[u8], key: &[u8]) -> Result<(), Error> {
        let chain = CertificateDer::pem_slice_iter(chain).collect::<Result<Vec<_>, _>>().map_err(wrong)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(wrong)?;
        *self.0.write() = Arc::new(whole(chain, key)?);
        Ok(())
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read()))
    }
}

fn whole(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<CertifiedKey, Error> {
    CertifiedKey::from_der(chain, key, &rustls::crypto::ring::default_provider()).map_err(wrong)
}

/// TLS with the certificate that is `shown`. `authority` is the cluster's, PEM: certificates that it signed are
/// believed; who shows none must bring a token.
pub fn server(shown: Arc<Shown>, authority: &str) -> Result<ServerConfig, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authority.as_bytes()) {
        roots.add(certificate.map_err(|error| wrong(format!("the client authority: {error}")))?).map_err(wrong)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(wrong)?;
    let builder = if roots.is_empty() {
        builder.with_no_client_auth()
    } else {
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .allow_unauthenticated()
            .build()
            .map_err(wrong)?;
        builder.with_client_cert_verifier(verifier)
    };
    let mut config = builder.with_cert_resolver(shown);
    // Streams are taken over as WebSockets, which HTTP/1.1 has.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn own(settings: &Settings) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), Error> {
    if let Some((cert, key)) = &settings.certificate {
        let bad = |file: &std::path::Path, error: rustls::pki_types::pem::Error| {
            wrong(format!("{}: {error}", file.display()))
        };
        let chain = CertificateDer::pem_file_iter(cert)
            .and_then(|all| all.collect::<Result<Vec<_>, _>>())
            .map_err(|error| bad(cert, error))?;
        return Ok((chain, PrivateKeyDer::from_pem_file(key).map_err(|error| bad(key, error))?));
    }
    let names = vec![settings.node_name.clone(), settings.node_ip.to_string()];
    let made = rcgen::generate_simple_self_signed(names).map_err(wrong)?;
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).map_err(wrong)?;
    Ok((vec![made.cert.der().clone()], key))
}
