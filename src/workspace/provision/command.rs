//! Workspaces that the operator's commands start and stop.

use super::{Host, Job, LogSink, MAX_LINE, MAX_LINES, say};
use crate::{store::records::workspaces::LogSource, workspace::text::prefix};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use std::{process::Stdio, time::Duration};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, BufReader},
    process::{Child, Command},
    time::timeout,
};

/// How long output is awaited from processes that a command has left behind with its pipes.
const PIPE_WAIT: Duration = Duration::from_secs(1);

/// Ends the processes of a command that is not awaited any more. Those of one that has ended may live on: they
/// may be what it started.
struct Running {
    child: Child,
    group: Option<Pid>,
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(group) = self.group {
            // The only failure is that no process is left, which is what is wanted.
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
}

/// Variables that are the daemon's own begin so.
const OWN: &[u8] = b"CHATD_";

/// A command of the template, with what it may know in its environment: the daemon's, for it is the operator's command, but
/// for the secrets of the daemon, which a workspace would hand on to models.
fn prepared(host: &Host, job: &Job, what: &str, text: &str) -> Command {
    let mut command = Command::new("sh");
    for (name, _) in std::env::vars_os() {
        let secret = name.to_str().is_some_and(|name| host.secret_variables.contains(name));
        if secret || name.as_encoded_bytes().starts_with(OWN) {
            command.env_remove(name);
        }
    }
    command
        .arg("-c")
        .arg(text)
        .current_dir(&host.data_dir)
        .env("CHATD_URL", &host.url)
        .env("CHATD_TRANSITION", what)
        .env("CHATD_WORKSPACE_ID", job.workspace.to_string())
        .env("CHATD_WORKSPACE_NAME", &job.name)
        .env("CHATD_WORKSPACE_OWNER", &job.owner)
        .env("CHATD_TEMPLATE_NAME", &job.template.name)
        .env("CHATD_BUILD_ID", job.build.to_string())
        .envs(job.variables())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .process_group(0);
    if let Some((agent, token)) = &job.agent {
        command.env("CHATD_AGENT_ID", agent.to_string()).env("CHATD_AGENT_TOKEN", token);
    }
    command
}

/// The processes of a command that was started.
fn group(child: &Child) -> Option<Pid> {
    child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw)
}

/// Whether the workspace runs, as the status command of its template tells. What that prints is nobody's.
///
/// # Errors
/// When the command cannot be run.
pub async fn runs(host: &Host, job: &Job, text: &str) -> Result<bool, String> {
    let mut command = prepared(host, job, "status", text);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn().map_err(|e| format!("the status command could not be started: {e}"))?;
    let group = group(&child);
    let mut running = Running { child, group };
    let status = running.child.wait().await.map_err(|e| format!("the status command was lost: {e}"))?;
    running.group = None;
    match status.code() {
        Some(code) => Ok(code == 0),
        None => Err(format!("the status command ended with {status}")),
    }
}

/// Runs a command of the template to its end.
///
/// # Errors
/// When it cannot be started, or ends with another status than 0.
pub async fn run(host: &Host, job: &Job, text: &str, log: &LogSink) -> Result<(), String> {
    let what = job.transition.as_str();
    let mut command = prepared(host, job, what, text);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    say(log, format!("Running the {what} command of the template {:?}.", job.template.name)).await;
    let mut child = command.spawn().map_err(|e| {
        format!("the {what} command could not be started: {e}. It runs with `sh -c`, so a shell has to be on the PATH")
    })?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let group = group(&child);
    let mut running = Running { child, group };
    let reading = async {
        tokio::join!(lines(job, out, LogSource::Stdout, log), lines(job, err, LogSource::Stderr, log));
    };
    tokio::pin!(reading);
    let status = tokio::select! {
        status = running.child.wait() => {
            // What it left behind may hold the pipes for as long as it likes.
            let _ = timeout(PIPE_WAIT, &mut reading).await;
            status
        }
        () = &mut reading => running.child.wait().await,
    };
    running.group = None;
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("the {what} command ended with {status}; its log says why")),
        Err(e) => Err(format!("the {what} command was lost: {e}")),
    }
}

/// Copies a stream to the log line by line; what is too much is read and dropped.
async fn lines(job: &Job, stream: Option<impl AsyncRead + Unpin>, source: LogSource, log: &LogSink) {
    let Some(stream) = stream else { return };
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    let mut count = 0;
    loop {
        let chunk = match reader.fill_buf().await {
            Ok([]) | Err(_) => break,
            Ok(chunk) => chunk,
        };
        let end = chunk.iter().position(|b| *b == b'\n');
        let part = &chunk[..end.unwrap_or(chunk.len())];
        let room = (2 * MAX_LINE).saturating_sub(line.len());
        line.extend_from_slice(&part[..part.len().min(room)]);
        let used = end.map_or(chunk.len(), |at| at + 1);
        reader.consume(used);
        if end.is_some() {
            send(job, &mut line, source, log, &mut count).await;
        }
    }
    if !line.is_empty() {
        send(job, &mut line, source, log, &mut count).await;
    }
}

async fn send(job: &Job, line: &mut Vec<u8>, source: LogSource, log: &LogSink, count: &mut usize) {
    *count += 1;
    if *count == MAX_LINES + 1 {
        say(log, format!("More than {MAX_LINES} lines: the rest of this output is not kept.")).await;
    }
    if *count <= MAX_LINES {
        // PostgreSQL has no NUL in its texts. The token goes before the line is cut: half of one is still
        // half of a secret.
        let text = String::from_utf8_lossy(line).replace('\0', "\u{fffd}");
        let text = job.without_token(text.trim_end_matches('\r'));
        let _ = log.send((source, prefix(&text, MAX_LINE).to_owned())).await;
    }
    line.clear();
}
