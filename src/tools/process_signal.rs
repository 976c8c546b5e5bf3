//! `process_signal`: ends a process that the chat has started (tools.md §8).

use super::{Repeat, Tool, ToolContext, arguments, outcome::ToolOutcome};
use crate::chat::json::Json;
use serde::Deserialize;
use serde_json::json;

/// The tool.
#[derive(Debug, Clone, Copy)]
pub struct ProcessSignal;

#[derive(Deserialize)]
struct Args {
    process_id: String,
    signal: String,
}

async fn signal(ctx: &ToolContext, args: &str) -> Result<ToolOutcome, ToolOutcome> {
    let args: Args = arguments::parse(args)?;
    arguments::required("process_id", &args.process_id)?;
    arguments::required("signal", &args.signal)?;
    if !["terminate", "kill"].contains(&args.signal.as_str()) {
        return Err(ToolOutcome::error(format!(
            "signal {:?} is unknown; it is terminate or kill",
            args.signal
        )));
    }
    let (id, name) = (args.process_id.as_str(), args.signal.as_str());
    let done = ctx.ask(|remote| async move { remote.signal(id, name).await }).await?;
    Ok(ToolOutcome::ok(&json!({ "success": true, "message": done.message })))
}

#[async_trait::async_trait]
impl Tool for ProcessSignal {
    fn name(&self) -> &'static str {
        "process_signal"
    }

    fn description(&self) -> &'static str {
        "Signals a process that this chat has started in its workspace, and everything the process has started: \
         terminate (SIGTERM) asks it to end, kill (SIGKILL) ends it."
    }

    fn input_schema(&self) -> Json {
        schema!({
            "type": "object",
            "properties": {
                "process_id": {"type": "string", "description": "Id of the process, as execute or process_list gave it."},
                "signal": {"type": "string", "enum": ["terminate", "kill"], "description": "terminate (SIGTERM) or kill (SIGKILL)."}
            },
            "required": ["process_id", "signal"]
        })
    }

    // A second signal finds the process gone, or asks it once more for the same.
    fn repeat(&self) -> Repeat {
        Repeat::Again
    }

    async fn run(&self, ctx: &ToolContext, args: &str) -> ToolOutcome {
        signal(ctx, args).await.unwrap_or_else(|failed| failed)
    }
}
