//! Copies that another server makes, and what it may tell of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dte_base::tasks::Tasks;
use dte_http::{Client, HttpConfig, OutboundConfig};
use dte_storage::third_party::{Active, Party, Undone, copy_between, offers_copies};
use dte_storage::{Copied, CopyOrder, Errno};
use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderValue};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const MARKER: &str =
    "Perf Marker\nTimestamp: 1\nStripe Index: 0\nStripe Bytes Transferred: 9\nTotal Stripe Count: 1\nEnd\n";

/// Copies before it says anything at all.
const SILENCE: &str = "silence";

/// A server that answers a COPY with `says`; its source always has nine bytes, its destination `left` once the COPY came.
struct Server {
    url: String,
    arrived: Arc<AtomicBool>,
    deleted: Arc<AtomicBool>,
    asked: Arc<std::sync::Mutex<String>>,
}

impl Server {
    /// Whole when it says so, else a part.
    async fn saying(says: &'static str) -> Server {
        Server::leaving(says, if says.contains("success") { 9 } else { 4 }).await
    }

    async fn leaving(says: &'static str, left: u64) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let server = Server { url, arrived: Arc::default(), deleted: Arc::default(), asked: Arc::default() };
        let (arrived, deleted, asked) = (server.arrived.clone(), server.deleted.clone(), server.asked.clone());
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (arrived, deleted, asked) = (arrived.clone(), deleted.clone(), asked.clone());
                tokio::spawn(async move { answer(socket, (says, left), &arrived, &deleted, &asked).await });
            }
        });
        server
    }

    fn party(&self, path: &str) -> Party {
        let settings = HttpConfig {
            outbound: OutboundConfig {
                allow: vec!["127.0.0.0/8".parse().expect("a rule")],
                ..OutboundConfig::default()
            },
            ..HttpConfig::default()
        };
        let client = Client::new(&settings, "http://127.0.0.1:1".parse().expect("a URL"));
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_static("Bearer secret-of-one-path"));
        Party::new(client.untrusted(), &format!("{}{path}", self.url), headers).expect("a party")
    }

    async fn copy(&self) -> Result<Copied, Undone> {
        self.copy_as(false, &Tasks::new()).await
    }

    async fn copy_as(&self, overwrite: bool, tasks: &Tasks) -> Result<Copied, Undone> {
        let order = CopyOrder { overwrite, stall: Duration::from_millis(400), ..CopyOrder::default() };
        copy_between(&self.party("/source"), &self.party("/destination"), Active::Destination, &order, tasks).await
    }
}

async fn answer(
    mut socket: TcpStream,
    (says, left): (&str, u64),
    arrived: &AtomicBool,
    deleted: &AtomicBool,
    asked: &std::sync::Mutex<String>,
) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let Ok(byte) = socket.read_u8().await else { return };
        request.push(byte);
    }
    let request = String::from_utf8(request).expect("text");
    let file = |bytes: u64| {
        let digest = if bytes == 9 { "Digest: adler32=091e01de\r\n" } else { "" };
        format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {bytes}\r\n{digest}\r\n")
    };
    let text = match request.split(' ').next() {
        Some("OPTIONS") => {
            "HTTP/1.1 200 OK\r\nConnection: close\r\nAllow: GET,PUT, copy\r\nContent-Length: 0\r\n\r\n".to_owned()
        }
        Some("HEAD") if request.contains("/source") => file(9),
        Some("HEAD") if arrived.load(Ordering::Relaxed) => file(left),
        Some("HEAD") => "HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".to_owned(),
        Some("DELETE") => {
            arrived.store(false, Ordering::Relaxed);
            deleted.store(true, Ordering::Relaxed);
            "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n".to_owned()
        }
        _ => {
            asked.lock().expect("lock").push_str(&request);
            arrived.store(!says.starts_with("HTTP"), Ordering::Relaxed);
            if says == SILENCE {
                std::future::pending::<()>().await;
            }
            if says.starts_with("HTTP") {
                says.to_owned()
            } else {
                format!("HTTP/1.1 201 Created\r\nConnection: close\r\n\r\n{says}")
            }
        }
    };
    let _ = socket.write_all(text.as_bytes()).await;
    if says.ends_with("...") && request.starts_with("COPY") {
        std::future::pending::<()>().await;
    }
}

