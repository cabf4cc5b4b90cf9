//! An area as a store of bytes, for copies from and to other servers. Who may do what was asked before.

use axum::body::Body;
use dte_protocol_webdav::digest::{Algorithm, Digest};
use dte_protocol_webdav::path::ResourcePath;
use dte_protocol_webdav::range::ByteRange;
use dte_storage::byte_store::Answer;
use dte_storage::{ByteStore, Content, Entry, Errno, Error, Reading, Stat, Written};
use futures_util::{StreamExt as _, TryStreamExt as _};

use super::area::SharedArea;
use super::body::FileBody;
use super::intake::{Untaken, take_in};
use super::opened::Opened;
use super::part::Terms;
use super::{Fault, on_disk, sums};
use crate::model::facts::Facts;
use crate::model::lock::Pass;

/// Files of an area, for somebody who shows these tokens of locks.
pub struct AreaStore {
    pub area: SharedArea,
    pub pass: Pass,
}

fn explain(fault: Fault, path: &ResourcePath) -> Error {
    let errno = match &fault {
        Fault::Os(error) => return Error::from_os(*error, path),
        Fault::Exists => Errno::EEXIST,
        Fault::IsFolder => Errno::EISDIR,
        Fault::NotEmpty => Errno::ENOTEMPTY,
        Fault::NoParent => Errno::ENOENT,
        Fault::Locked(_) => Errno::EACCES,
        Fault::NoRoomForProperties | Fault::AnswerTooLong => Errno::ENOSPC,
        Fault::Length { .. } | Fault::CutShort => Errno::ECONN,
        Fault::Digest { .. } => Errno::ECHECKSUM,
        Fault::Changed => Errno::EIO,
    };
    Error::new(errno, format!("{path}: {fault}"))
}

fn unsupported<T>(what: &str) -> Result<T, Error> {
    Err(Error::new(Errno::ENOSYS, format!("{what} is not part of a third-party copy")))
}

impl AreaStore {
    async fn disk<T: Send + 'static>(
        &self,
        path: &ResourcePath,
        work: impl FnOnce(&SharedArea, &ResourcePath) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Error> {
        let (area, inner) = (self.area.clone(), path.clone());
        on_disk(move || work(&area, &inner)).await.map_err(|fault| explain(fault, path))
    }

    async fn open(&self, path: &ResourcePath) -> Result<Opened, Error> {
        let opened = self.disk(path, |area, path| Ok(Opened::open(area, path)?)).await?;
        if opened.facts.is_folder() { Err(explain(Fault::IsFolder, path)) } else { Ok(opened) }
    }
}

impl ByteStore for AreaStore {
    fn stat<'a>(&'a self, path: &'a ResourcePath) -> Answer<'a, Stat> {
        Box::pin(async move {
            let facts: Facts = self.disk(path, |area, path| Ok(area.facts(path)?)).await?;
            Ok(Stat { is_folder: facts.is_folder(), bytes: Some(facts.size), modified: Some(facts.modified()) })
        })
    }

    fn list<'a>(&'a self, _: &'a ResourcePath) -> Answer<'a, Vec<Entry>> {
        Box::pin(async { unsupported("a listing") })
    }

    fn read<'a>(&'a self, path: &'a ResourcePath, range: Option<ByteRange>) -> Answer<'a, Reading> {
        Box::pin(async move {
            if range.is_some() {
                return unsupported("a range");
            }
            let opened = self.open(path).await?;
            let (size, stated) = (opened.facts.size, opened.adler32.into_iter().collect());
            let body = match size.checked_sub(1) {
                None => Body::empty(),
                Some(last) => Body::new(FileBody::stretch(opened.file, ByteRange { first: 0, last })),
            };
            let shown = path.to_string();
            let stream = body
                .into_data_stream()
                .map_err(move |error| Error::new(Errno::EIO, format!("{shown}: it could not be read: {error}")));
            Ok(Reading { bytes: Some(size), stated, stream: stream.boxed() })
        })
    }

    fn write<'a>(&'a self, path: &'a ResourcePath, content: Content) -> Answer<'a, Written> {
        Box::pin(async move {
            if let Some(length) = content.bytes
                && self.disk(path, |area, _| Ok(area.room()?)).await?.available < length
            {
                return Err(Error::new(Errno::ENOSPC, path.to_string()));
            }
            let terms = Terms {
                length: content.bytes,
                digests: content.digests,
                may_replace: content.overwrite,
                pass: self.pass.clone(),
            };
            match take_in(self.area.clone(), path.clone(), terms, Vec::new(), content.stream).await {
                Ok(published) => Ok(Written { stated: published.digests }),
                Err(Untaken::Content(error)) => Err(error),
                Err(Untaken::Disk(fault)) => Err(explain(fault, path)),
                Err(Untaken::Lost(text)) => Err(Error::new(Errno::EIO, text)),
            }
        })
    }

    fn rename<'a>(&'a self, _: &'a ResourcePath, _: &'a ResourcePath, _: bool) -> Answer<'a, ()> {
        Box::pin(async { unsupported("another name") })
    }

    fn delete<'a>(&'a self, path: &'a ResourcePath) -> Answer<'a, ()> {
        let pass = self.pass.clone();
        Box::pin(self.disk(path, move |area, path| area.delete(path, &pass)))
    }

    fn make_folder<'a>(&'a self, path: &'a ResourcePath) -> Answer<'a, ()> {
        let pass = self.pass.clone();
        Box::pin(self.disk(path, move |area, path| {
            drop(area.unlocked_name(path, &[], &pass)?);
            area.make_folders(path)
        }))
    }

    fn checksum<'a>(&'a self, path: &'a ResourcePath, algorithm: Algorithm) -> Answer<'a, Option<Digest>> {
        Box::pin(async move {
            let opened = self.open(path).await?;
            let facts = opened.facts;
            if let Some(digest) = sums::stored(&opened.file, algorithm, &facts) {
                return Ok(Some(digest));
            }
            self.disk(path, move |_, _| sums::compute(&opened.file, algorithm, &facts)).await.map(Some)
        })
    }

    fn writes_atomically(&self) -> bool {
        true
    }
}
