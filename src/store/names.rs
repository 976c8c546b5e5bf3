//! What users, organizations and groups may be called.

/// Longest name in bytes.
const MAX_NAME: usize = 64;
/// Longest display name, description or address in bytes.
const MAX_TEXT: usize = 256;
/// Longest address of a picture in bytes: data URLs of small icons are common.
const MAX_URL: usize = 16 * 1024;

/// The rule for names that stand in URLs, for people.
pub const RULE: &str = "Take 1 to 64 letters, digits, dots, dashes or underscores, and not \"me\".";

/// Whether it can be the name of a user, an organization or a group: it stands in URLs, where it
/// must not look like an id.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    // Fixed segments of the paths, and the two that mean a folder to whoever resolves them.
    let reserved = ["me", "login", "logout", ".", ".."];
    // In whatever form: somebody could take it for somebody else.
    let is_id = uuid::Uuid::try_parse(text).is_ok();
    (1..=MAX_NAME).contains(&text.len()) && text.chars().all(fits) && !reserved.contains(&text) && !is_id
}

/// Whether it can be a display name or a description: one line, not too long.
#[must_use]
pub fn is_text(text: &str) -> bool {
    text.len() <= MAX_TEXT && !text.contains(char::is_control)
}

/// Whether it can be a mail address. Only a mail can tell for sure.
#[must_use]
pub fn is_email(text: &str) -> bool {
    let parts = text.rsplit_once('@').is_some_and(|(who, host)| !who.is_empty() && !host.is_empty());
    parts && is_text(text) && !text.contains(char::is_whitespace)
}

/// Whether it can be the address of a picture: nothing, a web address, a path, or the picture itself.
/// Nothing that a browser would run.
#[must_use]
pub fn is_picture(text: &str) -> bool {
    let starts = ["https://", "http://", "/", "data:image/"];
    let plain = text.len() <= MAX_URL && !text.contains(|c: char| c.is_control() || c.is_whitespace());
    text.is_empty() || (plain && starts.iter().any(|s| text.starts_with(s)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_can_stand_in_a_path() {
        for good in ["a", "Alice.B-c_9", &"x".repeat(64)] {
            assert!(is_name(good), "{good}");
        }
        for bad in [
            "",
            "me",
            "login",
            ".",
            "..",
            "a b",
            "a/b",
            "ä",
            "a~b",
            "11111111-1111-4111-8111-111111111111",
            &"x".repeat(65),
        ] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn addresses_and_pictures() {
        assert!(is_email("a@localhost") && is_email("ä.b+c@x.test"));
        for bad in ["", "a", "@x", "a@", "a b@x", "a@x\n", &format!("{}@x", "y".repeat(256))] {
            assert!(!is_email(bad), "{bad}");
        }
        assert!(is_picture("") && is_picture("/emoji/1.png") && is_picture("data:image/png;base64,AA"));
        assert!(!is_picture("javascript:alert(1)") && !is_picture("https://x/ y"));
    }
}
