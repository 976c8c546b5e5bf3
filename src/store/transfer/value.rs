//! A value between the databases and the file: the same for both engines.

use super::tables::{Column, Kind, Table};
use crate::{
    chat::json::Json,
    clock::Timestamp,
    store::{
        error::{Error, Result},
        types::{Id, Raw, Ts},
    },
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Serialize, Serializer};
use serde_json::Value as Plain;
use uuid::Uuid;

/// What a column of a row holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Nothing.
    Null,
    /// [`Kind::Uid`].
    Uid(Uuid),
    /// [`Kind::Text`].
    Text(String),
    /// [`Kind::Bool`].
    Bool(bool),
    /// [`Kind::Int`].
    Int(i64),
    /// [`Kind::Small`].
    Small(i32),
    /// [`Kind::Moment`].
    Moment(Timestamp),
    /// [`Kind::Json`].
    Json(Json),
    /// [`Kind::Binary`].
    Binary(Vec<u8>),
}

/// JSON is written as text: whoever reads a line and writes it again (`jq`, for instance) must not change
/// what is kept byte by byte.
impl Serialize for Value {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => s.serialize_none(),
            Self::Uid(id) => s.collect_str(id),
            Self::Text(text) => s.serialize_str(text),
            Self::Bool(is) => s.serialize_bool(*is),
            Self::Int(n) => s.serialize_i64(*n),
            Self::Small(n) => s.serialize_i32(*n),
            Self::Moment(moment) => s.serialize_str(&moment_text(*moment)),
            Self::Json(json) => s.serialize_str(json.get()),
            Self::Binary(bytes) => s.serialize_str(&STANDARD.encode(bytes)),
        }
    }
}

/// RFC 3339 where that has a form for it; else microseconds since 1970 with this unit behind.
const MICROS: &str = "us";

fn moment_text(moment: Timestamp) -> String {
    let text = moment.to_string();
    if text.parse() == Ok(moment) { text } else { format!("{}{MICROS}", moment.as_micros()) }
}

fn moment_of(text: &str) -> Option<Timestamp> {
    match text.strip_suffix(MICROS) {
        Some(micros) => micros.parse().ok().map(Timestamp::from_micros),
        None => text.parse().ok(),
    }
}

impl Value {
    /// Reads what [`Serialize`] has written. `None` when it is none of this kind.
    pub fn of(kind: Kind, plain: Plain) -> Option<Self> {
        Some(match (kind, plain) {
            (_, Plain::Null) => Self::Null,
            (Kind::Uid, Plain::String(text)) => Self::Uid(text.parse().ok()?),
            (Kind::Text, Plain::String(text)) => Self::Text(text),
            (Kind::Bool, Plain::Bool(is)) => Self::Bool(is),
            (Kind::Int, Plain::Number(n)) => Self::Int(n.as_i64()?),
            (Kind::Small, Plain::Number(n)) => Self::Small(n.as_i64()?.try_into().ok()?),
            (Kind::Moment, Plain::String(text)) => Self::Moment(moment_of(&text)?),
            (Kind::Json, Plain::String(text)) => Self::Json(Json::parse(text).ok()?),
            (Kind::Binary, Plain::String(text)) => Self::Binary(STANDARD.decode(text).ok()?),
            _ => return None,
        })
    }
}

/// A stored value that cannot be read.
fn unreadable(table: &Table, column: &Column, why: &dyn std::fmt::Display) -> Error {
    Error::Corrupt(format!("{}.{}: {why}", table.name, column.name))
}

