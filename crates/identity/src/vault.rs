//! What is encrypted at rest, and the one key that opens it.
//!
//! The key is 32 random bytes: `DTE_SECRET_KEY` (hex), else `[identity] secret_key_file`, else `secret.key` in the data
//! directory, which is made at first start with mode 0600. From it come separate keys for each use.

use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use dte_base::time::Timestamp;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::config::IdentityConfig;
use crate::context::OpenError;

/// Takes the place of the key file.
pub const KEY_VARIABLE: &str = "DTE_SECRET_KEY";
/// The key file in the data directory.
pub const KEY_FILE: &str = "secret.key";
const NONCE: usize = 24;

/// Seals and opens; makes keyed hashes.
#[derive(Clone)]
pub(crate) struct Vault {
    cipher: XChaCha20Poly1305,
    secrets: [u8; 32],
    audit: AuditKey,
    /// Tells a wrong key from a right one without opening anything.
    pub(crate) check: [u8; 32],
}

/// The key of the audit chain.
#[derive(Clone)]
pub(crate) struct AuditKey([u8; 32]);

impl Vault {
    pub(crate) fn open(config: &IdentityConfig, data_dir: &Path) -> Result<Self, OpenError> {
        let master = match std::env::var(KEY_VARIABLE) {
            Ok(text) => {
                decode(&text).ok_or_else(|| OpenError::other(format!("{KEY_VARIABLE} must be 64 hex digits")))?
            }
            Err(_) => {
                let default = data_dir.join(KEY_FILE);
                let path = config.secret_key_file.as_deref().unwrap_or(&default);
                read_or_make(path)?
            }
        };
        Ok(Vault::from_master(&master))
    }

    pub(crate) fn from_master(master: &[u8; 32]) -> Self {
        let sealing = keyed_hash(master, b"dte sealing");
        Vault {
            cipher: XChaCha20Poly1305::new(&sealing.into()),
            secrets: keyed_hash(master, b"dte generated secrets"),
            audit: AuditKey(keyed_hash(master, b"dte audit chain")),
            check: keyed_hash(master, b"dte key check"),
        }
    }

    /// Encrypts `content`; it opens again only under the same `name`.
    pub(crate) fn seal(&self, name: &str, content: &[u8]) -> Result<Vec<u8>, OpenError> {
        let nonce: [u8; NONCE] = rand::random();
        let payload = Payload { msg: content, aad: name.as_bytes() };
        let sealed = self
            .cipher
            .encrypt(XNonce::from_slice(&nonce), payload)
            .map_err(|_| OpenError::other("a secret cannot be encrypted"))?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    pub(crate) fn unseal(&self, name: &str, sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
        let cannot = || {
            OpenError::other(format!("{name} cannot be decrypted: the secret key is not the one it was stored with"))
        };
        let (nonce, sealed) = sealed.split_at_checked(NONCE).ok_or_else(cannot)?;
        let payload = Payload { msg: sealed, aad: name.as_bytes() };
        self.cipher.decrypt(XNonce::from_slice(nonce), payload).map_err(|_| cannot())
    }

    /// The hash under which a generated secret of 128 bits or more is stored.
    pub(crate) fn hash_secret(&self, secret: &str) -> Vec<u8> {
        keyed_hash(&self.secrets, secret.as_bytes()).to_vec()
    }

    pub(crate) fn audit_key(&self) -> &AuditKey {
        &self.audit
    }
}

impl crate::Identity {
    /// Encrypts what a service must keep but nobody may find on the disk, for example the signing secret of a webhook. It
    /// opens again only under the same `name`.
    pub fn seal(&self, name: &str, content: &[u8]) -> Result<Vec<u8>, OpenError> {
        self.0.vault.seal(name, content)
    }

    /// The content that was sealed under `name`.
    pub fn unseal(&self, name: &str, sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
        self.0.vault.unseal(name, sealed)
    }
}

impl AuditKey {
    /// The link of a record: over the link before it and all that it says. The salt makes that nobody, with the key or
    /// without, can try out what a record said once its salt is destroyed. Records of older engines have none.
    pub(crate) fn link(&self, before: &[u8], seq: i64, at: Timestamp, body: &str, salt: Option<&[u8]>) -> Vec<u8> {
        let text = record_text(before, seq, at, body);
        match salt {
            Some(salt) => keyed_hash(&keyed_hash(&self.0, &[b"salt of a record".as_slice(), salt].concat()), &text),
            None => keyed_hash(&self.0, &text),
        }
        .to_vec()
    }

