//! Passwords: signing in and out, what an attacker may try, and what is never written down.

mod people_support;

use std::time::Duration;

use dte_base::secret::Secret;
use dte_identity::testing::TestEngine;
use dte_identity::{AccountError, AdminClient, NewBan};
use people_support::{Browser, PASSWORD, engines, mounts};

#[tokio::test]
async fn in_and_out() {
    for engine in engines("").await {
        let mut browser = Browser::new(&engine);
        assert!(!browser.is_in().await);
        let page = browser.sign_in("alice", PASSWORD).await;
        assert_eq!((page.status, page.location.as_deref()), (303, Some("/demo/me")), "{}", page.text);
        assert_eq!(browser.me().await, (200, format!("{}|alice", engine.identity.issuer())));
        let session = browser.cookies.clone();
        // Signing in again gives another secret and ends the session before: nobody can be made to use a planted one.
        browser.sign_in("alice", PASSWORD).await;
        let name = engine.identity.session_cookie_name();
        assert_ne!(session[&name], browser.cookies[&name]);
        let mut before = Browser { cookies: session, ..Browser::new(&engine) };
        assert!(!before.is_in().await && browser.is_in().await);
        let page = browser.submit("/oidc/account", "/oidc/logout-session", &[]).await;
        assert_eq!((page.status, page.location.as_deref()), (303, Some("/oidc/login")));
        assert!(!browser.is_in().await && !browser.cookies.contains_key(&name));
    }
}

#[tokio::test]
async fn a_planted_session_is_not_kept() {
    for engine in engines("").await {
        let mut browser = Browser::new(&engine);
        let planted = "0".repeat(64);
        browser.cookies.insert(engine.identity.session_cookie_name(), planted.clone());
        assert_eq!(browser.sign_in("alice", PASSWORD).await.status, 303);
        assert_ne!(browser.cookies[&engine.identity.session_cookie_name()], planted);
        assert!(engine.identity.session(&planted).await.expect("read").is_none());
    }
}

#[tokio::test]
async fn back_only_to_paths_of_ours() {
    for engine in engines("").await {
        for (next, place) in [
            (
                "/oidc/authorize?client_id=x&redirect_uri=https%3A%2F%2Fc.example",
                "/oidc/authorize?client_id=x&redirect_uri=https%3A%2F%2Fc.example",
            ),
            ("//evil.example", "/ui"),
            ("/\\evil.example", "/ui"),
            ("http:evil.example", "/ui"),
            ("https://evil.example/ui", "/ui"),
            ("/%2fevil.example", "/ui"),
            ("/%5cevil.example", "/ui"),
            ("/\t/evil.example", "/ui"),
            ("/a\r\nset-cookie: x=y", "/ui"),
            ("/../..//evil.example", "/ui"),
            ("", "/ui"),
        ] {
            let mut browser = Browser::new(&engine);
            let page = browser.sign_in_to(next, "alice", PASSWORD).await;
            assert_eq!(page.location.as_deref(), Some(place), "{next:?}");
            // Nor when the form itself is tampered with.
            let page = browser.get("/oidc/login").await;
            let csrf = page.hidden("/oidc/login", "csrf");
            let form = [("csrf", csrf.as_str()), ("next", next), ("name", "alice"), ("password", PASSWORD)];
            assert_eq!(browser.post("/oidc/login", &form).await.location.as_deref(), Some(place), "{next:?}");
        }
    }
}

