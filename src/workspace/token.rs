//! Tokens of agents: 32 random bytes, of which the database has the SHA-256 alone.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};

/// What every token of an agent begins with: whoever finds one in a log sees what it is.
const PREFIX: &str = "chatd-agent-";

/// Makes a token.
#[must_use]
pub fn mint() -> String {
    let bytes: [u8; 32] = rand::random();
    format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
}

/// What is stored of a token.
#[must_use]
pub fn hash(token: &str) -> Vec<u8> {
    Sha256::digest(token.as_bytes()).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_differ_and_only_their_hash_is_kept() {
        let (a, b) = (mint(), mint());
        assert_ne!(a, b);
        assert!(a.starts_with("chatd-agent-") && a.len() == 12 + 43, "{a}");
        assert_eq!(hash(&a).len(), 32);
        assert_ne!(hash(&a), hash(&b));
    }
}
