//! Bringing a pod's inputs and program into its run folder.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use dte_compute::Site;
use dte_protocol_rucio::{BULK_LIMIT, Did, ReplicaEntry};
use dte_protocol_webdav::digest::{Algorithm, Digest};
use dte_storage::{CopyOrder, copy_verified};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::cache::{Key, Placing, place};
use super::storage::{self, Direction, Use};
use crate::model::failure::Failure;
use crate::model::order::{Code, CodeSource, Input, Order, StagedCode, StagedInput};
use crate::shared::Shared;
use crate::store::PodRow;

/// Modes of staged files: everybody may read, nobody may write.
const DATA_MODE: u32 = 0o444;
const PROGRAM_MODE: u32 = 0o555;

/// What was staged.
pub struct Staged {
    pub inputs: Vec<StagedInput>,
    pub code: Option<StagedCode>,
}

/// One file of the data lake, to be fetched.
struct Wanted {
    did: Did,
    bytes: u64,
    adler32: String,
    pfns: Vec<String>,
    key: Key,
}

/// Stages everything that `order` names. May be repeated.
pub async fn run(shared: &Shared, site: &dyn Site, pod: &PodRow, order: &Order) -> Result<Staged, Failure> {
    let io = |error: std::io::Error| Failure::passing("StagingFailed", error.to_string());
    let staging = site.prepare(pod.uid).await.map_err(|error| Failure::passing("StagingFailed", error.to_string()))?;
    let mut dids: Vec<Did> = order.inputs.iter().map(|input| input.did.clone()).collect();
    if let Some(Code { source: CodeSource::Lake(did), .. }) = &order.code {
        dids.push(did.clone());
    }
    shared.check_readable(pod, &dids).await?;
    let known = look_up(shared, pod, &dids).await?;
    let mut wanted = Vec::with_capacity(dids.len());
    let mut placings = Vec::with_capacity(dids.len());
    for Input { did, path, bytes, adler32 } in &order.inputs {
        let file = want(shared, pod, &known, did, *bytes, adler32.as_deref())?;
        placings.push(Placing { from: shared.cache.path(&file.key), to: staging.inputs.join(path), mode: DATA_MODE });
        wanted.push(file);
    }
    if let Some(Code { source: CodeSource::Lake(did), name, bytes, adler32, .. }) = &order.code {
        let file = want(shared, pod, &known, did, *bytes, adler32.as_deref())?;
        placings.push(Placing {
            from: shared.cache.path(&file.key),
            to: staging.inputs.join(name),
            mode: PROGRAM_MODE,
        });
        wanted.push(file);
    }
    let missing = wanted.iter().filter(|file| pod.scopes.is_some() || !shared.cache.holds(&file.key, Some(file.bytes)));
    let fetches = stream::iter(missing.map(|file| fetch(shared, pod, file)).collect::<Vec<_>>());
    fetches.buffer_unordered(shared.settings.parallel_files.max(1)).try_collect::<Vec<()>>().await?;

    let code = match &order.code {
        Some(code) => Some(stage_code(shared, pod, code, wanted.last(), &staging.inputs, &mut placings).await?),
        None => None,
    };
    let link = site.capabilities().sandbox.holds();
    blocking(move || place(&placings, link)).await.map_err(io)?;
    let inputs = wanted.iter().take(order.inputs.len()).map(|file| StagedInput {
        did: file.did.to_string(),
        bytes: file.bytes,
        adler32: file.adler32.clone(),
        pfn: file.pfns.first().cloned().unwrap_or_default(),
    });
    Ok(Staged { inputs: inputs.collect(), code })
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> std::io::Result<T> + Send + 'static) -> std::io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(std::io::Error::other(error)))
}

/// Asks the data lake where the files are.
async fn look_up(shared: &Shared, pod: &PodRow, dids: &[Did]) -> Result<HashMap<Did, ReplicaEntry>, Failure> {
    let mut known = HashMap::with_capacity(dids.len());
    if dids.is_empty() {
        return Ok(known);
    }
    let lake = shared.lake(pod)?;
    for some in dids.chunks(BULK_LIMIT) {
        let entries =
            lake.list_replicas(some).await.map_err(|error| storage::lake_failure(Direction::Input, &error))?;
        known.extend(entries.into_iter().map(|entry| (entry.did(), entry)));
    }
    Ok(known)
}

