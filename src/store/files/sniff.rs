//! What an upload is, told from its bytes (api.md §2.10). What the client declares only counts where
//! the bytes leave it open: among the text types.

mod json;

use json::JsonCheck;
use std::ops::ControlFlow;

/// Types that may be uploaded, and whether a browser may show them in place.
pub const ALLOWED: [(&str, bool); 9] = [
    ("image/png", true),
    ("image/jpeg", true),
    ("image/gif", true),
    ("image/webp", true),
    ("text/plain", true),
    ("text/markdown", true),
    ("text/csv", true),
    ("application/json", true),
    ("application/pdf", false),
];

/// Content types of the OpenAPI document.
pub const CONTENT_TYPES: &[&str] = &[
    "image/png",
    "image/jpeg",
    "image/gif",
    "image/webp",
    "text/plain",
    "text/markdown",
    "text/csv",
    "application/json",
    "application/pdf",
    "application/octet-stream",
];

/// "The bytes decide" (api.md §2.10).
pub const ANY: &str = "application/octet-stream";
const JSON: &str = "application/json";
const PLAIN: &str = "text/plain";

/// Bytes that are looked at to tell what a file is: comments before `<svg` and the headers before a
/// JPEG's size fit.
pub const HEAD_BYTES: usize = 64 * 1024;

/// Greatest width and height of a picture in pixels: the smallest limit of the providers
/// (Anthropic, 8000). A larger one would make every later prompt of its chat fail.
const MAX_PIXELS: usize = 8000;

/// Why an upload is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The declared type is not among the allowed ones.
    #[error("files of type {0:?} are not allowed")]
    Type(String),
    /// The bytes are something else than what was declared.
    #[error("the content is {found}, not {declared}")]
    Mismatch {
        /// What was declared.
        declared: String,
        /// What it is.
        found: &'static str,
    },
    /// SVG can run scripts.
    #[error("SVG images are not allowed")]
    Svg,
    /// The picture is too large for the providers.
    #[error("the image has {0} × {1} pixels; at most {MAX_PIXELS} × {MAX_PIXELS} are allowed")]
    Pixels(usize, usize),
    /// A text that is no UTF-8, or has a NUL.
    #[error("the content is not UTF-8 text")]
    NotText,
    /// Declared as JSON.
    #[error("the content is not valid JSON; declare it as text/plain")]
    NotJson,
}

fn is_text(mime: &str) -> bool {
    mime.starts_with("text/") || mime == JSON
}

/// Type of a `Content-Type` header, if it may be uploaded: without parameters, lower case.
///
/// # Errors
/// [`Refused::Type`] with what was declared.
pub fn declared(content_type: &str) -> Result<String, Refused> {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let known = essence == ANY || ALLOWED.iter().any(|(mime, _)| *mime == essence);
    if known { Ok(essence) } else { Err(Refused::Type(essence)) }
}

/// Whether a browser may show a stored type in place.
#[must_use]
pub fn is_inline(mime: &str) -> bool {
    ALLOWED.iter().any(|(known, inline)| *known == mime && *inline)
}

/// The type that the first [`HEAD_BYTES`] of the content and the name speak for.
///
/// # Errors
/// See [`Refused`].
pub fn stored_type(declared: &str, name: &str, head: &[u8]) -> Result<&'static str, Refused> {
    if is_svg(head) {
        return Err(Refused::Svg);
    }
    let found = match infer::get(head) {
        Some(kind) => kind.mime_type(),
        None if looks_like_text(head) => PLAIN,
        None => ANY,
    };
    let mismatch = || Refused::Mismatch { declared: declared.to_owned(), found };
    if found == PLAIN {
        return match declared {
            ANY | PLAIN => Ok(by_name(name)),
            text if is_text(text) => known(text).ok_or_else(mismatch),
            _ => Err(mismatch()),
        };
    }
    let Some(mime) = known(found).filter(|mime| declared == ANY || declared == *mime) else {
        return Err(if declared == ANY { Refused::Type(found.to_owned()) } else { mismatch() });
    };
    if mime.starts_with("image/") {
        // A size that cannot be read is no reason: what a picture is, its first bytes say (api.md §2.10).
        if let Ok(size) = imagesize::blob_size(head)
            && (size.width > MAX_PIXELS || size.height > MAX_PIXELS)
        {
            return Err(Refused::Pixels(size.width, size.height));
        }
    }
    Ok(mime)
}

fn known(mime: &str) -> Option<&'static str> {
    ALLOWED.iter().map(|(known, _)| *known).find(|known| *known == mime)
}

/// What plain text is, going by the file's name.
fn by_name(name: &str) -> &'static str {
    let extension = name.rsplit_once('.').map(|(_, e)| e.to_ascii_lowercase());
    match extension.as_deref() {
        Some("md" | "markdown") => "text/markdown",
        Some("csv") => "text/csv",
        Some("json") => JSON,
        _ => PLAIN,
    }
}

