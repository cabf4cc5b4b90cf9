//! What a client's certificate says, once the listener found its authority good (`[http] client_ca`).
//!
//! Whom it stands for is not decided here: see `[[identity.certificates]]`.

use std::sync::Arc;

use dte_base::time::Timestamp;
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::distinguished_name::{BadName, DistinguishedName};

/// The extension that makes a certificate a proxy of another (RFC 3820).
const PROXY_INFORMATION: &str = "1.3.6.1.5.5.7.1.14";

/// A certificate that its holder proved to have the key of: an extension of requests that came over such a connection. Cheap to
/// clone. Its authority is one of `[http] client_ca`; it was in force when the connection began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate(Arc<Shown>);

#[derive(Debug, PartialEq, Eq)]
struct Shown {
    names: Result<(DistinguishedName, DistinguishedName), BadName>,
    begins: Timestamp,
    ends: Timestamp,
    fingerprint: String,
}

impl ClientCertificate {
    /// Reads one; nothing when it is none.
    pub fn read(der: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(der).ok()?;
        let names = DistinguishedName::of(parsed.subject())
            .and_then(|subject| Ok((subject, DistinguishedName::of(parsed.issuer())?)));
        let validity = parsed.validity();
        let fingerprint = hex::encode(ring::digest::digest(&ring::digest::SHA256, der));
        Some(ClientCertificate(Arc::new(Shown {
            names,
            begins: Timestamp::from_seconds(validity.not_before.timestamp()),
            ends: Timestamp::from_seconds(validity.not_after.timestamp()),
            fingerprint,
        })))
    }

    /// Who holds it.
    pub fn subject(&self) -> Result<&DistinguishedName, &BadName> {
        self.0.names.as_ref().map(|(subject, _)| subject)
    }

    /// Who signed it.
    pub fn issuer(&self) -> Result<&DistinguishedName, &BadName> {
        self.0.names.as_ref().map(|(_, issuer)| issuer)
    }

    pub fn begins(&self) -> Timestamp {
        self.0.begins
    }

    pub fn ends(&self) -> Timestamp {
        self.0.ends
    }

    /// SHA-256 of the certificate, in small hexadecimal digits.
    pub fn fingerprint(&self) -> &str {
        &self.0.fingerprint
    }
}

/// What a certificate that was not believed says of itself, for the log.
pub(crate) fn of_refused(der: &CertificateDer<'_>) -> String {
    let Ok((_, parsed)) = X509Certificate::from_der(der) else { return "which cannot be read".to_owned() };
    let is_proxy = parsed.extensions().iter().any(|one| one.oid.to_id_string() == PROXY_INFORMATION);
    let subject = DistinguishedName::of(parsed.subject()).map_or_else(|bad| bad.to_string(), |name| name.to_string());
    let note = if is_proxy { ", a proxy (RFC 3820): proxies are not taken, only certificates and tokens" } else { "" };
    format!("of {subject}{note}")
}
