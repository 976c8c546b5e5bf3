//! Makes tool calls and results pair up, whatever history holds (agent-loop.md §5.2): without this,
//! one lost result would make a provider refuse every later prompt of the chat.

use crate::{
    chat::message::{ToolCallPart, ToolResultPart},
    llm::request::{Native, UserContent},
};
use std::collections::{HashMap, HashSet};

/// Longest id or name that all providers take.
const MAX_NAME_CHARS: usize = 64;

/// Conversation content in history order, with results detached from their rows.
pub(super) enum Item<'a> {
    /// A user message.
    User(Vec<UserContent>),
    /// An assistant message.
    Assistant {
        /// Its pieces in stream order.
        pieces: Vec<Piece<'a>>,
        /// What the provider sent, if it may be sent back.
        native: Option<Native>,
    },
    /// A result, wherever it stood.
    Result(&'a ToolResultPart),
}

/// A piece of an assistant message.
pub(super) enum Piece<'a> {
    /// Text.
    Text(&'a str),
    /// Reasoning.
    Reasoning(&'a str),
    /// A call that chatd or its client answers.
    Call(&'a ToolCallPart),
}

/// Which result answers which call, by item and piece index.
pub(super) struct Pairs<'a> {
    /// Results of calls: `(item, piece)` of the call.
    pub answers: HashMap<(usize, usize), &'a ToolResultPart>,
    /// Items that are results without a call, to be given one.
    pub orphans: HashSet<usize>,
}

/// Pairs in one pass. A result answers the latest earlier call of its id that has no result yet; a
/// second result of an answered call is neither an answer nor an orphan.
pub(super) fn pair<'a>(items: &[Item<'a>]) -> Pairs<'a> {
    let mut answers = HashMap::new();
    let mut orphans = HashSet::new();
    let mut open: HashMap<&str, (usize, usize)> = HashMap::new();
    let mut known: HashSet<&str> = HashSet::new();
    for (index, item) in items.iter().enumerate() {
        match item {
            Item::User(_) => {}
            Item::Assistant { pieces, .. } => {
                for (piece, call) in pieces.iter().enumerate() {
                    if let Piece::Call(call) = call {
                        open.insert(&call.tool_call_id, (index, piece));
                        known.insert(&call.tool_call_id);
                    }
                }
            }
            Item::Result(result) => {
                let id = result.tool_call_id.as_str();
                if let Some(call) = open.remove(id) {
                    answers.insert(call, *result);
                } else if known.insert(id) {
                    orphans.insert(index);
                }
            }
        }
    }
    Pairs { answers, orphans }
}

/// Every character outside `[A-Za-z0-9_-]` becomes `_`; at most 64 of them; never empty.
pub(super) fn safe_name(raw: &str, when_empty: &str) -> String {
    let safe: String = raw
        .chars()
        .take(MAX_NAME_CHARS)
        .map(|c| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '_' })
        .collect();
    if safe.is_empty() { when_empty.to_owned() } else { safe }
}

/// Gives out call ids that no other call of the prompt has. The same history always gets the same
/// ids, so a provider's prompt cache keeps matching.
#[derive(Default)]
pub(super) struct CallIds {
    used: HashSet<String>,
}

impl CallIds {
    /// The id for the next call whose stored id is `raw`.
    pub fn assign(&mut self, raw: &str) -> String {
        let safe = safe_name(raw, "call");
        if self.used.insert(safe.clone()) {
            return safe;
        }
        let mut number = 2usize;
        loop {
            let suffix = format!("_{number}");
            let keep = safe.len().min(MAX_NAME_CHARS - suffix.len());
            let candidate = format!("{}{suffix}", &safe[..keep]);
            if self.used.insert(candidate.clone()) {
                return candidate;
            }
            number += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_rewritten_and_unique() {
        let mut ids = CallIds::default();
        assert_eq!(ids.assign("call_0"), "call_0");
        assert_eq!(ids.assign("call_0"), "call_0_2");
        assert_eq!(ids.assign("a.b/ü"), "a_b__");
        assert_eq!(ids.assign("a_b__"), "a_b___2");
        assert_eq!((ids.assign(""), ids.assign("")), ("call".into(), "call_2".into()));
        let long = "x".repeat(100);
        assert_eq!(ids.assign(&long), "x".repeat(64));
        assert_eq!(ids.assign(&long), format!("{}_2", "x".repeat(62)));
    }
}
