//! A file that is being uploaded. It has no name that a client could see until it is whole, right and, where the area
//! promises that, on disk. Dropped before that, it is gone.

use std::os::fd::OwnedFd;

use bytes::Bytes;
use dte_protocol_webdav::digest::{Algorithm, Digest};
use dte_protocol_webdav::path::ResourcePath;
use dte_storage::Checksums;
use dte_storage::beneath::{rename_at, write_all};
use rustix::fs;
use rustix::io::Errno;

use super::area::{Outcome, SharedArea};
use super::{Fault, kept, sums};
use crate::model::facts::Facts;
use crate::model::lock::Pass;

/// A file on its way in.
pub struct Part {
    area: SharedArea,
    name: String,
    file: OwnedFd,
    sums: Checksums,
    is_named: bool,
}

/// What an upload must turn out to be, and what it may do to the name.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    pub length: Option<u64>,
    pub digests: Vec<Digest>,
    /// Whether an existing file may be replaced.
    pub may_replace: bool,
    /// What gets by locks.
    pub pass: Pass,
}

/// A file that is there now.
#[derive(Clone, Debug)]
pub struct Published {
    pub outcome: Outcome,
    pub facts: Facts,
    /// adler32, and those that the client had stated.
    pub digests: Vec<Digest>,
}

impl Part {
    /// Begins an upload that will be held against these digests.
    pub fn create(area: SharedArea, digests: &[Digest]) -> Result<Part, Fault> {
        let (name, file) = area.hidden.create()?;
        Ok(Part { area, name, file, sums: Checksums::for_comparing(digests), is_named: false })
    }

    pub fn append(&mut self, pieces: &[Bytes]) -> Result<(), Fault> {
        for piece in pieces {
            self.sums.update(piece);
            write_all(&self.file, piece)?;
        }
        Ok(())
    }

    /// Checks the terms and gives the file its name.
    pub fn publish(mut self, path: &ResourcePath, terms: &Terms) -> Result<Published, Fault> {
        if let Some(expected) = terms.length
            && expected != self.sums.bytes()
        {
            return Err(Fault::Length { expected, got: self.sums.bytes() });
        }
        if let Some((stated, computed)) = self.sums.contradicts(&terms.digests) {
            return Err(Fault::Digest { stated: stated.clone(), computed });
        }
        let facts = Facts::from(&fs::fstat(&self.file)?);
        let mut digests: Vec<Digest> = self.sums.get(Algorithm::Adler32).into_iter().collect();
        for stated in &terms.digests {
            if !digests.contains(stated) {
                digests.push(stated.clone());
            }
        }
        for digest in &digests {
            sums::store(&self.file, digest, &facts);
        }
        if self.area.treatment.fsync {
            fs::fsync(&self.file)?;
        }
        let outcome = self.take_name(path, terms)?;
        self.area.sync_folder(&path.parent().unwrap_or_default())?;
        Ok(Published { outcome, facts, digests })
    }

    /// Other content has the properties of what it replaces.
    fn take_over_properties(&self, path: &ResourcePath) -> Result<(), Fault> {
        let old = match self.area.root.open_read(path) {
            Ok(old) => old,
            // What is not there, or nobody may open, has none that anybody could see. Other failures must not lose them.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS | Errno::LOOP) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let is_changed = kept::carry_over(old, &self.file)?;
        // The content is there already, so this is short.
        if is_changed && self.area.treatment.fsync { Ok(fs::fsync(&self.file)?) } else { Ok(()) }
    }

    fn take_name(&mut self, path: &ResourcePath, terms: &Terms) -> Result<Outcome, Fault> {
        let (area, may_replace) = (self.area.clone(), terms.may_replace);
        let _held = area.unlocked_name(path, &[], &terms.pass)?;
        let (parent, name) = match area.root.open_parent(path) {
            Err(Errno::NOENT) if !area.treatment.create_parents => return Err(Fault::NoParent),
            Err(Errno::NOENT) => {
                area.make_folders(&path.parent().ok_or(Fault::IsFolder)?)?;
                area.root.open_parent(path)?
            }
            other => other?,
        };
        // Nobody changes the properties of what is there until it is replaced.
        let _turn = terms.may_replace.then(|| area.properties.lock());
        if terms.may_replace && kept::are_used(&area.root) {
            self.take_over_properties(path)?;
        }
        let hidden = area.hidden.dir();
        let outcome = match rename_at(hidden, &self.name, &parent, name, false) {
            Ok(()) => Ok(Outcome::Created),
            Err(Errno::EXIST) if may_replace => match fs::renameat(hidden, &self.name, &parent, name) {
                Ok(()) => Ok(Outcome::Replaced),
                Err(Errno::ISDIR | Errno::EXIST | Errno::NOTEMPTY) => Err(Fault::IsFolder),
                Err(error) => Err(error.into()),
            },
            Err(Errno::EXIST) => Err(Fault::Exists),
            Err(error) => Err(error.into()),
        };
        self.is_named = outcome.is_ok();
        outcome
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.is_named {
            self.area.hidden.discard(&self.name);
        }
    }
}
