//! `read_skill`: the text of a skill of the chat's owner or of its workspace (tools.md §12.1).

use super::{Repeat, Tool, ToolContext, arguments, building, outcome::ToolOutcome};
use crate::{
    chat::json::Json,
    store,
    workspace::{
        skill::{MAX_PERSONAL_BYTES, Skill, WorkspaceSkill},
        text::prefix,
    },
};
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;

/// Where a skill is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The chat's owner wrote it.
    Personal,
    /// It lies in the workspace.
    Workspace,
}

impl Source {
    const fn prefix(self) -> &'static str {
        match self {
            Self::Personal => "personal/",
            Self::Workspace => "workspace/",
        }
    }

    /// The name by which it is called where both have one of this name.
    #[must_use]
    pub fn qualified(self, name: &str) -> String {
        format!("{}{name}", self.prefix())
    }
}

/// The tool.
#[derive(Debug, Clone)]
pub struct ReadSkill {
    /// The skills of the workspace.
    pub workspace: Arc<[WorkspaceSkill]>,
}

#[derive(Deserialize)]
struct Args {
    name: String,
}

/// What a name asks for: its source, if it says one, and the bare name.
fn split(asked: &str) -> (Option<Source>, &str) {
    for source in [Source::Personal, Source::Workspace] {
        if let Some(name) = asked.strip_prefix(source.prefix()) {
            return (Some(source), name);
        }
    }
    (None, asked)
}

fn unknown(asked: &str) -> ToolOutcome {
    ToolOutcome::error(format!("there is no skill {asked:?}; the names are those of <available-skills>"))
}

/// The skill of the workspace that is asked for.
pub(super) fn of_workspace<'a>(skills: &'a [WorkspaceSkill], asked: &str) -> Option<&'a WorkspaceSkill> {
    match split(asked) {
        (Some(Source::Personal), _) => None,
        (_, name) => skills.iter().find(|skill| skill.name == name),
    }
}

/// The text of the person's skill, if there is one. Read as the owner of the chat.
pub(super) async fn of_person(ctx: &ToolContext, name: &str) -> Result<Option<String>, ToolOutcome> {
    let store = &building::session(ctx)?.connection.dialer().store;
    let owner = building::chat(ctx, store).await?.owner_id;
    match store.skill(owner, name.to_owned()).await {
        Ok(found) => Ok(Some(found.content)),
        Err(store::Error::NotFound) => Ok(None),
        Err(e) => Err(building::failed(e)),
    }
}

fn parse(asked: &str, text: &str) -> Result<Skill, ToolOutcome> {
    Skill::parse(text).map_err(|e| ToolOutcome::error(format!("the skill {asked:?} cannot be read: {e}")))
}

impl ReadSkill {
    async fn read(&self, ctx: &ToolContext, args: &str) -> Result<ToolOutcome, ToolOutcome> {
        let args: Args = arguments::parse(args)?;
        let asked = arguments::required("name", &args.name)?.trim();
        let (source, name) = split(asked);
        let personal = match source {
            Some(Source::Workspace) => None,
            _ => of_person(ctx, name).await?,
        };
        match (personal, of_workspace(&self.workspace, asked)) {
            (Some(_), Some(_)) => Err(ToolOutcome::error(format!(
                "{name:?} is ambiguous: ask for {} or {}",
                Source::Personal.qualified(name),
                Source::Workspace.qualified(name)
            ))),
            (Some(text), None) => {
                let skill = parse(asked, &text)?;
                let files: [&str; 0] = [];
                Ok(ToolOutcome::ok(&json!({ "name": skill.name, "body": skill.body, "files": files })))
            }
            (None, Some(found)) => in_workspace(ctx, asked, found).await,
            (None, None) => Err(unknown(asked)),
        }
    }
}

async fn in_workspace(
    ctx: &ToolContext,
    asked: &str,
    found: &WorkspaceSkill,
) -> Result<ToolOutcome, ToolOutcome> {
    let path = &found.path(&found.meta_file);
    let read = ctx.ask(|remote| async move { remote.read_file(path, MAX_PERSONAL_BYTES as u64).await });
    let bytes = read.await?.bytes;
    let text = String::from_utf8_lossy(&bytes);
    let skill = parse(asked, prefix(&text, MAX_PERSONAL_BYTES))?;
    let dir = found.dir.as_str();
    let listed = ctx.ask(|remote| async move { remote.list(dir).await }).await?;
    let mut files: Vec<String> = listed
        .contents
        .into_iter()
        .filter(|entry| entry.name != found.meta_file && !entry.name.starts_with('.'))
        .map(|entry| if entry.is_dir { entry.name + "/" } else { entry.name })
        .collect();
    files.sort();
    Ok(ToolOutcome::ok(&json!({ "name": skill.name, "body": skill.body, "files": files })))
}

#[async_trait::async_trait]
impl Tool for ReadSkill {
    fn name(&self) -> &'static str {
        "read_skill"
    }

    fn description(&self) -> &'static str {
        "Returns the text of one of the available skills and the names of the files and folders that belong to it. Read a skill \
         before you follow it."
    }

    fn input_schema(&self) -> Json {
        schema!({
            "type": "object",
            "properties": {"name": {"type": "string", "description": "Name of the skill, as it is listed."}},
            "required": ["name"]
        })
    }

    fn repeat(&self) -> Repeat {
        Repeat::Again
    }

    async fn run(&self, ctx: &ToolContext, args: &str) -> ToolOutcome {
        self.read(ctx, args).await.unwrap_or_else(|failed| failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_where_a_skill_is_from() {
        let skill = WorkspaceSkill {
            name: "go".into(),
            description: String::new(),
            dir: "/w/go".into(),
            meta_file: "SKILL.md".into(),
        };
        let skills = [skill];
        for (asked, found) in [
            ("go", true),
            ("workspace/go", true),
            ("personal/go", false),
            ("stay", false),
            ("workspace/stay", false),
        ] {
            assert_eq!(of_workspace(&skills, asked).is_some(), found, "{asked}");
        }
        assert_eq!(split("personal/workspace/x"), (Some(Source::Personal), "workspace/x"));
    }
}
