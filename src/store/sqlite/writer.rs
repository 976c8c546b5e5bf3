//! The writer thread: whatever queued up while it worked becomes the next group, one commit a group, and one
//! savepoint for each job but the first, which has nothing before it that it could undo. A caller is answered
//! after the commit.

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
    /// The disk has no room for the commit.
    Full,
    /// The commit, or the connection, failed.
    Broken,
    /// A job of the group panicked.
    Panicked,
}

impl Failure {
    fn of(e: &Error) -> Self {
        match e {
            Error::Overloaded => Self::Busy,
            e if e.to_string().contains("disk is full") => Self::Full,
            _ => Self::Broken,
        }
    }

    fn error(self) -> Error {
        match self {
            Self::Busy => Error::Overloaded,
            Self::Full => Error::Unavailable("the disk is full".into()),
            Self::Broken => Error::Unavailable("a group of writes could not be committed".into()),
            Self::Panicked => Error::Unavailable("a write of the same group panicked".into()),
        }
    }
}

/// Tells the caller how the commit of its group went.
type Finish = Box<dyn FnOnce(Result<(), Failure>) + Send>;
/// Works inside its scope and leaves its answer for after the commit, and what became of the transaction.
/// Without a connection it only says what went wrong.
type Job = Box<dyn FnOnce(Result<(&mut Conn, Scope), Failure>) -> (Finish, Left) + Send>;

/// What a job that fails may undo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// The whole transaction: it is the first job of it.
    Transaction,
    /// A savepoint of its own.
    Savepoint,
}

/// The transaction after a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    /// It goes on.
    Open,
    /// It was undone and is over.
    Undone,
    /// Nobody knows: the connection has to be replaced.
    Broken,
}

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
            let (result, left) = match conn {
                Ok((conn, Scope::Transaction)) => settle(conn, work),
                Ok((conn, Scope::Savepoint)) => {
                    let (result, usable) = in_savepoint(conn, work);
                    (result, if usable { Left::Open } else { Left::Broken })
                }
                Err(failure) => (Err(failure.error()), Left::Undone),
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
            (finish, left)
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

/// Runs work in the open transaction itself; an error undoes all of that.
fn settle<R>(conn: &mut Conn, work: impl FnOnce(&mut Conn) -> Result<R>) -> (Result<R>, Left) {
    match work(conn) {
        Ok(r) => (Ok(r), Left::Open),
        Err(e) => match ready(<Tm as TransactionManager<Conn>>::rollback_transaction(conn)) {
            Ok(()) => (Err(e), Left::Undone),
            Err(_) => (Err(e), Left::Broken),
        },
    }
}

type Tm = <Conn as diesel_async::AsyncConnection>::TransactionManager;

fn write_loop(settings: &Settings, mut conn: Conn, mut jobs: mpsc::Receiver<Job>) {
    let mut done: Vec<Finish> = Vec::with_capacity(GROUP);
    while let Some(first) = jobs.blocking_recv() {
        let outcome = run_group(&mut conn, first, &mut jobs, &mut done);
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
    let mut left = Left::Undone;
    while let Some(job) = next.take() {
        let scope = if left == Left::Open { Scope::Savepoint } else { Scope::Transaction };
        if scope == Scope::Transaction
            && let Err(e) = begin(conn)
        {
            tracing::error!(error = %e, "no group of writes could be begun");
            let failure = Failure::of(&e);
            done.push(job(Err(failure)).0);
            // Those behind it have waited as long, and the file is no more to be had for them.
            while matches!(failure, Failure::Busy)
                && let Ok(job) = jobs.try_recv()
            {
                done.push(job(Err(failure)).0);
            }
            return Err(failure);
        }
        match catch_unwind(AssertUnwindSafe(|| job(Ok((conn, scope))))) {
            Ok((finish, after)) => {
                done.push(finish);
                left = after;
            }
            // Its answer is gone, and what it has written is not: nothing of the group may stay.
            Err(_) => return Err(Failure::Panicked),
        }
        if left == Left::Broken {
            return Err(Failure::Broken);
        }
        if done.len() < GROUP {
            next = jobs.try_recv().ok();
        }
    }
    if left == Left::Undone {
        return Ok(());
    }
    ready(<Tm as TransactionManager<Conn>>::commit_transaction(conn)).map_err(|e| {
        tracing::error!(error = %e, "commit failed");
        match Failure::of(&e) {
            // Nobody keeps the file: the lock was there since the beginning.
            Failure::Busy => Failure::Broken,
            other => other,
        }
    })
}
