//! `dte lake`: what there is and where, through the same API that other clients use.

use std::path::Path;

use dte_protocol_rucio::{Did, DidInfo, DidType, LakeClient, NewReplica};
use serde_json::{Value, json};

use crate::cli::{Common, Lake};
use crate::failure::Failure;
use crate::remote::Remote;
use crate::show;

pub async fn lake(common: &Common, command: Lake) -> Result<(), Failure> {
    let remote = Remote::find(common).await?;
    let lake = LakeClient::new(remote.client.clone(), remote.base("/rucio")?, remote.token.clone());
    match command {
        Lake::Ls { did } => ls(&lake, &did, common.json).await,
        Lake::Replicas { did } => replicas(&lake, &did, common.json).await,
        Lake::Rules { did } => rules(&lake, &did, common.json).await,
        Lake::Rses => rses(&lake, &remote, common.json).await,
        Lake::Access { scope, readers, everybody } => access(&lake, &scope, &readers, everybody, common.json).await,
        Lake::Get { did, dir } => get(&lake, &remote, &did, &dir).await,
        Lake::Put { file, did, rse } => put(&lake, &remote, &file, &did, &rse).await,
    }
}

fn parse(text: &str) -> Result<Did, Failure> {
    text.parse::<Did>().map_err(|error| Failure::new(format!("{error}")).with_code(2))
}

/// What the lake says of a name; a failure when it does not know it.
async fn known(lake: &LakeClient, did: &Did) -> Result<DidInfo, Failure> {
    lake.get_did(did).await.map_err(|error| {
        if error.is_not_found() { Failure::new(format!("there is no {did} in the data lake")) } else { error.into() }
    })
}

async fn ls(lake: &LakeClient, text: &str, as_json: bool) -> Result<(), Failure> {
    let (scope, pattern) = text.split_once(':').unwrap_or((text, "*"));
    let rows: Vec<(String, String, Option<u64>, Option<String>)> = if pattern.contains('*') {
        let found = lake.list_dids(scope, pattern, None).await?;
        if found.is_empty() {
            return Err(Failure::new(format!("there is nothing in the data lake that is called {scope}:{pattern}")));
        }
        found.into_iter().map(|name| (format!("{scope}:{name}"), String::new(), None, None)).collect()
    } else {
        let did = parse(text)?;
        let about = known(lake, &did).await?;
        if about.kind == DidType::File {
            vec![(did.to_string(), about.kind.name().to_owned(), about.bytes, about.adler32)]
        } else {
            let content = lake.list_content(&did).await?;
            content
                .into_iter()
                .map(|e| (format!("{}:{}", e.scope, e.name), e.kind.name().to_owned(), e.bytes, e.adler32))
                .collect()
        }
    };
    if as_json {
        let list: Vec<Value> = rows
            .iter()
            .map(|(did, kind, bytes, adler32)| json!({ "did": did, "type": kind, "bytes": bytes, "adler32": adler32 }))
            .collect();
        return show::json(&list);
    }
    let text = |cell: Option<String>| cell.unwrap_or_default();
    let cells: Vec<Vec<String>> = rows
        .into_iter()
        .map(|(did, kind, bytes, adler32)| vec![did, kind, text(bytes.map(|b| b.to_string())), text(adler32)])
        .collect();
    show::table(&["DID", "TYPE", "BYTES", "ADLER32"], &cells);
    Ok(())
}

async fn replicas(lake: &LakeClient, did: &str, as_json: bool) -> Result<(), Failure> {
    let did = parse(did)?;
    known(lake, &did).await?;
    let found = lake.list_replicas(&[did]).await?;
    if as_json {
        return show::json(&found);
    }
    let mut cells = Vec::new();
    for file in &found {
        for (rse, pfns) in &file.rses {
            cells.push(vec![
                format!("{}:{}", file.scope, file.name),
                file.bytes.map(|b| b.to_string()).unwrap_or_default(),
                file.adler32.clone().unwrap_or_default(),
                rse.clone(),
                pfns.join(" "),
            ]);
        }
    }
    show::table(&["DID", "BYTES", "ADLER32", "RSE", "URL"], &cells);
    Ok(())
}

async fn rules(lake: &LakeClient, did: &str, as_json: bool) -> Result<(), Failure> {
    let rules = lake.list_rules(&parse(did)?).await?;
    if as_json {
        return show::json(&rules);
    }
    let rows = rules.iter().map(serde_json::to_value).collect::<Result<Vec<Value>, _>>()?;
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|rule| {
            [
                "id",
                "account",
                "copies",
                "rse_expression",
                "state",
                "locks_ok_cnt",
                "locks_replicating_cnt",
                "locks_stuck_cnt",
                "error",
            ]
            .iter()
            .map(|key| show::cell(&rule[*key]))
            .collect()
        })
        .collect();
    show::table(&["ID", "ACCOUNT", "COPIES", "RSES", "STATE", "OK", "REPLICATING", "STUCK", "ERROR"], &cells);
    Ok(())
}

