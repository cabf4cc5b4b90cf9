//! The plugin for a folder of this machine.

use std::ffi::CStr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use dte_base::id::new_id;
use dte_base::time::Timestamp;
use dte_protocol_webdav::digest::{Algorithm, Digest};
use dte_protocol_webdav::path::ResourcePath;
use dte_protocol_webdav::range::ByteRange;
use futures_util::StreamExt as _;
use rustix::fs::{self, FileType};
use rustix::io::Errno as Os;

use crate::beneath::{self, Links, Root};
use crate::byte_store::{Answer, ByteStore, ByteStream, Content, Entry, PART_PREFIX, Reading, Stat, Written};
use crate::checksum::Checksums;
use crate::error::{Errno, Error};

/// How much is read or written in one go.
const CHUNK: usize = 1 << 20;
/// Chunks that are read ahead.
const READ_AHEAD: usize = 2;

/// A folder as a store. Content is synced to disk before a file gets its name.
pub struct FileStore {
    root: Arc<Root>,
}

impl FileStore {
    /// Opens `folder`, which must exist. Links below it are followed while they stay within.
    pub fn open(folder: &Path) -> Result<FileStore, Error> {
        let root = Root::open(folder, Links::Within).map_err(|e| Error::from_os(e, folder.display()))?;
        Ok(FileStore { root: Arc::new(root) })
    }

    /// Runs `work` on a thread that may wait for the disk.
    async fn on_disk<T: Send + 'static>(
        &self,
        path: &ResourcePath,
        work: impl FnOnce(&Root, &ResourcePath) -> rustix::io::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let (root, path) = (self.root.clone(), path.clone());
        blocking(move || work(&root, &path).map_err(|error| Error::from_os(error, &path))).await
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(answer) => answer,
        Err(_) => Err(Error::new(Errno::ECANCELED, "file work was cut short")),
    }
}

fn stat_of(stat: &fs::Stat) -> Stat {
    let is_folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    let micros = stat.st_mtime.saturating_mul(1_000_000).saturating_add(stat.st_mtime_nsec as i64 / 1_000);
    Stat {
        is_folder,
        bytes: Some(if is_folder { 0 } else { u64::try_from(stat.st_size).unwrap_or(0) }),
        modified: Some(Timestamp::from_micros(micros)),
    }
}

/// A name as it is; one that is no text with `\\xff` for its bytes, which no path has.
fn shown(name: &CStr) -> String {
    name.to_str().map_or_else(|_| name.to_bytes().escape_ascii().to_string(), str::to_owned)
}

fn open_regular(root: &Root, path: &ResourcePath) -> rustix::io::Result<(OwnedFd, u64)> {
    let file = root.open_read(path)?;
    let stat = fs::fstat(&file)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok((file, u64::try_from(stat.st_size).unwrap_or(0))),
        FileType::Directory => Err(Os::ISDIR),
        _ => Err(Os::ACCESS),
    }
}

