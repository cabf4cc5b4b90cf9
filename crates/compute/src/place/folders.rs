//! What a place does with its folders: ordinary file work beneath one folder, without a shell.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use nix::unistd::{User, geteuid};
use uuid::Uuid;

use super::wire::{FileEntry, Order, Reply, Seen};
use super::{BIN, RUNS};
use crate::host::folder::{INPUTS, OUTPUTS, RunFolder, Started, remove_tree};
use crate::host::hand_over;
use crate::host::logfile;
use crate::host::process::ProcessIdentity;
use crate::host::spec::{RunSpec, Walls};
use crate::report::PodReport;

/// The batch script, and what it and the runner say before the pod's own logs begin.
pub const SCRIPT: &str = "job.sh";
/// The script of an array of which the pod is the first task.
pub const ARRAY_SCRIPT: &str = "array.sh";
pub const JOB_OUTPUT: &str = "job.out";
/// Bytes of complaints shown.
const COMPLAINT: usize = 2_000;
/// Output files of one pod that are brought home.
const MAX_FILES: usize = 100_000;

/// A place's folder.
#[derive(Clone, Debug)]
pub struct Folders {
    base: PathBuf,
}

impl Folders {
    /// Makes the folder and what it consists of.
    pub fn open(base: &Path) -> io::Result<Folders> {
        let make = |path: &Path| fs::DirBuilder::new().recursive(true).mode(0o711).create(path);
        make(base)?;
        make(&base.join(BIN))?;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(base.join(RUNS))?;
        Ok(Folders { base: base.to_path_buf() })
    }

    pub fn runs(&self) -> PathBuf {
        self.base.join(RUNS)
    }

    pub fn folder(&self, uid: Uuid) -> RunFolder {
        RunFolder::at(self.runs().join(uid.to_string()))
    }

    /// Does what is ordered. Blocks.
    pub fn obey(&self, order: &Order, body: &[u8]) -> io::Result<(Reply, Vec<u8>)> {
        let done = |()| (Reply::Done, Vec::new());
        match order {
            Order::Prepare { uid } => RunFolder::create(&self.runs(), *uid).map(|_| done(())),
            Order::Arrange { uid, spec } => self.arrange(*uid, spec, body).map(done),
            Order::ArrangeArray { uid } => write_script(&self.folder(*uid), ARRAY_SCRIPT, body).map(done),
            Order::Look { uids } => {
                // One folder that cannot be read must not hide the others.
                let seen = uids.iter().filter_map(|uid| match self.look(*uid) {
                    Ok(seen) => seen,
                    Err(error) => {
                        tracing::warn!(%uid, %error, "a run folder cannot be read");
                        None
                    }
                });
                Ok((Reply::Seen(seen.collect()), Vec::new()))
            }
            Order::Log { uid, container, from } => self.log(*uid, container, *from),
            Order::Cancel { uid, how } => self.folder(*uid).write_cancel(how).map(done),
            Order::Suspend { uid, wanted } => self.folder(*uid).set_suspended(*wanted).map(done),
            Order::Claim { uid } => {
                let started = Started { shim: ProcessIdentity::own()?, suspends: false };
                Ok((Reply::Yes(self.folder(*uid).claim(&started)?), Vec::new()))
            }
            Order::Conclude { uid, report } => self.conclude(*uid, report).map(done),
            Order::Remove { uid } => self.remove(*uid).map(done),
            Order::Put { uid, path, offset, mode } => self.put(*uid, path, *offset, *mode, body).map(done),
            Order::Outputs { uid } => {
                let root = self.folder(*uid).sub(OUTPUTS);
                let mut files = Vec::new();
                list(&root, Path::new(""), &mut files)?;
                Ok((Reply::Files(files), Vec::new()))
            }
            Order::Get { uid, path, offset, limit } => {
                let path = self.folder(*uid).sub(OUTPUTS).join(plain(path)?);
                Ok((Reply::Bytes, read_piece(&path, *offset, *limit)?))
            }
            Order::Tail { path, limit } => {
                let bytes = fs::metadata(path)?.len();
                Ok((Reply::Bytes, read_piece(path, bytes.saturating_sub(*limit), *limit)?))
            }
            Order::Run { .. } | Order::Watch { .. } => Err(io::Error::other("not an order about folders")),
        }
    }

