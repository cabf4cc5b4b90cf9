//! Storing a pod's outputs and registering them in the data lake.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use dte_protocol_rucio::{Attachment, Did, LakeClient, NewDid, NewReplica};
use dte_protocol_webdav::digest::Algorithm;
use dte_protocol_webdav::path::ResourcePath;
use dte_storage::beneath::{Links, Root};
use dte_storage::file::FileStore;
use dte_storage::{Copied, CopyOrder, Errno, Location, copy_verified};
use rustix::fs::FileType;

use super::storage::{self, Direction, Use};
use crate::model::failure::Failure;
use crate::model::order::{CollectedOutput, Output};
use crate::shared::Shared;
use crate::store::PodRow;

/// Stores and registers what the pod wrote to `folder`. May be repeated.
pub async fn run(
    shared: &Shared,
    pod: &PodRow,
    outputs: &[Output],
    folder: &Path,
) -> Result<Vec<CollectedOutput>, Failure> {
    if outputs.is_empty() {
        return Ok(Vec::new());
    }
    let present = look(folder.to_path_buf(), outputs.to_vec()).await?;
    let lake = shared.lake(pod)?;
    let refused = |error: dte_protocol_rucio::LakeError| storage::lake_failure(Direction::Output, &error);
    let store = FileStore::open(folder).map_err(|error| Failure::passing("OutputUnreadable", error.to_string()))?;
    let store: Arc<dyn dte_storage::ByteStore> = Arc::new(store);
    let produced: Vec<Did> = present.iter().map(|output| output.did.clone()).collect();
    shared.check_scopes(pod, &produced, "OutputForbidden").await?;
    let mut collected = Vec::with_capacity(present.len());
    let mut by_rse: BTreeMap<&str, Vec<&Output>> = BTreeMap::new();
    for output in &present {
        by_rse.entry(&output.rse).or_default().push(output);
    }
    for (rse, outputs) in by_rse {
        let dids: Vec<Did> = outputs.iter().map(|output| output.did.clone()).collect();
        let pfns = lake.lfns2pfns(rse, &dids).await.map_err(refused)?;
        let mut replicas = Vec::with_capacity(outputs.len());
        for (output, pfn) in outputs.into_iter().zip(pfns) {
            let path = resource(&output.path)?;
            let source = Location::new(store.clone(), path, format!("output {}", output.path));
            let copied = upload(shared, pod, &lake, &source, output, &pfn).await?;
            let adler32 = copied.digest().hex();
            replicas.push(NewReplica::new(&output.did, copied.bytes, &adler32));
            collected.push(CollectedOutput {
                did: output.did.to_string(),
                bytes: copied.bytes,
                adler32,
                rse: rse.to_owned(),
                path: output.path.clone(),
                dataset: output.dataset.as_ref().map(Did::to_string),
                pfn,
            });
        }
        lake.add_replicas(rse, &replicas).await.map_err(refused)?;
    }
    let mut datasets: BTreeMap<&Did, Vec<Did>> = BTreeMap::new();
    for output in &present {
        if let Some(dataset) = &output.dataset {
            datasets.entry(dataset).or_default().push(output.did.clone());
        }
    }
    for (dataset, files) in datasets {
        attach(&lake, dataset, files).await.map_err(refused)?;
    }
    Ok(collected)
}

fn resource(path: &str) -> Result<ResourcePath, Failure> {
    ResourcePath::from_plain(&format!("/{path}"))
        .map_err(|error| Failure::lasting("OutputUnreadable", format!("{path}: {error}")))
}

/// Which outputs are there. The folder was the pod's, so nothing in it is trusted: no links, nothing but regular files.
async fn look(folder: std::path::PathBuf, outputs: Vec<Output>) -> Result<Vec<Output>, Failure> {
    let work = move || {
        let root =
            Root::open(&folder, Links::Refused).map_err(|e| Failure::passing("OutputUnreadable", e.to_string()))?;
        let mut present = Vec::new();
        for output in outputs {
            let path = resource(&output.path)?;
            let opened = root.open_read(&path).and_then(rustix::fs::fstat);
            match opened {
                Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => present.push(output),
                Err(rustix::io::Errno::NOENT) if !output.required => {}
                Err(rustix::io::Errno::NOENT) => {
                    let text = format!("the pod ended well but did not write {}", output.path);
                    return Err(Failure::lasting("OutputMissing", text));
                }
                Ok(_) => {
                    return Err(Failure::lasting("OutputUnreadable", format!("{} is not a regular file", output.path)));
                }
                Err(error) => {
                    return Err(Failure::lasting("OutputUnreadable", format!("{}: {error}", output.path)));
                }
            }
        }
        Ok(present)
    };
    let failed = |error: tokio::task::JoinError| Failure::passing("OutputUnreadable", error.to_string());
    tokio::task::spawn_blocking(work).await.map_err(failed)?
}

/// Writes a file to where it belongs. A file that is there already is ours from an earlier try if it has the same bytes; one with
/// others is replaced only as long as the data lake knows nothing of it.
async fn upload(
    shared: &Shared,
    pod: &PodRow,
    lake: &LakeClient,
    source: &Location,
    output: &Output,
    pfn: &str,
) -> Result<Copied, Failure> {
    let failed = |error: dte_storage::Error| {
        let failure = storage::failure(Direction::Output, &error);
        Failure { message: format!("{}: {}", output.path, failure.message), ..failure }
    };
    let destination = storage::open(shared, pod, pfn, Use::Create)?;
    let order =
        CopyOrder { part: Some(format!("{}-{}", pod.uid, output.did.name.replace('/', "-"))), ..CopyOrder::default() };
    let exists = match copy_verified(source, &destination, &order).await {
        Err(error) if error.errno == Errno::EEXIST => error,
        done => return done.map_err(failed),
    };
    let mine = checksum(source).await.map_err(failed)?;
    let theirs = destination.store.checksum(&destination.path, Algorithm::Adler32).await.map_err(failed)?;
    if theirs.is_some_and(|digest| digest == mine.digest()) {
        return Ok(mine);
    }
    match lake.get_did(&output.did).await {
        Ok(_) => Err(Failure::lasting("OutputExists", format!("{} exists with other content: {exists}", output.did))),
        Err(error) if error.is_not_found() => {
            let destination = storage::open(shared, pod, pfn, Use::Replace)?;
            copy_verified(source, &destination, &CopyOrder { overwrite: true, ..order }).await.map_err(failed)
        }
        Err(error) => Err(storage::lake_failure(Direction::Output, &error)),
    }
}

/// Length and checksum of a file, read here.
async fn checksum(file: &Location) -> Result<Copied, dte_storage::Error> {
    use futures_util::TryStreamExt as _;
    let mut reading = file.store.read(&file.path, None).await?;
    let mut sums = dte_storage::Checksums::of([Algorithm::Adler32]);
    while let Some(piece) = reading.stream.try_next().await? {
        sums.update(&piece);
    }
    Ok(Copied { bytes: sums.bytes(), adler32: sums.adler32().unwrap_or(1) })
}

/// Attaches files to a dataset, which is made if it is not there.
async fn attach(lake: &LakeClient, dataset: &Did, files: Vec<Did>) -> Result<(), dte_protocol_rucio::LakeError> {
    let attachment = [Attachment::new(dataset, files)];
    match lake.attach(&attachment).await {
        Err(error) if error.is_not_found() => {
            lake.ensure_dids(&[NewDid::dataset(dataset)]).await?;
            lake.attach(&attachment).await
        }
        done => done,
    }
}
