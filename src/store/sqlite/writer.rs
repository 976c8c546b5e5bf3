//! The writer thread: whatever queued up while it worked becomes the next group, one savepoint a
//! job, one commit a group. A caller is answered after the commit.

use super::{Conn, connection::Settings, ready};
use crate::{
    metrics,
    store::error::{Error, Result},
};
use diesel::connection::AnsiTransactionManager;
use diesel_async::TransactionManager;
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Instant,
};
use tokio::sync::{mpsc, oneshot};

/// Most jobs of one commit: bounds how long the first of a group waits for the last.
const GROUP: usize = 128;

/// Why nothing of a group was written.
#[derive(Debug, Clone, Copy)]
enum Failure {
    /// Another process kept the file for longer than the busy timeout.
    Busy,
    /// The commit, or the connection, failed.
    Broken,
    /// A job of the group panicked.
    Panicked,
}

impl Failure {
    fn of(e: &Error) -> Self {
        if matches!(e, Error::Overloaded) { Self::Busy } else { Self::Broken }
    }

    fn error(self) -> Error {
        match self {
            Self::Busy => Error::Overloaded,
            Self::Broken => Error::Unavailable("a group of writes could not be committed".into()),
            Self::Panicked => Error::Unavailable("a write of the same group panicked".into()),
        }
    }
}

/// Tells the caller how the commit of its group went.
type Finish = Box<dyn FnOnce(Result<(), Failure>) + Send>;
/// Works inside its savepoint and leaves its answer for after the commit, and whether the connection
/// is still usable. Without a connection it only says what went wrong.
type Job = Box<dyn FnOnce(Result<&mut Conn, Failure>) -> (Finish, bool) + Send>;

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
        then: impl FnOnce(&R) + Send + 'static,
    ) -> Result<R> {
        let (answer, receiver) = oneshot::channel();
        let queued = Instant::now();
        let job: Job = Box::new(move |conn| {
            let (result, usable) = match conn {
                Ok(conn) => in_savepoint(conn, work),
                Err(failure) => (Err(failure.error()), true),
            };
            let finish: Finish = Box::new(move |commit| {
                let result = match commit {
                    Ok(()) => result.inspect(then),
                    Err(failure) => Err(failure.error()),
                };
                ::metrics::histogram!(metrics::COMMIT_SECONDS).record(queued.elapsed().as_secs_f64());
                // The caller may have gone; the work stands all the same.
                let _ = answer.send(result);
            });
            (finish, usable)
        });
        self.jobs.try_send(job).map_err(|e| match e {
            mpsc::error::TrySendError::Full(_) => Error::Overloaded,
            mpsc::error::TrySendError::Closed(_) => Error::Unavailable("the writer thread has ended".into()),
        })?;
        receiver.await.map_err(|_| Error::Unavailable("the write panicked".into()))?
    }
}

/// Runs work in a transaction, or in a savepoint of the open one; an error undoes it. Also answers
/// whether the connection is as it was before: SQLite ends the whole transaction by itself after
/// some errors (disk full), and what followed would be committed alone.
pub(super) fn in_savepoint<R>(
    conn: &mut Conn,
    work: impl FnOnce(&mut Conn) -> Result<R>,
) -> (Result<R>, bool) {
    if let Err(e) = ready(<Tm as TransactionManager<Conn>>::begin_transaction(conn)) {
        return (Err(e), false);
    }
    match work(conn) {
        Ok(r) => match ready(<Tm as TransactionManager<Conn>>::commit_transaction(conn)) {
            Ok(()) => (Ok(r), true),
            Err(e) => (Err(e), false),
        },
        Err(e) => {
            let undone = ready(<Tm as TransactionManager<Conn>>::rollback_transaction(conn));
            (Err(e), undone.is_ok())
        }
    }
}

type Tm = <Conn as diesel_async::AsyncConnection>::TransactionManager;

fn write_loop(settings: &Settings, mut conn: Conn, mut jobs: mpsc::Receiver<Job>) {
    let mut done: Vec<Finish> = Vec::with_capacity(GROUP);
    while let Some(first) = jobs.blocking_recv() {
        let outcome = match begin(&mut conn) {
            Ok(()) => run_group(&mut conn, first, &mut jobs, &mut done),
            Err(e) => {
                tracing::error!(error = %e, "no group of writes could be begun");
                let failure = Failure::of(&e);
                done.push(first(Err(failure)).0);
                Err(failure)
            }
        };
        ::metrics::histogram!(metrics::COMMIT_GROUP_SIZE)
            .record(u32::try_from(done.len()).unwrap_or(u32::MAX));
        if let Err(failure) = outcome {
            tracing::error!(?failure, jobs = done.len(), "a group of writes was undone");
            if !matches!(failure, Failure::Busy) {
                // Its transaction may still be open: closing it undoes what there is.
                match settings.open() {
                    Ok(fresh) => conn = fresh,
                    Err(e) => tracing::error!(error = %e, "the database could not be opened again"),
                }
            }
        }
        for finish in done.drain(..) {
            // What follows a commit is not the writer's own: it must not end the thread.
            if catch_unwind(AssertUnwindSafe(|| finish(outcome))).is_err() {
                tracing::error!("what follows a committed write panicked");
            }
        }
    }
}

/// IMMEDIATE: the command line writes to the same file, and a later upgrade of the lock could fail.
fn begin(conn: &mut Conn) -> Result<()> {
    ready(conn.spawn_blocking(|c| AnsiTransactionManager::begin_transaction_sql(c, "BEGIN IMMEDIATE")))
}

fn run_group(
    conn: &mut Conn,
    first: Job,
    jobs: &mut mpsc::Receiver<Job>,
    done: &mut Vec<Finish>,
) -> Result<(), Failure> {
    let mut next = Some(first);
    while let Some(job) = next.take() {
        match catch_unwind(AssertUnwindSafe(|| job(Ok(conn)))) {
            Ok((finish, usable)) => {
                done.push(finish);
                if !usable {
                    return Err(Failure::Broken);
                }
            }
            // Its savepoint is open and its answer is gone: nothing of the group may stay.
            Err(_) => return Err(Failure::Panicked),
        }
        if done.len() < GROUP {
            next = jobs.try_recv().ok();
        }
    }
    ready(<Tm as TransactionManager<Conn>>::commit_transaction(conn)).map_err(|e| {
        tracing::error!(error = %e, "commit failed");
        Failure::Broken
    })
}
