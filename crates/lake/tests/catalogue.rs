//! Accounts, scopes, storage elements, DIDs, replicas: shapes and refusals.

mod support;

use dte_protocol_rucio::{Attachment, Class, Did, DidType, NewDid, NewReplica};
use http::Method;
use serde_json::json;
use support::worlds;

#[tokio::test]
async fn who_may_what() {
    for world in worlds().await {
        let lake = world.lake();
        assert_eq!(lake.whoami().await.expect("whoami"), "root");
        let alice = world.engine.token_for("alice", &[]).await;
        let hers = world.client(&alice);
        assert_eq!(hers.whoami().await.expect("whoami"), "alice");
        hers.ensure_scope("alice", "user.alice").await.expect("her own scope");
        assert!(hers.ensure_scope("alice", "enso").await.expect_err("denied").is(Class::AccessDenied));
        assert!(hers.ensure_scope("root", "user.root").await.expect_err("denied").is(Class::AccessDenied));
        lake.ensure_scope("root", "enso").await.expect("any scope");
        lake.ensure_scope("root", "enso").await.expect("exists already");
        hers.add_dids(&[NewDid::dataset(&Did::new("user.alice", "ds"))]).await.expect("her own dataset");
        let foreign = NewDid::dataset(&Did::new("enso", "ds"));
        assert!(hers.add_dids(std::slice::from_ref(&foreign)).await.expect_err("denied").is(Class::AccessDenied));
        let replica = NewReplica::new(&Did::new("enso", "f"), 1, "00000001");
        assert!(hers.add_replicas("LOCAL", &[replica]).await.expect_err("denied").is(Class::AccessDenied));
        let replica = NewReplica::new(&Did::new("user.alice", "f"), 1, "00000001");
        hers.add_replicas("LOCAL", &[replica]).await.expect("her own file");
        assert!(hers.ensure_rse("MINE").await.expect_err("denied").is(Class::AccessDenied));
        // A token that says what it may do must say that it may change the catalogue.
        let narrow = world.engine.token_for("alice", &["storage.read:/local"]).await;
        let answer = world.call(&narrow, Method::POST, "/dids", Some(&json!([foreign]))).await;
        assert_eq!(answer.class, "AccessDenied");
        let answer = world.call(&narrow, Method::GET, "/rses/", None).await;
        assert_eq!(answer.class, "AccessDenied", "nor is it for reading");
        let reader = world.engine.token_for("alice", &["dte.lake.read"]).await;
        assert_eq!(world.call(&reader, Method::GET, "/rses/", None).await.status, 200);
        assert_eq!(world.call(&reader, Method::POST, "/dids", Some(&json!([foreign]))).await.class, "AccessDenied");
        let wide = world.engine.token_for("alice", &["storage.read:/local", "dte.lake"]).await;
        world.client(&wide).add_dids(&[NewDid::dataset(&Did::new("user.alice", "ds2"))]).await.expect("dte.lake");
        // No token, bad tokens.
        let answer = world.call(&dte_base::secret::Secret::new(""), Method::GET, "/rses/", None).await;
        assert_eq!((answer.status, answer.class.as_str()), (400, "ValueError"));
        for (what, token) in world.engine.hostile_tokens() {
            if token.expose().is_empty() {
                continue;
            }
            let answer = world.call(&token, Method::POST, "/scopes/root/evil", None).await;
            assert!([401, 431].contains(&answer.status), "{what}: {answer:?}");
        }
        assert_eq!(world.get("/scopes/").await.json(), json!(["enso", "user.alice"]));
        let validated = world.get("/auth/validate").await;
        assert!(validated.text.contains("'account': 'root'"), "{validated:?}");
        assert_eq!(world.get("/ping").await.json(), json!({"version": "41.5.1"}));
    }
}

