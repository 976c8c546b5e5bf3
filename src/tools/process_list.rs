//! `process_list`: what the chat has started in its workspace (tools.md §7).

use super::{Repeat, Tool, ToolContext, outcome::ToolOutcome};
use crate::{chat::json::Json, workspace::wire::Processes};

/// Most processes of an answer (tools.md §7).
const MAX_SHOWN: usize = 10;

/// The tool.
#[derive(Debug, Clone, Copy)]
pub struct ProcessList;

#[async_trait::async_trait]
impl Tool for ProcessList {
    fn name(&self) -> &'static str {
        "process_list"
    }

    fn description(&self) -> &'static str {
        "Lists the processes that this chat has started in its workspace: running ones first, then those that ended \
         last. At most 10."
    }

    fn input_schema(&self) -> Json {
        schema!({"type": "object", "properties": {}})
    }

    fn repeat(&self) -> Repeat {
        Repeat::Again
    }

    async fn run(&self, ctx: &ToolContext, _args: &str) -> ToolOutcome {
        match ctx.ask(|remote| async move { remote.processes().await }).await {
            // The agent has them in this order.
            Ok(Processes { mut processes }) => {
                processes.truncate(MAX_SHOWN);
                ToolOutcome::ok(&Processes { processes })
            }
            Err(failed) => failed,
        }
    }
}
