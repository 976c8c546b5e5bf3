//! What can be seen of a daemon from outside: commands beside it, its figures, its resources.

use super::{Harness, client::Api, daemon::DaemonProcess, fake_model::RecordedRequest};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{path::Path, process::Stdio, time::Duration};
use tokio::{io::AsyncWriteExt as _, time::Instant};

/// How long a condition may take to hold.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often a condition that tells nobody is looked at.
const POLL: Duration = Duration::from_millis(20);

/// Looks until `look` finds something; fails after 20 s.
pub async fn eventually<R>(what: &str, look: impl AsyncFnMut() -> Option<R>) -> R {
    within(PATIENCE, what, look).await
}

/// Looks until `look` finds something; fails after `limit`.
pub async fn within<R>(limit: Duration, what: &str, mut look: impl AsyncFnMut() -> Option<R>) -> R {
    let since = Instant::now();
    let mut tick = tokio::time::interval(POLL);
    loop {
        tick.tick().await;
        if let Some(found) = look().await {
            return found;
        }
        assert!(since.elapsed() < limit, "not within {limit:?}: {what}");
    }
}

/// Watches that nothing happens: `holds` is asked again and again until `time` is over.
pub async fn stays(time: Duration, what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let since = Instant::now();
    let mut tick = tokio::time::interval(POLL);
    while since.elapsed() < time {
        tick.tick().await;
        assert!(holds().await, "after {:?} it did not hold any more: {what}", since.elapsed());
    }
}

/// What a command left behind.
#[derive(Debug)]
pub struct Ran {
    /// Exit status; -1 when a signal ended it.
    pub status: i32,
    pub out: String,
    pub err: String,
}

/// Runs the program in a folder, with nothing but `HOME` and `PATH` in its environment.
pub async fn chatd(home: &Path, args: &[&str]) -> Ran {
    chatd_with_input(home, args, "").await
}

/// The same with a text on its standard input.
pub async fn chatd_with_input(home: &Path, args: &[&str], input: &str) -> Ran {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_chatd"));
    command.args(args).current_dir(home).env_clear().env("HOME", home).kill_on_drop(true);
    command.envs(std::env::var("PATH").map(|path| ("PATH", path)));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("start chatd");
    let mut stdin = child.stdin.take().expect("a pipe");
    // A command that does not read is gone before the text has arrived.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let Ok(output) = tokio::time::timeout(PATIENCE, child.wait_with_output()).await else {
        panic!("chatd {args:?} did not end within {PATIENCE:?}");
    };
    let output = output.expect("wait for chatd");
    let text = |bytes| String::from_utf8(bytes).expect("output is UTF-8");
    Ran { status: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
}

impl DaemonProcess {
    /// Runs a command on the configuration of this daemon.
    pub async fn command(&self, args: &[&str]) -> Ran {
        self.command_with_input(args, "").await
    }

    /// The same with a text on its standard input.
    pub async fn command_with_input(&self, args: &[&str], input: &str) -> Ran {
        let file = self.config_file();
        let file = file.to_str().expect("a folder of ours is text");
        let home = file.rsplit_once('/').expect("an absolute path").0;
        chatd_with_input(Path::new(home), &[args, &["--config", file]].concat(), input).await
    }

    /// A token for this user, made by the command line; the user is made when there is none.
    pub async fn token_for(&self, user: &str, more: &[&str]) -> String {
        let ran = self.command(&[&["token", "create", "--user", user], more].concat()).await;
        assert_eq!(ran.status, 0, "{}", ran.err);
        ran.out.trim().to_owned()
    }

    /// A caller of this replica with the token of another.
    pub fn api_as(&self, token: &str) -> Api {
        Api::new(self.url(), Some(token))
    }

    /// Value of a metric without labels.
    pub async fn metric(&self, name: &str) -> Option<f64> {
        let answer = Api::new(self.url(), None).get("//metrics").await;
        assert_eq!(answer.status, 200);
        let text = String::from_utf8(answer.body).expect("metrics are text");
        let line = text.lines().find(|line| line.split(' ').next() == Some(name))?;
        line.rsplit(' ').next()?.parse().ok()
    }
}

impl Harness {
    /// Requests for turns so far: those for titles and labels left out.
    pub fn turn_requests(&self) -> Vec<RecordedRequest> {
        self.model.requests()
    }
}

/// Freezes a process, and waits until each of its threads stands still: the signal is sent at once,
/// but a thread that runs on another core goes on for a moment and takes what comes to it.
pub async fn freeze(pid: Pid) {
    kill(pid, Signal::SIGSTOP).expect("freeze a process");
    eventually("the process stands still", async || {
        let mut tasks =
            std::fs::read_dir(format!("/proc/{pid}/task")).expect("the process is there").flatten();
        // A thread that ended meanwhile runs no more either.
        let stands = |stat: String| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'));
        tasks.all(|task| std::fs::read_to_string(task.path().join("stat")).map_or(true, stands)).then_some(())
    })
    .await;
}

/// Lets a frozen process go on.
pub fn thaw(pid: Pid) {
    kill(pid, Signal::SIGCONT).expect("let a process go on");
}

/// A number of a line `NAME:  123 kB` of `/proc/PID/status`.
fn status_field(pid: Pid, name: &str) -> u64 {
    let path = format!("/proc/{pid}/status");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {text}"));
    let number = line.split_whitespace().nth(1).and_then(|n| n.parse().ok());
    number.unwrap_or_else(|| panic!("not a number: {line}"))
}

/// Resident memory in KiB.
pub fn memory_kib(pid: Pid) -> u64 {
    status_field(pid, "VmRSS:")
}

/// The most resident memory so far, in KiB.
pub fn peak_memory_kib(pid: Pid) -> u64 {
    status_field(pid, "VmHWM:")
}

/// Threads of a process.
pub fn threads(pid: Pid) -> u64 {
    status_field(pid, "Threads:")
}

/// Open files of a process, sockets included.
pub fn open_files(pid: Pid) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).expect("the process runs").count()
}
