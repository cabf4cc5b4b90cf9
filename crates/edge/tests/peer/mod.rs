//! Another server, as bytes on a socket, which does wrong what the name of a file says.
#![allow(dead_code)]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use dte_storage::checksum::adler32;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// What the server has under every name.
pub fn content() -> Vec<u8> {
    (0..3_000_017_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub headers: HashMap<String, String>,
}

#[derive(Default)]
struct Inner {
    seen: Vec<Seen>,
    files: HashMap<String, Vec<u8>>,
}

#[derive(Clone)]
pub struct Peer {
    pub address: SocketAddr,
    inner: Arc<Mutex<Inner>>,
    /// Where `/redirect` leads.
    elsewhere: Arc<Mutex<String>>,
}

impl Peer {
    pub async fn start() -> Peer {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("an address");
        let peer = Peer { address, inner: Arc::default(), elsewhere: Arc::default() };
        let serving = peer.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let peer = serving.clone();
                tokio::spawn(async move { peer.serve(socket).await });
            }
        });
        peer
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn redirects_to(&self, url: String) {
        *self.elsewhere.lock().expect("lock") = url;
    }

    pub fn seen(&self, method: &str, path: &str) -> Vec<Seen> {
        let inner = self.inner.lock().expect("lock");
        inner.seen.iter().filter(|seen| seen.method == method && seen.path == path).cloned().collect()
    }

    pub fn file(&self, path: &str) -> Option<Vec<u8>> {
        self.inner.lock().expect("lock").files.get(path).cloned()
    }

    pub fn keep(&self, path: &str, content: &[u8]) {
        self.inner.lock().expect("lock").files.insert(path.to_owned(), content.to_vec());
    }

    async fn serve(&self, mut socket: TcpStream) {
        let (reader, mut writer) = socket.split();
        let mut reader = BufReader::new(reader);
        // One request for each connection.
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).await.unwrap_or(0) == 0 {
                return;
            }
            let line = line.trim_end().to_owned();
            if line.is_empty() {
                break;
            }
            lines.push(line);
        }
        let mut first = lines[0].split(' ');
        let (method, path) = (first.next().expect("a method").to_owned(), first.next().expect("a path").to_owned());
        let headers: HashMap<String, String> = lines[1..]
            .iter()
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let seen = Seen { method: method.clone(), path: path.clone(), headers };
        self.inner.lock().expect("lock").seen.push(seen.clone());
        match method.as_str() {
            "PUT" => self.take(&seen, &mut reader, &mut writer).await,
            "DELETE" => {
                self.inner.lock().expect("lock").files.remove(&path);
                say(&mut writer, "204 No Content", "", b"").await;
            }
            _ => self.give(&seen, &mut writer).await,
        }
        let _ = writer.shutdown().await;
    }

    async fn give(&self, seen: &Seen, out: &mut (impl AsyncWrite + Unpin)) {
        let is_head = seen.method == "HEAD";
        let data = content();
        let digest = format!("Digest: adler32={:08x}\r\n", adler32(&data));
        let half = data.len() / 2;
        let times = self.seen("GET", &seen.path).len();
        let from =
            seen.headers.get("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
        let head = |more: &str, length: usize| format!("{more}Content-Length: {length}\r\n");
        if seen.path.starts_with("/put/") {
            let name = seen.path.replace("/put/redirect", "/put/there");
            return match self.file(&name) {
                Some(file) => {
                    let digest = format!("Digest: adler32={:08x}\r\n", adler32(&file));
                    begin(out, "200 OK", &head(&digest, file.len())).await;
                }
                None => say(out, "404 Not Found", "", b"").await,
            };
        }
        match seen.path.as_str() {
            "/none" => say(out, "404 Not Found", "", if is_head { b"" } else { b"no such file" }).await,
            "/vanish" => {}
            "/echo" => {
                let text = format!("you said {}", seen.headers.get("authorization").map_or("", String::as_str));
                say(out, "403 Forbidden", "", text.as_bytes()).await;
            }
            "/one-in-ten" if times.is_multiple_of(10) && !is_head => {
                say(out, "500 Internal Server Error", "", b"on purpose").await
            }
            "/redirect" => {
                let target = format!("Location: {}\r\n", self.elsewhere.lock().expect("lock"));
                say(out, "307 Temporary Redirect", &target, b"").await;
            }
            _ if is_head => {
                let digest = if seen.path.contains("silent") { "" } else { digest.as_str() };
                begin(out, "200 OK", &head(digest, data.len())).await;
            }
            "/flip" => {
                let mut wrong = data.clone();
                wrong[half] ^= 1;
                say(out, "200 OK", &digest, &wrong).await;
            }
            "/less" => say(out, "200 OK", &digest, &data[..half]).await,
            "/more" | "/truncate" | "/silent-truncate" => {
                begin(out, "200 OK", &head(&digest, data.len())).await;
                let _ = out.write_all(&data[..half]).await;
                if seen.path == "/more" {
                    std::future::pending::<()>().await;
                }
            }
            "/stall" => {
                begin(out, "200 OK", &head(&digest, data.len())).await;
                let _ = out.write_all(&data[..half]).await;
                std::future::pending::<()>().await;
            }
            "/creep" => {
                begin(out, "200 OK", &head(&digest, data.len())).await;
                for piece in data.chunks(10) {
                    if out.write_all(piece).await.is_err() {
                        return;
                    }
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                }
            }
            // Breaks off twice, in the middle of what is asked for.
            "/resume" | "/changed" => {
                let tag = if seen.path == "/changed" && times > 1 { "\"new\"" } else { "\"v1\"" };
                let from: usize = from.unwrap_or(0);
                let range = format!("Content-Range: bytes {from}-{}/{}\r\n", data.len() - 1, data.len());
                let (status, range) = if from > 0 { ("206 Partial Content", range.as_str()) } else { ("200 OK", "") };
                begin(out, status, &head(&format!("ETag: {tag}\r\n{range}"), data.len() - from)).await;
                let end = if times < 3 { from + (data.len() - from) / 2 } else { data.len() };
                let _ = out.write_all(&data[from..end]).await;
            }
            _ => say(out, "200 OK", &digest, &data).await,
        }
    }

    async fn take(&self, seen: &Seen, body: &mut (impl AsyncRead + Unpin), out: &mut (impl AsyncWrite + Unpin)) {
        let length: usize = seen.headers.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
        if seen.path == "/put/redirect" {
            let target = format!("Location: {}\r\n", self.url("/put/there"));
            return say(out, "307 Temporary Redirect", &target, b"").await;
        }
        if seen.path == "/put/forbidden" {
            return say(out, "403 Forbidden", "", b"not here").await;
        }
        if seen.headers.contains_key("expect") {
            let _ = out.write_all(b"HTTP/1.1 100 Continue\r\nConnection: Close\r\n\r\n").await;
        }
        let wanted = if seen.path == "/put/half" || seen.path == "/put/stall" { length / 2 } else { length };
        let mut taken = vec![0; wanted];
        if body.read_exact(&mut taken).await.is_err() {
            return;
        }
        if seen.path == "/put/wrong" {
            taken[wanted / 2] ^= 1;
        }
        match seen.path.as_str() {
            // Somebody else was faster, or has replaced what came.
            "/put/taken" | "/put/raced" => self.keep(&seen.path, &content()),
            "/put/taken-shorter" => self.keep(&seen.path, b"another file"),
            "/put/full" => self.keep(&seen.path, &taken[..wanted / 2]),
            _ => self.keep(&seen.path, &taken),
        }
        match seen.path.as_str() {
            "/put/half" => {}
            "/put/stall" => std::future::pending().await,
            "/put/taken" | "/put/taken-shorter" => say(out, "412 Precondition Failed", "", b"it exists").await,
            "/put/raced" => say(out, "500 Internal Server Error", "", b"on purpose").await,
            "/put/full" => say(out, "507 Insufficient Storage", "", b"full").await,
            _ => say(out, "201 Created", "", b"").await,
        }
    }
}

async fn begin(out: &mut (impl AsyncWrite + Unpin), status: &str, headers: &str) {
    let text = format!("HTTP/1.1 {status}\r\nConnection: close\r\n{headers}\r\n");
    let _ = out.write_all(text.as_bytes()).await;
}

async fn say(out: &mut (impl AsyncWrite + Unpin), status: &str, headers: &str, body: &[u8]) {
    begin(out, status, &format!("{headers}Content-Length: {}\r\n", body.len())).await;
    let _ = out.write_all(body).await;
}
