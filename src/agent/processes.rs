//! Processes that chats have started (tools.md §15.4): they belong to the agent, not to a request or a
//! link, and each to one chat.

use crate::{
    clock::{Clock, Timestamp},
    workspace::{
        group::{self, Group},
        output::{Captured, HeadTail},
        text::prefix,
    },
};
use nix::sys::signal::Signal;
use std::{
    collections::HashMap,
    ffi::OsString,
    os::unix::process::ExitStatusExt as _,
    path::PathBuf,
    process::ExitStatus,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    net::unix::pipe::Receiver,
    sync::watch,
    time::{Instant, timeout},
};

/// How long a finished process can be asked about.
const KEPT: Duration = Duration::from_secs(5 * 60);
/// Most finished processes kept: at 32 KiB of output each, 32 MiB.
const MAX_FINISHED: usize = 1000;
/// Most processes that run at once; beyond, a mistake is likelier than a need.
const MAX_RUNNING: usize = 500;
/// How long output is awaited from processes that left the group and hold the pipe.
const PIPE_WAIT: Duration = Duration::from_secs(5);

/// Bytes of a shell line that are kept to be shown.
const SHOWN: usize = 8 << 10;

/// What to start.
#[derive(Debug)]
pub struct Start {
    /// The chat it belongs to.
    pub chat: String,
    /// Shell line.
    pub command: String,
    /// Where.
    pub workdir: PathBuf,
    /// Its whole environment.
    pub environment: Vec<(OsString, OsString)>,
    /// Shown again only.
    pub background: bool,
}

/// Why nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum NotStarted {
    /// There are too many.
    #[error("{MAX_RUNNING} processes are running already; end some of them first")]
    TooMany,
    /// The agent ends.
    #[error("the agent is stopping")]
    Stopping,
    /// The operating system says no.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Where a process stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It runs.
    Running,
    /// It has ended.
    Exited {
        /// Its code, or 128 and the number of the signal that ended it.
        code: i32,
        /// When.
        at: Timestamp,
    },
}

/// A process.
#[derive(Debug)]
pub struct Process {
    /// Its id with this agent.
    pub id: String,
    /// As it was started.
    pub command: String,
    /// As it was started.
    pub workdir: PathBuf,
    /// As it was started.
    pub background: bool,
    /// When it was started.
    pub started_at: Timestamp,
    chat: String,
    group: nix::unistd::Pid,
    output: Mutex<HeadTail>,
    begun: Instant,
    state: watch::Receiver<State>,
    /// When it was found to have ended; for forgetting it.
    ended: Mutex<Option<Instant>>,
}

impl Process {
    /// Where it stands.
    pub fn state(&self) -> State {
        *self.state.borrow()
    }

    /// What it has written so far.
    pub fn output(&self) -> Captured {
        lock(&self.output).capture()
    }

    /// How long it has run, or ran.
    pub fn ran_for(&self) -> Duration {
        lock(&self.ended).unwrap_or_else(Instant::now).duration_since(self.begun)
    }

    /// Waits for its end, but no longer than this.
    pub async fn wait(&self, limit: Duration) {
        let mut state = self.state.clone();
        // Both a timeout and an agent that stops mean that it is seen as it is.
        drop(timeout(limit, state.wait_for(|state| *state != State::Running)).await);
    }

