//! The storage edge against another WebDAV server: small-file PUT and large-file GET, alternating in one run.
//!
//! `edge SECONDS NAME=URL,PID[,TOKEN_FILE] …` prints one line of JSON: for each server the median over the rounds of requests and
//! bytes per second, and the CPU seconds that its process used per request.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dte_bench::{cpu_seconds, median};
use serde_json::{Map, Value, json};

const ROUNDS: usize = 3;
const PUT_CONNECTIONS: usize = 16;
const GET_CONNECTIONS: usize = 2;
const SMALL: usize = 4 * 1024;
const LARGE: usize = 256 * 1024 * 1024;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[derive(Clone)]
struct Server {
    name: String,
    address: String,
    path: String,
    pid: u32,
    token: Option<String>,
}

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let span = Duration::from_secs_f64(arguments.next().ok_or("SECONDS is missing")?.parse()?);
    let servers = arguments.map(|text| parse(&text)).collect::<Result<Vec<_>, _>>()?;
    let mut figures: Vec<[Vec<f64>; 5]> = servers.iter().map(|_| Default::default()).collect();
    for server in &servers {
        upload_large(server)?;
    }
    for round in 0..ROUNDS {
        for (server, found) in servers.iter().zip(&mut figures) {
            let cpu = cpu_seconds(server.pid);
            let (puts, took) = load(server, PUT_CONNECTIONS, span, Work::Put(round))?;
            found[0].push(puts as f64 / took);
            found[1].push((cpu_seconds(server.pid) - cpu) / puts.max(1) as f64 * 1e6);
            let (gets, took) = load(server, PUT_CONNECTIONS, span, Work::GetSmall(round))?;
            found[2].push(gets as f64 / took);
            let cpu = cpu_seconds(server.pid);
            let (bytes, took) = load(server, GET_CONNECTIONS, span, Work::GetLarge)?;
            found[3].push(bytes as f64 / took / 1e6);
            found[4].push((cpu_seconds(server.pid) - cpu) / (bytes.max(1) as f64 / 1e9));
        }
    }
    let mut answer = Map::new();
    for (server, found) in servers.iter().zip(figures) {
        let [puts, put_cpu, gets, large, large_cpu] = found.map(median);
        answer.insert(
            server.name.clone(),
            json!({ "put_4k_per_s": puts, "put_cpu_us": put_cpu, "get_4k_per_s": gets, "get_large_mb_per_s": large,
                    "get_large_cpu_s_per_gb": large_cpu }),
        );
    }
    println!("{}", Value::Object(answer));
    Ok(())
}

fn parse(text: &str) -> Result<Server, Failure> {
    let (name, rest) = text.split_once('=').ok_or("NAME=URL,PID")?;
    let mut parts = rest.split(',');
    let url = parts.next().and_then(|url| url.strip_prefix("http://")).ok_or("http:// URL")?;
    let (address, path) = url.split_once('/').ok_or("URL without a path")?;
    let pid = parts.next().ok_or("PID is missing")?.parse()?;
    let token = parts.next().map(std::fs::read_to_string).transpose()?.map(|t| t.trim().to_owned());
    Ok(Server { name: name.into(), address: address.into(), path: format!("/{path}"), pid, token })
}

#[derive(Clone, Copy)]
enum Work {
    Put(usize),
    GetSmall(usize),
    GetLarge,
}

fn head(server: &Server, method: &str, path: &str, length: usize) -> String {
    let token = server.token.as_ref().map_or(String::new(), |t| format!("Authorization: Bearer {t}\r\n"));
    format!(
        "{method} {}{path} HTTP/1.1\r\nHost: {}\r\n{token}Content-Length: {length}\r\n\r\n",
        server.path, server.address
    )
}

fn upload_large(server: &Server) -> Result<(), Failure> {
    let mut connection = Connection::open(server)?;
    connection.stream.write_all(head(server, "PUT", "/large.bin", LARGE).as_bytes())?;
    let block = vec![0x5a_u8; 1 << 20];
    for _ in 0..LARGE >> 20 {
        connection.stream.write_all(&block)?;
    }
    connection.answer(&["201", "204"])?;
    Ok(())
}

/// Runs the work on several connections; how much was done and in how many seconds.
fn load(server: &Server, connections: usize, span: Duration, work: Work) -> Result<(u64, f64), Failure> {
    let done = Arc::new(AtomicU64::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let began = Instant::now();
    let threads: Vec<_> = (0..connections)
        .map(|number| {
            let (server, done, stop) = (server.clone(), Arc::clone(&done), Arc::clone(&stop));
            std::thread::spawn(move || -> Result<(), Failure> {
                let mut connection = Connection::open(&server)?;
                let body = vec![0x61_u8; SMALL];
                let mut count = 0_usize;
                while !stop.load(Ordering::Relaxed) {
                    match work {
                        Work::Put(round) => {
                            let path = format!("/r{round}-c{number}-{}.bin", count % 2_000);
                            let mut request = head(&server, "PUT", &path, SMALL).into_bytes();
                            request.extend_from_slice(&body);
                            connection.stream.write_all(&request)?;
                            connection.answer(&["201", "204"])?;
                            done.fetch_add(1, Ordering::Relaxed);
                        }
                        Work::GetSmall(round) => {
                            let path = format!("/r{round}-c{number}-{}.bin", count % 100);
                            connection.stream.write_all(head(&server, "GET", &path, 0).as_bytes())?;
                            connection.answer(&["200"])?;
                            done.fetch_add(1, Ordering::Relaxed);
                        }
                        Work::GetLarge => {
                            connection.stream.write_all(head(&server, "GET", "/large.bin", 0).as_bytes())?;
                            let bytes = connection.answer(&["200"])?;
                            done.fetch_add(bytes as u64, Ordering::Relaxed);
                        }
                    }
                    count += 1;
                }
                Ok(())
            })
        })
        .collect();
    std::thread::sleep(span);
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().map_err(|_| "a connection panicked")??;
    }
    Ok((done.load(Ordering::Relaxed), began.elapsed().as_secs_f64()))
}

struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    fn open(server: &Server) -> Result<Self, Failure> {
        let stream = TcpStream::connect(&server.address)?;
        stream.set_nodelay(true)?;
        Ok(Connection { stream, buffer: vec![0; 1 << 18] })
    }

    /// Reads one answer; the length of its body.
    fn answer(&mut self, wanted: &[&str]) -> Result<usize, Failure> {
        let mut filled = 0;
        let end = loop {
            let count = self.stream.read(&mut self.buffer[filled..])?;
            if count == 0 {
                return Err("the server closed the connection".into());
            }
            filled += count;
            if let Some(at) = self.buffer[..filled].windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
        };
        let head = String::from_utf8_lossy(&self.buffer[..end]).to_ascii_lowercase();
        let status = head.split(' ').nth(1).unwrap_or_default();
        if !wanted.contains(&status) {
            return Err(format!("unexpected answer: {head}").into());
        }
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
        let length: usize = length.map_or(Ok(0), |text| text.trim().parse())?;
        let mut left = length - (filled - end).min(length);
        while left > 0 {
            let most = left.min(self.buffer.len());
            let count = self.stream.read(&mut self.buffer[..most])?;
            if count == 0 {
                return Err("the body was cut short".into());
            }
            left -= count;
        }
        Ok(length)
    }
}
