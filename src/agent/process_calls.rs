//! The endpoints of processes.

use super::{
    Agent,
    answer::{Answer, Caller, Query, Refusal},
    processes::{NotStarted, Process, Start, State},
};
use crate::workspace::{
    WorkspaceError,
    wire::{Done, ENV_CHAT_ID, ProcessInfo, ProcessOutput, Processes, SignalProcess, StartProcess, Started},
};
use hyper::StatusCode;
use nix::sys::signal::Signal;
use std::{ffi::OsString, io::ErrorKind, path::PathBuf, sync::Arc, time::Duration};

/// Longest wait for an end within one request.
const MAX_WAIT: Duration = Duration::from_secs(5 * 60);

/// `POST processes/start`
pub async fn start(agent: &Agent, chat: String, request: StartProcess) -> Result<Answer, Refusal> {
    if request.command.trim().is_empty() {
        return Err(Refusal::field("command", "must not be blank"));
    }
    if let Some(name) = request.env.keys().find(|name| name.is_empty() || name.contains(['=', '\0'])) {
        return Err(Refusal::field("env", format!("{name:?} is no name of a variable")));
    }
    let workdir = directory(agent, &request.workdir).await?;
    let settings = agent.settings();
    let mut environment = settings.environment.clone();
    environment.extend(request.env.into_iter().map(|(name, value)| (name.into(), value.into())));
    environment.insert(OsString::from(ENV_CHAT_ID), OsString::from(&chat));
    let start = Start {
        chat,
        command: request.command,
        workdir,
        environment: environment.into_iter().collect(),
        background: request.background,
    };
    match agent.processes.start(start) {
        Ok(process) => Ok(Answer::ok(&Started { id: process.id.clone(), started: true })),
        Err(error @ NotStarted::TooMany) => {
            Err(Refusal::new(StatusCode::TOO_MANY_REQUESTS, error.to_string()))
        }
        Err(error @ NotStarted::Stopping) => {
            Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string()))
        }
        Err(NotStarted::Io(cause)) if cause.kind() == ErrorKind::ArgumentListTooLong => Err(Refusal::bad(
            "the command could not be started: it is too long. Write it to a file with write_file and run that",
        )),
        Err(NotStarted::Io(cause)) => Err(WorkspaceError::Start(cause).into()),
    }
}

/// The directory asked for; else the agent's, and when that is gone, home.
async fn directory(agent: &Agent, asked: &str) -> Result<PathBuf, Refusal> {
    let settings = agent.settings();
    let is_dir = async |path: &PathBuf| tokio::fs::metadata(path).await.is_ok_and(|meta| meta.is_dir());
    if !asked.trim().is_empty() {
        let path = settings.place(asked);
        if is_dir(&path).await {
            return Ok(path);
        }
        return Err(Refusal::field("workdir", format!("there is no directory {}", path.display())));
    }
    for path in [&settings.directory, &settings.home] {
        if is_dir(path).await {
            return Ok(path.clone());
        }
    }
    let gone = settings.directory.display();
    Err(Refusal::field(
        "workdir",
        format!("the workspace folder {gone} is gone; give another directory to run in"),
    ))
}

fn found(agent: &Agent, chat: &str, id: &str) -> Result<Arc<Process>, Refusal> {
    agent.processes.get(chat, id).ok_or_else(|| {
        let message = format!(
            "this chat has no process {id:?}; a process that has ended is forgotten after five minutes, and the list shows the others"
        );
        Refusal::new(StatusCode::NOT_FOUND, message)
    })
}

/// `GET processes/list`
pub fn list(agent: &Agent, chat: &str) -> Answer {
    let processes = agent.processes.list(chat);
    Answer::ok(&Processes { processes: processes.iter().map(|process| info(process)).collect() })
}

fn info(process: &Process) -> ProcessInfo {
    let (exit_code, exited_at) = match process.state() {
        State::Running => (None, None),
        State::Exited { code, at } => (Some(code), Some(at)),
    };
    let seconds = |at: crate::clock::Timestamp| at.as_micros().div_euclid(1_000_000);
    ProcessInfo {
        id: process.id.clone(),
        command: process.command.clone(),
        workdir: process.workdir.to_string_lossy().into_owned(),
        background: process.background,
        running: exit_code.is_none(),
        exit_code,
        started_at_unix: seconds(process.started_at),
        exited_at_unix: exited_at.map(seconds),
    }
}

/// `GET processes/{id}/output`
pub async fn output(agent: &Agent, caller: &Caller, id: &str, query: &Query) -> Result<Answer, Refusal> {
    query.only(&["wait"])?;
    let wait = match query.get("wait") {
        None | Some("" | "false") => false,
        Some("true") => true,
        Some(other) => return Err(Refusal::field("wait", format!("{other:?} is neither true nor false"))),
    };
    let process = found(agent, &caller.chat, id)?;
    if wait {
        process.wait(MAX_WAIT).await;
    }
    // First the state: what is written after it was read as running may be missing, what was written
    // before its end may not.
    let state = process.state();
    let captured = process.output();
    let exit_code = match state {
        State::Running => None,
        State::Exited { code, .. } => Some(code),
    };
    Ok(Answer::ok(&ProcessOutput {
        output: captured.text,
        truncated: captured.truncated,
        running: exit_code.is_none(),
        exit_code,
        wall_duration_ms: u64::try_from(process.ran_for().as_millis()).ok(),
    }))
}

/// `POST processes/{id}/signal`
pub fn signal(agent: &Agent, caller: &Caller, id: &str, request: &SignalProcess) -> Result<Answer, Refusal> {
    let (signal, said) = match request.signal.as_str() {
        "terminate" => (Signal::SIGTERM, "SIGTERM was sent to the process and all it started"),
        "kill" => (Signal::SIGKILL, "SIGKILL was sent to the process and all it started"),
        other => {
            return Err(Refusal::field("signal", format!("{other:?} is unknown; it is terminate or kill")));
        }
    };
    if found(agent, &caller.chat, id)?.signal(signal) {
        return Ok(Answer::ok(&Done { message: said.to_owned() }));
    }
    Err(Refusal::new(StatusCode::CONFLICT, format!("the process {id:?} has ended already")))
}
