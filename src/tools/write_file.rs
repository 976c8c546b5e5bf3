//! `write_file`: replaces a file (tools.md §2).

use super::{Place, Repeat, Tool, ToolContext, arguments, outcome::ToolOutcome, plan_file};
use crate::chat::json::Json;
use serde::Deserialize;
use serde_json::json;

/// The tool.
#[derive(Debug, Clone, Copy)]
pub struct WriteFile;

#[derive(Deserialize)]
struct Args {
    path: String,
    content: String,
}

async fn write(ctx: &ToolContext, args: &str) -> Result<ToolOutcome, ToolOutcome> {
    let args: Args = arguments::parse(args)?;
    arguments::required("path", &args.path)?;
    match ctx.place().await? {
        Place::Folder(_) if ctx.plan => {
            return Err(ToolOutcome::error(
                "in plan mode only the plan can be written, and that needs a workspace. Use create_workspace",
            ));
        }
        Place::Folder(folder) => {
            folder.write_file(&args.path, args.content.into_bytes()).await.map_err(ToolOutcome::error)?;
        }
        Place::Agent(_) => {
            let resolved = plan_file::check(ctx, &args.path).await?;
            let (call, args, resolved) = (&ctx.call(), &args, resolved.as_deref());
            let written = ctx.ask(|remote| async move {
                remote.write_file(&args.path, resolved, args.content.clone().into_bytes(), call).await
            });
            written.await?;
        }
    }
    Ok(ToolOutcome::ok(&json!({ "ok": true })))
}

#[async_trait::async_trait]
impl Tool for WriteFile {
    fn name(&self) -> &'static str {
        "write_file"
    }

    fn description(&self) -> &'static str {
        "Writes a file of the workspace, replacing all of what it held. Missing directories are made."
    }

    fn input_schema(&self) -> Json {
        Json::of(&json!({
            "type": "object",
            "properties": {
                "path": {"type": "string", "description": "Absolute path of the file."},
                "content": {"type": "string", "description": "The whole new content; may be empty."}
            },
            "required": ["path", "content"]
        }))
    }

    fn repeat(&self) -> Repeat {
        Repeat::Again
    }

    async fn run(&self, ctx: &ToolContext, args: &str) -> ToolOutcome {
        write(ctx, args).await.unwrap_or_else(|failed| failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::local::LocalFolder;

    #[tokio::test]
    async fn writes_and_refuses() {
        let dir = tempfile::tempdir().unwrap();
        let folder = LocalFolder::open(dir.path()).unwrap();
        let file = folder.root().join("new/f");
        let ctx = ToolContext::in_folder(folder);
        for content in ["hi", ""] {
            let args = json!({"path": file, "content": content}).to_string();
            assert_eq!(WriteFile.run(&ctx, &args).await, ToolOutcome::ok(&json!({"ok": true})));
            assert_eq!(std::fs::read_to_string(&file).unwrap(), content);
        }
        for args in
            [json!({"path": file}), json!({"path": "", "content": ""}), json!({"path": "x", "content": ""})]
        {
            assert!(WriteFile.run(&ctx, &args.to_string()).await.is_error);
        }
        let nowhere = ToolContext { workspace: None, ..ctx };
        assert!(WriteFile.run(&nowhere, &json!({"path": file, "content": ""}).to_string()).await.is_error);
    }
}
