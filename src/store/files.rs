//! Uploaded files, as the store hands them out. The bytes lie in chunks of their own.

pub mod sniff;

use crate::{
    clock::Timestamp,
    ids::{FileId, OrganizationId, UserId},
};

/// Most files of a chat (api.md §1.7).
pub const MAX_FILES_PER_CHAT: usize = 50;

/// Largest file in bytes (api.md §1.7).
pub const MAX_FILE_BYTES: usize = 10 * 1024 * 1024;
/// Longest name of a file in bytes; more is cut (api.md §1.7).
const MAX_NAME_BYTES: usize = 255;

/// A name as it is stored: without control characters, cut to its length. `None`: nothing is left of it.
#[must_use]
pub fn stored_name(name: &str) -> Option<String> {
    let name = name.replace(char::is_control, "");
    let name = name.trim();
    let name = name[..name.floor_char_boundary(MAX_NAME_BYTES)].trim_end();
    (!name.is_empty()).then(|| name.to_owned())
}

/// Bytes of a chunk: large enough that a row's cost does not count, small enough that a request
/// holds little memory and the writer of SQLite is not held up.
pub const CHUNK_BYTES: usize = 256 * 1024;

/// An upload, known when its last byte was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRecord {
    /// Id.
    pub id: FileId,
    /// Who uploaded it.
    pub owner_id: UserId,
    /// Organization.
    pub organization_id: OrganizationId,
    /// File name, without control characters, at most 255 bytes.
    pub name: String,
    /// MIME type without parameters: what the bytes were found to be.
    pub mime_type: String,
    /// Size in bytes.
    pub size_bytes: i64,
    /// SHA-256 of the bytes.
    pub sha256: Vec<u8>,
    /// When the upload began.
    pub created_at: Timestamp,
}
