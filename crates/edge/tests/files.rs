//! Putting, getting, ranges, conditions, checksums.

mod scene;

use bytes::Bytes;
use futures_util::StreamExt as _;
use scene::{Scene, content, status};

const DATA: &[u8] = b"123456789";
const ADLER: &str = "adler32=091e01de";

#[tokio::test]
async fn put_and_get() {
    let scene = Scene::with("").await;
    assert_eq!(scene.put("/local/a/b/c.csv", DATA).await, 201);
    let reply = scene.request("GET", "/local/a/b/c.csv").send().await.expect("an answer");
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("digest"), Some(ADLER));
    assert_eq!(reply.header("content-type"), Some("text/csv"));
    assert_eq!(reply.header("accept-ranges"), Some("bytes"));
    let etag = reply.header("etag").expect("a tag").to_owned();
    let modified = reply.header("last-modified").expect("a time").to_owned();
    assert_eq!(content(reply).await, DATA);

    let head = scene.request("HEAD", "/local/a/b/c.csv").send().await.expect("an answer");
    assert_eq!((head.status.as_u16(), head.header("content-length")), (200, Some("9")));
    assert_eq!(head.header("etag"), Some(etag.as_str()));
    let not_modified = [("if-none-match", etag.as_str()), ("if-modified-since", modified.as_str())];
    for (name, value) in not_modified {
        assert_eq!(status(scene.request("GET", "/local/a/b/c.csv").header(name, value)).await, 304, "{name}");
    }

    let replaced = scene.request("PUT", "/local/a/b/c.csv").bytes(&b"new"[..]);
    assert_eq!(status(replaced).await, 204);
    let (_, now) = scene.get("/local/a/b/c.csv").await;
    assert_eq!(now, b"new");
    assert_eq!(status(scene.request("GET", "/local/a/b/c.csv").header("if-none-match", etag)).await, 200);
    assert_eq!(scene.put("/local/empty", b"").await, 201);
    let empty = scene.request("GET", "/local/empty").send().await.expect("an answer");
    assert_eq!((empty.header("digest"), empty.header("content-length")), (Some("adler32=00000001"), Some("0")));
    assert_eq!(scene.get("/local/none").await.0, 404);
    assert_eq!(scene.get("/nowhere/none").await.0, 404);
    assert_eq!(scene.put("/local/a", DATA).await, 405, "a folder is there");
    assert_eq!(scene.put("/local/a/b/c.csv/d", DATA).await, 409, "a file is in the way");
    assert_eq!(scene.put("/local/", DATA).await, 405);
    assert!(scene.hidden("local").is_empty());
}

#[tokio::test]
async fn names_of_all_kinds() {
    let scene = Scene::new().await;
    for (encoded, plain) in [
        ("a%20b", "a b"),
        ("100%25", "100%"),
        ("a+b", "a+b"),
        ("%23x%3F", "#x?"),
        ("%C3%A9t%C3%A9", "été"),
        ("a;b=c", "a;b=c"),
        (".hidden", ".hidden"),
        ("%252e", "%2e"),
    ] {
        assert_eq!(scene.put(&format!("/local/n/{encoded}"), DATA).await, 201, "{encoded}");
        assert!(scene.folder("local").join("n").join(plain).exists(), "{plain}");
        assert_eq!(scene.get(&format!("/local/n/{encoded}")).await.1, DATA);
        assert!(scene.names("/local/n/").await.contains(&plain.to_owned()));
    }
}

#[tokio::test]
async fn ranges() {
    let scene = Scene::new().await;
    scene.put("/local/f", DATA).await;
    let get = |range: &str| scene.request("GET", "/local/f").header("range", range.to_owned());
    let reply = get("bytes=2-4").send().await.expect("an answer");
    assert_eq!((reply.status.as_u16(), reply.header("content-range")), (206, Some("bytes 2-4/9")));
    assert_eq!(content(reply).await, b"345");
    assert_eq!(content(get("bytes=-2").send().await.expect("an answer")).await, b"89");
    let past = get("bytes=9-").send().await.expect("an answer");
    assert_eq!((past.status.as_u16(), past.header("content-range")), (416, Some("bytes */9")));
    let several = get("bytes=0-1,5-6,100-").send().await.expect("an answer");
    assert_eq!(several.status, 206);
    let kind = several.header("content-type").expect("a type").to_owned();
    let boundary = kind.strip_prefix("multipart/byteranges; boundary=").expect("multipart").to_owned();
    let text = String::from_utf8(content(several).await).expect("text");
    assert_eq!(text.matches(&format!("--{boundary}")).count(), 3);
    assert!(text.contains("Content-Range: bytes 5-6/9\r\n\r\n67\r\n"), "{text}");
    let etag =
        scene.request("HEAD", "/local/f").send().await.expect("an answer").header("etag").expect("a tag").to_owned();
    assert_eq!(status(get("bytes=2-4").header("if-range", etag)).await, 206);
    assert_eq!(status(get("bytes=2-4").header("if-range", "\"other\"")).await, 200);
    assert_eq!(status(get("bytes=nonsense")).await, 200);
}

