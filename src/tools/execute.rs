//! `execute`: a shell command in the workspace (tools.md §5).
//!
//! There are no background processes yet: a request for one is refused, and a command that runs into
//! its timeout is killed with its process group, which the result says.

use super::{Tool, ToolContext, arguments, command_line, duration, outcome::ToolOutcome};
use crate::{
    chat::json::Json,
    workspace::{CommandEnd, Exit, RunCommand, output::Truncated},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::time::Duration;

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

#[derive(Serialize)]
struct Answer {
    success: bool,
    output: String,
    exit_code: i32,
    wall_duration_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    truncated: Option<Truncated>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'static str>,
}

async fn execute(ctx: &ToolContext, args: &str) -> Result<ToolOutcome, ToolOutcome> {
    let args: Args = arguments::parse(args)?;
    arguments::required("command", &args.command)?;
    let (_, background) = command_line::strip_background(&args.command);
    if background || args.run_in_background == Some(true) {
        return Err(ToolOutcome::error(
            "background processes are not available yet; run the command in the foreground with a timeout that is long enough",
        ));
    }
    let asked =
        args.timeout.as_deref().map(str::trim).filter(|text| !text.is_empty()).unwrap_or(DEFAULT_TIMEOUT);
    let timeout = duration::parse(asked).ok_or_else(|| {
        ToolOutcome::error(format!("timeout {asked:?} is not a duration; write it like 30s or 2m30s"))
    })?;
    if timeout.is_zero() || timeout > MAX_TIMEOUT {
        return Err(ToolOutcome::error(format!("timeout {asked:?} must be more than 0 and at most 4h")));
    }
    let command = RunCommand {
        command: args.command.clone(),
        workdir: args.workdir.filter(|path| !path.trim().is_empty()),
        env: ENVIRONMENT.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect(),
        timeout,
        chat_id: ctx.chat_id,
    };
    let end = ctx.workspace()?.run_command(command).await.map_err(ToolOutcome::error)?;
    Ok(ToolOutcome::ok(&answer(end, &args.command, asked)))
}

fn answer(end: CommandEnd, command: &str, timeout: &str) -> Answer {
    let (exit_code, error) = match end.exit {
        Exit::Code(0) => (0, None),
        Exit::Code(code) => (code, Some(format!("the command exited with code {code}"))),
        // As a shell reports it.
        Exit::Signal(signal) => (128 + signal, Some(format!("the command was ended by signal {signal}"))),
        Exit::TimedOut => {
            (-1, Some(format!("the command timed out after {timeout}; it and all its processes were killed")))
        }
    };
    Answer {
        success: end.exit == Exit::Code(0),
        output: end.output.text,
        exit_code,
        wall_duration_ms: u64::try_from(end.wall.as_millis()).unwrap_or(u64::MAX),
        error,
        truncated: end.output.truncated,
        note: command_line::dumps_files(command).then_some(
            "read_file shows files with line numbers and in ranges; prefer it to printing whole files",
        ),
    }
}

#[async_trait::async_trait]
impl Tool for Execute {
    fn name(&self) -> &'static str {
        NAME
    }

    fn description(&self) -> &'static str {
        "Runs a shell command in the workspace with sh -c and returns its exit code and its output, standard \
         output and error together. Output over 32 KiB keeps its beginning and its end. There is no input: do \
         not run programs that ask questions. A command that runs into its timeout is killed with everything \
         it started."
    }

    fn input_schema(&self) -> Json {
        Json::of(&json!({
            "type": "object",
            "properties": {
                "command": {"type": "string", "description": "The shell command."},
                "model_intent": {"type": "string", "description": "What this is for, in a few words, as a label for the user."},
                "timeout": {"type": "string", "description": "How long it may run, like 30s or 2m. Default 10s, at most 4h."},
                "workdir": {"type": "string", "description": "Absolute path of the directory to run in. Default: the workspace folder."},
                "run_in_background": {"type": "boolean", "description": "Not available yet; leave it out."}
            },
            "required": ["command"]
        }))
    }

    async fn run(&self, ctx: &ToolContext, args: &str) -> ToolOutcome {
        execute(ctx, args).await.unwrap_or_else(|failed| failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ids::ChatId, workspace::local::LocalFolder};
    use serde_json::Value;
    use std::sync::Arc;

    async fn run(args: Value) -> (bool, Value) {
        let dir = tempfile::tempdir().unwrap();
        let folder = LocalFolder::open(dir.path()).unwrap();
        std::fs::create_dir(folder.root().join("sub")).unwrap();
        let args = args.to_string().replace("ROOT", &folder.root().to_string_lossy());
        let ctx = ToolContext {
            chat_id: ChatId(uuid::Uuid::nil()),
            tool_call_id: "1".into(),
            workspace: Some(Arc::new(folder)),
        };
        let outcome = Execute.run(&ctx, &args).await;
        (outcome.is_error, outcome.result.read().unwrap())
    }

    #[tokio::test]
    async fn a_finished_command() {
        let (is_error, mut result) =
            run(json!({"command": "echo $CHATD_CHAT_AGENT $TERM; pwd", "workdir": "ROOT/sub"})).await;
        assert!(!is_error && result["wall_duration_ms"].is_u64());
        let output = result["output"].take();
        let output = output.as_str().unwrap();
        assert!(output.starts_with("true dumb\n") && output.ends_with("/sub\n"), "{output}");
        let mut keys: Vec<_> = result.as_object().unwrap().keys().cloned().collect();
        keys.sort();
        assert_eq!(keys, ["exit_code", "output", "success", "wall_duration_ms"]);
        assert_eq!((&result["success"], &result["exit_code"]), (&json!(true), &json!(0)));
    }

    #[tokio::test]
    async fn a_failing_command_is_a_normal_result() {
        let (is_error, result) = run(json!({"command": "cat /nonexistent"})).await;
        assert!(!is_error);
        assert_eq!((&result["success"], &result["exit_code"]), (&json!(false), &json!(1)));
        assert!(result["error"].is_string() && result["note"].as_str().unwrap().contains("read_file"));
    }

    #[tokio::test]
    async fn a_timeout_and_a_flood() {
        let (is_error, result) = run(json!({"command": "echo before; sleep 50", "timeout": "200ms"})).await;
        assert!(!is_error);
        assert_eq!((&result["exit_code"], &result["output"]), (&json!(-1), &json!("before\n")));
        assert!(result["error"].as_str().unwrap().contains("timed out after 200ms"));
        let (_, result) = run(json!({"command": "yes | head -c 1000000"})).await;
        assert_eq!(
            result["truncated"],
            json!({"original_bytes": 1_000_000, "retained_bytes": 32_768, "omitted_bytes": 967_232, "strategy": "head_tail"})
        );
    }

    #[tokio::test]
    async fn what_is_refused() {
        for (args, said) in [
            (json!({"command": "sleep 1 &"}), "not available yet"),
            (json!({"command": "ls", "run_in_background": true}), "not available yet"),
            (json!({"command": "  "}), "command must not be blank"),
            (json!({"command": "ls", "timeout": "soon"}), "not a duration"),
            (json!({"command": "ls", "timeout": "0s"}), "more than 0"),
            (json!({"command": "ls", "timeout": "5h"}), "at most 4h"),
            (json!({"command": "ls", "workdir": "/etc"}), "outside"),
            (json!({"command": "ls", "workdir": "ROOT/none"}), "does not exist"),
        ] {
            let (is_error, result) = run(args).await;
            assert!(is_error && result["error"].as_str().unwrap().contains(said), "{result}");
        }
    }
}
