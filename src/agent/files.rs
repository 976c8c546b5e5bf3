//! Reading, writing and listing (tools.md §15.1 and §15.2).

use super::{
    Agent,
    answer::{Answer, Body, Query, Refusal},
    settings::Settings,
};
use crate::workspace::{
    WorkspaceError,
    files::{self, blocking, io_error},
    lines::{ReadCaps, ReadRequest},
    paths, plan,
    wire::{Directory, DirectoryEntry, Done, ListDirectory, ReadLines, Relativity, ResolvedPath},
};
use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::{Response, StatusCode, body::Frame, header};
use std::{
    fs::{self, File},
    io::{Read as _, Seek as _, SeekFrom},
    path::{Component, Path, PathBuf},
    sync::Arc,
};

/// Most that a caller can ask for: it is in memory whole. File, and answer.
const MAX_CAPS: (u64, usize) = (64 << 20, 16 << 20);
/// Bytes of a file that are in memory at once when it is sent whole.
const CHUNK: u64 = 64 << 10;
/// Bytes from which the type of a file is told.
const SNIFFED: u64 = 4096;
/// Most entries of a listed directory.
const MAX_ENTRIES: usize = 10_000;

/// `GET read-file-lines`
pub async fn read_lines(agent: &Agent, query: &Query) -> Result<Answer, Refusal> {
    query.only(&[
        "path",
        "offset",
        "limit",
        "max_file_size",
        "max_line_bytes",
        "max_response_lines",
        "max_response_bytes",
    ])?;
    let default = ReadCaps::default();
    // Zero means the default.
    let or_default = |given: usize, default: usize| if given == 0 { default } else { given };
    let file_bytes = query.number("max_file_size", 0)?;
    let request = ReadRequest {
        path: query.required("path")?.to_owned(),
        offset: query.number("offset", 1)?,
        limit: query.number("limit", 0)?,
        caps: ReadCaps {
            file_bytes: if file_bytes == 0 { default.file_bytes } else { file_bytes.min(MAX_CAPS.0) },
            line_bytes: or_default(query.number("max_line_bytes", 0)?, default.line_bytes),
            lines: or_default(query.number("max_response_lines", 0)?, default.lines),
            response_bytes: or_default(query.number("max_response_bytes", 0)?, default.response_bytes)
                .min(MAX_CAPS.1),
        },
    };
    let read = match agent.mounts.read_lines(&request) {
        Some(read) => read.map_err(WorkspaceError::from),
        None => blocking(move || files::read_lines(&request)).await,
    };
    Ok(Answer::ok(&match read {
        Ok(lines) => ReadLines {
            success: true,
            file_size: Some(lines.file_size),
            total_lines: Some(lines.total_lines),
            lines_read: Some(lines.lines_read),
            content: Some(lines.content),
            error: None,
        },
        Err(error) => ReadLines { error: Some(error.to_string()), ..ReadLines::default() },
    }))
}

/// `GET read-file`: the bytes, a piece at a time.
pub async fn read_file(query: &Query) -> Result<Response<Body>, Refusal> {
    query.only(&["path", "offset", "limit"])?;
    let path = query.required("path")?.to_owned();
    let offset: u64 = query.number("offset", 0)?;
    let limit: u64 = query.number("limit", 0)?;
    let (file, length, media_type) = blocking(move || {
        let failed = |cause| io_error("read", &path, cause);
        let (mut file, size) = files::open_followed(&path)?;
        let mut start = Vec::new();
        (&mut file).take(SNIFFED).read_to_end(&mut start).map_err(failed)?;
        file.seek(SeekFrom::Start(offset)).map_err(failed)?;
        let rest = size.saturating_sub(offset);
        let length = if limit == 0 { rest } else { rest.min(limit) };
        Ok((file, length, media_type(&start)))
    })
    .await?;
    let pieces = stream::try_unfold((file, length), |(file, left)| async move {
        if left == 0 {
            return Ok(None);
        }
        let (file, bytes) = tokio::task::spawn_blocking(move || piece(file, left)).await??;
        let left = left - bytes.len() as u64;
        Ok(Some((Frame::data(bytes), (file, left))))
    });
    let mut response = Response::new(StreamBody::new(pieces).boxed_unsync());
    let media_type = header::HeaderValue::from_static(media_type);
    response.headers_mut().insert(header::CONTENT_TYPE, media_type);
    response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    Ok(response)
}

/// The next bytes. A file that became shorter is an error: what was promised cannot be sent.
fn piece(mut file: File, left: u64) -> std::io::Result<(File, Bytes)> {
    let mut bytes = Vec::new();
    (&mut file).take(left.min(CHUNK)).read_to_end(&mut bytes)?;
    if bytes.is_empty() {
        return Err(std::io::Error::other("the file became shorter while it was read"));
    }
    Ok((file, bytes.into()))
}

