//! Which file may be written in plan mode (tools.md §2): the chat's plan. What else may not be written the agent knows.

use super::{ToolContext, outcome::ToolOutcome};
use crate::{
    ids::ChatId,
    workspace::plan::{self, clean},
};

/// Where the plan of a chat lies.
#[must_use]
pub fn path(home: &str, chat: ChatId) -> String {
    plan::path(home, &chat.to_string())
}

/// Whether a file may be written. In plan mode nothing but the plan may: the answer is where it leads, which the agent
/// compares, so that no link leads elsewhere.
///
/// # Errors
/// An outcome that names the chat's own place, or says that the agent did not answer.
pub async fn check(ctx: &ToolContext, asked: &str) -> Result<Option<String>, ToolOutcome> {
    if !ctx.plan {
        return Ok(None);
    }
    let home = ctx.ask(|remote| async move { remote.home().await }).await?;
    let plan = path(&home, ctx.chat_id);
    if clean(asked) != plan {
        return Err(ToolOutcome::error(format!("in plan mode only the plan can be written: {plan}")));
    }
    let home = home.as_str();
    let resolved = ctx.ask(|remote| async move { remote.resolve(home).await }).await?;
    Ok(Some(path(&resolved, ctx.chat_id)))
}
