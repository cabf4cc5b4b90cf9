//! The far end of a connection, `dte pod-place BASE`: does on its machine what an engine elsewhere orders over standard input
//! and output, and tells of pods that end there. It ends when the connection does; pods do not notice.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use dte_base::tasks::Tasks;
use tokio::io::{AsyncWrite, BufWriter};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Mutex, Semaphore};

use super::frame::{Frame, read_frame, write_frame};
use super::{LocalPlace, Place, PlaceError};

/// Orders that are carried out at once.
const ORDERS: usize = 32;
/// How often outcomes that the kernel does not tell of are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(5);

pub fn main(base: &Path) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let outcome = runtime.map_err(PlaceError::failed("the runtime")).and_then(|runtime| {
        let outcome = runtime.block_on(serve(base));
        // A read of standard input cannot be called back.
        runtime.shutdown_background();
        outcome
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pod-place: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(base: &Path) -> Result<(), PlaceError> {
    let tasks = Tasks::new();
    let runner = std::env::current_exe().map_err(PlaceError::failed("our own program"))?;
    let place = Arc::new(LocalPlace::beside(base, &runner, LOOK_EVERY, &tasks)?);
    let out = Arc::new(Mutex::new(BufWriter::new(tokio::io::stdout())));
    tell(&out, &Frame::Ready, &[]).await?;
    let (mut ended, told) = (place.ended(), out.clone());
    tasks.spawn("news of pods", async move {
        loop {
            match ended.recv().await {
                Ok(uid) if tell(&told, &Frame::Ended { uid }, &[]).await.is_ok() => {}
                // The engine looks at everything now and then.
                Err(RecvError::Lagged(_)) => {}
                _ => return,
            }
        }
    });
    let turns = Arc::new(Semaphore::new(ORDERS));
    let mut input = tokio::io::stdin();
    while let Some((frame, body)) =
        read_frame::<Frame>(&mut input).await.map_err(PlaceError::failed("reading orders"))?
    {
        let Frame::Ask { id, order } = frame else { continue };
        let turn = turns.clone().acquire_owned().await.map_err(|error| PlaceError::Failed(error.to_string()))?;
        let (place, out) = (place.clone(), out.clone());
        tasks.spawn("an order", async move {
            let (answer, body) = Frame::answer(id, place.ask(order, body).await);
            if let Err(error) = tell(&out, &answer, &body).await {
                eprintln!("pod-place: {error}");
            }
            drop(turn);
        });
    }
    tasks.stop_and_wait(PATIENCE).await;
    Ok(())
}

async fn tell(out: &Mutex<impl AsyncWrite + Unpin>, frame: &Frame, body: &[u8]) -> Result<(), PlaceError> {
    write_frame(&mut *out.lock().await, frame, body).await.map_err(PlaceError::failed("telling the engine"))
}
