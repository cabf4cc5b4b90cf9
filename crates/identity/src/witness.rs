//! A witness of the audit chain outside its table: how far it reached and what stood there, sealed, in the data directory.
//! Whoever can write to the database can cut the chain's end off and put an older end back; not here as well.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::vault::AuditKey;

/// The file's name in the data directory.
pub(crate) const FILE: &str = "audit.head";

/// The end of the chain as it was once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) seq: i64,
    pub(crate) link: Vec<u8>,
}

impl Head {
    /// Writes it, whole or not at all.
    pub(crate) fn write(&self, key: &AuditKey, data_dir: &Path) -> std::io::Result<()> {
        let path = data_dir.join(FILE);
        let draft = data_dir.join(format!(".{FILE}.new"));
        let seal = key.seal_end(self.seq, &self.link);
        let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        writeln!(file, "{} {} {}", self.seq, hex::encode(&self.link), hex::encode(seal))?;
        file.sync_all()?;
        std::fs::rename(&draft, &path)
    }

    /// Reads it. `Ok(None)` when there is none; an error when it is not ours.
    pub(crate) fn read(key: &AuditKey, data_dir: &Path) -> Result<Option<Self>, String> {
        let path: PathBuf = data_dir.join(FILE);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("{}: {error}", path.display())),
        };
        let wrong = || format!("{} was altered", path.display());
        let mut parts = text.split_whitespace();
        let (Some(seq), Some(link), Some(seal), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            return Err(wrong());
        };
        let head = Head { seq: seq.parse().map_err(|_| wrong())?, link: hex::decode(link).map_err(|_| wrong())? };
        let seal = hex::decode(seal).map_err(|_| wrong())?;
        if key.is_end(head.seq, &head.link, &seal) { Ok(Some(head)) } else { Err(wrong()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::Vault;

    #[test]
    fn written_read_and_altered() {
        let folder = tempfile::tempdir().expect("a folder");
        let vault = Vault::from_master(&[1; 32]);
        let key = vault.audit_key();
        assert_eq!(Head::read(key, folder.path()), Ok(None));
        let head = Head { seq: 7, link: vec![1, 2, 3] };
        head.write(key, folder.path()).expect("written");
        assert_eq!(Head::read(key, folder.path()), Ok(Some(head)));
        assert!(Head::read(Vault::from_master(&[2; 32]).audit_key(), folder.path()).is_err());
        let path = folder.path().join(FILE);
        let text = std::fs::read_to_string(&path).expect("read");
        for altered in [text.replacen('7', "6", 1), String::new(), format!("{text} x"), "a b c".to_owned()] {
            std::fs::write(&path, altered).expect("written");
            assert!(Head::read(key, folder.path()).is_err());
        }
    }
}
