//! The process above the agent. It does nothing but see to it that whatever the agent has started ends
//! with it, however it ends, also what left its process group; and that orphans are reaped where nobody
//! else does it, as in a container whose first process the agent is.
//!
//! It becomes the parent of every orphan below it (`PR_SET_CHILD_SUBREAPER`), so its descendants cannot
//! leave it, and it kills children until it has none. The agent in turn holds a pipe of it ([`Leash`]):
//! when the supervisor is killed, the agent ends as at SIGTERM, and looks for what carries its mark.

use nix::{
    errno::Errno,
    sys::{
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};
use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
    process::{Command, Stdio},
    time::Duration,
};
use tokio::{
    io::AsyncReadExt as _,
    net::unix::pipe::Receiver,
    signal::unix::{SignalKind, signal},
    time::{sleep, timeout},
};

/// How long an agent may take to end after a signal: its commands have two seconds, their output five.
const PATIENCE: Duration = Duration::from_secs(15);
/// How often the children that are left are looked at.
const POLL: Duration = Duration::from_millis(10);

/// How the agent ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With this status.
    Exited(i32),
    /// By this signal, which nobody asked the supervisor for.
    Killed(Signal),
}

/// Runs the agent's process until it ends, and then ends everything below.
///
/// # Errors
/// When it cannot be started or watched.
pub async fn supervise(agent: &mut Command) -> io::Result<End> {
    let mut child = signal(SignalKind::child())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    #[cfg(target_os = "linux")]
    nix::sys::prctl::set_child_subreaper(true)?;
    // The pipe's other end is the agent's standard input; it is closed when this process ends.
    let mut process = agent.stdin(Stdio::piped()).spawn()?;
    let leash = process.stdin.take();
    let agent = Pid::from_raw(i32::try_from(process.id()).map_err(io::Error::other)?);
    let end = loop {
        tokio::select! {
            biased;
            _ = child.recv() => {}
            _ = terminate.recv() => pass_on(agent, Signal::SIGTERM),
            _ = interrupt.recv() => pass_on(agent, Signal::SIGINT),
        }
        if let Some(end) = reap(agent)? {
            break end;
        }
    };
    drop(leash);
    // It may be that one cannot be killed, as by another user's: then the others are gone at least.
    drop(timeout(PATIENCE, end_all()).await);
    Ok(end)
}

fn pass_on(agent: Pid, signal: Signal) {
    // The only failure is that it has just ended.
    let _ = kill(agent, signal);
}

/// Reaps whatever has ended; the agent's end, if it is among it.
fn reap(agent: Pid) -> io::Result<Option<End>> {
    let mut end = None;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, status)) if pid == agent => end = Some(End::Exited(status)),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == agent => end = Some(End::Killed(signal)),
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(end),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Kills children until there are none: those of a killed child become children.
async fn end_all() {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Err(Errno::ECHILD) => return,
            Ok(WaitStatus::StillAlive) => {
                for child in children() {
                    // The only failure is that it has just ended.
                    let _ = kill(child, Signal::SIGKILL);
                }
                sleep(POLL).await;
            }
            Ok(_) | Err(_) => {}
        }
    }
}

/// The children of this process, from the process table.
fn children() -> Vec<Pid> {
    let own = std::process::id();
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    let parent = |stat: &str| -> Option<u32> {
        // `pid (name) state parent …`; the name may hold anything, so look behind its end.
        stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()
    };
    let child = |entry: std::fs::DirEntry| -> Option<Pid> {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        (parent(&stat)? == own).then_some(Pid::from_raw(pid))
    };
    processes.flatten().filter_map(child).collect()
}

/// The agent's hold on its supervisor.
#[derive(Debug)]
pub struct Leash(Receiver);

impl Leash {
    /// The pipe that is this process's standard input.
    ///
    /// # Errors
    /// When it is none.
    pub fn of_stdin() -> io::Result<Self> {
        let pipe: OwnedFd = io::stdin().as_fd().try_clone_to_owned()?;
        Receiver::from_owned_fd(pipe).map(Self)
    }

    /// Waits for the supervisor's end.
    pub async fn gone(&mut self) {
        let mut byte = [0];
        // Nothing is ever sent; an error is an end too.
        while matches!(self.0.read(&mut byte).await, Ok(1..)) {}
    }
}
