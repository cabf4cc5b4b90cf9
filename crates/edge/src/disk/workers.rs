//! A few threads for short file work that needs no disk: as many as there are processors.
//!
//! The runtime's own pool for blocking work grows to hundreds of threads, right for work that waits for a disk. Storing a small
//! file in the page cache waits for nothing; there, more threads than processors only queue up at the folder's lock and are
//! switched to and fro.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::Fault;

type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    more: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    is_closed: bool,
}

impl Queue {
    fn next(&self) -> Option<Job> {
        let mut state = self.state.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            if state.is_closed {
                return None;
            }
            self.more.wait(&mut state);
        }
    }
}

/// The threads. Dropping waits for the work that was taken in.
pub struct Workers {
    queue: Arc<Queue>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    pub fn start() -> std::io::Result<Workers> {
        let queue = Arc::new(Queue::default());
        let count = std::thread::available_parallelism().map_or(2, usize::from).max(2);
        let threads = (0..count).map(|number| {
            let queue = queue.clone();
            std::thread::Builder::new().name(format!("edge-{number}")).spawn(move || {
                while let Some(job) = queue.next() {
                    // Whoever waits for it learns by the dropped channel.
                    if catch_unwind(AssertUnwindSafe(job)).is_err() {
                        tracing::error!("file work panicked");
                    }
                }
            })
        });
        Ok(Workers { threads: threads.collect::<Result<_, _>>()?, queue })
    }

    /// Runs `work` on one of the threads.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let (answer, outcome) = oneshot::channel();
        let job: Job = Box::new(move || {
            // Nobody listens when the client went away; the work is done all the same.
            let _ = answer.send(work());
        });
        self.queue.state.lock().jobs.push_back(job);
        self.queue.more.notify_one();
        outcome.await.unwrap_or(Err(Fault::CutShort))
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.queue.state.lock().is_closed = true;
        self.queue.more.notify_all();
        for thread in self.threads.drain(..) {
            // A job may hold the last handle on its area, and with it on us: nobody waits for himself.
            if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
                tracing::error!("a file worker ended in a panic");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_is_done_and_panics_are_told() {
        let workers = Workers::start().expect("starts");
        for n in 0..100 {
            assert_eq!(workers.run(move || Ok(n)).await, Ok(n));
        }
        let panicked = workers.run(|| -> Result<(), Fault> { panic!("on purpose") }).await;
        assert_eq!(panicked, Err(Fault::CutShort));
        assert_eq!(workers.run(|| Ok(1)).await, Ok(1));
    }
}
