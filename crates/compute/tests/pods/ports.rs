//! Connections to the ports of a pod, and to no others.

use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use dte_compute::site::Cancellation;
use dte_compute::{ExecInput, ExecOutput, Site, SiteError};
use serde_json::json;
use uuid::Uuid;

use crate::bench::{Bench, until};
use crate::{read, sh};

/// Listens where its arguments say, in a process that has left its parent; says its port, then for each connection counts what
/// comes until its end, and answers with the count.
const COUNTER: &str = "import os, socket, sys, threading
family, address, port = getattr(socket, sys.argv[1]), sys.argv[2], int(sys.argv[3])
listener = socket.socket(family)
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
if family == socket.AF_INET6: listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
listener.bind((address, port))
listener.listen()
if os.fork() == 0:
    os.setsid()
    print('port', listener.getsockname()[1], flush=True)
    def serve(one):
        count = 0
        one.sendall(b'hello ')
        while piece := one.recv(65536): count += len(piece)
        one.sendall(b'%d' % count)
        one.close()
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],)).start()
listener.close()
import time
while True: time.sleep(60)
";

/// Starts a pod that counts; its UID and port.
async fn counter(bench: &Bench, family: &str, address: &str, port: u16) -> (Uuid, u16) {
    let mut container = sh("main", "", json!({}));
    container["command"] = json!(["/usr/bin/python3", "-c", COUNTER, family, address, port.to_string()]);
    let spec = json!({"restartPolicy": "Never", "containers": [container]});
    let plan = read(&spec, &json!([]), &json!([]), &json!([])).expect("a plan");
    bench.start(&plan).await;
    until("a port", async || bench.log(plan.uid).await.starts_with("port ")).await;
    let log = bench.log(plan.uid).await;
    (plan.uid, log.trim_start_matches("port ").trim().parse().expect("a number"))
}

/// Sends so many bytes and the end; what came back, whether its end was told, and how it ended.
async fn send(bench: &Bench, uid: Uuid, port: u16, bytes: usize) -> (String, bool, ExecOutput) {
    let mut session = bench.site.forward(uid, port).await.expect("a session");
    let input = session.input;
    let sending = async {
        let mut left = bytes;
        while left > 0 {
            let piece = left.min(10_000);
            // Whoever refused does not listen.
            if input.send(ExecInput::Stdin(vec![b'x'; piece])).await.is_err() {
                return;
            }
            left -= piece;
        }
        drop(input.send(ExecInput::StdinEnd).await);
        drop(input);
    };
    let hearing = async {
        let (mut said, mut ended) = (String::new(), false);
        loop {
            match session.output.recv().await.expect("an end") {
                ExecOutput::Stdout(bytes) => said.push_str(&String::from_utf8_lossy(&bytes)),
                ExecOutput::Stderr(bytes) => panic!("{}", String::from_utf8_lossy(&bytes)),
                ExecOutput::StdoutEnd => ended = true,
                end => return (said, ended, end),
            }
        }
    };
    tokio::join!(sending, hearing).1
}

async fn is_refused(bench: &Bench, uid: Uuid, port: u16) {
    let (said, _, end) = send(bench, uid, port, 10).await;
    let ExecOutput::Failed { message } = end else { panic!("{end:?}") };
    assert!(said.is_empty() && message.contains("no process of the pod listens"), "{said} {message}");
}

fn has_version_6() -> bool {
    let has = TcpListener::bind("[::1]:0").is_ok();
    if !has {
        println!("SKIPPED in part: this machine has no IPv6");
    }
    has
}

async fn cancel(bench: &Bench, uid: Uuid) {
    let how = Cancellation { reason: "Cancelled".into(), grace: Some(Duration::ZERO) };
    bench.site.cancel(uid, &how).await.expect("cancelled");
    bench.finish(uid).await;
}

#[tokio::test]
async fn connections_go_both_ways_and_end_each_on_its_own() {
    let bench = crate::bench().await;
    let (uid, port) = counter(&bench, "AF_INET", "127.0.0.1", 0).await;
    let good = |count: usize| (format!("hello {count}"), true, ExecOutput::Exit { exit_code: 0 });
    assert_eq!(send(&bench, uid, port, 3_000_000).await, good(3_000_000));
    let many = (0..20).map(|n| send(&bench, uid, port, n * 1_000));
    for (n, seen) in futures_util::future::join_all(many).await.into_iter().enumerate() {
        assert_eq!(seen, good(n * 1_000));
    }
    // Letting go ends it.
    let session = bench.site.forward(uid, port).await.expect("a session");
    drop(session);
    // An engine that was started later can do it too.
    let bench = bench.reopen().await;
    assert_eq!(send(&bench, uid, port, 7).await, good(7));
    bench.site.suspend(uid).await.expect("suspended");
    assert!(matches!(bench.site.forward(uid, port).await, Err(SiteError::Refused(_))));
    bench.site.resume(uid).await.expect("resumed");
    assert_eq!(send(&bench, uid, port, 8).await, good(8));
    cancel(&bench, uid).await;
    assert!(matches!(bench.site.forward(uid, port).await, Err(SiteError::Refused(_))));
    assert!(matches!(bench.site.forward(Uuid::now_v7(), port).await, Err(SiteError::Unknown(_))));

    if has_version_6() {
        let (uid, port) = counter(&bench, "AF_INET6", "::1", 0).await;
        assert_eq!(send(&bench, uid, port, 9).await, good(9));
        cancel(&bench, uid).await;
    }
}

#[tokio::test]
async fn only_what_the_pod_listens_on_is_reached() {
    let bench = crate::bench().await;
    let (uid, own) = counter(&bench, "AF_INET", "0.0.0.0", 0).await;
    let (other, others) = counter(&bench, "AF_INET", "127.0.0.1", 0).await;
    // A service of the site, which anybody on the machine reaches.
    let service = TcpListener::bind("127.0.0.1:0").expect("a service");
    service.set_nonblocking(true).expect("set");
    let ours = service.local_addr().expect("an address").port();
    for port in [ours, others, 1] {
        is_refused(&bench, uid, port).await;
    }
    is_refused(&bench, other, own).await;
    if has_version_6() {
        shared_port(&bench, &service).await;
    }
    // What the pod has connected with is not what it listens on.
    let client = TcpStream::connect(("127.0.0.1", ours)).expect("connected");
    is_refused(&bench, uid, client.local_addr().expect("an address").port()).await;
    assert!(service.accept().is_ok_and(|(_, from)| Some(from) == client.local_addr().ok()));
    assert!(service.accept().is_err(), "nobody else came");
    for uid in [uid, other] {
        cancel(&bench, uid).await;
    }
}

/// A port of the pod's that another process has at the more special address, where it is the other who would answer.
async fn shared_port(bench: &Bench, service: &TcpListener) {
    let port = service.local_addr().expect("an address").port();
    let (uid, own) = counter(bench, "AF_INET6", "::", port).await;
    assert_eq!(own, port);
    // By version 6 it is the pod alone, and that is where the connection goes.
    let (said, _, end) = send(bench, uid, port, 5).await;
    assert_eq!((said.as_str(), end), ("hello 5", ExecOutput::Exit { exit_code: 0 }));
    cancel(bench, uid).await;
}
