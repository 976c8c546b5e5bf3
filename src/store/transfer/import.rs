//! From a file into an empty database.

use super::{
    End, FORMAT, Failure, Header,
    link::{Link, Words},
    tables::{Column, Kind, Numbers, TABLES, Table},
    value::Value,
};
use crate::store::{
    error::Error,
    migrate,
    rows::{role_of, visibility_of},
    words,
};
use serde::Deserialize;
use serde_json::{Map, Value as Plain};
use std::{
    collections::BTreeMap,
    io::{BufRead, Read as _},
};

/// What was imported.
#[derive(Debug)]
pub struct Imported {
    /// How many rows.
    pub rows: u64,
    /// What the file said of itself.
    pub header: Header,
}

/// Longest first line: anything longer is no file of ours, and not worth its memory.
const MAX_HEADER: u64 = 64 * 1024;
/// Longest other line. Both engines hold at most 1 GiB in a value.
const MAX_LINE: u64 = 2 * 1024 * 1024 * 1024;
/// Most rows of one statement, a power of two.
const BATCH_ROWS: usize = 64;
/// Bytes of lines after which no more rows are waited for.
const BATCH_BYTES: usize = 1024 * 1024;
/// What a migration enters itself, and what commands leave in a database that was never served.
const REPLACED: [&str; 2] = ["usage_limits", "deployment"];
/// What is asked beside rows of tables.
const NUMBER: Table = Table::asked(&[Column { name: "n", kind: Kind::Int }]);

/// A file whose first line was read and found good.
pub struct Source {
    lines: Lines,
    header: Header,
}

struct Lines {
    input: Box<dyn BufRead + Send>,
    /// The number of the line that was read last.
    number: u64,
    text: Vec<u8>,
}

impl Lines {
    /// Reads the next line; `None` at the end of the file.
    fn next(&mut self, limit: u64) -> Result<Option<&[u8]>, Failure> {
        self.text.clear();
        (&mut self.input).take(limit + 1).read_until(b'\n', &mut self.text)?;
        if self.text.is_empty() {
            return Ok(None);
        }
        self.number += 1;
        if self.text.len() as u64 > limit {
            return Err(self.wrong("the line is too long"));
        }
        Ok(Some(&self.text))
    }

    fn wrong(&self, what: impl Into<String>) -> Failure {
        Failure::Line { line: self.number, what: what.into() }
    }

    /// It was written to its end.
    fn is_whole(&self) -> bool {
        self.text.ends_with(b"\n")
    }
}

