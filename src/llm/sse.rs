//! A reader of server-sent events with bounded memory.
//!
//! The usual crates buffer a line of any length; a provider that sends no newline would fill the memory.
//! Lines end in CRLF, LF or CR; a leading byte-order mark is dropped; bytes that are no UTF-8 become
//! replacement characters. Comments, `id` and `retry` are ignored.

/// Most bytes one event may have. A picture in base64 fits, a run-away stream does not.
pub const MAX_EVENT: usize = 16 * 1024 * 1024;

/// An event grew over [`MAX_EVENT`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLarge;

/// Reads bytes in any split.
#[derive(Debug, Default)]
pub struct Reader {
    line: Vec<u8>,
    name: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    after_cr: bool,
    past_first_line: bool,
}

impl Reader {
    /// Takes bytes; calls `event(name, data)` for each complete event. Stops at the first error.
    ///
    /// # Errors
    /// The error of `event`, or [`TooLarge`].
    pub fn push<E: From<TooLarge>>(
        &mut self,
        mut bytes: &[u8],
        mut event: impl FnMut(&str, &str) -> Result<(), E>,
    ) -> Result<(), E> {
        while !bytes.is_empty() {
            if std::mem::take(&mut self.after_cr) && bytes[0] == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let Some(end) = bytes.iter().position(|b| matches!(b, b'\n' | b'\r')) else {
                self.line.extend_from_slice(bytes);
                return Ok(self.check(0)?);
            };
            self.check(end)?;
            self.after_cr = bytes[end] == b'\r';
            if self.line.is_empty() {
                self.take_line(&bytes[..end], &mut event)?;
            } else {
                self.line.extend_from_slice(&bytes[..end]);
                let line = std::mem::take(&mut self.line);
                self.take_line(&line, &mut event)?;
                self.line = line;
                self.line.clear();
            }
            bytes = &bytes[end + 1..];
        }
        Ok(())
    }

    /// The bytes have ended: gives the last event when its blank line, or its line end too, is missing.
    /// An event that was cut in the middle is given as well; no decoder can read it.
    ///
    /// # Errors
    /// The error of `event`.
    pub fn finish<E>(&mut self, mut event: impl FnMut(&str, &str) -> Result<(), E>) -> Result<(), E> {
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() {
            self.take_line(&line, &mut event)?;
        }
        self.dispatch(&mut event)
    }

    fn check(&self, more: usize) -> Result<(), TooLarge> {
        if self.line.len() + self.data.len() + self.name.len() + more > MAX_EVENT {
            Err(TooLarge)
        } else {
            Ok(())
        }
    }

    fn take_line<E>(
        &mut self,
        mut line: &[u8],
        event: &mut impl FnMut(&str, &str) -> Result<(), E>,
    ) -> Result<(), E> {
        if !std::mem::replace(&mut self.past_first_line, true) {
            line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        }
        if line.is_empty() {
            return self.dispatch(event);
        }
        let (field, value) = match line.iter().position(|b| *b == b':') {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &[][..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => {
                if self.has_data {
                    self.data.push(b'\n');
                }
                self.has_data = true;
                self.data.extend_from_slice(value);
            }
            b"event" => {
                self.name.clear();
                self.name.extend_from_slice(value);
            }
            _ => {}
        }
        Ok(())
    }

    fn dispatch<E>(&mut self, event: &mut impl FnMut(&str, &str) -> Result<(), E>) -> Result<(), E> {
        let result = if std::mem::take(&mut self.has_data) {
            event(&String::from_utf8_lossy(&self.name), &String::from_utf8_lossy(&self.data))
        } else {
            Ok(())
        };
        self.data.clear();
        self.name.clear();
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(chunks: &[&[u8]]) -> Result<Vec<(String, String)>, TooLarge> {
        let mut reader = Reader::default();
        let mut seen = Vec::new();
        let mut take = |n: &str, d: &str| -> Result<(), TooLarge> {
            seen.push((n.to_owned(), d.to_owned()));
            Ok(())
        };
        for chunk in chunks {
            reader.push(chunk, &mut take)?;
        }
        reader.finish(&mut take)?;
        Ok(seen)
    }

    const STREAM: &str = "\u{feff}event: a\r\ndata: 1\r\ndata:2\r\n\r\n: comment\nid: 7\ndata: é\n\nevent: lonely\n\ndata\r\rdata:  x\n";

    #[test]
    fn line_ends_comments_and_marks_are_understood() {
        let pairs = [("a", "1\n2"), ("", "é"), ("", ""), ("", " x")];
        let expected: Vec<_> = pairs.iter().map(|(n, d)| ((*n).to_owned(), (*d).to_owned())).collect();
        assert_eq!(read(&[STREAM.as_bytes()]).unwrap(), expected);
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let chunk = vec![b'x'; 1 << 20];
        let mut reader = Reader::default();
        let mut result: Result<(), TooLarge> = Ok(());
        for _ in 0..64 {
            result = reader.push(&chunk, |_, _| Ok(()));
            if result.is_err() {
                break;
            }
        }
        assert_eq!(result, Err(TooLarge));
        assert!(reader.line.len() <= MAX_EVENT + chunk.len());
    }

    #[test]
    fn the_last_line_may_lack_its_end() {
        assert_eq!(read(&[b"data: 1\n\ndata: [DO", b"NE]"]).unwrap()[1].1, "[DONE]");
        assert_eq!(read(&[b": only a comment"]).unwrap(), []);
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced() {
        assert_eq!(read(&[b"data: a\xff\xfeb\n\n"]).unwrap()[0].1, "a\u{fffd}\u{fffd}b");
    }

    proptest! {
        #[test]
        fn any_split_reads_the_same(cuts in proptest::collection::vec(0..STREAM.len(), 0..12)) {
            let mut cuts = cuts;
            cuts.sort_unstable();
            let bytes = STREAM.as_bytes();
            let mut chunks = Vec::new();
            let mut from = 0;
            for cut in cuts.into_iter().chain([bytes.len()]) {
                chunks.push(&bytes[from..cut]);
                from = cut;
            }
            prop_assert_eq!(read(&chunks), read(&[bytes]));
        }

        #[test]
        fn garbage_is_harmless(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let _ = read(&[&bytes]);
        }
    }
}
