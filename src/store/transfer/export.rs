//! From a database into a file.

use super::{
    End, FORMAT, Failure, Header,
    link::Link,
    tables::{Column, Kind, Numbers, TABLES, Table},
    value::Value,
};
use crate::{
    clock::Timestamp,
    store::{
        error::Error,
        migrate,
        sealing::{self, KeyId},
        sqlite::queries::sealed::CANARY,
    },
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Serialize, Serializer, ser::SerializeMap as _};
use std::io::Write;

/// What was exported.
#[derive(Debug)]
pub struct Exported {
    /// How many rows.
    pub rows: u64,
    /// The keys that the secrets in it need.
    pub keys: Vec<KeyId>,
}

/// What is asked beside rows of tables.
const SEALED: Table = Table::asked(&[Column { name: "sealed", kind: Kind::Binary }]);
const NUMBER: Table = Table::asked(&[Column { name: "n", kind: Kind::Int }]);
const SETTING: Table = Table::asked(&[Column { name: "value", kind: Kind::Text }]);

#[derive(Serialize)]
struct Line<'a> {
    table: &'a str,
    row: Row<'a>,
}

struct Row<'a>(&'a Table, &'a [Value]);

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut map = s.serialize_map(Some(self.1.len()))?;
        for (column, value) in self.0.columns.iter().zip(self.1) {
            map.serialize_entry(column.name, value)?;
        }
        map.end()
    }
}

#[derive(Serialize)]
struct Last<'a> {
    end: &'a End,
}

pub fn export(link: &mut dyn Link, at: Timestamp, out: &mut dyn Write) -> Result<Exported, Failure> {
    let schema = migrate::newest().map_err(|e| Error::Corrupt(e.to_string()))?;
    link.begin_reading()?;
    let keys = keys(link)?;
    let header = Header {
        chatd_export: FORMAT,
        schema,
        chatd: env!("CARGO_PKG_VERSION").to_owned(),
        engine: link.engine().to_owned(),
        at: at.to_string(),
        keys: keys.iter().map(ToString::to_string).collect(),
    };
    line(out, &header)?;
    let (mut end, mut total) = (End::default(), 0);
    for table in TABLES {
        let mut rows = 0;
        link.each(table, select(table, link.by_bytes()), &mut |row| {
            // Where nothing is sealed the target's daemon makes a key of its own, and needs none of this one.
            if table.name == "deployment" && keys.is_empty() && row.contains(&Value::Text(CANARY.to_owned()))
            {
                return Ok(());
            }
            rows += 1;
            line(out, &Line { table: table.name, row: Row(table, &row) })
        })?;
        end.rows.insert(table.name.to_owned(), rows);
        total += rows;
    }
    for table in TABLES.iter().filter(|table| table.numbers == Numbers::Last) {
        let mut last = 0;
        link.each(&NUMBER, link.last_number(table), &mut |row| {
            if let [Value::Int(n)] = row[..] {
                last = n;
            }
            Ok(())
        })?;
        end.numbers.insert(table.name.to_owned(), last);
    }
    line(out, &Last { end: &end })?;
    out.flush()?;
    Ok(Exported { rows: total, keys })
}

/// The file is written as it is made: an error of a value's form cannot be, as all are plain.
fn line(out: &mut dyn Write, value: &impl Serialize) -> Result<(), Failure> {
    serde_json::to_writer(&mut *out, value).map_err(std::io::Error::from)?;
    Ok(out.write_all(b"\n")?)
}

/// The query for the rows of a table, in an order that is the same on both engines.
fn select(table: &Table, by_bytes: &str) -> String {
    let (name, columns) = (table.name, table.list("t."));
    let key = table.key.iter().map(|key| {
        let text = table.position(key).is_some_and(|i| table.columns[i].kind == Kind::Text);
        format!("t.\"{key}\"{}", if text { by_bytes } else { "" })
    });
    let key = key.collect::<Vec<_>>().join(", ");
    if let Some(parent) = table.parent {
        return format!(
            "WITH RECURSIVE placed (id, depth) AS (SELECT id, 0 FROM {name} WHERE {parent} IS NULL \
             UNION ALL SELECT c.id, p.depth + 1 FROM {name} c JOIN placed p ON c.{parent} = p.id) \
             SELECT {columns} FROM placed p JOIN {name} t ON t.id = p.id ORDER BY p.depth, {key}"
        );
    }
    let only = table.only.map_or_else(String::new, |only| format!(" WHERE {only}"));
    format!("SELECT {columns} FROM {name} t{only} ORDER BY {key}")
}

/// The keys that sealed values need, and with them the one that seals.
fn keys(link: &mut dyn Link) -> Result<Vec<KeyId>, Failure> {
    let mut keys = Vec::new();
    for column in sealing::Column::ALL {
        let (table, name) = (column.table(), column.column());
        let sql = format!("SELECT DISTINCT substr({name}, 2, 8) FROM {table} WHERE {name} IS NOT NULL");
        link.each(&SEALED, sql, &mut |row| {
            let key = match &row[..] {
                [Value::Binary(bytes)] => KeyId::from_bytes(bytes),
                _ => None,
            };
            let damaged = || Error::Sealed(format!("{table}.{name} holds a damaged secret"));
            keys.push(key.ok_or_else(damaged)?);
            Ok(())
        })?;
    }
    if !keys.is_empty() {
        let sql = format!("SELECT value FROM deployment WHERE key = '{CANARY}'");
        link.each(&SETTING, sql, &mut |row| {
            if let [Value::Text(text)] = &row[..] {
                let sealed = STANDARD.decode(text).ok();
                keys.extend(sealed.as_deref().and_then(KeyId::of_sealed));
            }
            Ok(())
        })?;
    }
    keys.sort_unstable();
    keys.dedup();
    Ok(keys)
}