/// Reading and binding on one engine.
macro_rules! engine {
    ($name:ident, $db:ty) => {
        /// Reading and binding on this engine.
        pub mod $name {
            use super::*;
            use crate::store::{statement::Statement, types::sql};
            use diesel::{
                backend::Backend,
                deserialize::FromSql,
                row::{Field as _, Row},
                sql_types::{BigInt, Binary, Bool, Integer, Nullable, Text},
            };

            type Stored<'a> = <$db as Backend>::RawValue<'a>;

            fn value(kind: Kind, stored: Stored<'_>) -> diesel::deserialize::Result<Value> {
                Ok(match kind {
                    Kind::Uid => Value::Uid(<Id as FromSql<sql::Uid, $db>>::from_sql(stored)?.0),
                    Kind::Text => Value::Text(<String as FromSql<Text, $db>>::from_sql(stored)?),
                    Kind::Bool => Value::Bool(<bool as FromSql<Bool, $db>>::from_sql(stored)?),
                    Kind::Int => Value::Int(<i64 as FromSql<BigInt, $db>>::from_sql(stored)?),
                    Kind::Small => Value::Small(<i32 as FromSql<Integer, $db>>::from_sql(stored)?),
                    Kind::Moment => Value::Moment(<Ts as FromSql<sql::Moment, $db>>::from_sql(stored)?.0),
                    Kind::Json => Value::Json(<Raw as FromSql<sql::JsonText, $db>>::from_sql(stored)?.0),
                    Kind::Binary => Value::Binary(<Vec<u8> as FromSql<Binary, $db>>::from_sql(stored)?),
                })
            }

            /// The values of a row that was selected with all columns of the table, in their order.
            ///
            /// # Errors
            /// [`Error::Corrupt`] for a value that is none of its column.
            pub fn read<'a>(table: &Table, row: &impl Row<'a, $db>) -> Result<Vec<Value>> {
                let columns = table.columns.iter().enumerate();
                columns
                    .map(|(i, column)| {
                        let field = row.get(i).ok_or_else(|| unreadable(table, column, &"not selected"))?;
                        let Some(stored) = field.value() else { return Ok(Value::Null) };
                        value(column.kind, stored).map_err(|e| unreadable(table, column, &e))
                    })
                    .collect()
            }

            /// Binds a value of a column.
            pub fn bind(s: &mut Statement<$db>, kind: Kind, value: Value) {
                match (value, kind) {
                    (Value::Uid(id), _) => s.bind::<sql::Uid, _>(Id(id)),
                    (Value::Text(text), _) => s.bind::<Text, _>(text),
                    (Value::Bool(is), _) => s.bind::<Bool, _>(is),
                    (Value::Int(n), _) => s.bind::<BigInt, _>(n),
                    (Value::Small(n), _) => s.bind::<Integer, _>(n),
                    (Value::Moment(moment), _) => s.bind::<sql::Moment, _>(Ts(moment)),
                    (Value::Json(json), _) => s.bind::<sql::JsonText, _>(Raw(json)),
                    (Value::Binary(bytes), _) => s.bind::<Binary, _>(bytes),
                    // Bound too, so that statements differ in nothing but the number of their rows.
                    (Value::Null, Kind::Uid) => s.bind::<Nullable<sql::Uid>, _>(None::<Id>),
                    (Value::Null, Kind::Text) => s.bind::<Nullable<Text>, _>(None::<String>),
                    (Value::Null, Kind::Bool) => s.bind::<Nullable<Bool>, _>(None::<bool>),
                    (Value::Null, Kind::Int) => s.bind::<Nullable<BigInt>, _>(None::<i64>),
                    (Value::Null, Kind::Small) => s.bind::<Nullable<Integer>, _>(None::<i32>),
                    (Value::Null, Kind::Moment) => s.bind::<Nullable<sql::Moment>, _>(None::<Ts>),
                    (Value::Null, Kind::Json) => s.bind::<Nullable<sql::JsonText>, _>(None::<Raw>),
                    (Value::Null, Kind::Binary) => s.bind::<Nullable<Binary>, _>(None::<Vec<u8>>),
                };
            }

            /// Enters rows of a table, numbers of their own included.
            pub fn insert(table: &Table, rows: Vec<Vec<Value>>, overriding: &'static str) -> Statement<$db> {
                let mut s = Statement::default();
                s.sql(format!("INSERT INTO {} ({}) {overriding}VALUES ", table.name, table.list("")));
                for (n, row) in rows.into_iter().enumerate() {
                    s.sql(if n == 0 { "(" } else { ", (" });
                    for (i, (value, column)) in row.into_iter().zip(table.columns).enumerate() {
                        if i > 0 {
                            s.sql(", ");
                        }
                        bind(&mut s, column.kind, value);
                    }
                    s.sql(")");
                }
                s
            }
        }
    };
}

engine!(lite, diesel::sqlite::Sqlite);
engine!(pg, diesel::pg::Pg);

#[cfg(test)]
mod tests {
    use super::*;

    fn through(kind: Kind, value: &Value) -> Option<Value> {
        Value::of(kind, serde_json::from_str(&serde_json::to_string(value).unwrap()).unwrap())
    }

    #[test]
    fn values_come_back_bit_for_bit() {
        let raw = "[1.0, 1e400 ,\"\\u0000\",\n{\"b\":1,\"a\":2,\"b\":3}]";
        for (kind, value) in [
            (Kind::Uid, Value::Uid(Uuid::from_u128(7))),
            (Kind::Text, Value::Text("\u{0}\n\"\\é\u{2028}".into())),
            (Kind::Bool, Value::Bool(true)),
            (Kind::Int, Value::Int(i64::MIN)),
            (Kind::Int, Value::Int(i64::MAX)),
            (Kind::Small, Value::Small(i32::MIN)),
            (Kind::Json, Value::Json(Json::parse(raw.into()).unwrap())),
            (Kind::Binary, Value::Binary((0..=255).collect())),
            (Kind::Binary, Value::Binary(Vec::new())),
            (Kind::Text, Value::Null),
        ] {
            assert_eq!(through(kind, &value), Some(value));
        }
        for micros in [0, 1, -1, 1_780_000_000_123_456, 1_780_000_000_000_000, i64::MAX, i64::MIN] {
            let value = Value::Moment(Timestamp::from_micros(micros));
            assert_eq!(through(Kind::Moment, &value), Some(value));
        }
    }

    #[test]
    fn what_is_of_another_kind_is_refused() {
        let of = |kind, text: &str| Value::of(kind, serde_json::from_str(text).unwrap());
        for (kind, text) in [
            (Kind::Uid, "\"7\""),
            (Kind::Uid, "7"),
            (Kind::Bool, "1"),
            (Kind::Int, "1.5"),
            (Kind::Int, "9223372036854775808"),
            (Kind::Small, "2147483648"),
            (Kind::Moment, "\"yesterday\""),
            (Kind::Moment, "1"),
            (Kind::Json, "\"{\""),
            (Kind::Json, "{}"),
            (Kind::Binary, "\"=\""),
            (Kind::Text, "false"),
        ] {
            assert_eq!(of(kind, text), None, "{kind:?} {text}");
        }
    }
}
