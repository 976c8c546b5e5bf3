//! Options that nobody reads. Through the API they are ignored, as all unknown keys are; in a file somebody has
//! mistyped one.

use super::schema::{Keys, Kind, OPTIONS};
use serde_json::{Map, Value};

/// An option that nobody reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown {
    /// The tables it lies in, from `provider_options` down, without itself.
    pub tables: Vec<String>,
    /// Its name.
    pub key: String,
    /// The names that are known in its place.
    pub known: Vec<&'static str>,
}

/// The first unknown key of a `provider_options` object.
#[must_use]
pub fn unknown_option(options: &Map<String, Value>) -> Option<Unknown> {
    options.iter().find_map(|(name, block)| match OPTIONS.iter().find(|(known, _)| known == name) {
        None => Some(Unknown {
            tables: Vec::new(),
            key: name.clone(),
            known: OPTIONS.iter().map(|(known, _)| *known).collect(),
        }),
        Some((_, keys)) => within(block, keys, &[name]),
    })
}

fn within(value: &Value, keys: Keys, tables: &[&String]) -> Option<Unknown> {
    value.as_object()?.iter().find_map(|(key, value)| {
        let deeper = || [tables, &[key]].concat();
        match keys.iter().find(|(known, _)| known == key) {
            None => Some(Unknown {
                tables: tables.iter().map(|table| (*table).clone()).collect(),
                key: key.clone(),
                known: keys.iter().map(|(known, _)| *known).collect(),
            }),
            Some((_, Kind::Object(keys))) => within(value, keys, &deeper()),
            Some((_, Kind::Objects(keys))) => {
                value.as_array()?.iter().find_map(|item| within(item, keys, &deeper()))
            }
            Some(_) => None,
        }
    })
}
