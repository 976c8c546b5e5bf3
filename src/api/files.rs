//! `/chats/files` (api.md §2.10): uploads and downloads, a chunk at a time in both directions.

use super::{
    auth::Caller,
    body,
    content::FILE_FIELD,
    doc::{Doc, Param, ParamKind, Reply},
    problem::{Problem, Result},
    query::{Query, path_id},
    state::ApiState,
};
use crate::{
    chat::message::Part,
    clock::Timestamp,
    ids::{FileId, OrganizationId, UserId},
    store::files::{
        CHUNK_BYTES, FileRecord, MAX_FILES_PER_CHAT,
        sniff::{self, HEAD_BYTES, Judge},
        stored_name,
    },
};
use actix_web::{
    HttpRequest, HttpResponse,
    body::SizedStream,
    http::header::{self, ContentDisposition},
    web,
};
use futures_util::stream;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use utoipa::ToSchema;

pub use crate::store::files::MAX_FILE_BYTES;

/// A file as a chat shows it (api.md §3.2).
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = ChatFile)]
pub struct FileOut {
    id: FileId,
    owner_id: UserId,
    organization_id: OrganizationId,
    name: String,
    mime_type: String,
    size_bytes: i64,
    created_at: Timestamp,
}

impl From<FileRecord> for FileOut {
    fn from(f: FileRecord) -> Self {
        Self {
            id: f.id,
            owner_id: f.owner_id,
            organization_id: f.organization_id,
            name: f.name,
            mime_type: f.mime_type,
            size_bytes: f.size_bytes,
            created_at: f.created_at,
        }
    }
}

/// An upload that is stored.
#[derive(Debug, Serialize, ToSchema)]
pub struct Uploaded {
    id: FileId,
}

/// What the OpenAPI document says of it.
pub const UPLOAD: Doc = Doc::new("Upload a file")
    .takes_bytes(sniff::CONTENT_TYPES)
    .replies::<Uploaded>()
    .params(&[
        Param::query("organization", ParamKind::Uuid, "The organization it belongs to").required(),
        Param::header("Content-Disposition", "Carries the file name: attachment; filename=\"a.png\"")
            .required(),
    ])
    .errors(&[400, 413]);

/// Stores an upload.
pub async fn upload(
    request: HttpRequest,
    state: web::Data<ApiState>,
    caller: Caller,
    payload: web::Payload,
) -> Result<HttpResponse> {
    state.limits.files.check(&caller.user.id)?;
    let organization = Query::parse(request.query_string())?
        .id::<OrganizationId>("organization")?
        .filter(|id| !id.0.is_nil())
        .ok_or_else(|| Problem::field("organization", "organization is required."))?;
    if !state.store.organizations_of(caller.user.id).await?.iter().any(|o| o.id == organization) {
        return Err(Problem::forbidden("You are not a member of this organization."));
    }
    body::uncoded(&request)?;
    let name = file_name(&request)?;
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
    let declared = sniff::declared(content_type.unwrap_or_default()).map_err(|e| refused(&e))?;
    let length = request.headers().get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok());
    if length.is_some_and(|length: usize| length > MAX_FILE_BYTES) {
        return Err(Problem::too_large(MAX_FILE_BYTES));
    }
    let mut source = Source { payload, rest: Vec::new(), total: 0, ended: false };
    let head = source.next(HEAD_BYTES.max(CHUNK_BYTES)).await?.unwrap_or_default();
    if head.is_empty() {
        return Err(Problem::bad_request("The file is empty."));
    }
    let judge = Judge::new(&declared, &name, &head).map_err(|e| refused(&e))?;
    let file = FileRecord {
        id: FileId::fresh(),
        owner_id: caller.user.id,
        organization_id: organization,
        name,
        mime_type: judge.expected().to_owned(),
        size_bytes: 0,
        sha256: Vec::new(),
        created_at: state.clock.now(),
    };
    let id = file.id;
    state.store.begin_file(file).await?;
    if let Err(problem) = store(&state, id, judge, head, source).await {
        // What is left behind here is removed by retention as well.
        if let Err(e) = state.store.discard_file(id).await {
            tracing::warn!(file = %id, error = %e, "a broken upload is left to retention");
        }
        return Err(problem);
    }
    Ok(body::json(actix_web::http::StatusCode::CREATED, &Uploaded { id }))
}

