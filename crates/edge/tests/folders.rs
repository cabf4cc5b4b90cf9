//! MKCOL, DELETE, MOVE, COPY, PROPFIND, PROPPATCH, listings.

mod scene;

use scene::{Scene, content, status};

#[tokio::test]
async fn making_and_deleting() {
    let scene = Scene::new().await;
    assert_eq!(scene.status("MKCOL", "/local/a/").await, 201);
    assert_eq!(scene.status("MKCOL", "/local/a").await, 405);
    assert_eq!(scene.status("MKCOL", "/local/x/y").await, 409);
    assert_eq!(scene.status("MKCOL", "/local/").await, 405);
    assert_eq!(status(scene.request("MKCOL", "/local/b").bytes(&b"<x/>"[..])).await, 415);
    scene.put("/local/a/f", b"x").await;
    assert_eq!(scene.status("DELETE", "/local/a").await, 409, "not empty");
    assert_eq!(scene.status("DELETE", "/local/a/f").await, 204);
    assert_eq!(scene.status("DELETE", "/local/a").await, 204);
    assert_eq!(scene.status("DELETE", "/local/a").await, 404);
    assert_eq!(scene.status("DELETE", "/local/").await, 403);
    assert_eq!(scene.put("/home/admin/t/u/v", b"x").await, 201);
    assert_eq!(scene.status("DELETE", "/home/admin/t").await, 204, "recursive in home");
    assert_eq!(scene.get("/home/admin/t/u/v").await.0, 404);
}

#[tokio::test]
async fn moving_and_copying() {
    let scene = Scene::with("[edge]\nfsync = false\n[[edge.areas]]\nname = \"other\"\npath = \"other\"\n").await;
    scene.put("/local/a", b"a").await;
    let go = |verb: &str, from: &str, to: String| scene.request(verb, from).header("destination", to);
    assert_eq!(status(go("MOVE", "/local/a", scene.url("/local/b"))).await, 201);
    assert_eq!(scene.get("/local/a").await.0, 404);
    assert_eq!(status(go("COPY", "/local/b", "/dav/local/c%20d".into())).await, 201);
    assert_eq!(scene.get("/local/c%20d").await.1, b"a");
    let head = scene.request("HEAD", "/local/c%20d").send().await.expect("an answer");
    assert_eq!(head.header("digest"), Some("adler32=00620062"), "the checksum came along");
    assert_eq!(status(go("COPY", "/local/b", "/dav/local/c%20d".into()).header("overwrite", "F")).await, 412);
    assert_eq!(status(go("MOVE", "/local/b", "/dav/local/c%20d".into())).await, 204);
    assert_eq!(status(go("MOVE", "/local/none", "/dav/local/x".into())).await, 404);
    assert_eq!(status(go("MOVE", "/local/c%20d", "/dav/local/c%20d".into())).await, 403);
    assert_eq!(status(go("MOVE", "/local/c%20d", "/dav/local/no/parent".into())).await, 409);
    assert_eq!(status(go("MOVE", "/local/c%20d", "/dav/other/x".into())).await, 400);
    assert_eq!(status(go("COPY", "/local/c%20d", "/dav/other/x".into())).await, 400);
    assert_eq!(status(go("MOVE", "/local/c%20d", "https://elsewhere.example/x".into())).await, 502);
    assert_eq!(status(scene.request("COPY", "/local/c%20d")).await, 400);
    assert_eq!(status(go("MOVE", "/local/c%20d", "/dav/local/../x".into())).await, 400);
    assert_eq!(status(go("MOVE", "/local/c%20d", "/dav/local/.dte-tmp/x".into())).await, 404);
    scene.put("/local/t/u/v", b"v").await;
    assert_eq!(status(go("COPY", "/local/t", "/dav/local/t/u/w".into())).await, 409, "into itself");
    assert_eq!(status(go("COPY", "/local/t", "/dav/local/s".into())).await, 201);
    assert_eq!(scene.get("/local/s/u/v").await.1, b"v");
    assert_eq!(status(go("COPY", "/local/t", "/dav/local/r".into()).header("depth", "0")).await, 201);
    assert!(scene.names("/local/r/").await.is_empty());
    assert_eq!(status(go("MOVE", "/local/t/", "/dav/local/q/".into())).await, 201);
    assert_eq!(scene.get("/local/q/u/v").await.1, b"v");
    assert!(scene.hidden("local").is_empty());
}

