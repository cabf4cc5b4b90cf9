//! Administration of accounts and bans in the browser.

mod people_support;

use dte_identity::NewBan;
use people_support::{Browser, PASSWORD, engines};

const USERS: &str = "/oidc/admin/users";
const BANS: &str = "/oidc/admin/bans";

#[tokio::test]
async fn only_administrators() {
    for engine in engines("").await {
        let mut browser = Browser::new(&engine);
        for path in [
            "/oidc/account",
            "/oidc/admin/users",
            "/oidc/admin/users/alice",
            "/oidc/admin/bans",
            "/oidc/admin/registrations",
        ] {
            let page = browser.get(path).await;
            assert!(
                page.status == 303
                    && page.location.is_some_and(|place| place.starts_with("/oidc/login?next=%2Foidc%2F")),
                "{path}"
            );
        }
        browser.sign_in("alice", PASSWORD).await;
        let csrf = browser.get("/oidc/account").await.hidden("/oidc/logout-session", "csrf");
        for path in ["/oidc/admin/users", "/oidc/admin/users/alice", "/oidc/admin/bans", "/oidc/admin/registrations"] {
            assert_eq!(browser.get(path).await.status, 403, "{path}");
        }
        for path in [
            "/oidc/admin/users",
            "/oidc/admin/users/admin",
            "/oidc/admin/bans",
            "/oidc/admin/bans/x/lift",
            "/oidc/admin/registrations/x",
        ] {
            let form = [
                ("csrf", csrf.as_str()),
                ("name", "mallory"),
                ("action", "make-admin"),
                ("subject", "admin"),
                ("reason", "x"),
            ];
            assert_eq!(browser.post(path, &form).await.status, 403, "{path}");
        }
        assert_eq!(engine.identity.users().len(), 2);
        assert!(engine.identity.bans(true).await.expect("bans").is_empty());
    }
}

