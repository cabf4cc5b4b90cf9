//! Signing in through other providers, good and bad ones.

mod people_support;
#[path = "people_support/provider.rs"]
mod provider;

use dte_identity::testing::{TestEngine, TestSetup};
use dte_identity::{NewBan, OpenError};
use people_support::{Browser, PASSWORD, Page, engines, mounts};
use provider::{Provider, Signing};
use serde_json::{Value, json};

const REQUESTS: &str = "/oidc/admin/registrations";

/// Presses the button; gives where the browser is sent.
async fn press(browser: &mut Browser, name: &str) -> String {
    let page = browser.get("/oidc/login?next=%2Fdemo%2Fme").await;
    let action = format!("/oidc/login/with/{name}");
    let (csrf, next) = (page.hidden(&action, "csrf"), page.hidden(&action, "next"));
    let page = browser.post(&action, &[("csrf", &csrf), ("next", &next)]).await;
    assert_eq!(page.status, 303, "{}", page.text);
    page.location.expect("a place")
}

/// Comes back with an answer.
async fn back(browser: &mut Browser, name: &str, answer: &[(String, String)]) -> Page {
    let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(answer).finish();
    browser.get(&format!("/oidc/login/callback/{name}?{query}")).await
}

async fn sign_in(browser: &mut Browser, name: &str, provider: &Provider) -> Page {
    let there = press(browser, name).await;
    back(browser, name, &provider.answer(&there)).await
}

async fn admin_of(engine: &TestEngine) -> Browser {
    engine.identity.set_password("admin", PASSWORD, None, "test").await.expect("set");
    let mut admin = Browser::new(engine);
    admin.sign_in("admin", PASSWORD).await;
    admin
}

fn request_id(page: &Page) -> String {
    let id = page.text.split(&format!("{REQUESTS}/")).nth(1).expect("a request");
    id.split('"').next().expect("an id").to_owned()
}

#[tokio::test]
async fn asking_for_an_account() {
    let folder = tempfile::tempdir().expect("a folder");
    let institute = Provider::start(true).await;
    for engine in engines(&institute.config("one", folder.path(), "")).await {
        institute.knows("sub-1", "Carol", "alice@here.example");
        let mut browser = Browser::new(&engine);
        for _ in 0..2 {
            let page = sign_in(&mut browser, "one", &institute).await;
            assert_eq!(page.status, 200, "{}", page.text);
            assert!(page.text.contains("Almost there") && !browser.is_in().await);
        }
        let mut admin = admin_of(&engine).await;
        let page = admin.get(REQUESTS).await;
        assert_eq!(page.text.matches("Approve").count(), 1, "one request, however often they came");
        assert!(page.text.contains("alice@here.example") && page.text.contains("value=\"carol\""));
        let action = format!("{REQUESTS}/{}", request_id(&page));
        let page = admin.submit(REQUESTS, &action, &[("action", "approve"), ("name", "alice")]).await;
        assert_eq!(page.status, 422, "an e-mail address or a name that is taken makes nobody alice");
        let page = admin.submit(REQUESTS, &action, &[("action", "approve"), ("name", "carol")]).await;
        assert_eq!(page.status, 303, "{}", page.text);
        assert_eq!(sign_in(&mut browser, "one", &institute).await.location.as_deref(), Some("/demo/me"));
        assert_eq!(browser.me().await.1, format!("{}|carol", engine.identity.issuer()));
        // The only way in stays.
        let form = [("issuer", institute.issuer()), ("subject", "sub-1")];
        let page = browser.submit("/oidc/account", "/oidc/account/unlink", &form).await;
        assert_eq!(page.status, 422);
        assert!(page.alert().contains("only way"), "{}", page.alert());

        // Somebody else is turned away.
        institute.knows("sub-2", "Mallory", "m@x.example");
        let mut other = Browser::new(&engine);
        sign_in(&mut other, "one", &institute).await;
        let action = format!("{REQUESTS}/{}", request_id(&admin.get(REQUESTS).await));
        assert_eq!(admin.submit(REQUESTS, &action, &[("action", "reject")]).await.status, 303);
        let page = sign_in(&mut other, "one", &institute).await;
        assert!(page.status == 403 && page.alert().contains("no account"), "{}", page.text);
        let trace = engine.identity.audit().trace("admin", 0, 1_000).await.expect("a trace");
        for action in ["user.add", "registration.reject"] {
            assert!(trace.iter().any(|record| record.body["action"] == action), "{action}");
        }
        // A ban of the identity ends what the account does.
        institute.knows("sub-1", "Carol", "alice@here.example");
        let ban = NewBan {
            subject: Some("sub-1".to_owned()),
            issuer: Some(institute.issuer().to_owned()),
            reason: "test".to_owned(),
            ..NewBan::default()
        };
        engine.identity.ban(ban, "test").await.expect("banned");
        assert!(!browser.is_in().await);
        assert_eq!(sign_in(&mut browser, "one", &institute).await.status, 403);
    }
}

