//! `edit_files`: replaces pieces of files, all of them or none (tools.md §3, §15.3).

use super::{Repeat, Tool, ToolContext, arguments, outcome::ToolOutcome, plan_file};
use crate::{
    chat::json::Json,
    workspace::wire::{self, Edit, FileEdits},
};
use serde::Deserialize;
use serde_json::json;

/// The tool.
#[derive(Debug, Clone, Copy)]
pub struct EditFiles;

#[derive(Deserialize)]
struct Args {
    files: Vec<FileArgs>,
}

#[derive(Deserialize)]
struct FileArgs {
    path: String,
    edits: Vec<EditArgs>,
}

#[derive(Deserialize)]
struct EditArgs {
    search: String,
    replace: String,
    replace_all: Option<bool>,
}

async fn edit(ctx: &ToolContext, args: &str) -> Result<ToolOutcome, ToolOutcome> {
    let args: Args = arguments::parse(args)?;
    if args.files.is_empty() {
        return Err(ToolOutcome::error("files must name at least one file"));
    }
    for (at, file) in args.files.iter().enumerate() {
        arguments::required(&format!("files[{at}].path"), &file.path)?;
        if file.edits.is_empty() {
            return Err(ToolOutcome::error(format!("files[{at}].edits must hold at least one edit")));
        }
        if let Some(empty) = file.edits.iter().position(|edit| edit.search.is_empty()) {
            return Err(ToolOutcome::error(format!("files[{at}].edits[{empty}].search must not be empty")));
        }
    }
    let mut resolved = Vec::new();
    for file in &args.files {
        resolved.push(plan_file::check(ctx, &file.path).await?);
    }
    let edits = |edits: Vec<EditArgs>| {
        let edits = edits.into_iter();
        edits
            .map(|e| Edit {
                search: e.search,
                replace: e.replace,
                replace_all: e.replace_all.unwrap_or_default(),
            })
            .collect()
    };
    let files = args.files.into_iter().zip(resolved);
    let body = wire::EditFiles {
        files: files
            .map(|(f, resolved)| FileEdits { path: f.path, resolved, edits: edits(f.edits) })
            .collect(),
    };
    let call = ctx.call();
    let (body, call) = (&body, &call);
    ctx.ask(|remote| async move { remote.edit_files(body, call).await }).await?;
    Ok(ToolOutcome::ok(&json!({ "ok": true })))
}

#[async_trait::async_trait]
impl Tool for EditFiles {
    fn name(&self) -> &'static str {
        "edit_files"
    }

    fn description(&self) -> &'static str {
        "Replaces pieces of text in files of the workspace. Each search text must be found exactly once in its file, \
         or replace_all be true; if the text is not found as it is, whole lines are compared without the white space \
         around them. All files are changed, or, when one edit fails, none."
    }

    fn input_schema(&self) -> Json {
        schema!({
            "type": "object",
            "properties": {
                "files": {
                    "type": "array",
                    "minItems": 1,
                    "description": "The files to edit, each once.",
                    "items": {
                        "type": "object",
                        "properties": {
                            "path": {"type": "string", "description": "Absolute path of the file."},
                            "edits": {
                                "type": "array",
                                "minItems": 1,
                                "description": "Applied in order, each to what the one before has left.",
                                "items": {
                                    "type": "object",
                                    "properties": {
                                        "search": {"type": "string", "description": "The text to replace, with enough around it to be found once."},
                                        "replace": {"type": "string", "description": "What takes its place; may be empty."},
                                        "replace_all": {"type": "boolean", "description": "Replace every place where it is found. Default false."}
                                    },
                                    "required": ["search", "replace"]
                                }
                            }
                        },
                        "required": ["path", "edits"]
                    }
                }
            },
            "required": ["files"]
        })
    }

    fn repeat(&self) -> Repeat {
        Repeat::Attach
    }

    async fn run(&self, ctx: &ToolContext, args: &str) -> ToolOutcome {
        edit(ctx, args).await.unwrap_or_else(|failed| failed)
    }
}
