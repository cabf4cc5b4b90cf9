//! What must not happen: half-written files, ways out, rights that nobody gave, a full disk.

mod scene;

use std::time::Duration;

use bytes::Bytes;
use dte_identity::testing::TestSetup;
use scene::{Scene, content, status};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

#[tokio::test]
async fn what_is_half_written_is_not_there() {
    let scene = Scene::new().await;
    // Small and large bodies that break off, and bodies that are shorter than was said.
    for size in [1_000usize, 3_000_000] {
        let piece: Result<Bytes, std::io::Error> = Ok(Bytes::from(vec![7; size]));
        let broken = futures_util::stream::iter([piece, Err(std::io::Error::other("gone"))]);
        let put = scene.request("PUT", "/local/f").body(axum::body::Body::from_stream(broken));
        assert_eq!(status(put).await, 400);
        let short = scene.request("PUT", "/local/f").header("content-length", size + 1);
        let body = futures_util::stream::iter([Ok::<_, std::io::Error>(Bytes::from(vec![7; size]))]);
        assert_eq!(status(short.body(axum::body::Body::from_stream(body))).await, 400);
        assert_eq!(scene.get("/local/f").await.0, 404);
    }
    settle(|| scene.hidden("local").is_empty()).await;
}

#[tokio::test]
async fn nobody_sees_an_upload_before_it_is_whole() {
    let scene = Scene::new().await;
    let (send, receive) = tokio::sync::mpsc::channel::<Result<Bytes, std::io::Error>>(1);
    let stream = futures_util::stream::unfold(receive, |mut r| async { r.recv().await.map(|item| (item, r)) });
    let put = scene.request("PUT", "/local/f").body(axum::body::Body::from_stream(stream));
    let upload = tokio::spawn(status(put));
    for _ in 0..4 {
        send.send(Ok(Bytes::from(vec![1; 600_000]))).await.expect("takes");
    }
    settle(|| !scene.hidden("local").is_empty()).await;
    assert_eq!(scene.get("/local/f").await.0, 404);
    assert!(scene.names("/local/").await.is_empty());
    let hidden = scene.hidden("local").remove(0);
    let below = hidden.strip_prefix(scene.folder("local")).expect("below").to_str().expect("text").to_owned();
    assert_eq!(scene.get(&format!("/local/{below}")).await.0, 404);
    assert_eq!(scene.put(&format!("/local/{below}"), b"x").await, 404);
    drop(send);
    assert_eq!(upload.await.expect("ends"), 201);
    assert_eq!(scene.get("/local/f").await.1.len(), 2_400_000);
}

/// Over a socket, as a client that dies does it.
#[tokio::test]
async fn a_client_that_dies_leaves_nothing() {
    let scene = Scene::new().await;
    let server = scene.engine.listen();
    let address = server.addresses()[0].1;
    let head = format!(
        "PUT /dav/local/f HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}\r\nContent-Length: 5000000\r\n\r\n",
        scene.admin.expose()
    );
    let mut socket = tokio::net::TcpStream::connect(address).await.expect("connects");
    socket.write_all(head.as_bytes()).await.expect("writes");
    socket.write_all(&vec![3; 2_000_000]).await.expect("writes");
    settle(|| !scene.hidden("local").is_empty()).await;
    drop(socket);
    settle(|| scene.hidden("local").is_empty()).await;
    assert_eq!(scene.get("/local/f").await.0, 404);

    let mut socket = tokio::net::TcpStream::connect(address).await.expect("connects");
    let head = head.replace("5000000\r\n", "5\r\nExpect: 100-continue\r\n");
    socket.write_all(head.as_bytes()).await.expect("writes");
    let mut answer = [0; 25];
    socket.read_exact(&mut answer).await.expect("reads");
    assert!(answer.starts_with(b"HTTP/1.1 100 Continue"));
    socket.write_all(b"12345").await.expect("writes");
    let mut answer = [0; 12];
    socket.read_exact(&mut answer).await.expect("reads");
    assert_eq!(&answer, b"HTTP/1.1 201");
    drop(socket);
    assert!(server.stop(Duration::from_secs(5)).await);
}

#[tokio::test]
async fn what_a_killed_engine_left_goes_at_the_next_start() {
    let temp = tempfile::tempdir().expect("temp");
    let left = temp.path().join("storage/local/.dte-tmp/0190-gone");
    std::fs::create_dir_all(&left).expect("makes");
    std::fs::write(left.join("1"), "half").expect("writes");
    let setup = TestSetup { data_dir: Some(temp.path().to_owned()), ..TestSetup::default() };
    let scene = Scene::start(setup).await;
    assert!(!left.exists());
    assert!(scene.names("/local/").await.is_empty());
}

