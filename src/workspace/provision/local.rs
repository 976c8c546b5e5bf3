//! Workspaces that are a folder and an agent process on the daemon's host. The process outlives the daemon, as
//! one on any other host would; a file with its id says which one it is.

use super::{Host, Job, LogSink, say};
use crate::{
    ids::AgentId,
    workspace::{marked, wire::ENV_URL_FILE},
};
use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::{
    process::Command,
    time::{Instant, sleep, timeout},
};

/// What stands for the workspace in the pattern of a template's folder.
const PLACE: &str = "{workspace}";
/// An agent that ends within this time did not start.
const START_WAIT: Duration = Duration::from_secs(1);
/// Time between SIGTERM and SIGKILL: the agent ends the commands that run in it first.
const STOP_WAIT: Duration = Duration::from_secs(10);
/// How often an agent that is to end is looked at.
const POLL: Duration = Duration::from_millis(50);
/// Variables an agent gets of the daemon's own. A list of what may pass, because what may not cannot be listed:
/// provider keys come under any name, and models run commands there.
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
/// What of an agent's own log is shown when it does not start.
const SHOWN: usize = 2000;

/// The folder of a workspace. By its id: names can change, and two owners can have the same.
fn folder(host: &Host, job: &Job) -> PathBuf {
    host.data_dir.join(job.template.directory.replace(PLACE, &job.workspace.to_string()))
}

fn agents(host: &Host) -> PathBuf {
    host.data_dir.join("agents")
}

/// Where agents of this host read the daemon's address.
fn url_file(host: &Host) -> PathBuf {
    host.data_dir.join("url")
}

/// Tells the agents of this host, also those that an earlier daemon started, where the daemon is now.
///
/// # Errors
/// When the file cannot be written.
pub fn announce(host: &Host) -> io::Result<()> {
    let file = url_file(host);
    let new = file.with_extension("new");
    fs::write(&new, format!("{}\n", host.url))?;
    fs::rename(new, file)
}

fn private(folder: &Path) -> Result<(), String> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|e| format!("the folder {} could not be made: {e}", folder.display()))
}

/// An agent's process by its id and the time it was started: ids are used again.
#[derive(Debug, PartialEq, Eq)]
struct Process {
    pid: i32,
    started: String,
    /// Which agent of the workspace it is; notes of earlier versions do not tell.
    agent: Option<AgentId>,
}

/// When a process was started, in ticks since the host was. `None`: there is none, or it has ended.
fn started(pid: i32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // `pid (name) state …`; the name may hold anything, so look behind its end. Field 22 is the time.
    let mut fields = stat.rsplit(')').next()?.split_whitespace();
    let state = fields.next()?;
    (!matches!(state, "Z" | "X")).then(|| fields.nth(18).map(str::to_owned)).flatten()
}

impl Process {
    fn read(file: &Path) -> Option<Self> {
        let text = fs::read_to_string(file).ok()?;
        let mut words = text.split_whitespace();
        Some(Self {
            pid: words.next()?.parse().ok()?,
            started: words.next()?.to_owned(),
            agent: words.next().and_then(|id| id.parse().ok()),
        })
    }

    /// Whole or not at all: the daemon may be killed at any moment.
    fn write(&self, file: &Path) -> io::Result<()> {
        let agent = self.agent.map(|agent| format!(" {agent}")).unwrap_or_default();
        let new = file.with_extension("new");
        fs::write(&new, format!("{} {}{agent}\n", self.pid, self.started))?;
        fs::rename(new, file)
    }

    fn is_alive(&self) -> bool {
        started(self.pid).is_some_and(|started| started == self.started)
    }
}