/// Judges a file whose bytes arrive in pieces, and keeps none of them.
#[derive(Debug)]
pub struct Judge {
    mime: &'static str,
    /// The client says that it is JSON, not the name alone.
    declared_json: bool,
    text: Option<TextCheck>,
    json: Option<JsonCheck>,
}

impl Judge {
    /// Begins with the first piece, of at least [`HEAD_BYTES`] where there are so many.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn new(declared: &str, name: &str, first: &[u8]) -> Result<Self, Refused> {
        let mime = stored_type(declared, name, &first[..first.len().min(HEAD_BYTES)])?;
        let is_json = mime == JSON;
        Ok(Self {
            mime,
            declared_json: declared == JSON,
            text: is_text(mime).then(TextCheck::default),
            json: is_json.then(JsonCheck::new),
        })
    }

    /// The type that the first piece and the name speak for.
    #[must_use]
    pub const fn expected(&self) -> &'static str {
        self.mime
    }

    /// Takes the next piece, also the first one.
    ///
    /// # Errors
    /// [`Refused::NotText`].
    pub fn push(&mut self, piece: &[u8]) -> Result<(), Refused> {
        if let Some(json) = &mut self.json {
            json.push(piece);
        }
        self.text.as_mut().map_or(Ok(()), |text| text.push(piece))
    }

    /// The type to store, now that all of it was seen: a name alone makes no JSON (workspace-and-providers.md §9).
    ///
    /// # Errors
    /// [`Refused::NotText`], and [`Refused::NotJson`] for what was declared as JSON.
    pub fn finish(self) -> Result<&'static str, Refused> {
        self.text.map_or(Ok(()), |text| text.finish())?;
        match self.json {
            Some(json) if !json.is_valid() && self.declared_json => Err(Refused::NotJson),
            Some(json) if !json.is_valid() => Ok(PLAIN),
            _ => Ok(self.mime),
        }
    }
}

/// Control characters that no text has (WHATWG MIME sniffing, "binary data byte").
fn looks_like_text(head: &[u8]) -> bool {
    !head.iter().any(|b| matches!(b, 0x00..=0x08 | 0x0b | 0x0e..=0x1a | 0x1c..=0x1f))
}

/// Whether markup begins with an `svg` element, behind what may stand before it: a byte order mark,
/// white space, an XML declaration, comments, a document type.
fn is_svg(head: &[u8]) -> bool {
    let text = String::from_utf8_lossy(head);
    let mut rest = text.trim_start_matches('\u{feff}');
    loop {
        rest = rest.trim_start();
        let end = if rest.starts_with("<!--") {
            "-->"
        } else if rest.starts_with("<?") || rest.starts_with("<!") {
            ">"
        } else {
            let tag = rest.strip_prefix('<').unwrap_or_default();
            let name: String =
                tag.chars().take_while(|c| !c.is_whitespace() && !matches!(c, '>' | '/')).collect();
            return name.rsplit(':').next().is_some_and(|local| local.eq_ignore_ascii_case("svg"));
        };
        match rest.find(end) {
            Some(at) => rest = &rest[at + end.len()..],
            // A head full of comments is no text that anyone uploads.
            None => return rest.contains("<svg"),
        }
    }
}

/// Checks that text which arrives in pieces is UTF-8 without NUL.
#[derive(Debug, Default)]
struct TextCheck {
    /// The beginning of a character whose rest is in the next piece.
    carry: Vec<u8>,
}

impl TextCheck {
    /// Takes the next piece.
    fn push(&mut self, piece: &[u8]) -> Result<(), Refused> {
        let joined;
        let bytes = if self.carry.is_empty() {
            piece
        } else {
            joined = [self.carry.as_slice(), piece].concat();
            joined.as_slice()
        };
        let checked = match std::str::from_utf8(bytes) {
            Ok(_) => ControlFlow::Continue(bytes.len()),
            Err(e) if e.error_len().is_none() => ControlFlow::Continue(e.valid_up_to()),
            Err(_) => ControlFlow::Break(()),
        };
        let ControlFlow::Continue(valid) = checked else { return Err(Refused::NotText) };
        if bytes[..valid].contains(&0) {
            return Err(Refused::NotText);
        }
        self.carry = bytes[valid..].to_vec();
        Ok(())
    }

