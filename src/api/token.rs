//! API tokens: `<10-char id>-<22-char secret>` (api.md §1.2). Only the SHA-256 of the secret is kept.

use crate::{
    clock::Timestamp,
    ids::UserId,
    store::records::{TokenKind, TokenRecord},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// Length of the public half.
const ID_LENGTH: usize = 10;
/// Length of the secret half.
const SECRET_LENGTH: usize = 22;

/// A token as its owner gets it, once, and as it is stored.
pub struct Minted {
    /// The whole text. Shown once, never stored, never logged.
    pub text: String,
    /// What is stored.
    pub record: TokenRecord,
}

impl std::fmt::Debug for Minted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Minted").field("id", &self.record.id).finish_non_exhaustive()
    }
}

/// Makes a token.
#[must_use]
pub fn mint(user_id: UserId, now: Timestamp, expires_at: Option<Timestamp>) -> Minted {
    let id = alphanumeric::<ID_LENGTH>();
    let secret = alphanumeric::<SECRET_LENGTH>();
    let record = TokenRecord {
        id,
        user_id,
        hash: hash(&secret),
        kind: TokenKind::Token,
        name: String::new(),
        created_at: now,
        expires_at,
        last_used_at: None,
        created_from: None,
    };
    Minted { text: format!("{}-{secret}", record.id), record }
}

/// Random letters and digits; 22 of them carry 131 bits.
pub(super) fn alphanumeric<const N: usize>() -> String {
    let mut text = String::with_capacity(N);
    while text.len() < N {
        // Base64 of random bytes without its two signs is uniform over letters and digits.
        let bytes: [u8; 32] = rand::random();
        let chars = URL_SAFE_NO_PAD.encode(bytes);
        text.extend(chars.chars().filter(char::is_ascii_alphanumeric).take(N - text.len()));
    }
    text
}

/// The two halves of a token's text, if it has the right shape.
#[must_use]
pub fn split(text: &str) -> Option<(&str, &str)> {
    let (id, secret) = text.split_once('-')?;
    let well_formed = id.len() == ID_LENGTH
        && secret.len() == SECRET_LENGTH
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    well_formed.then_some((id, secret))
}

/// SHA-256 of the secret half.
#[must_use]
pub fn hash(secret: &str) -> Vec<u8> {
    Sha256::digest(secret.as_bytes()).to_vec()
}

/// Whether a secret belongs to a stored hash, in constant time.
#[must_use]
pub fn matches(secret: &str, stored: &[u8]) -> bool {
    hash(secret).ct_eq(stored).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minted_token_is_recognised_and_no_other() {
        let user = UserId::fresh();
        let minted = mint(user, Timestamp::from_micros(0), None);
        let (id, secret) = split(&minted.text).unwrap();
        assert_eq!(id, minted.record.id);
        assert!(matches(secret, &minted.record.hash));
        assert!(!matches(&secret.to_lowercase().replace(char::is_numeric, "x"), &minted.record.hash));
        assert!(!matches(secret, &[]));
        assert!(!format!("{minted:?}").contains(secret));
        assert_ne!(mint(user, Timestamp::from_micros(0), None).text, minted.text);
        for bad in ["", "-", "short-secret", "aaaaaaaaaa-", "aaaaaaaaaabbbbbbbbbbbbbbbbbbbbbbb"] {
            assert!(split(bad).is_none(), "{bad}");
        }
    }
}
