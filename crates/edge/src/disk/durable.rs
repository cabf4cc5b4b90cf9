//! Making folder entries durable, many at a time: whoever comes while a folder is being synced shares the next sync.

use std::collections::HashMap;

use dte_protocol_webdav::path::ResourcePath;
use dte_storage::beneath::Root;
use parking_lot::{Condvar, Mutex};
use rustix::io::Errno;

/// The state of one folder: tickets are drawn and syncs serve all tickets drawn before they began.
#[derive(Default)]
struct Line {
    drawn: u64,
    served: u64,
    is_syncing: bool,
    /// The last failure and the ticket up to which it counts.
    failed: Option<(u64, Errno)>,
    waiting: usize,
}

/// Groups the syncs of an area's folders.
#[derive(Default)]
pub struct FolderSync {
    lines: Mutex<HashMap<ResourcePath, Line>>,
    served: Condvar,
}

impl FolderSync {
    /// Returns when all that happened in `folder` before the call is on disk.
    pub fn sync(&self, root: &Root, folder: &ResourcePath) -> Result<(), Errno> {
        let mut lines = self.lines.lock();
        let line = lines.entry(folder.clone()).or_default();
        line.drawn += 1;
        line.waiting += 1;
        let ticket = line.drawn;
        let outcome = loop {
            let line = lines.entry(folder.clone()).or_default();
            if line.served >= ticket {
                break match line.failed {
                    Some((up_to, error)) if up_to >= ticket => Err(error),
                    _ => Ok(()),
                };
            }
            if line.is_syncing {
                self.served.wait(&mut lines);
                continue;
            }
            line.is_syncing = true;
            let covers = line.drawn;
            drop(lines);
            let outcome = match root.sync_folder(folder) {
                // The folder is gone, and with it whatever was to be kept in it.
                Err(Errno::NOENT) => Ok(()),
                other => other,
            };
            lines = self.lines.lock();
            let line = lines.entry(folder.clone()).or_default();
            line.is_syncing = false;
            line.served = covers;
            if let Err(error) = outcome {
                line.failed = Some((covers, error));
            }
            self.served.notify_all();
        };
        if let Some(line) = lines.get_mut(folder) {
            line.waiting -= 1;
            if line.waiting == 0 && !line.is_syncing {
                lines.remove(folder);
            }
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dte_storage::beneath::Links;

    #[test]
    fn many_at_once() {
        let temp = tempfile::tempdir().expect("temp");
        let root = Root::open(temp.path(), Links::Refused).expect("opens");
        root.make_folders(&ResourcePath::from_plain("/a").expect("path")).expect("makes");
        let sync = FolderSync::default();
        std::thread::scope(|scope| {
            for turn in 0..16 {
                let (sync, root) = (&sync, &root);
                scope.spawn(move || {
                    let name = if turn % 4 == 0 { "/gone" } else { "/a" };
                    for _ in 0..20 {
                        sync.sync(root, &ResourcePath::from_plain(name).expect("path")).expect("syncs");
                    }
                });
            }
        });
        assert!(sync.lines.lock().is_empty());
    }
}
