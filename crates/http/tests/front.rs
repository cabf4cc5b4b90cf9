//! What happens to a request before and after its service: over sockets, and in memory.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{OriginalUri, Path, State};
use axum::routing::{any, get};
use dte_http::{
    Assembly, Client, ClientError, Front, HttpConfig, Json, ListenConfig, ListenError, Listeners, Mounted, Problem,
    RequestId, ServerHandle, current_request_id,
};
use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use url::Url;

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

struct Engine {
    client: Client,
    front: Front,
    server: ServerHandle,
}

impl Engine {
    fn url(&self, path: &str) -> String {
        self.client.url_of(path)
    }

    fn main(&self) -> SocketAddr {
        self.server.address("address").expect("bound")
    }
}

fn echo() -> Router {
    Router::new()
        .route("/", any(|| async { "root" }))
        .route("/path/{*rest}", any(|Path(rest): Path<String>, OriginalUri(uri): OriginalUri| async move { format!("{rest} {}", uri.path()) }))
        .route("/id", get(|id: RequestId| async move { format!("{id} {}", current_request_id().expect("an id")) }))
        .route("/panic", get(|| async { if true { panic!("on purpose") } }))
        .route("/json", any(|Json(value): Json<serde_json::Value>| async move { Json(value) }))
        .route("/stream", any(|body: Body| async move { body }))
        .route("/slow", get(|| async { tokio::time::sleep(Duration::from_millis(300)).await; "late" }))
        .route("/bytes", any(|bytes: Result<bytes::Bytes, axum::extract::rejection::BytesRejection>| async move { bytes.map(|b| b.len().to_string()).map_err(|e| e.status()) }))
}

/// Calls itself through the client until somebody stops it.
fn circle(client: Client) -> Router {
    Router::new()
        .route(
            "/again",
            get(async |State((client, calls)): State<(Client, Arc<Mutex<u32>>)>| {
                *calls.lock().expect("not poisoned") += 1;
                match client.get(client.url_of("/circle/again")).send().await {
                    Ok(reply) => reply.text().await.expect("a text"),
                    Err(error) => format!(
                        "{error}; {} calls; {}",
                        calls.lock().expect("not poisoned"),
                        current_request_id().expect("an id")
                    ),
                }
            }),
        )
        .with_state((client, Arc::default()))
}

fn start_with(config: HttpConfig, listen: ListenConfig) -> Engine {
    let listeners = Listeners::bind(&listen, &config).expect("bound");
    let url = config.public_url.clone().unwrap_or_else(|| listeners.main_url());
    let client = Client::new(&config, url.clone());
    let front = Assembly::new()
        .mount(Mounted { service: "echo", prefix: "/echo", router: echo() })
        .mount(Mounted { service: "deep", prefix: "/echo/deep", router: echo() })
        .mount(Mounted { service: "circle", prefix: "/circle", router: circle(client.clone()) })
        .home("/echo")
        .build(&config)
        .expect("assembled");
    client.attach(front.clone(), &listeners.addresses());
    let server = listeners.serve(&front, &url, &config).expect("served");
    Engine { client, front, server }
}

fn start() -> Engine {
    start_with(HttpConfig::default(), ListenConfig::at(LOOPBACK))
}

/// Sends text over a socket and reads all that comes back.
async fn raw(address: SocketAddr, text: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    stream.write_all(text.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut answer))
        .await
        .expect("in time")
        .expect("read");
    String::from_utf8_lossy(&answer).into_owned()
}

