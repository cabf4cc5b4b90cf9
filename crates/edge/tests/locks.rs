//! Locks (WebDAV class 2): who gets by them, what they are given for, and that they stay.

mod scene;

use dte_base::secret::Secret;
use dte_http::{Reply, RequestBuilder};
use dte_identity::testing::TestSetup;
use scene::{Scene, status};

const EXCLUSIVE: &str = "<D:lockinfo xmlns:D='DAV:'><D:lockscope><D:exclusive/></D:lockscope><D:locktype><D:write/></D:locktype>\
    <D:owner>eva &amp; co</D:owner></D:lockinfo>";
const SHARED: &str =
    "<D:lockinfo xmlns:D='DAV:'><D:lockscope><D:shared/></D:lockscope><D:locktype><D:write/></D:locktype></D:lockinfo>";

/// Two people who may both do all in `/local`.
struct Two {
    scene: Scene,
    eva: Secret,
    max: Secret,
}

const ALL_OF_LOCAL: &[&str] = &["storage.read:/local", "storage.modify:/local"];

impl Two {
    async fn new() -> Two {
        Two::with(
            Scene::with("[edge]\nfsync = false\n[[edge.areas]]\nname = \"local\"\nrecursive_delete = true\n").await,
        )
        .await
    }

    async fn with(scene: Scene) -> Two {
        let eva = scene.engine.token_for("eva", ALL_OF_LOCAL).await;
        let max = scene.engine.token_for("max", ALL_OF_LOCAL).await;
        Two { scene, eva, max }
    }

    fn ask(&self, who: &Secret, method: &str, path: &str) -> RequestBuilder {
        self.scene.request_as(who, method, path)
    }

    async fn lock(&self, who: &Secret, path: &str, body: &'static str, depth: &str) -> Reply {
        self.ask(who, "LOCK", path).header("depth", depth.to_owned()).bytes(body).send().await.expect("an answer")
    }

    /// Takes a lock and gives its token.
    async fn take(&self, who: &Secret, path: &str, body: &'static str, depth: &str) -> String {
        let reply = self.lock(who, path, body, depth).await;
        assert!(reply.status.is_success(), "{path}: {}", reply.status);
        token_of(&reply)
    }

    async fn put(&self, who: &Secret, path: &str, token: Option<&str>) -> u16 {
        let request = self.ask(who, "PUT", path).bytes(&b"new"[..]);
        status(match token {
            Some(token) => request.header("if", format!("(<{token}>)")),
            None => request,
        })
        .await
    }

    async fn unlock(&self, who: &Secret, path: &str, token: &str) -> u16 {
        status(self.ask(who, "UNLOCK", path).header("lock-token", format!("<{token}>"))).await
    }

    async fn discovery(&self, path: &str) -> String {
        let body = "<propfind xmlns='DAV:'><prop><lockdiscovery/><supportedlock/></prop></propfind>";
        let reply = self.ask(&self.max, "PROPFIND", path).header("depth", "0").bytes(body).send().await;
        reply.expect("an answer").text().await.expect("text")
    }
}

fn token_of(reply: &Reply) -> String {
    let header = reply.header("lock-token").expect("a token");
    header.trim_start_matches('<').trim_end_matches('>').to_owned()
}

