//! Copies between stores, of which some lie, truncate or break off.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use dte_protocol_webdav::digest::{Algorithm, Digest};
use dte_protocol_webdav::path::ResourcePath;
use dte_protocol_webdav::range::ByteRange;
use dte_storage::byte_store::Answer;
use dte_storage::file::FileStore;
use dte_storage::{
    ByteStore, Content, CopyOrder, Entry, Errno, Error, Location, Reading, Side, Stat, Written, copy_verified,
};
use futures_util::StreamExt as _;

/// What a store in memory does wrong.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Fault {
    #[default]
    None,
    /// Serves one byte less than it has.
    Truncates,
    /// Changes a byte while reading.
    Corrupts,
    /// Stops in the middle and never goes on.
    Stalls,
    /// Breaks off in the middle.
    Breaks,
    /// Stores something else than it was given.
    StoresWrong,
    /// Takes a part and says it is full.
    Full,
}

/// A store whose writes are seen while they go on, as at a plain HTTP server.
#[derive(Default)]
struct MemoryStore {
    files: Mutex<BTreeMap<String, Vec<u8>>>,
    ever_seen: Mutex<Vec<(String, Vec<u8>)>>,
    fault: Fault,
    knows_checksums: bool,
}

impl MemoryStore {
    fn with(fault: Fault, knows_checksums: bool) -> Arc<MemoryStore> {
        Arc::new(MemoryStore { fault, knows_checksums, ..MemoryStore::default() })
    }

    fn put(&self, path: &str, data: &[u8]) {
        self.files.lock().expect("lock").insert(path.to_owned(), data.to_vec());
        self.ever_seen.lock().expect("lock").push((path.to_owned(), data.to_vec()));
    }

    fn get(&self, path: &str) -> Option<Vec<u8>> {
        self.files.lock().expect("lock").get(path).cloned()
    }

    fn names(&self) -> Vec<String> {
        self.files.lock().expect("lock").keys().cloned().collect()
    }

    fn at(self: &Arc<Self>, path: &str) -> Location {
        Location::new(self.clone(), ResourcePath::from_plain(path).expect("path"), format!("memory:{path}"))
    }
}

fn missing(path: &ResourcePath) -> Error {
    Error::new(Errno::ENOENT, path.plain())
}

impl ByteStore for MemoryStore {
    fn stat<'a>(&'a self, path: &'a ResourcePath) -> Answer<'a, Stat> {
        let found = self.get(&path.plain());
        Box::pin(async move {
            let data = found.ok_or_else(|| missing(path))?;
            Ok(Stat { is_folder: false, bytes: Some(data.len() as u64), modified: None })
        })
    }

    fn list<'a>(&'a self, _: &'a ResourcePath) -> Answer<'a, Vec<Entry>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn read<'a>(&'a self, path: &'a ResourcePath, _: Option<ByteRange>) -> Answer<'a, Reading> {
        Box::pin(async move {
            let mut data = self.get(&path.plain()).ok_or_else(|| missing(path))?;
            let bytes = Some(data.len() as u64);
            let stated = if self.knows_checksums {
                vec![Digest::adler32(dte_storage::checksum::adler32(&data))]
            } else {
                Vec::new()
            };
            match self.fault {
                Fault::Truncates => drop(data.pop()),
                Fault::Corrupts => data[0] ^= 1,
                _ => {}
            }
            let half = data.len() / 2;
            let mut pieces: Vec<Result<Bytes, Error>> =
                data.chunks(half.max(1)).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
            if self.fault == Fault::Breaks {
                pieces.truncate(1);
                pieces.push(Err(Error::new(Errno::ECONN, "gone")));
            }
            let stalls = self.fault == Fault::Stalls;
            let pieces = futures_util::stream::iter(pieces);
            let stream =
                if stalls { pieces.take(1).chain(futures_util::stream::pending()).boxed() } else { pieces.boxed() };
            Ok(Reading { bytes, stated, stream })
        })
    }

    fn write<'a>(&'a self, path: &'a ResourcePath, mut content: Content) -> Answer<'a, Written> {
        Box::pin(async move {
            let mut data = Vec::new();
            while let Some(chunk) = content.stream.next().await {
                data.extend_from_slice(&chunk?);
                self.put(&path.plain(), &data);
                if self.fault == Fault::Full {
                    return Err(Error::new(Errno::ENOSPC, "full"));
                }
            }
            if self.fault == Fault::StoresWrong {
                data.push(b'!');
            }
            self.put(&path.plain(), &data);
            Ok(Written::default())
        })
    }

    fn rename<'a>(&'a self, from: &'a ResourcePath, to: &'a ResourcePath, _: bool) -> Answer<'a, ()> {
        Box::pin(async move {
            let data = self.files.lock().expect("lock").remove(&from.plain()).ok_or_else(|| missing(from))?;
            self.put(&to.plain(), &data);
            Ok(())
        })
    }

    fn delete<'a>(&'a self, path: &'a ResourcePath) -> Answer<'a, ()> {
        Box::pin(async move {
            self.files.lock().expect("lock").remove(&path.plain()).map(drop).ok_or_else(|| missing(path))
        })
    }

    fn make_folder<'a>(&'a self, _: &'a ResourcePath) -> Answer<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    fn checksum<'a>(&'a self, path: &'a ResourcePath, algorithm: Algorithm) -> Answer<'a, Option<Digest>> {
        Box::pin(async move {
            let data = self.get(&path.plain()).ok_or_else(|| missing(path))?;
            let known = self.knows_checksums && algorithm == Algorithm::Adler32;
            Ok(known.then(|| Digest::adler32(dte_storage::checksum::adler32(&data))))
        })
    }

    fn writes_atomically(&self) -> bool {
        false
    }
}

