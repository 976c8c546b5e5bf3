//! Values that must never be seen: [`Secret`] for whole values, [`masked_url`] for addresses that may hold one.

use serde::{Deserialize, Deserializer, Serializer, de};
use std::fmt;
use zeroize::Zeroize as _;

/// What is printed in place of a secret.
pub const MASK: &str = "[REDACTED]";

/// A text that is never printed, logged or serialised; only [`Secret::expose`] gives it out.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that sends it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
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
        f.write_str(MASK)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        if text.is_empty() { Err(de::Error::custom("is empty")) } else { Ok(Self(text)) }
    }
}

/// `serialize_with` of an optional secret: `[REDACTED]` where one is set.
///
/// # Errors
/// Those of the serializer.
pub(super) fn mask_one<S: Serializer>(secret: &Option<Secret>, s: S) -> Result<S::Ok, S::Error> {
    match secret {
        Some(_) => s.serialize_str(MASK),
        None => s.serialize_none(),
    }
}

/// `serialize_with` of named secrets: the names stay, the values are masked.
///
/// # Errors
/// Those of the serializer.
pub(super) fn mask_values<S: Serializer>(
    secrets: &std::collections::BTreeMap<String, Secret>,
    s: S,
) -> Result<S::Ok, S::Error> {
    s.collect_map(secrets.keys().map(|name| (name, MASK)))
}

/// The address with its password, and every value of its query, masked. Something that is no
/// address at all is masked whole, since nobody can tell which part of it is secret.
#[must_use]
pub fn masked_url(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return MASK.to_owned() };
    let (rest, query) = match rest.split_once('?') {
        Some((rest, query)) => (rest, Some(query)),
        None => (rest, None),
    };
    // The last `@` before the path ends the user part; a careless password may hold more of them.
    let host_end = rest.rfind('@').map_or(0, |at| at + 1);
    let (user, host) = rest.split_at(host_end);
    let mut masked = format!("{scheme}://");
    if let Some(user) = user.strip_suffix('@') {
        match user.split_once(':') {
            Some((name, _)) => masked.push_str(&format!("{name}:{MASK}@")),
            // A lone user part is a token as often as it is a name, except for databases.
            None if scheme.starts_with("postgres") => masked.push_str(&format!("{user}@")),
            None => masked.push_str(&format!("{MASK}@")),
        }
    }
    masked.push_str(host);
    if let Some(query) = query {
        let pairs = query.split('&').map(|pair| match pair.split_once('=') {
            Some((name, _)) => format!("{name}={MASK}"),
            None => MASK.to_owned(),
        });
        masked.push('?');
        masked.push_str(&pairs.collect::<Vec<_>>().join("&"));
    }
    masked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lose_their_secrets_and_nothing_else() {
        for (url, masked) in [
            ("http://127.0.0.1:7777", "http://127.0.0.1:7777"),
            ("postgres://u:pw@host:5432/db", "postgres://u:[REDACTED]@host:5432/db"),
            ("postgres://u:p@w/x@host/db", "postgres://u:[REDACTED]@host/db"),
            ("postgres://u@host/db", "postgres://u@host/db"),
            ("https://token@host/mcp", "https://[REDACTED]@host/mcp"),
            ("https://host/mcp?key=abc&v=1", "https://host/mcp?key=[REDACTED]&v=[REDACTED]"),
            ("https://host/mcp?abc", "https://host/mcp?[REDACTED]"),
            ("sk-oops", "[REDACTED]"),
        ] {
            assert_eq!(masked_url(url), masked);
        }
    }
}
