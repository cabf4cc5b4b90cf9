//! A Unix socket that lets in certain users of this machine: the kernel says who is at the other end.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::Router;
use dte_base::tasks::Tasks;
use tokio::net::{UnixListener, UnixStream};

/// The longest path that a socket address holds is 107 bytes; longer ones go through `/proc/self/fd`.
const LONGEST_PATH: usize = 100;
/// Pause after the kernel refused a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A socket's path that fits into an address; its folder is held open as long as the address is used.
pub struct Reachable {
    pub path: PathBuf,
    _folder: Option<File>,
}

/// The address of the socket at `path`, however long that is.
pub fn reachable(path: &Path) -> io::Result<Reachable> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::other(format!("{} is not the path of a socket", path.display())));
    };
    if path.as_os_str().len() <= LONGEST_PATH {
        return Ok(Reachable { path: path.to_path_buf(), _folder: None });
    }
    let folder = File::open(folder)?;
    let path = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name);
    Ok(Reachable { path, _folder: Some(folder) })
}

/// A bound socket and who may come in.
pub struct UnixDoor {
    listener: UnixListener,
    path: PathBuf,
    /// Of the socket that we made: a later engine's of the same name is another.
    inode: u64,
    uids: Vec<u32>,
    /// What it is called in the log.
    what: &'static str,
}

impl UnixDoor {
    /// Binds the socket, in place of one that a dead process left. `mode` says who may knock, `uids` who is let in.
    pub fn bind(path: &Path, mode: u32, uids: Vec<u32>, what: &'static str) -> io::Result<UnixDoor> {
        match fs::symlink_metadata(path) {
            Ok(found) if found.file_type().is_socket() => fs::remove_file(path)?,
            Ok(_) => return Err(io::Error::other("there is something else than a socket")),
            Err(_) => {}
        }
        let listener = UnixListener::bind(&reachable(path)?.path)?;
        fs::set_permissions(path, Permissions::from_mode(mode))?;
        let inode = fs::symlink_metadata(path)?.ino();
        Ok(UnixDoor { listener, path: path.to_path_buf(), inode, uids, what })
    }

    /// Serves whoever is let in until the engine stops, and removes the socket then.
    pub async fn serve(self, router: Router, tasks: Tasks) {
        let (path, inode, what) = (self.path.clone(), self.inode, self.what);
        let serving = axum::serve(self, router).with_graceful_shutdown(async move { tasks.stopping().await });
        if let Err(error) = serving.await {
            tracing::error!(%error, "the {what} failed");
        }
        if fs::symlink_metadata(&path).is_ok_and(|found| found.ino() == inode)
            && let Err(error) = fs::remove_file(&path)
        {
            tracing::warn!(%error, "the {what} cannot be removed");
        }
    }
}

impl axum::serve::Listener for UnixDoor {
    type Io = UnixStream;
    type Addr = ();

    async fn accept(&mut self) -> (UnixStream, ()) {
        let what = self.what;
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => match stream.peer_cred() {
                    Ok(peer) if self.uids.contains(&peer.uid()) => return (stream, ()),
                    Ok(peer) => tracing::warn!(uid = peer.uid(), "a user who may not came to the {what}"),
                    Err(error) => tracing::warn!(%error, "nobody knows who came to the {what}"),
                },
                Err(error) => {
                    tracing::warn!(%error, "a connection to the {what} failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn ask(path: &Path) -> String {
        let address = reachable(path).expect("an address");
        let mut stream = UnixStream::connect(&address.path).await.expect("connected");
        // Who is not let in finds the line closed, perhaps before the request is written.
        drop(stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await);
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer).await);
        String::from_utf8_lossy(&answer).into_owned()
    }

    #[tokio::test]
    async fn lets_in_who_is_listed_and_leaves_nothing() {
        let place = tempfile::tempdir().expect("a folder");
        let deep = place.path().join("a".repeat(90));
        fs::create_dir(&deep).expect("a folder");
        let own = fs::metadata(&deep).expect("there").uid();
        for (uids, is_let_in) in [(vec![own], true), (vec![own + 1], false), (Vec::new(), false)] {
            let path = deep.join("socket");
            let door = UnixDoor::bind(&path, 0o600, uids, "test socket").expect("bound");
            assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
            let tasks = Tasks::new();
            let inside = tasks.clone();
            let router = Router::new().route("/", get(|| async { "welcome" }));
            tasks.spawn("door", async move { door.serve(router, inside).await });
            assert_eq!(ask(&path).await.ends_with("welcome"), is_let_in);
            assert!(tasks.stop_and_wait(Duration::from_secs(5)).await);
            assert!(!path.exists());
        }
        let file = deep.join("file");
        fs::write(&file, "").expect("a file");
        assert!(UnixDoor::bind(&file, 0o600, Vec::new(), "test socket").is_err());
    }
}
