//! From the tree to typed structs: a serde deserializer whose errors know the path of the fault.

use super::{
    tree::{Node, Segment, Value, dotted, parse_value},
    units::AS_WRITTEN,
};
use serde::de::{self, DeserializeSeed, Deserializer, IntoDeserializer, Unexpected, Visitor};
use std::{collections::btree_map, fmt, slice};

/// What did not fit, and where.
#[derive(Debug)]
pub(super) struct Fault {
    /// From the root to the fault.
    pub path: Vec<Segment>,
    pub kind: FaultKind,
}

#[derive(Debug)]
pub(super) enum FaultKind {
    /// A key nobody knows, and the ones known in its place.
    UnknownKey { known: &'static [&'static str] },
    /// A word that is not one of those allowed here.
    UnknownWord { word: String, known: &'static [&'static str] },
    /// Another type or value was expected.
    Expected { expected: String, found: String },
    /// Anything else, in words.
    Other(String),
}

/// Keys whose value must not be repeated in a message, whatever is wrong with it.
const SECRET_KEYS: [&str; 6] = ["api_key", "client_secret", "oauth2_client_secret", "headers", "url", "base_url"];

impl Fault {
    fn of(kind: FaultKind) -> Self {
        Self { path: Vec::new(), kind }
    }

    fn under(mut self, segment: Segment) -> Self {
        self.path.insert(0, segment);
        self
    }

    /// The sentence for a person, without place and key. Unknown keys are worded by `config::keys`.
    pub(super) fn sentence(&self) -> String {
        let secret =
            self.path.iter().any(|s| matches!(s, Segment::Key(key) if SECRET_KEYS.contains(&key.as_str())));
        match &self.kind {
            FaultKind::UnknownKey { .. } => "unknown key".to_owned(),
            FaultKind::UnknownWord { known, .. } if secret => format!("expected {}", one_of(known)),
            FaultKind::UnknownWord { word, known } => {
                let hint = super::keys::nearest(word, known.iter().copied());
                let hint = hint.map(|near| format!("; did you mean \"{near}\"?")).unwrap_or_default();
                format!("expected {}, found {word:?}{hint}", one_of(known))
            }
            FaultKind::Expected { expected, .. } if secret => format!("expected {expected}"),
            FaultKind::Expected { expected, found } => format!("expected {expected}, found {found}"),
            FaultKind::Other(text) => text.clone(),
        }
    }
}

fn one_of(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    match quoted.as_slice() {
        [] => "nothing".to_owned(),
        [only] => only.clone(),
        [head @ .., last] => format!("{} or {last}", head.join(", ")),
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", dotted(&self.path), self.sentence())
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self::of(FaultKind::Other(text.to_string()))
    }
    fn invalid_type(found: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::of(FaultKind::Expected { expected: wording(&expected.to_string()), found: describe(found) })
    }
    fn invalid_value(found: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::invalid_type(found, expected)
    }
    fn unknown_variant(word: &str, known: &'static [&'static str]) -> Self {
        Self::of(FaultKind::UnknownWord { word: word.to_owned(), known })
    }
    fn unknown_field(key: &str, known: &'static [&'static str]) -> Self {
        // The path gets the key when the error passes through the table that holds it.
        let _ = key;
        Self::of(FaultKind::UnknownKey { known })
    }
}

/// serde's names of types in words.
fn wording(expected: &str) -> String {
    match expected {
        "u8" => "a whole number from 0 to 255".to_owned(),
        "u16" => "a whole number from 0 to 65535".to_owned(),
        "u32" => "a whole number from 0 to 4294967295".to_owned(),
        "u64" | "usize" => "a whole number, 0 or more".to_owned(),
        "i64" => "a whole number".to_owned(),
        "f64" => "a number".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a string" => "a text in quotes".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a map" => "a table".to_owned(),
        other if other.starts_with("struct ") => "a table".to_owned(),
        other => other.to_owned(),
    }
}

fn describe(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Str(text) => format!("{text:?}"),
        Unexpected::Bool(flag) => flag.to_string(),
        Unexpected::Signed(int) => int.to_string(),
        Unexpected::Unsigned(int) => int.to_string(),
        Unexpected::Float(float) => float.to_string(),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "a table".to_owned(),
        other => other.to_string(),
    }
}

/// A number in a variable: parsed when it is one, shown as it stands when it is not.
macro_rules! number {
    ($($method:ident => $visit:ident: $type:ty),*) => { $(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            match &self.value {
                Value::Untyped(text) => match text.trim().parse::<$type>() {
                    Ok(number) => visitor.$visit(number),
                    Err(_) => Err(de::Error::invalid_type(Unexpected::Str(text), &visitor)),
                },
                Value::Float(text) if matches!(stringify!($type), "f64") => visit_float(text, visitor),
                Value::Integer(int) if matches!(stringify!($type), "f64") => visitor.visit_i64(*int),
                _ => self.deserialize_any(visitor),
            }
        }
    )* };
}