#[tokio::test]
async fn a_copy_that_arrives() {
    let server = Server::saying(const_format(MARKER)).await;
    assert_eq!(offers_copies(&server.party("/destination")).await, Ok(true));
    assert_eq!(server.copy().await, Ok(Copied { bytes: 9, adler32: 0x091e_01de }));
    let asked = server.asked.lock().expect("lock").clone();
    assert!(asked.starts_with("COPY /destination HTTP/1.1"), "{asked}");
    for header in ["Overwrite: F", "Credential: none", "Copy-Header: Authorization: Bearer secret-of-one-path"] {
        assert!(asked.contains(header), "{asked}");
    }
    assert!(asked.contains(&format!("Source: {}/source", server.url)) && !server.deleted.load(Ordering::Relaxed));
}

/// Markers and a good end, at once.
fn const_format(marker: &'static str) -> &'static str {
    Box::leak(format!("{marker}{marker}success: Created").into_boxed_str())
}

#[tokio::test]
async fn what_servers_tell_instead() {
    for (says, errno, text) in [
        ("failure: Remote side failed with status code 404", Errno::ENOENT, "status code 404"),
        ("failure: Couldn't connect to server", Errno::ECONN, "Couldn't connect"),
        ("aborted", Errno::ECONN, "ended the copy"),
        (MARKER, Errno::ECONN, "performance marker"),
        ("", Errno::ECONN, "terminated abruptly"),
        ("Perf Marker\n...", Errno::ETIMEDOUT, "performance marker"),
        ("HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", Errno::EACCES, "status code 403"),
    ] {
        let server = Server::saying(says).await;
        match server.copy().await {
            Err(Undone::Failed(error)) => {
                assert_eq!(error.errno, errno, "{says:?}: {error}");
                assert!(error.to_string().contains(text), "{says:?}: {error}");
                assert!(!error.to_string().contains("secret"), "{error}");
            }
            other => panic!("{says:?}: {other:?}"),
        }
        // What it left behind is taken away.
        assert!(!server.arrived.load(Ordering::Relaxed), "{says:?}");
        assert_eq!(server.deleted.load(Ordering::Relaxed), !says.starts_with("HTTP"), "{says:?}");
    }
    for (status, is_lasting) in [
        ("501 Not Implemented", true),
        ("405 Method Not Allowed", false),
        ("502 Bad Gateway", false),
        ("307 Temporary Redirect\r\nLocation: http://127.0.0.2/x", false),
    ] {
        let says = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
        let server = Server::saying(Box::leak(says.into_boxed_str())).await;
        match server.copy().await {
            Err(Undone::Unsupported(_)) => assert!(is_lasting, "{status}"),
            Err(Undone::Declined(_)) => assert!(!is_lasting, "{status}"),
            other => panic!("{status}: {other:?}"),
        }
        assert!(!server.deleted.load(Ordering::Relaxed));
    }
}

#[tokio::test]
async fn what_somebody_else_brought_meanwhile_stays() {
    for (says, left) in [
        ("failure: the destination exists (412)", 9),
        ("failure: the destination exists (412)", 4),
        ("failure: PUT failed with status code 412", 4),
        ("failure: Couldn't connect to server", 9),
        ("failure: Couldn't connect to server", 12),
        (MARKER, 9),
    ] {
        for overwrite in [false, true] {
            let server = Server::leaving(says, left).await;
            assert!(matches!(server.copy_as(overwrite, &Tasks::new()).await, Err(Undone::Failed(_))), "{says}");
            assert!(!server.deleted.load(Ordering::Relaxed), "{says} {left} {overwrite}");
        }
    }
}

#[tokio::test]
async fn what_was_made_and_is_wrong_goes() {
    for left in [4, 12] {
        let server = Server::leaving(const_format(MARKER), left).await;
        match server.copy().await {
            Err(Undone::Failed(error)) => assert_eq!(error.errno, Errno::ECHECKSUM),
            other => panic!("{other:?}"),
        }
        assert!(server.deleted.load(Ordering::Relaxed), "{left}");
    }
}

#[tokio::test]
async fn a_part_goes_when_the_server_had_not_answered_yet() {
    let (server, tasks) = (Server::saying(SILENCE).await, Tasks::new());
    let given_up = tokio::time::timeout(Duration::from_millis(300), server.copy_as(false, &tasks)).await;
    assert!(given_up.is_err() && server.arrived.load(Ordering::Relaxed));
    for _ in 0..100 {
        if server.deleted.load(Ordering::Relaxed) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the part stays behind");
}
