//! A process and everything it starts, as one unit that can be signalled and that never outlives its
//! owner.

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use std::{
    os::fd::OwnedFd,
    process::{ExitStatus, Stdio},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    net::unix::pipe::Receiver,
    process::{Child, Command},
    time::{sleep, timeout},
};

/// Time between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(2);
/// How often a dying group is looked at.
const GROUP_POLL: Duration = Duration::from_millis(20);

/// Whether a process of the group still runs. A dead one that its new parent has not reaped yet can
/// be signalled too, and where nobody reaps orphans, as in many containers, it stays for ever: so
/// the process table is asked, where there is one to read.
#[must_use]
pub fn is_alive(group: Pid) -> bool {
    if killpg(group, None).is_err() {
        return false;
    }
    let Ok(processes) = std::fs::read_dir("/proc") else { return true };
    processes.flatten().any(|process| {
        let Ok(stat) = std::fs::read_to_string(process.path().join("stat")) else { return false };
        // `pid (name) state parent group …`; the name may hold anything, so look behind its end.
        let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let (state, own) = (fields.next(), fields.nth(1));
        own.and_then(|own| own.parse().ok()) == Some(group.as_raw()) && !matches!(state, Some("Z" | "X"))
    })
}

/// Signals every process of the group.
pub fn signal(group: Pid, signal: Signal) {
    // The only failure is that no process is left, which is what is wanted.
    let _ = killpg(group, signal);
}

/// A running group. Dropping it ends the group: SIGTERM at once, SIGKILL after the grace period.
#[derive(Debug)]
pub struct Group {
    id: Pid,
    /// `None` once the group has ended.
    child: Option<Child>,
}

impl Group {
    /// Starts a command as the leader of a new group.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(command: &mut Command) -> std::io::Result<Self> {
        let child = command.process_group(0).spawn()?;
        let id = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .ok_or_else(|| std::io::Error::other("no process id"))?;
        Ok(Self { id: Pid::from_raw(id), child: Some(child) })
    }

    /// The id of the group, which is that of its leader.
    #[must_use]
    pub fn id(&self) -> Pid {
        self.id
    }

    /// The leader, for its pipes; `None` once the group has been ended.
    pub fn child(&mut self) -> Option<&mut Child> {
        self.child.as_mut()
    }

    /// Waits for the leader's end. Can be called again, and can be dropped.
    ///
    /// # Errors
    /// When it cannot be waited for, or the group has been ended.
    pub async fn wait(&mut self) -> std::io::Result<ExitStatus> {
        match &mut self.child {
            Some(child) => child.wait().await,
            None => Err(std::io::Error::other("the process is gone")),
        }
    }

    /// Ends every process of the group, the polite way first.
    pub async fn end(&mut self) {
        if let Some(child) = self.child.take() {
            end(Killer(Some(self.id)), child).await;
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let Some(child) = self.child.take() else { return };
        let killer = Killer(Some(self.id));
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            signal(self.id, Signal::SIGTERM);
            // A runtime that is shutting down drops the future unpolled, and with it the killer.
            runtime.spawn(end(killer, child));
        }
    }
}

/// Kills a group for good when dropped: nothing that interrupts the polite way can leave it running.
struct Killer(Option<Pid>);

impl Drop for Killer {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            signal(group, Signal::SIGKILL);
        }
    }
}

/// Ends every process of a group, the polite way first, and reaps its shell.
async fn end(mut killer: Killer, mut child: Child) {
    let Some(group) = killer.0 else { return };
    signal(group, Signal::SIGTERM);
    let gone = async {
        // An error means that the child is reaped already.
        drop(child.wait().await);
        while is_alive(group) {
            sleep(GROUP_POLL).await;
        }
    };
    if timeout(GRACE, gone).await.is_ok() {
        killer.0 = None;
        return;
    }
    drop(killer);
    drop(child.wait().await);
}

/// Starts a shell line with no input, and one pipe for both of its outputs, which keeps their order.
/// `set` gives it its directory and environment.
///
/// # Errors
/// When it cannot be started.
pub fn shell(line: &str, set: impl FnOnce(&mut Command)) -> std::io::Result<(Group, Receiver)> {
    let (reader, writer) = std::io::pipe()?;
    let reader = Receiver::from_owned_fd(OwnedFd::from(reader))?;
    let mut command = Command::new("sh");
    command.arg("-c").arg(line).stdin(Stdio::null());
    command.stdout(OwnedFd::from(writer.try_clone()?)).stderr(OwnedFd::from(writer));
    set(&mut command);
    Ok((Group::spawn(&mut command)?, reader))
}

/// Reads until the pipe is closed on its other side.
///
/// # Errors
/// When it cannot be read.
pub async fn drain(
    reader: &mut (impl AsyncRead + Unpin),
    mut take: impl FnMut(&[u8]),
) -> std::io::Result<()> {
    let mut chunk = vec![0; 16 * 1024];
    loop {
        match reader.read(&mut chunk).await? {
            0 => return Ok(()),
            count => take(&chunk[..count]),
        }
    }
}