#[tokio::test]
async fn accounts_at_once_or_not_at_all() {
    let folder = tempfile::tempdir().expect("a folder");
    let (open, closed) = (Provider::start(false).await, Provider::start(false).await);
    let config = open.config("open", folder.path(), "register = 'automatic'")
        + &closed.config("closed", folder.path(), "register = 'closed'");
    for engine in engines(&config).await {
        for (subject, username, name) in [
            ("s1", "Dave Example", "dave-example"),
            ("s2", "dave-example", "dave-example-2"),
            ("s1", "renamed", "dave-example"),
            ("s3", "alice", "alice-2"),
            ("s4", "guest-7", "user"),
        ] {
            open.knows(subject, username, "alice@here.example");
            let mut browser = Browser::new(&engine);
            assert_eq!(sign_in(&mut browser, "open", &open).await.status, 303);
            assert_eq!(browser.me().await.1, format!("{}|{name}", engine.identity.issuer()), "{subject}");
        }
        // The same subject at another issuer is somebody else.
        closed.knows("s1", "Dave Example", "dave@x.example");
        let mut browser = Browser::new(&engine);
        assert_eq!(sign_in(&mut browser, "closed", &closed).await.status, 403);
        assert!(!browser.is_in().await);
    }
}

#[tokio::test]
async fn bad_answers() {
    let folder = tempfile::tempdir().expect("a folder");
    let (one, two) = (Provider::start(true).await, Provider::start(false).await);
    let config = one.config("one", folder.path(), "register = 'automatic'")
        + &two.config("two", folder.path(), "register = 'automatic'");
    for engine in engines(&config).await {
        let now = dte_base::time::Timestamp::now().as_seconds();
        one.knows("s1", "eve", "e@x.example");
        two.knows("s1", "eve", "e@x.example");
        for (lie, signing) in [
            (json!({"iss": two.issuer()}), Signing::Good),
            (json!({"iss": null}), Signing::Good),
            (json!({"nonce": "another"}), Signing::Good),
            (json!({"nonce": null}), Signing::Good),
            (json!({"aud": "somebody else"}), Signing::Good),
            (json!({"aud": ["us", "them"]}), Signing::Good),
            (json!({"azp": "them"}), Signing::Good),
            (json!({"exp": now - 10}), Signing::Good),
            (json!({"exp": (now + 300).to_string()}), Signing::Good),
            (json!({"iat": now - 86_400}), Signing::Good),
            (json!({"sub": ""}), Signing::Good),
            (json!({"sub": null}), Signing::Good),
            (json!({}), Signing::None),
            (json!({}), Signing::Foreign),
        ] {
            one.lies(lie.clone(), signing);
            let mut browser = Browser::new(&engine);
            let page = sign_in(&mut browser, "one", &one).await;
            assert!(page.status == 422 && !browser.is_in().await, "{lie} {signing:?}: {}", page.status);
        }
        one.lies(json!({}), Signing::Good);

        // Answers that are not to this question.
        let mut browser = Browser::new(&engine);
        let there = press(&mut browser, "one").await;
        let good = one.answer(&there);
        let with = |name: &str, value: Option<&str>| -> Vec<(String, String)> {
            let kept = good.iter().filter(|(known, _)| known != name).cloned();
            kept.chain(value.map(|value| (name.to_owned(), value.to_owned()))).collect()
        };
        assert_eq!(back(&mut browser, "one", &with("state", Some("0123"))).await.status, 422);
        assert_eq!(back(&mut browser, "one", &with("state", None)).await.status, 422);
        // In another browser: the state is used up by the try, so that it cannot be tried here either.
        let mut other = Browser::new(&engine);
        other.get("/oidc/login").await;
        assert_eq!(back(&mut other, "one", &good).await.status, 422);
        assert_eq!(back(&mut browser, "one", &good).await.status, 422);
        // Mixed up: the answer of one provider at the address of the other, or with the other's issuer, or with none.
        for (at, iss) in [("two", Some(one.issuer())), ("one", Some(two.issuer())), ("one", None)] {
            let there = press(&mut browser, "one").await;
            let answer: Vec<(String, String)> = one
                .answer(&there)
                .into_iter()
                .filter(|(name, _)| name != "iss")
                .chain(iss.map(|iss| ("iss".to_owned(), iss.to_owned())))
                .collect();
            let page = back(&mut browser, at, &answer).await;
            assert!(page.status == 422 && page.alert().contains("another provider"), "{at} {iss:?}: {}", page.text);
        }
        // A refusal, a code that is no code, an unknown provider.
        let there = press(&mut browser, "one").await;
        let state = one.answer(&there).into_iter().find(|(name, _)| name == "state").expect("a state");
        let iss = ("iss".to_owned(), one.issuer().to_owned());
        let answer = [state, iss, ("error".to_owned(), "access_denied<script>".to_owned())];
        let page = back(&mut browser, "one", &answer).await;
        assert!(page.status == 422 && page.alert().contains("did not let you in") && !page.text.contains("<script"));
        let there = press(&mut browser, "two").await;
        let mut answer = two.answer(&there);
        answer[0].1 = "another code".to_owned();
        assert_eq!(back(&mut browser, "two", &answer).await.status, 422);
        assert_eq!(back(&mut browser, "three", &answer).await.status, 404);
        assert!(!browser.is_in().await);
        assert_eq!(engine.identity.users().len(), 2, "nobody came in");
        // And the good answer, once.
        let there = press(&mut browser, "one").await;
        let good = one.answer(&there);
        assert_eq!(back(&mut browser, "one", &good).await.status, 303);
        assert!(browser.is_in().await);
        let mut again = Browser { cookies: browser.cookies.clone(), ..Browser::new(&engine) };
        assert_eq!(back(&mut again, "one", &good).await.status, 422);
    }
}

