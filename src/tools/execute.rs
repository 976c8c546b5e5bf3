//! `execute`: a shell command in the workspace (tools.md §5).
//!
//! The agent runs it, and it belongs to the agent: a timeout, an interruption or a lost link only ends the wait.

use super::{Repeat, Tool, ToolContext, arguments, command_line, outcome::ToolOutcome};
use crate::{
    chat::json::Json,
    workspace::{
        output::Truncated,
        remote::{CallError, Remote},
        wire::{self, StartProcess},
    },
};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::time::{Instant, timeout, timeout_at};

/// Name of the tool.
pub const NAME: &str = "execute";

/// Timeout when none is given (tools.md §5).
const DEFAULT_TIMEOUT: &str = "10s";
/// Longest timeout (tools.md §5).
const MAX_TIMEOUT: Duration = Duration::from_secs(4 * 3600);

/// Variables set for every command: no editor or pager may wait for a person who is not there.
const ENVIRONMENT: [(&str, &str); 10] = [
    ("CHATD_CHAT_AGENT", "true"),
    ("GIT_EDITOR", "true"),
    ("GIT_SEQUENCE_EDITOR", "true"),
    ("EDITOR", "true"),
    ("VISUAL", "true"),
    ("GIT_TERMINAL_PROMPT", "0"),
    ("NO_COLOR", "1"),
    ("TERM", "dumb"),
    ("PAGER", "cat"),
    ("GIT_PAGER", "cat"),
];

/// The tool.
#[derive(Debug, Clone, Copy)]
pub struct Execute;

#[derive(Deserialize)]
struct Args {
    command: String,
    timeout: Option<String>,
    workdir: Option<String>,
    run_in_background: Option<bool>,
}

/// How long the agent may hold a request that waits for the end of a process, and a little more.
const WAIT_LIMIT: Duration = Duration::from_secs(5 * 60 + 30);
/// How long what a command has written so far is asked for, after its time was over (tools.md §5).
const SNAPSHOT_WITHIN: Duration = Duration::from_secs(30);

/// The result of [`Execute`] and of [`super::process_output::ProcessOutput`].
#[derive(Debug, Default, Serialize)]
pub(super) struct Answer {
    success: bool,
    output: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<i32>,
    wall_duration_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    truncated: Option<Truncated>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) note: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    background_process_id: Option<String>,
}

impl Answer {
    /// What an agent says of a process. One that still runs has not failed.
    pub(super) fn of(seen: wire::ProcessOutput, wall: Duration) -> Self {
        let error = seen.exit_code.filter(|code| *code != 0);
        Self {
            success: error.is_none(),
            output: seen.output,
            exit_code: seen.exit_code,
            wall_duration_ms: milliseconds(wall),
            error: error.map(|code| format!("the command exited with code {code}")),
            truncated: seen.truncated,
            ..Self::default()
        }
    }
}

fn milliseconds(wall: Duration) -> u64 {
    u64::try_from(wall.as_millis()).unwrap_or(u64::MAX)
}

async fn execute(ctx: &ToolContext, args: &str) -> Result<ToolOutcome, ToolOutcome> {
    let mut args: Args = arguments::parse(args)?;
    arguments::required("command", &args.command)?;
    let timeout = arguments::duration("timeout", args.timeout.as_deref(), DEFAULT_TIMEOUT)?;
    if timeout.is_zero() || timeout > MAX_TIMEOUT {
        return Err(ToolOutcome::error("timeout must be more than 0 and at most 4h"));
    }
    args.workdir = args.workdir.filter(|path| !path.trim().is_empty());
    let mut answer = on_agent(ctx, &args, timeout).await?;
    answer.note = command_line::dumps_files(&args.command).then_some(
        "read_file shows files with line numbers and in ranges; prefer it to printing whole files",
    );
    Ok(ToolOutcome::ok(&answer))
}

