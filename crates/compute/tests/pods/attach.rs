//! People attached to the programs of containers: what they type and see, several at once, and whoever comes later.

use std::time::Duration;

use dte_compute::exec::AttachOrder;
use dte_compute::site::Cancellation;
use dte_compute::{ContainerState, ExecInput, ExecOutput, ExecSession, Phase, Site, SiteError};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::bench::{Bench, until};
use crate::{read, sh, state};

const PATIENCE: Duration = Duration::from_secs(60);

/// Somebody who is attached, and what they have seen.
struct Seat {
    session: ExecSession,
    seen: String,
}

impl Seat {
    async fn take(bench: &Bench, uid: Uuid, stdin: bool, tty: bool) -> Seat {
        let order = AttachOrder { uid, container: None, stdin, tty };
        Seat { session: bench.site.attach(&order).await.expect("attached"), seen: String::new() }
    }

    async fn send(&self, what: ExecInput) {
        self.session.input.send(what).await.expect("sent");
    }

    async fn types(&self, text: &str) {
        self.send(ExecInput::Stdin(text.as_bytes().to_vec())).await;
    }

    /// The next that comes; text is kept, and an end is given.
    async fn hear(&mut self) -> Option<ExecOutput> {
        let next = tokio::time::timeout(PATIENCE, self.session.output.recv()).await;
        match next.unwrap_or_else(|_| panic!("nothing came after {:?}", self.seen)).expect("an end") {
            ExecOutput::Stdout(bytes) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
            ExecOutput::Stderr(bytes) => panic!("{bytes:?}"),
            ExecOutput::StdoutEnd => {}
            end => return Some(end),
        }
        None
    }

    async fn sees(&mut self, word: &str) {
        while !self.seen.contains(word) {
            assert_eq!(self.hear().await, None, "never {word}: {:?}", self.seen);
        }
    }

    async fn end(mut self) -> (String, ExecOutput) {
        loop {
            if let Some(end) = self.hear().await {
                return (self.seen, end);
            }
        }
    }
}

/// Starts a pod of one container and waits until it runs.
async fn start(bench: &Bench, restart: &str, text: &str, more: Value) -> Uuid {
    let spec = json!({"restartPolicy": restart, "containers": [sh("main", text, more)]});
    let plan = read(&spec, &json!([]), &json!([]), &json!([])).expect("a plan");
    bench.start(&plan).await;
    until("a start", async || bench.report(plan.uid).await.phase == Phase::Running).await;
    plan.uid
}

async fn cancel(bench: &Bench, uid: Uuid) {
    let how = Cancellation { reason: "Cancelled".into(), grace: Some(Duration::ZERO) };
    bench.site.cancel(uid, &how).await.expect("cancelled");
    bench.finish(uid).await;
}

const OVER: ExecOutput = ExecOutput::Exit { exit_code: 0 };

#[tokio::test]
async fn several_see_and_type_and_leave() {
    let bench = crate::bench().await;
    let reader = "echo before; : < /dev/stdin || exit 9; while read line; do echo got $line; done; echo ended";
    let uid = start(&bench, "Never", reader, json!({"stdin": true})).await;
    until("its first word", async || bench.log(uid).await.starts_with("before\n")).await;
    let (mut one, mut two) = (Seat::take(&bench, uid, true, false).await, Seat::take(&bench, uid, true, false).await);
    let mut watcher = Seat::take(&bench, uid, false, false).await;
    one.types("one\n").await;
    one.sees("got one\n").await;
    two.sees("got one\n").await;
    two.types("two\n").await;
    for seat in [&mut one, &mut two, &mut watcher] {
        seat.sees("got two\n").await;
    }
    assert!(!one.seen.contains("before"), "{:?}", one.seen);
    // Whoever leaves takes nothing along, and neither does an engine that stops.
    one.send(ExecInput::StdinEnd).await;
    drop(one);
    drop(watcher);
    two.types("still\n").await;
    two.sees("got still\n").await;
    drop(two);
    let bench = bench.reopen().await;
    let mut later = Seat::take(&bench, uid, true, false).await;
    later.types("later\n").await;
    later.sees("got later\n").await;
    assert_eq!(bench.report(uid).await.phase, Phase::Running);
    assert!(!bench.log(uid).await.contains("ended"));
    cancel(&bench, uid).await;
    let (seen, end) = later.end().await;
    assert_eq!((seen.as_str(), end), ("got later\n", OVER));

    let order = |uid, container: Option<&str>, tty| AttachOrder {
        uid,
        container: container.map(str::to_owned),
        stdin: false,
        tty,
    };
    assert!(matches!(bench.site.attach(&order(uid, None, false)).await, Err(SiteError::Refused(_))));
    assert!(matches!(bench.site.attach(&order(Uuid::now_v7(), None, false)).await, Err(SiteError::Unknown(_))));
    // What is typed to a container that reads nothing is read by nobody.
    let uid = start(&bench, "Never", "cat; while true; do echo tick; sleep 0.1; done", json!({})).await;
    assert!(matches!(bench.site.attach(&order(uid, Some("nobody"), false)).await, Err(SiteError::Refused(_))));
    assert!(matches!(bench.site.attach(&order(uid, None, true)).await, Err(SiteError::Refused(_))));
    let mut seat = Seat::take(&bench, uid, true, false).await;
    seat.types("unread\n").await;
    seat.sees("tick\ntick\n").await;
    assert!(!seat.seen.contains("unread"));
    cancel(&bench, uid).await;
    assert_eq!(seat.end().await.1, OVER);
}

