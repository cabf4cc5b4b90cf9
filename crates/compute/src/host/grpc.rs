//! Probes by gRPC: one call of `grpc.health.v1.Health/Check`, as kubelet makes it, over HTTP/2 without TLS.

use std::io;
use std::net::TcpStream;

use http::{Method, Request, Version};

const PATH: &str = "/grpc.health.v1.Health/Check";
/// Before each message: whether it is compressed, and its length.
const PREFIX: usize = 5;
/// The answer is a number: whatever is longer is none.
const LONGEST_ANSWER: usize = 1_024;
/// `ServingStatus.SERVING`
const SERVING: u64 = 1;
/// Keys of protobuf fields: number and wire type.
const STATUS_KEY: u8 = 1 << 3;
const SERVICE_KEY: u8 = 1 << 3 | 2;

/// Whether the server at the other end says that it serves `service`.
pub fn is_serving(stream: TcpStream, authority: &str, service: &str) -> io::Result<bool> {
    stream.set_nonblocking(true)?;
    // A helper has one thread, and ends with its answer.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::from_std(stream)?;
        let builder = h2::client::Builder::new();
        let started = builder.handshake::<_, io::Cursor<Vec<u8>>>(stream).await;
        let (client, connection) = started.map_err(io::Error::other)?;
        let answer = check(client, authority, service);
        tokio::select! {
            answer = answer => answer.map_err(io::Error::other),
            ended = connection => Err(match ended {
                Ok(()) => io::Error::other("the server let go of the connection"),
                Err(error) => io::Error::other(error),
            }),
        }
    })
}

async fn check(
    client: h2::client::SendRequest<io::Cursor<Vec<u8>>>,
    authority: &str,
    service: &str,
) -> Result<bool, h2::Error> {
    let request = Request::builder()
        .method(Method::POST)
        .version(Version::HTTP_2)
        .uri(format!("http://{authority}{PATH}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", "kube-probe/dte")
        .body(());
    let Ok(request) = request else { return Ok(false) };
    let mut client = client.ready().await?;
    let (answer, mut body) = client.send_request(request, false)?;
    body.send_data(io::Cursor::new(question(service)), true)?;
    let (head, mut body) = answer.await?.into_parts();
    let mut message = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        message.extend_from_slice(&piece);
        if message.len() > LONGEST_ANSWER {
            return Ok(false);
        }
    }
    let trailers = body.trailers().await?.unwrap_or(head.headers);
    let is_well = trailers.get("grpc-status").is_some_and(|status| status == "0");
    Ok(head.status.is_success() && is_well && status_in(&message) == Some(SERVING))
}

/// `HealthCheckRequest { service }`
fn question(service: &str) -> Vec<u8> {
    let mut message = Vec::with_capacity(service.len() + 8);
    if !service.is_empty() {
        message.push(SERVICE_KEY);
        let mut length = service.len();
        while length > 0x7f {
            message.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        message.push(length as u8);
        message.extend_from_slice(service.as_bytes());
    }
    let mut framed = vec![0];
    framed.extend_from_slice(&u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
    framed.append(&mut message);
    framed
}

/// `HealthCheckResponse.status`; zero is left out on the wire.
fn status_in(framed: &[u8]) -> Option<u64> {
    let (prefix, message) = framed.split_at_checked(PREFIX)?;
    if prefix[0] != 0 {
        return None;
    }
    match message {
        [] => Some(0),
        [STATUS_KEY, number, ..] if *number < 0x80 => Some(u64::from(*number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages() {
        assert_eq!(question(""), [0, 0, 0, 0, 0]);
        assert_eq!(question("ab"), [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        assert_eq!(question(&"x".repeat(200))[..9], [0, 0, 0, 0, 203, 0x0a, 0xc8, 1, b'x']);
        assert_eq!(status_in(&[0, 0, 0, 0, 2, 8, 1]), Some(SERVING));
        assert_eq!((status_in(&[0, 0, 0, 0, 0]), status_in(&[0, 0, 0, 0, 2, 8, 2])), (Some(0), Some(2)));
        assert_eq!((status_in(&[1, 0, 0, 0, 2, 8, 1]), status_in(&[0, 0])), (None, None));
    }

    /// A server of another make: `DTE_TEST_GRPC` names its address, at which it serves `up` and not `down`.
    #[test]
    fn a_real_server() {
        let Ok(address) = std::env::var("DTE_TEST_GRPC") else {
            println!("SKIPPED: DTE_TEST_GRPC names no server");
            return;
        };
        for (service, expected) in [("", true), ("up", true), ("down", false), ("unknown", false)] {
            let stream = TcpStream::connect(&address).expect("connected");
            assert_eq!(is_serving(stream, &address, service).expect("an answer"), expected, "{service:?}");
        }
        assert!(
            is_serving(TcpStream::connect(&address).expect("connected"), "not an authority", "").is_ok_and(|is| !is)
        );
    }
}