const DATA: &[u8] = b"123456789";
const SUM: u32 = 0x091e_01de;

fn order() -> CopyOrder {
    CopyOrder {
        bytes: Some(9),
        digests: vec![Digest::adler32(SUM)],
        stall: Duration::from_millis(200),
        ..CopyOrder::default()
    }
}

#[tokio::test]
async fn a_good_copy() {
    let (source, destination) = (MemoryStore::with(Fault::None, true), MemoryStore::with(Fault::None, true));
    source.put("/f", DATA);
    let order = order();
    let copied = copy_verified(&source.at("/f"), &destination.at("/g"), &order).await.expect("copies");
    assert_eq!((copied.bytes, copied.adler32), (9, SUM));
    assert_eq!(destination.get("/g").as_deref(), Some(DATA));
    assert_eq!(destination.names(), ["/g"]);
    assert_eq!(order.progress.load(std::sync::atomic::Ordering::Relaxed), 9);
    let again = copy_verified(&source.at("/f"), &destination.at("/g"), &order).await.expect_err("exists");
    assert_eq!((again.errno, again.side), (Errno::EEXIST, Some(Side::Destination)));
    let replaced = CopyOrder { overwrite: true, ..order };
    copy_verified(&source.at("/f"), &destination.at("/g"), &replaced).await.expect("replaces");
}

#[tokio::test]
async fn an_empty_file() {
    let (source, destination) = (MemoryStore::with(Fault::None, false), MemoryStore::with(Fault::None, false));
    source.put("/f", b"");
    let copied = copy_verified(&source.at("/f"), &destination.at("/g"), &CopyOrder::default()).await.expect("copies");
    assert_eq!((copied.bytes, copied.adler32), (0, 1));
    let wrong = CopyOrder { digests: vec![Digest::adler32(SUM)], ..CopyOrder::default() };
    let error = copy_verified(&source.at("/f"), &destination.at("/h"), &wrong).await.expect_err("wrong");
    assert_eq!(error.errno, Errno::ECHECKSUM);
    assert_eq!(destination.names(), ["/g"]);
}

#[tokio::test]
async fn faults_of_the_source_leave_nothing() {
    for knows in [true, false] {
        for (fault, errno) in [
            (Fault::Truncates, Errno::ECONN),
            (Fault::Corrupts, Errno::ECHECKSUM),
            (Fault::Breaks, Errno::ECONN),
            (Fault::Stalls, Errno::ETIMEDOUT),
        ] {
            let source = MemoryStore::with(fault, knows);
            source.put("/f", DATA);
            let destination = MemoryStore::with(Fault::None, knows);
            let error = copy_verified(&source.at("/f"), &destination.at("/g"), &order()).await.expect_err("fails");
            assert_eq!(error.errno, errno, "{error}");
            assert_eq!(destination.names(), Vec::<String>::new());
            let seen = destination.ever_seen.lock().expect("lock").clone();
            assert!(seen.iter().all(|(name, _)| name != "/g"), "the final name was visible");

            let temp = tempfile::tempdir().expect("temp");
            let folder = Arc::new(FileStore::open(temp.path()).expect("opens"));
            let place = Location::new(folder, ResourcePath::from_plain("/sub/g").expect("path"), "file");
            let error = copy_verified(&source.at("/f"), &place, &order()).await.expect_err("fails");
            assert_eq!(error.errno, errno, "{error}");
            let sub = temp.path().join("sub");
            assert!(!sub.exists() || std::fs::read_dir(sub).expect("lists").count() == 0);
        }
    }
}

#[tokio::test]
async fn faults_of_the_destination_leave_nothing() {
    for knows in [true, false] {
        for (fault, errno) in [(Fault::StoresWrong, Errno::ECHECKSUM), (Fault::Full, Errno::ENOSPC)] {
            let source = MemoryStore::with(Fault::None, true);
            source.put("/f", DATA);
            let destination = MemoryStore::with(fault, knows);
            let error = copy_verified(&source.at("/f"), &destination.at("/g"), &order()).await.expect_err("fails");
            assert_eq!((error.errno, error.side), (errno, Some(Side::Destination)), "{error}");
            assert_eq!(destination.names(), Vec::<String>::new());
        }
    }
}

#[tokio::test]
async fn what_the_source_says_is_held_against_the_order() {
    let source = MemoryStore::with(Fault::None, true);
    source.put("/f", DATA);
    let destination = MemoryStore::with(Fault::None, true);
    for wrong in [
        CopyOrder { bytes: Some(10), ..CopyOrder::default() },
        CopyOrder { digests: vec![Digest::adler32(7)], ..CopyOrder::default() },
    ] {
        let error = copy_verified(&source.at("/f"), &destination.at("/g"), &wrong).await.expect_err("wrong");
        assert_eq!((error.errno, error.side), (Errno::ECHECKSUM, Some(Side::Source)));
    }
    let error = copy_verified(&source.at("/none"), &destination.at("/g"), &order()).await.expect_err("none");
    assert_eq!((error.errno, error.side), (Errno::ENOENT, Some(Side::Source)));
    assert!(destination.ever_seen.lock().expect("lock").is_empty());
}
