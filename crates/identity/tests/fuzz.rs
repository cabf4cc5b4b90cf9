//! Hostile bytes for every parser of what tokens carry and of what strangers send, for a bounded number of rounds: texts from a corpus, mutated. A seed
//! that finds something is printed; `DTE_FUZZ_SEED` runs it again, `DTE_FUZZ_ROUNDS` sets how long.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use dte_identity::model::capability::Capability;
use dte_identity::model::group::Group;
use dte_identity::model::path::StoragePath;
use dte_identity::model::token;
use dte_identity::testing::parsers;
use dte_identity::{Scopes, StorageOp};
use serde_json::json;
use url::Url;

const USUAL_ROUNDS: u64 = 20_000;
/// Texts grow no longer than this.
const LONGEST: usize = 4_096;

/// A small generator that gives the same bytes for the same seed everywhere (splitmix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, most: usize) -> usize {
        usize::try_from(self.roll() % most.max(1) as u64).unwrap_or(0)
    }
}

/// What parsers stumble over.
const SPICE: &[&str] = &[
    "/",
    "//",
    "..",
    ".",
    "%",
    "%2e%2e",
    "%2F",
    "%00",
    "\0",
    "\\",
    ":",
    "::",
    "#",
    "=",
    "role=",
    "urn:",
    ":group:",
    ":res:",
    ":act:",
    " ",
    "\t",
    "\n",
    "\u{202e}",
    "\u{feff}",
    "ü",
    "😀",
    "\"",
    "{",
    "}",
    "[",
    "]",
    ",",
    "1e400",
    "-1",
    "null",
    "storage.",
    "storage.read:/",
    "dte.admin",
    "/Role=",
    "/Capability=NULL",
    "registry:",
    "(",
    ")",
    "not (",
    " and ",
    " or ",
    " eq ",
    " pr",
    "//evil.example",
    "/\\evil.example",
    "@evil.example",
    "?",
    "&",
    "javascript:",
    "*",
    "\u{0}",
];

fn mutated(dice: &mut Dice, corpus: &[&str]) -> String {
    let mut text = corpus[dice.below(corpus.len())].as_bytes().to_vec();
    for _ in 0..=dice.below(6) {
        let at = dice.below(text.len() + 1);
        match dice.below(7) {
            0 => text.insert(at, u8::try_from(dice.below(256)).unwrap_or(0)),
            1 if !text.is_empty() => drop(text.remove(at.min(text.len() - 1))),
            2 if !text.is_empty() => {
                let at = at.min(text.len() - 1);
                text[at] ^= 1 << dice.below(8);
            }
            3 => drop(text.splice(at..at, SPICE[dice.below(SPICE.len())].bytes())),
            4 => {
                let other = corpus[dice.below(corpus.len())].as_bytes();
                let from = dice.below(other.len() + 1);
                drop(text.splice(at.., other[from..].iter().copied()));
            }
            5 => {
                let from = dice.below(at + 1);
                let part = text[from..at].to_vec();
                for _ in 0..dice.below(8) {
                    drop(text.splice(at..at, part.iter().copied()));
                }
            }
            _ => text.truncate(at),
        }
        text.truncate(LONGEST);
    }
    String::from_utf8_lossy(&text).into_owned()
}

fn fuzz(corpus: &[&str], target: impl Fn(&str)) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let rounds = number("DTE_FUZZ_ROUNDS").unwrap_or(USUAL_ROUNDS);
    let first = number("DTE_FUZZ_SEED").unwrap_or(0);
    for seed in first..first + rounds {
        let text = mutated(&mut Dice(seed), corpus);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| target(&text)));
        assert!(outcome.is_ok(), "DTE_FUZZ_SEED={seed} DTE_FUZZ_ROUNDS=1: {text:?}");
    }
}

