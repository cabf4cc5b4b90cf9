//! Checksums as headers carry them.
//!
//! Two generations are spoken: `Digest` and `Want-Digest` (RFC 3230; adler32 and crc32c in hex or base64 as grid storage
//! does it) and `Repr-Digest`, `Content-Digest`, `Want-Repr-Digest` (RFC 9530, byte sequences between colons).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::HeaderMap;

/// A checksum algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    Adler32,
    Crc32c,
    Md5,
    Sha256,
}

impl Algorithm {
    pub const ALL: [Algorithm; 4] = [Algorithm::Adler32, Algorithm::Crc32c, Algorithm::Md5, Algorithm::Sha256];

    /// The name in `Digest` (RFC 3230), and in Rucio and FTS.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Adler32 => "adler32",
            Algorithm::Crc32c => "crc32c",
            Algorithm::Md5 => "md5",
            Algorithm::Sha256 => "sha-256",
        }
    }

    /// The key in `Repr-Digest` (RFC 9530).
    fn key(self) -> &'static str {
        match self {
            Algorithm::Adler32 => "adler",
            other => other.name(),
        }
    }

    /// Reads a name of either generation, and without its hyphen.
    pub fn parse(name: &str) -> Option<Algorithm> {
        match name.trim().to_ascii_lowercase().as_str() {
            "adler32" | "adler" => Some(Algorithm::Adler32),
            "crc32c" => Some(Algorithm::Crc32c),
            "md5" => Some(Algorithm::Md5),
            "sha-256" | "sha256" => Some(Algorithm::Sha256),
            _ => None,
        }
    }

    /// Length of a checksum in bytes.
    pub fn length(self) -> usize {
        match self {
            Algorithm::Adler32 | Algorithm::Crc32c => 4,
            Algorithm::Md5 => 16,
            Algorithm::Sha256 => 32,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A checksum with its algorithm.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest {
    algorithm: Algorithm,
    value: Vec<u8>,
}

impl Digest {
    /// `None` when the value has not the algorithm's length.
    pub fn new(algorithm: Algorithm, value: impl Into<Vec<u8>>) -> Option<Digest> {
        let value = value.into();
        (value.len() == algorithm.length()).then_some(Digest { algorithm, value })
    }

    pub fn adler32(sum: u32) -> Digest {
        Digest { algorithm: Algorithm::Adler32, value: sum.to_be_bytes().to_vec() }
    }

    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub fn value(&self) -> &[u8] {
        &self.value
    }

    /// Lower-case hex with leading zeros.
    pub fn hex(&self) -> String {
        self.value.iter().fold(String::with_capacity(self.value.len() * 2), |mut text, byte| {
            for digit in [byte >> 4, byte & 15] {
                text.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
            }
            text
        })
    }

    /// Reads hex; missing leading zeros are put back for the 32-bit sums, since clients strip them.
    pub fn from_hex(algorithm: Algorithm, text: &str) -> Option<Digest> {
        let text = text.trim().trim_start_matches("0x");
        let wanted = algorithm.length() * 2;
        if text.is_empty() || text.len() > wanted || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        if text.len() < wanted && algorithm.length() != 4 {
            return None;
        }
        let padded = format!("{text:0>wanted$}");
        let value: Option<Vec<u8>> =
            (0..wanted).step_by(2).map(|at| u8::from_str_radix(padded.get(at..at + 2)?, 16).ok()).collect();
        Digest::new(algorithm, value?)
    }

    /// `adler32:1c2b3a4d`, as Rucio and FTS write checksums.
    pub fn parse_pair(text: &str) -> Option<Digest> {
        let (name, value) = text.split_once(':')?;
        Digest::from_hex(Algorithm::parse(name)?, value)
    }

    /// `adler32=1c2b3a4d`: one member of `Digest`. adler32 in hex, all others in base64.
    pub fn legacy(&self) -> String {
        match self.algorithm {
            Algorithm::Adler32 => format!("adler32={}", self.hex()),
            algorithm => format!("{algorithm}={}", BASE64.encode(&self.value)),
        }
    }

    /// `sha-256=:…:`: one member of `Repr-Digest`.
    pub fn structured(&self) -> String {
        format!("{}=:{}:", self.algorithm.key(), BASE64.encode(&self.value))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm, self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A checksum header whose value has not the form or length that its algorithm demands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the header {header:?} has a {algorithm} value that cannot be read")]
pub struct BadDigest {
    pub header: &'static str,
    pub algorithm: Algorithm,
}

/// The checksums that a message says of its content: `Digest`, `Repr-Digest`, `Content-Digest` and `Content-MD5`.
/// Unknown algorithms are passed over, unreadable values of known ones are errors.
pub fn stated(headers: &HeaderMap) -> Result<Vec<Digest>, BadDigest> {
    let mut found = Vec::new();
    for header in ["digest", "repr-digest", "content-digest"] {
        for value in headers.get_all(header) {
            let Ok(text) = value.to_str() else { continue };
            for member in text.split(',') {
                let Some((name, value)) = member.trim().split_once('=') else { continue };
                let Some(algorithm) = Algorithm::parse(name) else { continue };
                let digest = parse_value(algorithm, value).ok_or(BadDigest { header, algorithm })?;
                found.push(digest);
            }
        }
    }
    if let Some(value) = headers.get("content-md5") {
        let digest = value.to_str().ok().and_then(|text| parse_value(Algorithm::Md5, text));
        found.push(digest.ok_or(BadDigest { header: "content-md5", algorithm: Algorithm::Md5 })?);
    }
    Ok(found)
}

/// A value in `:base64:`, hex or base64.
fn parse_value(algorithm: Algorithm, text: &str) -> Option<Digest> {
    let text = text.trim();
    if let Some(inner) = text.strip_prefix(':').and_then(|t| t.strip_suffix(':')) {
        return Digest::new(algorithm, BASE64.decode(inner).ok()?);
    }
    // A 32-bit sum of eight hex digits is also valid base64 (of six bytes), so the length decides.
    match Digest::from_hex(algorithm, text) {
        Some(digest) if text.len() == algorithm.length() * 2 || algorithm == Algorithm::Adler32 => Some(digest),
        _ => Digest::new(algorithm, BASE64.decode(text).ok()?),
    }
}

/// Which generation a wanted checksum was asked in, so that the answer speaks the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    Legacy,
    Structured,
}

/// The checksum that a request prefers among those that we know, for each generation that it asked in.
pub fn wanted(headers: &HeaderMap) -> Vec<(Dialect, Algorithm)> {
    let best = |name: &str, dialect: Dialect| {
        let text = headers.get(name)?.to_str().ok()?;
        let mut best: Option<(f32, Algorithm)> = None;
        for member in text.split(',') {
            let (algorithm, weight) = match dialect {
                Dialect::Legacy => match member.split_once(';') {
                    Some((name, q)) => (name, q.trim().strip_prefix("q=").and_then(|q| q.trim().parse().ok())),
                    None => (member, None),
                },
                Dialect::Structured => match member.split_once('=') {
                    Some((name, weight)) => (name, weight.trim().parse().ok()),
                    None => (member, None),
                },
            };
            let weight = weight.unwrap_or(1.0);
            if let Some(algorithm) = Algorithm::parse(algorithm)
                && weight > 0.0
                && best.is_none_or(|(highest, _)| weight > highest)
            {
                best = Some((weight, algorithm));
            }
        }
        best.map(|(_, algorithm)| (dialect, algorithm))
    };
    [best("want-digest", Dialect::Legacy), best("want-repr-digest", Dialect::Structured)]
        .into_iter()
        .flatten()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(k, v)| (http::HeaderName::from_static(k), v.parse().expect("value"))).collect()
    }

    #[test]
    fn forms() {
        let adler = Digest::adler32(0x0000_0001);
        assert_eq!(adler.legacy(), "adler32=00000001");
        assert_eq!(adler.structured(), "adler=:AAAAAQ==:");
        assert_eq!(adler.to_string(), "adler32:00000001");
        assert_eq!(Digest::from_hex(Algorithm::Adler32, "1"), Some(adler.clone()));
        assert_eq!(Digest::parse_pair("ADLER32:00000001"), Some(adler));
        assert_eq!(Digest::from_hex(Algorithm::Md5, "1"), None);
        assert_eq!(Digest::from_hex(Algorithm::Adler32, "123456789"), None);
    }

    #[test]
    fn stated_digests() {
        let all = headers(&[
            ("digest", "adler32=1c2b3a4d, unknown=zz, md5=1B2M2Y8AsgTpgAmY7PhCfg=="),
            ("repr-digest", "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:, adler=:AAAAAQ==:"),
            ("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg=="),
        ]);
        let found = stated(&all).expect("reads");
        let names: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(
            names,
            [
                "adler32:1c2b3a4d",
                "md5:d41d8cd98f00b204e9800998ecf8427e",
                "sha-256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
                "adler32:00000001",
                "md5:d41d8cd98f00b204e9800998ecf8427e",
            ]
        );
        assert!(stated(&headers(&[("digest", "md5=short")])).is_err());
        assert!(stated(&headers(&[("content-md5", "!")])).is_err());
        assert_eq!(stated(&HeaderMap::new()), Ok(vec![]));
    }

    #[test]
    fn wanted_digests() {
        let pick = |name, value: &str| wanted(&headers(&[(name, value)]));
        assert_eq!(pick("want-digest", "ADLER32"), [(Dialect::Legacy, Algorithm::Adler32)]);
        assert_eq!(pick("want-digest", "adler32;q=0.3, md5;q=1"), [(Dialect::Legacy, Algorithm::Md5)]);
        assert_eq!(pick("want-digest", "tiger"), []);
        assert_eq!(pick("want-repr-digest", "sha-256=1, adler=10"), [(Dialect::Structured, Algorithm::Adler32)]);
        assert_eq!(pick("want-repr-digest", "sha-256=0"), []);
    }
}
