//! What the kernel tells of a folder (inotify).

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;

use super::folder::Folder;

/// Bytes of notices read at once.
const BUFFER: usize = 64 << 10;

/// One thing that happened in the folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Closed after writing, or moved in.
    Completed(String),
    Written(String),
    /// There is a new name, perhaps a hard link to a whole file.
    Created(String),
    Gone(String),
    /// Notices were lost: only a look at everything helps.
    Lost,
    /// The folder itself was moved, removed or unmounted.
    FolderGone,
}

/// The kernel's notices of one folder.
pub struct Notices {
    queue: AsyncFd<OwnedFd>,
}

impl Notices {
    pub fn of(folder: &Folder, path: &Path) -> std::io::Result<Notices> {
        let queue = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        let wanted = WatchFlags::CLOSE_WRITE
            | WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MODIFY
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR
            | WatchFlags::EXCL_UNLINK;
        // Through the open handle, so that it is this folder and no other that took its name in between.
        if inotify::add_watch(&queue, folder.proc_path(), wanted).is_err() {
            inotify::add_watch(&queue, path, wanted)?;
        }
        #[expect(
            deprecated,
            reason = "an OwnedFd keeps what the newer, unsafe constructor demands; unsafe is forbidden here"
        )]
        let queue = AsyncFd::new(queue)?;
        Ok(Notices { queue })
    }

    /// Waits for the next notices. Safe to drop while waiting.
    pub async fn next(&self) -> std::io::Result<Vec<Notice>> {
        loop {
            let mut ready = self.queue.readable().await?;
            let notices = ready.try_io(|queue| read_all(queue.get_ref()));
            match notices {
                Ok(notices) => return notices,
                Err(_would_block) => {}
            }
        }
    }
}

fn read_all(queue: &OwnedFd) -> std::io::Result<Vec<Notice>> {
    let mut buffer = vec![MaybeUninit::uninit(); BUFFER];
    let mut reader = Reader::new(queue, &mut buffer);
    let mut notices = Vec::new();
    loop {
        match reader.next() {
            Ok(event) => {
                let name = event.file_name().map(|name| name.to_str().map(str::to_owned));
                match (translate(event.events()), name) {
                    (Some(Told::OfFolder(notice)), _) => notices.push(notice),
                    (Some(Told::OfName(notice)), Some(Ok(name))) => notices.push(notice(name)),
                    _ => {}
                }
                if reader.is_buffer_empty() {
                    return Ok(notices);
                }
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

enum Told {
    OfFolder(Notice),
    OfName(fn(String) -> Notice),
}

fn translate(flags: ReadFlags) -> Option<Told> {
    let has = |flag: ReadFlags| flags.contains(flag);
    if has(ReadFlags::QUEUE_OVERFLOW) {
        return Some(Told::OfFolder(Notice::Lost));
    }
    if flags.intersects(ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::UNMOUNT | ReadFlags::IGNORED) {
        return Some(Told::OfFolder(Notice::FolderGone));
    }
    if has(ReadFlags::ISDIR) {
        return None;
    }
    if flags.intersects(ReadFlags::CLOSE_WRITE | ReadFlags::MOVED_TO) {
        return Some(Told::OfName(Notice::Completed));
    }
    if has(ReadFlags::MODIFY) {
        return Some(Told::OfName(Notice::Written));
    }
    if has(ReadFlags::CREATE) {
        return Some(Told::OfName(Notice::Created));
    }
    flags.intersects(ReadFlags::DELETE | ReadFlags::MOVED_FROM).then_some(Told::OfName(Notice::Gone))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[tokio::test]
    async fn a_file_is_complete_when_it_is_closed() {
        let place = tempfile::tempdir().expect("a folder");
        let notices = Notices::of(&Folder::open(place.path()).expect("opened"), place.path()).expect("watched");
        let mut file = std::fs::File::create(place.path().join("a")).expect("made");
        file.write_all(b"x").expect("written");
        let told = notices.next().await.expect("told");
        assert_eq!(told, [Notice::Created("a".into()), Notice::Written("a".into())]);
        drop(file);
        assert_eq!(notices.next().await.expect("told"), [Notice::Completed("a".into())]);
        std::fs::remove_dir_all(place.path()).expect("removed");
        let told = notices.next().await.expect("told");
        assert!(told.contains(&Notice::FolderGone), "{told:?}");
    }
}
