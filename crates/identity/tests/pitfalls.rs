//! The thirty pitfalls of the identity contract (section 7), each through the routes of a mounted service. The number in a
//! test's name is the pitfall's. Here are those of validation; the others are where what they are about is tested:
//!
//! | | pitfall | test |
//! |---|---|---|
//! | 1 | no algorithm, shared secrets | `p01_no_algorithm_and_shared_secrets` |
//! | 2 | key ids and addresses in tokens | `p02_key_ids_and_key_addresses_are_nothing_but_names` |
//! | 3 | storms of unknown keys | `p03_unknown_keys_lead_to_no_storm` |
//! | 4 | issuers mixed up | `p04_one_issuer_cannot_speak_for_another`; `iss` in answers: `people_upstream::bad_answers`, `issuer_flows::code_flow_with_id_token_userinfo_and_logout` |
//! | 5 | paths by prefix, dots, decoded twice | `p05_paths_are_compared_by_component_and_decoded_once` |
//! | 6 | audiences that nearly match | `p06_audiences_are_exact` |
//! | 7 | ID tokens as access tokens | `p07_id_tokens_and_refresh_tokens_open_nothing`, `issuer_attacks::p07_an_id_token_is_no_access_token` |
//! | 8 | refresh token of another client | `issuer_attacks::p08_a_refresh_token_of_another_client` |
//! | 9 | a code twice | `issuer_attacks::p09_a_code_twice` |
//! | 10 | open redirects, wildcards | `issuer_attacks::p10_nobody_is_sent_where_the_client_did_not_say`, `people_passwords::back_only_to_paths_of_ours`, `fuzz::places_to_come_back_to` |
//! | 11 | PKCE talked away | `issuer_attacks::p11_pkce_is_not_talked_away` |
//! | 12 | device codes phished and guessed | `issuer_attacks::p12_device_codes_are_not_guessed_and_not_given_away_unseen` |
//! | 13 | exchange that widens or goes round | `issuer_attacks::p13_exchange_does_not_widen_and_does_not_go_round` |
//! | 14 | introspection of others' tokens | `issuer_attacks::p14_introspection_tells_nothing_of_others` |
//! | 15 | secrets compared in parts | `issuer_attacks::p15_secrets_are_compared_whole_and_tried_seldom` (what it answers; that the comparison takes constant time is `subtle`'s) |
//! | 16 | tokens in logs, addresses, referrers | `issuer_attacks::p16_codes_and_tokens_do_not_leak`, `people_passwords::over_the_admin_socket_and_never_written_down` |
//! | 17 | refresh of the suspended | `p17_a_suspended_user_is_out_at_once`, `issuer_attacks::p17_a_suspended_persons_refresh_dies`, `suspended` (how fast, here and across processes) |
//! | 18 | groups that live on | `p18_a_group_that_was_taken_away_does_not_live_on` |
//! | 19 | addresses that strangers register | `issuer_attacks::p19_nothing_that_a_stranger_names_is_fetched` |
//! | 20 | bombs | `p20_bombs`, `issuer_attacks::p20_requests_that_are_too_much` |
//! | 21 | skew at the expiry | `p21_expiry_has_no_grace_and_the_future_little` |
//! | 22 | names that come twice | `p22_names_that_come_twice` |
//! | 23 | taken over by e-mail | `p23_an_address_makes_nobody_somebody`, `people_upstream::asking_for_an_account` |
//! | 24 | forms of other sites | `issuer_attacks::p24_other_pages_cannot_agree`, `people_passwords::forms_of_other_sites` |
//! | 25 | gaps when keys turn | `issuer_keys::keys_turn_over_under_load` |
//! | 26 | times of the wrong type | `p26_times_of_the_wrong_type` |
//! | 27 | unlisted issuers that are asked | `p27_an_unlisted_issuer_is_never_asked` |
//! | 28 | revocation times, all and one client | `p28_revocation_times_of_all_and_of_one_client`, `asking::tokens_from_before_a_revocation_time` |
//! | 29 | links that are signed tokens | `p29_other_signed_things_are_no_keys_to_the_house` |
//! | 30 | certificates unchecked | `p30_certificates_are_always_checked` |

