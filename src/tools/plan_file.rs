//! Places that a plan must not be written to (tools.md §2): chats that share a workspace would overwrite each other's.

use super::{ToolContext, outcome::ToolOutcome};
use crate::ids::ChatId;

/// The place that earlier versions used.
const LEGACY: &str = "/home/coder/PLAN.md";
/// Below the home directory, one file a chat.
const FOLDER: &str = ".coder/plans";

/// Where the plan of a chat lies.
#[must_use]
pub fn path(home: &str, chat: ChatId) -> String {
    format!("{}/{FOLDER}/PLAN-{chat}.md", home.trim_end_matches('/'))
}

/// Whether a file may be written. In plan mode nothing but the plan may: the answer is where it leads, which the agent
/// compares, so that no link leads elsewhere. Otherwise the places are refused that all chats of a workspace share.
///
/// # Errors
/// An outcome that names the chat's own place, or says that the agent did not answer.
pub async fn check(ctx: &ToolContext, asked: &str) -> Result<Option<String>, ToolOutcome> {
    if !ctx.plan {
        return refuse_shared(ctx, asked).await.map(|()| None);
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

async fn refuse_shared(ctx: &ToolContext, asked: &str) -> Result<(), ToolOutcome> {
    let cleaned = clean(asked);
    // A link of any name may lead there. A path that is not absolute is refused by the agent.
    let place = ctx.ask(|remote| async move { remote.resolve(asked).await }).await?;
    let mut places = vec![cleaned.as_str(), place.as_str()];
    places.retain(|path| is_plan(path));
    if places.is_empty() {
        return Ok(());
    }
    let home = ctx.ask(|remote| async move { remote.home().await }).await?;
    let shown = home.as_str();
    let real = ctx.ask(|remote| async move { remote.resolve(shown).await }).await?;
    let is_home = |folder: &str| [&home, &real].iter().any(|home| folder == home.trim_end_matches('/'));
    if places.into_iter().any(|path| {
        path.eq_ignore_ascii_case(LEGACY) || path.rsplit_once('/').is_some_and(|(folder, _)| is_home(folder))
    }) {
        return Err(ToolOutcome::error(format!(
            "{asked:?} would be shared by all chats of this workspace; write the plan to {}",
            path(&home, ctx.chat_id)
        )));
    }
    Ok(())
}

fn is_plan(path: &str) -> bool {
    path.rsplit('/').next().is_some_and(|name| name.trim().eq_ignore_ascii_case("plan.md"))
}

/// The path without `.`, `..` and doubled slashes.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned() {
        for (path, cleaned) in [
            ("/home/a/PLAN.md", "/home/a/PLAN.md"),
            ("/home//a/./b/../PLAN.md", "/home/a/PLAN.md"),
            ("/../..", "/"),
        ] {
            assert_eq!(clean(path), cleaned);
        }
    }
}
