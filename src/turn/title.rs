//! The title a chat has before a model gives it a better one (agent-loop.md §14.1).

/// Title of a chat whose first message has no text.
pub const NEW_CHAT: &str = "New Chat";
/// Words of the first message that are kept.
const MAX_WORDS: usize = 6;
/// Longest title, in characters.
const MAX_CHARS: usize = 80;

/// The first six words of a text in at most 80 characters, with `…` when something was cut.
#[must_use]
pub fn fallback(text: &str) -> String {
    let mut words = text.split_whitespace();
    let mut title = words.by_ref().take(MAX_WORDS).collect::<Vec<_>>().join(" ");
    if title.is_empty() {
        return NEW_CHAT.to_owned();
    }
    let too_long = title.char_indices().nth(MAX_CHARS).is_some();
    if words.next().is_none() && !too_long {
        return title;
    }
    if let Some((end, _)) = title.char_indices().nth(MAX_CHARS - 1) {
        title.truncate(end);
    }
    title.truncate(title.trim_end().len());
    title.push('…');
    title
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles() {
        for (text, expected) in [
            ("", "New Chat"),
            (" \n\t", "New Chat"),
            ("fix the bug", "fix the bug"),
            ("one two  three\nfour five six", "one two three four five six"),
            ("one two three four five six seven", "one two three four five six…"),
        ] {
            assert_eq!(fallback(text), expected);
        }
        let exact = "é".repeat(80);
        assert_eq!(fallback(&exact), exact);
        let long = fallback(&"é".repeat(81));
        assert_eq!((long.chars().count(), long.ends_with('…')), (80, true));
        let both = fallback(&format!("{} tail {}", "a".repeat(78), "b ".repeat(9)));
        assert_eq!(both, format!("{}…", "a".repeat(78)));
    }
}
