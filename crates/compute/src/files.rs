//! What sites note of pods in folders of their own: only the engine's account gets in, and a note is there as a whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

/// Makes a folder and those above it that are not there.
pub fn private_folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Whether a note survives the death of the machine, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durable {
    Yes,
    No,
}

/// Writes a note in place of an older one: a draft first, then renamed.
pub fn write_note(folder: &Path, name: &str, value: &impl Serialize, durable: Durable) -> io::Result<()> {
    let draft = folder.join(format!(".{name}-{}", Uuid::now_v7()));
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&draft)?;
    file.write_all(&serde_json::to_vec(value)?)?;
    if durable == Durable::Yes {
        file.sync_all()?;
    }
    fs::rename(&draft, folder.join(name))?;
    if durable == Durable::Yes {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// Reads a note; `None`: there is none.
pub fn read_note<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn notes_are_whole_and_private() {
        let place = tempfile::tempdir().expect("a folder");
        let folder = place.path().join("a/b");
        private_folder(&folder).expect("made");
        private_folder(&folder).expect("there already");
        let path = folder.join("n.json");
        assert_eq!(read_note::<u32>(&path).expect("none"), None);
        for (value, durable) in [(1, Durable::Yes), (2, Durable::No)] {
            write_note(&folder, "n.json", &value, durable).expect("written");
            assert_eq!(read_note::<u32>(&path).expect("read"), Some(value));
        }
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(&folder).expect("a folder").count(), 1, "no draft stays");
        fs::write(&path, "{").expect("damaged");
        assert!(read_note::<u32>(&path).is_err());
    }
}
