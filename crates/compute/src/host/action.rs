//! Probes and hooks that are not programs: a connection, a request, a call, a pause. Done by a process inside the pod's walls, which
//! reaches no more than the pod does.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::process::ExitCode;
use std::time::Duration;

use super::grpc;
use crate::pod::Action;

/// The init ends a process that takes longer than its time; this is for those that nobody waits for.
const PATIENCE: Duration = Duration::from_secs(60);
/// Of the answer, only its first line is looked at.
const FIRST_LINE: u64 = 64;

pub fn perform(action: &Action) -> ExitCode {
    match outcome(action) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn outcome(action: &Action) -> io::Result<bool> {
    match action {
        Action::Exec { .. } => Err(io::Error::other("a program is executed, not performed")),
        Action::Sleep { seconds } => {
            std::thread::sleep(Duration::from_secs(*seconds));
            Ok(true)
        }
        Action::Tcp { host, port } => connect(host, *port).map(|_| true),
        Action::Grpc { host, port, service } => {
            grpc::is_serving(connect(host, *port)?, &format!("{host}:{port}"), service)
        }
        Action::Http { host, port, path, headers } => {
            let mut stream = connect(host, *port)?;
            let own_host = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host"));
            let mut request = format!("GET {path} HTTP/1.0\r\nUser-Agent: kube-probe/dte\r\nAccept: */*\r\n");
            if !own_host {
                request.push_str(&format!("Host: {host}:{port}\r\n"));
            }
            for (name, value) in headers {
                request.push_str(&format!("{name}: {value}\r\n"));
            }
            request.push_str("\r\n");
            stream.write_all(request.as_bytes())?;
            let mut answer = Vec::new();
            stream.take(FIRST_LINE).read_to_end(&mut answer)?;
            Ok(status(&answer).is_some_and(|status| (200..400).contains(&status)))
        }
    }
}

fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut last = io::Error::other(format!("{host} has no address"));
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => {
                stream.set_read_timeout(Some(PATIENCE))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The status of `HTTP/1.1 200 OK`.
fn status(answer: &[u8]) -> Option<u16> {
    let text = String::from_utf8_lossy(answer);
    let rest = text.strip_prefix("HTTP/")?;
    rest.split(' ').nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_status() {
        assert_eq!(status(b"HTTP/1.1 204 No Content\r\nServer"), Some(204));
        assert_eq!(status(b"SSH-2.0"), None);
    }
}