#[tokio::test]
async fn forms_of_other_sites() {
    for engine in engines("").await {
        let mut browser = Browser::new(&engine);
        let page = browser.get("/oidc/login").await;
        let csrf = page.hidden("/oidc/login", "csrf");
        let good = [("csrf", csrf.as_str()), ("name", "alice"), ("password", PASSWORD)];
        for origin in ["http://evil.example", "null", "http://127.0.0.1:1"] {
            let page = browser.post_from(origin, "/oidc/login", &good).await;
            assert_eq!((page.status, page.location), (403, None), "{origin}");
        }
        for token in ["", "0123", &"0".repeat(32)] {
            let form = [("csrf", token), ("name", "alice"), ("password", PASSWORD)];
            assert_eq!(browser.post("/oidc/login", &form).await.status, 403);
        }
        // The token of another browser, and none at all.
        let mut other = Browser::new(&engine);
        assert_eq!(other.post("/oidc/login", &good).await.status, 403);
        other.get("/oidc/login").await;
        assert_eq!(other.post("/oidc/login", &good).await.status, 403);
        assert!(!browser.is_in().await && !other.is_in().await);
        assert_eq!(browser.post("/oidc/login", &good).await.status, 303);
        // Signed in: every form of the pages wants the session's token and our own page.
        let page = browser.get("/oidc/account").await;
        let csrf = page.hidden("/oidc/account/password", "csrf");
        let change = [("current", PASSWORD), ("new", "another long one"), ("again", "another long one")];
        let with =
            |token: &'static str| -> Vec<(&str, &str)> { std::iter::once(("csrf", token)).chain(change).collect() };
        for action in ["/oidc/account/password", "/oidc/logout-session", "/oidc/account/second-factor"] {
            assert_eq!(browser.post(action, &with("")).await.status, 403, "{action}");
        }
        let form: Vec<(&str, &str)> = std::iter::once(("csrf", csrf.as_str())).chain(change).collect();
        assert_eq!(browser.post_from("http://evil.example", "/oidc/account/password", &form).await.status, 403);
        assert!(engine.identity.check_password("alice", PASSWORD, None).await.is_ok(), "nothing was changed");
    }
}

#[tokio::test]
async fn the_same_words_whether_the_name_exists() {
    for engine in engines("").await {
        engine.identity.add_user("bob", false, "test").await.expect("made");
        engine.identity.add_user("carol", false, "test").await.expect("made");
        engine.identity.set_password("carol", PASSWORD, None, "test").await.expect("set");
        engine.identity.set_user("carol", false, false, "test").await.expect("suspended");
        let mut said = Vec::new();
        // A wrong password, no such name, no password, a suspended account, what is no name at all.
        for (name, password) in [
            ("alice", "wrong password"),
            ("nobody", PASSWORD),
            ("bob", PASSWORD),
            ("carol", PASSWORD),
            ("Ä' OR 1=1", PASSWORD),
            ("a\0b", PASSWORD),
        ] {
            let mut browser = Browser::new(&engine);
            let page = browser.sign_in(name, password).await;
            assert!(!browser.is_in().await);
            said.push((page.status, page.alert().to_owned()));
        }
        assert!(said.iter().all(|one| *one == (403, "The name or the password is not right.".to_owned())), "{said:?}");
    }
}