/// Reads up to `length` bytes at `offset`; fewer only at the end of the file.
fn read_at(file: &OwnedFd, offset: u64, length: usize) -> rustix::io::Result<Vec<u8>> {
    let mut buffer = vec![0; length];
    let mut filled = 0;
    while filled < length {
        match rustix::io::pread(file, &mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(Os::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    buffer.truncate(filled);
    Ok(buffer)
}

/// Reads `length` bytes from `offset` on a thread of its own, a few chunks ahead of the reader.
fn stream_of(file: OwnedFd, offset: u64, length: u64, name: String) -> ByteStream {
    let (send, receive) = tokio::sync::mpsc::channel::<Result<Bytes, Error>>(READ_AHEAD);
    tokio::task::spawn_blocking(move || {
        let (mut at, end) = (offset, offset + length);
        while at < end {
            let want = usize::try_from(end - at).unwrap_or(CHUNK).min(CHUNK);
            let answer = match read_at(&file, at, want) {
                Ok(data) if data.len() == want => Ok(Bytes::from(data)),
                Ok(_) => Err(Error::new(Errno::EIO, format!("{name}: the file became shorter while it was read"))),
                Err(error) => Err(Error::from_os(error, &name)),
            };
            let failed = answer.is_err();
            at += want as u64;
            if send.blocking_send(answer).is_err() || failed {
                return;
            }
        }
    });
    futures_util::stream::unfold(receive, |mut receive| async { receive.recv().await.map(|item| (item, receive)) })
        .boxed()
}

/// A file that has no name yet; without [`Part::commit`] it goes away.
struct Part {
    root: Arc<Root>,
    path: ResourcePath,
    temporary: ResourcePath,
    file: OwnedFd,
    committed: bool,
}

impl Part {
    fn create(root: Arc<Root>, path: ResourcePath) -> rustix::io::Result<Part> {
        let folder = path.parent().ok_or(Os::ISDIR)?;
        root.make_folders(&folder)?;
        let name = format!("{PART_PREFIX}{}", new_id());
        let temporary = folder.child(&name).map_err(|_| Os::INVAL)?;
        let file = beneath::create_at(root.open_folder(&folder)?, &name)?;
        Ok(Part { root, path, temporary, file, committed: false })
    }

    fn commit(mut self, overwrite: bool) -> rustix::io::Result<()> {
        fs::fsync(&self.file)?;
        self.root.rename(&self.temporary, &self.path, overwrite)?;
        self.committed = true;
        self.root.sync_folder(&self.path.parent().unwrap_or_default())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.committed
            && let Err(error) = self.root.delete_file(&self.temporary)
        {
            tracing::warn!(file = %self.temporary, %error, "a temporary file could not be removed");
        }
    }
}

async fn write(root: Arc<Root>, path: ResourcePath, mut content: Content) -> Result<Written, Error> {
    let name = path.plain();
    let wrong = move |errno: Os| Error::from_os(errno, &name);
    let mut part = blocking({
        let (wrong, path) = (wrong.clone(), path.clone());
        move || {
            if !content.overwrite && root.stat(&path).is_ok() {
                return Err(wrong(Os::EXIST));
            }
            Part::create(root, path).map_err(wrong)
        }
    })
    .await?;
    let mut sums = Checksums::for_comparing(&content.digests);
    let mut ready = content.stream.as_mut().ready_chunks(64);
    while let Some(chunks) = ready.next().await {
        let chunks: Vec<Bytes> = chunks.into_iter().collect::<Result<_, _>>()?;
        let wrong = wrong.clone();
        (part, sums) = blocking(move || {
            for chunk in &chunks {
                sums.update(chunk);
                beneath::write_all(&part.file, chunk).map_err(&wrong)?;
            }
            Ok((part, sums))
        })
        .await?;
    }
    if let Some(expected) = content.bytes
        && expected != sums.bytes()
    {
        let text = format!("{path}: {} bytes came instead of {expected}", sums.bytes());
        return Err(Error::new(Errno::ECONN, text));
    }
    if let Some((stated, computed)) = sums.contradicts(&content.digests) {
        return Err(Error::new(Errno::ECHECKSUM, format!("{path}: {computed} came instead of {stated}")));
    }
    blocking(move || part.commit(content.overwrite).map_err(wrong)).await?;
    Ok(Written { stated: sums.get(Algorithm::Adler32).into_iter().collect() })
}

impl ByteStore for FileStore {
    fn stat<'a>(&'a self, path: &'a ResourcePath) -> Answer<'a, Stat> {
        Box::pin(self.on_disk(path, |root, path| root.stat(path).map(|stat| stat_of(&stat))))
    }

    fn list<'a>(&'a self, path: &'a ResourcePath) -> Answer<'a, Vec<Entry>> {
        Box::pin(self.on_disk(path, |root, path| {
            let folder = root.open_folder_read(path)?;
            let mut entries = Vec::new();
            for item in fs::Dir::read_from(&folder)? {
                let item = item?;
                let name = item.file_name();
                if matches!(name.to_bytes(), b"." | b"..") || name.to_bytes().starts_with(PART_PREFIX.as_bytes()) {
                    continue;
                }
                // Gone between the listing and the look: no longer a member.
                let stat = match fs::statat(&folder, name, fs::AtFlags::SYMLINK_NOFOLLOW) {
                    Err(Os::NOENT) => continue,
                    other => other?,
                };
                entries.push(Entry { name: shown(name), stat: stat_of(&stat) });
            }
            Ok(entries)
        }))
    }

    fn read<'a>(&'a self, path: &'a ResourcePath, range: Option<ByteRange>) -> Answer<'a, Reading> {
        Box::pin(async move {
            let (file, size) = self.on_disk(path, open_regular).await?;
            let (offset, bytes) = match range {
                None => (0, size),
                Some(range) if range.last < size => (range.first, range.length()),
                Some(range) => {
                    let text = format!("{path}: bytes {}-{} of {size}", range.first, range.last);
                    return Err(Error::new(Errno::EINVAL, text));
                }
            };
            let stream = stream_of(file, offset, bytes, path.plain());
            Ok(Reading { bytes: Some(bytes), stated: Vec::new(), stream })
        })
    }

    fn write<'a>(&'a self, path: &'a ResourcePath, content: Content) -> Answer<'a, Written> {
        Box::pin(write(self.root.clone(), path.clone(), content))
    }

    fn rename<'a>(&'a self, from: &'a ResourcePath, to: &'a ResourcePath, overwrite: bool) -> Answer<'a, ()> {
        let to = to.clone();
        Box::pin(self.on_disk(from, move |root, from| {
            root.rename(from, &to, overwrite)?;
            root.sync_folder(&to.parent().unwrap_or_default())
        }))
    }

    fn delete<'a>(&'a self, path: &'a ResourcePath) -> Answer<'a, ()> {
        Box::pin(self.on_disk(path, |root, path| match root.delete_file(path) {
            Err(Os::ISDIR | Os::PERM) => root.delete_folder(path),
            other => other,
        }))
    }

    fn make_folder<'a>(&'a self, path: &'a ResourcePath) -> Answer<'a, ()> {
        Box::pin(self.on_disk(path, |root, path| root.make_folders(path).map(|_| ())))
    }

    fn checksum<'a>(&'a self, path: &'a ResourcePath, algorithm: Algorithm) -> Answer<'a, Option<Digest>> {
        Box::pin(self.on_disk(path, move |root, path| {
            let (file, _) = open_regular(root, path)?;
            let mut sums = Checksums::of([algorithm]);
            loop {
                let data = read_at(&file, sums.bytes(), CHUNK)?;
                if data.is_empty() {
                    return Ok(sums.get(algorithm));
                }
                sums.update(&data);
            }
        }))
    }

    fn writes_atomically(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> ResourcePath {
        ResourcePath::from_plain(text).expect("a path")
    }

    fn content(pieces: Vec<Result<Bytes, Error>>, bytes: Option<u64>) -> Content {
        Content { stream: futures_util::stream::iter(pieces).boxed(), bytes, digests: Vec::new(), overwrite: false }
    }

    fn pieces(texts: &[&'static str]) -> Vec<Result<Bytes, Error>> {
        texts.iter().map(|t| Ok(Bytes::from_static(t.as_bytes()))).collect()
    }

    async fn whole(reading: Reading) -> Result<Vec<u8>, Error> {
        let mut stream = reading.stream;
        let mut all = Vec::new();
        while let Some(chunk) = stream.next().await {
            all.extend_from_slice(&chunk?);
        }
        Ok(all)
    }

    #[tokio::test]
    async fn written_read_listed() {
        let temp = tempfile::tempdir().expect("temp");
        let store = FileStore::open(temp.path()).expect("opens");
        let file = path("/a/b.txt");
        let written = store.write(&file, content(pieces(&["1234", "56789"]), Some(9))).await.expect("writes");
        assert_eq!(written.stated, [Digest::adler32(0x091e_01de)]);
        assert_eq!(whole(store.read(&file, None).await.expect("opens")).await.expect("reads"), b"123456789");
        let range = Some(ByteRange { first: 2, last: 4 });
        assert_eq!(whole(store.read(&file, range).await.expect("opens")).await.expect("reads"), b"345");
        assert_eq!(store.checksum(&file, Algorithm::Adler32).await.expect("sum"), Some(Digest::adler32(0x091e_01de)));
        let entries = store.list(&path("/a")).await.expect("lists");
        assert_eq!((entries.len(), entries[0].name.as_str(), entries[0].stat.bytes), (1, "b.txt", Some(9)));
        let again = store.write(&file, content(pieces(&["x"]), None)).await.expect_err("exists");
        assert_eq!(again.errno, Errno::EEXIST);
        assert_eq!(store.read(&path("/a"), None).await.err().map(|e| e.errno), Some(Errno::EISDIR));
        assert_eq!(store.stat(&path("/none")).await.err().map(|e| e.errno), Some(Errno::ENOENT));
        assert_eq!(store.delete(&path("/a")).await.err().map(|e| e.errno), Some(Errno::ENOTEMPTY));
        store.rename(&file, &path("/c"), false).await.expect("renames");
        store.delete(&path("/a")).await.expect("deletes");
    }

    #[tokio::test]
    async fn no_member_is_left_out() {
        use std::os::unix::ffi::OsStrExt as _;
        let temp = tempfile::tempdir().expect("temp");
        let names: [&[u8]; 3] = [b"a\\b", b"a\xffb", b"fine"];
        for name in names {
            std::fs::write(temp.path().join(std::ffi::OsStr::from_bytes(name)), "x").expect("writes");
        }
        let store = FileStore::open(temp.path()).expect("opens");
        let entries = store.list(&ResourcePath::root()).await.expect("lists");
        let mut names: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["a\\b", "a\\xffb", "fine"]);
        let usable: Vec<_> = names.iter().filter(|name| ResourcePath::root().child(name).is_ok()).collect();
        assert_eq!(usable, [&"fine"]);
    }

    #[tokio::test]
    async fn what_is_not_whole_is_not_there() {
        let temp = tempfile::tempdir().expect("temp");
        let store = FileStore::open(temp.path()).expect("opens");
        let broken = vec![Ok(Bytes::from_static(b"abc")), Err(Error::new(Errno::ECONN, "gone"))];
        assert_eq!(store.write(&path("/f"), content(broken, None)).await.expect_err("breaks").errno, Errno::ECONN);
        let short = store.write(&path("/f"), content(pieces(&["abc"]), Some(4))).await.expect_err("short");
        assert_eq!(short.errno, Errno::ECONN);
        let mut wrong = content(pieces(&["abc"]), Some(3));
        wrong.digests = vec![Digest::adler32(1)];
        assert_eq!(store.write(&path("/f"), wrong).await.expect_err("wrong").errno, Errno::ECHECKSUM);
        assert_eq!(std::fs::read_dir(temp.path()).expect("lists").count(), 0);
    }
}
