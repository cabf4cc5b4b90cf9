//! Small writes that come at the same time, in one transaction.
//!
//! Whoever comes first writes for all who came until then; who comes meanwhile waits for the next turn. So a mover that is busy
//! makes few large transactions, and one that is idle waits for nobody. When a transaction of several fails, each is tried on
//! its own, so that nobody suffers for another's error.

use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};

use dte_store::Error;
use tokio::sync::oneshot;

/// Pieces of one transaction at most.
const MOST: usize = 200;

struct Waiting<I, O> {
    piece: I,
    reply: oneshot::Sender<Result<O, Error>>,
}

/// Pieces that wait to be written.
pub struct Together<I, O> {
    waiting: Mutex<Vec<Waiting<I, O>>>,
    turn: tokio::sync::Mutex<()>,
}

impl<I, O> Default for Together<I, O> {
    fn default() -> Self {
        Together { waiting: Mutex::default(), turn: tokio::sync::Mutex::default() }
    }
}

impl<I: Clone, O> Together<I, O> {
    /// Writes `piece`, with others or alone. `write` answers for each piece that it is given, in their order.
    pub async fn write<W, F>(&self, piece: I, write: W) -> Result<O, Error>
    where
        W: Fn(Vec<I>) -> F,
        F: Future<Output = Result<Vec<O>, Error>>,
    {
        let (reply, mut answer) = oneshot::channel();
        self.pieces().push(Waiting { piece, reply });
        loop {
            let turn = tokio::select! {
                biased;
                // Its writer may have been cut off in the middle: then nobody knows, and the work is taken up again.
                answered = &mut answer => return answered.unwrap_or(Err(Error::Closed)),
                turn = self.turn.lock() => turn,
            };
            let some = {
                let mut pieces = self.pieces();
                let count = pieces.len().min(MOST);
                pieces.drain(..count).collect::<Vec<_>>()
            };
            self.write_all(some, &write).await;
            drop(turn);
        }
    }

    async fn write_all<W, F>(&self, some: Vec<Waiting<I, O>>, write: &W)
    where
        W: Fn(Vec<I>) -> F,
        F: Future<Output = Result<Vec<O>, Error>>,
    {
        if some.is_empty() {
            return;
        }
        match write(some.iter().map(|waiting| waiting.piece.clone()).collect()).await {
            Ok(answers) => {
                for (waiting, answer) in some.into_iter().zip(answers) {
                    // Who does not wait any more was cut off.
                    drop(waiting.reply.send(Ok(answer)));
                }
            }
            Err(_) if some.len() > 1 => {
                for waiting in some {
                    let alone = write(vec![waiting.piece]).await;
                    drop(
                        waiting.reply.send(alone.and_then(|answers| answers.into_iter().next().ok_or(Error::NotFound))),
                    );
                }
            }
            Err(error) => {
                if let Some(waiting) = some.into_iter().next() {
                    drop(waiting.reply.send(Err(error)));
                }
            }
        }
    }

    fn pieces(&self) -> MutexGuard<'_, Vec<Waiting<I, O>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[tokio::test]
    async fn pieces_share_transactions_and_no_errors() {
        let together: Arc<Together<u32, u32>> = Arc::default();
        let written: Arc<Mutex<Vec<Vec<u32>>>> = Arc::default();
        let tries = (0..500).map(|n| {
            let (together, written) = (Arc::clone(&together), Arc::clone(&written));
            async move {
                let write = |pieces: Vec<u32>| {
                    let written = Arc::clone(&written);
                    async move {
                        tokio::task::yield_now().await;
                        if pieces.contains(&13) {
                            return Err(Error::NotFound);
                        }
                        written.lock().expect("not poisoned").push(pieces.clone());
                        Ok(pieces.into_iter().map(|piece| piece * 2).collect())
                    }
                };
                together.write(n, write).await
            }
        });
        let answers = futures_util::future::join_all(tries).await;
        for (n, answer) in (0..).zip(&answers) {
            assert_eq!(answer.as_ref().ok().copied(), (n != 13).then_some(n * 2), "{n}");
        }
        let written = written.lock().expect("not poisoned");
        let mut all: Vec<u32> = written.concat();
        all.sort_unstable();
        assert_eq!(all, (0..500).filter(|n| *n != 13).collect::<Vec<_>>());
        assert!(written.iter().any(|pieces| pieces.len() > 1) && written.iter().all(|pieces| pieces.len() <= MOST));
    }
}