async fn on_agent(ctx: &ToolContext, args: &Args, limit: Duration) -> Result<Answer, ToolOutcome> {
    let mut begun = Instant::now();
    let (command, promoted) = command_line::strip_background(&args.command);
    let background = promoted || args.run_in_background == Some(true);
    let process = StartProcess {
        command: command.to_owned(),
        workdir: args.workdir.clone().unwrap_or_default(),
        env: ENVIRONMENT.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect(),
        background,
    };
    let call = ctx.call();
    let (process, call) = (&process, &call);
    let id = ctx.ask(|remote| async move { remote.start(process, call).await }).await?.id;
    if background {
        let wall_duration_ms = milliseconds(begun.elapsed());
        return Ok(Answer {
            success: true,
            wall_duration_ms,
            background_process_id: Some(id),
            ..Answer::default()
        });
    }
    if ctx.repeated {
        // Its time began with the process, when another daemon or an earlier life of this one started it.
        let asked = ctx.ask(|remote| look(remote, &id, false)).await;
        let seen = asked.map_err(|failed| still_there(&failed, &id))?;
        let ran = seen.and_then(|seen| seen.wall_duration_ms).unwrap_or_default();
        begun = begun.checked_sub(Duration::from_millis(ran)).unwrap_or(begun);
    }
    let seen = match timeout_at(begun + limit, wait_for_end(ctx, &id, true)).await {
        Ok(seen) => seen,
        Err(_) => {
            let id = id.as_str();
            let asked = ctx.ask(|remote| look(remote, id, false));
            timeout(SNAPSHOT_WITHIN, asked).await.unwrap_or_else(|_| {
                Err(ToolOutcome::error("the command timed out, and what it has written so far cannot be had"))
            })
        }
    };
    let Some(seen) = seen.map_err(|failed| still_there(&failed, &id))? else {
        return Err(ToolOutcome::error(
            "the workspace's agent does not know the command any more: it was started anew while the command ran, which ended \
             that, or another agent has taken its place. Nobody knows how far it came. Find out what it did before you run it \
             once more",
        ));
    };
    if !seen.running {
        let wall = seen.wall_duration_ms.map_or_else(|| begun.elapsed(), Duration::from_millis);
        return Ok(Answer::of(seen, wall));
    }
    Ok(Answer {
        success: false,
        exit_code: Some(-1),
        error: Some(format!(
            "the command timed out after {limit:?} and goes on in the background: use process_output with its id to \
             wait for it, or process_signal to end it"
        )),
        background_process_id: Some(id),
        ..Answer::of(seen, begun.elapsed())
    })
}

/// What the agent knows of a process; `None`: there is none of this id.
pub(super) async fn look(
    remote: Remote,
    id: &str,
    wait: bool,
) -> Result<Option<wire::ProcessOutput>, CallError> {
    match remote.output(id, wait).await {
        Err(e) if e.is_not_found() => Ok(None),
        seen => seen.map(Some),
    }
}

/// Waits for the end of a process, over as many links as that takes. `goes_on`: this call has started it. `None`: there is
/// none of this id.
pub(super) async fn wait_for_end(
    ctx: &ToolContext,
    id: &str,
    goes_on: bool,
) -> Result<Option<wire::ProcessOutput>, ToolOutcome> {
    loop {
        let seen = ctx.ask_within(WAIT_LIMIT, goes_on, |remote| look(remote, id, true)).await?;
        if !seen.as_ref().is_some_and(|seen| seen.running) {
            return Ok(seen);
        }
    }
}

/// A failure of the wait says nothing about the command.
fn still_there(failed: &ToolOutcome, id: &str) -> ToolOutcome {
    #[derive(Deserialize)]
    struct Failed {
        error: String,
    }
    let why = failed.result.read::<Failed>().map(|failed| failed.error).unwrap_or_default();
    ToolOutcome::error(format!(
        "{why}. The command was started and may go on as the process {id:?}: ask process_output for it when the \
         workspace answers again; do not start it a second time before"
    ))
}

#[async_trait::async_trait]
impl Tool for Execute {
    fn name(&self) -> &'static str {
        NAME
    }

    fn description(&self) -> &'static str {
        "Runs a shell command in the workspace with sh -c and returns its exit code and its output, standard \
         output and error together. Output over 32 KiB keeps its beginning and its end. There is no input: do \
         not run programs that ask questions. A command that runs into its timeout goes on in the background, as one \
         does that is started with run_in_background: process_output waits for it and process_signal ends it. What a command \
         leaves running behind it ends with it: start servers with run_in_background."
    }

    fn input_schema(&self) -> Json {
        schema!({
            "type": "object",
            "properties": {
                "command": {"type": "string", "description": "The shell command."},
                "model_intent": {"type": "string", "description": "What this is for, in a few words, as a label for the user."},
                "timeout": {"type": "string", "description": "How long it may run, like 30s or 2m. Default 10s, at most 4h."},
                "workdir": {"type": "string", "description": "Absolute path of the directory to run in. Default: the workspace folder."},
                "run_in_background": {"type": "boolean", "description": "Return at once with the id of the process, for process_output. For servers and long runs."}
            },
            "required": ["command"]
        })
    }

    fn repeat(&self) -> Repeat {
        Repeat::Attach
    }

    async fn run(&self, ctx: &ToolContext, args: &str) -> ToolOutcome {
        execute(ctx, args).await.unwrap_or_else(|failed| failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[tokio::test]
    async fn what_is_refused() {
        for (args, said) in [
            (json!({"command": "  "}), "command must not be blank"),
            (json!({"command": "ls", "timeout": "soon"}), "not a duration"),
            (json!({"command": "ls", "timeout": "0s"}), "more than 0"),
            (json!({"command": "ls", "timeout": "5h"}), "at most 4h"),
            (json!({"command": "ls"}), "create_workspace"),
        ] {
            let outcome = Execute.run(&ToolContext::nowhere(), &args.to_string()).await;
            let result: Value = outcome.result.read().unwrap();
            assert!(outcome.is_error && result["error"].as_str().unwrap().contains(said), "{result}");
        }
    }
}
