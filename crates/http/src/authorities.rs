//! Whose certificates clients may show (`[http] client_ca`): the authorities, and what they took back.
//!
//! A certificate is judged once the handshake is over, also when a connection takes up an earlier one. So whoever shows one that is
//! not trusted, as clients of the grid do with their proxies whenever they are asked, is a caller without a certificate, who
//! may still bring a token.

use std::path::{Path, PathBuf};

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, TrustAnchor, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};
use webpki::{
    CertRevocationList, EndEntityCert, ExpirationPolicy, KeyUsage, OwnedCertRevocationList, RevocationOptionsBuilder,
    UnknownStatusPolicy,
};

use crate::certificate::{ClientCertificate, UntrustedCertificate, of_refused};
use crate::tls::{TlsError, certificates, provider};

/// Files with authorities in a folder of them; the last is what the grid's folders have.
const AUTHORITY_FILES: &[&str] = &["pem", "crt", "0"];
/// Files with lists of certificates that were taken back: the grid's, and others'.
const REVOCATION_FILES: &[&str] = &["r0", "r1", "crl"];
/// Such a list may be called this, too.
const REVOCATION_END: &str = ".crl.pem";

/// Who is trusted to say who somebody is.
#[derive(Debug)]
pub(crate) struct Authorities {
    anchors: Vec<TrustAnchor<'static>>,
    taken_back: Vec<CertRevocationList<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Authorities {
    /// Reads a file, or a folder of them.
    pub(crate) fn read(path: &Path) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        let mut taken_back = Vec::new();
        for file in files(path)? {
            match file {
                Found::Authorities(file) => {
                    for certificate in certificates(&file)? {
                        let unusable =
                            |error: rustls::Error| TlsError::File { file: file.clone(), message: error.to_string() };
                        roots.add(certificate).map_err(unusable)?;
                    }
                }
                Found::Revocations(file) => taken_back.extend(revocations(&file)?),
            }
        }
        if roots.is_empty() {
            return Err(TlsError::NoAuthority(path.to_owned()));
        }
        let algorithms = provider().signature_verification_algorithms;
        Ok(Authorities { anchors: roots.roots, taken_back, algorithms })
    }

    /// What asks for a certificate in the handshake.
    pub(crate) fn asking(&self) -> AskForCertificate {
        let names = self.anchors.iter().map(|anchor| DistinguishedName::in_sequence(anchor.subject.as_ref()));
        AskForCertificate { names: names.collect(), algorithms: self.algorithms }
    }

