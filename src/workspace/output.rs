//! Keeps the beginning and the end of a command's output in bounded memory (tools.md §15.4).

use super::text::{prefix, suffix};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, collections::VecDeque};

/// Bytes kept of the beginning, and again of the end.
const HALF: usize = 16 * 1024;
/// Room for the line between the two: what is shown has at most twice [`HALF`] with it (tools.md §5).
const MARKER: usize = 64;
/// Longest line that is shown whole, in bytes.
const MAX_LINE: usize = 2048;

/// What was left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Truncated {
    /// Bytes the command wrote.
    pub original_bytes: u64,
    /// Bytes that were kept.
    pub retained_bytes: u64,
    /// Bytes between beginning and end that were not.
    pub omitted_bytes: u64,
    /// Always `head_tail`.
    pub strategy: Cow<'static, str>,
}

/// Output as it is shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Captured {
    /// The text; bytes that are not UTF-8 are U+FFFD.
    pub text: String,
    /// Set when something was left out.
    pub truncated: Option<Truncated>,
}

/// The collector. Holds at most 32 KiB, whatever is written.
#[derive(Debug, Default)]
pub struct HeadTail {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    total: u64,
}

impl HeadTail {
    /// Takes more output.
    pub fn push(&mut self, mut bytes: &[u8]) {
        self.total += bytes.len() as u64;
        let room = HALF - self.head.len();
        if room > 0 {
            let (head, rest) = bytes.split_at(room.min(bytes.len()));
            self.head.extend_from_slice(head);
            bytes = rest;
        }
        let bytes = &bytes[bytes.len().saturating_sub(HALF)..];
        let excess = (self.tail.len() + bytes.len()).saturating_sub(HALF);
        self.tail.drain(..excess);
        self.tail.extend(bytes);
    }

    /// The output so far.
    #[must_use]
    pub fn capture(&self) -> Captured {
        let (tail_a, tail_b) = self.tail.as_slices();
        let tail = [tail_a, tail_b].concat();
        if self.total == (self.head.len() + tail.len()) as u64 {
            let whole = [self.head.as_slice(), &tail].concat();
            return Captured { text: fit(&String::from_utf8_lossy(&whole)), truncated: None };
        }
        let head = &self.head[..HALF - MARKER];
        let kept = (head.len() + tail.len()) as u64;
        let omitted = self.total - kept;
        // A character cut at the seam would show as U+FFFD on both sides: leave its pieces out.
        let head = whole_characters(head);
        let start = tail.iter().take(3).take_while(|b| **b & 0xC0 == 0x80).count();
        let (head, tail) = (String::from_utf8_lossy(head), String::from_utf8_lossy(&tail[start..]));
        let text = format!(
            "{}\n[... {omitted} bytes omitted ...]\n{}",
            prefix(&cut_lines(&head), HALF - MARKER),
            suffix(&cut_lines(&tail), HALF)
        );
        let truncated = Truncated {
            original_bytes: self.total,
            retained_bytes: kept,
            omitted_bytes: omitted,
            strategy: Cow::Borrowed("head_tail"),
        };
        Captured { text, truncated: Some(truncated) }
    }
}

/// The bytes without an unfinished character at their end.
fn whole_characters(bytes: &[u8]) -> &[u8] {
    match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() => &bytes[..error.valid_up_to()],
        _ => bytes,
    }
}

/// Cuts long lines, and the whole where U+FFFD has made it longer than it was.
fn fit(text: &str) -> String {
    let cut = cut_lines(text);
    if cut.len() <= 2 * HALF {
        return cut;
    }
    format!("{}\n[...]\n{}", prefix(&cut, HALF - MARKER), suffix(&cut, HALF))
}

fn cut_lines(text: &str) -> String {
    let line = |line: &str| match line.len().checked_sub(MAX_LINE) {
        None | Some(0) => line.to_owned(),
        Some(_) => format!("{}... [line cut, {} bytes]", prefix(line, MAX_LINE), line.len()),
    };
    text.split('\n').map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn capture(chunks: &[&[u8]]) -> Captured {
        let mut out = HeadTail::default();
        chunks.iter().for_each(|chunk| out.push(chunk));
        out.capture()
    }

    #[test]
    fn short_output_is_whole() {
        assert_eq!(capture(&[b"a\n", "é".as_bytes()]), Captured { text: "a\né".into(), truncated: None });
        let line = "x".repeat(3000);
        assert_eq!(
            capture(&[line.as_bytes()]).text,
            format!("{}... [line cut, 3000 bytes]", "x".repeat(2048))
        );
    }

    #[test]
    fn long_output_keeps_both_ends() {
        let lines: String = (0..10_000).map(|n| format!("line {n}\n")).collect();
        let captured = capture(&[lines.as_bytes()]);
        assert!(captured.text.starts_with("line 0\n") && captured.text.ends_with("line 9999\n"));
        let truncated = captured.truncated.unwrap();
        assert_eq!(truncated.original_bytes, lines.len() as u64);
        assert_eq!(truncated.retained_bytes, 32 * 1024 - 64);
        assert_eq!(truncated.omitted_bytes, lines.len() as u64 - 32 * 1024 + 64);
        assert!(captured.text.len() <= 32 * 1024, "{}", captured.text.len());
        assert!(captured.text.contains(&format!("[... {} bytes omitted ...]", truncated.omitted_bytes)));
    }

    #[test]
    fn binary_output_stays_small() {
        for bytes in [31 * 1024, 33 * 1024] {
            let captured = capture(&[&vec![0xff; bytes]]);
            assert!(captured.text.len() <= 32 * 1024, "{}", captured.text.len());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn chunking_does_not_matter(
            seed in prop::collection::vec(any::<u8>(), 1..200),
            repeats in 1usize..400,
            chunk in 1usize..5000,
        ) {
            let all: Vec<u8> = seed.iter().copied().cycle().take(seed.len() * repeats).collect();
            let mut out = HeadTail::default();
            all.chunks(chunk).for_each(|piece| {
                out.push(piece);
                assert!(out.head.len() + out.tail.len() <= 2 * HALF);
            });
            prop_assert!(out.capture().text.len() <= 2 * HALF);
            prop_assert_eq!(out.capture(), capture(&[&all]));
        }
    }
}
