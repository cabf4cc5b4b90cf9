//! Checksums over a stream that passes by.

use dte_protocol_webdav::digest::{Algorithm, Digest};
use md5::Md5;
use sha2::{Digest as _, Sha256};

/// Running checksums and the count of bytes. Those that are not wanted cost nothing.
#[derive(Clone)]
pub struct Checksums {
    adler32: Option<simd_adler32::Adler32>,
    crc32c: Option<u32>,
    md5: Option<Md5>,
    sha256: Option<Sha256>,
    bytes: u64,
}

impl Checksums {
    /// Computes these and no others.
    pub fn of(algorithms: impl IntoIterator<Item = Algorithm>) -> Checksums {
        let mut sums = Checksums { adler32: None, crc32c: None, md5: None, sha256: None, bytes: 0 };
        for algorithm in algorithms {
            match algorithm {
                Algorithm::Adler32 => sums.adler32 = Some(simd_adler32::Adler32::new()),
                Algorithm::Crc32c => sums.crc32c = Some(0),
                Algorithm::Md5 => sums.md5 = Some(Md5::new()),
                Algorithm::Sha256 => sums.sha256 = Some(Sha256::new()),
            }
        }
        sums
    }

    /// adler32 always, and what is needed to compare with `stated`.
    pub fn for_comparing(stated: &[Digest]) -> Checksums {
        Checksums::of(stated.iter().map(Digest::algorithm).chain([Algorithm::Adler32]))
    }

    pub fn update(&mut self, data: &[u8]) {
        self.bytes += data.len() as u64;
        if let Some(sum) = &mut self.adler32 {
            sum.write(data);
        }
        if let Some(sum) = &mut self.crc32c {
            *sum = crc32c::crc32c_append(*sum, data);
        }
        if let Some(sum) = &mut self.md5 {
            sum.update(data);
        }
        if let Some(sum) = &mut self.sha256 {
            sum.update(data);
        }
    }

    /// How many bytes have passed.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The checksum up to here, if it is one of those computed.
    pub fn get(&self, algorithm: Algorithm) -> Option<Digest> {
        match algorithm {
            Algorithm::Adler32 => self.adler32().map(Digest::adler32),
            Algorithm::Crc32c => Digest::new(algorithm, self.crc32c?.to_be_bytes()),
            Algorithm::Md5 => Digest::new(algorithm, self.md5.clone()?.finalize().to_vec()),
            Algorithm::Sha256 => Digest::new(algorithm, self.sha256.clone()?.finalize().to_vec()),
        }
    }

    /// The adler32 up to here.
    pub fn adler32(&self) -> Option<u32> {
        self.adler32.as_ref().map(simd_adler32::Adler32::finish)
    }

    /// The first of `stated` that does not agree with what has passed, with the value that was computed instead.
    pub fn contradicts<'a>(&self, stated: &'a [Digest]) -> Option<(&'a Digest, Digest)> {
        stated.iter().find_map(|digest| {
            let computed = self.get(digest.algorithm())?;
            (computed != *digest).then_some((digest, computed))
        })
    }
}

/// The adler32 of a whole buffer.
pub fn adler32(data: &[u8]) -> u32 {
    simd_adler32::adler32(&data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values_in_pieces() {
        let mut sums = Checksums::of(Algorithm::ALL);
        for piece in [&b"123"[..], b"", b"456789"] {
            sums.update(piece);
        }
        let texts: Vec<String> = Algorithm::ALL.iter().filter_map(|a| sums.get(*a)).map(|d| d.to_string()).collect();
        assert_eq!(
            texts,
            [
                "adler32:091e01de",
                "crc32c:e3069283",
                "md5:25f9e794323b453885f5181f1b624d0b",
                "sha-256:15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225",
            ]
        );
        assert_eq!(sums.bytes(), 9);
        assert_eq!(adler32(b"123456789"), 0x091e_01de);
        assert_eq!(Checksums::of([Algorithm::Adler32]).adler32(), Some(1));
    }

    #[test]
    fn contradictions() {
        let right = Digest::adler32(0x091e_01de);
        let wrong = Digest::adler32(1);
        let mut sums = Checksums::for_comparing(std::slice::from_ref(&right));
        sums.update(b"123456789");
        assert_eq!(sums.contradicts(std::slice::from_ref(&right)), None);
        let stated = [right.clone(), wrong.clone()];
        assert_eq!(sums.contradicts(&stated), Some((&wrong, right)));
    }
}