/// Fails for alice until strangers have to wait for a while.
async fn used_up(engine: &TestEngine) {
    loop {
        match engine.identity.check_password("alice", "wrong password", None).await {
            Err(AccountError::Wait(wait)) if wait > Duration::from_secs(8) => return,
            Err(AccountError::Wait(_)) => tokio::time::sleep(Duration::from_millis(200)).await,
            Err(AccountError::Wrong) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn guessing_is_slow_and_the_owner_gets_in() {
    for engine in engines("").await {
        let mut owner = Browser::new(&engine);
        assert_eq!(owner.sign_in("alice", PASSWORD).await.status, 303);
        // Many at once count as many: what is tried is paid for before it is looked at.
        let guesses = (0..24).map(|guess| {
            let mut browser = Browser::new(&engine);
            async move { browser.sign_in("alice", &format!("guess number {guess}")).await.status }
        });
        let mut tasks = tokio::task::JoinSet::new();
        for guess in guesses {
            tasks.spawn(guess);
        }
        let statuses = tasks.join_all().await;
        let looked_at = statuses.iter().filter(|status| **status == 403).count();
        assert!(looked_at <= 10 && statuses.iter().all(|status| matches!(status, 403 | 429)), "{statuses:?}");
        used_up(&engine).await;
        // The right password does not help a stranger now; the answer says when to come again.
        let stranger = Browser::new(&engine).sign_in("alice", PASSWORD).await;
        assert_eq!(stranger.status, 429, "{}", stranger.text);
        assert!(stranger.alert().starts_with("Too many tries"), "{}", stranger.alert());
        assert!(matches!(engine.identity.check_password("alice", PASSWORD, None).await, Err(AccountError::Wait(_))));
        // The owner's own browser is known and not slowed down by strangers; other accounts are not either.
        owner.submit("/oidc/account", "/oidc/logout-session", &[]).await;
        assert_eq!(owner.sign_in("alice", PASSWORD).await.status, 303);
        // That cookie is of no use for another account, nor one that somebody made up.
        let known = owner.cookies.keys().find(|name| name.contains("dte_known")).expect("a cookie").clone();
        let mut forger = Browser::new(&engine);
        used_up(&engine).await;
        forger.cookies.insert(known.clone(), format!("{}.{}.alice", "0".repeat(32), "0".repeat(32)));
        assert_eq!(forger.sign_in("alice", PASSWORD).await.status, 429);
    }
}

#[tokio::test]
async fn one_address_that_tries_many_names_is_slowed_down() {
    let engine = TestEngine::start(async |_| Ok(mounts())).await;
    let from = Some("192.0.2.7".parse().expect("an address"));
    let mut waits = None;
    for guess in 0..1_000 {
        match engine.identity.check_password(&format!("name{guess}"), "wrong password", from).await {
            Err(AccountError::Wrong) => {}
            Err(AccountError::Wait(_)) => {
                waits = Some(guess);
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(waits.is_some_and(|tried| tried >= 50), "{waits:?}");
    let elsewhere = Some("192.0.2.8".parse().expect("an address"));
    let other = engine.identity.check_password("name0", "wrong password", elsewhere).await;
    assert!(matches!(other, Err(AccountError::Wrong)), "{other:?}");
}

#[tokio::test]
async fn changing_the_password() {
    for engine in engines("").await {
        let (mut here, mut there) = (Browser::new(&engine), Browser::new(&engine));
        here.sign_in("alice", PASSWORD).await;
        there.sign_in("alice", PASSWORD).await;
        let change = async |browser: &mut Browser, current: &str, new: &str, again: &str| {
            let form = [("current", current), ("new", new), ("again", again)];
            let page = browser.submit("/oidc/account", "/oidc/account/password", &form).await;
            (page.status, page.alert().to_owned())
        };
        let next = "another long secret";
        assert_eq!(
            change(&mut here, "wrong", next, next).await,
            (422, "That is not your present password.".to_owned())
        );
        assert_eq!(change(&mut here, PASSWORD, next, "something else!").await.0, 422);
        assert_eq!(change(&mut here, PASSWORD, "short", "short").await.0, 422);
        let longer = "x".repeat(257);
        assert_eq!(change(&mut here, PASSWORD, &longer, &longer).await.0, 422);
        assert_eq!(change(&mut here, PASSWORD, "alicealice", "alicealice").await.0, 422);
        assert!(there.is_in().await, "nothing has happened yet");
        assert_eq!(change(&mut here, PASSWORD, next, next).await.0, 303);
        assert!(here.is_in().await && !there.is_in().await, "the other sessions are over");
        assert!(engine.identity.check_password("alice", next, None).await.is_ok());
        assert!(engine.identity.check_password("alice", PASSWORD, None).await.is_err());
        let trace = engine.identity.audit().trace("alice", 0, 1_000).await.expect("a trace");
        assert!(trace.iter().any(|record| record.body["action"] == "password.set"), "{trace:?}");
    }
}

#[tokio::test]
async fn sessions_of_an_account() {
    for engine in engines("").await {
        let (mut here, mut there, mut third) = (Browser::new(&engine), Browser::new(&engine), Browser::new(&engine));
        for browser in [&mut here, &mut there, &mut third] {
            browser.sign_in("alice", PASSWORD).await;
        }
        let page = here.get("/oidc/account").await;
        assert_eq!(page.text.matches("action=\"/oidc/account/sessions/end\"").count(), 3, "two others, and all others");
        let end = page.hidden("/oidc/account/sessions/end", "id");
        here.submit("/oidc/account", "/oidc/account/sessions/end", &[("id", &end)]).await;
        assert_eq!([there.is_in().await, third.is_in().await].iter().filter(|is_in| **is_in).count(), 1);
        here.submit("/oidc/account", "/oidc/account/sessions/end", &[("id", "others")]).await;
        assert!(here.is_in().await && !there.is_in().await && !third.is_in().await);
        // Nobody ends somebody else's.
        engine.identity.add_user("bob", false, "test").await.expect("made");
        engine.identity.set_password("bob", PASSWORD, None, "test").await.expect("set");
        let mut bob = Browser::new(&engine);
        bob.sign_in("bob", PASSWORD).await;
        there.sign_in("alice", PASSWORD).await;
        let id = here.get("/oidc/account").await.hidden("/oidc/account/sessions/end", "id");
        there.sign_in("alice", PASSWORD).await;
        bob.sign_in("bob", PASSWORD).await;
        let mut other_bob = Browser::new(&engine);
        other_bob.sign_in("bob", PASSWORD).await;
        bob.submit("/oidc/account", "/oidc/account/sessions/end", &[("id", &id)]).await;
        assert!(there.is_in().await && here.is_in().await);
    }
}

#[tokio::test]
async fn bans_and_suspension_end_sessions_at_once() {
    for engine in engines("").await {
        let mut browser = Browser::new(&engine);
        browser.sign_in("alice", PASSWORD).await;
        let ban = NewBan { subject: Some("alice".to_owned()), reason: "test".to_owned(), ..NewBan::default() };
        let ban = engine.identity.ban(ban, "test").await.expect("banned");
        assert!(!browser.is_in().await);
        assert_eq!(browser.get("/oidc/account").await.status, 303);
        assert_eq!(browser.sign_in("alice", PASSWORD).await.status, 403);
        engine.identity.lift_ban(&ban.id, "test").await.expect("lifted");
        assert_eq!(browser.sign_in("alice", PASSWORD).await.status, 303);
        engine.identity.set_user("alice", false, false, "test").await.expect("suspended");
        assert!(!browser.is_in().await);
        engine.identity.set_user("alice", false, true, "test").await.expect("restored");
        assert!(!browser.is_in().await, "a session that was ended stays ended");
    }
}

#[tokio::test]
async fn over_the_admin_socket_and_never_written_down() {
    for engine in engines("").await {
        engine.identity.serve_admin_socket(engine.data_dir(), &engine.tasks).expect("served");
        let admin = AdminClient::new(engine.data_dir());
        let secret = "a secret of the socket";
        admin.set_password("alice", &Secret::new(secret)).await.expect("set");
        assert!(admin.set_password("nobody", &Secret::new(secret)).await.is_err());
        let refused = admin.set_password("alice", &Secret::new("short")).await.expect_err("refused");
        assert!(refused.to_string().contains("at least 10"), "{refused}");
        let mut browser = Browser::new(&engine);
        browser.sign_in("alice", secret).await;
        assert!(browser.is_in().await);
        Browser::new(&engine).sign_in("alice", "a wrong secret word").await;
        Browser::new(&engine).sign_in("a secret as a name", "whatever it is").await;
        assert!(engine.tasks.stop_and_wait(Duration::from_secs(10)).await);
        // Neither passwords nor what was tried stand anywhere in the store.
        let hash = engine
            .store
            .read(|tx| tx.query("SELECT hash FROM identity_passwords", &[], |row| row.get::<String>(0)))
            .await
            .expect("read");
        assert!(hash.iter().all(|hash| hash.starts_with("$argon2id$v=19$")), "{hash:?}");
        let audit = engine
            .store
            .read(|tx| tx.query("SELECT body FROM identity_audit ORDER BY seq", &[], |row| row.get::<String>(0)))
            .await
            .expect("read")
            .join("\n");
        for text in [secret, PASSWORD, "wrong secret", "secret as a name"] {
            assert!(!audit.contains(text), "{text}");
        }
        assert!(audit.contains("password.set") && audit.contains("wrong-password") && audit.contains("session.begin"));
        let report = engine.identity.audit().verify().await.expect("read");
        assert!(report.broken_at.is_none());
    }
}

#[tokio::test]
async fn the_address_is_that_of_the_connection() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let engine = TestEngine::start(async |_| Ok(mounts())).await;
    let server = engine.listen();
    let host = format!("127.0.0.1:{}", engine.url.port().expect("a port"));
    let mut stream = tokio::net::TcpStream::connect(&host).await.expect("connected");
    // What a caller says about itself does not count.
    let request = format!(
        "GET /demo/peer HTTP/1.1\r\nHost: {host}\r\nX-Forwarded-For: 192.0.2.1\r\nForwarded: for=192.0.2.1\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.expect("written");
    let mut text = String::new();
    stream.read_to_string(&mut text).await.expect("read");
    assert!(text.contains("127.0.0.1") && !text.contains("192.0.2.1"), "{text}");
    let within = engine.client.get(engine.url_of("/demo/peer")).send().await.expect("an answer");
    assert_eq!(within.text().await.expect("a text"), "None");
    assert!(server.stop(Duration::from_secs(5)).await);
}

/// Sends the sign-in form over a socket of its own, with these headers; gives the status.
async fn tries(engine: &TestEngine, name: &str, headers: &str) -> u16 {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut browser = Browser::new(engine);
    let csrf = browser.get("/oidc/login").await.hidden("/oidc/login", "csrf");
    let cookies = browser.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ");
    let host = format!("127.0.0.1:{}", engine.url.port().expect("a port"));
    let fields = [("csrf", csrf.as_str()), ("name", name), ("password", "wrong")];
    let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let request = format!(
        "POST /oidc/login HTTP/1.1\r\nHost: {host}\r\nCookie: {cookies}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         {headers}Content-Length: {}\r\nConnection: close\r\n\r\n{form}",
        form.len()
    );
    let mut stream = tokio::net::TcpStream::connect(&host).await.expect("connected");
    stream.write_all(request.as_bytes()).await.expect("written");
    let mut text = String::new();
    stream.read_to_string(&mut text).await.expect("read");
    text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("no status in {text}"))
}

/// Uses up an allowance; `headers` are those of each try. With one name, so that soon no password is looked at any more.
async fn use_up(engine: &TestEngine, headers: impl Fn(u32) -> String) {
    for number in 0..80 {
        tries(engine, "mallory", &headers(number)).await;
    }
}

/// Whether an address has to wait, with names that nobody has tried.
async fn is_held_up(engine: &TestEngine, headers: &str) -> bool {
    for _ in 0..4 {
        if tries(engine, &dte_base::id::new_id().to_string(), headers).await == 429 {
            return true;
        }
    }
    false
}

#[tokio::test]
async fn a_trusted_proxy_says_whose_failures_they_are() {
    let start = async |config: &str| {
        let setup = dte_identity::testing::TestSetup::config(config);
        TestEngine::start_with(setup, async |_| Ok(mounts())).await
    };
    let engine = start("[http]\ntrusted_proxies = ['127.0.0.0/8', '10.0.0.0/8']\n").await;
    let server = engine.listen();
    // An attacker behind the proxy, who writes other addresses before the one that the proxy appends.
    let spoofing = |number| format!("X-Forwarded-For: 198.51.100.{number}, 192.0.2.66, 10.0.0.9\r\n");
    use_up(&engine, spoofing).await;
    let same = "Forwarded: for=\"192.0.2.66:4711\"\r\n";
    assert!(is_held_up(&engine, same).await, "spoofed addresses got an attacker more tries");
    // It is the attacker who waits, and nobody else behind the proxy.
    for other in ["X-Forwarded-For: 192.0.2.7\r\n", "Forwarded: for=192.0.2.8;proto=https\r\n", ""] {
        assert!(!is_held_up(&engine, other).await, "{other}");
    }
    assert!(server.stop(Duration::from_secs(5)).await);
    // Who is no trusted proxy may write what they like.
    let engine = start("[http]\ntrusted_proxies = ['10.0.0.0/8']\n").await;
    let server = engine.listen();
    let spoofing = |number| format!("X-Forwarded-For: 198.51.100.{number}\r\nForwarded: for=198.51.100.{number}\r\n");
    use_up(&engine, spoofing).await;
    let other = "X-Forwarded-For: 192.0.2.7\r\n";
    assert!(is_held_up(&engine, other).await, "spoofed addresses got an attacker more tries");
    assert!(server.stop(Duration::from_secs(5)).await);
}
