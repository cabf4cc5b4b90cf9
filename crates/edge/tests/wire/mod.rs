//! Requests as bytes, to an area that is the same before each of them, and what no request may do.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use dte_base::secret::Secret;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::scene::Scene;

/// In everything that lies outside of `foo`.
const OUTSIDE: &str = "content-of-others";
const INSIDE: &str = "content-of-foo";

/// Something to ask for.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    pub method: &'a str,
    /// Below `/dav/local`, as it stands on the wire.
    pub path: &'a str,
    pub headers: &'a [(&'a str, &'a str)],
    pub body: &'a str,
}

pub fn ask<'a>(method: &'a str, path: &'a str) -> Ask<'a> {
    Ask { method, path, headers: &[], body: "" }
}

pub fn put(path: &str) -> Ask<'_> {
    Ask { body: "new", ..ask("PUT", path) }
}

/// Every power at a place.
pub fn all(path: &str) -> [String; 5] {
    ["read", "create", "modify", "stage", "poll"].map(|power| format!("storage.{power}:/local{path}"))
}

pub struct Wire {
    pub scene: Scene,
    pub server: dte_http::ServerHandle,
    asked: usize,
    /// What is there before the next request.
    clean: BTreeMap<String, String>,
}

impl Wire {
    pub async fn start() -> Wire {
        let scene = Scene::new().await;
        let server = scene.engine.listen();
        let folder = scene.folder("local");
        fresh(&folder);
        let clean = snapshot(&folder);
        Wire { scene, server, asked: 0, clean }
    }

    pub async fn token(&self, scopes: &[&str]) -> Secret {
        self.scene.engine.token_for("alice", scopes).await
    }

    pub async fn token_of(&self, power: &str, path: &str) -> Secret {
        match power {
            "none" => self.token(&["compute.read"]).await,
            "all" => {
                let all = all(path);
                self.token(&all.each_ref().map(String::as_str)).await
            }
            _ => self.token(&[&format!("storage.{power}:/local{path}")]).await,
        }
    }

    /// The status and the whole answer.
    async fn send(&mut self, token: &Secret, ask: Ask<'_>) -> (u16, String) {
        self.asked += 1;
        let address = self.server.addresses()[0].1;
        let mut socket = tokio::net::TcpStream::connect(address).await.expect("connects");
        let mut text = format!(
            "{} /dav/local{} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\
             Connection: close\r\n",
            ask.method,
            ask.path,
            token.expose(),
            ask.body.len()
        );
        for (name, value) in ask.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        text.push_str(ask.body);
        socket.write_all(text.as_bytes()).await.expect("writes");
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).await.expect("reads");
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let status = answer.get(9..12).and_then(|code| code.parse().ok());
        (status.unwrap_or_else(|| panic!("{ask:?}: {answer:?}")), answer)
    }

    /// Asks on a fresh area. What is refused changes nothing; nothing ever reads or changes what is outside of `foo`.
    pub async fn status(&mut self, token: &Secret, ask: Ask<'_>) -> u16 {
        let folder = self.scene.folder("local");
        if snapshot(&folder) != self.clean {
            fresh(&folder);
        }
        let (status, answer) = self.send(token, ask).await;
        let (before, after) = (&self.clean, snapshot(&folder));
        assert!(!answer.contains(OUTSIDE), "{ask:?} reads what is outside: {answer}");
        assert!(status < 500, "{ask:?}: {answer}");
        if status >= 400 {
            assert!(!answer.contains(INSIDE), "{ask:?} is refused but reads: {answer}");
            assert_eq!(*before, after, "{ask:?} is refused with {status} but changes something");
        }
        let outside = |found: &BTreeMap<String, String>| -> Vec<(String, String)> {
            let is_inside = |path: &str| path == "foo" || path.starts_with("foo/");
            found.iter().filter(|(path, _)| !is_inside(path)).map(|(a, b)| (a.clone(), b.clone())).collect()
        };
        assert_eq!(outside(before), outside(&after), "{ask:?} ({status}) changes what is outside");
        assert_eq!(std::fs::read_to_string(folder.join("../../secret")).expect("reads"), OUTSIDE);
        status
    }

    pub async fn end(self, least: usize) {
        assert!(self.asked >= least, "only {} requests were made", self.asked);
        self.server.stop(Duration::from_secs(5)).await;
    }
}

/// `foo` with something in it, neighbours with names like it, and links that lead out.
fn fresh(local: &Path) {
    for entry in std::fs::read_dir(local).expect("lists").flatten() {
        let is_folder = entry.file_type().expect("a type").is_dir();
        match entry.file_name().to_str() {
            Some(".dte-tmp") => {}
            _ if is_folder => std::fs::remove_dir_all(entry.path()).expect("removes"),
            _ => std::fs::remove_file(entry.path()).expect("removes"),
        }
    }
    for (path, content) in [
        ("foo/a", INSIDE),
        ("foo/b", INSIDE),
        ("foo/d/f", INSIDE),
        ("foobar/a", OUTSIDE),
        ("bar/a", OUTSIDE),
        ("fo", OUTSIDE),
        ("../../secret", OUTSIDE),
    ] {
        let path = local.join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("makes");
        std::fs::write(path, content).expect("writes");
    }
    std::fs::create_dir(local.join("foo/e")).expect("makes");
    std::os::unix::fs::symlink("../../../secret", local.join("foo/link")).expect("links");
    std::os::unix::fs::symlink("../../../../secret", local.join("foo/d/link")).expect("links");
    std::os::unix::fs::symlink("../bar", local.join("foo/folder-link")).expect("links");
}

fn snapshot(folder: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut open = vec![String::new()];
    while let Some(place) = open.pop() {
        for entry in std::fs::read_dir(folder.join(&place)).expect("lists").flatten() {
            let name = entry.file_name().into_string().expect("text");
            let path = if place.is_empty() { name.clone() } else { format!("{place}/{name}") };
            let kind = entry.file_type().expect("a type");
            if name == ".dte-tmp" {
                continue;
            }
            let content = if kind.is_dir() {
                open.push(path.clone());
                "a folder".to_owned()
            } else if kind.is_symlink() {
                "a link".to_owned()
            } else {
                std::fs::read_to_string(entry.path()).expect("reads")
            };
            found.insert(path, content);
        }
    }
    found
}
