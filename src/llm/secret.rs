//! Text that must not reach logs, errors or clients.

use std::fmt;
use zeroize::Zeroize as _;

/// A credential. `Debug` and `Display` print a placeholder; only [`Secret::expose`] gives the text.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(String);

impl Secret {
    /// Hides `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that sends it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Nothing but white space.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        self.0.trim().is_empty()
    }

    /// Replaces every occurrence in `text`: providers like to quote the key they refuse. Keys under
    /// 8 bytes are no keys, and replacing them would riddle ordinary text.
    #[must_use]
    pub fn redact(&self, text: &str) -> String {
        // As it is sent: white space around a configured key stays at home.
        let sent = self.0.trim();
        if sent.len() < 8 { text.to_owned() } else { text.replace(sent, "[REDACTED]") }
    }
}

/// Memory that held a secret is wiped.
impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[REDACTED]")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[REDACTED]")
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_as_it_is_sent() {
        let key = Secret::new(" sk-12345678\n");
        assert_eq!(key.redact("bad key sk-12345678."), "bad key [REDACTED].");
        assert_eq!(Secret::new("        ").redact("a        b"), "a        b");
    }
}