#[test]
fn tokens() {
    let claims =
        r#"{"iss":"https://i","sub":"a","aud":["x"],"exp":1700000000,"scope":"storage.read:/a","act":{"sub":"s"}}"#;
    let header = r#"{"alg":"ES256","kid":"k","typ":"at+jwt"}"#;
    let whole = format!("{}.{}.c2ln", B64.encode(header), B64.encode(claims));
    fuzz(&[&whole, "a.b.c", "..", "opaque-token", "e30.e30.e30"], |text| {
        if let Ok(read) = token::parse(text) {
            assert!(!read.key_id.is_empty() && !read.signature.is_empty() && text.len() <= token::LONGEST);
            assert!(text.starts_with(read.message));
        }
    });
    // The JSON itself, where a mutated base64 text seldom reaches.
    fuzz(&[header, claims, "{}", r#"{"alg":"none"}"#, r#"{"exp":1e400}"#], |text| {
        for whole in [
            format!("{}.{}.c2ln", B64.encode(text), B64.encode(claims)),
            format!("{}.{}.c2ln", B64.encode(header), B64.encode(text)),
        ] {
            if let Ok(read) = token::parse(&whole) {
                for name in ["exp", "nbf", "iat"] {
                    assert!(read.claims.seconds(name).ok().flatten().is_none_or(|seconds| seconds >= 0));
                }
            }
        }
        if let Ok(claims) = token::Claims::read(text.as_bytes().to_vec()) {
            // Two readers agree about what was accepted.
            let again: serde_json::Value = serde_json::from_str(text).expect("JSON");
            assert_eq!(serde_json::Value::Object(claims.into_map()), again);
        }
    });
}

#[test]
fn scopes() {
    let base = StoragePath::parse("/vo").expect("a path");
    let outside = StoragePath::parse("/other/f").expect("a path");
    let above = StoragePath::parse("/vof").expect("a path");
    let corpus = [
        "openid profile storage.read:/data storage.modify:/a/b compute.create",
        "storage.create:/a%20b/",
        "storage.read:/../x",
        "wlcg wlcg.groups:/vo dte.deploy:/p",
        "storage.stage:/%252e%252e",
    ];
    fuzz(&corpus, |text| {
        if let Ok(scopes) = Scopes::parse(text, &base) {
            for op in [StorageOp::Read, StorageOp::Create, StorageOp::Modify, StorageOp::Stage] {
                assert!(!scopes.permit_storage(op, &outside), "beyond the issuer's area");
                assert!(!scopes.permit_storage(op, &above), "beside the issuer's area");
            }
        }
    });
}

#[test]
fn groups_and_entitlements() {
    let corpus = [
        "urn:mace:egi.eu:group:vo.openeo.cloud:sub%20group:role=vm_operator#aai.egi.eu",
        "urn:mace:egi.eu:group:registry:ops:role=member#aai.egi.eu",
        "/atlas/prod/Role=production/Capability=NULL",
        "/vo/group",
        "urn:x:res:twin:act:run,read#a",
    ];
    fuzz(&corpus, |text| {
        if let Some(group) = Group::parse(text) {
            assert!(group.satisfies(&group));
            // Nothing gets lost or gained on the way through the notations.
            assert_eq!(
                Group::from_entitlement(&group.entitlement("urn:x")).map(|g| (g.vo, g.path, g.role)),
                Some((group.vo.clone(), group.path.clone(), group.role.clone()))
            );
            if let Some(fqan) = group.fqan() {
                let again = Group::from_fqan(&fqan).expect("an FQAN");
                assert_eq!((again.vo, again.path, again.role), (group.vo, group.path, group.role));
            }
        }
        if let Some(capability) = Capability::parse(text) {
            assert!(capability.satisfies(&capability));
        }
    });
}

#[test]
fn paths() {
    let corpus = ["/foo/bar", "/", "/a%20b/%252e%252e/c", "/home/alice/x/", "/..%2f..", "/a//b"];
    fuzz(&corpus, |text| {
        for path in [StoragePath::parse(text), StoragePath::parse_encoded(text)].into_iter().flatten() {
            for part in path.components() {
                assert!(!matches!(part.as_str(), "" | "." | ".."));
                assert!(!part.contains(['/', '\\', '\0']));
            }
            assert!(path.covers(&path));
        }
    });
}

