//! `attach_file`: shows a file of the workspace to the user (tools.md §4), and what `propose_plan` shares with it.

use super::{Repeat, Tool, ToolContext, arguments, building, outcome::ToolOutcome};
use crate::{
    chat::{json::Json, message::Part},
    ids::FileId,
    store::{
        self,
        files::{
            CHUNK_BYTES, FileRecord, MAX_FILE_BYTES, MAX_FILES_PER_CHAT,
            sniff::{self, Judge},
            stored_name,
        },
    },
};
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};

/// The tool.
#[derive(Debug, Clone, Copy)]
pub struct AttachFile;

#[derive(Deserialize)]
struct Args {
    path: String,
    name: Option<String>,
}

/// A file that was stored with the chat.
pub(super) struct Stored {
    pub id: FileId,
    pub name: String,
    pub media_type: &'static str,
    pub size: usize,
}

impl Stored {
    /// As it is shown beside the call.
    pub(super) fn attachment(&self) -> Part {
        Part::File {
            media_type: self.media_type.into(),
            name: Some(self.name.clone()),
            data: None,
            file_id: Some(self.id),
        }
    }
}

/// Stores bytes as a file of the chat, or nothing of them.
pub(super) async fn store(
    ctx: &ToolContext,
    name: String,
    media_type: &'static str,
    bytes: &[u8],
) -> Result<Stored, ToolOutcome> {
    let dialer = building::session(ctx)?.connection.dialer();
    let chat = building::chat(ctx, &dialer.store).await?;
    let now = dialer.clock.now();
    let file = FileRecord {
        id: FileId::fresh(),
        owner_id: chat.owner_id,
        organization_id: chat.organization_id,
        name: name.clone(),
        mime_type: media_type.to_owned(),
        size_bytes: i64::try_from(bytes.len()).unwrap_or(i64::MAX),
        sha256: Sha256::digest(bytes).to_vec(),
        created_at: now,
    };
    let id = file.id;
    let chunks = bytes.chunks(CHUNK_BYTES).map(<[u8]>::to_vec).collect();
    match dialer.store.attach_file(ctx.chat_id, file, chunks, now).await {
        Ok(()) => Ok(Stored { id, name, media_type, size: bytes.len() }),
        Err(store::Error::Conflict(_)) => Err(ToolOutcome::error(format!(
            "this chat has {MAX_FILES_PER_CHAT} files, as many as a chat may have, so nothing more can be attached"
        ))),
        Err(e) => Err(building::failed(e)),
    }
}

/// The last segment of a path.
pub(super) fn base_name(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
}

async fn attach(ctx: &ToolContext, args: &str) -> Result<ToolOutcome, ToolOutcome> {
    let args: Args = arguments::parse(args)?;
    let path = arguments::required("path", &args.path)?;
    let named = args.name.as_deref().and_then(stored_name).or_else(|| stored_name(base_name(path)));
    let name = named.ok_or_else(|| ToolOutcome::error("the file has no name; give one with name"))?;
    // One more than fits tells whether it does.
    let limit = MAX_FILE_BYTES as u64 + 1;
    let raw = ctx.ask(|remote| async move { remote.read_file(path, limit).await }).await?;
    if raw.bytes.is_empty() {
        return Err(ToolOutcome::error(format!("{path:?} is empty, so there is nothing to attach")));
    }
    if raw.bytes.len() > MAX_FILE_BYTES {
        return Err(ToolOutcome::error(format!(
            "{path:?} has more than the {MAX_FILE_BYTES} bytes that can be attached; pack or split it"
        )));
    }
    let refused = |why: sniff::Refused| {
        let allowed: Vec<&str> = sniff::ALLOWED.iter().map(|(mime, _)| *mime).collect();
        ToolOutcome::error(format!("{path:?} cannot be attached: {why}; allowed are {}", allowed.join(", ")))
    };
    // The path's extension counts, whatever the file is called for the user.
    let judged = Judge::new(sniff::ANY, path, &raw.bytes).and_then(|mut judge| {
        judge.push(&raw.bytes)?;
        judge.finish()
    });
    let media_type = judged.map_err(refused)?;
    let stored = store(ctx, name, media_type, &raw.bytes).await?;
    let result = json!({
        "ok": true,
        "path": path,
        "file_id": stored.id,
        "name": stored.name,
        "media_type": stored.media_type,
        "size": stored.size,
    });
    Ok(ToolOutcome { attachments: vec![stored.attachment()], ..ToolOutcome::ok(&result) })
}

#[async_trait::async_trait]
impl Tool for AttachFile {
    fn name(&self) -> &'static str {
        "attach_file"
    }

    fn description(&self) -> &'static str {
        "Attaches a file of the workspace to the conversation, for the user to see or download: text, Markdown, CSV, \
         JSON, PDF and images of at most 10 MiB."
    }

    fn input_schema(&self) -> Json {
        schema!({
            "type": "object",
            "properties": {
                "path": {"type": "string", "description": "Absolute path of the file."},
                "name": {"type": "string", "description": "Name to show. Default: the file's own."}
            },
            "required": ["path"]
        })
    }

    // Each run stores a file of its own.
    fn repeat(&self) -> Repeat {
        Repeat::Never
    }

    async fn run(&self, ctx: &ToolContext, args: &str) -> ToolOutcome {
        attach(ctx, args).await.unwrap_or_else(|failed| failed)
    }
}
