//! The pages over services that answer as the real ones do.

mod fakes;
mod sample;

use dte_dashboard::Service;
use dte_identity::testing::TestEngine;
use dte_store::Event;
use fakes::World;
use http::StatusCode;

async fn engine(world: &World) -> TestEngine {
    TestEngine::start(async |ctx| {
        let mut mounts = fakes::mounts(world);
        mounts.extend(Service::open(ctx.for_service("dashboard")).await?.mounts());
        Ok(mounts)
    })
    .await
}

async fn get(engine: &TestEngine, path: &str) -> (StatusCode, String) {
    let reply = engine.client.get(engine.url_of(path)).bearer(&engine.admin_token()).send().await.expect("an answer");
    (reply.status, reply.text().await.expect("text"))
}

fn points(html: &str) -> usize {
    let record = html.split("plot record").nth(1).and_then(|rest| rest.split("</svg>").next()).expect("the record");
    record.matches("circle class=\"observed\"").count()
}

#[tokio::test]
async fn a_twin_from_its_services() {
    let world = World::at(30);
    let engine = engine(&world).await;
    let (status, html) = get(&engine, "/ui/twins/enso").await;
    assert_eq!(status, StatusCode::OK, "{html}");
    assert!(!html.contains("cannot be shown"), "{html}");
    assert_eq!(points(&html), 12 + 30);
    for text in [
        "level with reality",
        "Forecast for Jul 1982",
        "The skill gate is passed",
        "enso:nino12-*.csv",
        "30 files",
        "enso-model",
        "through workflow",
        "0.001234 EUR",
        "is not a number",
        "departure from usual",
        "mean of 1950–1979",
    ] {
        assert!(html.contains(text), "{text}");
    }
    // The lead and the window that are asked for.
    let (_, html) = get(&engine, "/ui/twins/enso/fragment?lead=6&scale=value&from=1981-01&to=1981-12").await;
    assert!(html.starts_with("<section") && html.contains("forecast of 6 months before"));
    assert_eq!(points(&html), 12);
    // It grows.
    world.reach(31);
    assert_eq!(points(&get(&engine, "/ui/twins/enso/fragment").await.1), 12 + 31);
}

#[tokio::test]
async fn twins_that_are_not_there_or_not_ours() {
    let engine = engine(&World::at(3)).await;
    let (status, html) = get(&engine, "/ui/twins/%3Cscript%3E").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(!html.contains("<script>") && html.contains("&lt;script&gt;"));
    let alice = engine.token_for("alice", &[]).await;
    for path in ["/ui/twins/enso", "/ui/twins/enso/fragment"] {
        let reply = engine.client.get(engine.url_of(path)).bearer(&alice).send().await.expect("an answer");
        assert_eq!(reply.status, StatusCode::FORBIDDEN);
    }
    // A token that confines itself is not widened on the way.
    let confined = engine
        .identity
        .issue_token("admin", &["storage.read:/local"], None, std::time::Duration::from_secs(60), "test")
        .expect("a token");
    let reply = engine.client.get(engine.url_of("/ui/twins/enso")).bearer(&confined).send().await.expect("an answer");
    assert_eq!(reply.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn the_engine_and_what_it_does_not_show_to_others() {
    let engine = engine(&World::at(3)).await;
    let (status, html) = get(&engine, "/ui").await;
    assert_eq!(status, StatusCode::OK);
    for text in ["href=\"/ui/twins/enso\"", "LOCAL", "DISK", "745", "workflow", "version 0."] {
        assert!(html.contains(text), "{text}");
    }
    // There is no offload here, and the page says so.
    assert!(html.contains("This part cannot be shown now"));
    let alice = engine.token_for("alice", &[]).await;
    let reply = engine.client.get(engine.url_of("/ui")).bearer(&alice).send().await.expect("an answer");
    let html = reply.text().await.expect("text");
    assert!(html.contains("it is for administrators") && !html.contains("/ui/twins/enso"));
}

#[tokio::test]
async fn the_stream_says_that_something_changed() {
    use futures_util::StreamExt;
    let engine = engine(&World::at(3)).await;
    let reply = engine
        .client
        .get(engine.url_of("/ui/twins/enso/live"))
        .bearer(&engine.admin_token())
        .send()
        .await
        .expect("an answer");
    assert_eq!(reply.header("content-type"), Some("text/event-stream"));
    let mut body = reply.body.into_data_stream();
    let data = serde_json::json!({});
    engine
        .store
        .write(move |tx| tx.emit(Event::new("org.dte.test", "/test", "x", data.clone())))
        .await
        .expect("written");
    let part = tokio::time::timeout(std::time::Duration::from_secs(5), body.next())
        .await
        .expect("in time")
        .expect("a part")
        .expect("bytes");
    assert!(String::from_utf8_lossy(&part).contains("event: changed"), "{part:?}");
    // An engine that stops does not wait for those who look.
    engine.tasks.stop();
    while let Some(part) = tokio::time::timeout(std::time::Duration::from_secs(5), body.next()).await.expect("it ends")
    {
        part.expect("bytes");
    }
}
