//! Copies through the storage library between places of this edge, and its client.

mod scene;

use dte_protocol_webdav::client::{Upload, WebdavClient};
use dte_protocol_webdav::digest::{Algorithm, Digest};
use dte_storage::{CopyOrder, Errno, Storages, copy_verified};
use scene::Scene;

const SUM: u32 = 0x091e_01de;

#[tokio::test]
async fn verified_copies() {
    let scene = Scene::new().await;
    scene.put("/local/a/f", b"123456789").await;
    let storages = Storages::new(scene.engine.client.untrusted());
    let at =
        |path: &str| storages.resolve(&scene.url(path).replace("http:", "dav:"), Some(&scene.admin)).expect("resolves");
    let order = CopyOrder { bytes: Some(9), digests: vec![Digest::adler32(SUM)], ..CopyOrder::default() };
    let copied = copy_verified(&at("/local/a/f"), &at("/home/admin/new/f"), &order).await.expect("copies");
    assert_eq!((copied.bytes, copied.adler32), (9, SUM));
    assert_eq!(scene.get("/home/admin/new/f").await.1, b"123456789");
    assert_eq!(scene.names("/home/admin/new/").await, ["f"]);

    let again = copy_verified(&at("/local/a/f"), &at("/home/admin/new/f"), &order).await.expect_err("exists");
    assert_eq!(again.errno, Errno::EEXIST);
    let wrong = CopyOrder { digests: vec![Digest::adler32(1)], ..CopyOrder::default() };
    let error = copy_verified(&at("/local/a/f"), &at("/home/admin/g"), &wrong).await.expect_err("wrong");
    assert_eq!(error.errno, Errno::ECHECKSUM);
    // What the source says is right but what it sends is not: changed in place with the same size and time.
    let behind = scene.folder("local").join("a/f");
    let time = std::fs::metadata(&behind).expect("stat").modified().expect("time");
    let file = std::fs::File::options().write(true).open(&behind).expect("opens");
    std::io::Write::write_all(&mut &file, b"X").expect("writes");
    file.set_modified(time).expect("sets");
    let error =
        copy_verified(&at("/local/a/f"), &at("/home/admin/g"), &CopyOrder::default()).await.expect_err("rotten");
    assert_eq!(error.errno, Errno::ECHECKSUM);
    assert_eq!(scene.names("/home/admin/").await, ["new"]);

    let nobody = storages.resolve(&scene.url("/local/a/f"), None).expect("resolves");
    let error = copy_verified(&nobody, &at("/home/admin/g"), &CopyOrder::default()).await.expect_err("no token");
    assert_eq!(error.errno, Errno::EACCES);
    let error = copy_verified(&at("/local/none"), &at("/home/admin/g"), &CopyOrder::default()).await.expect_err("none");
    assert_eq!(error.errno, Errno::ENOENT);
}

#[tokio::test]
async fn the_typed_client() {
    let scene = Scene::new().await;
    let client = WebdavClient::new(scene.engine.client.clone(), Some(scene.admin.clone()));
    let url = |path: &str| scene.url(path).parse::<url::Url>().expect("a URL");
    client.mkcol_with_parents(&url("/local/a/b/c/")).await.expect("makes");
    client.mkcol_with_parents(&url("/local/a/b/c/")).await.expect("is there");
    let upload = |overwrite| Upload {
        body: axum::body::Body::from("123456789"),
        size: Some(9),
        digests: vec![Digest::adler32(SUM)],
        overwrite,
    };
    let stated = client.put(&url("/local/a/b/c/f"), upload(false)).await.expect("puts");
    assert_eq!(stated, [Digest::adler32(SUM)]);
    let refused = client.put(&url("/local/a/b/c/f"), upload(false)).await.expect_err("exists");
    assert_eq!(refused.status().map(|status| status.as_u16()), Some(412));
    let stat = client.stat(&url("/local/a/b/c/f")).await.expect("stat");
    assert_eq!((stat.size, stat.is_collection), (Some(9), false));
    let head = client.head(&url("/local/a/b/c/f"), Some(Algorithm::Adler32)).await.expect("head");
    assert_eq!(head.digests, [Digest::adler32(SUM)]);
    let range = dte_protocol_webdav::range::ByteRange { first: 2, last: 4 };
    let download = client.get(&url("/local/a/b/c/f"), Some(range)).await.expect("gets");
    assert_eq!(download.range, Some((range, Some(9))));
    assert_eq!(axum::body::to_bytes(download.body, 100).await.expect("reads"), "345");
    client.rename(&url("/local/a/b/c/f"), &url("/local/a/g"), false).await.expect("moves");
    let names: Vec<String> =
        client.list(&url("/local/a/")).await.expect("lists").iter().map(|r| r.path.plain()).collect();
    assert_eq!(names, ["/dav/local/a", "/dav/local/a/b", "/dav/local/a/g"]);
    client.delete(&url("/local/a/g")).await.expect("deletes");
    assert_eq!(client.delete(&url("/local/a/g")).await.expect_err("gone").status().map(|s| s.as_u16()), Some(404));
}
