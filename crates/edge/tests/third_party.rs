//! Copies from and to servers that lie, stall, break off or send elsewhere: what is told, and what is left.

mod peer;
mod scene;

use std::time::Duration;

use dte_protocol_webdav::markers::{Reader, Told, Trailer};
use futures_util::StreamExt as _;
use peer::{Peer, content};
use scene::Scene;

const SECRET: &str = "Bearer a-secret-of-the-other-server";

async fn scene() -> Scene {
    let settings = "[http.outbound]\nallow = ['127.0.0.0/8']\n[edge]\nfsync = false\n\
                    [edge.third_party]\npause = '500ms'\nstall = '2s'\nmarker_interval = '100ms'\n";
    Scene::with(settings).await
}

/// The status, the last number of bytes, and how it ended.
async fn copy(scene: &Scene, path: &str, headers: &[(&str, &str)]) -> (u16, u64, Trailer) {
    let mut request = scene.request("COPY", path).header("transferheaderauthorization", SECRET);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let reply = request.send().await.expect("an answer");
    let status = reply.status.as_u16();
    let text = reply.text().await.expect("text");
    assert!(!text.contains("a-secret"), "{text}");
    if status != 202 {
        return (status, 0, Trailer::Failure(text));
    }
    let mut reader = Reader::default();
    let mut told = reader.push(text.as_bytes());
    told.extend(reader.finish());
    let bytes = told.iter().rev().find_map(|told| match told {
        Told::Marker(marker) => Some(marker.bytes),
        Told::End(_) => None,
    });
    match told.pop() {
        Some(Told::End(trailer)) => (status, bytes.expect("a marker"), trailer),
        other => panic!("{other:?} in {text}"),
    }
}

async fn pull(scene: &Scene, peer: &Peer, name: &str) -> Trailer {
    copy(scene, "/local/in", &[("source", &peer.url(name))]).await.2
}

