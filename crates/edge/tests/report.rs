//! The storage resource report.

mod scene;

use std::time::{Duration, Instant};

use dte_base::secret::Secret;
use scene::{Scene, status};

const CONFIG: &str =
    "[edge]\nfsync = false\n[edge.report]\nname = \"Pacific\"\nquality = \"testing\"\nevery = \"1s\"\n";
/// Numbers come from a task; a busy machine may let it wait.
const PATIENCE: Duration = Duration::from_secs(60);

async fn report(scene: &Scene, token: Option<&Secret>) -> (u16, serde_json::Value) {
    let request = scene.engine.client.request(http::Method::GET, scene.engine.url_of("/srr"));
    let request = match token {
        Some(token) => request.bearer(token),
        None => request,
    };
    let reply = request.send().await.expect("an answer");
    let status = reply.status.as_u16();
    (status, serde_json::from_str(&reply.text().await.expect("text")).unwrap_or_default())
}

#[tokio::test]
async fn how_much_is_stored() {
    let area = "[[edge.areas]]\nname = \"disk\"\npath = \"storage/disk\"\nvos = [\"enso\"]\n";
    let scene = Scene::with(&format!("{CONFIG}{area}")).await;
    scene.put("/disk/a/b", b"12345").await;
    scene.put("/home/admin/mine", b"1").await;
    scene.put("/disk/c", b"678").await;
    std::os::unix::fs::symlink("/etc", scene.folder("disk").join("link")).expect("links");
    let begun = Instant::now();
    let service = loop {
        let (status, body) = report(&scene, Some(&scene.admin)).await;
        let service = body["storageservice"].clone();
        let shares = service["storageshares"].as_array().cloned().unwrap_or_default();
        let has = |name: &str, files: u64| {
            shares.iter().any(|share| share["name"] == name && share["numberoffiles"] == files)
        };
        if status == 200 && has("disk", 2) && has("home", 1) {
            break service;
        }
        assert!(status == 200 || status == 503, "{status}");
        assert!(begun.elapsed() < PATIENCE, "{body}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let shares = service["storageshares"].as_array().expect("shares");
    let disk = shares.iter().find(|share| share["name"] == "disk").expect("the area");
    assert_eq!(
        (&disk["usedsize"], &disk["vos"][0], &disk["path"][0]),
        (&8.into(), &"enso".into(), &"/dav/disk".into())
    );
    assert!(disk["totalsize"].as_u64() > Some(8) && disk["timestamp"].as_i64() > Some(0));
    assert_eq!(shares.len(), 3, "home and local as well");
    assert_eq!((&service["name"], &service["qualitylevel"]), (&"Pacific".into(), &"testing".into()));
    assert_eq!(service["implementation"], "dte");
    let online = &service["storagecapacity"]["online"];
    assert!(online["totalsize"].as_u64() >= online["usedsize"].as_u64());
    let endpoint = &service["storageendpoints"][0];
    assert_eq!((&endpoint["interfacetype"], &endpoint["assignedshares"][0]), (&"http".into(), &"all".into()));
    // Whose they are, for accounting.
    let star = scene.engine.client.request(http::Method::GET, scene.engine.url_of("/srr/star")).bearer(&scene.admin);
    let text = star.send().await.expect("an answer").text().await.expect("text");
    assert!(text.contains("<sr:StorageShare>disk</sr:StorageShare>"), "{text}");
    assert!(text.contains("<sr:FileCount>2</sr:FileCount><sr:SubjectIdentity><sr:Group>enso</sr:Group>"), "{text}");
    assert!(text.contains("<sr:LocalUser>admin</sr:LocalUser>"), "{text}");
    assert!(endpoint["endpointurl"].as_str().is_some_and(|url| url.ends_with("/dav")));
}

#[tokio::test]
async fn who_may_read_it() {
    let scene = Scene::with(CONFIG).await;
    let eva = scene.engine.token_for("eva", &[]).await;
    assert_eq!(report(&scene, None).await.0, 401);
    assert_eq!(report(&scene, Some(&eva)).await.0, 403);
    let open = Scene::with(&format!("{CONFIG}public = true\n")).await;
    assert!([200, 503].contains(&report(&open, None).await.0));
    let records = open.engine.client.request(http::Method::GET, open.engine.url_of("/srr/star"));
    assert_eq!(status(records).await, 401, "they name people");
    let none = Scene::new().await;
    let request = none.engine.client.request(http::Method::GET, none.engine.url_of("/srr")).bearer(&none.admin);
    assert_eq!(status(request).await, 404, "only where it is configured");
}
