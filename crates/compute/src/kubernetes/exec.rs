//! Running a program in a container of the cluster.

use futures_util::{Sink, SinkExt};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::api::{AttachParams, TerminalSize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use super::object::name_of;
use super::site::Inner;
use crate::exec::{ExecInput, ExecOrder, ExecOutput, ExecSession};
use crate::report::ContainerState;
use crate::site::SiteError;

/// Messages that may wait on the way.
const UNREAD: usize = 64;
const PIECE: usize = 32 << 10;

/// Starts it.
pub(super) async fn begin(inner: &Inner, order: &ExecOrder) -> Result<ExecSession, SiteError> {
    let refuse = |why: String| Err(SiteError::Refused(why));
    let latest = match inner.pods().get(&order.uid) {
        Some(entry) => entry.latest.clone(),
        None => return Err(SiteError::Unknown(order.uid)),
    };
    let all = latest.iter().flat_map(|report| report.containers.iter().chain(&report.init_containers));
    let found = all.into_iter().find(|one| order.container.as_ref().is_none_or(|name| *name == one.name));
    let Some(found) = found.filter(|one| matches!(one.state, ContainerState::Running { .. })) else {
        return refuse(format!("pod {} has no such container that runs", order.uid));
    };
    let params = AttachParams {
        container: Some(found.name.clone()),
        stdin: order.stdin,
        stdout: true,
        stderr: !order.tty,
        tty: order.tty,
        max_stdin_buf_size: Some(PIECE),
        max_stdout_buf_size: Some(PIECE),
        max_stderr_buf_size: Some(PIECE),
    };
    let mut process = match inner.api().exec(&name_of(order.uid), order.argv.clone(), &params).await {
        Ok(process) => process,
        Err(error) => return Err(inner.away(&error)),
    };
    let (input, orders) = mpsc::channel(UNREAD);
    let (said, output) = mpsc::channel(UNREAD);
    let (stdin, sizes) = (process.stdin(), process.terminal_size());
    let (stdout, stderr) = (process.stdout(), process.stderr());
    let status = process.take_status();
    inner.tasks.spawn("a program in a pod", async move {
        let listening = said.clone();
        let out = pump(stdout, &said, ExecOutput::Stdout);
        let err = pump(stderr, &said, ExecOutput::Stderr);
        let told = async {
            feed(stdin, sizes, orders).await;
            // Standard input is closed; what the program says goes on.
            std::future::pending::<()>().await;
        };
        tokio::select! {
            _ = async { tokio::join!(out, err) } => {
                let ended = match status {
                    Some(status) => ended(status.await),
                    None => ended(None),
                };
                // Who asked may have gone.
                drop(said.send(ended).await);
            }
            () = told => {}
            () = listening.closed() => process.abort(),
        }
    });
    Ok(ExecSession { input, output })
}

async fn pump(from: Option<impl AsyncRead + Unpin>, to: &mpsc::Sender<ExecOutput>, which: fn(Vec<u8>) -> ExecOutput) {
    let Some(mut from) = from else { return };
    let mut piece = vec![0; PIECE];
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        if to.send(which(piece[..length].to_vec())).await.is_err() {
            return;
        }
    }
}

async fn feed(
    stdin: Option<impl AsyncWrite + Unpin>,
    sizes: Option<impl Sink<TerminalSize> + Unpin>,
    mut orders: mpsc::Receiver<ExecInput>,
) {
    let (mut stdin, mut sizes) = (stdin, sizes);
    while let Some(order) = orders.recv().await {
        match order {
            ExecInput::Stdin(bytes) => {
                if let Some(open) = &mut stdin
                    && open.write_all(&bytes).await.is_err()
                {
                    stdin = None;
                }
            }
            ExecInput::StdinEnd => close(&mut stdin).await,
            ExecInput::Resize { columns, rows } => {
                if let Some(open) = &mut sizes
                    && open.send(TerminalSize { width: columns, height: rows }).await.is_err()
                {
                    sizes = None;
                }
            }
        }
    }
    close(&mut stdin).await;
}

async fn close(stdin: &mut Option<impl AsyncWrite + Unpin>) {
    if let Some(mut open) = stdin.take() {
        // The program may have ended.
        drop(open.shutdown().await);
    }
}

/// What the cluster says of the end: `Success`, or a failure with the exit code among its causes.
fn ended(status: Option<Status>) -> ExecOutput {
    let Some(status) = status else {
        return ExecOutput::Failed { message: "the cluster does not say how the program ended".into() };
    };
    if status.status.as_deref() == Some("Success") {
        return ExecOutput::Exit { exit_code: 0 };
    }
    let causes = status.details.as_ref().and_then(|details| details.causes.as_ref());
    let code = causes.into_iter().flatten().find(|cause| cause.reason.as_deref() == Some("ExitCode"));
    match code.and_then(|cause| cause.message.as_ref()?.parse().ok()) {
        Some(exit_code) => ExecOutput::Exit { exit_code },
        None => ExecOutput::Failed { message: status.message.unwrap_or_else(|| "the program is lost".into()) },
    }
}