/// Makes the folder and starts the agent in it, in place of one that runs.
pub async fn start(host: &Host, job: &Job, log: &LogSink) -> Result<(), String> {
    let Some((agent, token)) = &job.agent else { return Err("the build has no agent".into()) };
    end(host, job, log).await?;
    let folder = folder(host, job);
    private(&folder)?;
    private(&agents(host))?;
    let log_file = agents(host).join(format!("{}.log", job.workspace));
    let open = || fs::OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&log_file);
    let wrong = |e: io::Error| format!("the agent's log {} could not be opened: {e}", log_file.display());
    let output = open().map_err(wrong)?;
    let errors = output.try_clone().map_err(wrong)?;
    say(log, format!("Starting the agent in {}.", folder.display())).await;
    let mut child = Command::new(&host.program)
        .args(["agent", "--name", "main", "--run"])
        .arg(agent.to_string())
        .arg("--dir")
        .arg(&folder)
        .current_dir(&folder)
        .env_clear()
        .envs(PASSED.iter().filter_map(|name| Some((*name, std::env::var_os(name)?))))
        .envs(job.variables())
        .env("CHATD_URL", &host.url)
        .env(ENV_URL_FILE, url_file(host))
        .env("CHATD_AGENT_TOKEN", token)
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        // A signal from the terminal is for the daemon.
        .process_group(0)
        .spawn()
        .map_err(|e| format!("the agent {} could not be started: {e}", host.program.display()))?;
    // Before it is waited for: whoever takes the build over has to find what this process has started.
    let file = agents(host).join(job.workspace.to_string());
    let pid = child.id().and_then(|id| i32::try_from(id).ok());
    let process = pid.and_then(|pid| Some(Process { pid, started: started(pid)?, agent: Some(*agent) }));
    if let Some(process) = process
        && let Err(e) = process.write(&file)
    {
        let pid = process.pid;
        child.kill().await.map_err(|e| format!("the agent, process {pid}, cannot be ended: {e}"))?;
        return Err(format!("{} could not be written: {e}", file.display()));
    }
    if let Ok(ended) = timeout(START_WAIT, child.wait()).await {
        let said = fs::read_to_string(&log_file).unwrap_or_default();
        let said = job.without_token(crate::workspace::text::prefix(said.trim(), SHOWN));
        let how = ended.map_or_else(|e| e.to_string(), |status| status.to_string());
        remove(fs::remove_file(&file))?;
        return Err(format!("the agent ended at once with {how}: {said}"));
    }
    // Reaps it when it ends.
    tokio::spawn(async move { child.wait().await });
    Ok(())
}

/// Whether the agent of a start whose replica was killed in the middle has started all the same: the last thing a start does is
/// to see that.
pub async fn has_started(host: &Host, job: &Job, agent: AgentId) -> bool {
    let noted = Process::read(&agents(host).join(job.workspace.to_string()));
    let Some(process) = noted.filter(|process| process.agent == Some(agent) && process.is_alive()) else {
        return false;
    };
    sleep(START_WAIT).await;
    process.is_alive()
}

/// Whether the process of this agent has ended, as after a start of this host. It is not known of one that another data folder
/// has the note of.
pub fn has_ended(host: &Host, job: &Job, agent: AgentId) -> bool {
    Process::read(&agents(host).join(job.workspace.to_string()))
        .is_some_and(|process| process.agent.is_none_or(|noted| noted == agent) && !process.is_alive())
}

/// Ends the agent, with what runs in it. The folder stays.
pub async fn stop(host: &Host, job: &Job, log: &LogSink) -> Result<(), String> {
    end(host, job, log).await
}

/// Ends the agent and removes the folder, if it is this workspace's alone.
pub async fn delete(host: &Host, job: &Job, log: &LogSink) -> Result<(), String> {
    end(host, job, log).await?;
    for ending in ["log", "new"] {
        remove(fs::remove_file(agents(host).join(format!("{}.{ending}", job.workspace))))?;
    }
    if job.template.directory.contains(PLACE) {
        let folder = folder(host, job);
        say(log, format!("Removing {}.", folder.display())).await;
        let removed = tokio::task::spawn_blocking(move || fs::remove_dir_all(folder)).await;
        remove(removed.unwrap_or_else(|e| Err(io::Error::other(e))))?;
    }
    Ok(())
}

fn remove(done: io::Result<()>) -> Result<(), String> {
    match done {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(format!("files could not be removed: {e}")),
        _ => Ok(()),
    }
}

async fn end(host: &Host, job: &Job, log: &LogSink) -> Result<(), String> {
    let file = agents(host).join(job.workspace.to_string());
    let Some(process) = Process::read(&file) else { return Ok(()) };
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        if !process.is_alive() {
            break;
        }
        say(log, format!("Ending the agent, process {}, with {signal}.", process.pid)).await;
        match kill(Pid::from_raw(process.pid), signal) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(e) => return Err(format!("the agent, process {}, cannot be ended: {e}", process.pid)),
        }
        let until = Instant::now() + STOP_WAIT;
        while process.is_alive() && Instant::now() < until {
            sleep(POLL).await;
        }
    }
    if process.is_alive() {
        return Err(format!("the agent, process {}, does not end", process.pid));
    }
    // What it has started ends with it, unless both of its processes were killed in the same moment.
    if let Some(agent) = process.agent {
        marked::end_marked(&agent.to_string()).await;
    }
    remove(fs::remove_file(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_id_and_its_start() {
        let own = i32::try_from(std::process::id()).unwrap();
        let process = |started: String| Process { pid: own, started, agent: Some(AgentId::fresh()) };
        let alive = process(started(own).unwrap());
        assert!(alive.is_alive() && !process("1".into()).is_alive());
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x");
        assert_eq!(Process::read(&file), None);
        alive.write(&file).unwrap();
        assert_eq!(Process::read(&file), Some(alive));
        fs::write(&file, format!("{own} 1\n")).unwrap();
        assert_eq!(Process::read(&file), Some(Process { agent: None, ..process("1".into()) }));
    }
}
