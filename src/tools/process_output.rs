//! `process_output`: what a process has written (tools.md §6).

use super::{
    Repeat, Tool, ToolContext, arguments,
    execute::{Answer, look, wait_for_end},
    outcome::ToolOutcome,
};
use crate::chat::json::Json;
use serde::Deserialize;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// Wait when none is given (tools.md §6).
const DEFAULT_WAIT: &str = "10s";

/// The tool.
#[derive(Debug, Clone, Copy)]
pub struct ProcessOutput;

#[derive(Deserialize)]
struct Args {
    process_id: String,
    wait_timeout: Option<String>,
}

async fn output(ctx: &ToolContext, args: &str) -> Result<ToolOutcome, ToolOutcome> {
    let args: Args = arguments::parse(args)?;
    let id = arguments::required("process_id", &args.process_id)?;
    let wait = arguments::duration("wait_timeout", args.wait_timeout.as_deref(), DEFAULT_WAIT)?;
    let begun = Instant::now();
    let seen =
        if wait > Duration::ZERO { timeout(wait, wait_for_end(ctx, id, false)).await.ok() } else { None };
    let seen = match seen {
        Some(seen) => seen?,
        None => ctx.ask(|remote| look(remote, id, false)).await?,
    };
    let seen = seen.ok_or_else(|| {
        ToolOutcome::error(format!(
            "this chat has no process {id:?}; one that has ended is forgotten after five minutes, or with its agent, and \
             process_list shows the others"
        ))
    })?;
    let running = seen.running;
    let mut answer = Answer::of(seen, begun.elapsed());
    if running {
        answer.note = Some("the process is still running; this is what it has written so far");
    }
    Ok(ToolOutcome::ok(&answer))
}

#[async_trait::async_trait]
impl Tool for ProcessOutput {
    fn name(&self) -> &'static str {
        "process_output"
    }

    fn description(&self) -> &'static str {
        "Waits for the end of a process that this chat has started in its workspace, but no longer than wait_timeout, \
         and returns what it has written so far and, once it has ended, its exit code."
    }

    fn input_schema(&self) -> Json {
        schema!({
            "type": "object",
            "properties": {
                "process_id": {"type": "string", "description": "Id of the process, as execute or process_list gave it."},
                "wait_timeout": {"type": "string", "description": "How long to wait for its end, like 30s or 2m; 0s answers at once. Default 10s."},
                "model_intent": {"type": "string", "description": "What this is for, in a few words, as a label for the user."}
            },
            "required": ["process_id"]
        })
    }

    fn repeat(&self) -> Repeat {
        Repeat::Again
    }

    async fn run(&self, ctx: &ToolContext, args: &str) -> ToolOutcome {
        output(ctx, args).await.unwrap_or_else(|failed| failed)
    }
}
