//! The storage of an engine that gives its own user a token for each while: copies may take longer than a token lives.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use dte_protocol_webdav::digest::{Algorithm, Digest};
use dte_protocol_webdav::path::ResourcePath;
use dte_protocol_webdav::range::ByteRange;
use dte_storage::byte_store::Answer;
use dte_storage::{ByteStore, Content, Entry, Error, Reading, Stat, Written};
use futures_util::future::BoxFuture;
use tokio::sync::Mutex;

/// A token is asked for anew after this time. That costs one look at a socket of this machine.
pub const YOUNG: Duration = Duration::from_secs(60);

/// Gives the same storage with a new token.
pub type Maker = Box<dyn Fn() -> BoxFuture<'static, Result<Arc<dyn ByteStore>, Error>> + Send + Sync>;

/// A storage whose every operation begins with a token that is young enough.
pub struct Renewed {
    make: Maker,
    young: Duration,
    held: Mutex<(Arc<dyn ByteStore>, SystemTime)>,
    writes_atomically: bool,
}

impl Renewed {
    /// `first` has a token that was asked for just now.
    pub fn new(first: Arc<dyn ByteStore>, young: Duration, make: Maker) -> Renewed {
        let writes_atomically = first.writes_atomically();
        Renewed { make, young, held: Mutex::new((first, SystemTime::now())), writes_atomically }
    }

    async fn store(&self) -> Result<Arc<dyn ByteStore>, Error> {
        let mut held = self.held.lock().await;
        // By the clock on the wall, which goes on while the machine sleeps.
        if !held.1.elapsed().is_ok_and(|age| age < self.young) {
            *held = ((self.make)().await?, SystemTime::now());
        }
        Ok(held.0.clone())
    }
}

impl ByteStore for Renewed {
    fn stat<'a>(&'a self, path: &'a ResourcePath) -> Answer<'a, Stat> {
        Box::pin(async move { self.store().await?.stat(path).await })
    }

    fn list<'a>(&'a self, path: &'a ResourcePath) -> Answer<'a, Vec<Entry>> {
        Box::pin(async move { self.store().await?.list(path).await })
    }

    fn read<'a>(&'a self, path: &'a ResourcePath, range: Option<ByteRange>) -> Answer<'a, Reading> {
        Box::pin(async move { self.store().await?.read(path, range).await })
    }

    fn write<'a>(&'a self, path: &'a ResourcePath, content: Content) -> Answer<'a, Written> {
        Box::pin(async move { self.store().await?.write(path, content).await })
    }

    fn rename<'a>(&'a self, from: &'a ResourcePath, to: &'a ResourcePath, overwrite: bool) -> Answer<'a, ()> {
        Box::pin(async move { self.store().await?.rename(from, to, overwrite).await })
    }

    fn delete<'a>(&'a self, path: &'a ResourcePath) -> Answer<'a, ()> {
        Box::pin(async move { self.store().await?.delete(path).await })
    }

    fn make_folder<'a>(&'a self, path: &'a ResourcePath) -> Answer<'a, ()> {
        Box::pin(async move { self.store().await?.make_folder(path).await })
    }

    fn checksum<'a>(&'a self, path: &'a ResourcePath, algorithm: Algorithm) -> Answer<'a, Option<Digest>> {
        Box::pin(async move { self.store().await?.checksum(path, algorithm).await })
    }

    fn writes_atomically(&self) -> bool {
        self.writes_atomically
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use dte_storage::file::FileStore;

    use super::*;

    #[tokio::test]
    async fn a_token_is_asked_for_when_the_last_is_old() {
        for (young, expected) in [(Duration::ZERO, 2), (Duration::from_secs(3600), 0)] {
            let folder = tempfile::tempdir().expect("temp");
            let path = folder.path().to_owned();
            let made = Arc::new(AtomicUsize::new(0));
            let count = made.clone();
            let make: Maker = Box::new(move || {
                count.fetch_add(1, Ordering::SeqCst);
                let store = FileStore::open(&path).map(|store| Arc::new(store) as Arc<dyn ByteStore>);
                Box::pin(async { store })
            });
            let store = Renewed::new(Arc::new(FileStore::open(folder.path()).expect("opens")), young, make);
            assert!(store.stat(&ResourcePath::root()).await.expect("is there").is_folder);
            assert!(store.list(&ResourcePath::root()).await.expect("lists").is_empty());
            assert_eq!(made.load(Ordering::SeqCst), expected);
        }
    }
}
