//! The second factor: set up, asked for, each code once.

mod people_support;

use std::time::{SystemTime, UNIX_EPOCH};

use dte_identity::AccountError;
use people_support::{Browser, PASSWORD, Page, engines};
use totp_rs::{Algorithm, Secret, TOTP};

/// The code of a key so many steps from now.
fn code(key: &str, steps: u64) -> String {
    let secret = Secret::Encoded(key.to_owned()).to_bytes().expect("a key");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time").as_secs();
    TOTP::new_unchecked(Algorithm::SHA1, 6, 1, 30, secret).generate(now + steps * 30)
}

/// Goes through the first step, and sends a code.
async fn sign_in(browser: &mut Browser, code: &str) -> Page {
    let page = browser.sign_in("alice", PASSWORD).await;
    assert_eq!((page.status, page.location.as_deref()), (303, Some("/oidc/login/code")), "{}", page.text);
    assert!(!browser.is_in().await, "half way is not in");
    browser.submit("/oidc/login/code", "/oidc/login/code", &[("code", code)]).await
}

#[tokio::test]
async fn codes_and_recovery_codes() {
    for engine in engines("").await {
        let mut browser = Browser::new(&engine);
        browser.sign_in("alice", PASSWORD).await;
        let begin = "/oidc/account/second-factor";
        let page = browser.submit("/oidc/account", begin, &[("current", "wrong password")]).await;
        assert_eq!(page.status, 422, "a stolen session does not lock the owner out");
        let page = browser.submit("/oidc/account", begin, &[("current", PASSWORD)]).await;
        assert_eq!((page.status, page.location.as_deref()), (303, Some(begin)));
        let page = browser.get(begin).await;
        assert!(page.text.contains("<svg class=\"qr\""));
        let key = page.after("<code id=\"key\">").replace(' ', "");
        let confirm = "/oidc/account/second-factor/confirm";
        let page = browser.submit(begin, confirm, &[("code", "000000x")]).await;
        assert_eq!(page.status, 403);
        // Until it is confirmed it does not count.
        assert!(engine.identity.check_password("alice", PASSWORD, None).await.is_ok());
        let first = code(&key, 0);
        let page = browser.submit(begin, confirm, &[("code", &first)]).await;
        assert_eq!(page.status, 200, "{}", page.text);
        let recovery: Vec<&str> = page.text.split("<li>").skip(1).filter_map(|part| part.split('<').next()).collect();
        assert_eq!(recovery.len(), 10);
        assert_eq!(browser.get(begin).await.status, 303, "the key is never shown again");

        // Protocols that cannot ask for a code do not let the account in.
        let basic = engine.identity.check_password("alice", PASSWORD, None).await;
        assert!(matches!(basic, Err(AccountError::SecondFactor)), "{basic:?}");

        let mut other = Browser::new(&engine);
        let page = sign_in(&mut other, &first).await;
        assert_eq!(page.status, 403, "the first code was used already");
        assert_eq!(page.alert(), "The code is not right, or was used before.");
        let next = code(&key, 1);
        let page = other.submit("/oidc/login/code", "/oidc/login/code", &[("code", &next)]).await;
        assert_eq!((page.status, page.location.as_deref()), (303, Some("/demo/me")), "{}", page.text);
        assert!(other.is_in().await);
        // The same code again, in another browser.
        let mut thief = Browser::new(&engine);
        assert_eq!(sign_in(&mut thief, &next).await.status, 403);
        // Half way in one browser is nothing in another.
        let mut stranger = Browser::new(&engine);
        assert_eq!(stranger.get("/oidc/login/code").await.location.as_deref(), Some("/oidc/login"));

        // A recovery code, as people type it, once.
        let typed = recovery[0].to_uppercase().replace('-', " ");
        let page = thief.submit("/oidc/login/code", "/oidc/login/code", &[("code", &typed)]).await;
        assert_eq!(page.status, 303, "{}", page.text);
        assert_eq!(sign_in(&mut Browser::new(&engine), &typed).await.status, 403);
        assert!(other.get("/oidc/account").await.text.contains("Recovery codes left: 9"));

        // Off again, with the password.
        let remove = "/oidc/account/second-factor/remove";
        assert_eq!(other.submit("/oidc/account", remove, &[("current", "no")]).await.status, 422);
        assert_eq!(other.submit("/oidc/account", remove, &[("current", PASSWORD)]).await.status, 303);
        assert!(engine.identity.check_password("alice", PASSWORD, None).await.is_ok());

        // The secret lies sealed, recovery codes as hashes; neither is in the audit.
        let audit = engine
            .store
            .read(|tx| tx.query("SELECT body FROM identity_audit", &[], |row| row.get::<String>(0)))
            .await
            .expect("read")
            .join("\n");
        assert!(audit.contains("second-factor.on") && audit.contains("recovery-code.use"));
        assert!(audit.contains("second-factor.off") && !audit.contains(&key) && !audit.contains(recovery[1]));
    }
}

#[tokio::test]
async fn guessing_codes_is_slow() {
    for engine in engines("").await {
        let mut browser = Browser::new(&engine);
        browser.sign_in("alice", PASSWORD).await;
        let begin = "/oidc/account/second-factor";
        browser.submit("/oidc/account", begin, &[("current", PASSWORD)]).await;
        let key = browser.get(begin).await.after("<code id=\"key\">").replace(' ', "");
        browser.submit(begin, "/oidc/account/second-factor/confirm", &[("code", &code(&key, 0))]).await;
        let mut guesser = Browser::new(&engine);
        sign_in(&mut guesser, "000000").await;
        let mut statuses = Vec::new();
        for guess in 1..12 {
            let guess = format!("{guess:06}");
            statuses.push(guesser.submit("/oidc/login/code", "/oidc/login/code", &[("code", &guess)]).await.status);
        }
        assert!(statuses.contains(&429), "{statuses:?}");
    }
}
