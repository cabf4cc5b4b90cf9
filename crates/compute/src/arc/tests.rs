//! What pods may do to the site: against a small server in the place of a computing element.

use std::collections::HashMap;
use std::sync::Arc;

use dte_base::tasks::Tasks;
use dte_base::time::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use uuid::Uuid;

use super::ArcConfig;
use super::rest::{Rest, RestError};
use super::site::{Inner, Record};
use crate::batch::index::Index;
use crate::batch::state::JobState;
use crate::host::outcome::Outcome;
use crate::pod::PodPlan;
use crate::report::{Phase, PodReport};

/// Answers with what there is at a path, else 404. Its URL.
async fn serve(files: HashMap<String, Vec<u8>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let files = Arc::new(files);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let files = files.clone();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await?);
                }
                let head = String::from_utf8_lossy(&head);
                let path = head.split(' ').nth(1).unwrap_or_default();
                let (status, body) = files.get(path).map_or(("404 Not Found", &[][..]), |body| ("200 OK", body));
                let about = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
                stream.write_all(about.as_bytes()).await?;
                stream.write_all(body).await
            });
        }
    });
    url
}

/// A site of these jobs, all of which may run.
async fn site(dir: &std::path::Path, files: &[(&str, &[u8])], jobs: &[(Uuid, &str)]) -> Arc<Inner> {
    let named = |(path, body): &(&str, &[u8])| (format!("/arex/rest/1.0/jobs/{path}"), body.to_vec());
    let url = serve(files.iter().map(named).collect()).await;
    let config = ArcConfig { url: format!("{url}/arex"), ..ArcConfig::default() };
    let inner = Arc::new(Inner {
        rest: Rest::new(&config).expect("a client"),
        config,
        index: Index::open(dir.to_path_buf()).expect("a folder"),
        pods: <_>::default(),
        busy: <_>::default(),
        settling: tokio::sync::Semaphore::new(1),
        log_turn: <_>::default(),
        wake: <_>::default(),
        ended: tokio::sync::broadcast::channel(8).0,
        tasks: Tasks::new(),
    });
    for (uid, job) in jobs {
        inner.index.create(*uid).expect("a folder");
        inner.note(*uid, &record(*uid, job)).expect("a note");
    }
    inner
}

fn record(uid: Uuid, job: &str) -> Record {
    let plan = PodPlan { uid, ..PodPlan::default() };
    Record { plan, job: job.to_owned(), is_complete: true, cancelled: None }
}

fn report(uid: Uuid) -> PodReport {
    Outcome::new(&PodPlan { uid, ..PodPlan::default() }, Timestamp::now()).state()
}

#[tokio::test]
async fn a_pod_with_an_odd_note_harms_nobody_else() {
    let dir = tempfile::tempdir().expect("a folder");
    let [large, odd, right] = [1, 2, 3].map(Uuid::from_u128);
    let (much, note) = (vec![b' '; 5 << 20], serde_json::to_vec(&report(right)).expect("a note"));
    let files: [(&str, &[u8]); 4] = [
        ("large/session/state.json", &much),
        ("odd/session/exit.json", b"{"),
        ("odd/session/state.json", b"no"),
        ("right/session/state.json", &note),
    ];
    let inner = site(dir.path(), &files, &[(large, "large"), (odd, "odd"), (right, "right")]).await;
    inner.look().await.expect("a look");
    let pods = inner.pods();
    assert!(pods.values().all(|entry| entry.looked.is_some() && entry.is_active()));
    let said = [large, odd, right].map(|uid| pods[&uid].said.is_some());
    assert_eq!(said, [false, false, true]);
}

#[tokio::test]
async fn a_listed_file_that_is_missing_is_no_success() {
    let dir = tempfile::tempdir().expect("a folder");
    let uid = Uuid::from_u128(1);
    let mut exit = report(uid);
    exit.phase = Phase::Succeeded;
    let exit = serde_json::to_vec(&exit).expect("a note");
    let files: [(&str, &[u8]); 3] = [
        ("j/session/exit.json", &exit),
        ("j/session/outputs", br#"{"file":["here","gone"]}"#),
        ("j/session/outputs/here", b"kept"),
    ];
    let inner = site(dir.path(), &files, &[(uid, "j")]).await;
    let fetched = inner.fetch_tree("j", "outputs", &dir.path().join("copy")).await;
    assert!(matches!(fetched, Err(RestError::Unusable(_))), "{fetched:?}");
    // It may come yet; then the pod has failed, and does not hang for ever.
    for _ in 0..2 {
        inner.conclude(uid, &record(uid, "j"), JobState::Completed).await.expect_err("not yet");
    }
    inner.conclude(uid, &record(uid, "j"), JobState::Completed).await.expect("an end");
    let said = inner.pods()[&uid].said.clone().expect("an outcome");
    assert_eq!((said.phase, said.reason.as_deref()), (Phase::Failed, Some("OutputsLost")));
    assert!(said.message.is_some_and(|message| message.contains("outputs/gone")));
    assert_eq!(std::fs::read(inner.index.outputs(uid).join("here")).expect("an output"), b"kept");
}
