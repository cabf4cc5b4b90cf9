//! Downloads from servers that say no length, or give a file only as a whole.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dte_http::{Client, HttpConfig};
use dte_storage::{CopyOrder, Errno, Error, Storages, fetch};

#[derive(Clone, Copy, PartialEq)]
enum Manner {
    /// No length, anywhere.
    Chunked,
    /// A length and a time of change; ranges are not listened to.
    Whole,
    /// HEAD says that every file is empty.
    Empty,
}

struct Server {
    address: String,
    gets: Arc<AtomicUsize>,
}

fn data() -> Vec<u8> {
    (0..95_000_u32).map(|n| n.to_le_bytes()[1]).collect()
}

impl Server {
    /// Its first answers, so many, break off half-way.
    fn start(manner: Manner, faults: usize) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let address = format!("http://{}/f", listener.local_addr().expect("address"));
        let gets = Arc::new(AtomicUsize::new(0));
        let counted = gets.clone();
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                answer(connection.expect("connects"), manner, faults, &counted);
            }
        });
        Server { address, gets }
    }

    async fn fetch(&self, target: &std::path::Path, overwrite: bool) -> Result<u64, Error> {
        let nobody = "http://nobody.invalid".parse().expect("a URL");
        let storages = Storages::new(Client::new(&HttpConfig::default(), nobody));
        let source = storages.resolve(&self.address, None).expect("a place");
        let order = CopyOrder { overwrite, ..CopyOrder::default() };
        fetch(&source, target, &order).await.map(|copied| copied.bytes)
    }
}

/// One request a connection. A client that went away is no failure.
fn answer(connection: TcpStream, manner: Manner, faults: usize, gets: &AtomicUsize) {
    let mut reader = BufReader::new(connection);
    let mut request = String::new();
    while reader.read_line(&mut request).is_ok_and(|read| read > 2) {}
    let mut out = reader.into_inner();
    let data = data();
    let length = match manner {
        Manner::Chunked => "Transfer-Encoding: chunked".to_owned(),
        Manner::Empty if request.starts_with("HEAD") => "Content-Length: 0".to_owned(),
        _ => format!("Content-Length: {}\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT", data.len()),
    };
    let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\n{length}\r\n\r\n");
    let body = match manner {
        Manner::Chunked => {
            let chunks =
                data.chunks(10_000).map(|chunk| [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
            [chunks.collect::<Vec<_>>().concat(), b"0\r\n\r\n".to_vec()].concat()
        }
        _ => data,
    };
    let answer = match request.split(' ').next() {
        Some("HEAD") => head.into_bytes(),
        Some("GET") => {
            let is_broken = gets.fetch_add(1, Ordering::SeqCst) < faults;
            let sent = if is_broken { &body[..body.len() / 2] } else { &body[..] };
            [head.as_bytes(), sent].concat()
        }
        _ => b"HTTP/1.1 405 Method Not Allowed\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".to_vec(),
    };
    let _ = out.write_all(&answer);
}

#[tokio::test]
async fn a_file_without_a_length_comes_whole() {
    let folder = tempfile::tempdir().expect("temp");
    let target = folder.path().join("f");
    std::fs::write(&target, "what was there").expect("writes");
    let server = Server::start(Manner::Chunked, 2);
    assert_eq!(server.fetch(&target, true).await, Ok(95_000));
    assert_eq!(std::fs::read(&target).expect("reads"), data());
    assert_eq!(server.gets.load(Ordering::SeqCst), 3);
    assert_eq!(std::fs::read_dir(folder.path()).expect("lists").count(), 1);
}

#[tokio::test]
async fn a_server_that_knows_no_ranges_is_asked_for_the_whole() {
    let folder = tempfile::tempdir().expect("temp");
    let target = folder.path().join("f");
    let server = Server::start(Manner::Whole, 1);
    assert_eq!(server.fetch(&target, false).await, Ok(95_000));
    assert_eq!(std::fs::read(&target).expect("reads"), data());
    // Broken off, asked for the rest, asked for all.
    assert_eq!(server.gets.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn what_always_breaks_off_is_given_up() {
    let folder = tempfile::tempdir().expect("temp");
    let server = Server::start(Manner::Whole, usize::MAX);
    let error = server.fetch(&folder.path().join("f"), false).await.expect_err("breaks off");
    assert_eq!(error.errno, Errno::ECONN, "{error}");
    assert!(!folder.path().join("f").exists());
}

#[tokio::test]
async fn what_is_said_to_be_empty_and_is_not_replaces_nothing() {
    let folder = tempfile::tempdir().expect("temp");
    let target = folder.path().join("f");
    std::fs::write(&target, "what was there").expect("writes");
    let server = Server::start(Manner::Empty, 0);
    assert_eq!(server.fetch(&target, true).await.expect_err("more came").errno, Errno::ECHECKSUM);
    assert_eq!(std::fs::read(&target).expect("reads"), b"what was there");
}

/// A WebDAV server with one listing.
fn listing_server(members: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = format!("http://{}/d", listener.local_addr().expect("address"));
    let fine = "<propstat><prop><resourcetype/></prop><status>HTTP/1.1 200 OK</status></propstat>";
    let own = format!("<response><href>/d/</href>{}</response>", fine.replace("/>", "><collection/></resourcetype>"));
    let body = format!("<multistatus xmlns=\"DAV:\">{own}{}</multistatus>", members.replace("FINE", fine));
    std::thread::spawn(move || {
        let mut reader = BufReader::new(listener.accept().expect("connects").0);
        let mut request = String::new();
        while reader.read_line(&mut request).is_ok_and(|read| read > 2) {}
        let head = format!("HTTP/1.1 207 X\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
        reader.into_inner().write_all((head + &body).as_bytes()).expect("answers");
    });
    address
}

#[tokio::test]
async fn members_that_cannot_be_read_are_told() {
    let address = listing_server(
        "<response><href>/d/good</href>FINE</response><response><href>/d/../up</href>FINE</response>\
         <response><href>/d/shut</href><status>HTTP/1.1 403 Forbidden</status></response>\
         <response><href>/d/gone</href><status>HTTP/1.1 404 Not Found</status></response>\
         <response><href>/other/f</href>FINE</response>",
    );
    let nobody = "http://nobody.invalid".parse().expect("a URL");
    let storages = Storages::new(Client::new(&HttpConfig::default(), nobody));
    let folder = storages.resolve(&address, None).expect("a place");
    let entries = folder.store.list(&folder.path).await.expect("lists");
    let mut names: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["/d/../up", "/d/shut", "/other/f", "good"]);
    let usable = entries.iter().filter(|entry| folder.path.child(&entry.name).is_ok());
    assert_eq!(usable.map(|entry| (entry.name.as_str(), entry.stat.bytes)).collect::<Vec<_>>(), [("good", None)]);
}
