//! `read_skill`: the text of a skill (tools.md §12.1). Those of the chat's owner so far.

use super::{Repeat, Tool, ToolContext, arguments, building, outcome::ToolOutcome};
use crate::{chat::json::Json, store, workspace::skill::Skill};
use serde::Deserialize;
use serde_json::json;

/// What stands before the name of a skill of the chat's owner, where it could be another one.
const PERSONAL: &str = "personal/";

/// The tool.
#[derive(Debug, Clone, Copy)]
pub struct ReadSkill;

#[derive(Deserialize)]
struct Args {
    name: String,
}

async fn read(ctx: &ToolContext, args: &str) -> Result<ToolOutcome, ToolOutcome> {
    let args: Args = arguments::parse(args)?;
    let asked = arguments::required("name", &args.name)?.trim();
    let name = asked.strip_prefix(PERSONAL).unwrap_or(asked);
    let store = &building::session(ctx)?.connection.dialer().store;
    let owner = building::chat(ctx, store).await?.owner_id;
    let found = match store.skill(owner, name.to_owned()).await {
        Ok(found) => found,
        Err(store::Error::NotFound) => {
            return Err(ToolOutcome::error(format!("there is no skill {asked:?}")));
        }
        Err(e) => return Err(building::failed(e)),
    };
    let skill = Skill::parse(&found.content)
        .map_err(|e| ToolOutcome::error(format!("the skill {asked:?} cannot be read: {e}")))?;
    let files: [&str; 0] = [];
    Ok(ToolOutcome::ok(&json!({ "name": skill.name, "body": skill.body, "files": files })))
}

#[async_trait::async_trait]
impl Tool for ReadSkill {
    fn name(&self) -> &'static str {
        "read_skill"
    }

    fn description(&self) -> &'static str {
        "Returns the text of one of the available skills. Read a skill before you follow it."
    }

    fn input_schema(&self) -> Json {
        Json::of(&json!({
            "type": "object",
            "properties": {"name": {"type": "string", "description": "Name of the skill, as it is listed."}},
            "required": ["name"]
        }))
    }

    fn repeat(&self) -> Repeat {
        Repeat::Again
    }

    async fn run(&self, ctx: &ToolContext, args: &str) -> ToolOutcome {
        read(ctx, args).await.unwrap_or_else(|failed| failed)
    }
}
