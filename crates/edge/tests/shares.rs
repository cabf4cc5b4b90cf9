//! Copies from and to other servers: what one person or one slow server can keep from all others.

mod peer;
mod scene;

use std::time::Duration;

use axum::body::BodyDataStream;
use dte_base::secret::Secret;
use dte_protocol_webdav::markers::{Reader, Told, Trailer};
use futures_util::StreamExt as _;
use peer::Peer;
use scene::Scene;

/// So long that it is no part of a test.
const LONG: &str = "pause = '60s'\nstall = '60s'\nmarker_interval = '100ms'\n";

async fn scene(more: &str) -> Scene {
    let settings = "[http.outbound]\nallow = ['127.0.0.0/8']\n[edge]\nfsync = false\n[edge.third_party]\n";
    Scene::with(&format!("{settings}{LONG}{more}")).await
}

/// A copy under way, or the status that refused it.
async fn begin(scene: &Scene, token: &Secret, path: &str, source: String) -> Result<BodyDataStream, u16> {
    let reply = scene.request_as(token, "COPY", path).header("source", source).send().await.expect("an answer");
    if reply.status == 202 { Ok(reply.body.into_data_stream()) } else { Err(reply.status.as_u16()) }
}

async fn end(mut body: BodyDataStream) -> Trailer {
    let mut reader = Reader::default();
    while let Some(piece) = body.next().await {
        let ended = reader.push(&piece.expect("a marker")).into_iter().find_map(|told| match told {
            Told::End(trailer) => Some(trailer),
            Told::Marker(_) => None,
        });
        if let Some(trailer) = ended {
            return trailer;
        }
    }
    match reader.finish() {
        Some(Told::End(trailer)) => trailer,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn one_person_leaves_places_to_others() {
    let (scene, peer) = (scene("concurrency = 4\nwaiting = 8\n").await, Peer::start().await);
    let mut held = Vec::new();
    for n in 0..4 {
        held.push(begin(&scene, &scene.admin, &format!("/local/a{n}"), peer.url("/stall")).await.expect("begins"));
        // One that has begun waits no more.
        while peer.seen("GET", "/stall").is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let refused = begin(&scene, &scene.admin, "/local/a4", peer.url("/stall")).await.err();
    let bob = scene.engine.token_for("bob", &["storage.modify:/local"]).await;
    let copy = begin(&scene, &bob, "/local/b", peer.url("/ok")).await.expect("begins");
    let ended = tokio::time::timeout(Duration::from_secs(20), end(copy)).await.expect("ends in time");
    assert_eq!(ended, Trailer::Success("Created".to_owned()));
    assert_eq!((refused, peer.seen("GET", "/stall").len()), (Some(503), 1));
    // Whoever goes away gives the place to the next.
    drop(held.remove(0));
    for _ in 0..100 {
        if peer.seen("GET", "/stall").len() == 2 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the next copy does not begin");
}

#[tokio::test]
async fn the_ports_of_a_host_are_one_host() {
    let (scene, one, other) = (scene("per_host = 1\n").await, Peer::start().await, Peer::start().await);
    let held = begin(&scene, &scene.admin, "/local/a", one.url("/stall")).await.expect("begins");
    while one.seen("GET", "/stall").is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let waits = begin(&scene, &scene.admin, "/local/b", other.url("/ok")).await.expect("begins");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(other.seen("GET", "/ok").is_empty());
    drop(held);
    assert_eq!(end(waits).await, Trailer::Success("Created".to_owned()));
}

#[tokio::test]
async fn a_server_that_creeps_is_given_up() {
    let (scene, peer) = (scene("least_rate = '100kB'\nleast_rate_over = '1s'\n").await, Peer::start().await);
    let copy = begin(&scene, &scene.admin, "/local/a", peer.url("/creep")).await.expect("begins");
    match tokio::time::timeout(Duration::from_secs(20), end(copy)).await.expect("ends in time") {
        Trailer::Failure(text) => {
            assert!(text.contains("operation timeout, fewer than 100000 bytes a second"), "{text}")
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(scene.names("/local/").await, [""; 0]);
}