fn media_type(start: &[u8]) -> &'static str {
    if let Some(kind) = infer::get(start) {
        return kind.mime_type();
    }
    let text = match std::str::from_utf8(start) {
        Ok(text) => text,
        // Cut within a character.
        Err(e) if e.error_len().is_none() => {
            std::str::from_utf8(&start[..e.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return "application/octet-stream",
    };
    if text.contains('\0') { "application/octet-stream" } else { "text/plain; charset=utf-8" }
}

/// `POST write-file`
pub async fn write_file(
    agent: Arc<Agent>,
    chat: String,
    path: String,
    resolved: Option<String>,
    content: Bytes,
) -> Result<Answer, Refusal> {
    let write = move || {
        let target = paths::follow(&path)?;
        may_be_written(&agent.settings, &chat, &path, &target, resolved.as_deref())?;
        files::replace(&target, &path, &content)?;
        Ok(Answer::ok(&Done { message: "written".to_owned() }))
    };
    tokio::task::spawn_blocking(write).await.unwrap_or_else(|e| {
        Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, format!("writing stopped: {e}")))
    })
}

/// Refuses a path that leads elsewhere than the caller has looked, and, when it has not, one where all chats of a workspace
/// would write their plans: a link of any name may lead there. Blocks.
pub fn may_be_written(
    settings: &Settings,
    chat: &str,
    path: &str,
    target: &Path,
    resolved: Option<&str>,
) -> Result<(), Refusal> {
    let leads_to = target.to_string_lossy();
    if let Some(resolved) = resolved {
        if Path::new(resolved) == target {
            return Ok(());
        }
        let message = format!("{path:?} leads to {leads_to} by now; look where it leads and try again");
        return Err(Refusal::new(StatusCode::CONFLICT, message));
    }
    if !plan::is_named_so(path) && !plan::is_named_so(&leads_to) {
        return Ok(());
    }
    let home = settings.home.to_string_lossy();
    let real =
        paths::follow(&home).map_or_else(|_| home.to_string(), |real| real.to_string_lossy().into_owned());
    if [path, &leads_to].iter().any(|path| plan::is_shared(path, [&home, &real])) {
        let own = plan::path(&home, chat);
        let message =
            format!("{path:?} would be shared by all chats of this workspace; write the plan to {own}");
        return Err(Refusal::new(StatusCode::FORBIDDEN, message));
    }
    Ok(())
}

/// `GET resolve-path`
pub async fn resolve_path(query: &Query) -> Result<Answer, Refusal> {
    query.only(&["path"])?;
    let path = query.required("path")?.to_owned();
    let resolved = blocking(move || paths::follow(&path)).await?;
    Ok(Answer::ok(&ResolvedPath { resolved_path: resolved.to_string_lossy().into_owned() }))
}

/// `POST list-directory`
pub async fn list_directory(settings: &Settings, request: ListDirectory) -> Result<Answer, Refusal> {
    let mut path = match request.relativity {
        Relativity::Root => PathBuf::from("/"),
        Relativity::Home => settings.home.clone(),
    };
    for step in &request.path {
        // A component that were a path of its own, or led upwards, would be another place than it looks.
        if step.is_empty() || step.contains(['/', '\0']) || step == "." || step == ".." {
            return Err(Refusal::field("path", format!("{step:?} is no name of a file or directory")));
        }
        path.push(step);
    }
    // Where home is can be told though it cannot be listed: users without one have the path of one all the same.
    let home_itself = request.relativity == Relativity::Home && request.path.is_empty();
    let listed = blocking(move || match list(&path) {
        Err(WorkspaceError::NotFound(_)) if home_itself => Ok(directory(&path, Vec::new(), false)),
        Err(WorkspaceError::Permission(_)) if home_itself => Ok(directory(&path, Vec::new(), true)),
        listed => listed,
    });
    Ok(Answer::ok(&listed.await?))
}

fn list(path: &Path) -> Result<Directory, WorkspaceError> {
    let shown = path.to_string_lossy().into_owned();
    let failed = |cause| io_error("list", &shown, cause);
    let mut contents = Vec::new();
    let mut truncated = false;
    for entry in fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if contents.len() == MAX_ENTRIES {
            truncated = true;
            break;
        }
        contents.push(DirectoryEntry {
            name: entry.file_name().to_string_lossy().into_owned(),
            absolute_path_string: entry.path().to_string_lossy().into_owned(),
            // A link that leads nowhere is no directory.
            is_dir: fs::metadata(entry.path()).is_ok_and(|meta| meta.is_dir()),
        });
    }
    contents.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(directory(path, contents, truncated))
}

fn directory(path: &Path, contents: Vec<DirectoryEntry>, truncated: bool) -> Directory {
    let names = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
        _ => None,
    });
    let absolute_path_string = path.to_string_lossy().into_owned();
    Directory { absolute_path: names.collect(), absolute_path_string, contents, truncated }
}
