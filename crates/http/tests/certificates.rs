//! Certificates that clients show: asked for, not demanded; good ones reach the handlers, others end the connection.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::routing::get;
use dte_http::{
    Assembly, Client, ClientCertificate, ClientError, HttpConfig, ListenConfig, Listeners, Mounted, ServerHandle,
    TlsFiles,
};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use url::Url;

/// An authority of this name.
fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority")
}

/// A certificate and its key, in one file.
fn signed(by: &CertifiedIssuer<'_, KeyPair>, file: &Path, change: impl FnOnce(&mut CertificateParams)) {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("parameters");
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Example");
    params.distinguished_name.push(DnType::CommonName, "vk/one");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
    change(&mut params);
    let key = KeyPair::generate().expect("a key");
    let made = params.signed_by(&key, by).expect("a certificate");
    std::fs::write(file, format!("{}{}", made.pem(), key.serialize_pem())).expect("written");
}

async fn who(request: Request) -> String {
    match request.extensions().get::<ClientCertificate>() {
        Some(shown) => match shown.subject() {
            Ok(name) => format!("{name} by {}", shown.issuer().expect("an issuer")),
            Err(bad) => bad.to_string(),
        },
        None => "nobody".to_owned(),
    }
}

fn serve(folder: &Path) -> ServerHandle {
    let config = HttpConfig {
        tls_cert: Some(folder.join("server.pem")),
        tls_key: Some(folder.join("server.pem")),
        client_ca: Some(folder.join("authorities")),
        ..HttpConfig::default()
    };
    let listeners = Listeners::bind(&ListenConfig::at(([127, 0, 0, 1], 0).into()), &config).expect("bound");
    let url = Url::parse("https://localhost").expect("a URL");
    let mounted = Mounted { service: "who", prefix: "/who", router: Router::new().route("/", get(who)) };
    let front = Assembly::new().mount(mounted).build(&config).expect("assembled");
    listeners.serve(&front, &url, &config).expect("served")
}

async fn ask(server: &ServerHandle, folder: &Path, shown: Option<&str>) -> Result<String, ClientError> {
    let identity = shown.map(|name| (folder.join(name), folder.join(name)));
    let files = TlsFiles { roots: Some(folder.join("authorities/one.pem")), identity };
    let nowhere = Url::parse("http://127.0.0.1:1").expect("a URL");
    let client = Client::with_tls(&HttpConfig::default(), nowhere, &files).expect("a client");
    let port = server.address("address").expect("an address").port();
    client.get(format!("https://localhost:{port}/who")).send().await?.text().await
}

#[tokio::test]
async fn certificates_are_asked_for_and_judged() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = folder.path();
    std::fs::create_dir(place.join("authorities")).expect("a folder");
    let (ours, other) = (authority("Ours"), authority("Other"));
    std::fs::write(place.join("authorities/one.pem"), ours.pem()).expect("written");
    std::fs::write(place.join("authorities/README"), "no certificate").expect("written");
    signed(&ours, &place.join("server.pem"), |_| {});
    signed(&ours, &place.join("good.pem"), |_| {});
    signed(&other, &place.join("foreign.pem"), |_| {});
    signed(&ours, &place.join("expired.pem"), |params| {
        params.not_before = rcgen::date_time_ymd(2019, 1, 1);
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    });
    signed(&ours, &place.join("servers-only.pem"), |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    // What would be a proxy of `good`: a name below it, and the extension that says so.
    signed(&ours, &place.join("proxy.pem"), |params| {
        let mut proxy = rcgen::CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 14], vec![0x30, 0x00]);
        proxy.set_criticality(true);
        params.custom_extensions = vec![proxy];
    });
    let server = serve(place);
    assert_eq!(ask(&server, place, None).await.expect("an answer"), "nobody");
    let good = ask(&server, place, Some("good.pem")).await.expect("an answer");
    assert_eq!(good, "/O=Example/CN=vk/one by /CN=Ours");
    for bad in ["foreign.pem", "expired.pem", "servers-only.pem", "proxy.pem"] {
        let outcome = ask(&server, place, Some(bad)).await;
        assert!(outcome.is_err(), "{bad}: {outcome:?}");
    }
    assert!(server.stop(Duration::from_secs(60)).await);
}

#[test]
fn authorities_without_tls_or_without_any() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let _inside = runtime.enter();
    let folder = tempfile::tempdir().expect("a folder");
    let bind = |config: &HttpConfig| Listeners::bind(&ListenConfig::at(([127, 0, 0, 1], 0).into()), config).map(drop);
    let plain = HttpConfig { client_ca: Some(folder.path().into()), ..HttpConfig::default() };
    assert!(bind(&plain).expect_err("refused").to_string().contains("with TLS only"));
    let one = Arc::new(authority("Ours"));
    signed(&one, &folder.path().join("server"), |_| {});
    let server = folder.path().join("server");
    let none = HttpConfig { tls_cert: Some(server.clone()), tls_key: Some(server), ..plain };
    assert!(bind(&none).expect_err("refused").to_string().contains("no certificate of an authority"));
}