/// What is expected of a file, from the pod's order and from the data lake, which must agree.
fn want(
    shared: &Shared,
    pod: &PodRow,
    known: &HashMap<Did, ReplicaEntry>,
    did: &Did,
    bytes: Option<u64>,
    adler32: Option<&str>,
) -> Result<Wanted, Failure> {
    let Some(entry) = known.get(did) else {
        return Err(Failure::passing("InputMissing", format!("the data lake has no copy of {did} now")));
    };
    let pfns: Vec<String> = match entry.pfns.is_empty() {
        false => entry.pfns.keys().cloned().collect(),
        true => entry.rses.values().flatten().cloned().collect(),
    };
    if pfns.is_empty() {
        return Err(Failure::passing("InputMissing", format!("the data lake has no copy of {did} now")));
    }
    let stated = entry.adler32.as_ref().map(|sum| format!("{:0>8}", sum.to_ascii_lowercase()));
    if let (Some(ordered), Some(stated)) = (adler32, &stated)
        && ordered != stated
    {
        let text = format!("{did} has adler32 {stated} in the data lake, the pod expects {ordered}");
        return Err(Failure::lasting("InputChecksumMismatch", text));
    }
    if let (Some(ordered), Some(stated)) = (bytes, entry.bytes)
        && ordered != stated
    {
        return Err(Failure::lasting(
            "InputChecksumMismatch",
            format!("{did} has {stated} bytes, the pod expects {ordered}"),
        ));
    }
    let (Some(bytes), Some(adler32)) = (bytes.or(entry.bytes), adler32.map(str::to_owned).or(stated)) else {
        return Err(Failure::lasting(
            "InputUnverifiable",
            format!("neither the pod nor the data lake knows {did}'s checksum"),
        ));
    };
    let key = shared.cache.input(&pod.owner, &did.to_string(), bytes, &adler32);
    Ok(Wanted { did: did.clone(), bytes, adler32, pfns, key })
}

/// Fetches a file into the cache, from the first copy that is good.
async fn fetch(shared: &Shared, pod: &PodRow, file: &Wanted) -> Result<(), Failure> {
    let digest = Digest::from_hex(Algorithm::Adler32, &file.adler32)
        .ok_or_else(|| Failure::lasting("InputUnverifiable", format!("{:?} is not an adler32", file.adler32)))?;
    let destination = shared.cache.location(&file.key).map_err(|error| Failure::lasting("StagingFailed", error))?;
    let mut last = Failure::passing("InputMissing", format!("no copy of {}", file.did));
    for pfn in &file.pfns {
        let source = match storage::open(shared, pod, pfn, Use::Read) {
            Ok(source) => source,
            Err(failure) => {
                last = failure;
                continue;
            }
        };
        let order = CopyOrder {
            bytes: Some(file.bytes),
            digests: vec![digest.clone()],
            overwrite: true,
            ..CopyOrder::default()
        };
        match copy_verified(&source, &destination, &order).await {
            Ok(_) => return Ok(()),
            Err(error) => {
                let failure = storage::failure(Direction::Input, &error);
                last = Failure { message: format!("{}: {}", file.did, failure.message), ..failure };
            }
        }
    }
    Err(last)
}

/// The program: its checksum is what the run is later traced to.
async fn stage_code(
    shared: &Shared,
    pod: &PodRow,
    code: &Code,
    fetched: Option<&Wanted>,
    inputs: &Path,
    placings: &mut Vec<Placing>,
) -> Result<StagedCode, Failure> {
    let io = |error: std::io::Error| Failure::passing("StagingFailed", error.to_string());
    let (did, bytes, sha256) = match (&code.source, fetched) {
        (CodeSource::Lake(did), Some(file)) => {
            let sum = shared.cache.sha256(&file.key).map_err(io)?;
            (Some(did.to_string()), file.bytes, sum)
        }
        (CodeSource::Lake(did), None) => return Err(Failure::lasting("CodeMissing", format!("{did} was not fetched"))),
        (CodeSource::Machine(path), _) => {
            let path = permitted(shared, pod, path)?;
            let taken = shared.cache.take_program(&pod.owner, &path);
            let (key, bytes, sum) =
                taken.map_err(|error| Failure::lasting("CodeMissing", format!("{}: {error}", path.display())))?;
            placings.push(Placing { from: shared.cache.path(&key), to: inputs.join(&code.name), mode: PROGRAM_MODE });
            (None, bytes, sum)
        }
    };
    if let Some(expected) = &code.sha256
        && *expected != sha256
    {
        return Err(Failure::lasting(
            "CodeChanged",
            format!("the program has SHA-256 {sha256}, the pod expects {expected}"),
        ));
    }
    let path = match &code.source {
        CodeSource::Machine(path) => path.clone(),
        CodeSource::Lake(_) => code.name.clone(),
    };
    Ok(StagedCode { did, path, sha256, bytes })
}

/// A program of this machine is read by the engine, which may read more than the pod's owner: only administrators may name
/// any file, others those of configured folders.
fn permitted(shared: &Shared, pod: &PodRow, path: &str) -> Result<PathBuf, Failure> {
    let real =
        std::fs::canonicalize(path).map_err(|error| Failure::lasting("CodeMissing", format!("{path}: {error}")))?;
    let mut roots = shared.settings.code_roots.iter().filter_map(|root| std::fs::canonicalize(root).ok());
    if pod.trusted || roots.any(|root| real.starts_with(root)) {
        return Ok(real);
    }
    Err(Failure::lasting("CodeForbidden", format!("{path} is not below one of the folders in [offload] code_roots")))
}
