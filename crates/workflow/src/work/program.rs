//! Programs of models: read where the document says, kept in the lake under a name that holds their checksum.

use std::path::Path;

use bytes::Bytes;
use dte_identity::UserRef;
use dte_protocol_rucio::{Attachment, Did, LakeClient, NewDid, NewReplica, NewRule};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::model::names;
use crate::model::pod::Program;
use crate::work::engine::{Engine, Failure};

/// The largest program.
pub const MAX_BYTES: u64 = 256 << 20;
/// Where programs are written.
const LANDING: &str = "LOCAL";

/// Reads a program from the file system. The error is for the person who applies the twin.
pub async fn read(path: &str) -> Result<Bytes, String> {
    let path = path.to_owned();
    let read = tokio::task::spawn_blocking(move || {
        let place = Path::new(&path);
        let meta = std::fs::metadata(place).map_err(|error| format!("{path}: {error}"))?;
        if !meta.is_file() {
            return Err(format!("{path} is not a file"));
        }
        if meta.len() > MAX_BYTES {
            return Err(format!("{path} is larger than {}", dte_base::units::Bytes(MAX_BYTES)));
        }
        std::fs::read(place).map(Bytes::from).map_err(|error| format!("{path}: {error}"))
    });
    read.await.map_err(|error| error.to_string())?
}

/// What is to be known of a program's bytes.
pub fn describe(scope: &str, model: &str, path: &str, bytes: &Bytes) -> Program {
    let sha256 = hex::encode(Sha256::digest(bytes));
    Program {
        did: names::program(scope, model, &sha256).to_string(),
        sha256,
        bytes: bytes.len() as u64,
        adler32: format!("{:08x}", simd_adler32::adler32(&bytes.as_ref())),
        path: Some(path.to_owned()),
    }
}

/// The DID as the lake's client wants it.
fn did_of(program: &Program) -> Result<Did, Failure> {
    program.did.parse().map_err(|error| Failure::Other(format!("program: {error}")))
}

/// Makes sure that the lake holds the program; answers it with its checksums.
pub async fn keep(engine: &Engine, lake: &LakeClient, owner: &UserRef, program: &Program) -> Result<Program, Failure> {
    let did = did_of(program)?;
    let Some(path) = &program.path else {
        return look_up(engine, lake, owner, program, &did).await;
    };
    let known = lake.list_replicas(std::slice::from_ref(&did)).await?;
    if known.iter().any(|entry| entry.best_pfn().is_some()) {
        return Ok(program.clone());
    }
    let bytes = read(path).await.map_err(Failure::Other)?;
    if hex::encode(Sha256::digest(&bytes)) != program.sha256 {
        return Err(Failure::Other(format!("{path} was changed since the twin was applied; apply it again")));
    }
    engine.upload(lake, owner, LANDING, &did, bytes).await?;
    lake.add_replicas(LANDING, &[NewReplica::new(&did, program.bytes, program.adler32.clone())]).await?;
    let shelf = Did::new(&did.scope, "programs");
    lake.ensure_dids(&[NewDid::dataset(&shelf)]).await?;
    lake.attach(&[Attachment::new(&shelf, [did.clone()])]).await?;
    lake.add_rule(&NewRule::new(shelf, 1, LANDING)).await?;
    note_checksum(engine, owner, &did, &program.sha256).await?;
    Ok(program.clone())
}

/// A program that is in the lake already: its checksum is found by reading it.
async fn look_up(
    engine: &Engine,
    lake: &LakeClient,
    owner: &UserRef,
    program: &Program,
    did: &Did,
) -> Result<Program, Failure> {
    if !program.sha256.is_empty() {
        return Ok(program.clone());
    }
    let bytes = engine.download(lake, owner, did, usize::try_from(MAX_BYTES).unwrap_or(usize::MAX)).await?;
    let described = describe(&did.scope, "", "", &bytes);
    Ok(Program { did: program.did.clone(), path: None, ..described })
}

/// The program's checksum as metadata of its DID, for people who look there.
async fn note_checksum(engine: &Engine, owner: &UserRef, did: &Did, sha256: &str) -> Result<(), Failure> {
    let url = engine.lake_url(&format!("dids/{}/{}/meta", did.scope, did.name));
    let body = json!({ "meta": { "sha256": sha256 }, "recursive": false });
    let token = engine.token(owner, &[])?;
    let reply = engine.client.post(url).bearer(&token).json(&body).send().await?;
    reply.ok().await?;
    Ok(())
}
