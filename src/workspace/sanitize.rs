//! Cleans what a workspace says before a model reads it, files of instructions (workspace-and-providers.md §7.3) and the
//! descriptions of tools: what a person does not see when looking at it must not speak to the model.

use super::skill::without_comments;

/// Characters that show nothing, or change how their neighbours show.
#[must_use]
pub const fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{AD}' | '\u{34F}' | '\u{61C}' | '\u{70F}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}'
        | '\u{180B}'..='\u{180F}' | '\u{200B}' | '\u{200D}'..='\u{200F}' | '\u{202A}'..='\u{202E}'
        | '\u{2060}'..='\u{206F}' | '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFA0}'
        | '\u{FFF0}'..='\u{FFF8}'
        // Tags, which spell ASCII that nobody sees, and the other variation selectors. Not in the spec's list.
        | '\u{E0000}'..='\u{E007F}' | '\u{E0100}'..='\u{E01EF}')
}

/// Line ends become `\n`; HTML comments, invisible characters and white space around the text go.
#[must_use]
pub fn sanitize(text: &str) -> String {
    let visible: String =
        text.replace("\r\n", "\n").replace('\r', "\n").chars().filter(|c| !is_invisible(*c)).collect();
    // After the characters: one of them could hide a comment's beginning from this, and show it then.
    without_comments(&visible).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_not_seen_goes() {
        assert_eq!(sanitize("\u{feff} a\r\nb\rc <!-- x\n y -->d\n"), "a\nb\nc d");
        assert_eq!(sanitize("a<!-- open"), "a");
        assert_eq!(sanitize("<\u{200B}!-- hidden -->a"), "a");
        for c in [
            '\u{AD}',
            '\u{34F}',
            '\u{61C}',
            '\u{70F}',
            '\u{115F}',
            '\u{1160}',
            '\u{17B4}',
            '\u{17B5}',
            '\u{180B}',
            '\u{180F}',
            '\u{200B}',
            '\u{200D}',
            '\u{200F}',
            '\u{202A}',
            '\u{202E}',
            '\u{2060}',
            '\u{206F}',
            '\u{3164}',
            '\u{E0041}',
            '\u{E0100}',
            '\u{FE00}',
            '\u{FE0F}',
            '\u{FEFF}',
            '\u{FFA0}',
            '\u{FFF0}',
            '\u{FFF8}',
        ] {
            assert_eq!(sanitize(&format!("a{c}b")), "ab", "{:x}", u32::from(c));
        }
        assert_eq!(sanitize("a\u{200C}b"), "a\u{200C}b");
    }

    proptest! {
        #[test]
        fn nothing_hidden_stays(text in "[a<!\\-> \u{200B}\u{FE0F}\r\n]{0,40}|\\PC{0,40}") {
            let clean = sanitize(&text);
            prop_assert!(!clean.contains(is_invisible) && !clean.contains('\r'));
            prop_assert_eq!(clean.trim(), clean.as_str());
        }
    }
}
