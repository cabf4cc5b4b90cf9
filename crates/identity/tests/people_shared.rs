//! Several processes on one PostgreSQL, behind one public name: a login may begin at one and end at another.

mod people_support;
#[path = "people_support/provider.rs"]
mod provider;

use std::time::{Duration, Instant};

use dte_identity::testing::{TestEngine, TestSetup};
use dte_store::Store;
use dte_store::testing::{POSTGRES_VARIABLE, postgres_options};
use people_support::{Browser, PASSWORD, mounts};
use provider::Provider;

/// The same browser, led to another process.
fn at(engine: &TestEngine, browser: &Browser) -> Browser {
    Browser { cookies: browser.cookies.clone(), ..Browser::new(engine) }
}

#[tokio::test]
async fn a_login_goes_from_process_to_process() {
    let Some(options) = postgres_options() else {
        eprintln!("SKIPPED: {POSTGRES_VARIABLE} is not set");
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let institute = Provider::start(true).await;
    institute.knows("s1", "carol", "c@x.example");
    let key = folder.path().join("shared.key");
    let config = format!(
        "[http]\npublic_url = 'https://twin.example'\n[identity]\nsecret_key_file = '{}'\n{}",
        key.display(),
        institute.config("one", folder.path(), "register = 'automatic'")
    );
    let engine = async || {
        let store = Store::open(&options).await.expect("a store");
        let setup = TestSetup { config: config.clone(), shared_store: Some(store), ..TestSetup::default() };
        TestEngine::start_with(setup, async |_| Ok(mounts())).await
    };
    let (one, two) = (engine().await, engine().await);
    let mut here = Browser::new(&one);
    let page = here.get("/oidc/login?next=%2Fdemo%2Fme").await;
    assert!(here.cookies.keys().any(|name| name == "__Host-dte_login_443"), "{:?}", here.cookies);
    let csrf = page.hidden("/oidc/login/with/one", "csrf");
    let mut there = at(&two, &here);
    let page = there.post("/oidc/login/with/one", &[("csrf", &csrf), ("next", "/demo/me")]).await;
    let answer = institute.answer(&page.location.expect("a place"));
    let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&answer).finish();
    let page = here.get(&format!("/oidc/login/callback/one?{query}")).await;
    assert_eq!((page.status, page.location.as_deref()), (303, Some("/demo/me")), "{}", page.text);
    assert!(here.is_in().await);
    // The account was made at one; the other hears of it within seconds.
    let started = Instant::now();
    while !at(&two, &here).is_in().await {
        assert!(started.elapsed() < Duration::from_secs(30), "the session does not count at the other process");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // A password that is set at one ends the sessions everywhere at once.
    two.identity.set_password("carol", PASSWORD, None, "test").await.expect("set");
    assert!(!here.is_in().await && !at(&two, &here).is_in().await);
    assert_eq!(here.sign_in("carol", PASSWORD).await.status, 303);
    assert!(one.stop().await && two.stop().await);
}