#[tokio::test]
async fn storage_elements() {
    for world in worlds().await {
        world.rse("FAR").await;
        let lake = world.lake();
        assert_eq!(world.post("/rses/FAR", json!({})).await.class, "Duplicate");
        assert_eq!(world.post("/rses/lower", json!({})).await.class, "InvalidObject");
        lake.ensure_rse_attribute("FAR", "tier", "1").await.expect("attribute");
        assert_eq!(world.post("/rses/FAR/attr/fast", json!({"value": "True"})).await.status, 201);
        assert_eq!(world.post("/rses/FAR/attr/fast", json!({"value": true})).await.class, "Duplicate");
        assert_eq!(world.get("/rses/FAR/attr/").await.json(), json!({"FAR": true, "fast": true, "tier": "1"}));
        assert_eq!(lake.list_rses("*").await.expect("all"), ["FAR", "LOCAL"]);
        assert_eq!(lake.list_rses("tier<2&fast=true").await.expect("some"), ["FAR"]);
        assert_eq!(lake.list_rses("*\\FAR").await.expect("some"), ["LOCAL"]);
        let bad = world.get("/rses/?expression=(FAR").await;
        assert_eq!((bad.status, bad.class.as_str()), (400, "InvalidRSEExpression"));
        let local = lake.get_rse("LOCAL").await.expect("LOCAL");
        let url = &world.engine.url;
        assert_eq!(local.protocols[0].hostname, url.host_str().expect("host"));
        let pfn = lake.pfn("LOCAL", &Did::new("mock448417", "a/b.root")).await.expect("pfn");
        assert_eq!(pfn, world.engine.url_of("/dav/local/mock448417/d9/7c/a/b.root"));
        let bad = json!({"hostname": "h", "domains": {"moon": {"read": 1}}});
        assert_eq!(world.post("/rses/FAR/protocols/https", bad).await.class, "RSEProtocolDomainNotSupported");
        let far = world.get("/rses/FAR").await.json();
        assert_eq!((&far["availability_write"], &far["protocols"][0]["prefix"]), (&json!(true), &json!("/data/")));
        let answer = world.call(&world.root, Method::DELETE, "/rses/FAR/protocols/davs", None).await;
        assert_eq!(answer.status, 200);
        assert_eq!(world.call(&world.root, Method::DELETE, "/rses/FAR", None).await.status, 200);
        assert_eq!(world.get("/rses/FAR").await.class, "RSENotFound");
        assert_eq!(world.post("/rses/FAR", json!({})).await.class, "Duplicate", "the name stays taken");
    }
}

