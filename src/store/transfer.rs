//! The whole database as lines of JSON, and back, from either engine into either (docs/decisions/0016).
//!
//! The first line is the [`Header`], the last one an [`End`]; between them each line is a row. [`tables`] says
//! what there is of each table. Both directions are one transaction and hold a few rows at a time.

mod export;
mod import;
mod link;
mod lite;
mod pg;
pub mod tables;
mod value;

pub use export::Exported;
pub use import::{Imported, Source};

use super::{
    Store,
    engine::Engine,
    error::{Error, Result},
};
use crate::clock::Timestamp;
use link::Link;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    io::{self, Write},
};

/// The form of the file. A program reads its own form and those before it.
pub const FORMAT: u32 = 1;

/// The first line.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Header {
    /// [`FORMAT`]; its name says what the file is.
    pub chatd_export: u32,
    /// The newest migration of the database it came from.
    #[serde(default)]
    pub schema: String,
    /// The version of the program that wrote it.
    #[serde(default)]
    pub chatd: String,
    /// `sqlite` or `postgres`.
    #[serde(default)]
    pub engine: String,
    /// When it was begun, RFC 3339.
    #[serde(default)]
    pub at: String,
    /// Names of the encryption keys without which its secrets cannot be read.
    #[serde(default)]
    pub keys: Vec<String>,
}

/// The last line: without it the file was cut.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct End {
    /// How many rows of each table the file holds.
    pub rows: BTreeMap<String, u64>,
    /// The last numbers that were given to rows, by table.
    pub numbers: BTreeMap<String, i64>,
}

/// Why nothing was exported or imported.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The database does not do it.
    #[error(transparent)]
    Store(#[from] Error),
    /// The file cannot be read or written.
    #[error("{0}")]
    File(#[from] io::Error),
    /// The file is none that can be imported.
    #[error("{0}")]
    Refused(String),
    /// A line of the file says what cannot be.
    #[error("line {line}: {what}")]
    Line {
        /// Its number, from 1.
        line: u64,
        /// What is wrong with it.
        what: String,
    },
    /// The database holds something already.
    #[error("the database has rows in {0} already")]
    NotEmpty(&'static str),
    /// Whoever asked for it wants it no more.
    #[error("it was stopped")]
    Stopped,
}

impl Store {
    fn link(&self) -> Result<Box<dyn Link>> {
        Ok(match &self.engine {
            Engine::Sqlite(s) => Box::new(lite::Lite::open(s)?),
            Engine::Pg(s) => Box::new(pg::Pg::open(s)?),
        })
    }

    /// Writes one state of the whole database, beside whoever works on it. Blocks.
    ///
    /// # Errors
    /// When the database cannot be read or `out` not written; what was written is no whole file then.
    pub fn export(&self, at: Timestamp, out: &mut dyn Write) -> Result<Exported, Failure> {
        export::export(self.link()?.as_mut(), at, out)
    }

    /// Enters everything that a file holds into this database, which must be empty: all of it, or nothing.
    /// `may_commit` is asked before it becomes durable; when it says no, nothing was done. Blocks.
    ///
    /// # Errors
    /// See [`Failure`]; the database is empty as before then.
    pub fn import(&self, source: Source, may_commit: impl FnOnce() -> bool) -> Result<Imported, Failure> {
        import::import(self.link()?.as_mut(), source, may_commit)
    }
}

#[cfg(test)]
mod tests;
