//! Certificates instead of tokens, over real connections: who may come in, as whom, and for how long.

use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use dte_http::{Client, HttpConfig, Reply, ServerHandle, TlsFiles};
use dte_identity::testing::{TestEngine, TestSetup};
use dte_identity::{Mount, NewBan, Principal, Require, Routes};
use futures_util::StreamExt;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair};
use url::Url;

const CONFIG: &str = "
[[identity.certificates]]
subject = 'CN=vk,O=Example'
account = 'alice'
scopes = ['compute.create', 'compute.read']
[[identity.certificates]]
subject = '/O=Example/CN=bob'
account = 'bob'
scopes = ['wlcg']
[[identity.certificates]]
subject = '/O=Example/CN=mallory'
issuer = '/CN=Another'
account = 'bob'
scopes = ['wlcg']
[[identity.certificates]]
subject = '/O=Example/CN=ghost'
account = 'ghost'
scopes = ['wlcg']
[[identity.certificates]]
subject = '/O=Example/CN=root'
account = 'admin'
scopes = ['wlcg']
[[identity.certificates]]
subject = '/O=Example/CN=operator'
issuer = '/CN=Authority'
account = 'admin'
scopes = ['compute.read', 'dte.admin']
[[identity.certificates]]
subject = '/O=Example/CN=would-be'
issuer = '/CN=Authority'
account = 'alice'
scopes = ['dte.admin']
";

async fn whoami(principal: Principal) -> String {
    format!("{} admin={}", principal.name(), principal.is_admin())
}

async fn maybe(principal: Option<Principal>) -> String {
    principal.map_or_else(|| "nobody".to_owned(), |principal| principal.name().to_owned())
}

/// Goes on until its reader is sent away.
async fn forever(_: Principal) -> Response {
    let ticks = futures_util::stream::unfold((), async |()| {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Some((Ok::<_, std::io::Error>("tick\n"), ()))
    });
    Response::new(Body::from_stream(ticks))
}

fn mounts() -> Vec<Mount> {
    let routes = Routes::new("demo")
        .get("/public", Require::Public("it is a test"), maybe)
        .any("/me", Require::Authenticated, whoami)
        .get("/compute", Require::Scope("compute.create"), whoami)
        .get("/admin", Require::Admin, whoami)
        .get("/forever", Require::Scope("compute.read"), forever);
    let pages = Routes::new("pages").get("/me", Require::Authenticated, whoami).sessions();
    vec![Mount { prefix: "/demo", routes }, Mount { prefix: "/pages", routes: pages }]
}

struct Place {
    engine: TestEngine,
    server: ServerHandle,
    folder: tempfile::TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
    /// Another one that is trusted.
    second: CertifiedIssuer<'static, KeyPair>,
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let params = named(name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority")
}

fn sign(authority: &CertifiedIssuer<'_, KeyPair>, folder: &Path, name: &str) -> PathBuf {
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let mut params = CertificateParams::new(names).expect("parameters");
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Example");
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().expect("a key");
    let made = params.signed_by(&key, authority).expect("a certificate");
    let file = folder.join(format!("{name}.pem"));
    std::fs::write(&file, format!("{}{}", made.pem(), key.serialize_pem())).expect("written");
    file
}

impl Place {
    async fn new() -> Place {
        let folder = tempfile::tempdir().expect("a folder");
        let (authority, second) = (authority("Authority"), authority("Second"));
        let roots = folder.path().join("authority.pem");
        std::fs::write(&roots, format!("{}{}", authority.pem(), second.pem())).expect("written");
        let own = sign(&authority, folder.path(), "server");
        let (own, roots) = (own.display(), roots.display());
        let http = format!("[http]\ntls_cert = '{own}'\ntls_key = '{own}'\nclient_ca = '{roots}'\n");
        let setup = TestSetup::config(&format!("{http}{CONFIG}"));
        let engine = TestEngine::start_with(setup, async |_| Ok(mounts())).await;
        for account in ["alice", "bob"] {
            engine.identity.add_user(account, false, "test").await.expect("an account");
        }
        let server = engine.listen();
        Place { engine, server, folder, authority, second }
    }

    fn client(&self, name: Option<&str>) -> Client {
        self.client_showing(name.map(|name| sign(&self.authority, self.folder.path(), name)))
    }

    fn client_showing(&self, identity: Option<PathBuf>) -> Client {
        let roots = Some(self.folder.path().join("authority.pem"));
        let files = TlsFiles { roots, identity: identity.map(|file| (file.clone(), file)) };
        let nowhere = Url::parse("http://127.0.0.1:1").expect("a URL");
        Client::with_tls(&HttpConfig::default(), nowhere, &files).expect("a client")
    }

    fn url(&self, path: &str) -> String {
        let port = self.server.address("address").expect("an address").port();
        format!("https://127.0.0.1:{port}{path}")
    }

