//! Which keys exist, as the structs themselves tell, and which of them is nearest to a misspelt one.

use super::{Config, auth::Auth};
use super::{
    auth::Oidc, chat::Chat, database::Database, limits::Limits, log::Log, mcp_servers::McpServer,
    metrics::Metrics, models::Model, providers::Provider, secrets::Secrets, server::Server, stream::Stream,
    telemetry::Telemetry, templates::Template, worker::Worker,
};
use serde::de::{self, Deserialize, Deserializer, Visitor};
use std::fmt;

/// The names of the fields of `T`.
pub(super) fn fields_of<'de, T: Deserialize<'de>>() -> &'static [&'static str] {
    match T::deserialize(Probe) {
        Err(Probed(fields)) => fields,
        Ok(_) => &[],
    }
}

/// Every section with its keys: tables first, then `("providers[]", …)` and its like.
pub(super) fn sections() -> Vec<(&'static str, &'static [&'static str])> {
    vec![
        ("", fields_of::<Config>()),
        ("server", fields_of::<Server>()),
        ("database", fields_of::<Database>()),
        ("auth", fields_of::<Auth>()),
        ("auth.oidc", fields_of::<Oidc>()),
        ("secrets", fields_of::<Secrets>()),
        ("worker", fields_of::<Worker>()),
        ("stream", fields_of::<Stream>()),
        ("chat", fields_of::<Chat>()),
        ("limits", fields_of::<Limits>()),
        ("log", fields_of::<Log>()),
        ("metrics", fields_of::<Metrics>()),
        ("telemetry", fields_of::<Telemetry>()),
        ("providers[]", fields_of::<Provider>()),
        ("models[]", fields_of::<Model>()),
        ("templates[]", fields_of::<Template>()),
        ("mcp_servers[]", fields_of::<McpServer>()),
    ]
}

/// The known word that `word` was probably meant to be.
pub(super) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase().replace('-', "_");
    // `listen_addr` for `listen`, `retention` for `retention_days`.
    let begins = |name: &str| {
        name.len().min(word.len()) >= 3 && (word.starts_with(name) || name.starts_with(word.as_str()))
    };
    known
        .map(|name| (strsim::damerau_levenshtein(&word, &name.replace('-', "_")), name))
        // A third of the letters may be wrong; more is another word.
        .filter(|(distance, name)| *distance <= (word.len().max(name.len()) / 3).max(1) || begins(name))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// The sentence for an unknown key: the nearest name beside it, else the same name elsewhere, else
/// all names that would be right.
pub(super) fn unknown(key: &str, here: &str, known: &'static [&'static str]) -> String {
    if let Some(near) = nearest(key, known.iter().copied()) {
        return format!("unknown key; did you mean \"{near}\"?");
    }
    let elsewhere = sections()
        .into_iter()
        .filter(|(section, keys)| *section != here && keys.contains(&key))
        .map(|(section, _)| if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") })
        .next();
    match elsewhere {
        Some(path) => format!("unknown key; did you mean \"{path}\"?"),
        None => format!("unknown key; known here: {}", known.join(", ")),
    }
}

struct Probe;

/// Carries the field names out of the probe; it is the only "error" there is.
#[derive(Debug)]
struct Probed(&'static [&'static str]);

impl fmt::Display for Probed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl std::error::Error for Probed {}

impl de::Error for Probed {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self(&[])
    }
}

impl<'de> Deserializer<'de> for Probe {
    type Error = Probed;
    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Probed> {
        Err(Probed(&[]))
    }
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Probed> {
        Err(Probed(fields))
    }
    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_section_tells_its_keys() {
        for (section, keys) in sections() {
            assert!(!keys.is_empty(), "{section} has no keys");
        }
    }

    #[test]
    fn near_is_near_and_far_is_far() {
        let known = ["listen", "public_url", "workers"];
        assert_eq!(nearest("lisen", known.into_iter()), Some("listen"));
        assert_eq!(nearest("public-url", known.into_iter()), Some("public_url"));
        assert_eq!(nearest("colour", known.into_iter()), None);
    }
}
