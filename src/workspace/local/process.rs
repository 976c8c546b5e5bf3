//! One shell command in its own process group, which never outlives the call.

use crate::workspace::{CommandEnd, Exit, RunCommand, WorkspaceError, output::HeadTail};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use std::{
    os::{fd::OwnedFd, unix::process::ExitStatusExt as _},
    path::Path,
    process::{ExitStatus, Stdio},
    time::Duration,
};
use tokio::{
    io::AsyncReadExt as _,
    net::unix::pipe::Receiver,
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

/// Time between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(2);
/// How long output is awaited from processes that left the group and hold the pipe.
const PIPE_WAIT: Duration = Duration::from_millis(500);
/// How often a dying group is looked at.
const GROUP_POLL: Duration = Duration::from_millis(20);

/// Variables a command gets of the daemon's own. A list of what may pass, because what may not
/// cannot be listed: provider keys come under any name.
const PASSED: [&str; 12] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "TMPDIR",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// Whether a process of the group still runs. A dead one that its new parent has not reaped yet can
/// be signalled too, and where nobody reaps orphans, as in many containers, it stays for ever: so
/// the process table is asked, where there is one to read.
fn is_alive(group: Pid) -> bool {
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

fn signal(group: Pid, signal: Signal) {
    // The only failure is that no process is left, which is what is wanted.
    let _ = killpg(group, signal);
}

/// A running group. Dropping it ends the group: SIGTERM at once, SIGKILL after the grace period.
struct Group {
    id: Pid,
    /// `None` once the group has ended.
    child: Option<Child>,
}

impl Group {
    async fn end(&mut self) {
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

fn spawn(command: &RunCommand, directory: &Path) -> std::io::Result<(Group, Receiver)> {
    // One pipe for both streams keeps their order.
    let (reader, writer) = std::io::pipe()?;
    let reader = Receiver::from_owned_fd(OwnedFd::from(reader))?;
    let passed = PASSED.iter().filter_map(|name| Some((*name, std::env::var_os(name)?)));
    let child = Command::new("sh")
        .arg("-c")
        .arg(&command.command)
        .current_dir(directory)
        .env_clear()
        .envs(passed)
        .envs(command.env.iter().map(|(name, value)| (name, value)))
        .env("CHATD_CHAT_ID", command.chat_id.to_string())
        .stdin(Stdio::null())
        .stdout(OwnedFd::from(writer.try_clone()?))
        .stderr(OwnedFd::from(writer))
        .process_group(0)
        .spawn()?;
    let id = child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .ok_or_else(|| std::io::Error::other("no process id"))?;
    Ok((Group { id: Pid::from_raw(id), child: Some(child) }, reader))
}

/// Reads until the pipe is closed on its other side.
async fn drain(reader: &mut Receiver, output: &mut HeadTail) -> std::io::Result<()> {
    let mut chunk = vec![0; 16 * 1024];
    loop {
        match reader.read(&mut chunk).await? {
            0 => return Ok(()),
            count => output.push(&chunk[..count]),
        }
    }
}

fn exit(status: ExitStatus) -> Exit {
    match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, Some(signal)) => Exit::Signal(signal),
        (None, None) => Exit::Code(-1),
    }
}

/// Runs the command. Processes it leaves behind in its group end with it: nothing here would know
/// them afterwards.
pub async fn run(command: RunCommand, directory: &Path) -> Result<CommandEnd, WorkspaceError> {
    let started = Instant::now();
    let (mut group, mut reader) = spawn(&command, directory).map_err(WorkspaceError::Start)?;
    let mut output = HeadTail::default();
    let status = {
        let Some(child) = group.child.as_mut() else {
            return Err(WorkspaceError::Start(std::io::Error::other("the process is gone")));
        };
        let ended = async {
            // The pipe may stay open after the shell has ended, and may be closed before: both
            // are awaited, but only the shell's end counts.
            let mut wait = std::pin::pin!(child.wait());
            tokio::select! {
                biased;
                status = &mut wait => status,
                read = drain(&mut reader, &mut output) => match read {
                    Ok(()) => wait.await,
                    Err(error) => Err(error),
                },
            }
        };
        timeout(command.timeout, ended).await
    };
    group.end().await;
    let wall = started.elapsed();
    let rest = timeout(PIPE_WAIT, drain(&mut reader, &mut output)).await;
    let what = || "follow the command".to_owned();
    if let Ok(Err(cause)) = rest {
        return Err(WorkspaceError::Io { what: what(), cause });
    }
    let exit = match status {
        Ok(Ok(status)) => exit(status),
        Ok(Err(cause)) => return Err(WorkspaceError::Io { what: what(), cause }),
        Err(_) => Exit::TimedOut,
    };
    Ok(CommandEnd { exit, output: output.capture(), wall })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ChatId;

    fn command(line: &str) -> RunCommand {
        RunCommand {
            command: line.into(),
            workdir: None,
            env: vec![("GIVEN".into(), "yes".into())],
            timeout: Duration::from_secs(20),
            chat_id: ChatId(uuid::Uuid::nil()),
        }
    }

    async fn ran(line: &str) -> (Exit, String) {
        let dir = tempfile::tempdir().unwrap();
        let end = run(command(line), dir.path()).await.unwrap();
        (end.exit, end.output.text)
    }

    /// Waits until no process has the group id that `file` names; fails the test after 10 s.
    async fn await_group_gone(file: &Path) {
        let gone = async {
            let id = loop {
                if let Some(id) = std::fs::read_to_string(file).ok().and_then(|text| text.trim().parse().ok())
                {
                    break Pid::from_raw(id);
                }
                tokio::task::yield_now().await;
            };
            while is_alive(id) {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(10), gone).await.expect("the process group is still there");
    }

    #[tokio::test]
    async fn output_and_exit() {
        assert_eq!(ran("echo a; echo b >&2; echo c; exit 3").await, (Exit::Code(3), "a\nb\nc\n".into()));
        assert_eq!(ran("kill -9 $$").await.0, Exit::Signal(9));
        assert_eq!(ran("cat; echo $GIVEN").await, (Exit::Code(0), "yes\n".into()));
        assert_eq!(ran("exec >&- 2>&-; exit 4").await.0, Exit::Code(4));
        assert!(ran("head -c 3000000 /dev/zero").await.1.len() < 40 * 1024);
    }

    #[tokio::test]
    async fn the_environment_is_a_short_list() {
        let (_, text) = ran("env").await;
        let names: Vec<&str> =
            text.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name).collect();
        let allowed = |name: &&str| {
            PASSED.contains(name) || ["GIVEN", "CHATD_CHAT_ID", "PWD", "OLDPWD", "SHLVL", "_"].contains(name)
        };
        assert!(names.contains(&"PATH") && names.iter().all(allowed), "{names:?}");
    }

    #[tokio::test]
    async fn a_timeout_kills_the_group() {
        let dir = tempfile::tempdir().unwrap();
        let line = "echo $$ > pid; sleep 100 & echo early; sleep 100";
        let end = run(RunCommand { timeout: Duration::from_millis(300), ..command(line) }, dir.path())
            .await
            .unwrap();
        assert_eq!((end.exit, end.output.text.as_str()), (Exit::TimedOut, "early\n"));
        await_group_gone(&dir.path().join("pid")).await;
    }

    #[tokio::test]
    async fn processes_left_behind_end_with_the_command() {
        let dir = tempfile::tempdir().unwrap();
        let end = run(command("echo $$ > pid; sleep 100 & echo done"), dir.path()).await.unwrap();
        assert_eq!((end.exit, end.output.text.as_str()), (Exit::Code(0), "done\n"));
        await_group_gone(&dir.path().join("pid")).await;
    }

    #[test]
    fn a_runtime_that_ends_takes_its_commands_along() {
        let dir = tempfile::tempdir().unwrap();
        let (file, path) = (dir.path().join("pid"), dir.path().to_path_buf());
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.spawn(async move {
            run(command("trap '' TERM; echo $$ > pid; while :; do sleep 1; done"), &path).await
        });
        let id = loop {
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            if let Some(id) = text.strip_suffix('\n').and_then(|id| id.parse().ok()) {
                break Pid::from_raw(id);
            }
            std::thread::yield_now();
        };
        drop(runtime);
        while is_alive(id) {
            std::thread::yield_now();
        }
    }

    #[tokio::test]
    async fn a_dropped_call_kills_even_what_ignores_sigterm() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pid");
        let path = dir.path().to_path_buf();
        let task = tokio::spawn(async move {
            run(command("trap '' TERM; echo $$ > pid; while :; do sleep 1; done"), &path).await
        });
        timeout(Duration::from_secs(10), async {
            while !std::fs::read_to_string(&file).is_ok_and(|text| text.ends_with('\n')) {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
        task.abort();
        await_group_gone(&file).await;
    }
}
