//! Bringing a pod's inputs to a far site, and its outputs from there.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use uuid::Uuid;

use super::site::Inner;
use crate::place::{FileEntry, Order, PlaceError, Reply, unexpected};

const PIECE: u64 = 4 << 20;

impl Inner {
    pub(super) async fn send_inputs(&self, uid: Uuid) -> Result<(), PlaceError> {
        let root = self.index.inputs(uid);
        let failed = || PlaceError::failed(format!("the inputs of pod {uid}"));
        for path in files(&root).map_err(failed())? {
            let mut file = File::open(root.join(&path)).map_err(failed())?;
            let mode = file.metadata().map_err(failed())?.permissions().mode() & 0o777;
            let mut offset = 0;
            loop {
                let mut piece = Vec::new();
                (&mut file).take(PIECE).read_to_end(&mut piece).map_err(failed())?;
                let length = piece.len() as u64;
                if length > 0 || offset == 0 {
                    let order = Order::Put { uid, path: path.clone(), offset, mode };
                    self.place.ask(order, piece).await?;
                }
                offset += length;
                if length < PIECE {
                    break;
                }
            }
        }
        Ok(())
    }

    pub(super) async fn fetch_outputs(&self, uid: Uuid) -> Result<(), PlaceError> {
        let files = match self.place.ask(Order::Outputs { uid }, Vec::new()).await? {
            (Reply::Files(files), _) => files,
            (other, _) => return Err(unexpected(&other)),
        };
        let root = self.index.outputs(uid);
        for file in files {
            self.fetch(uid, &root, &file).await?;
        }
        Ok(())
    }

    async fn fetch(&self, uid: Uuid, root: &Path, file: &FileEntry) -> Result<(), PlaceError> {
        let failed = || PlaceError::failed(format!("output {} of pod {uid}", file.path.display()));
        // The far side was told to list files beneath a folder; what it answers is checked here too.
        if !file.path.components().all(|part| matches!(part, Component::Normal(_))) {
            return Err(failed()(io::Error::other("its path leaves the folder of outputs")));
        }
        let target = root.join(&file.path);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).map_err(failed())?;
        }
        let mode = file.mode & 0o777;
        let mut out =
            OpenOptions::new().create(true).write(true).truncate(true).mode(mode).open(&target).map_err(failed())?;
        let mut offset = 0;
        while offset < file.bytes {
            let limit = PIECE.min(file.bytes - offset);
            let piece = self.place.bytes(Order::Get { uid, path: file.path.clone(), offset, limit }).await?;
            if piece.is_empty() {
                return Err(failed()(io::Error::other("it has become shorter")));
            }
            out.seek(SeekFrom::Start(offset)).and_then(|_| out.write_all(&piece)).map_err(failed())?;
            offset += piece.len() as u64;
        }
        Ok(())
    }
}

/// Files beneath `root`, by their paths beneath it.
pub(crate) fn files(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![PathBuf::new()];
    while let Some(beneath) = open.pop() {
        for entry in fs::read_dir(root.join(&beneath))? {
            let entry = entry?;
            let path = beneath.join(entry.file_name());
            // A staged input may be a link into the cache.
            if fs::metadata(entry.path())?.is_dir() { open.push(path) } else { found.push(path) }
        }
    }
    Ok(found)
}