    /// The text is over, and must not end within a character.
    fn finish(&self) -> Result<(), Refused> {
        if self.carry.is_empty() { Ok(()) } else { Err(Refused::NotText) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The smallest PNG header with a size of 2 × 3.
    fn png(width: u32, height: u32) -> Vec<u8> {
        let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
        bytes.extend_from_slice(&width.to_be_bytes());
        bytes.extend_from_slice(&height.to_be_bytes());
        bytes.extend_from_slice(b"\x08\x06\0\0\0\0\0\0\0");
        bytes
    }

    #[test]
    fn bytes_decide_and_names_refine_text() {
        type Case<'a> = (&'a str, &'a str, &'a [u8], Result<&'a str, ()>);
        let cases: [Case<'_>; 15] = [
            ("image/png", "a.png", &png(2, 3), Ok("image/png")),
            (ANY, "a.bin", &png(2, 3), Ok("image/png")),
            ("image/jpeg", "a.jpg", &png(2, 3), Err(())),
            ("text/plain", "a.txt", &png(2, 3), Err(())),
            ("image/png", "a.png", b"hello", Err(())),
            ("text/plain", "a.txt", b"hello", Ok("text/plain")),
            ("text/plain", "a.MD", b"# hi", Ok("text/markdown")),
            ("text/plain", "a.csv", b"1,2", Ok("text/csv")),
            (ANY, "a.json", b"{}", Ok("application/json")),
            ("text/markdown", "a.txt", b"# hi", Ok("text/markdown")),
            ("application/json", "x", b"{}", Ok("application/json")),
            ("text/plain", "a.txt", b"a\0b", Err(())),
            ("application/pdf", "a.pdf", b"%PDF-1.7\n", Ok("application/pdf")),
            ("text/plain", "a.txt", b"%PDF-1.7\n", Err(())),
            ("text/plain", "a.txt", b"", Ok("text/plain")),
        ];
        for (declared, name, head, expected) in cases {
            let found = stored_type(declared, name, head).map_err(|_| ());
            assert_eq!(found, expected, "{declared} {name}");
        }
    }

    #[test]
    fn svg_is_refused_whatever_it_is_called() {
        for svg in [
            "<svg xmlns='x'/>",
            "\u{feff}\n <?xml version='1.0'?><!-- a > b --><!DOCTYPE svg PUBLIC 'x'>\n<SVG>",
            "<s:svg>",
        ] {
            for declared in ["image/png", "text/plain", ANY] {
                assert_eq!(stored_type(declared, "a.txt", svg.as_bytes()), Err(Refused::Svg), "{svg}");
            }
        }
        assert!(stored_type("text/plain", "a.txt", b"about <svg> elements").is_ok());
    }

    #[test]
    fn pictures_have_a_size_that_providers_take() {
        assert_eq!(stored_type(ANY, "a", &png(8001, 3)), Err(Refused::Pixels(8001, 3)));
        assert_eq!(
            stored_type("image/png", "a", &png(2, 3)[..12]),
            Ok("image/png"),
            "a size that is not there"
        );
        assert_eq!(stored_type("image/jpeg", "a", b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01\x01"), Ok("image/jpeg"));
    }

    #[test]
    fn types_are_declared_with_parameters_or_not_at_all() {
        assert_eq!(declared("Text/Plain; charset=utf-8").unwrap(), "text/plain");
        assert_eq!(declared("image/svg+xml"), Err(Refused::Type("image/svg+xml".into())));
        assert!(declared("").is_err());
        assert!(!is_inline("application/pdf") && is_inline("image/png"));
    }

    #[test]
    fn a_name_makes_no_json_and_neither_does_a_declaration() {
        let judged = |declared, name, content: &[u8]| {
            let mut judge = Judge::new(declared, name, content)?;
            content.chunks(2).try_for_each(|piece| judge.push(piece))?;
            judge.finish()
        };
        let (good, bad): (&[u8], &[u8]) = (b"{\"a\": \"\xc3\xa9\"}", b"{\"a\":");
        for declared in [ANY, PLAIN] {
            assert_eq!(judged(declared, "a.JSON", good), Ok(JSON));
            assert_eq!(judged(declared, "a.json", bad), Ok(PLAIN));
        }
        assert_eq!(judged(JSON, "a", good), Ok(JSON));
        assert_eq!(judged(JSON, "a.json", bad), Err(Refused::NotJson));
        assert_eq!(judged(JSON, "a.json", b"\"\xff\""), Err(Refused::NotText));
        assert_eq!(judged("text/markdown", "a.json", bad), Ok("text/markdown"));
        assert_eq!(judged(ANY, "a.json", &png(2, 3)), Ok("image/png"));
    }

    #[test]
    fn text_is_checked_across_pieces() {
        let check = |pieces: &[&[u8]]| {
            let mut check = TextCheck::default();
            pieces.iter().try_for_each(|p| check.push(p)).and_then(|()| check.finish())
        };
        let text = "aé€😀b".as_bytes();
        for cut in 0..text.len() {
            assert_eq!(check(&[&text[..cut], &text[cut..]]), Ok(()));
        }
        assert!(check(&[&text[..2]]).is_err() && check(&[b"a\xff"]).is_err() && check(&[b"a\0"]).is_err());
    }
}
