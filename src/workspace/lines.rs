//! Numbered lines of a text file within limits (tools.md §1, §15.1). Pure: the bytes are handed in.

use super::text::prefix;

/// Limits of one read; the caller sends them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadCaps {
    /// Largest file, in bytes.
    pub file_bytes: u64,
    /// Bytes of a line that are kept.
    pub line_bytes: usize,
    /// Most lines of a response.
    pub lines: usize,
    /// Most bytes of a response.
    pub response_bytes: usize,
}

impl Default for ReadCaps {
    /// 1 MiB, 1024 bytes a line, 2000 lines, 32 KiB (tools.md §1).
    fn default() -> Self {
        Self { file_bytes: 1 << 20, line_bytes: 1024, lines: 2000, response_bytes: 32 << 10 }
    }
}

/// Which lines of which file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadRequest {
    /// Absolute path.
    pub path: String,
    /// First line, from 1.
    pub offset: usize,
    /// Number of lines; 0 = all that follow.
    pub limit: usize,
    /// Limits.
    pub caps: ReadCaps,
}

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Lines {
    /// Each line as `<number>\t<line>`, joined by newlines.
    pub content: String,
    /// Bytes of the file.
    pub file_size: u64,
    /// Lines of the file.
    pub total_lines: usize,
    /// Lines in `content`.
    pub lines_read: usize,
}

/// The read does not fit its limits. It is refused instead of cut, so that the model never takes a
/// part for the whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadRefusal {
    /// The file is too large.
    #[error(
        "the file has {size} bytes, more than the {cap} that can be read; read parts of it with shell tools such as sed, head or grep"
    )]
    FileTooLarge {
        /// Bytes of the file.
        size: u64,
        /// The limit.
        cap: u64,
    },
    /// There is no such line.
    #[error("offset {offset} lies past the end: the file has {total} lines")]
    BeyondEnd {
        /// As asked for.
        offset: usize,
        /// Lines of the file.
        total: usize,
    },
    /// Too many lines.
    #[error("{lines} lines were asked for, at most {cap} fit; ask for a smaller range with offset and limit")]
    TooManyLines {
        /// Lines asked for.
        lines: usize,
        /// The limit.
        cap: usize,
    },
    /// Too many bytes.
    #[error("the lines have more than {cap} bytes; ask for a smaller range with offset and limit")]
    ResponseTooLarge {
        /// The limit.
        cap: usize,
    },
}

/// Reads lines out of a file's bytes. The last line counts without its newline too; `\r` is data;
/// bytes that are not UTF-8 become U+FFFD.
///
/// # Errors
/// When the request does not fit its limits.
pub fn read(bytes: &[u8], request: &ReadRequest) -> Result<Lines, ReadRefusal> {
    let caps = request.caps;
    let file_size = bytes.len() as u64;
    if file_size > caps.file_bytes {
        return Err(ReadRefusal::FileTooLarge { size: file_size, cap: caps.file_bytes });
    }
    let mut lines: Vec<&[u8]> = bytes.split(|b| *b == b'\n').collect();
    if lines.last().is_some_and(|last| last.is_empty()) {
        lines.pop();
    }
    let (total, offset) = (lines.len(), request.offset.max(1));
    if offset > total && !(total == 0 && offset == 1) {
        return Err(ReadRefusal::BeyondEnd { offset, total });
    }
    let after = &lines[(offset - 1).min(total)..];
    let wanted = &after[..if request.limit == 0 { after.len() } else { request.limit.min(after.len()) }];
    if wanted.len() > caps.lines {
        return Err(ReadRefusal::TooManyLines { lines: wanted.len(), cap: caps.lines });
    }
    let mut content = String::new();
    for (line, number) in wanted.iter().zip(offset..) {
        if number > offset {
            content.push('\n');
        }
        content.push_str(&number.to_string());
        content.push('\t');
        let line = String::from_utf8_lossy(line);
        content.push_str(prefix(&line, caps.line_bytes));
        if line.len() > caps.line_bytes {
            content.push_str("... [truncated]");
        }
        if content.len() > caps.response_bytes {
            return Err(ReadRefusal::ResponseTooLarge { cap: caps.response_bytes });
        }
    }
    Ok(Lines { content, file_size, total_lines: total, lines_read: wanted.len() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(text: &str, offset: usize, limit: usize) -> Result<Lines, ReadRefusal> {
        let caps = ReadCaps { file_bytes: 100, line_bytes: 8, lines: 5, response_bytes: 60 };
        read(text.as_bytes(), &ReadRequest { path: "/f".into(), offset, limit, caps })
    }

    fn content(text: &str, offset: usize, limit: usize) -> (String, usize, usize) {
        let lines = ask(text, offset, limit).unwrap();
        (lines.content, lines.total_lines, lines.lines_read)
    }

    #[test]
    fn lines_are_numbered() {
        assert_eq!(content("a\nb\r\nc", 1, 0), ("1\ta\n2\tb\r\n3\tc".into(), 3, 3));
        assert_eq!(content("a\nb\n\n", 2, 1), ("2\tb".into(), 3, 1));
        assert_eq!(content("a\nb\n", 0, 9), ("1\ta\n2\tb".into(), 2, 2));
        assert_eq!(content("", 1, 0), (String::new(), 0, 0));
        assert_eq!(content("\n", 1, 0), ("1\t".into(), 1, 1));
        assert_eq!(content("éééééé", 1, 0).0, "1\téééé... [truncated]");
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert_eq!(ask(&"x".repeat(101), 1, 0), Err(ReadRefusal::FileTooLarge { size: 101, cap: 100 }));
        assert_eq!(ask("a\nb", 3, 0), Err(ReadRefusal::BeyondEnd { offset: 3, total: 2 }));
        assert_eq!(ask("", 2, 0), Err(ReadRefusal::BeyondEnd { offset: 2, total: 0 }));
        assert_eq!(ask("1\n2\n3\n4\n5\n6", 1, 0), Err(ReadRefusal::TooManyLines { lines: 6, cap: 5 }));
        assert_eq!(ask("1\n2\n3\n4\n5\n6", 2, 0).unwrap().lines_read, 5);
        let wide = "123456789\n".repeat(5);
        assert_eq!(ask(&wide, 1, 0), Err(ReadRefusal::ResponseTooLarge { cap: 60 }));
    }
}