    fn arrange(&self, uid: Uuid, spec: &RunSpec, script: &[u8]) -> io::Result<()> {
        let folder = RunFolder::create(&self.runs(), uid)?;
        let mut spec = spec.clone();
        // Whoever ordered it may not know where this machine's account is at home.
        if spec.walls == Walls::UserNamespace
            && let Ok(Some(user)) = User::from_uid(geteuid())
            && user.dir.parent().is_some()
        {
            spec.hide.push(user.dir);
        }
        folder.write_spec(&spec)?;
        hand_over(&folder, &spec.walls)?;
        write_script(&folder, SCRIPT, script)
    }

    fn look(&self, uid: Uuid) -> io::Result<Option<Seen>> {
        let folder = self.folder(uid);
        if !folder.exists() {
            return Ok(None);
        }
        let exit = folder.exit()?;
        let started = exit.is_some() || folder.started()?.is_some();
        let state = if exit.is_none() && started { folder.state()? } else { None };
        let complaint = if exit.is_none() { complaint(&folder) } else { String::new() };
        Ok(Some(Seen { uid, started, state, exit, cancelled: folder.cancellation()?, complaint }))
    }

    fn log(&self, uid: Uuid, container: &str, from: u64) -> io::Result<(Reply, Vec<u8>)> {
        let chunk = logfile::read(&self.folder(uid).logs(), container, from)?;
        let lines = chunk.lines.iter().map(|line| (line.at, line.text.len())).collect();
        let text = chunk.lines.into_iter().flat_map(|line| line.text).collect();
        Ok((Reply::Log { lines, next: chunk.next, all: chunk.complete }, text))
    }

    fn conclude(&self, uid: Uuid, report: &PodReport) -> io::Result<()> {
        let folder = self.folder(uid);
        match folder.exit()? {
            Some(_) => Ok(()),
            None => folder.write_exit(report),
        }
    }

    fn remove(&self, uid: Uuid) -> io::Result<()> {
        let gone = self.runs().join(format!(".old-{}", Uuid::now_v7()));
        match fs::rename(self.folder(uid).path(), &gone) {
            Err(error) if is_gone(&error) => Ok(()),
            renamed => renamed.and_then(|()| remove_tree(&gone)),
        }
    }

    fn put(&self, uid: Uuid, path: &Path, offset: u64, mode: u32, bytes: &[u8]) -> io::Result<()> {
        let path = self.folder(uid).sub(INPUTS).join(plain(path)?);
        if let Some(parent) = path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
        }
        let mut file = OpenOptions::new().create(true).write(true).truncate(offset == 0).mode(mode).open(&path)?;
        file.seek(SeekFrom::Start(offset))?;
        file.write_all(bytes)?;
        file.set_permissions(fs::Permissions::from_mode(mode & 0o777))
    }
}

fn write_script(folder: &RunFolder, name: &str, script: &[u8]) -> io::Result<()> {
    let draft = folder.sub(&format!(".{name}"));
    fs::write(&draft, script)?;
    fs::set_permissions(&draft, fs::Permissions::from_mode(0o700))?;
    fs::rename(&draft, folder.sub(name))
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

/// A path that stays beneath the folder it is joined to.
fn plain(path: &Path) -> io::Result<&Path> {
    let normal = path.components().all(|part| matches!(part, Component::Normal(_)));
    if normal && path.components().next().is_some() {
        return Ok(path);
    }
    Err(io::Error::other(format!("{} is not a path beneath the pod's folder", path.display())))
}

/// Regular files beneath `root`; links are not followed.
fn list(root: &Path, beneath: &Path, files: &mut Vec<FileEntry>) -> io::Result<()> {
    let entries = match fs::read_dir(root.join(beneath)) {
        Err(error) if is_gone(&error) => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let path = beneath.join(entry.file_name());
        let meta = entry.metadata()?;
        if meta.is_dir() {
            list(root, &path, files)?;
        } else if meta.is_file() {
            if files.len() >= MAX_FILES {
                return Err(io::Error::other(format!("the pod has more than {MAX_FILES} output files")));
            }
            files.push(FileEntry { path, bytes: meta.len(), mode: meta.mode() & 0o777 });
        }
    }
    Ok(())
}

fn read_piece(path: &Path, offset: u64, limit: u64) -> io::Result<Vec<u8>> {
    // The pod may have put anything there: no link is followed, and a pipe must not make us wait.
    let flags = nix::fcntl::OFlag::O_NOFOLLOW | nix::fcntl::OFlag::O_NONBLOCK | nix::fcntl::OFlag::O_CLOEXEC;
    let mut file: File = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other(format!("{} is not a file", path.display())));
    }
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn complaint(folder: &RunFolder) -> String {
    let bytes = fs::read(folder.sub(JOB_OUTPUT)).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(COMPLAINT)]).trim().to_owned();
    let own = folder.shim_error_text();
    [text, own].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("; ")
}
