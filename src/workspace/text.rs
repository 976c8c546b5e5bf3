//! Cutting text by bytes without splitting a character.

/// The longest beginning of `text` that has at most `max` bytes.
#[must_use]
pub fn prefix(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

/// The longest end of `text` that has at most `max` bytes.
#[must_use]
pub fn suffix(text: &str, max: usize) -> &str {
    &text[text.ceil_char_boundary(text.len().saturating_sub(max))..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_lie_between_characters() {
        assert_eq!((prefix("aéb", 2), suffix("aéb", 2)), ("a", "b"));
        assert_eq!((prefix("aéb", 3), suffix("aéb", 3)), ("aé", "éb"));
        assert_eq!((prefix("é", 9), suffix("é", 9), prefix("é", 0), suffix("é", 0)), ("é", "é", "", ""));
    }
}