#[tokio::test]
async fn no_way_out() {
    let scene = Scene::new().await;
    std::fs::write(scene.engine.data_dir().join("secret"), "s").expect("writes");
    std::os::unix::fs::symlink("../../secret", scene.folder("local").join("link")).expect("links");
    std::os::unix::fs::symlink("/etc", scene.folder("local").join("etc")).expect("links");
    let server = scene.engine.listen();
    let address = server.addresses()[0].1;
    for path in [
        "/dav/local/../../secret",
        "/dav/local/%2e%2e/%2e%2e/secret",
        "/dav/local/..%2f..%2fsecret",
        "/dav/local/%2e%2e%2f%2e%2e%2fsecret",
        "/dav/local/x/../../../secret",
        "/dav/local//secret",
        "/dav/local/..\\..\\secret",
        "/dav/local/%5c..%5csecret",
        "/dav/local/a%00b",
        "/dav/%2e%2e/secret",
        "/dav/../secret",
        "/dav/local/link",
        "/dav/local/etc/passwd",
        "/dav/local/.dte-tmp/",
        "/dav/local/%2edte-tmp/",
        "/dav/local/%ff",
        "/dav/local/%zz",
    ] {
        for method in ["GET", "PUT", "DELETE", "PROPFIND", "MKCOL"] {
            let mut socket = tokio::net::TcpStream::connect(address).await.expect("connects");
            let request = format!(
                "{method} {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}\r\nDepth: 1\r\n\
                 Content-Length: 0\r\nConnection: close\r\n\r\n",
                scene.admin.expose()
            );
            socket.write_all(request.as_bytes()).await.expect("writes");
            let mut answer = String::new();
            socket.read_to_string(&mut answer).await.expect("reads");
            let code: u16 = answer[9..12].parse().expect("a status");
            let link_itself = path.ends_with("/link") && matches!(method, "PUT" | "DELETE");
            assert!((400..500).contains(&code) || link_itself, "{method} {path}: {answer}");
            if link_itself {
                // Names may be replaced and deleted; what a link points to is never touched.
                std::os::unix::fs::symlink("../../secret", scene.folder("local").join("link")).ok();
            }
        }
    }
    assert_eq!(std::fs::read_to_string(scene.engine.data_dir().join("secret")).expect("reads"), "s");
    server.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn without_a_token() {
    let scene = Scene::new().await;
    scene.put("/local/f", b"x").await;
    for method in ["GET", "HEAD", "PUT", "DELETE", "MKCOL", "PROPFIND", "PROPPATCH", "MOVE", "COPY", "LOCK"] {
        let reply = scene.anonymous(method, "/local/f").send().await.expect("an answer");
        assert_eq!(reply.status, 401, "{method}");
        assert!(reply.header("www-authenticate").is_some_and(|challenge| challenge.starts_with("Bearer")));
    }
    for (what, token) in scene.engine.hostile_tokens() {
        let request =
            scene.anonymous("DELETE", "/local/f").header("authorization", format!("Bearer {}", token.expose()));
        assert!(matches!(status(request).await, 401 | 431), "{what}");
    }
    assert_eq!(scene.get("/local/f").await.1, b"x");
}

#[tokio::test]
async fn scopes() {
    let scene = Scene::new().await;
    scene.put("/local/d/f", b"x").await;
    let token = async |scope: &str| scene.engine.token_for("alice", &[scope]).await;
    let read = token("storage.read:/local/d").await;
    let ask = async |token: &dte_base::secret::Secret, method: &str, path: &str| {
        status(scene.request_as(token, method, path).header("depth", "1")).await
    };
    assert_eq!(ask(&read, "GET", "/local/d/f").await, 200);
    assert_eq!(ask(&read, "PROPFIND", "/local/d").await, 207);
    assert_eq!(ask(&read, "GET", "/local/dd").await, 403);
    assert_eq!(ask(&read, "PROPFIND", "/local").await, 403);
    for method in ["PUT", "DELETE", "MKCOL", "PROPPATCH"] {
        assert_eq!(ask(&read, method, "/local/d/f").await, 403, "{method}");
    }
    let create = token("storage.create:/local/d").await;
    assert_eq!(ask(&create, "PUT", "/local/d/new").await, 201);
    assert_eq!(ask(&create, "PUT", "/local/d/new").await, 412, "replacing needs modify");
    assert_eq!(ask(&create, "GET", "/local/d/f").await, 403);
    assert_eq!(ask(&create, "HEAD", "/local/d/f").await, 200);
    assert_eq!(ask(&create, "DELETE", "/local/d/f").await, 403);
    assert_eq!(ask(&create, "MKCOL", "/local/d/sub").await, 201);
    let modify = token("storage.modify:/local/d").await;
    assert_eq!(ask(&modify, "PUT", "/local/d/new").await, 204);
    let go = scene.request_as(&modify, "MOVE", "/local/d/new").header("destination", "/dav/local/out");
    assert_eq!(status(go).await, 403);
    let go = scene.request_as(&modify, "COPY", "/local/d/new").header("destination", "/dav/local/d/copy");
    assert_eq!(status(go).await, 403, "copying needs read");
    assert_eq!(ask(&modify, "DELETE", "/local/d/new").await, 204);
    assert_eq!(ask(&read, "PROPFIND", "/local/d/none").await, 404);
}

#[tokio::test]
async fn homes() {
    let scene = Scene::new().await;
    let alice = scene.engine.token_for("alice", &[]).await;
    let bob = scene.engine.token_for("bob", &[]).await;
    let ask = async |token: &dte_base::secret::Secret, method: &str, path: &str| {
        status(scene.request_as(token, method, path).header("depth", "1")).await
    };
    assert_eq!(ask(&alice, "PROPFIND", "/home/alice/").await, 207, "it is there from the beginning");
    assert_eq!(ask(&alice, "PUT", "/home/alice/x/y").await, 201);
    assert_eq!(ask(&bob, "PUT", "/home/bob/z").await, 201);
    for method in ["GET", "HEAD", "PUT", "DELETE", "PROPFIND", "MKCOL"] {
        assert_eq!(ask(&bob, method, "/home/alice/x/y").await, 403, "{method}");
        assert_eq!(ask(&bob, method, "/local/f").await, 403, "{method}");
    }
    let reply = scene.request_as(&bob, "PROPFIND", "/home/").header("depth", "1").send().await.expect("an answer");
    assert_eq!(reply.status, 207);
    let text = String::from_utf8(content(reply).await).expect("text");
    assert!(text.contains("/dav/home/bob/") && !text.contains("alice"), "{text}");
    assert_eq!(scene.names("/home/").await, ["alice", "bob"], "an administrator sees all");
}

/// A small filesystem of its own, so that it can be filled.
#[tokio::test]
async fn a_full_disk() {
    if std::env::var("DTE_TEST_SYSTEM").as_deref() != Ok("1") {
        println!("SKIPPED: a full disk needs a mount; set DTE_TEST_SYSTEM=1");
        return;
    }
    let temp = tempfile::tempdir().expect("temp");
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"])
        .arg(temp.path())
        .status()
        .is_ok_and(|status| status.success());
    assert!(mounted, "mount failed");
    let config = format!("[[edge.areas]]\nname = \"small\"\npath = \"{}\"\n", temp.path().display());
    let scene = Scene::with(&config).await;
    assert_eq!(scene.put("/small/first", b"first").await, 201);
    // Said beforehand, found out in the middle, and found out with many small files.
    let body = |size: usize| {
        let pieces = (0..size / 100_000).map(|_| Ok::<_, std::io::Error>(Bytes::from(vec![1; 100_000])));
        axum::body::Body::from_stream(futures_util::stream::iter(pieces.collect::<Vec<_>>()))
    };
    let said = scene.request("PUT", "/small/big").header("content-length", 4_000_000).body(body(4_000_000));
    let reply = said.send().await.expect("an answer");
    assert_eq!(reply.status, 507);
    assert!(reply.text().await.expect("text").contains("no room"));
    assert_eq!(status(scene.request("PUT", "/small/big").body(body(4_000_000))).await, 507);
    settle(|| {
        std::fs::read_dir(temp.path().join(".dte-tmp"))
            .is_ok_and(|dir| dir.flatten().all(|d| d.path().read_dir().is_ok_and(|mut inner| inner.next().is_none())))
    })
    .await;
    let mut codes = Vec::new();
    for n in 0..30 {
        codes.push(status(scene.request("PUT", &format!("/small/s{n}")).bytes(vec![2; 100_000])).await);
    }
    assert!(codes.contains(&201) && codes.contains(&507) && codes.iter().all(|code| matches!(code, 201 | 507)));
    for (n, code) in codes.iter().enumerate() {
        let (found, content) = scene.get(&format!("/small/s{n}")).await;
        assert_eq!((found, content.len()), if *code == 201 { (200, 100_000) } else { (404, content.len()) });
    }
    assert_eq!(scene.get("/small/first").await.1, b"first");
    drop(scene);
    let unmounted = std::process::Command::new("umount").arg("-l").arg(temp.path()).status();
    assert!(unmounted.is_ok_and(|status| status.success()));
}

/// Waits until something that happens beside the answer has happened.
async fn settle(mut done: impl FnMut() -> bool) {
    for _ in 0..200 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it did not come to rest");
}
