//! Messages between an engine and the agent of a far place: two lengths, a JSON head, and bytes.

use std::io;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use uuid::Uuid;

use super::PlaceError;
use super::wire::{Order, Reply};

/// The longest head that one side takes from the other: reports of tens of thousands of pods.
const MAX_HEAD: u32 = 64 << 20;
const MAX_BODY: u32 = 64 << 20;

/// One message.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Frame {
    /// The agent's first word.
    Ready,
    Ask {
        id: u64,
        order: Order,
    },
    Answer {
        id: u64,
        reply: Result<Reply, String>,
    },
    /// The outcome of a pod under watch has been written.
    Ended {
        uid: Uuid,
    },
}

impl Frame {
    pub fn answer(id: u64, outcome: Result<(Reply, Vec<u8>), PlaceError>) -> (Frame, Vec<u8>) {
        match outcome {
            Ok((reply, body)) => (Frame::Answer { id, reply: Ok(reply) }, body),
            Err(error) => (Frame::Answer { id, reply: Err(error.to_string()) }, Vec::new()),
        }
    }
}

pub async fn write_frame(out: &mut (impl AsyncWrite + Unpin), head: &impl Serialize, body: &[u8]) -> io::Result<()> {
    let head = serde_json::to_vec(head)?;
    let length = |bytes: usize, limit: u32| match u32::try_from(bytes) {
        Ok(length) if length <= limit => Ok(length),
        _ => Err(io::Error::other("a message is too long")),
    };
    out.write_u32_le(length(head.len(), MAX_HEAD)?).await?;
    out.write_u32_le(length(body.len(), MAX_BODY)?).await?;
    out.write_all(&head).await?;
    out.write_all(body).await?;
    out.flush().await
}

/// The next message; `None` when the other side has closed between two.
pub async fn read_frame<T: DeserializeOwned>(input: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<(T, Vec<u8>)>> {
    let head_length = match input.read_u32_le().await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        length => length?,
    };
    let body_length = input.read_u32_le().await?;
    if head_length > MAX_HEAD || body_length > MAX_BODY {
        return Err(io::Error::other("not a message of a place's agent (does the login shell print something?)"));
    }
    let mut head = vec![0; head_length as usize];
    input.read_exact(&mut head).await?;
    let mut body = vec![0; body_length as usize];
    input.read_exact(&mut body).await?;
    Ok(Some((serde_json::from_slice(&head)?, body)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_come_through_whole_and_rubbish_does_not() {
        let mut bytes = Vec::new();
        write_frame(&mut bytes, &Frame::Ended { uid: Uuid::nil() }, b"body").await.expect("written");
        let mut reader = &bytes[..];
        let (frame, body): (Frame, _) = read_frame(&mut reader).await.expect("read").expect("a frame");
        assert!(matches!(frame, Frame::Ended { uid } if uid.is_nil()));
        assert_eq!(body, b"body");
        assert!(read_frame::<Frame>(&mut reader).await.expect("the end").is_none());
        assert!(read_frame::<Frame>(&mut &b"Welcome to the cluster!"[..]).await.is_err());
        assert!(read_frame::<Frame>(&mut &bytes[..bytes.len() - 1]).await.is_err());
    }
}