#[tokio::test]
async fn an_input_for_once_ends_with_the_first_who_types() {
    let bench = crate::bench().await;
    let once = json!({"stdin": true, "stdinOnce": true});
    let uid = start(&bench, "Never", "cat; echo closed", once.clone()).await;
    let (mut one, two) = (Seat::take(&bench, uid, true, false).await, Seat::take(&bench, uid, true, false).await);
    one.types("x\n").await;
    one.sees("x\n").await;
    one.send(ExecInput::StdinEnd).await;
    for seat in [one, two] {
        let (seen, end) = seat.end().await;
        assert_eq!((seen.as_str(), end), ("x\nclosed\n", OVER));
    }
    assert_eq!(bench.finish(uid).await.phase, Phase::Succeeded);
    assert_eq!(bench.log(uid).await, "x\nclosed\n");

    // Much at once: nothing is lost on the way, although nobody looks at it for a while.
    let uid = start(&bench, "Never", "cat", once).await;
    let Seat { session: ExecSession { input, mut output }, .. } = Seat::take(&bench, uid, true, false).await;
    const PIECES: usize = 300;
    let typing = tokio::spawn(async move {
        for _ in 0..PIECES {
            input.send(ExecInput::Stdin(vec![b'x'; 10_000])).await.expect("sent");
        }
    });
    tokio::time::timeout(PATIENCE, async {
        let mut count = 0;
        loop {
            match output.recv().await.expect("an end") {
                ExecOutput::Stdout(bytes) => count += bytes.len(),
                end => return assert_eq!((count, end), (PIECES * 10_000, OVER)),
            }
        }
    })
    .await
    .expect("in time");
    typing.await.expect("typed");
    assert_eq!(bench.finish(uid).await.phase, Phase::Succeeded);
}

#[tokio::test]
async fn a_container_at_a_terminal() {
    let bench = crate::bench().await;
    let program = "test -t 0 -a -t 1 -a -t 2 || exit 4; until [ \"$(stty size)\" = '33 101' ]; do sleep 0.05; done; \
        echo sized $TERM; while read line; do echo got $line; done; exit 3";
    let uid = start(&bench, "Never", program, json!({"stdin": true, "stdinOnce": true, "tty": true})).await;
    let mut seat = Seat::take(&bench, uid, true, true).await;
    seat.send(ExecInput::Resize { columns: 101, rows: 33 }).await;
    seat.sees("sized xterm\r\n").await;
    seat.types("word\n").await;
    seat.sees("got word\r\n").await;
    // A terminal stays open, for once or not.
    seat.send(ExecInput::StdinEnd).await;
    drop(seat);
    let bench = bench.reopen().await;
    let mut seat = Seat::take(&bench, uid, true, true).await;
    seat.types("again\n").await;
    seat.sees("got again\r\n").await;
    // Control-D.
    seat.types("\u{4}").await;
    assert_eq!(seat.end().await.1, OVER);
    let report = bench.finish(uid).await;
    assert_eq!(state(&report, "main").state.exit_code(), Some(3), "{report:?}");
}

#[tokio::test]
async fn each_run_of_a_container_has_an_input_of_its_own() {
    let bench = crate::bench().await;
    let more = json!({"stdin": true, "stdinOnce": true});
    let uid = start(&bench, "OnFailure", "read line; echo got $line; exit 1", more).await;
    for (run, word) in [(0, "a"), (1, "b")] {
        until("its run", async || {
            let report = bench.report(uid).await;
            let main = state(&report, "main");
            main.restarts == run && matches!(main.state, ContainerState::Running { .. })
        })
        .await;
        let seat = Seat::take(&bench, uid, true, false).await;
        seat.types(&format!("{word}\n")).await;
        let (seen, end) = seat.end().await;
        assert_eq!((seen, end), (format!("got {word}\n"), OVER));
    }
    cancel(&bench, uid).await;
}