#[tokio::test]
async fn a_file_is_its_holders() {
    let two = Two::new().await;
    let (eva, max) = (&two.eva, &two.max);
    two.scene.put("/local/f", b"old").await;
    let reply = two.lock(eva, "/local/f", EXCLUSIVE, "0").await;
    assert_eq!(reply.status, 200);
    let token = token_of(&reply);
    let body = reply.text().await.expect("text");
    for part in [token.as_str(), "<D:owner>eva &amp; co</D:owner>", "<D:depth>0</D:depth>", "/dav/local/f</D:href>"] {
        assert!(body.contains(part), "{part} in {body}");
    }
    assert!(two.discovery("/local/f").await.contains(&token));
    // Everything that writes, by somebody else and by the holder without the token.
    for who in [eva, max] {
        assert_eq!(two.put(who, "/local/f", None).await, 423);
        assert_eq!(status(two.ask(who, "DELETE", "/local/f")).await, 423);
        assert_eq!(status(two.ask(who, "MOVE", "/local/f").header("destination", "/dav/local/g")).await, 423);
        two.scene.put("/local/other", b"x").await;
        assert_eq!(status(two.ask(who, "COPY", "/local/other").header("destination", "/dav/local/f")).await, 423);
        assert_eq!(status(two.ask(who, "MOVE", "/local/other").header("destination", "/dav/local/f")).await, 423);
        let change = "<propertyupdate xmlns='DAV:'><set><prop><a xmlns='urn:a'>1</a></prop></set></propertyupdate>";
        assert_eq!(status(two.ask(who, "PROPPATCH", "/local/f").bytes(change)).await, 423);
        let pull = two.ask(who, "COPY", "/local/f").header("source", "https://elsewhere.example/x");
        assert_eq!(status(pull).await, 423, "a third-party copy");
        assert_eq!(two.lock(who, "/local/f", EXCLUSIVE, "0").await.status, 423);
        assert_eq!(two.lock(who, "/local/f", SHARED, "0").await.status, 423);
    }
    assert_eq!(two.put(max, "/local/f", Some(&token)).await, 423, "a token that somebody saw is no right");
    assert_eq!(two.unlock(max, "/local/f", &token).await, 403);
    let refused = two.ask(max, "PUT", "/local/f").bytes(&b"x"[..]).send().await.expect("an answer");
    let text = refused.text().await.expect("text");
    assert!(text.contains("<D:lock-token-submitted><D:href>/dav/local/f</D:href>"), "{text}");
    assert_eq!(two.scene.get("/local/f").await.1, b"old");
    // Reading and copying away are open, and a copy is not locked.
    assert_eq!(status(two.ask(max, "COPY", "/local/f").header("destination", "/dav/local/copy")).await, 201);
    assert_eq!(two.put(max, "/local/copy", None).await, 204);
    assert_eq!(two.put(eva, "/local/f", Some(&token)).await, 204);
    assert!(two.discovery("/local/f").await.contains(&token), "it stays over a replacement");
    assert_eq!(two.unlock(eva, "/local/copy", &token).await, 409);
    assert_eq!(two.unlock(eva, "/local/f", &token).await, 204);
    assert_eq!(two.put(max, "/local/f", None).await, 204);
    // An administrator can take away what was left behind.
    let token = two.take(eva, "/local/f", EXCLUSIVE, "0").await;
    assert_eq!(two.unlock(&two.scene.admin, "/local/f", &token).await, 204);
}

#[tokio::test]
async fn a_folder_with_all_that_is_in_it() {
    let two = Two::new().await;
    let (eva, max) = (&two.eva, &two.max);
    two.scene.put("/local/d/e/f", b"x").await;
    let token = two.take(eva, "/local/d/", EXCLUSIVE, "infinity").await;
    assert_eq!(two.put(max, "/local/d/e/f", None).await, 423);
    assert_eq!(two.put(max, "/local/d/new/deep", None).await, 423);
    assert_eq!(status(two.ask(max, "MKCOL", "/local/d/g")).await, 423);
    assert_eq!(status(two.ask(max, "DELETE", "/local/d")).await, 423);
    assert_eq!(two.lock(max, "/local/d/e/f", SHARED, "0").await.status, 423);
    assert_eq!(two.lock(max, "/local/", EXCLUSIVE, "infinity").await.status, 423, "a lock that would hold another one");
    assert_eq!(two.put(max, "/local/dd", None).await, 201, "only a name that begins like it");
    assert_eq!(two.put(eva, "/local/d/e/f", Some(&token)).await, 204);
    // A request may name the lock's own place; and refreshing works from anywhere in it.
    let tagged = two.ask(eva, "PUT", "/local/d/new").header("if", format!("</dav/local/d/> (<{token}>)"));
    assert_eq!(status(tagged.bytes(&b"x"[..])).await, 201);
    let refresh = two.ask(eva, "LOCK", "/local/d/e/f").header("if", format!("(<{token}>)"));
    assert_eq!(status(refresh.header("timeout", "Second-60")).await, 200);
    assert!(two.discovery("/local/d/e/f").await.contains("<D:timeout>Second-"));
    let others = two.ask(max, "LOCK", "/local/d/e/f").header("if", format!("(<{token}>)"));
    assert_eq!(status(others).await, 412);
    // What is moved away or deleted has no lock any more.
    let go = two.ask(eva, "MOVE", "/local/d/").header("destination", "/dav/local/m/");
    assert_eq!(status(go.header("if", format!("(<{token}>)"))).await, 201);
    assert_eq!(two.put(max, "/local/m/e/f", None).await, 204);
    assert_eq!(two.put(max, "/local/d/again", None).await, 201);
    // A lock of the folder alone is for its members, not for what they hold.
    let token = two.take(eva, "/local/m/", EXCLUSIVE, "0").await;
    assert_eq!(two.put(max, "/local/m/e/f", None).await, 204);
    assert_eq!(two.put(max, "/local/m/newer", None).await, 423);
    assert_eq!(two.put(max, "/local/m/x/y", None).await, 423, "it would make a folder");
    assert_eq!(status(two.ask(max, "DELETE", "/local/m/e/f")).await, 204);
    assert_eq!(status(two.ask(max, "DELETE", "/local/m/e")).await, 423);
    assert_eq!(status(two.ask(eva, "DELETE", "/local/m").header("if", format!("(<{token}>)"))).await, 204);
    assert_eq!(two.put(max, "/local/m/new", None).await, 201);
}

