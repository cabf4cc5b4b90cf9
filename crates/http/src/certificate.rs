//! What a client's certificate says, once the listener judged it (`[http] client_ca`).
//!
//! Whom it stands for is not decided here: see `[[identity.certificates]]`.

use std::fmt;
use std::sync::Arc;

use dte_base::time::Timestamp;
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::x509::X509Name;

use crate::distinguished_name::{BadName, DistinguishedName};

/// The extension that makes a certificate a proxy of another (RFC 3820).
const PROXY_INFORMATION: &str = "1.3.6.1.5.5.7.1.14";

/// A certificate that its holder proved to have the key of: an extension of requests that came over such a connection. Cheap to
/// clone. It goes back to one of `[http] client_ca`; it was in force when the connection began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate(Arc<Shown>);

#[derive(Debug, PartialEq, Eq)]
struct Shown {
    names: Result<Names, BadName>,
    begins: Timestamp,
    ends: Timestamp,
    fingerprint: String,
}

/// The names in a certificate, and of the authority that it goes back to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// Who holds it.
    pub subject: DistinguishedName,
    /// What the certificate calls whoever signed it. With authorities between, this name is chosen by those above them:
    /// nothing may be granted to it.
    pub issuer: DistinguishedName,
    /// The one of `[http] client_ca` that it was proved to go back to.
    pub authority: DistinguishedName,
}

impl ClientCertificate {
    /// Reads one that was found to go back to this authority (a name in DER); nothing when it is none.
    pub(crate) fn trusted(der: &CertificateDer<'_>, authority: &[u8]) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(der).ok()?;
        let (_, authority) = X509Name::from_der(authority).ok()?;
        let names = || {
            Ok(Names {
                subject: DistinguishedName::of(parsed.subject())?,
                issuer: DistinguishedName::of(parsed.issuer())?,
                authority: DistinguishedName::of(&authority)?,
            })
        };
        let validity = parsed.validity();
        Some(ClientCertificate(Arc::new(Shown {
            names: names(),
            begins: Timestamp::from_seconds(validity.not_before.timestamp()),
            ends: Timestamp::from_seconds(validity.not_after.timestamp()),
            fingerprint: hex::encode(ring::digest::digest(&ring::digest::SHA256, der)),
        })))
    }

    pub fn names(&self) -> Result<&Names, &BadName> {
        self.0.names.as_ref()
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

/// A certificate that is not trusted and counts as none: an extension of requests that came over such a connection, so that
/// whoever has no token hears why the certificate did not do. What it says of itself is not believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UntrustedCertificate {
    claims: Arc<str>,
    why: Arc<str>,
}

impl fmt::Display for UntrustedCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the certificate {} is not trusted: {}", self.claims, self.why)
    }
}

/// What a certificate that is not trusted says of itself.
pub(crate) fn of_refused(der: &CertificateDer<'_>, why: String) -> UntrustedCertificate {
    let Ok((_, parsed)) = X509Certificate::from_der(der) else {
        return UntrustedCertificate { claims: "that was shown".into(), why: "it cannot be read".into() };
    };
    let is_proxy = parsed.extensions().iter().any(|one| one.oid.to_id_string() == PROXY_INFORMATION);
    let claims = match DistinguishedName::of(parsed.subject()) {
        Ok(subject) => format!("of {subject}"),
        Err(bad) => format!("that was shown ({bad})"),
    };
    let why = if is_proxy { "proxies (RFC 3820) are not taken, only certificates and tokens".to_owned() } else { why };
    UntrustedCertificate { claims: claims.into(), why: why.into() }
}
