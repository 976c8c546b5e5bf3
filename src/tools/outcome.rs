//! What a call may return, and how much of it.

use crate::{
    chat::{json::Json, message::Part},
    workspace::text::{prefix, suffix},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// Budget of a result when the context window is unknown, in bytes (agent-loop.md §8).
const UNKNOWN_WINDOW_BUDGET: usize = 64 * 1024;
/// Smallest budget of a result, in bytes (agent-loop.md §8).
const MIN_BUDGET: usize = 16 * 1024;
/// Part of the budget that is set aside for the marker, in bytes (agent-loop.md §8).
const MARKER_RESERVE: usize = 256;

/// The outcome of one call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolOutcome {
    /// The result.
    pub result: Json,
    /// The call failed.
    pub is_error: bool,
    /// The result is a media object: `{data, mime_type, text, …}`.
    pub is_media: bool,
    /// Files the user should see at the place of the call: `file` parts.
    pub attachments: Vec<Part>,
}

impl ToolOutcome {
    /// A successful result.
    #[must_use]
    pub fn ok<T: Serialize + ?Sized>(result: &T) -> Self {
        Self { result: Json::of(result), is_error: false, is_media: false, attachments: Vec::new() }
    }

    /// A failure: `{"error": …}`.
    #[must_use]
    pub fn error(message: impl std::fmt::Display) -> Self {
        Self { is_error: true, ..Self::ok(&json!({ "error": message.to_string() })) }
    }

    /// A call that was cut off and must not run twice.
    #[must_use]
    pub fn unknown(tool: &str) -> Self {
        Self::error(format!(
            "the server stopped while {tool} ran, and nobody knows how far it came; it was not started again. \
             Find out what it did before you call it once more"
        ))
    }

    /// An image or other binary content. `data` is base64.
    #[must_use]
    pub fn media(data: &str, mime_type: &str, text: &str) -> Self {
        Self { is_media: true, ..Self::ok(&json!({ "data": data, "mime_type": mime_type, "text": text })) }
    }

    /// The outcome within `budget` bytes. What is over it loses the middle of its text, or of the longest text in an
    /// object, which stays one; what is anything else becomes text. Media is not text and stays whole.
    #[must_use]
    pub fn within(mut self, budget: usize) -> Self {
        if self.is_media || self.result.get().len() <= budget {
            return self;
        }
        self.result = match self.result.read() {
            Ok(Value::String(text)) => Json::of(&encoded_within(&text, budget)),
            Ok(Value::Object(object)) => shortened(object, budget)
                .unwrap_or_else(|| Json::of(&encoded_within(self.result.get(), budget))),
            _ => Json::of(&encoded_within(self.result.get(), budget)),
        };
        self
    }
}

/// The object with its longest text cut so that it fits; `None` when that is not enough.
fn shortened(mut object: Map<String, Value>, budget: usize) -> Option<Json> {
    let size = Json::of(&object).get().len();
    let texts = object.values_mut().filter_map(|value| match value {
        Value::String(text) => Some(text),
        _ => None,
    });
    let longest = texts.max_by_key(|text| text.len())?;
    let room = budget.checked_sub(size - encoded_len(longest)).filter(|room| *room > 2 * MARKER_RESERVE)?;
    *longest = encoded_within(longest, room);
    Some(Json::of(&object))
}

/// The text cut so that it has at most `room` bytes as JSON.
fn encoded_within(text: &str, room: usize) -> String {
    let mut keep = room;
    loop {
        let cut = truncate(text, keep);
        match encoded_len(&cut) {
            fits if fits <= room || keep == 0 => return cut,
            // What is escaped is longer than it was.
            long => keep = keep * room / long,
        }
    }
}

fn encoded_len(text: &str) -> usize {
    Json::of(text).get().len()
}

/// Most bytes of one result: a third of the window at three bytes a token, at least 16 KiB; 64 KiB
/// when the window is unknown (agent-loop.md §8).
#[must_use]
pub fn result_budget(context_limit: Option<i64>) -> usize {
    match context_limit.and_then(|tokens| usize::try_from(tokens).ok()).filter(|tokens| *tokens > 0) {
        Some(tokens) => (tokens / 3).saturating_mul(3).max(MIN_BUDGET),
        None => UNKNOWN_WINDOW_BUDGET,
    }
}

/// The first two thirds and the last third of what fits, with a note of how much lies between.
fn truncate(text: &str, budget: usize) -> String {
    if text.len() <= budget {
        return text.to_owned();
    }
    if budget <= 2 * MARKER_RESERVE {
        return prefix(text, budget).to_owned();
    }
    let keep = budget - MARKER_RESERVE;
    let head = prefix(text, keep * 2 / 3);
    let tail = suffix(text, keep - keep * 2 / 3);
    format!("{head}\n[... {} bytes removed ...]\n{tail}", text.len() - head.len() - tail.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets() {
        for (limit, budget) in [
            (None, 65_536),
            (Some(0), 65_536),
            (Some(-5), 65_536),
            (Some(1000), 16_384),
            (Some(200_000), 199_998),
        ] {
            assert_eq!(result_budget(limit), budget);
        }
    }

    #[test]
    fn long_results_lose_their_middle() {
        let text = format!("{}{}{}", "a".repeat(800), "é".repeat(800), "z".repeat(800));
        let cut = truncate(&text, 1024);
        assert!(cut.len() <= 1024 && cut.starts_with("aaa") && cut.ends_with("zzz"));
        assert_eq!(cut.chars().filter(|c| *c == 'a').count(), 512);
        assert_eq!(cut.chars().filter(|c| *c == 'z').count(), 256);
        assert!(cut.contains(&format!("[... {} bytes removed ...]", 3200 - 768)));
        assert_eq!(truncate(&text, 512), "a".repeat(512));
        assert_eq!(truncate("é", 1), "");
    }

    #[test]
    fn an_outcome_keeps_its_kind_when_cut() {
        let long = "x".repeat(20_000);
        let lines = "\"\n\u{1}".repeat(10_000);
        for (outcome, is_error, begins) in [
            (ToolOutcome::ok(&json!({ "content": long, "note": "n" })), false, r#"{"content":"xxx"#),
            (ToolOutcome::ok(&json!({ "body": lines, "files": ["a"] })), false, r#"{"body":"\"\n\u0001"#),
            (ToolOutcome::ok(&long), false, r#""xxx"#),
            (ToolOutcome::ok(&lines), false, r#""\"\n"#),
            (ToolOutcome::ok(&[&long; 3]), false, r#""[\"xxx"#),
            (ToolOutcome::ok(&json!({ "all": [long], "note": "n" })), false, r#""{\"all"#),
            (ToolOutcome::error(&long), true, r#"{"error":"xxx"#),
        ] {
            let cut = outcome.within(16_384);
            let text = cut.result.get();
            assert!(cut.is_error == is_error && text.starts_with(begins), "{}", prefix(text, 100));
            assert!((14_000..=16_384).contains(&text.len()), "{} bytes of {begins}", text.len());
            assert!(text.contains(" bytes removed ...]"), "{begins}");
        }
        let kept: Value =
            ToolOutcome::ok(&json!({ "body": lines, "files": ["a"] })).within(16_384).result.read().unwrap();
        assert_eq!(kept["files"], json!(["a"]));
        let media = ToolOutcome::media(&long, "image/png", "");
        assert_eq!(media.clone().within(16_384), media);
        let small = ToolOutcome::ok("x");
        assert_eq!(small.clone().within(16_384), small);
    }
}
