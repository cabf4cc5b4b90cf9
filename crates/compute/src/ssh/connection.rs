//! One connection: a client process with an agent at its far end.

use std::collections::HashMap;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dte_base::tasks::Tasks;
use tokio::io::{AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{broadcast, oneshot};
use uuid::Uuid;

use crate::place::{Frame, Order, PlaceError, Reply, read_frame, write_frame};

/// How long an order may take; commands have a shorter limit at the far end.
const ANSWER_LIMIT: Duration = Duration::from_secs(180);
/// Bytes kept of what the client complains of.
const COMPLAINT: u64 = 4_096;
const LAST_WORDS: Duration = Duration::from_secs(2);

type Answer = Result<(Reply, Vec<u8>), PlaceError>;
type Waiting = HashMap<u64, oneshot::Sender<Answer>>;

/// Why there is no connection.
pub enum NoConnection {
    /// The far side does not have the runner.
    NoRunner,
    Failed(String),
}

pub struct Connection {
    input: tokio::sync::Mutex<ChildStdin>,
    waiting: Mutex<Waiting>,
    next: AtomicU64,
    broken: AtomicBool,
}

impl Connection {
    /// Starts the client and waits for the agent's first word.
    pub async fn open(
        mut command: Command,
        no_runner: i32,
        limit: Duration,
        tasks: &Tasks,
        ended: broadcast::Sender<Uuid>,
    ) -> Result<Arc<Connection>, NoConnection> {
        let failed = |what: &str| NoConnection::Failed(what.to_owned());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| NoConnection::Failed(format!("the SSH client: {error}")))?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(failed("the SSH client has no standard input and output"));
        };
        let mut output = BufReader::new(output);
        let why = match tokio::time::timeout(limit, read_frame::<Frame>(&mut output)).await {
            Ok(Ok(Some((Frame::Ready, _)))) => {
                let connection = Arc::new(Connection {
                    input: tokio::sync::Mutex::new(input),
                    waiting: Mutex::default(),
                    next: AtomicU64::new(1),
                    broken: AtomicBool::new(false),
                });
                let (listening, stop) = (connection.clone(), tasks.clone());
                tasks.spawn("an SSH connection", async move {
                    tokio::select! {
                        () = listening.listen(output, &ended) => {}
                        () = stop.stopping() => {}
                    }
                    listening.break_off();
                    // Its process ends with it.
                    drop(child);
                });
                return Ok(connection);
            }
            Ok(Ok(Some(_))) => "the far side does not begin as an agent does".to_owned(),
            Ok(Ok(None)) => String::new(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} s", limit.as_secs()),
        };
        drop(input);
        let (code, complaint) = last_words(child).await;
        if code == Some(no_runner) {
            return Err(NoConnection::NoRunner);
        }
        let parts: Vec<String> = [why, complaint].into_iter().filter(|part| !part.is_empty()).collect();
        Err(NoConnection::Failed(if parts.is_empty() {
            format!("the SSH client ended with {code:?}")
        } else {
            parts.join(": ")
        }))
    }

    pub fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }

    pub async fn ask(&self, order: Order, body: &[u8]) -> Answer {
        let broke = || PlaceError::Unreachable("the SSH connection broke off".into());
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (told, answer) = oneshot::channel();
        self.waiting().insert(id, told);
        if self.is_broken() {
            self.waiting().remove(&id);
            return Err(broke());
        }
        let sent = {
            let mut input = self.input.lock().await;
            write_frame(&mut *input, &Frame::Ask { id, order }, body).await
        };
        if sent.is_err() {
            self.break_off();
            return Err(broke());
        }
        match tokio::time::timeout(ANSWER_LIMIT, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(broke()),
            Err(_) => {
                self.waiting().remove(&id);
                Err(PlaceError::Unreachable(format!("no answer within {} s", ANSWER_LIMIT.as_secs())))
            }
        }
    }

    async fn listen(&self, mut output: BufReader<ChildStdout>, ended: &broadcast::Sender<Uuid>) {
        loop {
            match read_frame::<Frame>(&mut output).await {
                Ok(Some((Frame::Answer { id, reply }, body))) => {
                    if let Some(told) = self.waiting().remove(&id) {
                        // Whoever asked may have given up.
                        drop(told.send(reply.map(|reply| (reply, body)).map_err(PlaceError::Failed)));
                    }
                }
                Ok(Some((Frame::Ended { uid }, _))) => drop(ended.send(uid)),
                Ok(Some(_)) => {}
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!(%error, "an SSH connection broke off");
                    return;
                }
            }
        }
    }

    /// From here on nothing is asked of it, and whoever waits for an answer is told that none comes.
    fn break_off(&self) {
        self.broken.store(true, Ordering::Release);
        self.waiting().clear();
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a client that did not connect ended, and what it said.
pub async fn last_words(mut child: Child) -> (Option<i32>, String) {
    let mut text = Vec::new();
    let reading = async {
        if let Some(errors) = child.stderr.take() {
            // What cannot be read is not said.
            let _ = errors.take(COMPLAINT).read_to_end(&mut text).await;
        }
        child.wait().await
    };
    let status = tokio::time::timeout(LAST_WORDS, reading).await;
    let code = status.ok().and_then(Result::ok).and_then(|status| status.code());
    (code, String::from_utf8_lossy(&text).trim().replace(['\n', '\r'], "; "))
}
