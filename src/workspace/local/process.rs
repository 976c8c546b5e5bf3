//! One shell command in its own process group, which never outlives the call.

use crate::workspace::{
    CommandEnd, Exit, RunCommand, WorkspaceError,
    group::{Group, drain, shell},
    output::HeadTail,
};
use std::{os::unix::process::ExitStatusExt as _, path::Path, process::ExitStatus, time::Duration};
use tokio::{
    net::unix::pipe::Receiver,
    time::{Instant, timeout},
};

/// How long output is awaited from processes that left the group and hold the pipe.
const PIPE_WAIT: Duration = Duration::from_millis(500);

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

fn spawn(command: &RunCommand, directory: &Path) -> std::io::Result<(Group, Receiver)> {
    let passed = PASSED.iter().filter_map(|name| Some((*name, std::env::var_os(name)?)));
    shell(&command.command, |shell| {
        shell
            .current_dir(directory)
            .env_clear()
            .envs(passed)
            .envs(command.env.iter().map(|(name, value)| (name, value)))
            .env("CHATD_CHAT_ID", command.chat_id.to_string());
    })
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
        let ended = async {
            // The pipe may stay open after the shell has ended, and may be closed before: both
            // are awaited, but only the shell's end counts.
            let mut wait = std::pin::pin!(group.wait());
            tokio::select! {
                biased;
                status = &mut wait => status,
                read = drain(&mut reader, |bytes| output.push(bytes)) => match read {
                    Ok(()) => wait.await,
                    Err(error) => Err(error),
                },
            }
        };
        timeout(command.timeout, ended).await
    };
    group.end().await;
    let wall = started.elapsed();
    let rest = timeout(PIPE_WAIT, drain(&mut reader, |bytes| output.push(bytes))).await;
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
    use crate::{ids::ChatId, workspace::group::is_alive};
    use nix::unistd::Pid;

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