fn visit_float<'de, V: Visitor<'de>>(text: &str, visitor: V) -> Result<V::Value, Fault> {
    match text.parse() {
        Ok(float) => visitor.visit_f64(float),
        Err(_) => Err(de::Error::custom("this number is out of range")),
    }
}

impl<'de> Deserializer<'de> for &Node {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.value {
            Value::Untyped(text) | Value::String(text) => visitor.visit_str(text),
            Value::Integer(int) => visitor.visit_i64(*int),
            Value::Float(text) => visit_float(text, visitor),
            Value::Bool(flag) => visitor.visit_bool(*flag),
            Value::Datetime => Err(de::Error::invalid_type(Unexpected::Other("a date"), &visitor)),
            Value::List(list) => visitor.visit_seq(Items { items: list.iter(), index: 0 }),
            Value::Table(table) => visitor.visit_map(Entries { entries: table.iter(), current: None }),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.value {
            Value::Untyped(text) => match text.trim() {
                "true" | "1" => visitor.visit_bool(true),
                "false" | "0" => visitor.visit_bool(false),
                _ => Err(de::Error::invalid_type(Unexpected::Str(text), &visitor)),
            },
            _ => self.deserialize_any(visitor),
        }
    }

    number! {
        deserialize_i8 => visit_i64: i64, deserialize_i16 => visit_i64: i64, deserialize_i32 => visit_i64: i64,
        deserialize_i64 => visit_i64: i64, deserialize_u8 => visit_i64: i64, deserialize_u16 => visit_i64: i64,
        deserialize_u32 => visit_i64: i64, deserialize_u64 => visit_i64: i64,
        deserialize_f32 => visit_f64: f64, deserialize_f64 => visit_f64: f64
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match &self.value {
            Value::Float(text) if name == AS_WRITTEN => visitor.visit_str(text),
            Value::Integer(int) if name == AS_WRITTEN => visitor.visit_str(&int.to_string()),
            _ if name == AS_WRITTEN => self.deserialize_any(visitor),
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.value {
            Value::Untyped(text) => {
                let node = parse_value(text, &self.origin).map_err(|what| Fault::of(FaultKind::Other(what)))?;
                match node.value {
                    Value::List(_) => node.deserialize_any(visitor),
                    _ => Err(Fault::of(FaultKind::Other("expected a list in TOML, as in [\"a\", \"b\"]".into()))),
                }
            }
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.value {
            Value::Untyped(_) => Err(Fault::of(FaultKind::Other(
                "this is a table; set its keys one by one, with two underscores between section and key".into(),
            ))),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match &self.value {
            Value::Untyped(text) | Value::String(text) => {
                visitor.visit_enum(IntoDeserializer::<Fault>::into_deserializer(text.as_str()))
            }
            other => {
                let found = match other {
                    Value::Integer(int) => int.to_string(),
                    Value::Float(text) => text.clone(),
                    Value::Bool(flag) => flag.to_string(),
                    Value::Datetime => "a date".to_owned(),
                    Value::List(_) => "a list".to_owned(),
                    _ => "a table".to_owned(),
                };
                Err(Fault::of(FaultKind::Expected { expected: one_of(variants), found }))
            }
        }
    }

    serde::forward_to_deserialize_any! {
        i128 u128 char str string bytes byte_buf unit unit_struct tuple tuple_struct identifier ignored_any
    }
}

struct Items<'a> {
    items: slice::Iter<'a, Node>,
    index: usize,
}

impl<'de> de::SeqAccess<'de> for Items<'_> {
    type Error = Fault;
    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        let Some(node) = self.items.next() else { return Ok(None) };
        self.index += 1;
        seed.deserialize(node).map(Some).map_err(|fault| fault.under(Segment::Index(self.index - 1)))
    }
}

struct Entries<'a> {
    entries: btree_map::Iter<'a, String, Node>,
    current: Option<(&'a String, &'a Node)>,
}

impl<'de> de::MapAccess<'de> for Entries<'_> {
    type Error = Fault;
    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        self.current = self.entries.next();
        let Some((key, _)) = self.current else { return Ok(None) };
        seed.deserialize(IntoDeserializer::<Fault>::into_deserializer(key.as_str()))
            .map(Some)
            .map_err(|fault| fault.under(Segment::Key(key.clone())))
    }
    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let Some((key, node)) = self.current else {
            return Err(de::Error::custom("a value was asked for before its key"));
        };
        seed.deserialize(node).map_err(|fault| fault.under(Segment::Key(key.clone())))
    }
}
