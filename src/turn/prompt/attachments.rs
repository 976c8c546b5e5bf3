//! What a user attached, as prompt content (agent-loop.md §5.2).

use super::{Options, inline};
use crate::{chat::message::Part, llm::request::UserContent};
use base64::{Engine as _, engine::general_purpose::STANDARD};

/// Longest pasted text that is put into the prompt, in bytes (agent-loop.md §5.2).
const MAX_PASTED_BYTES: usize = 128 * 1024;

/// Text types that every model can read when they are put into the prompt as text.
const INLINE_TYPES: [&str; 4] = ["text/plain", "text/markdown", "text/csv", "application/json"];

/// A stored file, as fetched for a prompt.
#[derive(Debug, Clone)]
pub struct PromptFile {
    /// MIME type.
    pub media_type: String,
    /// File name, when known.
    pub name: Option<String>,
    /// Its size in bytes.
    pub size: usize,
    /// The bytes; `None` when they are not read, as the request has no room for them.
    pub bytes: Option<Vec<u8>>,
}

/// The bytes an inline image must stay below, if this one does not (workspace-and-providers.md §6.8).
pub fn exceeded(cap: Option<usize>, media_type: &str, bytes: usize) -> Option<usize> {
    cap.filter(|cap| media_type.starts_with("image/") && bytes >= *cap)
}

/// MIME type without its parameters.
fn essence(media_type: &str) -> &str {
    media_type.split(';').next().unwrap_or_default().trim()
}

/// `pasted-text-YYYY-MM-DD-HH-MM-SS.txt`, the name a client gives to a long paste.
fn is_pasted_text(name: Option<&str>) -> bool {
    let stamp = name.and_then(|n| n.strip_prefix("pasted-text-")).and_then(|n| n.strip_suffix(".txt"));
    stamp.is_some_and(|stamp| {
        let widths: Vec<usize> = stamp.split('-').map(str::len).collect();
        widths == [4, 2, 2, 2, 2, 2] && stamp.bytes().all(|b| b.is_ascii_digit() || b == b'-')
    })
}

fn as_text(name: Option<&str>, bytes: &[u8], media_type: &str) -> String {
    if is_pasted_text(name) {
        let kept =
            crate::workspace::text::prefix(&String::from_utf8_lossy(bytes), MAX_PASTED_BYTES).to_owned();
        let cut = bytes.len() > MAX_PASTED_BYTES;
        let note = format!("\n[cut: the pasted text has {} bytes]", bytes.len());
        return if cut { kept + &note } else { kept };
    }
    let text = String::from_utf8_lossy(bytes);
    format!("Attached file {} ({media_type}):\n{text}", name.unwrap_or("without a name"))
}

/// A note in place of a file that cannot be sent. A prompt without the file still works, while a
/// provider's refusal would make the chat unusable with every later message.
fn note(name: Option<&str>, why: &str) -> UserContent {
    UserContent::Text(format!("[Attached file {}: {why}]", name.unwrap_or("without a name")))
}

/// The content of one part of a user message; `None` for what does not render in place.
pub(super) fn render(part: &Part, options: &Options<'_>) -> Option<UserContent> {
    match part {
        Part::Text { text } => (!text.trim().is_empty()).then(|| UserContent::Text(text.clone())),
        Part::FileReference { file_name, start_line, end_line, content } => Some(UserContent::Text(format!(
            "Excerpt of {file_name}, lines {start_line} to {end_line}:\n{content}"
        ))),
        Part::File { media_type, name, data: _, file_id: Some(id) } => {
            let Some(file) = options.files.get(id) else {
                return Some(note(name.as_deref(), "it is no longer available"));
            };
            let name = file.name.as_deref().or(name.as_deref());
            let media_type = if file.media_type.is_empty() { media_type } else { &file.media_type };
            Some(stored(name, media_type, (file.size, file.bytes.as_deref()), options))
        }
        Part::File { media_type, name, data: Some(data), file_id: None } => match STANDARD.decode(data) {
            Ok(bytes) => Some(stored(name.as_deref(), media_type, (bytes.len(), Some(&bytes)), options)),
            Err(_) => Some(note(name.as_deref(), "its content is damaged")),
        },
        Part::File { name, data: None, file_id: None, .. } => {
            Some(note(name.as_deref(), "it is no longer available"))
        }
        Part::Reasoning { .. }
        | Part::ToolCall(_)
        | Part::ToolResult(_)
        | Part::Source { .. }
        | Part::ContextFile { .. }
        | Part::Skill { .. } => None,
    }
}

