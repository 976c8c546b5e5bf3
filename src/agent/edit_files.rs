//! `POST edit-files` (tools.md §15.3): all files are read and prepared before the first is written.

use super::{
    Agent,
    answer::{Answer, Refusal},
    edits,
    files::may_be_written,
};
use crate::workspace::{
    WorkspaceError, files, paths,
    wire::{Done, EditFiles, FileEdits},
};
use hyper::StatusCode;
use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

/// Largest file that is edited, in bytes.
const MAX_FILE: u64 = 16 << 20;

/// A file that is ready to be written.
struct Prepared {
    target: PathBuf,
    shown: String,
    text: String,
}

/// Edits files.
pub async fn edit_files(agent: Arc<Agent>, chat: String, request: EditFiles) -> Result<Answer, Refusal> {
    tokio::task::spawn_blocking(move || edit(&agent, &chat, &request)).await.unwrap_or_else(|e| {
        Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, format!("editing stopped: {e}")))
    })
}

fn edit(agent: &Agent, chat: &str, request: &EditFiles) -> Result<Answer, Refusal> {
    let targets = targets(agent, chat, request)?;
    let mut prepared = Vec::new();
    let mut refused: Vec<Refusal> = Vec::new();
    for (file, target) in request.files.iter().zip(targets) {
        match prepare(file, target) {
            Ok(file) => prepared.push(file),
            Err(refusal) => refused.push(refusal),
        }
    }
    if let Some(first) = refused.first() {
        let all: Vec<&str> = refused.iter().map(|refusal| refusal.body.message.as_str()).collect();
        return Err(Refusal::new(first.status, format!("nothing was changed: {}", all.join("; "))));
    }
    let mut written: Vec<&str> = Vec::new();
    for file in &prepared {
        if let Err(error) = files::replace(&file.target, &file.shown, file.text.as_bytes()) {
            let mut refusal = Refusal::from(error);
            if !written.is_empty() {
                refusal.body.message =
                    format!("{}; these were changed before: {}", refusal.body.message, written.join(", "));
            }
            return Err(refusal);
        }
        written.push(&file.shown);
    }
    Ok(Answer::ok(&Done { message: format!("edited {} file(s)", prepared.len()) }))
}

/// Where the paths lead, each elsewhere.
fn targets(agent: &Agent, chat: &str, request: &EditFiles) -> Result<Vec<PathBuf>, Refusal> {
    if request.files.is_empty() {
        return Err(Refusal::field("files", "at least one file must be given"));
    }
    let mut seen: BTreeMap<PathBuf, &str> = BTreeMap::new();
    let mut targets = Vec::new();
    for (n, file) in request.files.iter().enumerate() {
        if file.edits.is_empty() {
            return Err(Refusal::field(
                &format!("files[{n}].edits"),
                format!("{:?} has no edits", file.path),
            ));
        }
        let target = paths::follow(&file.path).map_err(|e| Refusal {
            status: StatusCode::BAD_REQUEST,
            ..Refusal::field(&format!("files[{n}].path"), e.to_string())
        })?;
        may_be_written(&agent.settings, chat, &file.path, &target, file.resolved.as_deref())?;
        if let Some(before) = seen.insert(target.clone(), &file.path) {
            let detail =
                format!("{:?} is the same file as {before:?}; put all of its edits together", file.path);
            return Err(Refusal::field(&format!("files[{n}].path"), detail));
        }
        targets.push(target);
    }
    Ok(targets)
}

fn prepare(file: &FileEdits, target: PathBuf) -> Result<Prepared, Refusal> {
    let bytes = files::read(&target, &file.path, MAX_FILE)?;
    let mut text = String::from_utf8(bytes)
        .map_err(|_| Refusal::bad(format!("{:?} is no text in UTF-8; edit it with a command", file.path)))?;
    for (n, edit) in file.edits.iter().enumerate() {
        text = edits::apply(&text, edit).map_err(|e| {
            let which = if file.edits.len() > 1 { format!(", edit {}", n + 1) } else { String::new() };
            Refusal::bad(format!("{:?}{which}: {e}", file.path))
        })?;
        if text.len() as u64 > MAX_FILE {
            return Err(WorkspaceError::from(crate::workspace::lines::ReadRefusal::FileTooLarge {
                size: text.len() as u64,
                cap: MAX_FILE,
            })
            .into());
        }
    }
    Ok(Prepared { target, shown: file.path.clone(), text })
}