#[tokio::test]
async fn linking_and_tokens_of_the_linked_identity() {
    let folder = tempfile::tempdir().expect("a folder");
    let institute = Provider::start(true).await;
    let config = institute.config("one", folder.path(), "register = 'automatic'")
        + &format!("[[identity.trusted_issuers]]\nissuer = '{}'\nprofile = 'generic'\n", institute.issuer());
    for engine in engines(&config).await {
        let token = |subject: &str, scope: &str| institute.access_token(subject, engine.identity.audience(), scope);
        let who = async |token: &str| engine.identity.verify(token).await.map(|principal| principal.name().to_owned());
        let before = who(&token("s1", "openid")).await.expect("a guest");
        assert!(before.starts_with("guest-"));

        let mut alice = Browser::new(&engine);
        alice.sign_in("alice", PASSWORD).await;
        institute.knows("s1", "somebody", "s@x.example");
        let link = "/oidc/account/link";
        let refused = alice.submit("/oidc/account", link, &[("provider", "one"), ("current", "wrong")]).await;
        assert_eq!(refused.status, 422, "a stolen session does not make a way in");
        let begin = async |browser: &mut Browser| {
            let page = browser.submit("/oidc/account", link, &[("provider", "one"), ("current", PASSWORD)]).await;
            assert_eq!(page.status, 303, "{}", page.text);
            institute.answer(&page.location.expect("a place"))
        };
        // The answer in a browser where somebody else is signed in by now links nothing.
        engine.identity.add_user("bob", false, "test").await.expect("made");
        engine.identity.set_password("bob", PASSWORD, None, "test").await.expect("set");
        let answer = begin(&mut alice).await;
        alice.sign_in("bob", PASSWORD).await;
        assert_eq!(back(&mut alice, "one", &answer).await.status, 403);
        alice.sign_in("alice", PASSWORD).await;
        let answer = begin(&mut alice).await;
        let page = back(&mut alice, "one", &answer).await;
        assert_eq!(page.location.as_deref(), Some("/oidc/account?done=linked"), "{}", page.text);

        let mut browser = Browser::new(&engine);
        assert_eq!(sign_in(&mut browser, "one", &institute).await.status, 303);
        assert_eq!(browser.me().await.1, format!("{}|alice", engine.identity.issuer()));
        // Tokens of that identity are alice's; with fewer rights than hers when they say so, and never an administrator's.
        let all = token("s1", "openid");
        assert_eq!(who(&all).await.expect("alice"), "alice");
        assert!(who(&token("s2", "openid")).await.expect("a guest").starts_with("guest-"));
        engine.identity.set_user("alice", true, true, "test").await.expect("set");
        let principal = engine.identity.verify(&all).await.expect("alice");
        assert!(!principal.is_admin() && principal.may("compute.create").is_ok());
        assert_eq!(principal.user_ref(), engine.user_ref("alice"));
        let few = engine.identity.verify(&token("s1", "compute.read")).await.expect("alice");
        assert!(few.may("compute.create").is_err());

        // It belongs to one account only.
        let mut bob = Browser::new(&engine);
        bob.sign_in("bob", PASSWORD).await;
        let answer = begin(&mut bob).await;
        assert_eq!(back(&mut bob, "one", &answer).await.status, 422);
        assert_eq!(who(&all).await.expect("alice"), "alice");

        // Suspended or banned here or there: out, everywhere.
        engine.identity.set_user("alice", false, false, "test").await.expect("set");
        assert!(who(&all).await.is_err());
        engine.identity.set_user("alice", false, true, "test").await.expect("set");
        for (issuer, subject) in [(institute.issuer(), "s1"), (engine.identity.issuer(), "alice")] {
            alice.sign_in("alice", PASSWORD).await;
            let own = engine
                .identity
                .issue_token("alice", &[], None, std::time::Duration::from_secs(60), "test")
                .expect("a token");
            let ban = NewBan {
                issuer: Some(issuer.to_owned()),
                subject: Some(subject.to_owned()),
                reason: "test".to_owned(),
                ..NewBan::default()
            };
            let ban = engine.identity.ban(ban, "test").await.expect("banned");
            assert!(who(&all).await.is_err() && who(own.expose()).await.is_err() && !alice.is_in().await, "{subject}");
            engine.identity.lift_ban(&ban.id, "test").await.expect("lifted");
        }
        alice.sign_in("alice", PASSWORD).await;
        let form = [("issuer", institute.issuer()), ("subject", "s1")];
        assert_eq!(
            bob.submit("/oidc/account", "/oidc/account/link", &[("provider", "nope"), ("current", PASSWORD)])
                .await
                .status,
            404
        );
        let page = alice.submit("/oidc/account", "/oidc/account/unlink", &form).await;
        assert_eq!(page.status, 303, "{}", page.text);
        assert_eq!(who(&all).await.expect("a guest"), before);
    }
}

#[tokio::test]
async fn providers_that_cannot_be_used() {
    let good = json!({"name": "one", "issuer": "https://idp.example", "client_id": "us"});
    let attempt = async |changes: &[(&str, Value)]| -> Result<TestEngine, OpenError> {
        let mut provider = good.clone();
        for (name, value) in changes {
            provider[name] = value.clone();
        }
        let line = |(name, value): (&String, &Value)| format!("{name} = {value}\n");
        let text: String = provider.as_object().expect("an object").iter().map(line).collect();
        TestEngine::try_start(TestSetup::config(&format!("[[identity.login_providers]]\n{text}")), async |_| {
            Ok(mounts())
        })
        .await
    };
    assert!(attempt(&[]).await.is_ok());
    for (name, value) in [
        ("name", json!("Not a name")),
        ("issuer", json!("http://idp.example")),
        ("client_id", json!("")),
        ("client_secret_file", json!("/nowhere/at/all")),
        ("scopes", json!(["profile"])),
        ("register", json!("perhaps")),
        ("unknown", json!(1)),
    ] {
        assert!(attempt(&[(name, value)]).await.is_err(), "{name}");
    }
}
