//! Properties that clients leave with files and folders.

mod scene;

use scene::{Scene, status};

const ALL: &str = "<propfind xmlns='DAV:'><allprop/></propfind>";

async fn patch(scene: &Scene, path: &str, changes: &str) -> String {
    let body = format!("<propertyupdate xmlns='DAV:' xmlns:x='urn:x'>{changes}</propertyupdate>");
    let reply = scene.request("PROPPATCH", path).bytes(body).send().await.expect("an answer");
    assert_eq!(reply.status, 207);
    reply.text().await.expect("text")
}

async fn find(scene: &Scene, path: &str, depth: &str, body: &'static str) -> String {
    let request = scene.request("PROPFIND", path).header("depth", depth.to_owned()).bytes(body);
    request.send().await.expect("an answer").text().await.expect("text")
}

fn set(name: &str, value: &str) -> String {
    format!("<set><prop><x:{name}>{value}</x:{name}></prop></set>")
}

#[tokio::test]
async fn kept_with_their_namespaces() {
    let scene = Scene::new().await;
    scene.put("/local/d/f", b"x").await;
    let value = "a &lt; <y:b xmlns:y='urn:y' y:c='1'>ü<d/></y:b>";
    assert!(patch(&scene, "/local/d/f", &set("one", value)).await.contains("200 OK"));
    patch(&scene, "/local/d/", &format!("{}<set><prop xml:lang='de'><x:l>Wert</x:l></prop></set>", set("two", "2")))
        .await;
    let text = find(&scene, "/local/d/", "1", ALL).await;
    for part in [
        "<X:one xmlns:X=\"urn:x\">a &lt; <y:b xmlns:y=\"urn:y\" y:c=\"1\">ü<d xmlns=\"DAV:\"></d></y:b></X:one>",
        "<X:two xmlns:X=\"urn:x\">2</X:two>",
        "<X:l xmlns:X=\"urn:x\" xml:lang=\"de\">Wert</X:l>",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(dte_protocol_webdav::multistatus::parse(&text).is_ok());
    let names = find(&scene, "/local/d/f", "0", "<propfind xmlns='DAV:'><propname/></propfind>").await;
    assert!(names.contains("<X:one xmlns:X=\"urn:x\"/>"), "{names}");
    let named = "<propfind xmlns='DAV:'><prop><one xmlns='urn:x'/><none xmlns='urn:x'/></prop></propfind>";
    let text = find(&scene, "/local/d/f", "0", named).await;
    assert!(
        text.contains("<X:one") && text.contains("<X:none xmlns:X=\"urn:x\"/></D:prop><D:status>HTTP/1.1 404"),
        "{text}"
    );
}

#[tokio::test]
async fn all_or_nothing_and_in_order() {
    let scene = Scene::new().await;
    scene.put("/local/f", b"x").await;
    patch(&scene, "/local/f", &set("a", "1")).await;
    let text = patch(&scene, "/local/f", &format!("{}<remove><prop><getetag/></prop></remove>", set("a", "2"))).await;
    assert!(text.contains("<D:getetag/></D:prop><D:status>HTTP/1.1 403"), "{text}");
    assert!(text.contains("<X:a xmlns:X=\"urn:x\"/></D:prop><D:status>HTTP/1.1 424"), "{text}");
    assert!(find(&scene, "/local/f", "0", ALL).await.contains(">1</X:a>"), "nothing was changed");
    let both = format!("{}{}<remove><prop><x:a/></prop></remove>", set("a", "3"), set("b", "4"));
    patch(&scene, "/local/f", &both).await;
    let text = find(&scene, "/local/f", "0", ALL).await;
    assert!(!text.contains("X:a") && text.contains(">4</X:b>"), "{text}");
    let many: String = (0..101).map(|number| set(&format!("p{number}"), "")).collect();
    assert!(patch(&scene, "/local/f", &many).await.contains("507 Insufficient Storage"));
    assert!(patch(&scene, "/local/f", &set("large", &"x".repeat(40_000))).await.contains("507 Insufficient Storage"));
    let body = format!("<propertyupdate xmlns='DAV:'><set>{}</set></propertyupdate>", " ".repeat(70_000));
    assert_eq!(status(scene.request("PROPPATCH", "/local/f").bytes(body)).await, 413);
}

#[tokio::test]
async fn they_go_where_the_file_goes() {
    let scene = Scene::new().await;
    scene.put("/local/d/f", b"x").await;
    patch(&scene, "/local/d/f", &set("a", "1")).await;
    patch(&scene, "/local/d/", &set("a", "1")).await;
    let has = async |path: &str| find(&scene, path, "0", ALL).await.contains(">1</X:a>");
    let go = |verb: &str, from: &str, to: &str| scene.request(verb, from).header("destination", format!("/dav{to}"));
    assert_eq!(status(go("COPY", "/local/d/", "/local/copy/")).await, 201);
    assert!(has("/local/copy/").await && has("/local/copy/f").await);
    assert_eq!(status(go("MOVE", "/local/d/f", "/local/d/g")).await, 201);
    assert!(has("/local/d/g").await);
    scene.put("/local/plain", b"x").await;
    assert_eq!(status(go("COPY", "/local/plain", "/local/copy/f")).await, 204);
    assert!(!has("/local/copy/f").await, "those of what was replaced are gone");
    assert_eq!(scene.put("/local/d/g", b"other content").await, 204);
    assert!(has("/local/d/g").await, "other content is still the same resource");
    assert_eq!(scene.status("DELETE", "/local/d/g").await, 204);
    scene.put("/local/d/g", b"x").await;
    assert!(!has("/local/d/g").await);
}

#[tokio::test]
async fn who_may() {
    let scene = Scene::new().await;
    scene.put("/local/f", b"x").await;
    let body = format!("<propertyupdate xmlns='DAV:' xmlns:x='urn:x'>{}</propertyupdate>", set("a", "1"));
    for (scopes, expected) in [
        (["storage.read:/local", "storage.create:/local"], 403),
        (["storage.read:/local", "storage.modify:/local/g"], 403),
        (["storage.read:/local", "storage.modify:/local/f"], 207),
    ] {
        let token = scene.engine.token_for("eva", &scopes).await;
        let request = scene.request_as(&token, "PROPPATCH", "/local/f").bytes(body.clone());
        assert_eq!(status(request).await, expected, "{scopes:?}");
    }
}

#[tokio::test]
async fn only_readers_hear_what_was_left() {
    let scene = Scene::new().await;
    scene.put("/local/d/f", b"x").await;
    patch(&scene, "/local/d/f", &set("a", "secret")).await;
    for (scope, hears) in
        [("storage.create:/local", false), ("storage.read:/local", true), ("storage.read:/local/d", true)]
    {
        let token = scene.engine.token_for("eva", &[scope]).await;
        for body in [ALL, "<propfind xmlns='DAV:'><prop><a xmlns='urn:x'/></prop></propfind>"] {
            let request = scene.request_as(&token, "PROPFIND", "/local/d/f").header("depth", "0").bytes(body);
            let text = request.send().await.expect("an answer").text().await.expect("text");
            assert!(dte_protocol_webdav::multistatus::parse(&text).is_ok_and(|found| found.len() <= 1), "{text}");
            assert_eq!(text.contains("secret"), hears, "{scope}: {text}");
        }
    }
}

#[tokio::test]
async fn an_answer_has_an_end() {
    let scene = Scene::new().await;
    for number in 0..150 {
        std::fs::write(scene.folder("local").join(number.to_string()), "").expect("writes");
    }
    let names: String = (0..900).map(|number| format!("<a{number}/>")).collect();
    let body =
        format!("<D:propfind xmlns:D='DAV:'><D:prop xmlns='{}'>{names}</D:prop></D:propfind>", "n".repeat(1_000));
    let ask = |depth: &'static str| scene.request("PROPFIND", "/local/").header("depth", depth).bytes(body.clone());
    assert_eq!(status(ask("0")).await, 207);
    assert_eq!(status(ask("1")).await, 507, "a hundred megabytes and more");
}

#[tokio::test]
async fn what_others_left_spoils_no_answer() {
    let scene = Scene::new().await;
    scene.put("/local/f", b"x").await;
    patch(&scene, "/local/f", &set("a", "1")).await;
    let file = std::fs::File::open(scene.folder("local").join("f")).expect("opens");
    let leave = |value: &str| {
        rustix::fs::fsetxattr(&file, "user.dte.properties", value.as_bytes(), rustix::fs::XattrFlags::empty())
    };
    leave(
        r#"[{"namespace":"urn:x","name":"good","xml":"2"},{"namespace":"urn:x","name":"a","xml":"</X:a></D:prop>"},
        {"namespace":"DAV:","name":"getetag","xml":"forged"},{"namespace":"urn:x","name":"a b","xml":""}]"#,
    )
    .expect("sets");
    let text = find(&scene, "/local/", "1", ALL).await;
    assert!(dte_protocol_webdav::multistatus::parse(&text).is_ok_and(|found| found.len() == 2), "{text}");
    assert!(text.contains(">2</X:good>") && !text.contains("forged") && !text.contains("X:a"), "{text}");
    leave("nonsense").expect("sets");
    let text = find(&scene, "/local/", "1", ALL).await;
    assert!(dte_protocol_webdav::multistatus::parse(&text).is_ok_and(|found| found.len() == 2), "{text}");
}

#[tokio::test]
async fn an_area_can_insist_on_parents() {
    let config =
        "[edge]\nfsync = false\n[[edge.areas]]\nname = \"strict\"\npath = \"storage/strict\"\ncreate_parents = false\n";
    let scene = Scene::with(config).await;
    assert_eq!(scene.put("/strict/a/f", b"x").await, 409);
    let pull = scene.request("COPY", "/strict/a/f").header("source", "https://elsewhere.example/x");
    assert_eq!(status(pull).await, 409);
    assert_eq!(scene.status("MKCOL", "/strict/a").await, 201);
    assert_eq!(scene.put("/strict/a/f", b"x").await, 201);
    assert!(scene.hidden("strict").is_empty());
}
