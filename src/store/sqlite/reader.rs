//! Reader threads. In WAL mode they never wait for the writer.

use super::{Conn, connection::Settings};
use crate::store::error::{Error, Result};
use diesel_async::{AsyncConnection, TransactionManager};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::{AtomicUsize, Ordering},
};
use tokio::sync::{mpsc, oneshot};

/// Reads that may wait for one reader.
const QUEUE: usize = 4096;

type Job = Box<dyn FnOnce(&mut Conn) + Send>;

pub(super) struct Readers {
    queues: Vec<mpsc::Sender<Job>>,
    next: AtomicUsize,
}

impl Readers {
    pub fn start(settings: &Settings, count: usize) -> Result<Self> {
        let mut queues = Vec::with_capacity(count);
        for i in 0..count {
            let (sender, receiver) = mpsc::channel(QUEUE);
            let conn = settings.open_reader()?;
            let settings = settings.clone();
            std::thread::Builder::new()
                .name(format!("chatd-reader-{i}"))
                .spawn(move || read_loop(&settings, conn, receiver))
                .map_err(|e| Error::Unavailable(format!("a reader thread could not be started: {e}")))?;
            queues.push(sender);
        }
        Ok(Self { queues, next: AtomicUsize::new(0) })
    }

    pub async fn run<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Conn) -> Result<R> + Send + 'static,
    ) -> Result<R> {
        let (answer, receiver) = oneshot::channel();
        let job: Job = Box::new(move |conn| {
            // The caller may have gone.
            let _ = answer.send(work(conn));
        });
        // The emptier queue of two neighbours: one long read does not hold up the short ones.
        let i = self.next.fetch_add(1, Ordering::Relaxed);
        let (a, b) = (&self.queues[i % self.queues.len()], &self.queues[(i + 1) % self.queues.len()]);
        let queue = if a.capacity() >= b.capacity() { a } else { b };
        queue.try_send(job).map_err(|e| match e {
            mpsc::error::TrySendError::Full(_) => Error::Overloaded,
            mpsc::error::TrySendError::Closed(_) => Error::Unavailable("a reader thread has ended".into()),
        })?;
        receiver.await.map_err(|_| Error::Unavailable("the read panicked".into()))?
    }
}

type Tm = <Conn as AsyncConnection>::TransactionManager;

fn read_loop(settings: &Settings, mut conn: Conn, mut jobs: mpsc::Receiver<Job>) {
    while let Some(job) = jobs.blocking_recv() {
        let panicked = catch_unwind(AssertUnwindSafe(|| job(&mut conn))).is_err();
        // SQLite ends a transaction by itself after some errors (of the disk, of memory), and what was to
        // end it has failed then: nothing could be begun on this connection any more.
        if panicked || <Tm as TransactionManager<Conn>>::is_broken_transaction_manager(&mut conn) {
            match settings.open_reader() {
                Ok(fresh) => conn = fresh,
                Err(e) => tracing::error!(error = %e, "the database could not be opened again"),
            }
        }
    }
}
