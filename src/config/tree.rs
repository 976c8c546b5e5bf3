//! Configuration before it is typed: a tree in which every node knows where it came from.

use super::problem::{Origin, Origins, Problem};
use std::{collections::BTreeMap, ops::Range, path::PathBuf, sync::Arc};
use toml::de::{DeTable, DeValue};

/// A value and its source. Holds secrets in clear, hence no `Debug`.
pub(super) struct Node {
    pub value: Value,
    pub origin: Origin,
}

pub(super) enum Value {
    /// From the environment or a flag; the type asked for decides what it means.
    Untyped(String),
    String(String),
    Integer(i64),
    /// As written, so that a price keeps its digits.
    Float(String),
    Bool(bool),
    Datetime,
    List(Vec<Node>),
    Table(BTreeMap<String, Node>),
}

impl Node {
    pub(super) fn empty() -> Self {
        Self { value: Value::Table(BTreeMap::new()), origin: Origin::Default }
    }

    /// Lays `over` on top: tables are merged, everything else is replaced.
    pub(super) fn merge(&mut self, over: Self) {
        match (&mut self.value, over.value) {
            (Value::Table(old), Value::Table(new)) => {
                for (key, node) in new {
                    match old.get_mut(&key) {
                        Some(below) => below.merge(node),
                        None => {
                            old.insert(key, node);
                        }
                    }
                }
            }
            (value, new) => {
                *value = new;
                self.origin = over.origin;
            }
        }
    }

    /// Puts an untyped text at a path of tables.
    pub(super) fn set(&mut self, path: &[String], text: String, origin: Origin) -> Result<(), Problem> {
        let key = path.join(".");
        let mut at = self;
        let mut walked = String::new();
        for (depth, segment) in path.iter().enumerate() {
            let Value::Table(table) = &mut at.value else {
                return Err(Problem::new(
                    &origin,
                    &key,
                    format!("{walked} is not a table, so it has no key of its own; set {walked} as a whole"),
                ));
            };
            if depth > 0 {
                walked.push('.');
            }
            walked.push_str(segment);
            at = table.entry(segment.clone()).or_insert_with(Self::empty);
            if depth + 1 < path.len() && matches!(at.origin, Origin::Default) {
                at.origin = origin.clone();
            }
        }
        *at = Self { value: Value::Untyped(text), origin };
        Ok(())
    }

    /// Takes out the key at `path`; a path that ends in a list takes out the list. False when
    /// there is nothing left to take out.
    pub(super) fn remove(&mut self, path: &[Segment]) -> bool {
        let Some(end) = path.iter().rposition(|s| matches!(s, Segment::Key(_))) else { return false };
        let mut at = self;
        for segment in &path[..end] {
            let next = match (&mut at.value, segment) {
                (Value::Table(table), Segment::Key(key)) => table.get_mut(key),
                (Value::List(list), Segment::Index(index)) => list.get_mut(*index),
                // Inside of an untyped text: the text as a whole is at fault.
                _ => None,
            };
            match next {
                Some(node) => at = node,
                None => return false,
            }
        }
        match (&mut at.value, &path[end]) {
            (Value::Table(table), Segment::Key(key)) => table.remove(key).is_some(),
            _ => false,
        }
    }

    /// The sources of everything below.
    pub(super) fn origins(&self) -> Origins {
        fn walk(node: &Node, path: &str, out: &mut BTreeMap<String, Origin>) {
            match &node.value {
                Value::Table(table) => {
                    for (key, child) in table {
                        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                        walk(child, &path, out);
                    }
                }
                Value::List(list) => {
                    for (index, child) in list.iter().enumerate() {
                        walk(child, &format!("{path}[{index}]"), out);
                    }
                }
                _ => {}
            }
            if node.origin != Origin::Default {
                out.insert(path.to_owned(), node.origin.clone());
            }
        }
        let mut out = BTreeMap::new();
        walk(self, "", &mut out);
        Origins(out)
    }
}

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Segment {
    Key(String),
    Index(usize),
}

/// `providers[0].name`
pub(super) fn dotted(path: &[Segment]) -> String {
    let mut text = String::new();
    for segment in path {
        match segment {
            Segment::Index(index) => text.push_str(&format!("[{index}]")),
            Segment::Key(key) => {
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(key);
            }
        }
    }
    text
}

/// Reads a TOML file.
pub(super) fn parse_file(text: &str, path: PathBuf) -> Result<Node, Vec<Problem>> {
    let path = Arc::new(path);
    // A line number for each span would make a long file quadratic; the starts are found once.
    let starts: Vec<usize> =
        std::iter::once(0).chain(text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(i, _)| i + 1)).collect();
    let line = |span: &Range<usize>| starts.partition_point(|start| *start <= span.start).max(1);
    let origin = |span: &Range<usize>| Origin::File { path: Arc::clone(&path), line: line(span) };
    let (document, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        // One slip makes the parser stumble more than once: one report a line is what a person can use.
        let mut problems: Vec<Problem> = errors
            .iter()
            .map(|error| {
                let span = error.span().unwrap_or(0..0);
                Problem::new(&origin(&span), "", format!("not valid TOML: {}", error.message()))
            })
            .collect();
        problems.dedup_by(|b, a| a.place == b.place);
        return Err(problems);
    }
    Ok(convert_table(document.get_ref(), Origin::Default, &origin))
}

/// Reads the text of a variable as one TOML value; every node gets the variable as its source.
pub(super) fn parse_value(text: &str, origin: &Origin) -> Result<Node, String> {
    match DeValue::parse(text) {
        Ok(value) => Ok(convert(value.get_ref(), origin.clone(), &|_| origin.clone())),
        Err(error) => Err(format!("not valid TOML: {}", error.message())),
    }
}

fn convert_table(table: &DeTable<'_>, origin: Origin, at: &dyn Fn(&Range<usize>) -> Origin) -> Node {
    let entries = table.iter().map(|(key, value)| {
        (key.get_ref().to_string(), convert(value.get_ref(), at(&key.span()), at))
    });
    Node { value: Value::Table(entries.collect()), origin }
}

fn convert(value: &DeValue<'_>, origin: Origin, at: &dyn Fn(&Range<usize>) -> Origin) -> Node {
    let value = match value {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(int) => match i64::from_str_radix(int.as_str(), int.radix()) {
            Ok(int) => Value::Integer(int),
            Err(_) => Value::Float(int.to_string()),
        },
        DeValue::Float(float) => Value::Float(float.as_str().to_owned()),
        DeValue::Boolean(flag) => Value::Bool(*flag),
        DeValue::Datetime(_) => Value::Datetime,
        DeValue::Array(list) => {
            Value::List(list.iter().map(|item| convert(item.get_ref(), at(&item.span()), at)).collect())
        }
        DeValue::Table(table) => return convert_table(table, origin, at),
    };
    Node { value, origin }
}