fn stored(
    name: Option<&str>,
    media_type: &str,
    (size, bytes): (usize, Option<&[u8]>),
    options: &Options<'_>,
) -> UserContent {
    let essence = essence(media_type);
    if let Some(max) = exceeded(options.max_image_bytes, essence, size) {
        return note(name, &format!("the image has {size} bytes, the provider takes less than {max}"));
    }
    let Some(bytes) = bytes else { return note(name, inline::LEFT_OUT) };
    let text_like = essence.starts_with("text/") || INLINE_TYPES.contains(&essence);
    let pasted = is_pasted_text(name) && text_like;
    if pasted || (INLINE_TYPES.contains(&essence) && !options.takes_text_files) {
        let text = as_text(name, bytes, essence);
        return if text.trim().is_empty() { note(name, "it is empty") } else { UserContent::Text(text) };
    }
    if bytes.is_empty() {
        return note(name, "it is empty");
    }
    UserContent::File {
        media_type: media_type.to_owned(),
        data: STANDARD.encode(bytes),
        name: name.map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::FileId;
    use std::collections::HashMap;

    fn file(name: &str, media_type: &str, bytes: &[u8]) -> PromptFile {
        let (size, bytes) = (bytes.len(), Some(bytes.to_vec()));
        PromptFile { media_type: media_type.into(), name: Some(name.into()), size, bytes }
    }

    fn rendered(file: Option<PromptFile>, takes_text_files: bool) -> UserContent {
        let id = FileId(uuid::Uuid::nil());
        let files: HashMap<_, _> = file.into_iter().map(|file| (id, file)).collect();
        let options = Options {
            files: &files,
            takes_text_files,
            max_image_bytes: Some(10),
            native_for: None,
            strangers: &[],
        };
        let part =
            Part::File { media_type: "x/y".into(), name: Some("n".into()), data: None, file_id: Some(id) };
        render(&part, &options).unwrap()
    }

    fn shown(content: UserContent) -> String {
        match content {
            UserContent::Text(text) => text,
            UserContent::File { media_type, data, .. } => format!("FILE {media_type} {data}"),
        }
    }

    #[test]
    fn files_become_what_the_provider_takes() {
        let pasted = "pasted-text-2026-06-01-10-11-12.txt";
        let text = |file, takes| shown(rendered(file, takes));
        assert_eq!(text(Some(file(pasted, "text/plain", b"hi")), true), "hi");
        let long = text(Some(file(pasted, "text/plain", &vec![b'a'; MAX_PASTED_BYTES + 1])), true);
        assert!(long.len() < MAX_PASTED_BYTES + 100 && long.ends_with("131073 bytes]"));
        assert!(
            text(Some(file("pasted-text-1.txt", "text/plain", b"hi")), false).starts_with("Attached file")
        );
        assert_eq!(
            text(Some(file("a.csv", "text/csv; charset=utf-8", b"hi")), true),
            "FILE text/csv; charset=utf-8 aGk="
        );
        assert!(text(Some(file("a.csv", "text/csv", b"1,2")), false).ends_with("(text/csv):\n1,2"));
        assert_eq!(text(Some(file("a.png", "image/png", b"hi")), false), "FILE image/png aGk=");
        assert!(text(Some(file("a.png", "image/png", &[0; 10])), false).contains("less than 10"));
        assert!(text(Some(file("a.pdf", "application/pdf", &[0; 10])), false).starts_with("FILE"));
        assert!(text(Some(file(pasted, "text/plain", b"")), false).contains("empty"));
        assert!(text(None, false).contains("no longer available"));
        let unread = |media_type| PromptFile { bytes: None, size: 10, ..file("a", media_type, b"") };
        assert!(text(Some(unread("text/plain")), false).contains("left out"));
        assert!(text(Some(unread("application/pdf")), true).contains("left out"));
        assert!(text(Some(unread("image/png")), true).contains("less than 10"));
    }
}