    /// Signals its group; false when it has ended.
    pub fn signal(&self, signal: Signal) -> bool {
        let running = self.state() == State::Running;
        if running {
            group::signal(self.group, signal);
        }
        running
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All processes of an agent.
#[derive(Debug)]
pub struct Registry {
    clock: Clock,
    all: Mutex<HashMap<String, Arc<Process>>>,
    stopping: watch::Sender<bool>,
}

impl Registry {
    /// One without processes.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { clock, all: Mutex::default(), stopping: watch::Sender::new(false) }
    }

    /// Starts a process.
    ///
    /// # Errors
    /// When there are too many, or it cannot be started.
    pub fn start(&self, start: Start) -> Result<Arc<Process>, NotStarted> {
        let mut all = lock(&self.all);
        if *self.stopping.borrow() {
            return Err(NotStarted::Stopping);
        }
        forget(&mut all);
        if all.values().filter(|process| process.state() == State::Running).count() >= MAX_RUNNING {
            return Err(NotStarted::TooMany);
        }
        // Before it runs: it may be done before the next line.
        let (started_at, begun) = (self.clock.now(), Instant::now());
        let (group, reader) = group::shell(&start.command, |shell| {
            shell.current_dir(&start.workdir).env_clear().envs(start.environment);
        })?;
        let (set, state) = watch::channel(State::Running);
        let process = Arc::new(Process {
            id: super::answer::fresh_id(),
            command: prefix(&start.command, SHOWN).to_owned(),
            workdir: start.workdir,
            background: start.background,
            started_at,
            chat: start.chat,
            group: group.id(),
            output: Mutex::default(),
            begun,
            state,
            ended: Mutex::new(None),
        });
        all.insert(process.id.clone(), process.clone());
        let (stopping, clock) = (self.stopping.subscribe(), self.clock.clone());
        tokio::spawn(drive(process.clone(), group, reader, set, stopping, clock));
        Ok(process)
    }

    /// A process of this chat.
    #[must_use]
    pub fn get(&self, chat: &str, id: &str) -> Option<Arc<Process>> {
        let mut all = lock(&self.all);
        forget(&mut all);
        all.get(id).filter(|process| process.chat == chat).cloned()
    }

    /// The processes of this chat: running ones first, then the latest first.
    #[must_use]
    pub fn list(&self, chat: &str) -> Vec<Arc<Process>> {
        let mut all = lock(&self.all);
        forget(&mut all);
        let mut found: Vec<_> = all.values().filter(|process| process.chat == chat).cloned().collect();
        found.sort_by_key(|process| {
            let running = process.state() == State::Running;
            (!running, std::cmp::Reverse((process.started_at, process.id.clone())))
        });
        found
    }

    /// Ends all of them, and waits until they are gone.
    pub async fn stop(&self) {
        self.stopping.send_replace(true);
        let all: Vec<_> = lock(&self.all).values().cloned().collect();
        for process in all {
            // Ending a group takes two seconds at most, then its output is read for five at most.
            process.wait(Duration::from_secs(10)).await;
        }
    }
}

/// Drops what ended long ago, and the oldest of what is too much.
fn forget(all: &mut HashMap<String, Arc<Process>>) {
    let since = |process: &Process| lock(&process.ended).map(|at| at.elapsed());
    all.retain(|_, process| since(process).is_none_or(|age| age < KEPT));
    let mut ended: Vec<(Duration, String)> =
        all.values().filter_map(|process| Some((since(process)?, process.id.clone()))).collect();
    if let Some(excess) = ended.len().checked_sub(MAX_FINISHED).filter(|n| *n > 0) {
        ended.sort_by(|a, b| b.cmp(a));
        for (_, id) in ended.into_iter().take(excess) {
            all.remove(&id);
        }
    }
}

/// Reads a process's output, waits for its end, and ends what it leaves behind in its group: nobody
/// could see or signal that any more.
async fn drive(
    process: Arc<Process>,
    mut group: Group,
    mut reader: Receiver,
    state: watch::Sender<State>,
    mut stopping: watch::Receiver<bool>,
    clock: Clock,
) {
    let take = |bytes: &[u8]| lock(&process.output).push(bytes);
    let status = {
        let mut wait = std::pin::pin!(group.wait());
        let mut stop = std::pin::pin!(stopping.wait_for(|stopping| *stopping));
        let mut reading = true;
        loop {
            tokio::select! {
                biased;
                status = &mut wait => break Some(status),
                _ = &mut stop => break None,
                // The pipe may be closed before the shell ends; a failure to read it is its end too.
                _ = group::drain(&mut reader, take), if reading => reading = false,
            }
        }
    };
    group.end().await;
    let rest = timeout(PIPE_WAIT, group::drain(&mut reader, take)).await;
    let code = match status {
        Some(Ok(status)) => exit_code(status),
        Some(Err(error)) => {
            tracing::warn!(process = %process.id, %error, "a process could not be waited for");
            -1
        }
        None => 128 + Signal::SIGTERM as i32,
    };
    if rest.is_err() {
        tracing::debug!(process = %process.id, "something holds the output of a process that has ended");
    }
    *lock(&process.ended) = Some(Instant::now());
    state.send_replace(State::Exited { code, at: clock.now() });
}

fn exit_code(status: ExitStatus) -> i32 {
    // As a shell reports a signal.
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}