    /// Seals what stands in the place of an erased record. The link of what it said stays, so that the chain holds.
    pub(crate) fn seal_erased(&self, before: &[u8], seq: i64, at: Timestamp, body: &str, link: &[u8]) -> Vec<u8> {
        let mut text = b"erased record".to_vec();
        text.extend_from_slice(link);
        text.extend_from_slice(&record_text(before, seq, at, body));
        keyed_hash(&self.0, &text).to_vec()
    }

    /// Seals the end of the chain: the number of its last record and that record's link.
    pub(crate) fn seal_end(&self, seq: i64, link: &[u8]) -> Vec<u8> {
        let mut text = b"end of the chain".to_vec();
        text.extend_from_slice(&seq.to_be_bytes());
        text.extend_from_slice(link);
        keyed_hash(&self.0, &text).to_vec()
    }

    /// Whether `seal` is ours.
    pub(crate) fn is_end(&self, seq: i64, link: &[u8], seal: &[u8]) -> bool {
        self.seal_end(seq, link).ct_eq(seal).into()
    }
}

fn record_text(before: &[u8], seq: i64, at: Timestamp, body: &str) -> Vec<u8> {
    let mut text = Vec::with_capacity(before.len() + body.len() + 16);
    text.extend_from_slice(before);
    text.extend_from_slice(&seq.to_be_bytes());
    text.extend_from_slice(&at.as_micros().to_be_bytes());
    text.extend_from_slice(body.as_bytes());
    text
}

fn keyed_hash(key: &[u8; 32], text: &[u8]) -> [u8; 32] {
    let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(key).unwrap_or_else(|_| unreachable!("HMAC takes any key"));
    mac.update(text);
    mac.finalize().into_bytes().into()
}

fn decode(text: &str) -> Option<[u8; 32]> {
    hex::decode(text.trim()).ok()?.try_into().ok()
}

fn read_or_make(path: &Path) -> Result<[u8; 32], OpenError> {
    let at = |path: &Path| OpenError::at(PathBuf::from(path));
    match std::fs::metadata(path) {
        Ok(found) if found.permissions().mode() & 0o077 != 0 => {
            Err(OpenError::other(format!("{} may be read by others; chmod 600 it", path.display())))
        }
        Ok(_) => {
            let text = std::fs::read_to_string(path).map_err(at(path))?;
            decode(&text).ok_or_else(|| OpenError::other(format!("{} must hold 64 hex digits", path.display())))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let master: [u8; 32] = rand::random();
            match write_new(path, &hex::encode(master)) {
                // Another process of the same engine was faster.
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => read_or_make(path),
                outcome => outcome.map(|()| master).map_err(at(path)),
            }
        }
        Err(error) => Err(at(path)(error)),
    }
}

/// Writes a whole file under a name that did not exist, never a half one.
fn write_new(path: &Path, text: &str) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let draft = folder.join(format!(".{}.new", dte_base::id::new_id()));
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    let linked = std::fs::hard_link(&draft, path);
    std::fs::remove_file(&draft)?;
    std::fs::File::open(folder)?.sync_all()?;
    linked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealed_and_opened() {
        let vault = Vault::from_master(&[7; 32]);
        let sealed = vault.seal("key-1", b"secret").expect("sealed");
        assert!(!sealed.windows(6).any(|part| part == b"secret"));
        assert_eq!(vault.unseal("key-1", &sealed).expect("opened"), b"secret");
        assert!(vault.unseal("key-2", &sealed).is_err());
        assert!(Vault::from_master(&[8; 32]).unseal("key-1", &sealed).is_err());
        assert!(vault.unseal("key-1", &sealed[..10]).is_err());
    }

    #[test]
    fn the_key_file_is_made_once_and_private() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("sub").join(KEY_FILE);
        let first = read_or_make(&path).expect("made");
        assert_eq!(read_or_make(&path).expect("read"), first);
        let mode = std::fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("changed");
        assert!(read_or_make(&path).is_err());
    }
}
