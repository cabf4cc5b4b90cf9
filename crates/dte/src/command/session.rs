//! A session in a pod: the channels of Kubernetes (`v5.channel.k8s.io`) over a WebSocket, as the engine speaks them.

use std::io::Read;
use std::time::Duration;

use dte_http::WebSocket;
use futures_util::stream::SplitSink;
use futures_util::{SinkExt, StreamExt};
use http::header::HeaderValue;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;
use url::Url;

use crate::failure::Failure;
use crate::remote::Remote;
use crate::show;
use crate::terminal::Terminal;

const PROTOCOL: &str = "v5.channel.k8s.io";
const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const END: u8 = 3;
const RESIZE: u8 = 4;
const CLOSE: u8 = 255;
/// Bytes of the standard input that are sent at once.
const PIECE: usize = 32 << 10;
/// How long to hear for the end when nothing more can be sent.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Agrees on a WebSocket.
pub async fn open(remote: &Remote, url: &Url) -> Result<WebSocket, Failure> {
    let mut shown = HeaderValue::from_str(&format!("Bearer {}", remote.token.expose()))?;
    shown.set_sensitive(true);
    Ok(remote.client.web_socket(url.as_str(), Some(shown), PROTOCOL).await?)
}

/// The standard input in pieces, none at its end. It is read by a thread of its own, because nobody can call back who waits for a
/// line that is never typed: the thread ends with the program.
fn input() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(1);
    std::thread::spawn(move || {
        let mut input = std::io::stdin().lock();
        let mut piece = vec![0; PIECE];
        while let Ok(count @ 1..) = input.read(&mut piece) {
            if sender.blocking_send(piece[..count].to_vec()).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Copies input and output until the program ends; its exit code. Both directions go on beside each other.
pub async fn talk(socket: WebSocket, has_input: bool, terminal: Option<&Terminal>) -> Result<u8, Failure> {
    let mut ends = terminal.map(Terminal::ends).transpose()?;
    let (to, mut from) = socket.split();
    let heard = async {
        while let Some(message) = from.next().await {
            match message? {
                Message::Binary(bytes) => {
                    if let Some(code) = hear(&bytes).await? {
                        return Ok(code);
                    }
                }
                Message::Close(_) => break,
                _ => {}
            }
        }
        Err(Failure::new("the engine ended the connection"))
    };
    let ended = async {
        match &mut ends {
            Some(ends) => ends.next().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        outcome = both(heard, say(to, has_input.then(input), terminal)) => outcome,
        failure = ended => Err(failure),
    }
}

/// What is heard decides how a session ends. Where nothing more can be sent, the end may be under way already: a program need not
/// read all that it is sent.
async fn both<T>(
    heard: impl Future<Output = Result<T, Failure>>,
    said: impl Future<Output = Failure>,
) -> Result<T, Failure> {
    tokio::pin!(heard);
    let failure = tokio::select! {
        outcome = &mut heard => return outcome,
        failure = said => failure,
    };
    match tokio::time::timeout(LAST_WORDS, heard).await {
        Ok(Ok(outcome)) => Ok(outcome),
        Ok(Err(_)) | Err(_) => Err(failure),
    }
}

/// Sends what is typed, and the terminal's size as it changes. Resolves only if that cannot go on.
async fn say(
    mut to: SplitSink<WebSocket, Message>,
    mut input: Option<mpsc::Receiver<Vec<u8>>>,
    terminal: Option<&Terminal>,
) -> Failure {
    let mut sizes = match terminal.map(Terminal::sizes).transpose() {
        Ok(sizes) => sizes,
        Err(failure) => return failure,
    };
    loop {
        let piece = async {
            match &mut input {
                Some(input) => input.recv().await,
                None => std::future::pending().await,
            }
        };
        let resized = async {
            match &mut sizes {
                Some(sizes) => sizes.next().await,
                None => std::future::pending().await,
            }
        };
        let message = tokio::select! {
            piece = piece => match piece {
                Some(piece) => [&[STDIN], &piece[..]].concat(),
                None => {
                    input = None;
                    vec![CLOSE, STDIN]
                }
            },
            size = resized => match size {
                Ok((columns, rows)) => {
                    [&[RESIZE], json!({ "Width": columns, "Height": rows }).to_string().as_bytes()].concat()
                }
                Err(failure) => return failure,
            }
        };
        if let Err(error) = to.send(Message::Binary(message.into())).await {
            return error.into();
        }
    }
}

/// Carries a connection both ways, each direction to its own end.
pub async fn carry(socket: WebSocket, stream: TcpStream) -> Result<(), Failure> {
    let (mut to, mut from) = socket.split();
    let (mut reading, mut writing) = stream.into_split();
    let sent = async {
        let mut piece = vec![0; PIECE];
        loop {
            let length = match reading.read(&mut piece).await {
                Ok(length) => length,
                Err(error) => return error.into(),
            };
            let message = if length == 0 { vec![CLOSE, STDIN] } else { [&[STDIN], &piece[..length]].concat() };
            if let Err(error) = to.send(Message::Binary(message.into())).await {
                return error.into();
            }
            if length == 0 {
                // What comes back decides when all is over.
                return std::future::pending::<Failure>().await;
            }
        }
    };
    let heard = async {
        while let Some(message) = from.next().await {
            let Message::Binary(bytes) = message? else { continue };
            match bytes.split_first() {
                Some((&STDOUT, rest)) => writing.write_all(rest).await?,
                Some((&CLOSE, [STDOUT])) => writing.shutdown().await?,
                Some((&END, rest)) if !rest.is_empty() => return ended(&serde_json::from_slice(rest)?).map(drop),
                _ => {}
            }
        }
        Err(Failure::new("the engine ended the connection"))
    };
    both(heard, sent).await
}

/// Shows what a message says; the exit code when it is the last.
async fn hear(bytes: &[u8]) -> Result<Option<u8>, Failure> {
    let Some((channel, rest)) = bytes.split_first() else { return Ok(None) };
    match *channel {
        STDOUT => {
            let mut out = tokio::io::stdout();
            out.write_all(rest).await?;
            out.flush().await?;
        }
        STDERR => {
            let mut errors = tokio::io::stderr();
            errors.write_all(rest).await?;
            errors.flush().await?;
        }
        END if !rest.is_empty() => return ended(&serde_json::from_slice(rest)?).map(Some),
        _ => {}
    }
    Ok(None)
}

/// What a `v1.Status` says of the program.
fn ended(status: &Value) -> Result<u8, Failure> {
    if status["status"] == "Success" {
        return Ok(0);
    }
    let causes = status["details"]["causes"].as_array().map_or(&[][..], Vec::as_slice);
    let code = causes.iter().find(|cause| cause["reason"] == "ExitCode").and_then(|cause| cause["message"].as_str());
    match code.and_then(|code| code.parse::<i64>().ok()) {
        Some(code) => Ok(u8::try_from(code).unwrap_or(1)),
        None => Err(Failure::new(show::cell(&status["message"]))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn how_a_program_ended() {
        assert_eq!(ended(&json!({"status": "Success"})).ok(), Some(0));
        let failed = json!({"status": "Failure", "reason": "NonZeroExitCode",
            "details": {"causes": [{"reason": "ExitCode", "message": "7"}]}});
        assert_eq!(ended(&failed).ok(), Some(7));
        assert!(ended(&json!({"status": "Failure", "message": "no such program"})).is_err());
        assert_eq!(hear(&[]).await.ok(), Some(None));
        assert_eq!(hear(&[END]).await.ok(), Some(None), "the first message is empty");
    }
}
