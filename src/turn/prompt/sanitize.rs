//! Cleans prompt text that people configure or send (workspace-and-providers.md §7.2): characters that
//! nobody sees can carry instructions that nobody reads.

/// Characters that show nothing. U+200C is not among them: some scripts need it.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{AD}' | '\u{34F}' | '\u{61C}' | '\u{180E}' | '\u{200B}' | '\u{200D}'..='\u{200F}'
        | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{2064}' | '\u{2066}'..='\u{206F}' | '\u{FEFF}'
        | '\u{FFF9}'..='\u{FFFB}')
}

/// Line ends become `\n`, invisible characters go, more than one empty line becomes one, white space
/// around the text goes. Doing it twice changes nothing.
#[must_use]
pub fn sanitize(text: &str) -> String {
    let visible: String =
        text.replace("\r\n", "\n").replace('\r', "\n").chars().filter(|c| !is_invisible(*c)).collect();
    let mut clean = String::with_capacity(visible.len());
    let mut blank = 0usize;
    for line in visible.trim().split('\n') {
        if line.trim().is_empty() {
            blank += 1;
            continue;
        }
        if !clean.is_empty() {
            clean.push_str(if blank > 0 { "\n\n" } else { "\n" });
        }
        blank = 0;
        clean.push_str(line);
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_cannot_be_seen_is_removed() {
        for (text, expected) in [
            ("a\r\nb\rc", "a\nb\nc"),
            ("a\u{200B}b\u{200D}c\u{FEFF}\u{202E}d\u{AD}", "abcd"),
            ("\u{646}\u{200C}\u{627}", "\u{646}\u{200C}\u{627}"),
            ("a\n\nb", "a\n\nb"),
            ("a\n\n\nb\n \t\n\u{2060}\n\n\nc", "a\n\nb\n\nc"),
            ("  \n a \n ", "a"),
            ("  a\n  b", "a\n  b"),
            ("\u{2066}\u{FFFB}", ""),
            ("a\u{2065}b", "a\u{2065}b"),
        ] {
            assert_eq!(sanitize(text), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn twice_is_once(text in "[a \n\r\t\u{200B}\u{200C}\u{2029}\u{FEFF}]{0,40}") {
            let once = sanitize(&text);
            prop_assert_eq!(sanitize(&once), once.clone());
        }
    }
}