#[tokio::test]
async fn shared_locks_and_new_names() {
    let two = Two::new().await;
    let (eva, max) = (&two.eva, &two.max);
    let reply = two.lock(eva, "/local/new", SHARED, "0").await;
    assert_eq!(reply.status, 201, "a name that nothing has");
    let of_eva = token_of(&reply);
    assert_eq!(two.scene.get("/local/new").await, (200, Vec::new()));
    let of_max = two.take(max, "/local/new", SHARED, "0").await;
    assert_eq!(two.lock(max, "/local/new", EXCLUSIVE, "0").await.status, 423);
    assert_eq!(two.put(max, "/local/new", None).await, 423);
    assert_eq!(two.put(max, "/local/new", Some(&of_eva)).await, 423);
    assert_eq!(two.put(max, "/local/new", Some(&of_max)).await, 204);
    assert_eq!(two.put(eva, "/local/new", Some(&of_eva)).await, 204);
    assert_eq!(two.lock(eva, "/local/no/parent", EXCLUSIVE, "0").await.status, 409);
    assert_eq!(two.lock(eva, "/local/folder/", EXCLUSIVE, "0").await.status, 409);
    assert_eq!(two.lock(eva, "/local/new", EXCLUSIVE, "1").await.status, 400);
    assert_eq!(status(two.ask(eva, "LOCK", "/local/new").bytes("<broken")).await, 400);
    assert_eq!(status(two.ask(eva, "LOCK", "/local/new")).await, 400, "a refresh of nothing");
    assert_eq!(status(two.ask(eva, "UNLOCK", "/local/new")).await, 400);
    assert_eq!(two.unlock(eva, "/local/new", "urn:uuid:none").await, 409);
    let reader = two.scene.engine.token_for("eva", &["storage.read:/local", "storage.create:/local"]).await;
    assert_eq!(two.lock(&reader, "/local/other", EXCLUSIVE, "0").await.status, 403);
    assert_eq!(two.unlock(&reader, "/local/new", &of_eva).await, 403);
}

fn shared_with(owner: &str) -> String {
    SHARED.replace("</D:lockinfo>", &format!("{owner}</D:lockinfo>"))
}

#[tokio::test]
async fn listings_stay_small() {
    let two = Two::new().await;
    let eva = &two.eva;
    two.scene.put("/local/d/f", b"x").await;
    let text = "o".repeat(1_900);
    let body = shared_with(&format!("<D:owner>{text}</D:owner>"));
    let ask =
        |depth: &'static str| two.ask(eva, "LOCK", "/local/d/").header("depth", depth).bytes(body.clone().into_bytes());
    for _ in 0..10 {
        assert_eq!(status(ask("infinity")).await, 200);
    }
    assert_eq!(status(ask("infinity")).await, 507, "one person needs no more at one place");
    assert_eq!(status(two.ask(&two.max, "LOCK", "/local/d/").bytes(SHARED)).await, 200, "others have theirs");
    let locks_of = async |depth: &'static str, body: String| {
        let reply = two.ask(eva, "PROPFIND", "/local/d/").header("depth", depth).bytes(body).send().await;
        let text = reply.expect("an answer").text().await.expect("text");
        assert!(dte_protocol_webdav::multistatus::parse(&text).is_ok());
        text.split("<D:response>").skip(1).map(|one| one.matches("<D:activelock>").count()).collect::<Vec<_>>()
    };
    let named = format!("<propfind xmlns='DAV:'><prop>{}</prop></propfind>", "<lockdiscovery/>".repeat(900));
    assert_eq!(locks_of("1", named).await, [11, 3], "a name counts once");
    let all = "<propfind xmlns='DAV:'><allprop/><include><lockdiscovery/></include></propfind>";
    assert_eq!(locks_of("1", all.into()).await, [11, 3]);
    let other = "<propfind xmlns='DAV:'><prop><getetag/></prop></propfind>";
    assert_eq!(locks_of("1", other.into()).await, [0, 0]);
}

