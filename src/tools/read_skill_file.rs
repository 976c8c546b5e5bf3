//! `read_skill_file`: a file that belongs to a skill of the workspace (tools.md §12.2).

use super::{
    Repeat, Tool, ToolContext, arguments,
    outcome::ToolOutcome,
    read_skill::{of_person, of_workspace},
};
use crate::{
    chat::json::Json,
    workspace::{
        skill::{MAX_FILE_BYTES, WorkspaceSkill},
        text::prefix,
    },
};
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;

/// The tool.
#[derive(Debug, Clone)]
pub struct ReadSkillFile {
    /// The skills of the workspace.
    pub workspace: Arc<[WorkspaceSkill]>,
}

#[derive(Deserialize)]
struct Args {
    name: String,
    path: String,
}

/// Whether a path names something in the folder it is relative to, and nothing hidden.
fn is_inner(path: &str) -> bool {
    !path.is_empty()
        && !path.contains(['\0', '\\'])
        && path.split('/').all(|part| !part.is_empty() && !part.starts_with('.'))
}

impl ReadSkillFile {
    async fn read(&self, ctx: &ToolContext, args: &str) -> Result<ToolOutcome, ToolOutcome> {
        let args: Args = arguments::parse(args)?;
        let asked = arguments::required("name", &args.name)?.trim();
        let path = arguments::required("path", &args.path)?.trim();
        let Some(skill) = of_workspace(&self.workspace, asked) else {
            let name = asked.trim_start_matches("personal/");
            return Err(match of_person(ctx, name).await? {
                Some(_) => {
                    ToolOutcome::error(format!("the skill {asked:?} is a personal one: it has no files"))
                }
                None => ToolOutcome::error(format!("there is no skill {asked:?} in the workspace")),
            });
        };
        if !is_inner(path) {
            return Err(ToolOutcome::error(format!(
                "{path:?} must be a path within the folder of the skill, without . and .. and nothing that begins with a dot"
            )));
        }
        let (dir, file) = (skill.dir.as_str(), skill.path(path));
        let file = file.as_str();
        // A link must not lead out of the skill, to a key for instance.
        let folder = ctx.ask(|remote| async move { remote.resolve(dir).await }).await?;
        let place = ctx.ask(|remote| async move { remote.resolve(file).await }).await?;
        if !place.strip_prefix(folder.trim_end_matches('/')).is_some_and(|rest| rest.starts_with('/')) {
            return Err(ToolOutcome::error(format!("{path:?} leads out of the folder of the skill")));
        }
        let place = place.as_str();
        // One more, to see whether there is more.
        let most = MAX_FILE_BYTES as u64 + 1;
        let bytes = ctx.ask(|remote| async move { remote.read_file(place, most).await }).await?.bytes;
        let is_cut = bytes.len() > MAX_FILE_BYTES;
        let bytes = &bytes[..bytes.len().min(MAX_FILE_BYTES)];
        // A character that the limit cuts in two is left out.
        let whole = match std::str::from_utf8(bytes) {
            Err(e) if e.error_len().is_none() => &bytes[..e.valid_up_to()],
            _ => bytes,
        };
        let text = String::from_utf8_lossy(whole);
        let mut result = json!({ "content": prefix(&text, MAX_FILE_BYTES) });
        if is_cut {
            result["note"] = format!(
                "only the first 512 KiB of the file were read; it is {file:?} in the workspace, where read_file shows ranges \
                 of lines of files up to 1 MiB and execute shows parts of larger ones"
            )
            .into();
        }
        Ok(ToolOutcome::ok(&result))
    }
}

#[async_trait::async_trait]
impl Tool for ReadSkillFile {
    fn name(&self) -> &'static str {
        "read_skill_file"
    }

    fn description(&self) -> &'static str {
        "Returns the text of a file that belongs to a skill of the workspace, as read_skill lists them. At most 512 KiB."
    }

    fn input_schema(&self) -> Json {
        schema!({
            "type": "object",
            "properties": {
                "name": {"type": "string", "description": "Name of the skill, as it is listed."},
                "path": {"type": "string", "description": "Path of the file, relative to the folder of the skill."}
            },
            "required": ["name", "path"]
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
    fn only_paths_into_the_folder() {
        for path in ["a.md", "references/a.md", "a b/c"] {
            assert!(is_inner(path), "{path}");
        }
        for path in
            ["", "/etc/passwd", "..", "../x", "a/../b", "a//b", ".env", "a/.git/x", "./a", "a/", "a\\..\\b"]
        {
            assert!(!is_inner(path), "{path}");
        }
    }
}
