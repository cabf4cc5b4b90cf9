//! A connection to a port of the pod's, for somebody outside who may be in the pod.
//!
//! Pods share the network of the machine, where other services listen on loopback and believe whoever reaches them. So only a port
//! is reached on which processes of this pod listen, and nobody else does: looked up before the connection is made and again after,
//! so that no service which took the port in between gets a byte.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::Duration;

use super::spec::Walls;
use super::tree;

/// Loopback answers at once, unless the program is not taking connections.
const PATIENCE: Duration = Duration::from_secs(10);
/// A socket's state in the kernel's list.
const LISTENING: &str = "0A";

/// Connects, while we still have the privileges to see whose sockets there are.
pub fn connect(port: u16, walls: &Walls) -> io::Result<TcpStream> {
    let nobody = || {
        let text = format!("connection refused: no process of the pod listens on port {port} at loopback");
        io::Error::new(io::ErrorKind::ConnectionRefused, text)
    };
    if *walls != Walls::Open && nix::unistd::getppid().as_raw() != 1 {
        return Err(io::Error::other("not in the pod's process tree"));
    }
    for address in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
        if !is_the_pods_alone(address, port)? {
            continue;
        }
        let stream = TcpStream::connect_timeout(&SocketAddr::new(address, port), PATIENCE)?;
        return if is_the_pods_alone(address, port)? { Ok(stream) } else { Err(nobody()) };
    }
    Err(nobody())
}

/// Whether somebody listens there, and all who do are processes of the pod.
fn is_the_pods_alone(address: IpAddr, port: u16) -> io::Result<bool> {
    let mut listening = Vec::new();
    for list in ["/proc/self/net/tcp", "/proc/self/net/tcp6"] {
        match fs::read_to_string(list) {
            Ok(text) => listening.extend(text.lines().filter_map(listener).filter(|one| one.takes(address, port))),
            // A machine without IPv6.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    if listening.is_empty() {
        return Ok(false);
    }
    let ours = sockets_of_the_pod();
    Ok(listening.iter().all(|one| ours.contains(&one.inode)))
}

#[derive(Debug, PartialEq, Eq)]
struct Listener {
    address: IpAddr,
    port: u16,
    inode: u64,
}

impl Listener {
    /// Whether a connection to that address may come to it. A socket for all addresses of version 6 may take those of version 4.
    fn takes(&self, address: IpAddr, port: u16) -> bool {
        let is_any = match self.address {
            IpAddr::V4(own) => own.is_unspecified() && address.is_ipv4(),
            IpAddr::V6(own) => own.is_unspecified(),
        };
        self.port == port && (is_any || self.address.to_canonical() == address)
    }
}

/// A line of the kernel's list, if somebody listens: `0: 0100007F:1F90 00000000:0000 0A … UID TIMEOUT INODE …`. Addresses are words
/// of four bytes in the machine's own order.
fn listener(line: &str) -> Option<Listener> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    if *fields.get(3)? != LISTENING {
        return None;
    }
    let (address, port) = fields.get(1)?.split_once(':')?;
    let word = |at: usize| Some(u32::from_str_radix(address.get(at * 8..at * 8 + 8)?, 16).ok()?.to_ne_bytes());
    let address = match address.len() {
        8 => IpAddr::V4(word(0)?.into()),
        32 => {
            let mut bytes = [0; 16];
            for (at, place) in bytes.chunks_exact_mut(4).enumerate() {
                place.copy_from_slice(&word(at)?);
            }
            IpAddr::V6(bytes.into())
        }
        _ => return None,
    };
    Some(Listener { address, port: u16::from_str_radix(port, 16).ok()?, inode: fields.get(9)?.parse().ok()? })
}

/// The inodes of all sockets that processes of the pod hold. A process that ends meanwhile, or that cannot be looked into, has none.
fn sockets_of_the_pod() -> HashSet<u64> {
    let files = |pid| fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let links = tree::beside_us().into_iter().flat_map(files).filter_map(|entry| fs::read_link(entry.path()).ok());
    links.filter_map(|link| link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()).collect()
}

/// Carries bytes both ways between the pod's socket and the one at standard input and output, until both directions have ended. The
/// end of one direction is passed on, and the other goes on.
pub fn carry(pod: TcpStream) -> io::Result<ExitCode> {
    let caller = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let (from_caller, to_pod) = (caller.try_clone()?, pod.try_clone()?);
    let sending = std::thread::spawn(move || {
        // Where the pod takes no more, its own direction says how the connection ends.
        let sent = io::copy(&mut &from_caller, &mut &to_pod);
        let _ = to_pod.shutdown(Shutdown::Write);
        drop(sent);
    });
    match io::copy(&mut &pod, &mut &caller) {
        Ok(_) => caller.shutdown(Shutdown::Write)?,
        // The caller hears no more, and lets go of us.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        Err(error) => return Err(error),
    }
    match sending.join() {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(_) => Err(io::Error::other("sending failed")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str, at: &str) -> bool {
        let line = format!(
            "  1: {text} 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0 100 0 0 10 0"
        );
        let found = listener(&line).expect("a listener");
        assert_eq!((found.port, found.inode), (8080, 4711));
        assert!(!found.takes(at.parse().expect("an address"), 8081));
        found.takes(at.parse().expect("an address"), 8080)
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn who_takes_a_connection() {
        let (all6, own6) = ("00000000000000000000000000000000:1F90", "00000000000000000000000001000000:1F90");
        let mapped = "0000000000000000FFFF00000100007F:1F90";
        for (listens, takes4, takes6) in [
            ("0100007F:1F90", true, false),
            ("00000000:1F90", true, false),
            ("0200007F:1F90", false, false),
            (all6, true, true),
            (own6, false, true),
            (mapped, true, false),
        ] {
            assert_eq!(parsed(listens, "127.0.0.1"), takes4, "{listens}");
            assert_eq!(parsed(listens, "::1"), takes6, "{listens}");
        }
        let established = "1: 0100007F:1F90 0100007F:9999 01 00000000:00000000 00:00000000 00000000 1000 0 4711 1";
        assert_eq!(listener(established), None);
        assert_eq!(listener("  sl  local_address rem_address   st tx_queue rx_queue tr tm->when"), None);
    }
}
