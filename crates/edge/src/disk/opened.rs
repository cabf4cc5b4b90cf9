//! A file that was opened for a reader.

use std::os::fd::OwnedFd;

use dte_protocol_webdav::digest::{Algorithm, Digest};
use dte_protocol_webdav::path::ResourcePath;
use rustix::fs;
use rustix::io::{Errno, IoSliceMut, ReadWriteFlags};

use super::{Area, sums};
use crate::model::facts::{Facts, Kind};

/// Files up to this size are read in one go and answered as a whole.
pub const SMALL: u64 = 256 * 1024;

/// An open file or folder.
pub struct Opened {
    pub file: OwnedFd,
    pub facts: Facts,
    /// Its adler32, when that is stored with it.
    pub adler32: Option<Digest>,
}

impl Opened {
    /// Opens; may wait for the disk.
    pub fn open(area: &Area, path: &ResourcePath) -> Result<Opened, Errno> {
        Opened::of(area.root.open_read(path)?)
    }

    /// Opens if everything that is needed is in memory; [`Errno::AGAIN`] otherwise. Never waits.
    pub fn open_cached(area: &Area, path: &ResourcePath) -> Result<Opened, Errno> {
        Opened::of(area.root.open_read_cached(path)?)
    }

    fn of(file: OwnedFd) -> Result<Opened, Errno> {
        let facts = Facts::from(&fs::fstat(&file)?);
        match facts.kind {
            Kind::Other => Err(Errno::ACCESS),
            Kind::Folder => Ok(Opened { file, facts, adler32: None }),
            Kind::File => {
                let adler32 = sums::stored(&file, Algorithm::Adler32, &facts);
                Ok(Opened { file, facts, adler32 })
            }
        }
    }

    /// The whole content of a small file, if it is in memory; [`Errno::AGAIN`] otherwise. Never waits.
    pub fn content_cached(&self) -> Result<Vec<u8>, Errno> {
        self.content(|buffer, at| read_cached(&self.file, buffer, at))
    }

    /// The whole content of a small file; may wait for the disk.
    pub fn content_waiting(&self) -> Result<Vec<u8>, Errno> {
        self.content(|buffer, at| rustix::io::pread(&self.file, buffer, at))
    }

    fn content(&self, read: impl Fn(&mut [u8], u64) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
        let mut buffer = vec![0; usize::try_from(self.facts.size).map_err(|_| Errno::FBIG)?];
        let mut filled = 0;
        while filled < buffer.len() {
            match read(&mut buffer[filled..], filled as u64) {
                Ok(0) => return Err(Errno::IO),
                Ok(n) => filled += n,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(buffer)
    }
}

/// Reads what the page cache holds. [`Errno::AGAIN`] when it holds nothing there, or the filesystem cannot tell.
pub fn read_cached(file: &OwnedFd, buffer: &mut [u8], at: u64) -> Result<usize, Errno> {
    match rustix::io::preadv2(file, &mut [IoSliceMut::new(buffer)], at, ReadWriteFlags::NOWAIT) {
        Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => Err(Errno::AGAIN),
        other => other,
    }
}