async fn get_raw(engine: &Engine, path: &str, headers: &str) -> String {
    let host = engine.main();
    raw(host, &format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n")).await
}

#[tokio::test]
async fn prefixes_over_a_socket() {
    let engine = start();
    assert!(get_raw(&engine, "/echo", "").await.ends_with("root"));
    assert!(get_raw(&engine, "/echo/", "").await.ends_with("root"));
    assert!(get_raw(&engine, "/echo/path/a/b%20c", "").await.ends_with("a/b c /echo/path/a/b%20c"));
    assert!(get_raw(&engine, "/echo/deep/path/x", "").await.ends_with("x /echo/deep/path/x"));
    assert!(get_raw(&engine, "/echoes", "").await.starts_with("HTTP/1.1 404"));
    assert!(get_raw(&engine, "/", "").await.starts_with("HTTP/1.1 303"));
    assert!(get_raw(&engine, "/healthz", "").await.starts_with("HTTP/1.1 200"));
    assert!(get_raw(&engine, "/readyz", "").await.starts_with("HTTP/1.1 200"));
    assert!(get_raw(&engine, "/metrics", "").await.contains("dte_http_connections"));
    engine.front.set_ready(false);
    assert!(get_raw(&engine, "/readyz", "").await.starts_with("HTTP/1.1 503"));
    assert!(engine.server.stop(Duration::from_secs(5)).await);
}

#[tokio::test]
async fn the_host_is_checked_on_every_listener() {
    let mut listen = ListenConfig::at(LOOPBACK);
    listen.0.insert("echo".to_owned(), LOOPBACK);
    let config = HttpConfig { hosts: vec!["twin.example".to_owned()], ..HttpConfig::default() };
    let engine = start_with(config, listen);
    for name in ["address", "echo"] {
        let address = engine.server.address(name).expect("bound");
        let ask = |host: String| async move {
            raw(address, &format!("GET /healthz HTTP/1.1\r\n{host}Connection: close\r\n\r\n")).await
        };
        for good in [address.to_string(), format!("localhost:{}", address.port()), "twin.example".to_owned()] {
            assert!(!ask(format!("Host: {good}\r\n")).await.starts_with("HTTP/1.1 421"), "{name} {good}");
        }
        for bad in ["evil.example".to_owned(), format!("evil.example:{}", address.port()), "127.0.0.1".to_owned()] {
            assert!(ask(format!("Host: {bad}\r\n")).await.starts_with("HTTP/1.1 421"), "{name} {bad}");
        }
        assert!(ask(String::new()).await.starts_with("HTTP/1.1 400"));
    }
}

#[tokio::test]
async fn an_address_of_its_own_is_at_the_root() {
    let mut listen = ListenConfig::at(LOOPBACK);
    listen.0.insert("echo".to_owned(), LOOPBACK);
    let engine = start_with(HttpConfig::default(), listen);
    let own = engine.server.address("echo").expect("bound");
    let ask =
        async |path: &str| raw(own, &format!("GET {path} HTTP/1.1\r\nHost: {own}\r\nConnection: close\r\n\r\n")).await;
    assert!(ask("/path/x").await.ends_with("x /path/x"));
    assert!(ask("/circle/again").await.starts_with("HTTP/1.1 404"));
    // Its address is ours too: called in memory.
    assert!(engine.client.is_own(&format!("http://localhost:{}/path/x", own.port())));
    let reply = engine.client.get(format!("http://{own}/path/x")).send().await.expect("an answer");
    assert_eq!(reply.text().await.expect("a text"), "x /path/x");
}

#[tokio::test]
async fn a_mount_that_is_not_there_cannot_listen() {
    let mut listen = ListenConfig::at(LOOPBACK);
    listen.0.insert("nothing".to_owned(), LOOPBACK);
    let config = HttpConfig::default();
    let listeners = Listeners::bind(&listen, &config).expect("bound");
    let front = Assembly::new().build(&config).expect("assembled");
    let url = listeners.main_url();
    assert!(matches!(listeners.serve(&front, &url, &config), Err(ListenError::UnknownMount { .. })));
}

#[tokio::test]
async fn request_ids_travel() {
    let engine = start();
    let answer = get_raw(&engine, "/echo/id", "X-Request-Id: trace-1\r\n").await;
    assert!(answer.ends_with("trace-1 trace-1"), "{answer}");
    assert!(answer.to_lowercase().contains("x-request-id: trace-1"), "{answer}");
    let answer = get_raw(&engine, "/echo/id", "X-Request-Id: <script>\r\n").await;
    assert!(!answer.contains("script"), "{answer}");
    // Through a chain of calls in memory, and into problems.
    let answer = get_raw(&engine, "/circle/again", "X-Request-Id: trace-2\r\n").await;
    assert!(answer.ends_with("trace-2"), "{answer}");
    let answer = get_raw(&engine, "/nothing", "X-Request-Id: trace-3\r\n").await;
    assert!(answer.contains("\"request_id\":\"trace-3\""), "{answer}");
}

#[tokio::test]
async fn circles_end() {
    let engine = start();
    let text =
        engine.client.get(engine.url("/circle/again")).send().await.expect("an answer").text().await.expect("a text");
    assert!(text.contains("in a circle (9 hops); 8 calls"), "{text}");
    // Between hosts the header counts.
    let answer = get_raw(&engine, "/echo", "X-Dte-Hops: 9\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 508"), "{answer}");
    assert!(get_raw(&engine, "/echo", "X-Dte-Hops: 8\r\n").await.starts_with("HTTP/1.1 200"));
    assert!(get_raw(&engine, "/echo", "X-Dte-Hops: many\r\n").await.starts_with("HTTP/1.1 508"));
}