#[tokio::test]
async fn large_files() {
    let scene = Scene::new().await;
    let data: Vec<u8> = (0..5_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let pieces: Vec<Result<Bytes, std::io::Error>> =
        data.chunks(70_001).map(|c| Ok(Bytes::copy_from_slice(c))).collect();
    let body = axum::body::Body::from_stream(futures_util::stream::iter(pieces));
    let sum = format!("adler32={:08x}", dte_storage::checksum::adler32(&data));
    let put = scene.request("PUT", "/local/big").header("digest", sum.clone()).body(body);
    let reply = put.send().await.expect("an answer");
    assert_eq!((reply.status.as_u16(), reply.header("digest")), (201, Some(sum.as_str())));
    let reply = scene.request("GET", "/local/big").send().await.expect("an answer");
    assert_eq!(reply.header("digest"), Some(sum.as_str()));
    assert!(content(reply).await == data);
    let range =
        scene.request("GET", "/local/big").header("range", "bytes=1000000-3999999").send().await.expect("an answer");
    assert!(content(range).await == data[1_000_000..4_000_000]);
    let several = scene.request("GET", "/local/big").header("range", "bytes=0-999999,4000000-4999999");
    assert!(content(several.send().await.expect("an answer")).await.len() > 2_000_000);
}

#[tokio::test]
async fn checksums_are_verified() {
    let scene = Scene::new().await;
    let put =
        |name: &'static str, value: &str| scene.request("PUT", "/local/f").header(name, value.to_owned()).bytes(DATA);
    for (name, value) in [
        ("digest", "adler32=00000001"),
        ("digest", "md5=1B2M2Y8AsgTpgAmY7PhCfg=="),
        ("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg=="),
        ("repr-digest", "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:"),
        ("content-digest", "adler=:AAAAAQ==:"),
        ("digest", "adler32=zz"),
    ] {
        let reply = put(name, value).send().await.expect("an answer");
        assert_eq!(reply.status, 400, "{name}: {value}");
        assert_eq!(scene.get("/local/f").await.0, 404);
    }
    assert!(scene.hidden("local").is_empty());
    for (name, value) in [
        ("digest", "ADLER32=91E01DE"),
        ("content-md5", "JfnnlDI7RTiF9RgfG2JNCw=="),
        ("repr-digest", "sha-256=:FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU=:"),
        ("digest", "tiger=whatever"),
    ] {
        assert!(matches!(status(put(name, value)).await, 201 | 204), "{name}: {value}");
    }
    // What is there stays when a replacement is wrong.
    assert_eq!(
        status(scene.request("PUT", "/local/f").header("digest", "adler32=00000001").bytes(&b"x"[..])).await,
        400
    );
    assert_eq!(scene.get("/local/f").await.1, DATA);
}

#[tokio::test]
async fn checksums_are_told() {
    let scene = Scene::new().await;
    scene.put("/local/f", DATA).await;
    let told = async |wanted: &'static str, value: &'static str, header: &'static str| {
        let reply = scene.request("HEAD", "/local/f").header(wanted, value).send().await.expect("an answer");
        assert_eq!(reply.status, 200);
        reply.header(header).map(str::to_owned)
    };
    assert_eq!(told("want-digest", "ADLER32", "digest").await.as_deref(), Some(ADLER));
    assert_eq!(told("want-digest", "md5", "digest").await.as_deref(), Some("md5=JfnnlDI7RTiF9RgfG2JNCw=="));
    let sha = "sha-256=:FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU=:";
    assert_eq!(told("want-repr-digest", "sha-256=1", "repr-digest").await.as_deref(), Some(sha));
    assert_eq!(told("want-repr-digest", "adler=1", "repr-digest").await.as_deref(), Some("adler=:CR4B3g==:"));
    assert_eq!(told("want-digest", "tiger", "digest").await.as_deref(), Some(ADLER));
    // A file that was changed behind the edge's back is computed again.
    std::fs::write(scene.folder("local").join("f"), "behind the back").expect("writes");
    let expected = format!("adler32={:08x}", dte_storage::checksum::adler32(b"behind the back"));
    assert_eq!(told("want-digest", "adler32", "digest").await, Some(expected));
}

#[tokio::test]
async fn conditions_on_writes() {
    let scene = Scene::new().await;
    let create = || scene.request("PUT", "/local/f").header("if-none-match", "*").bytes(DATA);
    assert_eq!(status(create()).await, 201);
    assert_eq!(status(create()).await, 412);
    let etag =
        scene.request("HEAD", "/local/f").send().await.expect("an answer").header("etag").expect("a tag").to_owned();
    let change = |tag: &str| scene.request("PUT", "/local/f").header("if-match", tag.to_owned()).bytes(&b"new"[..]);
    assert_eq!(status(change("\"other\"")).await, 412);
    assert_eq!(status(change(&etag)).await, 204);
    assert_eq!(status(change(&etag)).await, 412);
    assert_eq!(status(scene.request("DELETE", "/local/f").header("if-match", etag)).await, 412);
    assert_eq!(status(scene.request("PUT", "/local/g").header("content-range", "bytes 0-8/9").bytes(DATA)).await, 400);
}

#[tokio::test]
async fn many_at_once() {
    let scene = Scene::with("").await;
    let puts = (0..200).map(|n| {
        let request = scene.request("PUT", &format!("/local/m/{}/{n}", n % 5)).bytes(format!("content {n}"));
        async move { status(request).await }
    });
    let statuses: Vec<u16> = futures_util::stream::iter(puts).buffer_unordered(32).collect().await;
    assert!(statuses.iter().all(|status| *status == 201));
    assert_eq!(scene.get("/local/m/2/197").await.1, b"content 197");
    // Of many that want to be first, one is.
    let races = (0..20).map(|n| {
        let request = scene.request("PUT", "/local/race").header("if-none-match", "*").bytes(format!("{n}"));
        async move { status(request).await }
    });
    let statuses: Vec<u16> = futures_util::stream::iter(races).buffer_unordered(20).collect().await;
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1);
    assert_eq!(statuses.iter().filter(|status| **status == 412).count(), 19);
}