#[tokio::test]
async fn accounts_and_bans() {
    for engine in engines("").await {
        engine.identity.set_password("admin", PASSWORD, None, "test").await.expect("set");
        let (mut admin, mut alice) = (Browser::new(&engine), Browser::new(&engine));
        admin.sign_in("admin", PASSWORD).await;
        alice.sign_in("alice", PASSWORD).await;

        let page = admin.submit(USERS, USERS, &[("name", "bob")]).await;
        assert_eq!((page.status, page.location.as_deref()), (303, Some("/oidc/admin/users/bob?done=added")));
        for bad in ["bob", "Bob", "../x", "guest-1", "", "<script>"] {
            let page = admin.submit(USERS, USERS, &[("name", bad)]).await;
            assert_eq!(page.status, 422, "{bad}");
            assert!(!page.text.contains("<script>"));
        }
        assert!(admin.get(&format!("{USERS}?q=bo")).await.text.contains("/oidc/admin/users/bob"));
        assert!(!admin.get(&format!("{USERS}?q=bo")).await.text.contains("/oidc/admin/users/alice"));

        // A link for the first time; it is the way to set a password.
        let bob = "/oidc/admin/users/bob";
        let page = admin.submit(bob, bob, &[("action", "sign-in-link")]).await;
        let link = page.after("<code id=\"link\">");
        let secret = link.split("code=").nth(1).expect("a code");
        let session = engine.identity.begin_session(secret).await.expect("read").expect("a session");
        let mut newcomer = Browser::new(&engine);
        newcomer.cookies.insert(engine.identity.session_cookie_name(), session.expose().to_owned());
        let form = [("new", "the word of bob"), ("again", "the word of bob")];
        assert_eq!(newcomer.submit("/oidc/account", "/oidc/account/password", &form).await.status, 303);
        assert!(engine.identity.check_password("bob", "the word of bob", None).await.is_ok());

        // Later it is the way back for who has forgotten the password; for a while only.
        let page = admin.submit(bob, bob, &[("action", "sign-in-link")]).await;
        let link = page.after("<code id=\"link\">");
        let secret = link.split("code=").nth(1).expect("a code");
        let session = engine.identity.begin_session(secret).await.expect("read").expect("a session");
        let mut forgetful = Browser::new(&engine);
        forgetful.cookies.insert(engine.identity.session_cookie_name(), session.expose().to_owned());
        let form = [("new", "the next word of bob"), ("again", "the next word of bob")];
        assert_eq!(forgetful.submit("/oidc/account", "/oidc/account/password", &form).await.status, 303);
        assert!(engine.identity.check_password("bob", "the next word of bob", None).await.is_ok());
        let age = "UPDATE identity_sessions SET begun = begun - 1200000000 WHERE name = 'bob'";
        engine.store.write(move |tx| tx.execute(age, &[])).await.expect("aged");
        assert_eq!(forgetful.submit("/oidc/account", "/oidc/account/password", &form).await.status, 422);

        // Suspended: out at once. Restored: in again.
        let path = "/oidc/admin/users/alice";
        admin.submit(path, path, &[("action", "suspend")]).await;
        assert!(!alice.is_in().await);
        assert!(admin.get(path).await.text.contains("suspended"));
        admin.submit(path, path, &[("action", "restore")]).await;
        alice.sign_in("alice", PASSWORD).await;
        assert_eq!(alice.get("/demo/admin").await.status, 403);
        admin.submit(path, path, &[("action", "make-admin")]).await;
        assert_eq!(alice.get("/demo/admin").await.status, 200);
        admin.submit(path, path, &[("action", "end-admin")]).await;
        assert_eq!(alice.get("/demo/admin").await.status, 403);
        admin.submit(path, path, &[("action", "end-sessions")]).await;
        assert!(!alice.is_in().await);
        // Nobody shuts themselves out.
        let own = "/oidc/admin/users/admin";
        for action in ["suspend", "end-admin", "nonsense"] {
            assert_eq!(admin.submit(own, own, &[("action", action)]).await.status, 422, "{action}");
        }

        alice.sign_in("alice", PASSWORD).await;
        let form = [("subject", "alice"), ("issuer", ""), ("client_id", ""), ("vo", ""), ("reason", "a test")];
        assert_eq!(admin.submit(BANS, BANS, &form).await.status, 303);
        assert!(!alice.is_in().await);
        let page = admin.get(BANS).await;
        let ban = page.text.split("/oidc/admin/bans/").nth(1).and_then(|text| text.split('/').next()).expect("a ban");
        let lift = format!("/oidc/admin/bans/{ban}/lift");
        assert_eq!(admin.submit(BANS, &lift, &[]).await.status, 303);
        let csrf = admin.get(BANS).await.hidden(BANS, "csrf");
        assert_eq!(admin.post(&lift, &[("csrf", &csrf)]).await.status, 422, "once");
        alice.sign_in("alice", PASSWORD).await;
        assert!(alice.is_in().await);
        for bad in [
            vec![("subject", "admin"), ("reason", "x")],
            vec![("issuer", engine.identity.issuer()), ("reason", "x")],
            vec![("reason", "everybody")],
            vec![("subject", "alice"), ("reason", " ")],
        ] {
            assert_eq!(admin.submit(BANS, BANS, &bad).await.status, 422, "{bad:?}");
        }
        assert_eq!(engine.identity.bans(false).await.expect("bans"), []);

        let trace = engine.identity.audit().trace("admin", 0, 1_000).await.expect("a trace");
        for action in ["user.add", "user.set", "login.code", "ban.add", "ban.lift", "session.end"] {
            assert!(trace.iter().any(|record| record.body["action"] == action), "{action}");
        }
    }
}

#[tokio::test]
async fn pages_are_guarded() {
    for engine in engines("").await {
        let reply = engine.client.get(engine.url_of("/oidc/login")).send().await.expect("an answer");
        let policy = reply.header("content-security-policy").expect("a policy");
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe") && !policy.contains("script-src"));
        assert_eq!(reply.header("x-frame-options"), Some("DENY"));
        assert_eq!(reply.header("cache-control"), Some("no-store"));
        let text = reply.text().await.expect("a text");
        let sheet = text.split("href=\"").find(|part| part.contains("identity.css")).expect("a style sheet");
        let sheet = sheet.split('"').next().expect("an address");
        let reply = engine.client.get(engine.url_of(sheet)).send().await.expect("an answer");
        assert_eq!((reply.status.as_u16(), reply.header("content-type")), (200, Some("text/css; charset=utf-8")));
        // Names from outside are text, nothing else.
        let hostile = "<img src=x onerror=alert(1)>";
        let ban = NewBan { subject: Some(hostile.to_owned()), reason: hostile.to_owned(), ..NewBan::default() };
        engine.identity.ban(ban, "test").await.expect("banned");
        engine.identity.set_password("admin", PASSWORD, None, "test").await.expect("set");
        let mut admin = Browser::new(&engine);
        admin.sign_in("admin", PASSWORD).await;
        assert!(!admin.get(BANS).await.text.contains("<img"));
        assert!(!admin.get(&format!("{USERS}?q=%22%3E%3Cimg%3E")).await.text.contains("<img"));
    }
}