    async fn get(&self, client: &Client, path: &str) -> Reply {
        client.get(self.url(path)).send().await.expect("an answer")
    }

    async fn said(&self, client: &Client, path: &str) -> (u16, String) {
        let reply = self.get(client, path).await;
        (reply.status.as_u16(), reply.text().await.expect("a text"))
    }
}

#[tokio::test]
async fn who_is_listed_acts_as_the_account_within_the_scopes() {
    let place = Place::new().await;
    let (vk, bob) = (place.client(Some("vk")), place.client(Some("bob")));
    assert_eq!(place.said(&vk, "/demo/compute").await, (200, "alice admin=false".to_owned()));
    assert_eq!(place.get(&vk, "/demo/me").await.status, 403, "it is confined");
    assert_eq!(place.said(&bob, "/demo/me").await, (200, "bob admin=false".to_owned()));
    assert_eq!(place.said(&bob, "/demo/public").await, (200, "bob".to_owned()));
    let root = place.client(Some("root"));
    assert_eq!(place.get(&root, "/demo/admin").await.status, 403, "nobody said that it administers");
    assert_eq!(place.said(&place.client(Some("operator")), "/demo/admin").await.0, 200);
    assert_eq!(place.said(&place.client(Some("would-be")), "/demo/admin").await.0, 403, "alice is none");
    let nobody = place.client(None);
    assert_eq!(place.get(&nobody, "/demo/me").await.status, 401);
    assert_eq!(place.said(&nobody, "/demo/public").await, (200, "nobody".to_owned()));
    // Pages are for people, who sign in.
    assert_eq!(place.get(&bob, "/pages/me").await.status, 401);
    // A token goes first, also a bad one.
    let token = place.engine.admin_token();
    let reply = bob.get(place.url("/demo/me")).bearer(&token).send().await.expect("an answer");
    assert_eq!(reply.text().await.expect("a text"), "admin admin=true");
    let reply = bob.get(place.url("/demo/me")).bearer("a.b.c").send().await.expect("an answer");
    assert_eq!(reply.status, 401);
}

#[tokio::test]
async fn the_others_are_told_why_not() {
    let place = Place::new().await;
    for (name, words) in [
        ("stranger", "the certificate of /O=Example/CN=stranger by /CN=Authority stands for nobody here"),
        ("mallory", "stands for nobody here"),
        ("ghost", "there is no such account"),
    ] {
        let client = place.client(Some(name));
        let (status, text) = place.said(&client, "/demo/me").await;
        assert!(status == 401 && text.contains(words), "{name}: {status} {text}");
        assert_eq!(place.said(&client, "/demo/public").await, (200, "nobody".to_owned()), "{name}");
    }
}

#[tokio::test]
async fn an_issuer_is_the_authority_and_no_name_between() {
    let place = Place::new().await;
    // The other authority signs one that is called like the first, which signs what the operator is called.
    let key = KeyPair::generate().expect("a key");
    let forged = CertifiedIssuer::signed_by(named("Authority"), key, &place.second).expect("an authority");
    let folder = tempfile::tempdir().expect("a folder");
    let file = sign(&forged, folder.path(), "operator");
    let text = std::fs::read_to_string(&file).expect("read");
    std::fs::write(&file, format!("{text}{}", forged.pem())).expect("written");
    let (status, text) = place.said(&place.client_showing(Some(file)), "/demo/admin").await;
    let words = "the certificate of /O=Example/CN=operator by /CN=Second stands for nobody here";
    assert!(status == 401 && text.contains(words), "{status} {text}");
}

#[tokio::test]
async fn one_that_is_not_trusted_counts_as_none() {
    let place = Place::new().await;
    let folder = tempfile::tempdir().expect("a folder");
    let other = authority("Authority");
    let client = place.client_showing(Some(sign(&other, folder.path(), "operator")));
    let (status, text) = place.said(&client, "/demo/me").await;
    let words = "the certificate of /O=Example/CN=operator is not trusted: ";
    assert!(status == 401 && text.contains(words), "{status} {text}");
    assert_eq!(place.said(&client, "/demo/public").await, (200, "nobody".to_owned()));
    let token = place.engine.admin_token();
    let reply = client.get(place.url("/demo/me")).bearer(&token).send().await.expect("an answer");
    assert_eq!(reply.text().await.expect("a text"), "admin admin=true");
}

#[tokio::test]
async fn a_ban_holds_however_the_name_is_written() {
    let place = Place::new().await;
    let vk = place.client(Some("vk"));
    for (subject, issuer) in [
        (Some("CN=vk, o=Example"), None),
        (Some("/o=Example/cn=vk"), Some("cn=Authority")),
        (None, Some("CN=Authority")),
    ] {
        let (subject, issuer) = (subject.map(str::to_owned), issuer.map(str::to_owned));
        let ban = NewBan { subject, issuer, reason: "a test".to_owned(), ..NewBan::default() };
        let made = place.engine.identity.ban(ban.clone(), "test").await.expect("banned");
        assert_eq!(place.get(&vk, "/demo/compute").await.status, 401, "{ban:?}");
        place.engine.identity.lift_ban(&made.id, "test").await.expect("lifted");
        assert_eq!(place.get(&vk, "/demo/compute").await.status, 200, "{ban:?}");
    }
}

#[tokio::test]
async fn the_trail_says_whose_certificate_was_refused() {
    let place = Place::new().await;
    let ghost = place.client(Some("ghost"));
    assert_eq!(place.get(&place.client(Some("stranger")), "/demo/me").await.status, 401);
    assert_eq!(place.get(&ghost, "/demo/me").await.status, 401);
    let audit = place.engine.identity.audit();
    for (subject, reason) in [("/O=Example/CN=stranger", "certificate-unknown"), ("/O=Example/CN=ghost", "no-account")]
    {
        let written = async {
            loop {
                if let Some(record) = audit.trace(subject, 0, 10).await.expect("read").first() {
                    return record.body.clone();
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let record = tokio::time::timeout(Duration::from_secs(60), written).await.expect("written");
        assert_eq!((record["reason"].as_str(), record["issuer"].as_str()), (Some(reason), Some("/CN=Authority")));
        let fingerprint = record["certificate"].as_str().expect("a fingerprint");
        assert!(fingerprint.starts_with("x509:") && fingerprint.len() == 69, "{fingerprint}");
    }
}

#[tokio::test]
async fn a_page_of_another_site_cannot_use_it() {
    let place = Place::new().await;
    let bob = place.client(Some("bob"));
    for (header, value) in [("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")] {
        for method in [http::Method::GET, http::Method::POST] {
            let request = bob.request(method, place.url("/demo/me")).header(header, value);
            assert_eq!(request.send().await.expect("an answer").status, 403, "{header}");
        }
    }
}

#[tokio::test]
async fn bans_end_what_goes_on() {
    let place = Place::new().await;
    let ban = |subject: &str, issuer: Option<&str>| NewBan {
        subject: Some(subject.to_owned()),
        issuer: issuer.map(str::to_owned),
        reason: "a test".to_owned(),
        ..NewBan::default()
    };
    let vk = place.client(Some("vk"));
    // Of another authority's certificate of that name.
    place.engine.identity.ban(ban("/O=Example/CN=vk", Some("/CN=Another")), "test").await.expect("banned");
    let mut ticks = place.get(&vk, "/demo/forever").await.body.into_data_stream();
    assert!(ticks.next().await.expect("a tick").is_ok());
    let made = place.engine.identity.ban(ban("/O=Example/CN=vk", Some("/CN=Authority")), "test").await.expect("banned");
    let end = async { while let Some(Ok(_)) = ticks.next().await {} };
    tokio::time::timeout(Duration::from_secs(60), end).await.expect("it ends");
    let (status, text) = place.said(&vk, "/demo/compute").await;
    assert!(status == 401 && text.contains("the account is suspended"), "{status} {text}");
    place.engine.identity.lift_ban(&made.id, "test").await.expect("lifted");
    assert_eq!(place.get(&vk, "/demo/compute").await.status, 200);
    place.engine.identity.ban(ban("alice", None), "test").await.expect("banned");
    assert_eq!(place.get(&vk, "/demo/compute").await.status, 401, "the account is");
}

#[tokio::test]
async fn lists_that_cannot_be() {
    let entry = "[[identity.certificates]]\nsubject = '/CN=a'\naccount = 'a'\n";
    for (text, words) in [
        (format!("{entry}scopes = ['compute.read']"), "[http] client_ca"),
        (format!("{entry}scopes = []"), "[http] client_ca"),
    ] {
        let outcome = TestEngine::try_start(TestSetup::config(&text), async |_| Ok(mounts())).await;
        let error = outcome.err().expect("refused").to_string();
        assert!(error.contains(words), "{error}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let authority = authority("Authority");
    let own = sign(&authority, folder.path(), "server");
    let http = format!("[http]\ntls_cert = '{0}'\ntls_key = '{0}'\nclient_ca = '{0}'\n", own.display());
    for (text, words) in [
        (format!("{entry}scopes = []"), "say in `scopes`"),
        (format!("{entry}scopes = ['dte.admin']"), "dte.admin is for one subject of one issuer"),
        (format!("{entry}scopes = ['storage.read']"), "storage.read"),
        (entry.replace("/CN=a", "a") + "scopes = ['wlcg']", "is not a name such as"),
        (entry.replace("'a'", "'A b'") + "scopes = ['wlcg']", "cannot be an account"),
    ] {
        let outcome = TestEngine::try_start(TestSetup::config(&format!("{http}{text}")), async |_| Ok(mounts())).await;
        let error = outcome.err().expect("refused").to_string();
        assert!(error.contains(words), "{error}");
    }
}
