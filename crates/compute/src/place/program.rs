//! The program with the runner's stages, put once into a place under the name of its digest.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::BIN;

/// The running program, also if its file was replaced.
const SELF: &str = "/proc/self/exe";
const PIECE: usize = 1 << 20;

/// A program and what it is called in a place.
#[derive(Clone, Debug)]
pub struct RunnerProgram {
    pub source: PathBuf,
    /// `dte-` and the beginning of its SHA-256.
    pub name: String,
}

impl RunnerProgram {
    /// The program at `source`; by default the running one.
    pub fn read(source: Option<&Path>) -> io::Result<RunnerProgram> {
        let source = source.unwrap_or(Path::new(SELF)).to_path_buf();
        let mut digest = Sha256::new();
        let mut file = File::open(&source)?;
        let mut piece = vec![0; PIECE];
        loop {
            match file.read(&mut piece)? {
                0 => break,
                length => digest.update(&piece[..length]),
            }
        }
        let digest = digest.finalize();
        let name = digest[..16].iter().fold(String::from("dte-"), |name, byte| format!("{name}{byte:02x}"));
        Ok(RunnerProgram { source, name })
    }

    /// Copies it into the place's folder, unless it is there.
    pub fn install(&self, base: &Path) -> io::Result<PathBuf> {
        let folder = base.join(BIN);
        fs::create_dir_all(&folder)?;
        let path = folder.join(&self.name);
        if path.exists() {
            return Ok(path);
        }
        let draft = folder.join(format!(".new-{}", uuid::Uuid::now_v7()));
        let mut out = OpenOptions::new().create_new(true).write(true).mode(0o700).open(&draft)?;
        io::copy(&mut File::open(&self.source)?, &mut out)?;
        out.flush()?;
        out.sync_all()?;
        drop(out);
        fs::set_permissions(&draft, fs::Permissions::from_mode(0o755))?;
        fs::rename(&draft, &path)?;
        Ok(path)
    }
}