async fn rses(lake: &LakeClient, remote: &Remote, as_json: bool) -> Result<(), Failure> {
    let names = lake.list_rses("*").await?;
    let mut list = Vec::new();
    for name in names {
        let usage = remote.text(&format!("/rucio/rses/{name}/usage")).await?;
        let usage: Vec<Value> = usage.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let rucio = usage.iter().find(|u| u["source"] == "rucio").or(usage.first()).cloned().unwrap_or_default();
        list.push(json!({ "rse": name, "files": rucio["files"], "bytes": rucio["used"] }));
    }
    if as_json {
        return show::json(&list);
    }
    let cells: Vec<Vec<String>> =
        list.iter().map(|rse| ["rse", "files", "bytes"].iter().map(|key| show::cell(&rse[*key])).collect()).collect();
    show::table(&["RSE", "FILES", "BYTES"], &cells);
    Ok(())
}

async fn access(
    lake: &LakeClient,
    scope: &str,
    readers: &[String],
    everybody: bool,
    as_json: bool,
) -> Result<(), Failure> {
    if everybody || !readers.is_empty() {
        lake.set_readers(scope, readers).await?;
    }
    let readers = lake.readers(scope).await?;
    if as_json {
        return show::json(&readers);
    }
    let who = if readers.is_empty() { "every account".to_owned() } else { readers.join(", ") };
    show::line(format!("{scope} can be read by {who}"));
    Ok(())
}

async fn get(lake: &LakeClient, remote: &Remote, did: &str, dir: &Path) -> Result<(), Failure> {
    let files = lake.list_replicas(&[parse(did)?]).await?;
    if files.is_empty() {
        return Err(Failure::new(format!("{did} has no files")));
    }
    std::fs::create_dir_all(dir)?;
    let progress = indicatif::ProgressBar::new(files.len() as u64);
    // The lake decides who may read what, and gives a token for it.
    let mut token = None;
    for (index, file) in files.iter().enumerate() {
        let name = format!("{}:{}", file.scope, file.name);
        let pfn = file.rses.values().flatten().next();
        let pfn = pfn.ok_or_else(|| Failure::new(format!("{name} has no copy that can be read now")))?;
        if index % LakeClient::READ_AT_ONCE == 0 {
            let some: Vec<Did> =
                files.iter().skip(index).take(LakeClient::READ_AT_ONCE).map(|file| file.did()).collect();
            token = lake.reading_token(&some).await?;
        }
        let mut request = remote.client.get(reachable(remote, pfn));
        // Our own token is for this engine, not for whoever runs a storage elsewhere.
        if let Some(token) = token.as_ref().filter(|_| is_ours(remote, pfn)) {
            request = request.bearer(token);
        }
        let reply = request.send().await?.ok().await?;
        let bytes = reply.bytes(usize::MAX).await?;
        let found = format!("{:08x}", dte_storage::checksum::adler32(&bytes));
        if file.adler32.as_ref().is_some_and(|wanted| *wanted != found) {
            return Err(Failure::new(format!("{name} from {pfn} has adler32 {found}, not {:?}", file.adler32)));
        }
        let target = dir.join(file.name.replace('/', "_"));
        let part = dir.join(format!(".{}.part", file.name.replace('/', "_")));
        std::fs::write(&part, &bytes)?;
        std::fs::rename(&part, &target)?;
        progress.inc(1);
    }
    progress.finish_and_clear();
    show::line(format!("{} files in {}", files.len(), dir.display()));
    Ok(())
}

/// A storage address on the engine's own edge may carry the public name of an engine that listens elsewhere now.
fn reachable(remote: &Remote, pfn: &str) -> String {
    match url::Url::parse(pfn) {
        Ok(url) if url.path().starts_with("/dav/") => remote.url_of(url.path()),
        _ => pfn.to_owned(),
    }
}

/// Whether the engine serves this storage address, as far as can be told from here.
fn is_ours(remote: &Remote, pfn: &str) -> bool {
    reachable(remote, pfn).starts_with(remote.url.as_str())
}

async fn put(lake: &LakeClient, remote: &Remote, file: &Path, did: &str, rse: &str) -> Result<(), Failure> {
    let did = parse(did)?;
    let bytes = std::fs::read(file).map_err(|error| Failure::new(format!("{}: {error}", file.display())))?;
    let adler32 = format!("{:08x}", dte_storage::checksum::adler32(&bytes));
    let size = bytes.len() as u64;
    let account = lake.whoami().await?;
    lake.ensure_scope(&account, &did.scope).await?;
    let pfn = lake.pfn(rse, &did).await?;
    let put = remote.client.put(reachable(remote, &pfn)).bearer(&remote.token).bytes(bytes).send().await?;
    put.ok().await?;
    lake.add_replicas(rse, &[NewReplica::new(&did, size, adler32.clone())]).await?;
    show::line(format!("{did} is at {rse}: {size} bytes, adler32 {adler32}"));
    Ok(())
}
