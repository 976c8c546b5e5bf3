//! What a transfer needs of a database. Everything blocks: a transfer has a thread of its own.

use super::{Failure, tables::Table, value::Value};
use crate::store::error::Result;
use uuid::Uuid;

/// The words of a message that is found by them.
pub struct Words {
    /// The message.
    pub message: i64,
    /// Its chat.
    pub chat: Uuid,
    /// What it is found by.
    pub words: String,
}

/// A connection, in one transaction from [`Link::begin`] to [`Link::commit`]. Dropped before, nothing was done.
pub trait Link {
    /// `sqlite` or `postgres`.
    fn engine(&self) -> &'static str;

    /// Begins to read one state of the database.
    fn begin_reading(&mut self) -> Result<()>;

    /// Begins to write, with nobody beside who writes too or starts to serve.
    fn begin_writing(&mut self) -> Result<()>;

    /// Makes what was written durable.
    fn commit(&mut self) -> Result<()>;

    /// Runs statements.
    fn run(&mut self, sql: &str) -> Result<()>;

    /// Hands over each row of a query that selects the columns of a table.
    fn each(
        &mut self,
        table: &'static Table,
        sql: String,
        take: &mut dyn FnMut(Vec<Value>) -> Result<(), Failure>,
    ) -> Result<(), Failure>;

    /// Enters rows.
    fn insert(&mut self, table: &'static Table, rows: Vec<Vec<Value>>) -> Result<()>;

    /// Makes messages findable.
    fn index(&mut self, words: Vec<Words>) -> Result<()>;

    /// What stands behind a text column in ORDER BY, so that it goes by bytes.
    fn by_bytes(&self) -> &'static str;

    /// A query for the last number that was given to a row of a table; 0 before the first.
    fn last_number(&self, table: &Table) -> String;

    /// A statement after which numbers begin behind this one, and behind all that are there.
    fn go_on_from(&self, table: &Table, last: i64) -> String;

    /// The first moment of 1970 in SQL.
    fn epoch(&self) -> &'static str;
}
