//! Downloads that break off, by this process or an earlier one, and what becomes of them.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use dte_protocol_webdav::digest::{Algorithm, Digest};
use dte_protocol_webdav::path::ResourcePath;
use dte_protocol_webdav::range::ByteRange;
use dte_storage::byte_store::Answer;
use dte_storage::file::FileStore;
use dte_storage::{ByteStore, Content, CopyOrder, Entry, Errno, Error, Location, Reading, Stat, Written, fetch};
use futures_util::{StreamExt as _, stream};

const PIECE: usize = 10_000;

/// A folder whose reads break off after one piece, so many times.
struct Flaky {
    inner: FileStore,
    faults: AtomicUsize,
    says: Option<Digest>,
    asked: Mutex<Vec<u64>>,
    /// Gets this many bytes when the second try begins.
    meddled: Option<(PathBuf, u64)>,
}

impl ByteStore for Flaky {
    fn stat<'a>(&'a self, path: &'a ResourcePath) -> Answer<'a, Stat> {
        self.inner.stat(path)
    }
    fn list<'a>(&'a self, path: &'a ResourcePath) -> Answer<'a, Vec<Entry>> {
        self.inner.list(path)
    }
    fn read<'a>(&'a self, path: &'a ResourcePath, range: Option<ByteRange>) -> Answer<'a, Reading> {
        Box::pin(async move {
            self.asked.lock().expect("lock").push(range.map_or(0, |range| range.first));
            if let (Some((folder, bytes)), Some(_)) = (&self.meddled, range) {
                let [part] = names(folder).try_into().expect("one part");
                let part = std::fs::OpenOptions::new().write(true).open(folder.join(part)).expect("opens");
                part.set_len(*bytes).expect("gets longer");
            }
            let mut reading = self.inner.read(path, range).await?;
            let mut whole = Vec::new();
            while let Some(piece) = reading.stream.next().await {
                whole.extend_from_slice(&piece?);
            }
            let breaks = self.faults.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok();
            let mut pieces: Vec<Result<Bytes, Error>> =
                whole.chunks(PIECE).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
            if breaks {
                pieces.truncate(1);
                pieces.push(Err(Error::new(Errno::ECONN, "the answer broke off")));
            }
            reading.stream = stream::iter(pieces).boxed();
            Ok(reading)
        })
    }
    fn write<'a>(&'a self, path: &'a ResourcePath, content: Content) -> Answer<'a, Written> {
        self.inner.write(path, content)
    }
    fn rename<'a>(&'a self, from: &'a ResourcePath, to: &'a ResourcePath, overwrite: bool) -> Answer<'a, ()> {
        self.inner.rename(from, to, overwrite)
    }
    fn delete<'a>(&'a self, path: &'a ResourcePath) -> Answer<'a, ()> {
        self.inner.delete(path)
    }
    fn make_folder<'a>(&'a self, path: &'a ResourcePath) -> Answer<'a, ()> {
        self.inner.make_folder(path)
    }
    fn checksum<'a>(&'a self, _: &'a ResourcePath, _: Algorithm) -> Answer<'a, Option<Digest>> {
        Box::pin(async { Ok(self.says.clone()) })
    }
    fn writes_atomically(&self) -> bool {
        true
    }
}

struct Bench {
    folder: tempfile::TempDir,
    data: Vec<u8>,
    store: Arc<Flaky>,
}

impl Bench {
    fn new(faults: usize, says: Option<Digest>) -> Bench {
        let folder = tempfile::tempdir().expect("temp");
        for name in ["there", "here"] {
            std::fs::create_dir(folder.path().join(name)).expect("folder");
        }
        let data: Vec<u8> = (0..95_000_u32).map(|n| n.to_le_bytes()[1]).collect();
        std::fs::write(folder.path().join("there/f"), &data).expect("writes");
        let inner = FileStore::open(&folder.path().join("there")).expect("opens");
        let store = Flaky { inner, faults: AtomicUsize::new(faults), says, asked: Mutex::default(), meddled: None };
        Bench { folder, data, store: Arc::new(store) }
    }

    fn source(&self) -> Location {
        Location::new(self.store.clone(), ResourcePath::from_plain("/f").expect("a path"), "there/f")
    }

    async fn fetch(&self, order: &CopyOrder) -> Result<u64, Error> {
        fetch(&self.source(), &self.folder.path().join("here/f"), order).await.map(|copied| copied.bytes)
    }

