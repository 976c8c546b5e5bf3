//! `read_file`: numbered lines of a text file (tools.md §1).

use super::{Repeat, Tool, ToolContext, arguments, outcome::ToolOutcome};
use crate::{
    chat::json::Json,
    workspace::lines::{ReadCaps, ReadRequest},
};
use serde::Deserialize;

/// The tool.
#[derive(Debug, Clone, Copy)]
pub struct ReadFile;

#[derive(Deserialize)]
struct Args {
    path: String,
    offset: Option<i64>,
    limit: Option<i64>,
}

async fn read(ctx: &ToolContext, args: &str) -> Result<ToolOutcome, ToolOutcome> {
    let args: Args = arguments::parse(args)?;
    arguments::required("path", &args.path)?;
    // Zero and negative values mean the default.
    let count = |value: Option<i64>| value.and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
    let request = ReadRequest {
        path: args.path,
        offset: count(args.offset).max(1),
        limit: count(args.limit),
        caps: ReadCaps::default(),
    };
    let request = &request;
    let lines = ctx.ask(|remote| async move { remote.read_lines(request).await }).await?;
    Ok(ToolOutcome::ok(&lines))
}

#[async_trait::async_trait]
impl Tool for ReadFile {
    fn name(&self) -> &'static str {
        "read_file"
    }

    fn description(&self) -> &'static str {
        "Reads a text file of the workspace. Each line comes as its number, a tab and its text. At most 2000 \
         lines and 32 KiB fit into one answer; read longer files in ranges with offset and limit."
    }

    fn input_schema(&self) -> Json {
        schema!({
            "type": "object",
            "properties": {
                "path": {"type": "string", "description": "Absolute path of the file."},
                "offset": {"type": "integer", "description": "First line to read, from 1. Default 1."},
                "limit": {"type": "integer", "description": "Number of lines to read. Default: up to 2000."}
            },
            "required": ["path"]
        })
    }

    fn repeat(&self) -> Repeat {
        Repeat::Again
    }

    async fn run(&self, ctx: &ToolContext, args: &str) -> ToolOutcome {
        read(ctx, args).await.unwrap_or_else(|failed| failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[tokio::test]
    async fn arguments_are_looked_at_before_a_workspace_is() {
        for (args, said) in [
            (json!({"path": " "}), "path must not be blank"),
            (json!({}), "missing field"),
            (json!({"path": "/f"}), "create_workspace"),
        ] {
            let outcome = ReadFile.run(&ToolContext::nowhere(), &args.to_string()).await;
            let result: Value = outcome.result.read().unwrap();
            assert!(outcome.is_error && result["error"].as_str().unwrap().contains(said), "{result}");
        }
    }
}
