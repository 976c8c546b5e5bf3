//! `write_file`: replaces a file (tools.md §2).

use super::{Repeat, Tool, ToolContext, arguments, outcome::ToolOutcome, plan_file};
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
    let resolved = plan_file::check(ctx, &args.path).await?;
    let (call, args, resolved) = (&ctx.call(), &args, resolved.as_deref());
    let written = ctx.ask(|remote| async move {
        remote.write_file(&args.path, resolved, args.content.clone().into_bytes(), call).await
    });
    written.await?;
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
        schema!({
            "type": "object",
            "properties": {
                "path": {"type": "string", "description": "Absolute path of the file."},
                "content": {"type": "string", "description": "The whole new content; may be empty."}
            },
            "required": ["path", "content"]
        })
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

    #[tokio::test]
    async fn what_is_refused() {
        for args in
            [json!({"path": "/f"}), json!({"path": "", "content": ""}), json!({"path": "/f", "content": ""})]
        {
            assert!(WriteFile.run(&ToolContext::nowhere(), &args.to_string()).await.is_error);
        }
    }
}
