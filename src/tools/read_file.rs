//! `read_file`: numbered lines of a text file (tools.md §1).

use super::{Place, Repeat, Tool, ToolContext, arguments, outcome::ToolOutcome};
use crate::{
    chat::json::Json,
    workspace::lines::{ReadCaps, ReadRequest},
};
use serde::Deserialize;
use serde_json::json;

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
    let lines = match ctx.place().await? {
        Place::Folder(folder) => folder.read_lines(request).await.map_err(ToolOutcome::error)?,
        Place::Agent(_) => {
            let request = &request;
            ctx.ask(|remote| async move { remote.read_lines(request).await }).await?
        }
    };
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
        Json::of(&json!({
            "type": "object",
            "properties": {
                "path": {"type": "string", "description": "Absolute path of the file."},
                "offset": {"type": "integer", "description": "First line to read, from 1. Default 1."},
                "limit": {"type": "integer", "description": "Number of lines to read. Default: up to 2000."}
            },
            "required": ["path"]
        }))
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
    use crate::workspace::local::LocalFolder;
    use serde_json::Value;

    #[tokio::test]
    async fn results_and_errors() {
        let dir = tempfile::tempdir().unwrap();
        let folder = LocalFolder::open(dir.path()).unwrap();
        let file = folder.root().join("f");
        std::fs::write(&file, "a\nb\n").unwrap();
        let mut ctx = ToolContext::in_folder(folder);
        let run = async |ctx: &ToolContext, args: Value| {
            let outcome = ReadFile.run(ctx, &args.to_string()).await;
            (outcome.is_error, outcome.result.read::<Value>().unwrap())
        };
        let whole = run(&ctx, json!({"path": file, "offset": 0, "limit": -1})).await;
        assert_eq!(
            whole,
            (false, json!({"content": "1\ta\n2\tb", "file_size": 4, "total_lines": 2, "lines_read": 2}))
        );
        let part = run(&ctx, json!({"path": file, "offset": 2, "limit": 5})).await;
        assert_eq!(part.1["content"], "2\tb");
        for (args, said) in [
            (json!({"path": "f"}), "must be absolute"),
            (json!({"path": " "}), "path must not be blank"),
            (json!({}), "missing field"),
            (json!({"path": file, "offset": 9}), "the file has 2 lines"),
            (json!({"path": "/etc/passwd"}), "outside"),
        ] {
            let (is_error, result) = run(&ctx, args).await;
            assert!(is_error && result["error"].as_str().unwrap().contains(said), "{result}");
        }
        ctx.workspace = None;
        assert!(run(&ctx, json!({"path": file})).await.1["error"].as_str().unwrap().contains("no workspace"));
    }
}
