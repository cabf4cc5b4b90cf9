//! Checksums of files, kept in extended attributes and bound to the size and time of the content they were computed from,
//! so that a file that was changed behind the edge's back is computed again.

use std::os::fd::AsFd;

use dte_protocol_webdav::digest::{Algorithm, Digest};
use dte_storage::Checksums;
use rustix::fs::{self, XattrFlags};
use rustix::io::Errno;

use super::Fault;
use crate::model::facts::Facts;

/// How much is read in one go while computing.
const CHUNK: usize = 1 << 20;
/// Longest attribute that is read: a sha-256 in hex, a size, a time.
const LONGEST: usize = 160;

fn attribute(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Adler32 => "user.dte.adler32",
        Algorithm::Crc32c => "user.dte.crc32c",
        Algorithm::Md5 => "user.dte.md5",
        Algorithm::Sha256 => "user.dte.sha256",
    }
}

/// The checksum that was stored for exactly this content. Never waits for more than the inode.
pub fn stored(file: impl AsFd, algorithm: Algorithm, facts: &Facts) -> Option<Digest> {
    let mut buffer = [0u8; LONGEST];
    let length = fs::fgetxattr(file, attribute(algorithm), &mut buffer[..]).ok()?;
    let text = std::str::from_utf8(buffer.get(..length)?).ok()?;
    let mut words = text.split(' ');
    let (sum, size, time) = (words.next()?, words.next()?, words.next()?);
    if size.parse() != Ok(facts.size) || time.parse() != Ok(facts.modified_nanos) {
        return None;
    }
    Digest::from_hex(algorithm, sum)
}

/// Stores a checksum. A filesystem that cannot is no failure: it is computed again when asked for.
pub fn store(file: impl AsFd, digest: &Digest, facts: &Facts) {
    let value = format!("{} {} {}", digest.hex(), facts.size, facts.modified_nanos);
    let name = attribute(digest.algorithm());
    match fs::fsetxattr(file, name, value.as_bytes(), XattrFlags::empty()) {
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSPC | Errno::DQUOT) => {}
        Err(error) => tracing::debug!(%error, "a checksum could not be stored with its file"),
    }
}

/// Reads the whole file, computes, and stores what it found if the file kept still meanwhile.
pub fn compute(file: impl AsFd, algorithm: Algorithm, facts: &Facts) -> Result<Digest, Fault> {
    let mut sums = Checksums::of([algorithm]);
    let mut buffer = vec![0; CHUNK.min(usize::try_from(facts.size).unwrap_or(CHUNK).max(1))];
    loop {
        match rustix::io::pread(&file, &mut buffer[..], sums.bytes()) {
            Ok(0) => break,
            Ok(n) => sums.update(&buffer[..n]),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let after = Facts::from(&fs::fstat(&file)?);
    let digest = sums.get(algorithm).filter(|_| after == *facts && sums.bytes() == facts.size).ok_or(Fault::Changed)?;
    store(&file, &digest, facts);
    Ok(digest)
}

/// After a copy: the checksums of the source hold for the copy too.
pub fn carry_over(source: impl AsFd, target: impl AsFd) {
    let (Ok(from), Ok(to)) = (fs::fstat(&source), fs::fstat(&target)) else { return };
    let (from, to) = (Facts::from(&from), Facts::from(&to));
    for algorithm in Algorithm::ALL {
        if let Some(digest) = stored(&source, algorithm, &from).filter(|_| from.size == to.size) {
            store(&target, &digest, &to);
        }
    }
}