    fn here(&self) -> Vec<String> {
        names(&self.folder.path().join("here"))
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("lists");
    entries.map(|entry| entry.expect("entry").file_name().into_string().expect("text")).collect()
}

#[tokio::test]
async fn it_goes_on_where_it_broke_off() {
    let bench = Bench::new(3, None);
    assert_eq!(bench.fetch(&CopyOrder::default()).await, Ok(95_000));
    assert_eq!(*bench.store.asked.lock().expect("lock"), [0, 10_000, 20_000, 30_000]);
    assert_eq!(std::fs::read(bench.folder.path().join("here/f")).expect("reads"), bench.data);
    assert_eq!(bench.here(), ["f"]);
    let again = bench.fetch(&CopyOrder::default()).await.expect_err("exists");
    assert_eq!(again.errno, Errno::EEXIST);
    let order = CopyOrder { overwrite: true, ..CopyOrder::default() };
    assert_eq!(bench.fetch(&order).await, Ok(95_000));
}

#[tokio::test]
async fn a_later_call_takes_up_what_an_earlier_one_left() {
    let bench = Bench::new(1, None);
    let target = bench.folder.path().join("here/f");
    let (source, order) = (bench.source(), CopyOrder::default());
    tokio::select! {
        biased;
        _ = fetch(&source, &target, &order) => panic!("it ends"),
        () = part_of(&bench, PIECE as u64) => {}
    }
    bench.store.asked.lock().expect("lock").clear();
    assert_eq!(bench.fetch(&order).await, Ok(95_000));
    assert_eq!(*bench.store.asked.lock().expect("lock"), [10_000]);
    assert_eq!(std::fs::read(&target).expect("reads"), bench.data);
    assert_eq!(bench.here(), ["f"]);
}

/// Waits until a part of this length is on disk.
async fn part_of(bench: &Bench, bytes: u64) {
    loop {
        let folder = bench.folder.path().join("here");
        for name in bench.here() {
            if std::fs::metadata(folder.join(&name)).is_ok_and(|meta| meta.len() == bytes) {
                return;
            }
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_rest_that_is_wrong_is_fetched_anew() {
    let data: Vec<u8> = (0..95_000_u32).map(|n| n.to_le_bytes()[1]).collect();
    let right = Digest::adler32(dte_storage::checksum::adler32(&data));
    let bench = Bench::new(1, Some(right));
    let (source, order, target) = (bench.source(), CopyOrder::default(), bench.folder.path().join("here/f"));
    tokio::select! {
        biased;
        _ = fetch(&source, &target, &order) => panic!("it ends"),
        () = part_of(&bench, PIECE as u64) => {}
    }
    let [part] = bench.here().try_into().expect("one part");
    std::fs::write(bench.folder.path().join("here").join(part), vec![7; 20_000]).expect("writes");
    assert_eq!(bench.fetch(&order).await, Ok(95_000));
    assert_eq!(std::fs::read(&target).expect("reads"), data);
}

#[tokio::test]
async fn what_is_wrong_does_not_stay() {
    let bench = Bench::new(0, Some(Digest::adler32(1)));
    assert_eq!(bench.fetch(&CopyOrder::default()).await.expect_err("wrong").errno, Errno::ECHECKSUM);
    assert_eq!(bench.here(), Vec::<String>::new());
    let bench = Bench::new(usize::MAX, None);
    let order = CopyOrder { bytes: Some(1), ..CopyOrder::default() };
    assert_eq!(bench.fetch(&order).await.expect_err("another length").errno, Errno::ECHECKSUM);
    std::fs::remove_file(bench.folder.path().join("there/f")).expect("removes");
    assert_eq!(bench.fetch(&CopyOrder::default()).await.expect_err("gone").errno, Errno::ENOENT);
    assert_eq!(bench.here(), Vec::<String>::new());
}

#[tokio::test]
async fn what_is_not_what_came_gets_no_name() {
    let mut bench = Bench::new(1, None);
    let here = bench.folder.path().join("here");
    Arc::get_mut(&mut bench.store).expect("one").meddled = Some((here.clone(), 200_000));
    let error = bench.fetch(&CopyOrder::default()).await.expect_err("it is longer");
    assert_eq!((error.errno, error.side), (Errno::EIO, Some(dte_storage::Side::Destination)), "{error}");
    assert!(!here.join("f").exists());
    Arc::get_mut(&mut bench.store).expect("one").meddled = None;
    assert_eq!(bench.fetch(&CopyOrder::default()).await, Ok(95_000));
    assert_eq!(std::fs::read(here.join("f")).expect("reads"), bench.data);
}