impl Source {
    /// Reads the first line.
    ///
    /// # Errors
    /// When the file cannot be read, is none of ours, or not of the form and the schema of this program.
    pub fn open(input: Box<dyn BufRead + Send>) -> Result<Self, Failure> {
        let mut lines = Lines { input, number: 0, text: Vec::new() };
        let foreign = || Failure::Refused("this is no file of `chatd export`".into());
        let first = match lines.next(MAX_HEADER) {
            Ok(first) => first.ok_or_else(foreign)?,
            Err(Failure::Line { .. }) => return Err(foreign()),
            Err(e) => return Err(e),
        };
        let header: Header = serde_json::from_slice(first).map_err(|_| foreign())?;
        let by = format!("chatd {}", header.chatd);
        if header.chatd_export > FORMAT {
            let form = header.chatd_export;
            return Err(Failure::Refused(format!(
                "the file was written by {by} in form {form}, and this program reads up to {FORMAT}: use a newer chatd"
            )));
        }
        let (theirs, ours) = (&header.schema, migrate::newest().map_err(|e| Error::Corrupt(e.to_string()))?);
        if *theirs > ours {
            return Err(Failure::Refused(format!(
                "the file was written by {by} with schema {theirs}, and this program has {ours}: use a newer chatd"
            )));
        }
        if *theirs < ours {
            return Err(Failure::Refused(format!(
                "the file has schema {theirs}, and this program {ours}: import it with the {by} that wrote it, \
                 and then start this one on that database"
            )));
        }
        Ok(Self { lines, header })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    table: Option<String>,
    row: Option<Map<String, Plain>>,
    end: Option<End>,
}

/// Rows of one table that are entered together.
#[derive(Default)]
struct Batch {
    rows: Vec<Vec<Value>>,
    bytes: usize,
    first_line: u64,
}

pub fn import(
    link: &mut dyn Link,
    source: Source,
    may_commit: impl FnOnce() -> bool,
) -> Result<Imported, Failure> {
    let Source { mut lines, header } = source;
    link.begin_writing()?;
    make_room(link)?;
    let end = rows(link, &mut lines)?;
    for table in TABLES {
        let last = match table.numbers {
            Numbers::None => continue,
            // SQLite goes on from the highest by itself, and keeps no last number of such a table.
            Numbers::Highest if link.engine() == "sqlite" => continue,
            Numbers::Highest => 0,
            Numbers::Last => end.numbers.get(table.name).copied().unwrap_or(0),
        };
        link.run(&link.go_on_from(table, last))?;
    }
    // As after a kill: their lease is over, and the daemon ends them as cut off.
    let over = format!("UPDATE workspace_builds SET lease_until = {} WHERE status = 'running'", link.epoch());
    link.run(&over)?;
    if !may_commit() {
        return Err(Failure::Stopped);
    }
    link.commit()?;
    Ok(Imported { rows: end.rows.values().sum(), header })
}

/// Makes sure that there is nothing, and removes what stands in every database.
fn make_room(link: &mut dyn Link) -> Result<(), Failure> {
    // People and chats first: they say most clearly what is there.
    let first = |table: &&Table| !["users", "chats"].contains(&table.name);
    let mut tables: Vec<&Table> = TABLES.iter().collect();
    tables.sort_by_key(first);
    for table in tables {
        let name = table.name;
        if REPLACED.contains(&name) {
            link.run(&format!("DELETE FROM {name}"))?;
            continue;
        }
        let mut found = 0;
        let sql = format!("SELECT count(*) FROM (SELECT 1 FROM {name} LIMIT 1) any_row");
        link.each(&NUMBER, sql, &mut |row| {
            if let [Value::Int(n)] = row[..] {
                found = n;
            }
            Ok(())
        })?;
        if found > 0 {
            return Err(Failure::NotEmpty(name));
        }
    }
    Ok(())
}

/// Enters all rows up to the last line.
fn rows(link: &mut dyn Link, lines: &mut Lines) -> Result<End, Failure> {
    let mut seen: BTreeMap<String, u64> = TABLES.iter().map(|table| (table.name.to_owned(), 0)).collect();
    let mut waiting: Option<(&'static Table, Batch)> = None;
    let end = loop {
        let Some(text) = lines.next(MAX_LINE)? else {
            return Err(lines.wrong("the file ends here, before its last line: it was cut off"));
        };
        let (bytes, parsed) = (text.len(), serde_json::from_slice::<Line>(text));
        let parsed = match parsed {
            Ok(line) => line,
            Err(_) if !lines.is_whole() => return Err(lines.wrong("the file was cut off here")),
            Err(e) => return Err(lines.wrong(format!("this is no line of an export: {e}"))),
        };
        let (name, row) = match parsed {
            Line { table: None, row: None, end: Some(end) } => break end,
            Line { table: Some(name), row: Some(row), end: None } => (name, row),
            _ => return Err(lines.wrong("this is no line of an export")),
        };
        let table = Table::named(&name).ok_or_else(|| lines.wrong(format!("there is no table {name:?}")))?;
        let row = values(table, row).map_err(|what| lines.wrong(what))?;
        *seen.entry(name).or_default() += 1;
        let (of, mut batch) = match waiting.take() {
            Some((of, batch)) if of.name == table.name => (of, batch),
            other => {
                enter(link, other, lines.number)?;
                (table, Batch { first_line: lines.number, ..Batch::default() })
            }
        };
        batch.rows.push(row);
        batch.bytes += bytes;
        waiting = Some((of, batch));
        if waiting.as_ref().is_some_and(|(_, b)| b.rows.len() >= BATCH_ROWS || b.bytes >= BATCH_BYTES) {
            enter(link, waiting.take(), lines.number + 1)?;
        }
    };
    enter(link, waiting, lines.number)?;
    if let Some((name, n)) = seen.iter().find(|(name, n)| end.rows.get(*name) != Some(*n)) {
        let said = end.rows.get(name).copied().unwrap_or(0);
        return Err(
            lines.wrong(format!("the file has {n} rows of {name} and should have {said}: lines are missing"))
        );
    }
    if let Some(name) = end.rows.keys().find(|name| !seen.contains_key(*name)) {
        return Err(lines.wrong(format!("there is no table {name:?}")));
    }
    match lines.next(MAX_LINE)? {
        None => Ok(end),
        Some(_) => Err(lines.wrong("there is more after the last line of the export")),
    }
}

/// The values of a row in the order of the table's columns.
fn values(table: &Table, mut row: Map<String, Plain>) -> Result<Vec<Value>, String> {
    let name = table.name;
    let values = table.columns.iter().map(|column| {
        let plain = row.remove(column.name).ok_or_else(|| format!("{name}.{} is missing", column.name))?;
        Value::of(column.kind, plain).ok_or_else(|| format!("{name}.{} is not of its kind", column.name))
    });
    let values = values.collect::<Result<Vec<_>, _>>()?;
    match row.keys().next() {
        Some(unknown) => Err(format!("{name} has no column {unknown:?}")),
        None => Ok(values),
    }
}

/// Enters what has waited, if anything has; its last line is the one before `next_line`.
fn enter(
    link: &mut dyn Link,
    waiting: Option<(&'static Table, Batch)>,
    next_line: u64,
) -> Result<(), Failure> {
    let Some((table, batch)) = waiting else { return Ok(()) };
    let refused = |e: Error| match e {
        Error::Database(_) if !e.is_transient() => {
            let (first, last) = (batch.first_line, next_line - 1);
            let what = format!("the rows of {} up to line {last} cannot be entered: {e}", table.name);
            Failure::Line { line: first, what }
        }
        other => other.into(),
    };
    let words = if table.name == "chat_messages" { words(table, &batch.rows)? } else { Vec::new() };
    link.insert(table, batch.rows).map_err(refused)?;
    if words.is_empty() { Ok(()) } else { Ok(link.index(words)?) }
}

/// By what the messages among these rows are found.
fn words(table: &Table, rows: &[Vec<Value>]) -> Result<Vec<Words>, Error> {
    let positions = ["id", "chat_id", "deleted", "role", "visibility", "content"].map(|c| table.position(c));
    let mut all = Vec::new();
    for row in rows {
        let [id, chat, deleted, role, visibility, content] = positions.map(|p| p.and_then(|p| row.get(p)));
        // A row in which one of them is NULL is refused by the database.
        if let (
            Some(Value::Int(message)),
            Some(Value::Uid(chat)),
            Some(Value::Bool(false)),
            Some(Value::Text(role)),
            Some(Value::Text(visibility)),
            Some(Value::Json(content)),
        ) = (id, chat, deleted, role, visibility, content)
        {
            let words = words::indexed(role_of(role)?, visibility_of(visibility)?, content);
            all.extend(words.map(|words| Words { message: *message, chat: *chat, words }));
        }
    }
    Ok(all)
}