#[tokio::test]
async fn collections_and_their_refusals() {
    for world in worlds().await {
        let lake = world.lake();
        let files = world.files("enso", &["a", "x/y", "z"]).await;
        let (ds, box1, box2) = (Did::new("enso", "d/s"), Did::new("enso", "box1"), Did::new("enso", "box2"));
        let made = [NewDid::dataset(&ds), NewDid::container(&box1), NewDid::container(&box2)];
        lake.add_dids(&made).await.expect("made");
        assert!(lake.add_dids(&made).await.expect_err("there").is(Class::DataIdentifierAlreadyExists));
        lake.ensure_dids(&made).await.expect("ensured");
        let attach = |parent: &Did, child: &Did| json!({"dids": [{"scope": child.scope, "name": child.name}], "parent": parent.to_string()});
        assert_eq!(world.post("/dids/enso/d/s/dids", attach(&ds, &files[1])).await.status, 201);
        assert_eq!(world.post("/dids/enso/d%2Fs/dids", attach(&ds, &files[1])).await.class, "FileAlreadyExists");
        lake.attach(&[Attachment::new(&ds, [files[1].clone(), files[0].clone()])]).await.expect("skips what is there");
        let wrong = json!({"dids": [{"scope": "enso", "name": "z", "bytes": 11}]});
        let answer = world.post("/dids/enso/d/s/dids", wrong.clone()).await;
        assert_eq!((answer.status, answer.class.as_str()), (500, "FileConsistencyMismatch"));
        let bulk = json!({"attachments": [{"scope": "enso", "name": "d/s", "dids": wrong["dids"]}]});
        assert_eq!(world.post("/dids/attachments", bulk).await.status, 412);
        assert_eq!(
            world.post("/dids/enso/d/s/dids", attach(&ds, &Did::new("enso", "no"))).await.class,
            "DataIdentifierNotFound"
        );
        assert_eq!(world.post("/dids/enso/a/dids", attach(&files[0], &files[1])).await.class, "UnsupportedOperation");
        lake.attach(&[Attachment::new(&box1, [ds.clone()])]).await.expect("dataset in container");
        assert_eq!(world.post("/dids/enso/box1/dids", attach(&box1, &ds)).await.class, "DuplicateContent");
        lake.attach(&[Attachment::new(&box2, [box1.clone()])]).await.expect("container in container");
        assert_eq!(
            world.post("/dids/enso/box1/dids", attach(&box1, &box2)).await.class,
            "UnsupportedOperation",
            "a cycle"
        );
        assert_eq!(
            world.post("/dids/enso/box1/dids", attach(&box1, &box1)).await.class,
            "UnsupportedOperation",
            "itself"
        );
        assert_eq!(world.post("/dids/enso/box1/dids", attach(&box1, &files[0])).await.class, "UnsupportedOperation");
        let content = lake.list_content(&ds).await.expect("content");
        let names: Vec<_> = content.iter().map(|one| (one.name.as_str(), one.kind)).collect();
        assert_eq!(names, [("a", DidType::File), ("x/y", DidType::File)]);
        assert_eq!(lake.list_files(&box2).await.expect("files").len(), 2);
        assert_eq!(world.get("/dids/enso/x/y/parents").await.lines()[0]["name"], "d/s");
        assert_eq!(world.get("/dids/enso/nope/dids").await.status, 404);
        assert!(world.get("/dids/enso/nope").await.class == "DataIdentifierNotFound");
        // Open: no size. Dynamic: now. Closed: frozen.
        let info = lake.get_did(&ds).await.expect("did");
        assert_eq!((info.open, info.length, info.bytes), (Some(true), None, None));
        assert_eq!(world.get("/dids/enso/box2?dynamic=True").await.json()["bytes"], 20);
        let world = &world;
        let status =
            |body| async move { world.call(&world.root, Method::PUT, "/dids/enso/d/s/status", Some(&body)).await };
        assert_eq!(status(json!({"monotonic": true})).await.class, "UnsupportedStatus");
        assert_eq!(status(json!({"open": false})).await.status, 200);
        assert_eq!(status(json!({"open": false})).await.class, "UnsupportedOperation");
        let info = lake.get_did(&ds).await.expect("did");
        assert_eq!((info.open, info.length, info.bytes), (Some(false), Some(2), Some(20)));
        assert_eq!(world.post("/dids/enso/d/s/dids", attach(&ds, &files[2])).await.class, "UnsupportedOperation");
        lake.detach(&ds, &files[..1]).await.expect("a closed dataset lets go");
        assert_eq!(lake.get_did(&ds).await.expect("did").length, Some(1));
        world.told("org.dte.lake.dataset.closed", 1).await;
    }
}