#[tokio::test]
async fn owners_are_small_sound_and_for_readers() {
    let two = Two::new().await;
    let eva = &two.eva;
    two.scene.put("/local/f", b"x").await;
    for (owner, expected) in [
        (format!("<D:owner xml:lang='{}'/>", "l".repeat(2_049)), 413),
        (format!("<D:owner xml:lang='{}'>{}</D:owner>", "l".repeat(1_000), "o".repeat(1_100)), 413),
        ("<D:owner><p:a xmlns:p='&#104;ttp://www.w3.org/2000/xmlns/'/></D:owner>".into(), 400),
        ("<D:owner xmlns:p='&#104;ttp://www.w3.org/XML/1998/namespace'><a p:b='1'/></D:owner>".into(), 400),
        ("<D:owner>Eva of the ocean</D:owner>".into(), 200),
    ] {
        let request = two.ask(eva, "LOCK", "/local/f").bytes(shared_with(&owner).into_bytes());
        assert_eq!(status(request).await, expected, "{owner}");
    }
    let looks = two.scene.engine.token_for("max", &["storage.create:/local"]).await;
    let body = "<propfind xmlns='DAV:'><allprop/></propfind>";
    for (who, hears) in [(&looks, false), (&two.max, true)] {
        let reply = two.ask(who, "PROPFIND", "/local/f").header("depth", "0").bytes(body).send().await;
        let text = reply.expect("an answer").text().await.expect("text");
        assert!(text.contains("<D:activelock>"), "{text}");
        assert_eq!(text.contains("Eva of the ocean"), hears, "{text}");
    }
}

#[tokio::test]
async fn conditions() {
    let two = Two::new().await;
    let eva = &two.eva;
    two.scene.put("/local/f", b"x").await;
    let head = two.ask(eva, "HEAD", "/local/f").send().await.expect("an answer");
    let tag = head.header("etag").expect("a tag").to_owned();
    let with = |condition: String| two.ask(eva, "PUT", "/local/g").header("if", condition).bytes(&b"x"[..]);
    assert_eq!(status(with(format!("</dav/local/f> ([{tag}])"))).await, 201);
    assert_eq!(status(with(format!("</dav/local/f> (Not [{tag}])"))).await, 412);
    assert_eq!(status(with("(Not <DAV:no-lock>)".into())).await, 204);
    assert_eq!(status(with("(<DAV:no-lock>)".into())).await, 412);
    assert_eq!(status(with("(<DAV:no-lock>".into())).await, 400);
    assert_eq!(status(with(format!("<https://elsewhere.example/f> ([{tag}])"))).await, 412);
    // Of what somebody may not look at, nothing is so.
    let narrow = two.scene.engine.token_for("eva", &["storage.modify:/local/g"]).await;
    let probe = two.scene.request_as(&narrow, "PUT", "/local/g").header("if", format!("</dav/local/f> ([{tag}])"));
    assert_eq!(status(probe.bytes(&b"x"[..])).await, 412);
    let read = two.ask(eva, "GET", "/local/f").header("if", "([\"another\"])");
    assert_eq!(status(read).await, 412);
}

#[tokio::test]
async fn locks_outlive_a_restart() {
    let folder = tempfile::tempdir().expect("temp");
    let setup = || TestSetup {
        config: "[http]\npublic_url = \"http://edge.example\"\n[edge]\nfsync = false\n".into(),
        data_dir: Some(folder.path().to_owned()),
        ..TestSetup::default()
    };
    let token = {
        let two = Two::with(Scene::start(setup()).await).await;
        two.scene.put("/local/f", b"x").await;
        let token = two.take(&two.eva, "/local/f", EXCLUSIVE, "0").await;
        assert!(two.scene.engine.stop().await);
        token
    };
    let two = Two::with(Scene::start(setup()).await).await;
    assert!(two.discovery("/local/f").await.contains(&token));
    assert_eq!(two.put(&two.max, "/local/f", None).await, 423);
    assert_eq!(two.put(&two.eva, "/local/f", Some(&token)).await, 204);
    assert_eq!(two.unlock(&two.eva, "/local/f", &token).await, 204);
}