/// Whether it comes true; a busy disk takes its time.
async fn within_seconds(is_true: impl Fn() -> bool) -> bool {
    for _ in 0..200 {
        if is_true() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    false
}

fn failure(trailer: Trailer) -> String {
    match trailer {
        Trailer::Failure(text) => text,
        other => panic!("{other:?}"),
    }
}

fn success() -> Trailer {
    Trailer::Success("Created".to_owned())
}

#[tokio::test]
async fn pulls_that_go_well() {
    let (scene, peer) = (scene().await, Peer::start().await);
    let (status, bytes, end) = copy(&scene, "/local/a/b/in", &[("source", &peer.url("/ok"))]).await;
    assert_eq!((status, bytes, end), (202, content().len() as u64, success()));
    assert_eq!(scene.get("/local/a/b/in").await.1, content());
    assert_eq!(peer.seen("GET", "/ok")[0].headers["authorization"], SECRET);
    // It broke off twice, and went on each time as the same file.
    assert_eq!(pull(&scene, &peer, "/resume").await, success());
    let gets = peer.seen("GET", "/resume");
    assert_eq!((gets.len(), gets[1].headers["if-range"].as_str()), (3, "\"v1\""));
    assert_eq!(scene.get("/local/in").await.1, content());
    let required = [("source", &*peer.url("/ok")), ("requirechecksumverification", "true")];
    assert_eq!(copy(&scene, "/local/in", &required).await.2, success());
    assert!(scene.hidden("local").is_empty());
}

#[tokio::test]
async fn pulls_from_broken_servers_say_why_and_leave_nothing() {
    let (scene, peer) = (scene().await, Peer::start().await);
    for (name, texts) in [
        ("/none", &["status code 404"][..]),
        ("/vanish", &["Couldn't connect to server"]),
        ("/echo", &["status code 403", "you said Bearer …"]),
        ("/flip", &["CHECKSUM MISMATCH"]),
        ("/less", &["CHECKSUM MISMATCH"]),
        ("/more", &["Connection timed out", "no byte came"]),
        ("/truncate", &["Connection failed", "broke off", "of 3000017 bytes"]),
        ("/stall", &["Connection timed out", "no byte came"]),
        ("/changed", &["the file there is another now"]),
    ] {
        let text = failure(pull(&scene, &peer, name).await);
        for wanted in texts {
            assert!(text.contains(wanted), "{name}: {text}");
        }
        assert!(text.starts_with("SOURCE"), "{name}: {text}");
        assert_eq!(scene.names("/local/").await, [""; 0], "{name}");
        assert!(within_seconds(|| scene.hidden("local").is_empty()).await, "{name}");
    }
    let url = peer.url("/silent-truncate");
    let required = [("source", url.as_str()), ("requirechecksumverification", "true")];
    let silent = failure(copy(&scene, "/local/in", &[("source", &peer.url("/silent-truncate"))]).await.2);
    assert!(silent.contains("broke off"), "{silent}");
    // GET tells a checksum here, so the requirement is met and the break is what is told.
    assert!(failure(copy(&scene, "/local/in", &required).await.2).contains("broke off"));
}

#[tokio::test]
async fn one_answer_in_ten_is_an_error() {
    let (scene, peer) = (scene().await, Peer::start().await);
    let mut failed = 0;
    for n in 0..20 {
        let path = format!("/local/n{n}");
        match copy(&scene, &path, &[("source", &peer.url("/one-in-ten"))]).await.2 {
            Trailer::Success(_) => assert_eq!(scene.get(&path).await.1.len(), content().len()),
            Trailer::Failure(text) => {
                assert!(text.contains("status code 500; error message: \"on purpose\""), "{text}");
                assert_eq!(scene.status("HEAD", &path).await, 404);
                failed += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(failed, 2);
}

#[tokio::test]
async fn a_credential_is_shown_to_its_own_server_only() {
    let (scene, peer, other) = (scene().await, Peer::start().await, Peer::start().await);
    peer.redirects_to(other.url("/ok"));
    assert_eq!(pull(&scene, &peer, "/redirect").await, success());
    for seen in [other.seen("GET", "/ok"), other.seen("HEAD", "/ok")] {
        assert!(!seen.is_empty() && seen.iter().all(|seen| !seen.headers.contains_key("authorization")));
    }
    peer.redirects_to("/ok".to_owned());
    assert_eq!(pull(&scene, &peer, "/redirect").await, success());
    assert_eq!(peer.seen("GET", "/ok")[0].headers["authorization"], SECRET);
    peer.redirects_to(peer.url("/redirect"));
    assert!(failure(pull(&scene, &peer, "/redirect").await).contains("too many redirects"));
    peer.redirects_to("ftp://127.0.0.1/x".to_owned());
    assert!(failure(pull(&scene, &peer, "/redirect").await).contains("cannot be followed"));
    // An upload is sent on before it has begun.
    scene.engine.client.put(scene.url("/local/out")).bearer(&scene.admin).bytes(content()).send().await.expect("puts");
    let url = peer.url("/put/redirect");
    let (_, _, end) = copy(&scene, "/local/out", &[("destination", &url)]).await;
    assert_eq!(end, success());
    assert_eq!(peer.file("/put/there"), Some(content()));
}

#[tokio::test]
async fn pushes() {
    let (scene, peer) = (scene().await, Peer::start().await);
    scene.engine.client.put(scene.url("/local/out")).bearer(&scene.admin).bytes(content()).send().await.expect("puts");
    let push = async |name: &str, more: &[(&str, &str)]| {
        let url = peer.url(name);
        copy(&scene, "/local/out", &[&[("destination", url.as_str())], more].concat()).await
    };
    assert_eq!(push("/put/ok", &[]).await, (202, content().len() as u64, success()));
    assert_eq!(peer.file("/put/ok"), Some(content()));
    assert_eq!(peer.seen("PUT", "/put/ok")[0].headers["authorization"], SECRET);
    for (name, text) in [
        ("/put/half", "DESTINATION Connection failed"),
        ("/put/wrong", "CHECKSUM MISMATCH"),
        ("/put/full", "No space left on device"),
        ("/put/stall", "operation timeout"),
        ("/put/forbidden", "status code 403"),
    ] {
        let said = failure(push(name, &[]).await.2);
        assert!(said.contains(text), "{name}: {said}");
        assert_eq!(peer.file(name), None, "{name}");
    }
    let said = failure(push("/put/ok", &[("overwrite", "F")]).await.2);
    assert!(said.contains("The destination file exists and overwrite is not enabled"), "{said}");
    assert_eq!(peer.file("/put/ok"), Some(content()));
    // What was there and is not ours stays.
    peer.keep("/put/forbidden", b"old");
    failure(push("/put/forbidden", &[]).await.2);
    assert_eq!(peer.file("/put/forbidden").as_deref(), Some(&b"old"[..]));
    let nowhere = copy(&scene, "/local/none", &[("destination", &peer.url("/put/x"))]).await;
    assert_eq!(nowhere.0, 404);
}

#[tokio::test]
async fn a_push_leaves_what_somebody_else_brought() {
    let (scene, peer) = (scene().await, Peer::start().await);
    scene.engine.client.put(scene.url("/local/out")).bearer(&scene.admin).bytes(content()).send().await.expect("puts");
    for (name, overwrite, text) in [
        ("/put/taken", "F", "status code 412"),
        ("/put/taken-shorter", "F", "status code 412"),
        ("/put/taken", "T", "status code 412"),
        ("/put/raced", "F", "status code 500"),
        ("/put/raced", "T", "status code 500"),
    ] {
        let peer = if overwrite == "F" { peer.clone() } else { Peer::start().await };
        let url = peer.url(name);
        let headers = [("destination", url.as_str()), ("overwrite", overwrite)];
        let said = failure(copy(&scene, "/local/out", &headers).await.2);
        assert!(said.contains(text), "{name}: {said}");
        assert!(peer.file(name).is_some() && peer.seen("DELETE", name).is_empty(), "{name}");
        let condition = peer.seen("PUT", name)[0].headers.get("if-none-match").cloned();
        assert_eq!(condition.as_deref(), (overwrite == "F").then_some("*"), "{name}");
    }
}

#[tokio::test]
async fn whoever_goes_away_ends_the_copy() {
    let (scene, peer) = (scene().await, Peer::start().await);
    scene.engine.client.put(scene.url("/local/out")).bearer(&scene.admin).bytes(content()).send().await.expect("puts");
    let begin = async |path: &str, name: &str, url: String| {
        let request = scene.request("COPY", path).header(name.to_owned(), url);
        let mut body = request.send().await.expect("an answer").body.into_data_stream();
        body.next().await.expect("a marker").expect("a marker");
        body
    };
    let pulled = begin("/local/in", "source", peer.url("/stall")).await;
    let pushed = begin("/local/out", "destination", peer.url("/put/stall")).await;
    assert!(within_seconds(|| scene.hidden("local").len() == 1 && peer.file("/put/stall").is_some()).await);
    drop((pulled, pushed));
    if within_seconds(|| scene.hidden("local").is_empty() && peer.file("/put/stall").is_none()).await {
        return;
    }
    panic!("something stays behind: {:?}", scene.hidden("local"));
}

#[tokio::test]
async fn what_is_refused_before_it_begins() {
    let (scene, peer) = (scene().await, Peer::start().await);
    scene.put("/local/f", b"123").await;
    let (ok, put) = (peer.url("/ok"), peer.url("/put/x"));
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], u16);
    let cases: &[Case] = &[
        ("/local/x", &[("source", &ok), ("destination", &put)], 400),
        ("/local/x", &[("source", "nonsense")], 400),
        ("/local/x", &[("source", "file:///etc/passwd")], 400),
        ("/local/x", &[("source", &ok), ("credential", "gridsite")], 400),
        ("/local/x", &[("source", &ok), ("requirechecksumverification", "maybe")], 400),
        ("/local/x", &[("source", &ok), ("transferheaderhost", "evil")], 400),
        ("/local/f", &[("source", &ok), ("overwrite", "F")], 412),
        ("/local/", &[("source", &ok)], 405),
        ("/local/none", &[("destination", &put)], 404),
    ];
    for (path, headers, status) in cases {
        assert_eq!(copy(&scene, path, headers).await.0, *status, "{path} {headers:?}");
    }
    assert!(peer.seen("GET", "/ok").is_empty());
    // Who may create may not replace, and who may read may not pull.
    let creator = scene.engine.token_for("alice", &["storage.create:/local"]).await;
    let asked = |path| scene.request_as(&creator, "COPY", path).header("source", ok.clone());
    assert_eq!(scene::status(asked("/local/f")).await, 403);
    let reader = scene.engine.token_for("alice", &["storage.read:/local"]).await;
    assert_eq!(scene::status(scene.request_as(&reader, "COPY", "/local/x").header("source", ok.clone())).await, 403);
    assert_eq!(scene.names("/local/").await, ["f"]);
}

#[tokio::test]
async fn private_addresses_are_out_of_reach() {
    let (scene, peer) = (Scene::new().await, Peer::start().await);
    let text = failure(pull(&scene, &peer, "/ok").await);
    assert!(text.contains("is not a public address"), "{text}");
    let metadata = copy(&scene, "/local/in", &[("source", "http://169.254.169.254/latest/meta-data")]).await;
    assert!(failure(metadata.2).contains("is not a public address"));
    assert!(peer.seen("HEAD", "/ok").is_empty());
}