#[tokio::test]
async fn search_and_metadata() {
    for world in worlds().await {
        let lake = world.lake();
        world.files("enso", &["f1", "f2"]).await;
        let names = ["OBS.1980-01", "OBS.1980-02", "FC.1980-01"];
        let dids: Vec<NewDid> = names.iter().map(|name| NewDid::dataset(&Did::new("enso", *name))).collect();
        lake.add_dids(&dids).await.expect("datasets");
        assert_eq!(lake.list_dids("enso", "OBS.*", None).await.expect("search"), names[..2]);
        assert_eq!(lake.list_dids("enso", "*", Some(DidType::File)).await.expect("search"), ["f1", "f2"]);
        let meta = json!({"meta": {"campaign": "x", "level": 3}});
        assert_eq!(world.post("/dids/enso/FC.1980-01/meta", meta).await.status, 201);
        assert_eq!(world.post("/dids/enso/FC.1980-01/meta/quality", json!({"value": "good"})).await.status, 201);
        assert_eq!(world.post("/dids/enso/FC.1980-01/meta/bytes", json!({"value": 1})).await.class, "AccessDenied");
        let columns = world.get("/dids/enso/FC.1980-01/meta").await.json();
        assert_eq!(
            (&columns["did_type"], &columns["campaign"], columns.get("level")),
            (&json!("DATASET"), &json!("x"), None)
        );
        assert_eq!(world.get("/dids/enso/FC.1980-01/meta?plugin=ALL").await.json()["level"], 3);
        let search = |query: &str| format!("/dids/enso/dids/search?type=all&filters={query}");
        let filter = "%5B%7B%27campaign%27%3A%20%27x%27%2C%20%27level.gte%27%3A%203%7D%5D";
        assert_eq!(world.get(&search(filter)).await.lines(), [json!("FC.1980-01")]);
        let long = world.get("/dids/enso/dids/search?type=dataset&name=OBS.1980-01&long=1").await.lines();
        assert_eq!(
            long,
            [json!({"scope": "enso", "name": "OBS.1980-01", "did_type": "DATASET", "bytes": null, "length": null})]
        );
        assert_eq!(world.get("/dids/enso/dids/search?type=moon").await.class, "UnsupportedOperation");
        assert_eq!(world.get(&search("nonsense(")).await.class, "DIDFilterSyntaxError");
        assert_eq!(world.get("/dids/enso/dids/search?limit=1").await.lines().len(), 1);
        assert_eq!(world.get("/dids/enso/").await.lines().len(), 5);
        let gone = world.call(&world.root, Method::DELETE, "/dids/enso/FC.1980-01/meta?key=quality", None).await;
        assert_eq!(gone.status, 200);
        let gone = world.call(&world.root, Method::DELETE, "/dids/enso/FC.1980-01/meta?key=quality", None).await;
        assert_eq!(gone.status, 404);
    }
}

#[tokio::test]
async fn replicas() {
    for world in worlds().await {
        let lake = world.lake();
        let files = world.files("enso", &["a"]).await;
        world.files("enso", &["a"]).await;
        world.told("org.dte.lake.replica.available", 1).await;
        let pfn = world.engine.url_of("/dav/local/elsewhere");
        let body = json!({"rse": "LOCAL", "files": [{"scope": "enso", "name": "b", "bytes": 1, "pfn": pfn}]});
        assert_eq!(world.post("/replicas", body).await.class, "InvalidPath");
        let right = lake.pfn("LOCAL", &Did::new("enso", "b")).await.expect("pfn");
        let body = json!({"rse": "LOCAL", "files": [{"scope": "enso", "name": "b", "bytes": 1, "adler32": "0000000b", "pfn": right}]});
        assert_eq!(world.post("/replicas/", body).await.status, 201);
        let body = json!({"rse": "NOPE", "files": [{"scope": "enso", "name": "b", "bytes": 1}]});
        assert_eq!(world.post("/replicas", body).await.class, "RSENotFound");
        let body = json!({"rse": "LOCAL", "files": [{"scope": "nope", "name": "b", "bytes": 1}]});
        assert_eq!(world.post("/replicas", body).await.class, "ScopeNotFound");
        let entry = &lake.list_replicas(&files).await.expect("replicas")[0];
        assert_eq!((entry.bytes, entry.adler32.as_deref()), (Some(10), Some("0a1b2c3d")));
        assert_eq!(entry.states["LOCAL"], "AVAILABLE");
        assert!(entry.best_pfn().expect("pfn").ends_with("/a"));
        // Not deterministic: the PFN is needed and kept.
        assert_eq!(world.post("/rses/ODD", json!({"deterministic": false})).await.status, 201);
        let protocol = json!({"hostname": "odd.example.org", "port": 443, "prefix": "/p", "domains": {"wan": {"read": 1, "write": 1}}});
        assert_eq!(world.post("/rses/ODD/protocols/https", protocol).await.status, 201);
        let odd = |pfn: Option<&str>| json!({"rse": "ODD", "files": [{"scope": "enso", "name": "a", "bytes": 10, "pfn": pfn}]});
        assert_eq!(world.post("/replicas", odd(None)).await.class, "InvalidPath");
        assert_eq!(world.post("/replicas", odd(Some("https://odd.example.org/p/../q"))).await.class, "InvalidPath");
        assert_eq!(world.post("/replicas", odd(Some("https://odd.example.org:443/p/any/where"))).await.status, 201);
        let body = json!({"dids": [{"scope": "enso", "name": "a"}], "rse_expression": "ODD"});
        let listed = world.post("/replicas/list", body).await.lines();
        assert_eq!(listed[0]["rses"], json!({"ODD": ["https://odd.example.org:443/p/any/where"]}));
        let pfns = json!({"rse": "ODD", "pfns": ["https://odd.example.org:443/p/any/where"]});
        assert_eq!(world.post("/replicas/dids", pfns).await.lines().len(), 1);
        let none = world.post("/replicas/list", json!({"dids": [{"scope": "enso", "name": "unknown"}]})).await;
        assert_eq!((none.status, none.text.as_str()), (200, ""));
        assert_eq!(world.get("/replicas/enso/a").await.lines().len(), 1);
        assert_eq!(world.get("/replicas/enso/unknown").await.status, 404);
        let usage = world.get("/rses/LOCAL/usage").await.lines();
        assert_eq!((&usage[0]["files"], &usage[0]["used"]), (&json!(2), &json!(11)));
        // What a body must be.
        let bare = world.call(&world.root, Method::POST, "/replicas", None).await;
        assert_eq!((bare.status, bare.class.as_str()), (400, "ValueError"));
        assert_eq!(world.post("/replicas", json!([])).await.class, "TypeError");
        assert_eq!(world.post("/replicas", json!({"files": []})).await.class, "InvalidObject");
        assert_eq!(world.post("/replicas", json!({"rse": "LOCAL"})).await.class, "KeyError");
        assert_eq!(world.get("/nothing/here").await.status, 404);
    }
}

