//! Certificates that clients show: asked for, not demanded; good ones reach the handlers, others count as none.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::routing::get;
use dte_http::{
    Assembly, Client, ClientCertificate, ClientError, HttpConfig, ListenConfig, Listeners, Mounted, ServerHandle,
    TlsFiles, UntrustedCertificate,
};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
};
use url::Url;

/// An authority of this name.
fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
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
    let extensions = request.extensions();
    match (extensions.get::<ClientCertificate>(), extensions.get::<UntrustedCertificate>()) {
        (Some(shown), None) => match shown.names() {
            Ok(names) => format!("{} by {} of {}", names.subject, names.issuer, names.authority),
            Err(bad) => bad.to_string(),
        },
        (None, Some(untrusted)) => format!("nobody: {untrusted}"),
        (None, None) => "nobody".to_owned(),
        (Some(_), Some(_)) => "both".to_owned(),
    }
}

fn serve(folder: &Path, proxies: &str) -> ServerHandle {
    let config = HttpConfig {
        tls_cert: Some(folder.join("server.pem")),
        tls_key: Some(folder.join("server.pem")),
        client_ca: Some(folder.join("authorities")),
        trusted_proxies: proxies.split_terminator(',').map(|one| one.parse().expect("a range")).collect(),
        ..HttpConfig::default()
    };
    let listeners = Listeners::bind(&ListenConfig::at(([127, 0, 0, 1], 0).into()), &config).expect("bound");
    let url = Url::parse("https://localhost").expect("a URL");
    let mounted = Mounted { service: "who", prefix: "/who", router: Router::new().route("/", get(who)) };
    let front = Assembly::new().mount(mounted).build(&config).expect("assembled");
    listeners.serve(&front, &url, &config).expect("served")
}

async fn ask(server: &ServerHandle, folder: &Path, shown: Option<&str>) -> Result<String, ClientError> {
    ask_with(server, folder, shown, &[]).await
}

async fn ask_with(
    server: &ServerHandle,
    folder: &Path,
    shown: Option<&str>,
    headers: &[(&str, &str)],
) -> Result<String, ClientError> {
    let identity = shown.map(|name| (folder.join(name), folder.join(name)));
    let files = TlsFiles { roots: Some(folder.join("authorities/one.pem")), identity };
    let nowhere = Url::parse("http://127.0.0.1:1").expect("a URL");
    let client = Client::with_tls(&HttpConfig::default(), nowhere, &files).expect("a client");
    let port = server.address("address").expect("an address").port();
    let mut request = client.get(format!("https://localhost:{port}/who"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await?.text().await
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
    let server = serve(place, "");
    assert_eq!(ask(&server, place, None).await.expect("an answer"), "nobody");
    let good = ask(&server, place, Some("good.pem")).await.expect("an answer");
    assert_eq!(good, "/O=Example/CN=vk/one by /CN=Ours of /CN=Ours");
    for (bad, why) in [
        ("foreign.pem", "none of the authorities here signed it"),
        ("expired.pem", "it has expired"),
        ("servers-only.pem", "it is not for clients (extended key usage)"),
        ("proxy.pem", "proxies (RFC 3820) are not taken, only certificates and tokens"),
    ] {
        let said = ask(&server, place, Some(bad)).await.expect("an answer");
        assert_eq!(said, format!("nobody: the certificate of /O=Example/CN=vk/one is not trusted: {why}"), "{bad}");
    }
    assert!(server.stop(Duration::from_secs(60)).await);
}

#[tokio::test]
async fn the_authority_is_the_one_that_was_proved() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = folder.path();
    std::fs::create_dir(place.join("authorities")).expect("a folder");
    let (ours, other) = (authority("Ours"), authority("Other"));
    std::fs::write(place.join("authorities/one.pem"), ours.pem()).expect("written");
    std::fs::write(place.join("authorities/other.0"), other.pem()).expect("written");
    signed(&ours, &place.join("server.pem"), |_| {});
    // Both are trusted, and one calls an authority of its own as the other is called.
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.distinguished_name.push(DnType::CommonName, "Ours");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let between =
        CertifiedIssuer::signed_by(params, KeyPair::generate().expect("a key"), &other).expect("an authority");
    let file = place.join("forged.pem");
    signed(&between, &file, |_| {});
    let text = std::fs::read_to_string(&file).expect("read");
    std::fs::write(&file, format!("{text}{}", between.pem())).expect("written");
    let server = serve(place, "");
    let said = ask(&server, place, Some("forged.pem")).await.expect("an answer");
    assert_eq!(said, "/O=Example/CN=vk/one by /CN=Ours of /CN=Other");
    assert!(server.stop(Duration::from_secs(60)).await);
}

#[tokio::test]
async fn certificates_that_were_taken_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = folder.path();
    std::fs::create_dir(place.join("authorities")).expect("a folder");
    let (ours, silent) = (authority("Ours"), authority("Silent"));
    std::fs::write(place.join("authorities/one.pem"), ours.pem()).expect("written");
    std::fs::write(place.join("authorities/silent.pem"), silent.pem()).expect("written");
    signed(&ours, &place.join("server.pem"), |_| {});
    for (name, number) in [("first.pem", 7), ("second.pem", 8), ("third.pem", 9)] {
        signed(&ours, &place.join(name), |params| params.serial_number = Some(SerialNumber::from(number)));
    }
    signed(&silent, &place.join("silent.pem"), |params| params.serial_number = Some(SerialNumber::from(7)));
    let revoked = |number: u64| RevokedCertParams {
        serial_number: SerialNumber::from(number),
        revocation_time: rcgen::date_time_ymd(2024, 1, 1),
        reason_code: None,
        invalidity_date: None,
    };
    // Out of date, as they are where nobody fetches them: what was taken back stays so.
    let list = CertificateRevocationListParams {
        this_update: rcgen::date_time_ymd(2024, 1, 1),
        next_update: rcgen::date_time_ymd(2024, 2, 1),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: vec![revoked(7), revoked(8)],
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let list = list.signed_by(&ours).expect("a list");
    std::fs::write(place.join("authorities/one.r0"), list.pem().expect("PEM")).expect("written");
    std::fs::write(place.join("authorities/broken.crl"), "no list").expect("written");
    let server = serve(place, "");
    for bad in ["first.pem", "second.pem"] {
        let said = ask(&server, place, Some(bad)).await.expect("an answer");
        assert!(said.ends_with("is not trusted: it has been revoked"), "{bad}: {said}");
    }
    for good in ["third.pem", "silent.pem"] {
        let said = ask(&server, place, Some(good)).await.expect("an answer");
        assert!(said.starts_with("/O=Example"), "{good}: {said}");
    }
    assert!(server.stop(Duration::from_secs(60)).await);
}

#[tokio::test]
async fn a_proxy_lends_its_certificate_to_nobody() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = folder.path();
    std::fs::create_dir(place.join("authorities")).expect("a folder");
    let ours = authority("Ours");
    std::fs::write(place.join("authorities/one.pem"), ours.pem()).expect("written");
    signed(&ours, &place.join("server.pem"), |_| {});
    signed(&ours, &place.join("good.pem"), |_| {});
    let server = serve(place, "127.0.0.0/8,::1");
    let passed_on = [("x-forwarded-for", "192.0.2.7")];
    assert_eq!(ask_with(&server, place, Some("good.pem"), &passed_on).await.expect("an answer"), "nobody");
    let own = ask(&server, place, Some("good.pem")).await.expect("an answer");
    assert!(own.starts_with("/O=Example"), "{own}");
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
