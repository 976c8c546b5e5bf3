//! The writer thread: whatever queued up while it worked becomes the next group, one savepoint a
//! job, one commit a group. A caller is answered after the commit.

use super::{Conn, connection::Settings};
use crate::{
    metrics,
    store::error::{Error, Result},
};
use diesel::connection::AnsiTransactionManager;
use diesel_async::TransactionManager;
use futures_util::FutureExt;
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Instant,
};
use tokio::sync::{mpsc, oneshot};

/// Most jobs of one commit: bounds how long the first of a group waits for the last.
const GROUP: usize = 128;

/// Tells the caller how the commit of its group went.
type Finish = Box<dyn FnOnce(Result<(), &str>) + Send>;
/// Works inside its savepoint and leaves its answer for after the commit.
type Job = Box<dyn FnOnce(&mut Conn) -> Finish + Send>;

/// Sends jobs to the writer thread.
#[derive(Clone)]
pub(super) struct Writer {
    jobs: mpsc::Sender<Job>,
    alive: Arc<()>,
}

impl Writer {
    pub fn start(settings: Settings, queue: usize) -> Result<Self> {
        let conn = settings.open()?;
        let (jobs, receiver) = mpsc::channel(queue);
        std::thread::Builder::new()
            .name("chatd-writer".into())
            .spawn(move || write_loop(&settings, conn, receiver))
            .map_err(|e| Error::Unavailable(format!("the writer thread could not be started: {e}")))?;
        Ok(Self { jobs, alive: Arc::new(()) })
    }

    /// Lets helper threads end with the last handle.
    pub fn alive(&self) -> std::sync::Weak<()> {
        Arc::downgrade(&self.alive)
    }

    pub async fn run<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Conn) -> Result<R> + Send + 'static,
    ) -> Result<R> {
        let (answer, receiver) = oneshot::channel();
        let queued = Instant::now();
        let job: Job = Box::new(move |conn| {
            let result = in_savepoint(conn, work);
            Box::new(move |commit| {
                let result = match commit {
                    Ok(()) => result,
                    Err(e) => Err(Error::Unavailable(format!("the group could not be committed: {e}"))),
                };
                ::metrics::histogram!(metrics::COMMIT_SECONDS).record(queued.elapsed().as_secs_f64());
                // The caller may have gone; the work stands all the same.
                let _ = answer.send(result);
            })
        });
        self.jobs.try_send(job).map_err(|e| match e {
            mpsc::error::TrySendError::Full(_) => Error::Overloaded,
            mpsc::error::TrySendError::Closed(_) => Error::Unavailable("the writer thread has ended".into()),
        })?;
        receiver.await.map_err(|_| Error::Unavailable("a job of the same group panicked".into()))?
    }
}

/// Runs work in a transaction, or in a savepoint of the open one; an error undoes it.
pub(super) fn in_savepoint<R>(conn: &mut Conn, work: impl FnOnce(&mut Conn) -> Result<R>) -> Result<R> {
    ready(<Tm as TransactionManager<Conn>>::begin_transaction(conn))?;
    match work(conn) {
        Ok(r) => {
            ready(<Tm as TransactionManager<Conn>>::commit_transaction(conn))?;
            Ok(r)
        }
        Err(e) => {
            ready(<Tm as TransactionManager<Conn>>::rollback_transaction(conn))?;
            Err(e)
        }
    }
}

type Tm = <Conn as diesel_async::AsyncConnection>::TransactionManager;

fn ready<R>(f: impl Future<Output = diesel::QueryResult<R>>) -> Result<R> {
    Ok(f.now_or_never().ok_or_else(|| Error::Unavailable("the inline connection was not ready".into()))??)
}

fn write_loop(settings: &Settings, mut conn: Conn, mut jobs: mpsc::Receiver<Job>) {
    let mut done: Vec<Finish> = Vec::with_capacity(GROUP);
    while let Some(first) = jobs.blocking_recv() {
        // IMMEDIATE: the command line writes to the same file, and a later upgrade could fail.
        let mut failed = ready(
            conn.spawn_blocking(|c| AnsiTransactionManager::begin_transaction_sql(c, "BEGIN IMMEDIATE")),
        )
        .err()
        .map(|e| e.to_string());
        let mut next = Some(first);
        let mut poisoned = false;
        while failed.is_none()
            && let Some(job) = next.take()
        {
            match catch_unwind(AssertUnwindSafe(|| job(&mut conn))) {
                Ok(finish) => done.push(finish),
                Err(_) => {
                    // Its savepoint is open and its answer is gone: nothing of the group may stay.
                    failed = Some("a job of this group panicked".into());
                    poisoned = true;
                    break;
                }
            }
            if done.len() < GROUP {
                next = jobs.try_recv().ok();
            }
        }
        if failed.is_none() {
            failed = ready(<Tm as TransactionManager<Conn>>::commit_transaction(&mut conn))
                .err()
                .map(|e| e.to_string());
        }
        ::metrics::histogram!(metrics::COMMIT_GROUP_SIZE)
            .record(u32::try_from(done.len()).unwrap_or(u32::MAX));
        if let Some(job) = next {
            // Only left over when the group failed: it is told so by its dropped answer.
            drop(job);
        }
        if let Some(reason) = &failed {
            tracing::error!(reason, jobs = done.len(), "a group of writes was undone");
            if poisoned || ready(<Tm as TransactionManager<Conn>>::rollback_transaction(&mut conn)).is_err() {
                match settings.open() {
                    Ok(fresh) => conn = fresh,
                    Err(e) => tracing::error!(error = %e, "the database could not be opened again"),
                }
            }
        }
        for finish in done.drain(..) {
            finish(failed.as_deref().map_or(Ok(()), Err));
        }
    }
}
