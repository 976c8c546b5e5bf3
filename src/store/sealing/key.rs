//! One key, and the form of what it seals: `1 | key id (8) | nonce (24) | ciphertext and tag`.

use super::Column;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use chacha20poly1305::{
    KeyInit as _, XChaCha20Poly1305, XNonce,
    aead::{Aead as _, Payload},
};
use sha2::{Digest as _, Sha256};
use std::fmt;
use uuid::Uuid;
use zeroize::Zeroizing;

/// Bytes of a key.
const KEY_BYTES: usize = 32;
const ID_BYTES: usize = 8;
const NONCE_BYTES: usize = 24;
/// First byte of a sealed value: its form.
const FORM: u8 = 1;
/// Where the nonce begins.
const NONCE_AT: usize = 1 + ID_BYTES;
/// Where the ciphertext begins.
const TEXT_AT: usize = NONCE_AT + NONCE_BYTES;

/// Names a key without telling it: the first 8 bytes of a hash of it, so that the same key has the
/// same name wherever it was written down.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; ID_BYTES]);

impl KeyId {
    /// The key that a sealed value needs; `None` when this is no sealed value.
    #[must_use]
    pub fn of_sealed(sealed: &[u8]) -> Option<Self> {
        if sealed.len() < TEXT_AT || sealed[0] != FORM {
            return None;
        }
        Self::from_bytes(&sealed[1..NONCE_AT])
    }

    /// From the bytes that stand in a sealed value.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A key. Wiped from memory when dropped; never printed.
pub struct Key {
    bytes: Zeroizing<[u8; KEY_BYTES]>,
    id: KeyId,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A fresh key as it is written down: 32 random bytes in base64.
#[must_use]
pub fn fresh_text() -> Zeroizing<String> {
    let bytes = Zeroizing::new(rand::random::<[u8; KEY_BYTES]>());
    Zeroizing::new(STANDARD.encode(bytes.as_slice()))
}

impl Key {
    /// Reads a key as [`fresh_text`] writes it. `None` when it is no key.
    pub fn parse(text: &str) -> Option<Self> {
        let decoded = Zeroizing::new(STANDARD.decode(text.trim()).ok()?);
        let bytes: [u8; KEY_BYTES] = decoded.as_slice().try_into().ok()?;
        let bytes = Zeroizing::new(bytes);
        let digest = Sha256::new().chain_update(b"chatd key id\0").chain_update(bytes.as_slice()).finalize();
        let mut id = [0; ID_BYTES];
        id.copy_from_slice(&digest[..ID_BYTES]);
        Some(Self { bytes, id: KeyId(id) })
    }

    /// As it is written down.
    pub fn text(&self) -> Zeroizing<String> {
        Zeroizing::new(STANDARD.encode(self.bytes.as_slice()))
    }

    pub const fn id(&self) -> KeyId {
        self.id
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new((&*self.bytes).into())
    }

    /// Seals a value for one place. `None` only for values of gigabytes.
    pub fn seal(&self, place: &Bound, clear: &[u8]) -> Option<Vec<u8>> {
        // 24 random bytes: that two nonces are ever the same need not be feared.
        let nonce: [u8; NONCE_BYTES] = rand::random();
        let aad = place.aad();
        let text = self.cipher().encrypt(&XNonce::from(nonce), Payload { msg: clear, aad: &aad }).ok()?;
        let mut sealed = Vec::with_capacity(TEXT_AT + text.len());
        sealed.push(FORM);
        sealed.extend_from_slice(&self.id.0);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&text);
        Some(sealed)
    }

    /// Opens a value. `None` when it was sealed with another key or for another place, or was changed.
    pub fn open(&self, place: &Bound, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        if KeyId::of_sealed(sealed)? != self.id {
            return None;
        }
        let nonce: [u8; NONCE_BYTES] = sealed[NONCE_AT..TEXT_AT].try_into().ok()?;
        let aad = place.aad();
        let payload = Payload { msg: &sealed[TEXT_AT..], aad: &aad };
        self.cipher().decrypt(&XNonce::from(nonce), payload).ok().map(Zeroizing::new)
    }
}

/// What a value is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// A row of a column.
    Row(Column, Uuid),
    /// The canary of the deployment.
    Canary,
}

impl Bound {
    fn aad(self) -> Vec<u8> {
        let (table, column, row) = match self {
            Self::Row(column, row) => (column.table(), column.column(), row),
            Self::Canary => ("deployment", "value", Uuid::nil()),
        };
        let mut aad = Vec::new();
        for name in ["chatd/1", table, column] {
            aad.extend_from_slice(name.as_bytes());
            aad.push(0);
        }
        aad.extend_from_slice(row.as_bytes());
        aad
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> Key {
        Key::parse(&STANDARD.encode([byte; KEY_BYTES])).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_in_its_place_only() {
        let row = Uuid::from_u128(7);
        let place = Bound::Row(Column::ProviderKey, row);
        let sealed = key(1).seal(&place, b"sk-secret").unwrap();
        assert_eq!(key(1).open(&place, &sealed).unwrap().as_slice(), b"sk-secret");
        assert_eq!(KeyId::of_sealed(&sealed), Some(key(1).id()));
        assert!(!sealed.windows(9).any(|w| w == b"sk-secret"));
        // Another key, row, column, and every bit that is not as it was.
        assert!(key(2).open(&place, &sealed).is_none());
        assert!(key(1).open(&Bound::Row(Column::ProviderKey, Uuid::from_u128(8)), &sealed).is_none());
        assert!(key(1).open(&Bound::Row(Column::UserProviderKey, row), &sealed).is_none());
        assert!(key(1).open(&Bound::Canary, &sealed).is_none());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(key(1).open(&place, &changed).is_none(), "byte {at}");
            assert!(key(1).open(&place, &sealed[..at]).is_none(), "cut at {at}");
        }
        assert_ne!(key(1).seal(&place, b"sk-secret").unwrap(), sealed, "the same value looks different");
    }

    #[test]
    fn an_empty_value_can_be_sealed() {
        let place = Bound::Canary;
        let sealed = key(1).seal(&place, b"").unwrap();
        assert_eq!(key(1).open(&place, &sealed).unwrap().as_slice(), b"");
    }

    #[test]
    fn keys_are_read_as_they_are_written_and_never_printed() {
        let text = fresh_text();
        let key = Key::parse(&text).unwrap();
        assert_eq!(*key.text(), *text);
        assert!(!format!("{key:?}").contains(text.as_str()));
        assert_eq!(key.id().to_string().len(), 16);
        for bad in ["", "x", "c2hvcnQ=", &"A".repeat(44)[..43]] {
            assert!(Key::parse(bad).is_none(), "{bad:?}");
        }
        assert_ne!(*fresh_text(), *text);
    }
}
