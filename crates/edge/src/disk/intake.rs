//! Taking in content that is too large for the memory: one portion is written while the next arrives.

use std::fmt::Display;

use bytes::Bytes;
use dte_protocol_webdav::path::ResourcePath;
use futures_util::{Stream, StreamExt as _};
use tokio::sync::mpsc;

use super::area::SharedArea;
use super::part::{Part, Published, Terms};
use super::{Fault, on_disk};

/// The disk gets portions of at least this size.
const PORTION: usize = 512 * 1024;
/// Portions that wait while one is written.
const AHEAD: usize = 2;

/// What the receiver of portions is told.
enum Step {
    Portion(Vec<Bytes>),
    Complete,
}

/// Why content was not taken in.
#[derive(Debug)]
pub enum Untaken<E> {
    /// It broke off.
    Content(E),
    Disk(Fault),
    /// The thread that wrote is gone.
    Lost(String),
}

/// Writes `first` and all of `content`, checks the terms and gives the file its name. When this is dropped, or the content breaks
/// off, what was written goes away.
pub async fn take_in<E: Display>(
    area: SharedArea,
    path: ResourcePath,
    terms: Terms,
    first: Vec<Bytes>,
    mut content: impl Stream<Item = Result<Bytes, E>> + Unpin,
) -> Result<Published, Untaken<E>> {
    let (send, mut receive) = mpsc::channel::<Step>(AHEAD);
    let writer = tokio::spawn(on_disk(move || {
        let mut part = Part::create(area, &terms.digests)?;
        loop {
            match receive.blocking_recv() {
                Some(Step::Portion(pieces)) => part.append(&pieces)?,
                Some(Step::Complete) => return part.publish(&path, &terms),
                // Whoever sent went away: the part is dropped, and with it what was written.
                None => return Err(Fault::CutShort),
            }
        }
    }));
    let mut portion = first;
    let mut size = usize::MAX;
    loop {
        if size >= PORTION {
            if send.send(Step::Portion(std::mem::take(&mut portion))).await.is_err() {
                break;
            }
            size = 0;
        }
        match content.next().await {
            Some(Ok(piece)) => {
                size += piece.len();
                portion.push(piece);
            }
            Some(Err(error)) => return Err(Untaken::Content(error)),
            None => {
                // When the writer has given up, its own words say why.
                let _ = send.send(Step::Portion(portion)).await;
                let _ = send.send(Step::Complete).await;
                break;
            }
        }
    }
    match writer.await {
        Ok(outcome) => outcome.map_err(Untaken::Disk),
        Err(error) => Err(Untaken::Lost(error.to_string())),
    }
}