async fn store(
    state: &ApiState,
    id: FileId,
    mut judge: Judge,
    head: Vec<u8>,
    mut source: Source,
) -> Result<()> {
    let mut hash = Sha256::new();
    let mut next = Some(head);
    let mut seq = 0;
    while let Some(chunk) = next {
        hash.update(&chunk);
        judge.push(&chunk).map_err(|e| refused(&e))?;
        state.store.put_chunk(id, seq, chunk).await?;
        seq += 1;
        next = source.next(CHUNK_BYTES).await?;
    }
    let mime = judge.finish().map_err(|e| refused(&e))?.to_owned();
    let size = i64::try_from(source.total).map_err(Problem::internal)?;
    Ok(state.store.finish_file(id, mime, size, hash.finalize().to_vec()).await?)
}

fn refused(why: &sniff::Refused) -> Problem {
    let allowed: Vec<_> = sniff::ALLOWED.iter().map(|(mime, _)| *mime).collect();
    let problem = Problem::bad_request("This file cannot be uploaded.");
    match why {
        sniff::Refused::Type(_) => problem.detail(format!("{why}; allowed are {}.", allowed.join(", "))),
        _ => problem.detail(format!("{why}.")),
    }
}

/// A request body as chunks of one size.
struct Source {
    payload: web::Payload,
    /// Read and not yet handed out.
    rest: Vec<u8>,
    total: usize,
    ended: bool,
}

impl Source {
    /// The next `size` bytes, fewer at the end; `None` when there is nothing left.
    async fn next(&mut self, size: usize) -> Result<Option<Vec<u8>>> {
        while !self.ended && self.rest.len() < size {
            match body::piece(&mut self.payload).await? {
                None => self.ended = true,
                Some(piece) => {
                    self.total += piece.len();
                    if self.total > MAX_FILE_BYTES {
                        return Err(Problem::too_large(MAX_FILE_BYTES));
                    }
                    self.rest.extend_from_slice(&piece);
                }
            }
        }
        let after = self.rest.split_off(self.rest.len().min(size));
        let chunk = std::mem::replace(&mut self.rest, after);
        Ok((!chunk.is_empty()).then_some(chunk))
    }
}

/// The name in `Content-Disposition`, as it is stored.
fn file_name(request: &HttpRequest) -> Result<String> {
    let missing = || {
        Problem::bad_request("The file has no name.")
            .detail("Send it as a header: Content-Disposition: attachment; filename=\"notes.txt\"")
    };
    let value = request.headers().get(header::CONTENT_DISPOSITION).ok_or_else(missing)?;
    let disposition = ContentDisposition::from_raw(value).map_err(|_| missing())?;
    let extended = disposition.get_filename_ext().map(|e| String::from_utf8_lossy(&e.value).into_owned());
    let name = extended.or_else(|| disposition.get_filename().map(str::to_owned)).ok_or_else(missing)?;
    stored_name(&name).ok_or_else(missing)
}

/// What the OpenAPI document says of it.
pub const GET: Doc =
    Doc::new("Download a file").answers(Reply::Media(sniff::CONTENT_TYPES)).errors(&[400, 404]);

/// Sends a file.
pub async fn get(
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
) -> Result<HttpResponse> {
    state.limits.files.check(&caller.user.id)?;
    let id: FileId = path_id(&path, "file")?;
    let file = state.store.file(id).await.map_err(|e| Problem::of_store(e, "File"))?;
    if !may_read(&state, &caller, &file).await? {
        return Err(Problem::not_found("File"));
    }
    let size = u64::try_from(file.size_bytes).map_err(Problem::internal)?;
    let store = state.store.clone();
    let chunks = stream::try_unfold(0_i64, move |seq| {
        let store = store.clone();
        async move {
            let chunk = store.file_chunk(id, seq).await?;
            Ok::<_, crate::store::Error>(chunk.map(|chunk| (bytes::Bytes::from(chunk), seq + 1)))
        }
    });
    Ok(HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, file.mime_type.as_str()))
        .insert_header((header::CONTENT_DISPOSITION, disposition(&file)))
        .insert_header((header::CACHE_CONTROL, "private, max-age=31536000, immutable"))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        // Whatever is in it, it runs no script of the deployment's origin.
        .insert_header((
            header::CONTENT_SECURITY_POLICY,
            "sandbox; default-src 'none'; style-src 'unsafe-inline'",
        ))
        .body(SizedStream::new(size, chunks)))
}