#[tokio::test]
async fn looking() {
    let scene = Scene::new().await;
    scene.put("/local/d/f.csv", b"12345").await;
    let find = |path: &str, depth: &str| scene.request("PROPFIND", path).header("depth", depth.to_owned());
    let one = find("/local/d/", "1").send().await.expect("an answer");
    assert_eq!(one.status, 207);
    let text = one.text().await.expect("text");
    assert!(text.find("<D:href>/dav/local/d/</D:href>") < text.find("<D:href>/dav/local/d/f.csv</D:href>"), "{text}");
    assert!(text.contains("<D:getcontentlength>5</D:getcontentlength>"));
    assert_eq!(status(find("/local/d", "infinity")).await, 403);
    assert_eq!(status(scene.request("PROPFIND", "/local/d")).await, 403, "infinity is the default");
    assert_eq!(status(find("/local/none", "0")).await, 404);
    assert_eq!(status(find("/local/d", "0").bytes(&b"<broken"[..])).await, 400);
    assert_eq!(scene.names("/").await, ["home", "local"]);
    assert_eq!(scene.names("/local/").await, ["d"], "the hidden folder is not listed");
    assert_eq!(status(find("/local/.dte-tmp", "0")).await, 404);
    let sums = "<propfind xmlns='DAV:' xmlns:s='http://storm.italiangrid.org/2014/webdav'>\
        <prop><s:Checksum/><quota-available-bytes/><nothing/></prop></propfind>";
    let text = find("/local/d/f.csv", "0").bytes(sums).send().await.expect("an answer").text().await.expect("text");
    assert!(text.contains("<S:Checksum>02f80100</S:Checksum>"), "{text}");
    assert!(text.contains("404 Not Found"));
    let text = find("/local/d", "0").bytes(sums).send().await.expect("an answer").text().await.expect("text");
    assert!(text.contains("<D:quota-available-bytes>"), "{text}");
}

#[tokio::test]
async fn properties_of_the_server_cannot_be_set() {
    let scene = Scene::new().await;
    scene.put("/local/f", b"x").await;
    let body = "<D:propertyupdate xmlns:D='DAV:'><D:set><D:prop><D:getlastmodified>x</D:getlastmodified>\
        </D:prop></D:set></D:propertyupdate>";
    let reply = scene.request("PROPPATCH", "/local/f").bytes(body).send().await.expect("an answer");
    assert_eq!(reply.status, 207);
    assert!(reply.text().await.expect("text").contains("403 Forbidden"));
    assert_eq!(status(scene.request("PROPPATCH", "/local/none").bytes(body)).await, 404);
    assert_eq!(status(scene.request("PROPPATCH", "/local/f").bytes("")).await, 400);
}

#[tokio::test]
async fn pages_and_probes() {
    let scene = Scene::new().await;
    scene.put("/local/d/%3Cscript%3E", b"x").await;
    let reply = scene.request("GET", "/local/d/").send().await.expect("an answer");
    assert_eq!(reply.header("content-type"), Some("text/html; charset=utf-8"));
    let text = String::from_utf8(content(reply).await).expect("text");
    assert!(text.contains("&lt;script&gt;") && text.contains("href=\"/dav/local/d/%3Cscript%3E\""), "{text}");
    let (code, _) = scene.get("/").await;
    assert_eq!(code, 200);
    let head = scene.request("HEAD", "/local/d").send().await.expect("an answer");
    assert_eq!(head.status, 200);
    assert!(head.header("content-length").is_some());
    for path in ["/", "/local/", "/local/x"] {
        let options = scene.anonymous("OPTIONS", path).send().await.expect("an answer");
        assert_eq!(options.status, 200);
        assert_eq!(options.header("dav"), Some("1, 2"));
        assert!(options.header("allow").is_some_and(|allow| allow.contains("PROPFIND")));
    }
    assert_eq!(scene.status("POST", "/local/d").await, 405);
    assert_eq!(scene.status("REPORT", "/local/d").await, 405);
}
