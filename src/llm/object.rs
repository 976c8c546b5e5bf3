//! A JSON object whose keys keep their order and whose values keep their bytes.
//!
//! `serde_json::Value` sorts keys and rounds numbers; what a provider sent must go back unchanged, and
//! equal requests must be equal bytes or no provider finds them in its cache.

use crate::chat::json::Json;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, Visitor},
    ser::SerializeMap,
};
use std::fmt;

/// An ordered object of raw values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Object(Vec<(String, Json)>);

impl Object {
    /// An empty one.
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Adds a key, builder style.
    pub(super) fn with<T: Serialize + ?Sized>(mut self, key: &str, value: &T) -> Self {
        self.set(key, value);
        self
    }

    /// Sets a key, in place if it is there and at the end if not.
    pub(super) fn set<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) {
        let value = Json::of(value);
        match self.0.iter_mut().find(|(k, _)| k == key) {
            Some(slot) => slot.1 = value,
            None => self.0.push((key.to_owned(), value)),
        }
    }

    /// Sets a key when there is a value.
    pub(super) fn set_some<T: Serialize>(&mut self, key: &str, value: Option<T>) {
        if let Some(value) = value {
            self.set(key, &value);
        }
    }

    /// The value of a key.
    pub(super) fn get(&self, key: &str) -> Option<&Json> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, v)| v)
    }

    /// The value of a key, when it is a string.
    pub(super) fn text(&self, key: &str) -> Option<String> {
        self.get(key).and_then(|v| v.read().ok())
    }

    /// Whether the key is there.
    pub(super) fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// No keys at all.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Keys and values in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Json)> {
        self.0.iter().map(|(k, v)| (k.as_str(), v))
    }

    /// As one value.
    pub(super) fn json(&self) -> Json {
        Json::of(self)
    }

    /// As the bytes of a request body.
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.json().get().as_bytes().to_vec()
    }
}

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut map = s.serialize_map(Some(self.0.len()))?;
        for (key, value) in &self.0 {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Object;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let mut fields = Vec::new();
                while let Some(entry) = map.next_entry::<String, Json>()? {
                    fields.push(entry);
                }
                Ok(Object(fields))
            }
        }
        d.deserialize_map(Fields)
    }
}
