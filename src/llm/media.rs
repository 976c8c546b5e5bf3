//! How a file of a prompt reaches a model: as picture, as document, or as text.

use base64::{Engine as _, engine::general_purpose::STANDARD};

/// A file, sorted by what models can take.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Media {
    /// One of the four image types that every vision model takes.
    Image,
    /// A PDF document.
    Pdf,
    /// To be sent as this text: the content of text files, a note for anything else.
    Text(String),
}

/// Sorts a file.
pub(super) fn sort(media_type: &str, data: &str, name: Option<&str>) -> Media {
    let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        "image/png" | "image/jpeg" | "image/gif" | "image/webp" => return Media::Image,
        "application/pdf" => return Media::Pdf,
        _ => {}
    }
    let textual = essence.starts_with("text/")
        || essence.ends_with("+json")
        || essence.ends_with("+xml")
        || matches!(
            essence.as_str(),
            "application/json" | "application/xml" | "application/yaml" | "application/toml"
        );
    let label = name.unwrap_or("unnamed file");
    if textual && let Ok(bytes) = STANDARD.decode(data) {
        return Media::Text(format!("[File {label}]\n{}", String::from_utf8_lossy(&bytes)));
    }
    Media::Text(note(media_type, name))
}

/// Stands for a file that the model cannot be shown.
pub(super) fn note(media_type: &str, name: Option<&str>) -> String {
    format!("[File {} of type {media_type} cannot be shown to this model]", name.unwrap_or("without a name"))
}

/// A `data:` URL.
pub(super) fn data_url(media_type: &str, data: &str) -> String {
    format!("data:{media_type};base64,{data}")
}