#[tokio::test]
async fn a_panic_is_a_problem() {
    let engine = start();
    let answer = get_raw(&engine, "/echo/panic", "").await;
    assert!(answer.starts_with("HTTP/1.1 500") && answer.contains("application/problem+json"), "{answer}");
    assert!(!answer.contains("on purpose"));
    assert!(get_raw(&engine, "/echo", "").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn limits() {
    let config = HttpConfig { body_limit: dte_base::units::Bytes(1_000), ..HttpConfig::default() };
    let engine = start_with(config, ListenConfig::at(LOOPBACK));
    let long = format!("X-Long: {}\r\n", "a".repeat(16 * 1024 + 1));
    assert!(get_raw(&engine, "/echo", &long).await.starts_with("HTTP/1.1 431"));
    let fits = format!("X-Long: {}\r\n", "a".repeat(16 * 1024));
    assert!(get_raw(&engine, "/echo", &fits).await.starts_with("HTTP/1.1 200"));
    let huge = format!("X-Long: {}\r\n", "a".repeat(300 * 1024));
    assert!(get_raw(&engine, "/echo", &huge).await.starts_with("HTTP/1.1 431"));
    let put = |path: &str, size: usize| engine.client.put(engine.url(path)).bytes(vec![b' '; size]).send();
    assert_eq!(put("/echo/bytes", 1_000).await.expect("an answer").status, StatusCode::OK);
    assert_eq!(put("/echo/bytes", 1_001).await.expect("an answer").status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(put("/echo/json", 1_001).await.expect("an answer").status, StatusCode::PAYLOAD_TOO_LARGE);
    let streamed = put("/echo/stream", 5_000_000).await.expect("an answer");
    assert_eq!(streamed.bytes(6_000_000).await.expect("a body").len(), 5_000_000);
    assert_eq!(put("/echo/json", 10).await.expect("an answer").status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn slow_clients_are_cut() {
    let short = dte_base::units::Span(Duration::from_millis(100));
    let config = HttpConfig { header_timeout: short, read_timeout: short, ..HttpConfig::default() };
    let engine = start_with(config, ListenConfig::at(LOOPBACK));
    // A head that never ends.
    drop(raw(engine.main(), "GET /echo HTTP/1.1\r\nHost:").await);
    // A body that pauses.
    let host = engine.main();
    let answer = raw(host, &format!("PUT /echo/bytes HTTP/1.1\r\nHost: {host}\r\nContent-Length: 10\r\n\r\nabc")).await;
    assert!(answer.starts_with("HTTP/1.1 4") || answer.is_empty(), "{answer}");
}

#[tokio::test]
async fn stopping_waits_for_requests_under_way() {
    let engine = start();
    let host = engine.main();
    let asking =
        tokio::spawn(async move { raw(host, &format!("GET /echo/slow HTTP/1.1\r\nHost: {host}\r\n\r\n")).await });
    let idle = TcpStream::connect(host).await.expect("connected");
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(engine.server.stop(Duration::from_secs(5)).await);
    let answer = asking.await.expect("no panic");
    assert!(answer.ends_with("late"), "{answer}");
    drop(idle);
    assert!(TcpStream::connect(host).await.is_err());
}

#[tokio::test]
async fn nothing_beyond_loopback_without_tls() {
    for address in ["0.0.0.0:0", "[::]:0"] {
        let listen = ListenConfig::at(address.parse().expect("an address"));
        assert!(
            matches!(Listeners::bind(&listen, &HttpConfig::default()), Err(ListenError::PlainBeyondLoopback(_))),
            "{address}"
        );
    }
    let mut listen = ListenConfig::at(LOOPBACK);
    listen.0.insert("echo".to_owned(), "0.0.0.0:0".parse().expect("an address"));
    assert!(matches!(Listeners::bind(&listen, &HttpConfig::default()), Err(ListenError::PlainBeyondLoopback(_))));
    let half = HttpConfig { tls_cert: Some("/nothing".into()), ..HttpConfig::default() };
    assert!(matches!(Listeners::bind(&ListenConfig::at(LOOPBACK), &half), Err(ListenError::Tls(_))));
}

#[tokio::test]
async fn tls() {
    let folder = tempfile::tempdir().expect("a folder");
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).expect("written");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
    let config = HttpConfig { tls_cert: Some(cert), tls_key: Some(key), ..HttpConfig::default() };
    let engine = start_with(config, ListenConfig::at("0.0.0.0:0".parse().expect("an address")));
    assert_eq!(engine.server.url().scheme(), "https");
    let port = engine.main().port();

    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).expect("a root");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let trust = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("connected");
    let name = rustls::pki_types::ServerName::try_from("localhost").expect("a name");
    let mut stream = tokio_rustls::TlsConnector::from(Arc::new(trust)).connect(name, stream).await.expect("TLS");
    let text = format!("GET /echo HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n");
    stream.write_all(text.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    // rustls reports a peer that closes without a farewell; what was read before counts.
    drop(stream.read_to_end(&mut answer).await);
    assert!(String::from_utf8_lossy(&answer).ends_with("root"));
    // Our own client does not trust a certificate that nobody vouches for.
    let stranger = Client::new(&HttpConfig::default(), Url::parse("http://127.0.0.1:1").expect("a URL"));
    let outcome = stranger.get(format!("https://localhost:{port}/echo")).send().await;
    assert!(matches!(outcome, Err(ClientError::Unreachable { .. })), "{outcome:?}");
}

#[tokio::test]
async fn urls_from_outside_do_not_reach_inside() {
    let engine = start();
    let address = engine.main();
    let stranger = Client::new(&HttpConfig::default(), Url::parse("http://127.0.0.1:1").expect("a URL"));
    let ask = |client: Client, url: String| async move { client.get(url).send().await.map(|reply| reply.status) };
    // A configured endpoint may be anywhere.
    assert_eq!(ask(stranger.clone(), format!("http://{address}/echo")).await.expect("an answer"), StatusCode::OK);
    let port = address.port();
    for url in [
        format!("http://127.0.0.1:{port}/echo"),
        format!("http://localhost:{port}/echo"),
        format!("http://127.1:{port}/echo"),
        format!("http://2130706433:{port}/echo"),
        format!("http://0.0.0.0:{port}/echo"),
        format!("http://[::1]:{port}/echo"),
        format!("http://[::ffff:127.0.0.1]:{port}/echo"),
        "http://169.254.169.254/latest/meta-data".to_owned(),
        "http://10.0.0.1/".to_owned(),
        "https://192.168.0.1/".to_owned(),
    ] {
        let outcome = ask(stranger.untrusted(), url.clone()).await;
        assert!(matches!(outcome, Err(ClientError::Refused(_))), "{url}: {outcome:?}");
    }
    // Our own URL is served in memory.
    assert_eq!(ask(engine.client.untrusted(), engine.url("/echo")).await.expect("an answer"), StatusCode::OK);
    // The operator may permit an address.
    let text = format!("[http.outbound]\nallow = ['127.0.0.1:{port}']\n");
    let config: HttpConfig =
        dte_base::config::Document::parse(&text, None).expect("parses").section("http").expect("valid");
    let permitted = Client::new(&config, Url::parse("http://127.0.0.1:1").expect("a URL")).untrusted();
    assert_eq!(
        ask(permitted.clone(), format!("http://127.0.0.1:{port}/echo")).await.expect("an answer"),
        StatusCode::OK
    );
    assert!(ask(permitted, format!("http://127.0.0.2:{port}/echo")).await.is_err());
}

#[tokio::test]
async fn redirects_are_checked_again_and_lose_the_token() {
    let inside = start();
    let target = format!("http://{}/echo", inside.main());
    let redirecting = Router::new().route("/", get(move || async move { (StatusCode::FOUND, [("location", target)]) }));
    let config = HttpConfig::default();
    let listeners = Listeners::bind(&ListenConfig::at(LOOPBACK), &config).expect("bound");
    let url = listeners.main_url();
    let front = Assembly::new()
        .mount(Mounted { service: "r", prefix: "/r", router: redirecting })
        .build(&config)
        .expect("assembled");
    let server = listeners.serve(&front, &url, &config).expect("served");
    let port = server.address("address").expect("bound").port();
    let text = format!("[http.outbound]\nallow = ['127.0.0.1:{port}']\n");
    let config: HttpConfig =
        dte_base::config::Document::parse(&text, None).expect("parses").section("http").expect("valid");
    let client = Client::new(&config, Url::parse("http://127.0.0.1:1").expect("a URL"));
    let from = format!("http://127.0.0.1:{port}/r");
    assert_eq!(client.get(&from).send().await.expect("an answer").status, StatusCode::FOUND);
    assert_eq!(client.get(&from).follow(2).send().await.expect("an answer").status, StatusCode::OK);
    let outcome = client.untrusted().get(&from).follow(2).send().await;
    assert!(matches!(outcome, Err(ClientError::Refused(_))), "{outcome:?}");
}

#[tokio::test]
async fn in_memory_calls() {
    let engine = start();
    let reply = engine
        .client
        .post(engine.url("/echo/json"))
        .json(&serde_json::json!({"a": 1}))
        .send()
        .await
        .expect("an answer");
    assert_eq!(reply.json::<serde_json::Value>().await.expect("JSON")["a"], 1);
    let reply = engine.client.head(engine.url("/echo")).send().await.expect("an answer");
    assert_eq!(reply.bytes(10).await.expect("a body").len(), 0);
    let failed = engine.client.get(engine.url("/nothing")).send().await.expect("an answer").ok().await;
    assert!(matches!(failed, Err(ClientError::Status { status: StatusCode::NOT_FOUND, .. })), "{failed:?}");
    let short = engine.client.get(engine.url("/echo/slow")).timeout(Duration::from_millis(20)).send().await;
    assert!(matches!(short, Err(ClientError::Timeout { .. })), "{short:?}");
    for bad in ["ftp://x/", "/echo", "http://", "x"] {
        assert!(matches!(engine.client.get(bad).send().await, Err(ClientError::BadUrl(_))), "{bad}");
    }
    // No listener is needed.
    let Engine { client, server, .. } = engine;
    assert!(server.stop(Duration::from_secs(1)).await);
    let url = client.url_of("/echo");
    assert_eq!(client.get(&url).send().await.expect("an answer").status, StatusCode::OK);
    client.detach();
    assert!(client.get(&url).send().await.is_err());
}

#[tokio::test]
async fn store_errors_are_problems() {
    for (error, status) in [
        (dte_store::Error::NotFound, 404),
        (dte_store::Error::Duplicate(String::new()), 409),
        (dte_store::Error::Full, 507),
        (dte_store::Error::Closed, 503),
        (dte_store::Error::Database("secret".to_owned()), 500),
    ] {
        let problem = Problem::from(error);
        assert_eq!(problem.status().as_u16(), status);
        assert!(!problem.detail().contains("secret"));
    }
}