    /// What a connection's certificate is worth; `chain` begins with it.
    pub(crate) fn judge(
        &self,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Option<Result<ClientCertificate, UntrustedCertificate>> {
        let (shown, between) = chain.split_first()?;
        let outcome = self.anchor_of(shown, between, now).and_then(|anchor| {
            let authority = DistinguishedName::in_sequence(&anchor);
            ClientCertificate::trusted(shown, authority.as_ref()).ok_or_else(|| "it cannot be read".to_owned())
        });
        Some(outcome.map_err(|why| {
            crate::metrics::refused("client certificate");
            let untrusted = of_refused(shown, why);
            tracing::info!("a client's certificate counts for nothing: {untrusted}");
            untrusted
        }))
    }

    /// The name of the authority that a certificate goes back to. Names of those between are what their makers chose; this
    /// one is the operator's.
    fn anchor_of(
        &self,
        shown: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Vec<u8>, String> {
        let parsed = EndEntityCert::try_from(shown).map_err(|error| in_words(&error))?;
        let lists: Vec<&CertRevocationList<'_>> = self.taken_back.iter().collect();
        // Without any list there is nothing to look into, and so it is for authorities that have none. A list that is out
        // of date still holds what it holds.
        let revocation = RevocationOptionsBuilder::new(&lists).ok().map(|options| {
            options
                .with_status_policy(UnknownStatusPolicy::Allow)
                .with_expiration_policy(ExpirationPolicy::Ignore)
                .build()
        });
        let path = parsed
            .verify_for_usage(
                self.algorithms.all,
                &self.anchors,
                between,
                now,
                KeyUsage::client_auth(),
                revocation,
                None,
            )
            .map_err(|error| in_words(&error))?;
        Ok(path.anchor().subject.as_ref().to_vec())
    }
}

/// Why a certificate is not trusted.
fn in_words(error: &webpki::Error) -> String {
    match error {
        webpki::Error::UnknownIssuer => "none of the authorities here signed it".to_owned(),
        webpki::Error::CertExpired { .. } => "it has expired".to_owned(),
        webpki::Error::CertNotValidYet { .. } => "its time has not begun".to_owned(),
        webpki::Error::CertRevoked => "it has been revoked".to_owned(),
        webpki::Error::RequiredEkuNotFoundContext(_) => "it is not for clients (extended key usage)".to_owned(),
        webpki::Error::CaUsedAsEndEntity => "it is an authority's".to_owned(),
        webpki::Error::UnsupportedCriticalExtension => "it has an extension that is not understood".to_owned(),
        other => other.to_string(),
    }
}

/// Asks clients for a certificate, and lets everybody pass: with it, with another, without. [`Authorities::judge`] says what it is
/// worth. That its holder has the key is proved here.
#[derive(Debug)]
pub(crate) struct AskForCertificate {
    names: Vec<DistinguishedName>,
    algorithms: WebPkiSupportedAlgorithms,
}

/// A certificate that cannot be read here (a proxy is one) is trusted by nobody: [`Authorities::judge`] reads it in the same way.
/// So nothing comes of whether its holder has the key, and that cannot be found out.
fn is_readable(certificate: &CertificateDer<'_>) -> bool {
    EndEntityCert::try_from(certificate).is_ok()
}

impl ClientCertVerifier for AskForCertificate {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.names
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        if !is_readable(certificate) {
            return Ok(HandshakeSignatureValid::assertion());
        }
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        if !is_readable(certificate) {
            return Ok(HandshakeSignatureValid::assertion());
        }
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

enum Found {
    Authorities(PathBuf),
    Revocations(PathBuf),
}

/// A file of authorities, or what a folder has of them and of their lists.
fn files(path: &Path) -> Result<Vec<Found>, TlsError> {
    let failed = |error: std::io::Error| TlsError::File { file: path.to_owned(), message: error.to_string() };
    if !path.is_dir() {
        return Ok(vec![Found::Authorities(path.to_owned())]);
    }
    let mut all = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        all.push(entry.map_err(failed)?.path());
    }
    all.sort();
    Ok(all.into_iter().filter_map(kind).collect())
}

fn kind(file: PathBuf) -> Option<Found> {
    let end = file.extension().and_then(|end| end.to_str())?;
    let is_list = file.to_str().is_some_and(|name| name.ends_with(REVOCATION_END)) || REVOCATION_FILES.contains(&end);
    match is_list {
        true => Some(Found::Revocations(file)),
        false => AUTHORITY_FILES.contains(&end).then_some(Found::Authorities(file)),
    }
}

/// The lists in a file, PEM or DER. One that cannot be used must not keep the engine from starting: programs fetch these at night.
fn revocations(file: &Path) -> Result<Vec<CertRevocationList<'static>>, TlsError> {
    let bytes =
        std::fs::read(file).map_err(|error| TlsError::File { file: file.to_owned(), message: error.to_string() })?;
    let in_pem: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&bytes).collect();
    let ders = match in_pem {
        Ok(some) if !some.is_empty() => some,
        Ok(_) => vec![CertificateRevocationListDer::from(bytes)],
        Err(error) => {
            tracing::warn!(file = %file.display(), %error, "a list of revoked certificates cannot be read and does not count");
            return Ok(Vec::new());
        }
    };
    let mut lists = Vec::new();
    for der in ders {
        match OwnedCertRevocationList::from_der(&der) {
            Ok(list) => lists.push(list.into()),
            Err(error) => {
                tracing::warn!(file = %file.display(), %error, "a list of revoked certificates cannot be used and does not count");
            }
        }
    }
    Ok(lists)
}
