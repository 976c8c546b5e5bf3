//! Runs the local calls of one step together and commits their results together.

use super::{End, Work};
use crate::{
    chat::{
        command::Command,
        message::{Part, ToolCallPart},
        state::Status,
    },
    metrics,
    store::records::{ChatRecord, Head},
    tools::{
        ToolContext,
        registry::{Lookup, Registry},
    },
    turn::{engine::ModelChoice, retry::turn_error, tool_batch},
};

pub(super) async fn run(
    work: &Work,
    chat: &ChatRecord,
    choice: &ModelChoice,
    registry: &Registry,
    calls: &[ToolCallPart],
) -> Result<Head, End> {
    let attempt = chat.head.versions.attempt;
    let engine = &work.shared.turn;
    // A batch that takes the process down with it would otherwise be tried for ever.
    if attempt >= engine.policy.max_attempts {
        let error = turn_error("The tool calls of this step were started too often without finishing.");
        return work.fail(error, attempt).await;
    }
    let (key, attempt) = work.attempt(attempt).await?;
    let workspace = match engine.workspace(work.chat) {
        Ok(workspace) => workspace,
        Err(e) => {
            tracing::warn!(chat = %work.chat, error = %e, "the chat's folder cannot be used");
            None
        }
    };
    let ctx = ToolContext { chat_id: work.chat, tool_call_id: String::new(), workspace };
    let output = tool_batch::run(registry, &ctx, calls, choice.context_limit, &work.shared.clock).await;
    for (role, part) in output.parts {
        count(choice, registry, &part);
        work.link.part(key, role, part);
    }
    work.commit(Command::CommitStep(output.messages), work.fence(Status::Running, Some(attempt))).await
}

/// Metrics of one result. Names that the model made up share one label.
fn count(choice: &ModelChoice, registry: &Registry, part: &Part) {
    let Part::ToolResult(result) = part else { return };
    let tool = match registry.lookup(&result.tool_name) {
        Lookup::Unknown => "unknown".to_owned(),
        Lookup::Dynamic => "dynamic".to_owned(),
        Lookup::Tool(_) | Lookup::Inactive => result.tool_name.clone(),
    };
    let labels = [
        ("provider", choice.provider_type.clone()),
        ("model", choice.defaults.model.clone()),
        ("tool_name", tool),
    ];
    let size = result.result.as_ref().map_or(0, |r| r.get().len());
    ::metrics::histogram!(metrics::TOOL_RESULT_SIZE_BYTES, &labels)
        .record(u32::try_from(size).unwrap_or(u32::MAX));
    if result.is_error {
        ::metrics::counter!(metrics::TOOL_ERRORS_TOTAL, &labels).increment(1);
    }
}