#[tokio::test]
async fn reading_is_open_until_readers_are_named() {
    for world in worlds().await {
        let lake = world.lake();
        lake.ensure_scope("root", "enso").await.expect("a scope");
        let file = Did::new("enso", "a.csv");
        lake.add_replicas("LOCAL", &[NewReplica::new(&file, 1, "00000001")]).await.expect("a file");
        let alice = world.client(&world.engine.token_for("alice", &[]).await);
        let files = std::slice::from_ref(&file);

        let token = alice.reading_token(files).await.expect("open").expect("a token");
        let principal = world.engine.identity.verify(token.expose()).await.expect("a good token");
        assert_eq!(principal.name(), "alice");
        let path = lake.pfn("LOCAL", &file).await.expect("a place");
        let path = path.split_once("/dav").expect("at the edge").1;
        assert!(principal.may_storage(dte_identity::StorageOp::Read, path).is_ok(), "{path}");
        assert!(principal.may_storage(dte_identity::StorageOp::Modify, path).is_err());
        assert!(principal.may_storage(dte_identity::StorageOp::Read, "/local/enso").is_err());
        assert!(principal.may("dte.lake.read").is_err(), "good for nothing else");

        assert!(alice.set_readers("enso", &["alice".to_owned()]).await.expect_err("not hers").is(Class::AccessDenied));
        lake.set_readers("enso", &["bob".to_owned(), "/ocean/enso".to_owned()]).await.expect("named");
        assert_eq!(alice.readers("enso").await.expect("shown"), ["/ocean/enso", "bob"]);
        assert!(alice.reading_token(files).await.expect_err("closed").is(Class::AccessDenied));
        let bob = world.client(&world.engine.token_for("bob", &[]).await);
        assert!(bob.reading_token(files).await.expect("a reader").is_some());
        assert!(lake.reading_token(files).await.expect("the owner").is_some());
        assert!(alice.get_did(&file).await.is_ok(), "the catalogue stays open");
        let odd = lake.set_readers("enso", &["a b".to_owned()]).await.expect_err("no name");
        assert!(odd.is(Class::InvalidObject), "{odd}");
        lake.set_readers("enso", &[]).await.expect("open again");
        assert!(alice.reading_token(files).await.expect("open").is_some());
        let nobody = alice.reading_token(&[Did::new("nowhere", "x")]).await.expect_err("no scope");
        assert!(nobody.is(Class::ScopeNotFound), "{nobody}");
    }
}