mod issuer_support;
mod provider;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use dte_base::time::Timestamp;
use dte_identity::NewBan;
use dte_identity::testing::{TestEngine, TestSetup, forged_token};
use hmac::{Hmac, Mac};
use provider::{AUDIENCE, Provider, engine, mounts, status};
use serde_json::{Value, json};

async fn trusting() -> (Provider, TestEngine) {
    let provider = Provider::start().await;
    let us = engine(&provider.trusted("")).await;
    (provider, us)
}

/// Waits until a token's status is this; conditions, not clocks, decide.
async fn becomes(engine: &TestEngine, path: &str, token: &str, wanted: u16) -> Duration {
    let started = Instant::now();
    while status(engine, path, token).await != wanted {
        assert!(started.elapsed() < Duration::from_secs(30), "it never became {wanted}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    started.elapsed()
}

#[tokio::test]
async fn p01_no_algorithm_and_shared_secrets() {
    let (provider, us) = trusting().await;
    assert_eq!(status(&us, "/demo/me", &provider.token(json!({}))).await, 200, "the template is good");
    let body = B64.encode(provider.claims().to_string());
    for name in ["none", "None", "NONE", "nOnE", ""] {
        let head = B64.encode(json!({"alg": name, "kid": "one"}).to_string());
        for token in [format!("{head}.{body}."), format!("{head}.{body}.AAAA"), format!("{head}.{body}")] {
            assert_eq!(status(&us, "/demo/me", &token).await, 401, "{name}");
        }
    }
    // Signed with the public key as if it were a shared secret, in the forms that people have used.
    let x = provider.jwk["x"].as_str().expect("x");
    for secret in
        [provider.jwk.to_string(), x.to_owned(), String::from_utf8_lossy(&B64.decode(x).expect("x")).into_owned()]
    {
        for name in ["HS256", "HS384", "HS512"] {
            let message = format!("{}.{body}", B64.encode(json!({"alg": name, "kid": "one"}).to_string()));
            let mut mac = <Hmac<sha2::Sha256> as Mac>::new_from_slice(secret.as_bytes()).expect("any key");
            mac.update(message.as_bytes());
            let token = format!("{message}.{}", B64.encode(mac.finalize().into_bytes()));
            assert_eq!(status(&us, "/demo/me", &token).await, 401, "{name}");
        }
    }
    // An algorithm that the key is not for.
    for name in ["RS256", "PS256", "ES384", "EdDSA"] {
        assert_eq!(status(&us, "/demo/me", &provider.under(json!({"alg": name, "kid": "one"}))).await, 401, "{name}");
    }
}

#[tokio::test]
async fn p02_key_ids_and_key_addresses_are_nothing_but_names() {
    let (provider, us) = trusting().await;
    for kid in [
        "../../secret.key",
        "/dev/null",
        "' OR '1'='1",
        "one'; DROP TABLE identity_keys; --",
        "http://x/",
        "one\u{0}",
        "ONE",
    ] {
        assert_eq!(status(&us, "/demo/me", &provider.under(json!({"alg": "ES256", "kid": kid}))).await, 401, "{kid:?}");
    }
    for kid in [json!(null), json!(1), json!(["one"]), json!({"kid": "one"}), json!("")] {
        assert_eq!(status(&us, "/demo/me", &provider.under(json!({"alg": "ES256", "kid": kid}))).await, 401);
    }
    // Another's key, offered by the token itself.
    let thief = Provider::start().await;
    let place = format!("{}/thief", provider.issuer);
    for more in [json!({"jku": place}), json!({"x5u": place}), json!({"jwk": thief.jwk}), json!({"x5c": ["AAAA"]})] {
        for kid in ["one", "two"] {
            let mut header = json!({"alg": "ES256", "kid": kid});
            header.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            let token = thief.signed(&header.to_string(), &provider.claims().to_string());
            assert_eq!(status(&us, "/demo/me", &token).await, 401, "{header}");
        }
    }
    assert_eq!(provider.said.trap.load(Ordering::SeqCst), 0, "nothing that a token names was fetched");
    assert_eq!(status(&us, "/demo/me", &provider.token(json!({}))).await, 200);
}

#[tokio::test]
async fn p03_unknown_keys_lead_to_no_storm() {
    let (provider, us) = trusting().await;
    assert_eq!(status(&us, "/demo/me", &provider.token(json!({}))).await, 200);
    let odd: Vec<String> =
        (0..40).map(|n| provider.under(json!({"alg": "ES256", "kid": format!("key {n}")}))).collect();
    let mut asking = tokio::task::JoinSet::new();
    let us = std::sync::Arc::new(us);
    for token in odd {
        let us = std::sync::Arc::clone(&us);
        asking.spawn(async move { status(&us, "/demo/me", &token).await });
    }
    while let Some(outcome) = asking.join_next().await {
        assert_eq!(outcome.expect("an answer"), 401);
    }
    assert_eq!(provider.said.jwks.load(Ordering::SeqCst), 1, "one fetch, although forty unknown keys were named");
    assert_eq!(
        status(&us, "/demo/me", &provider.token(json!({"sub": "dave"}))).await,
        200,
        "good tokens do not suffer"
    );
}

#[tokio::test]
async fn p04_one_issuer_cannot_speak_for_another() {
    let (one, two) = (Provider::start().await, Provider::start().await);
    let us = engine(&format!("{}{}", one.trusted(""), two.trusted(""))).await;
    assert_eq!(status(&us, "/demo/me", &one.token(json!({}))).await, 200);
    assert_eq!(status(&us, "/demo/me", &two.token(json!({}))).await, 200);
    assert_eq!(status(&us, "/demo/me", &one.token(json!({"iss": two.issuer}))).await, 401);
    assert_eq!(status(&us, "/demo/me", &one.token(json!({"iss": us.identity.issuer(), "sub": "admin"}))).await, 401);
    assert_eq!(status(&us, "/demo/me", &one.token(json!({"iss": format!("{}/", one.issuer)}))).await, 401);
    assert_eq!(status(&us, "/demo/me", &one.token(json!({"iss": null}))).await, 401);
}

#[tokio::test]
async fn p05_paths_are_compared_by_component_and_decoded_once() {
    let (provider, us) = trusting().await;
    let token = provider.token(json!({"scope": "storage.read:/foo"}));
    for (path, wanted) in [
        ("/foo/a", 200),
        ("/foo", 200),
        ("/foobar", 403),
        ("/foobar/a", 403),
        ("/FOO/a", 403),
        ("/bar", 403),
        ("/foo/../bar", 403),
        ("/foo/%2e%2e/bar", 403),
        ("/foo/%2E%2E/bar", 403),
        ("/foo/.%2e/bar", 403),
        ("/foo%2F..%2Fbar", 403),
        ("/foo/./a", 403),
        ("/foo//a", 403),
        ("/foo/a%00", 403),
        ("/foo%5C..%5Cbar", 403),
    ] {
        assert_eq!(status(&us, &format!("/demo/files{path}"), &token).await, wanted, "{path}");
    }
    // Encoded twice is a strange name inside /foo, and stays there.
    let url = us.url_of("/demo/files/foo/%252e%252e/bar");
    let reply = us.client.get(url).bearer(token.as_str()).send().await.expect("an answer");
    assert_eq!(reply.text().await.expect("a text"), "/foo/%2e%2e/bar");
    // A scope whose path is not one makes the whole token worthless.
    for scope in [
        "storage.read",
        "storage.read:",
        "storage.read:foo",
        "storage.read:/foo/../bar",
        "storage.read:/a%2Fb",
        "storage.read:/%2e%2e",
    ] {
        assert_eq!(status(&us, "/demo/me", &provider.token(json!({"scope": scope}))).await, 401, "{scope}");
    }
}

#[tokio::test]
async fn p06_audiences_are_exact() {
    let (provider, us) = trusting().await;
    for good in [
        json!(AUDIENCE),
        json!([AUDIENCE]),
        json!(["https://other.example", AUDIENCE]),
        json!("https://wlcg.cern.ch/jwt/v1/any"),
    ] {
        assert_eq!(status(&us, "/demo/me", &provider.token(json!({"aud": good.clone()}))).await, 200, "{good}");
    }
    for bad in [
        json!("https://us.example/"),
        json!("https://us.example.evil.example"),
        json!("HTTPS://US.EXAMPLE"),
        json!(" https://us.example"),
        json!("https://us.exampl"),
        json!(["https://us.", "example"]),
        json!([[AUDIENCE]]),
        json!({"aud": AUDIENCE}),
        json!([AUDIENCE, 7]),
        json!([]),
        json!(""),
        json!(null),
        json!("https://us.example https://other.example"),
        json!(us.identity.audience()),
    ] {
        assert_eq!(status(&us, "/demo/me", &provider.token(json!({"aud": bad.clone()}))).await, 401, "{bad}");
    }
}

#[tokio::test]
async fn p07_id_tokens_and_refresh_tokens_open_nothing() {
    let (provider, us) = trusting().await;
    for changes in [
        json!({"nonce": "n"}),
        json!({"at_hash": "h"}),
        json!({"typ": "ID"}),
        json!({"typ": "Refresh"}),
        json!({"token_use": "id"}),
    ] {
        assert_eq!(status(&us, "/demo/me", &provider.token(changes.clone())).await, 401, "{changes}");
    }
    for kind in ["id+jwt", "logout+jwt", "dpop+jwt", "rt+jwt", "application/secevent+jwt"] {
        assert_eq!(
            status(&us, "/demo/me", &provider.under(json!({"alg": "ES256", "kid": "one", "typ": kind}))).await,
            401,
            "{kind}"
        );
    }
    // The audience of an ID token is its client.
    let config = format!("{}profile = 'generic'\n", provider.trusted(""));
    let generic = engine(&config).await;
    let id_token = json!({"azp": AUDIENCE, "scope": null, "wlcg.ver": null});
    assert_eq!(status(&generic, "/demo/me", &provider.token(id_token)).await, 401);
    assert_eq!(status(&generic, "/demo/me", &provider.token(json!({"azp": AUDIENCE}))).await, 200);
}

#[tokio::test]
async fn p17_a_suspended_user_is_out_at_once() {
    let (provider, us) = trusting().await;
    let (guest, ours) = (provider.token(json!({})), us.token_for("alice", &[]).await);
    for token in [guest.as_str(), ours.expose()] {
        assert_eq!(status(&us, "/demo/me", token).await, 200);
    }
    for subject in ["carol", "alice"] {
        let who = NewBan { subject: Some(subject.to_owned()), reason: "test".to_owned(), ..NewBan::default() };
        us.identity.ban(who, "admin").await.expect("banned");
    }
    for token in [guest.as_str(), ours.expose()] {
        assert_eq!(status(&us, "/demo/me", token).await, 401, "although it was remembered as good");
    }
    assert_eq!(status(&us, "/demo/me", &provider.token(json!({}))).await, 401, "a fresh token helps no more");
}

#[tokio::test]
async fn p18_a_group_that_was_taken_away_does_not_live_on() {
    let provider = Provider::start().await;
    let more = "profile = 'generic'\nuserinfo = true\n[[identity.trusted_issuers.grants]]\ngroup = '/twins/ops'\nscopes = ['compute.create']";
    let us = engine(&format!("[identity]\ndecision_memory = '1s'\n{}", provider.trusted(more))).await;
    let tell = |groups: Value| {
        *provider.said.userinfo_answer.lock().expect("not poisoned") = Some(json!({"sub": "carol", "groups": groups}));
    };
    tell(json!(["/twins/ops"]));
    let token = provider.token(json!({}));
    assert_eq!(status(&us, "/demo/compute", &token).await, 200);
    tell(json!([]));
    becomes(&us, "/demo/compute", &token, 403).await;
    assert_eq!(status(&us, "/demo/me", &token).await, 200);
    // Nobody can make the memory longer than a minute.
    for (span, starts) in [("1m", true), ("61s", false), ("1h", false)] {
        let setup = TestSetup::config(&format!("[identity]\ndecision_memory = '{span}'\n"));
        assert_eq!(TestEngine::try_start(setup, async |_| Ok(mounts())).await.is_ok(), starts, "{span}");
    }
}

#[tokio::test]
async fn p20_bombs() {
    let (provider, us) = trusting().await;
    let deep = |depth: usize| format!(r#""x":{}1{}"#, "[".repeat(depth), "]".repeat(depth));
    assert_eq!(status(&us, "/demo/me", &provider.raw(&deep(50))).await, 200, "unknown claims are ignored");
    assert_eq!(status(&us, "/demo/me", &provider.raw(&deep(5_000))).await, 401);
    let objects = format!(r#""x":{}1{}"#, r#"{"a":"#.repeat(1_500), "}".repeat(1_500));
    assert_eq!(status(&us, "/demo/me", &provider.raw(&objects)).await, 401);
    assert_eq!(status(&us, "/demo/me", &provider.token(json!({"wlcg.groups": vec!["/twins"; 1_000]}))).await, 200);
    assert_eq!(status(&us, "/demo/me", &provider.token(json!({"wlcg.groups": vec!["/t"; 1_001]}))).await, 401);
    assert_eq!(status(&us, "/demo/me", &provider.token(json!({"sub": "a".repeat(256)}))).await, 401);
    let wide = provider.under(json!({"alg": "ES256", "kid": "one", "x": "y".repeat(13_000)}));
    assert!(matches!(status(&us, "/demo/me", &wide).await, 401 | 431));
    let digits = format!(r#""x":1{}"#, "0".repeat(9_000));
    assert!(matches!(status(&us, "/demo/me", &provider.raw(&digits)).await, 200 | 401));
    assert_eq!(status(&us, "/demo/me", &"A".repeat(20_000)).await, 431);
    assert_eq!(status(&us, "/demo/me", &provider.token(json!({}))).await, 200, "and life goes on");
}

#[tokio::test]
async fn p21_expiry_has_no_grace_and_the_future_little() {
    let (provider, us) = trusting().await;
    let now = Timestamp::now().as_seconds();
    assert_eq!(status(&us, "/demo/me", &provider.token(json!({"exp": now}))).await, 401);
    assert_eq!(
        status(&us, "/demo/me", &provider.token(json!({"exp": now - 30}))).await,
        401,
        "within the skew, and over"
    );
    assert_eq!(status(&us, "/demo/me", &provider.token(json!({"nbf": now + 30, "iat": now + 30}))).await, 200);
    assert_eq!(status(&us, "/demo/me", &provider.token(json!({"nbf": now + 600}))).await, 401);
    assert_eq!(status(&us, "/demo/me", &provider.token(json!({"iat": now + 600}))).await, 401);
    // One that was seen and is remembered ends with its second all the same.
    let exp = Timestamp::now().as_seconds() + 3;
    let short = provider.token(json!({"exp": exp}));
    let first = status(&us, "/demo/me", &short).await;
    assert!(first == 200 || Timestamp::now().as_seconds() >= exp);
    becomes(&us, "/demo/me", &short, 401).await;
    assert!(Timestamp::now().as_seconds() >= exp, "not before its time");
}

#[tokio::test]
async fn p22_names_that_come_twice() {
    let (provider, us) = trusting().await;
    assert_eq!(status(&us, "/demo/me", &provider.raw(r#""x":1"#)).await, 200);
    for more in [
        r#""sub":"admin""#,
        r#""aud":"https://us.example""#,
        r#""x":1,"x":2"#,
        r#""x":{"a":1,"a":2}"#,
        r#""\u0073ub":"admin""#,
    ] {
        assert_eq!(status(&us, "/demo/me", &provider.raw(more)).await, 401, "{more}");
    }
    let claims = provider.claims().to_string();
    for header in [r#"{"alg":"none","alg":"ES256","kid":"one"}"#, r#"{"alg":"ES256","kid":"two","kid":"one"}"#] {
        assert_eq!(status(&us, "/demo/me", &provider.signed(header, &claims)).await, 401, "{header}");
    }
}

#[tokio::test]
async fn p23_an_address_makes_nobody_somebody() {
    let (provider, us) = trusting().await;
    us.token_for("alice", &[]).await;
    let names = json!({
        "email": "admin@us.example", "email_verified": true, "preferred_username": "admin", "name": "admin", "upn": "admin",
        "eduperson_principal_name": "admin",
    });
    for sub in ["admin", "alice", "carol"] {
        let mut claims = names.clone();
        claims["sub"] = json!(sub);
        let token = provider.token(claims);
        assert_eq!(status(&us, "/demo/me", &token).await, 200);
        assert_eq!(status(&us, "/demo/admin", &token).await, 403, "{sub}");
        let principal = us.identity.verify(&token).await.expect("good");
        assert_eq!((principal.issuer.as_str(), principal.subject.as_str()), (provider.issuer.as_str(), sub));
        assert!(!["admin", "alice"].contains(&principal.name()), "{}", principal.name());
    }
}

#[tokio::test]
async fn p26_times_of_the_wrong_type() {
    let (provider, us) = trusting().await;
    let now = Timestamp::now().as_seconds();
    for name in ["exp", "nbf", "iat"] {
        for wrong in [
            json!((now + 600).to_string()),
            json!(now as f64 + 600.5),
            json!(1e18),
            json!(-1),
            json!(true),
            json!([now + 600]),
            json!({"at": now + 600}),
            json!(u64::MAX),
        ] {
            assert_eq!(
                status(&us, "/demo/me", &provider.token(json!({name: wrong.clone()}))).await,
                401,
                "{name} {wrong}"
            );
        }
        // What JSON has no number for.
        let mut claims = provider.claims();
        claims.as_object_mut().expect("an object").remove(name);
        for wrong in ["1e400", "-1e400", "null", "NaN", "Infinity", "0x7fffffff"] {
            let text = format!(r#"{},"{name}":{wrong}}}"#, claims.to_string().trim_end_matches('}'));
            let token = provider.signed(r#"{"alg":"ES256","kid":"one"}"#, &text);
            assert_eq!(status(&us, "/demo/me", &token).await, 401, "{name} {wrong}");
        }
    }
}

#[tokio::test]
async fn p27_an_unlisted_issuer_is_never_asked() {
    let (provider, us) = trusting().await;
    let stranger = Provider::start().await;
    for issuer in [
        stranger.issuer.clone(),
        format!("{}/", stranger.issuer),
        format!("{}@{}", provider.issuer, stranger.issuer.trim_start_matches("http://")),
        "http://169.254.169.254/latest/meta-data".to_owned(),
        "file:///etc/passwd".to_owned(),
        format!("{}/../x", provider.issuer),
    ] {
        assert_eq!(status(&us, "/demo/me", &stranger.token(json!({"iss": issuer}))).await, 401, "{issuer}");
    }
    assert_eq!(stranger.said.jwks.load(Ordering::SeqCst) + stranger.said.trap.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn p28_revocation_times_of_all_and_of_one_client() {
    let us = issuer_support::start().await;
    let metadata = json!({"grant_types": ["client_credentials"], "scope": "compute.create"});
    let one = issuer_support::register_trusted(&us, metadata.clone()).await;
    let other = issuer_support::register_trusted(&us, metadata).await;
    let own = async |app: &issuer_support::App| {
        let (status, answer) = issuer_support::token(&us, app, &[("grant_type", "client_credentials")]).await;
        assert_eq!(status, 200, "{answer}");
        issuer_support::text(&answer, "access_token").to_owned()
    };
    let (first, second) = (own(&one).await, own(&other).await);
    // What introspection says of each, and whether it opens anything.
    let all = async || {
        let mut found = Vec::new();
        for (app, token) in [(&one, &first), (&other, &second)] {
            let (_, answer) = issuer_support::call(&us, "/oidc/introspect", app, &[("token", token)]).await;
            let is_active = answer["active"] == true;
            assert_eq!(status(&us, "/demo/work", token).await == 200, is_active, "{answer}");
            found.push(is_active);
        }
        found
    };
    assert_eq!(all().await, [true, true]);
    let of_one = us.identity.revoke_issued(Some(&one.id), "admin").await.expect("revoked");
    assert_eq!(all().await, [false, true], "of one client");
    let of_all = us.identity.revoke_issued(None, "admin").await.expect("revoked");
    assert_eq!(all().await, [false, false], "of everybody");
    us.identity.lift_revocation(&of_one.id, "admin").await.expect("lifted");
    assert_eq!(all().await, [false, false], "one of them is enough");
    us.identity.lift_revocation(&of_all.id, "admin").await.expect("lifted");
    assert_eq!(all().await, [true, true]);
}

#[tokio::test]
async fn p29_other_signed_things_are_no_keys_to_the_house() {
    let (provider, us) = trusting().await;
    for kind in ["invite+jwt", "JWS", "verification+jwt", "kb+jwt"] {
        let token = provider.under(json!({"alg": "ES256", "kid": "one", "typ": kind}));
        assert_eq!(status(&us, "/demo/me", &token).await, 401, "{kind}");
    }
    // A link's code is a secret of ours, never something signed that is only half looked at.
    let good = forged_token(&us.identity, &json!({}));
    for code in [good.expose().to_owned(), provider.token(json!({})), provider.token(json!({"exp": 1})), String::new()]
    {
        assert!(us.identity.begin_session(&code).await.expect("answered").is_none());
    }
    let code = us.identity.login_code("admin", "test").await.expect("a code");
    assert_eq!(status(&us, "/demo/me", code.expose()).await, 401, "a link's code is no token");
    assert!(us.identity.begin_session(code.expose()).await.expect("answered").is_some());
    assert!(us.identity.begin_session(code.expose()).await.expect("answered").is_none(), "and good once");
}

#[tokio::test]
async fn p30_certificates_are_always_checked() {
    let folder = tempfile::tempdir().expect("a folder");
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).expect("written");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
    let config = format!("[http]\ntls_cert = '{}'\ntls_key = '{}'\n", cert.display(), key.display());
    let other = engine(&config).await;
    assert_eq!(other.url.scheme(), "https");
    let server = other.listen();
    let issuer = other.identity.issuer();
    let us = engine(&format!("[[identity.trusted_issuers]]\nissuer = '{issuer}'\naudiences = ['{AUDIENCE}']\n")).await;
    let token = forged_token(&other.identity, &json!({"aud": AUDIENCE}));
    assert_eq!(status(&us, "/demo/me", token.expose()).await, 401);
    let why = us.identity.verify(token.expose()).await.expect_err("refused");
    assert_eq!(why.id(), "keys-unavailable", "nobody vouches for its certificate");
    assert!(server.stop(Duration::from_secs(5)).await);
    // There is no setting that turns it off.
    for (place, setting) in
        [("[http]", "tls_verify = false"), ("[http]", "insecure = true"), ("[identity]", "insecure_tls = true")]
    {
        let setup = TestSetup::config(&format!("{place}\n{setting}\n"));
        assert!(TestEngine::try_start(setup, async |_| Ok(mounts())).await.is_err(), "{setting}");
    }
    let setup = TestSetup::config("[[identity.trusted_issuers]]\nissuer = 'https://x.example'\ntls_verify = false\n");
    assert!(TestEngine::try_start(setup, async |_| Ok(mounts())).await.is_err());
}