#[test]
fn scim_filters() {
    let corpus = [
        r#"userName eq "alice" and (active eq true or emails[type eq "work" and value co "@example.org"])"#,
        r#"not (name.familyName sw "O'") or meta.lastModified gt "2026-01-01T00:00:00Z""#,
        r#"urn:ietf:params:scim:schemas:core:2.0:User:userName pr"#,
        r#"members[value eq "x"].display"#,
        "((((((((((((((((active pr))))))))))))))))",
        "not (not (not (not (active ne false))))",
        r#"id eq "\u0041\ud83d\ude00" and x le -1.5e3 and y eq null"#,
    ];
    let resource = json!({
        "id": "A", "userName": "alice", "active": true, "name": {"familyName": "O'Neill"}, "x": -2_000,
        "emails": [{"type": "work", "value": "a@example.org"}, {"type": "home"}], "groups": [], "meta": null,
    });
    assert_eq!(parsers::scim_filter(corpus[0], &resource), Some(true), "the corpus is alive");
    fuzz(&corpus, |text| {
        let _ = parsers::scim_filter(text, &resource);
        let _ = parsers::scim_path(text);
    });
    // Depth and length end in a refusal, not in a stack that overflows.
    for deep in ["(".repeat(4_000), "not (".repeat(800), "a[".repeat(2_000), "a eq 1 and ".repeat(100_000)] {
        assert_eq!(parsers::scim_filter(&deep, &resource), None);
    }
    let many = format!("{}x pr", "x pr or ".repeat(500));
    assert!(parsers::scim_filter(&many, &resource).is_some());
}

#[test]
fn places_to_come_back_to() {
    let corpus = [
        "/oidc/authorize?client_id=a&redirect_uri=https%3A%2F%2Frp.example%2Fcb&state=x",
        "/oidc/device?user_code=BCDF-GHJK",
        "/ui/%2e%2e/x#y",
        "https://evil.example/",
        "//evil.example",
        "/a/b/c?next=//x",
    ];
    let own = Url::parse("https://us.example:8443/deep/page").expect("a URL");
    fuzz(&corpus, |text| {
        let place = parsers::own_path(text);
        assert!(place == text || place == "/ui");
        // However a browser reads it, on whatever page: the same origin, and never round to the sign-in page.
        let led = own.join(place).expect("a path");
        assert_eq!(led.origin(), own.origin(), "{place}");
        assert!(!led.path().starts_with("/oidc/login"), "{place}");
        assert!(place.starts_with('/') && place.bytes().all(|byte| byte.is_ascii_graphic()), "{place}");
    });
}

#[test]
fn addresses_of_programs() {
    let corpus = [
        "https://rp.example/cb",
        "https://rp.example:8443/cb?x=1",
        "http://127.0.0.1:4000/cb",
        "http://[::1]/cb",
        "http://localhost/",
        "edu.example.app:/redirect",
        "https://user@rp.example/cb#x",
    ];
    fuzz(&corpus, |text| {
        for native in [false, true] {
            if parsers::may_register(text, native) {
                let url = Url::parse(text).expect("an address");
                assert!(url.fragment().is_none() && url.username().is_empty() && url.password().is_none());
                assert!(!["javascript", "data", "file", "blob", "about"].contains(&url.scheme()));
                assert!(!text.contains(['*', '\\', ' ', '\n', '\r']));
                // What is added to it stays in its query.
                let whole = Url::parse(&parsers::with_answer(text, &[("code", "a&b#c"), ("iss", "https://us")]));
                let whole = whole.expect("an address");
                assert_eq!((whole.scheme(), whole.host(), whole.port()), (url.scheme(), url.host(), url.port()));
                assert!(whole.fragment().is_none());
                assert!(whole.query_pairs().any(|(name, value)| name == "code" && value == "a&b#c"));
            }
            for registered in corpus {
                if parsers::is_registered(text, registered, native) && text != registered {
                    // Other than the very same: another port of a loopback address.
                    let (given, known) = (Url::parse(text).expect("a URL"), Url::parse(registered).expect("a URL"));
                    assert!(native && known.scheme() == "http" && given.host() == known.host(), "{text} {registered}");
                    assert_eq!((given.path(), given.query()), (known.path(), known.query()));
                }
            }
        }
    });
}

#[test]
fn parameters_and_codes() {
    fuzz(&["a=1&b=x+y&resource=r&resource=s", "grant_type=x&code=%00%ff&scope=a%20b", "a=&=&&;"], |text| {
        assert_ne!(parsers::parameters(text), Some(false), "it reads otherwise when it is written again");
    });
    fuzz(&["BCDF-GHJK", "bcdfghjk", " bcdf ghjk ", "b-c-d-f-g-h-j-k"], |text| {
        if let Some(code) = parsers::user_code(text) {
            assert_eq!(parsers::user_code(&code).as_deref(), Some(code.as_str()));
            assert!(code.len() < 16 && code.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-'));
        }
    });
}
