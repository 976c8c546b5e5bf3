//! What full-text search knows of a message, and what it is asked. Both engines are given words that
//! were cut out here, so that they agree on what a word is: PostgreSQL's own parser takes
//! `src/main.rs` for one.

use crate::{
    chat::{
        json::Json,
        message::{Part, Role, Visibility},
    },
    ids::UserId,
};

/// Most bytes of a message that are indexed: a `tsvector` holds 1 MiB at most, and what a message is
/// about stands at its start.
const MAX_BYTES: usize = 128 * 1024;
/// Longest word in bytes: longer ones are keys and encoded data that nobody types.
const MAX_WORD: usize = 64;
/// Most words of a query; more narrow nothing.
const MAX_QUERY_WORDS: usize = 32;

/// English words that say nothing, in alphabetical order (the snowball list, which PostgreSQL uses).
const STOP_WORDS: [&str; 127] = [
    "a",
    "about",
    "above",
    "after",
    "again",
    "against",
    "all",
    "am",
    "an",
    "and",
    "any",
    "are",
    "as",
    "at",
    "be",
    "because",
    "been",
    "before",
    "being",
    "below",
    "between",
    "both",
    "but",
    "by",
    "can",
    "did",
    "do",
    "does",
    "doing",
    "don",
    "down",
    "during",
    "each",
    "few",
    "for",
    "from",
    "further",
    "had",
    "has",
    "have",
    "having",
    "he",
    "her",
    "here",
    "hers",
    "herself",
    "him",
    "himself",
    "his",
    "how",
    "i",
    "if",
    "in",
    "into",
    "is",
    "it",
    "its",
    "itself",
    "just",
    "me",
    "more",
    "most",
    "my",
    "myself",
    "no",
    "nor",
    "not",
    "now",
    "of",
    "off",
    "on",
    "once",
    "only",
    "or",
    "other",
    "our",
    "ours",
    "ourselves",
    "out",
    "over",
    "own",
    "s",
    "same",
    "she",
    "should",
    "so",
    "some",
    "such",
    "t",
    "than",
    "that",
    "the",
    "their",
    "theirs",
    "them",
    "themselves",
    "then",
    "there",
    "these",
    "they",
    "this",
    "those",
    "through",
    "to",
    "too",
    "under",
    "until",
    "up",
    "very",
    "was",
    "we",
    "were",
    "what",
    "when",
    "where",
    "which",
    "while",
    "who",
    "whom",
    "why",
    "will",
    "with",
    "you",
    "your",
    "yours",
    "yourself",
    "yourselves",
];

fn words_of(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty() && w.len() <= MAX_WORD)
}

/// The words of a message that is found by them: what users and assistants said to be seen. `None`
/// when there are none.
#[must_use]
pub fn indexed(role: Role, visibility: Visibility, content: &Json) -> Option<String> {
    if !matches!(role, Role::User | Role::Assistant) || visibility == Visibility::Model {
        return None;
    }
    // What cannot be read is shown to nobody either.
    let parts: Vec<Part> = content.read().ok()?;
    let mut all = String::new();
    for part in &parts {
        let Part::Text { text } = part else { continue };
        for word in words_of(text) {
            if all.len() + word.len() >= MAX_BYTES {
                return Some(all);
            }
            if !all.is_empty() {
                all.push(' ');
            }
            all.push_str(word);
        }
    }
    (!all.is_empty()).then_some(all)
}

/// The words of a query that say something; all of them must be in one message.
#[must_use]
pub fn asked(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    let said = words_of(&lower).filter(|w| STOP_WORDS.binary_search(w).is_err());
    said.take(MAX_QUERY_WORDS).map(str::to_owned).collect()
}

/// A query in the language of FTS5.
pub(super) fn fts5(words: &[String], owners: &[UserId]) -> String {
    let quoted = |text: &str| format!("\"{text}\"");
    let body: Vec<_> = words.iter().map(|w| quoted(w)).collect();
    let owners: Vec<_> = owners.iter().map(|o| quoted(&o.0.simple().to_string())).collect();
    format!("owner : ({}) AND body : ({})", owners.join(" OR "), body.join(" AND "))
}

/// The owners of a query as a `tsquery`.
pub(super) fn tsquery_of(owners: &[UserId]) -> String {
    owners.iter().map(|o| format!("o{}", o.0.simple())).collect::<Vec<_>>().join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Json {
        Json::of(&[Part::Text { text: text.to_owned() }])
    }

    #[test]
    fn only_what_was_said_to_be_seen_is_indexed() {
        let of = |role, visibility| indexed(role, visibility, &text("Fix src/main.rs, ok?\0"));
        assert_eq!(of(Role::User, Visibility::Both).as_deref(), Some("Fix src main rs ok"));
        assert!(of(Role::Assistant, Visibility::User).is_some());
        assert!(of(Role::Assistant, Visibility::Model).is_none());
        assert!(of(Role::Tool, Visibility::Both).is_none());
        assert!(of(Role::System, Visibility::Both).is_none());
        assert!(indexed(Role::User, Visibility::Both, &text("?!")).is_none());
        let long = indexed(Role::User, Visibility::Both, &text(&"wort ".repeat(100_000))).unwrap();
        assert!(long.len() <= MAX_BYTES && long.ends_with("wort"));
        assert!(indexed(Role::User, Visibility::Both, &text(&"x".repeat(65))).is_none());
    }

    #[test]
    fn queries_lose_what_says_nothing() {
        assert!(STOP_WORDS.is_sorted());
        assert_eq!(asked("The Login-test of \"main.rs\""), ["login", "test", "main", "rs"]);
        assert!(asked("the of and").is_empty());
        assert!(asked("?").is_empty());
        let owner = UserId(uuid::Uuid::from_u128(1));
        assert_eq!(
            fts5(&asked("a b c"), &[owner, owner]),
            "owner : (\"00000000000000000000000000000001\" OR \"00000000000000000000000000000001\") \
             AND body : (\"b\" AND \"c\")"
        );
        assert_eq!(tsquery_of(&[owner]), "o00000000000000000000000000000001");
    }
}