/// Its owner, administrators, and readers of a chat that names it.
async fn may_read(state: &ApiState, caller: &Caller, file: &FileRecord) -> Result<bool> {
    if file.owner_id == caller.user.id || caller.user.is_admin() {
        return Ok(true);
    }
    Ok(state.store.may_read_file(file.id, caller.user.id, state.settings.sharing).await?)
}

/// `inline` or `attachment` with the name, once for every client and once for those that read UTF-8
/// (RFC 6266).
fn disposition(file: &FileRecord) -> String {
    let kind = if sniff::is_inline(&file.mime_type) { "inline" } else { "attachment" };
    let plain: String = file
        .name
        .chars()
        .map(|c| if c.is_ascii_graphic() && !matches!(c, '"' | '\\' | '%') || c == ' ' { c } else { '_' })
        .collect();
    let mut encoded = String::new();
    for byte in file.name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            // Writing to memory cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    format!("{kind}; filename=\"{plain}\"; filename*=UTF-8''{encoded}")
}

/// Fills in what the `file` parts of a message name, and checks that the caller may use it there.
///
/// # Errors
/// 400 with the index and the field, as for every other part.
pub async fn resolve(
    state: &ApiState,
    caller: &Caller,
    organization: OrganizationId,
    parts: &mut [Part],
) -> Result<Vec<FileRecord>> {
    let ids = named(parts);
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let mut known = state.store.files(ids.clone()).await?;
    for (index, part) in parts.iter_mut().enumerate() {
        let Part::File { file_id: Some(id), media_type, name, .. } = part else { continue };
        let usable = known
            .iter()
            .find(|f| f.id == *id && f.owner_id == caller.user.id && f.organization_id == organization);
        let Some(file) = usable else {
            let what = "does not name a file of yours in this organization";
            return Err(Problem::field(FILE_FIELD, format!("content[{index}].file_id {what}.")));
        };
        media_type.clone_from(&file.mime_type);
        *name = Some(file.name.clone());
    }
    known.sort_by_key(|file| ids.iter().position(|id| *id == file.id));
    Ok(known)
}

/// The stored files that parts name, each once.
fn named(parts: &[Part]) -> Vec<FileId> {
    let mut ids = Vec::new();
    for part in parts {
        if let Part::File { file_id: Some(id), .. } = part
            && !ids.contains(id)
        {
            ids.push(*id);
        }
    }
    ids
}

/// What to tell about files that found no room in a chat.
#[must_use]
pub fn warnings(unlinked: &[FileId]) -> Vec<String> {
    let warn = |id: &FileId| {
        format!(
            "File {id} is in the message but was not linked: a chat has at most {MAX_FILES_PER_CHAT} files."
        )
    };
    unlinked.iter().map(warn).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    fn name(header: &str) -> Option<String> {
        let request = TestRequest::default().insert_header(("Content-Disposition", header)).to_http_request();
        file_name(&request).ok()
    }

    #[test]
    fn names_are_cleaned_and_cut() {
        assert_eq!(name("attachment; filename=\"a b.txt\"").as_deref(), Some("a b.txt"));
        assert_eq!(name("attachment; filename*=UTF-8''%C3%A9%0A.txt").as_deref(), Some("é.txt"));
        assert_eq!(name("attachment"), None);
        assert_eq!(name("attachment; filename=\"\""), None);
        let long = name(&format!("attachment; filename=\"{}\"", "ab".repeat(400))).unwrap();
        assert_eq!(long.len(), 255);
    }

    #[test]
    fn names_cannot_leave_their_header() {
        let file = FileRecord {
            id: FileId::fresh(),
            owner_id: UserId::fresh(),
            organization_id: OrganizationId::fresh(),
            name: "a\"; x=\\é.pdf".into(),
            mime_type: "application/pdf".into(),
            size_bytes: 1,
            sha256: Vec::new(),
            created_at: Timestamp::from_micros(0),
        };
        assert_eq!(
            disposition(&file),
            "attachment; filename=\"a_; x=__.pdf\"; filename*=UTF-8''a%22%3B%20x%3D%5C%C3%A9.pdf"
        );
    }
}
