//! `propose_plan`: shows the plan that lies in the workspace to the user and ends the turn (tools.md §10).

use super::{
    Repeat, Tool, ToolContext, arguments,
    attach_file::{base_name, store},
    outcome::ToolOutcome,
    plan_file,
};
use crate::chat::json::Json;
use serde::Deserialize;
use serde_json::json;

/// Name of the tool.
pub const NAME: &str = "propose_plan";
/// Largest plan in bytes (tools.md §10).
const MAX_PLAN: usize = 32 * 1024;
const MEDIA_TYPE: &str = "text/markdown";

/// The tool.
#[derive(Debug, Clone, Copy)]
pub struct ProposePlan;

#[derive(Deserialize)]
struct Args {
    path: Option<String>,
}

async fn propose(ctx: &ToolContext, args: &str) -> Result<ToolOutcome, ToolOutcome> {
    let args: Args = arguments::parse(args)?;
    let given = args.path.as_deref().map(str::trim).filter(|path| !path.is_empty());
    let path = match given {
        Some(path) => path.to_owned(),
        None => {
            let home = ctx.ask(|remote| async move { remote.home().await }).await?;
            plan_file::path(&home, ctx.chat_id)
        }
    };
    let path = path.as_str();
    if !path.to_lowercase().ends_with(".md") {
        return Err(ToolOutcome::error(format!("{path:?} is no plan: its name has to end in .md")));
    }
    plan_file::check(ctx, path).await?;
    let raw = ctx.ask(|remote| async move { remote.read_file(path, MAX_PLAN as u64 + 1).await }).await?;
    if raw.bytes.len() > MAX_PLAN {
        return Err(ToolOutcome::error(format!("the plan has more than {MAX_PLAN} bytes; shorten it")));
    }
    let text =
        std::str::from_utf8(&raw.bytes).map_err(|_| ToolOutcome::error("the plan is not UTF-8 text"))?;
    if text.trim().is_empty() || text.contains('\0') {
        return Err(ToolOutcome::error(format!("the plan {path:?} is blank; write it first")));
    }
    let stored = store(ctx, base_name(path).to_owned(), MEDIA_TYPE, &raw.bytes).await?;
    let result = json!({
        "ok": true,
        "path": path,
        "kind": "plan",
        "file_id": stored.id,
        "media_type": MEDIA_TYPE,
    });
    Ok(ToolOutcome { attachments: vec![stored.attachment()], ..ToolOutcome::ok(&result) })
}

#[async_trait::async_trait]
impl Tool for ProposePlan {
    fn name(&self) -> &'static str {
        NAME
    }

    fn description(&self) -> &'static str {
        "Shows the plan to the user and ends the turn. Write it with write_file first, to the place that an error names \
         when it is written elsewhere; at most 32 KiB of Markdown."
    }

    fn input_schema(&self) -> Json {
        schema!({
            "type": "object",
            "properties": {"path": {"type": "string", "description": "Absolute path of the plan. Default: this chat's."}}
        })
    }

    // Each run stores a file of its own.
    fn repeat(&self) -> Repeat {
        Repeat::Never
    }

    async fn run(&self, ctx: &ToolContext, args: &str) -> ToolOutcome {
        propose(ctx, args).await.unwrap_or_else(|failed| failed)
    }
}
