//! SQLite: one writer thread with group commit, reader threads, a checkpoint thread.

mod check;
mod checkpoint;
mod connection;
mod copy;
mod instance;
mod reader;
mod writer;

use super::error::{Error, Result};
use connection::Settings;
pub use copy::copy;
use diesel::connection::SimpleConnection as _;
pub use instance::InstanceLock;
use std::{
    path::Path,
    sync::{Arc, atomic::AtomicU64},
};

/// The connection type that the shared queries are compiled for. Runs inline on its thread: the
/// stock wrapper panics on actix arbiters and leaves transactions open (stack-evidence §1).
pub(in crate::store) type Conn = diesel_async::sync_connection_wrapper::SyncConnectionWrapper<
    diesel::SqliteConnection,
    connection::Inline,
>;

macro_rules! for_update {
    ($q:expr) => {
        $q
    };
}
macro_rules! for_no_key_update {
    ($q:expr) => {
        $q
    };
}
macro_rules! for_share {
    ($q:expr) => {
        $q
    };
}
/// Substring of the title, any case.
macro_rules! title_contains {
    ($text:expr) => {
        diesel::dsl::sql::<diesel::sql_types::Bool>("instr(chatd_lower(chats.title), chatd_lower(")
            .bind::<diesel::sql_types::Text, _>($text.clone())
            .sql(")) > 0")
    };
}
/// Substring of a user's names or address, any case.
macro_rules! person_contains {
    ($text:expr) => {
        diesel::dsl::sql::<diesel::sql_types::Bool>(
            "instr(chatd_lower(users.username || ' ' || users.name || ' ' || users.email), chatd_lower(",
        )
        .bind::<diesel::sql_types::Text, _>($text.clone())
        .sql(")) > 0")
    };
}
/// The same of the title of a chat's pull request.
macro_rules! pull_request_contains {
    ($text:expr) => {
        diesel::dsl::sql::<diesel::sql_types::Bool>(
            "EXISTS (SELECT 1 FROM chat_diff_statuses d WHERE d.chat_id = chats.id \
             AND instr(chatd_lower(d.pull_request_title), chatd_lower(",
        )
        .bind::<diesel::sql_types::Text, _>($text.clone())
        .sql(")) > 0)")
    };
}
/// One message of the family has all the words. Of very many that have them the newest count: each
/// has to be led back to its chat.
macro_rules! said {
    ($words:expr, $owners:expr) => {
        diesel::dsl::sql::<diesel::sql_types::Bool>(
            "chats.id IN (SELECT c.root_chat_id FROM (SELECT rowid AS id FROM chat_search \
             WHERE chat_search MATCH ",
        )
        .bind::<diesel::sql_types::Text, _>($crate::store::words::fts5($words, $owners))
        .sql(
            " ORDER BY rowid DESC LIMIT 5000) s CROSS JOIN chat_messages m ON m.id = s.id \
             CROSS JOIN chats c ON c.id = m.chat_id)",
        )
    };
}
/// A label has a value.
macro_rules! label_is {
    ($key:expr, $value:expr) => {
        diesel::dsl::sql::<diesel::sql_types::Bool>("json_extract(chats.labels, ")
            .bind::<diesel::sql_types::Text, _>(format!("$.\"{}\"", $key))
            .sql(") = ")
            .bind::<diesel::sql_types::Text, _>($value.clone())
    };
}
pub(super) use super::divergent::lite as divergent;
/// Statements of this engine.
pub(super) type Statement = super::statement::Statement<diesel::sqlite::Sqlite>;
#[path = "queries/mod.rs"]
#[allow(clippy::duplicate_mod, reason = "the one query source is compiled once for each engine")]
pub(in crate::store) mod queries;

/// Jobs that may wait for the writer before callers are told that the database is overloaded.
const WRITE_QUEUE: usize = 4096;
/// Reader threads.
const READERS: usize = 2;

/// The SQLite engine.
#[derive(Clone)]
pub struct SqliteStore {
    writer: writer::Writer,
    readers: Arc<reader::Readers>,
    pub(super) statements: Arc<AtomicU64>,
    settings: Settings,
}

impl SqliteStore {
    /// Opens the database file, which must have been migrated.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(path: &Path, synchronous_full: bool) -> Result<Self> {
        let statements = Arc::new(AtomicU64::new(0));
        let settings =
            Settings { path: path.to_owned(), synchronous_full, statements: Arc::clone(&statements) };
        let writer = writer::Writer::start(settings.clone(), WRITE_QUEUE)?;
        let readers = Arc::new(reader::Readers::start(&settings, READERS)?);
        checkpoint::start(&settings, &writer)?;
        Ok(Self { writer, readers, statements, settings })
    }

    /// The database file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.settings.path
    }

    /// A connection of its own, for work that is no job of the writer or a reader.
    pub(super) fn connect(&self) -> Result<diesel::SqliteConnection> {
        self.settings.open_sync()
    }

    /// Moves the write-ahead log into the file and empties it: a copy of the file alone is whole then, and
    /// no log is left that could be taken for that of another file put in its place.
    pub(super) async fn settle(&self) -> Result<()> {
        let settings = self.settings.clone();
        let work = move || {
            let mut conn = settings.open_sync()?;
            Ok(conn.batch_execute("PRAGMA wal_checkpoint(TRUNCATE)")?)
        };
        tokio::task::spawn_blocking(work).await.map_err(|e| Error::Unavailable(e.to_string()))?
    }

    /// Runs a job in a savepoint of the current group and answers after the group's commit.
    pub(super) async fn write<R: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Conn) -> Result<R> + Send + 'static,
    ) -> Result<R> {
        self.writer.run(job, |_| ()).await
    }

    /// The same, with something to do once the job is durable, whether the caller is still there or
    /// not. It runs on the writer's thread.
    pub(super) async fn write_then<R: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Conn) -> Result<R> + Send + 'static,
        then: impl FnOnce(&R) + Send + 'static,
    ) -> Result<R> {
        self.writer.run(job, then).await
    }

    /// Runs a job in a read transaction of a reader thread: one snapshot for all its statements.
    pub(super) async fn snapshot<R: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Conn) -> Result<R> + Send + 'static,
    ) -> Result<R> {
        self.readers.run(move |conn| writer::in_savepoint(conn, job).0).await
    }

    /// Runs a job on a reader thread.
    pub(super) async fn read<R: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Conn) -> Result<R> + Send + 'static,
    ) -> Result<R> {
        self.readers.run(job).await
    }
}

/// Resolves query code on the spot. It awaits nothing but its connection, which runs inline, so it
/// is ready at the first poll; anything else fails its first test on SQLite.
pub(super) fn now<R>(query: impl Future<Output = Result<R>>) -> Result<R> {
    futures_util::FutureExt::now_or_never(query).unwrap_or_else(|| {
        Err(Error::Corrupt("query code awaited something else than its connection".into()))
    })
}

/// The same for the futures of the connection itself.
fn ready<R>(f: impl Future<Output = diesel::QueryResult<R>>) -> Result<R> {
    let done = futures_util::FutureExt::now_or_never(f);
    Ok(done.ok_or_else(|| Error::Unavailable("the inline connection was not ready".into()))??)
}
