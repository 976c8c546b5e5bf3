//! Embedded migrations: apply them under a lock, or only look. A database that is newer than the
//! program is refused, so that a rolled-back binary cannot damage it.

use super::{
    error::{Error, Result},
    postgres::Runtime,
};
use crate::bus::postgres::connect::Server;
use diesel::{
    Connection, RunQueryDsl as _, SqliteConnection, connection::SimpleConnection,
    migration::MigrationVersion, sql_types::BigInt,
};
use diesel_async::AsyncMigrationHarness;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use std::{path::Path, sync::Arc};

const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");
const POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");
/// Key of the advisory lock under which replicas migrate one after the other ("chatd" in ASCII).
pub(super) const LOCK_KEY: i64 = 0x0063_6861_7464;

/// What migrations a database has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Versions that are in the database.
    pub applied: Vec<String>,
    /// Versions that the program has and the database lacks.
    pub pending: Vec<String>,
    /// Versions that the database has and the program does not know.
    pub unknown: Vec<String>,
}

impl Status {
    fn refuse_newer(&self) -> Result<(), MigrateError> {
        match self.unknown.first() {
            None => Ok(()),
            Some(v) => Err(MigrateError::Newer(v.clone())),
        }
    }
}

/// Why migrations were not applied.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// A newer program has migrated this database.
    #[error("the database has migration {0}, which this program does not know: start a newer chatd")]
    Newer(String),
    /// The database cannot be reached.
    #[error(transparent)]
    Store(#[from] Error),
    /// The transaction around the migrations failed and was undone.
    #[error("the migrations could not be committed: {0}")]
    Transaction(#[from] diesel::result::Error),
    /// A migration failed and was undone.
    #[error("a migration failed: {0}")]
    Failed(String),
}

fn status_of<DB: diesel::backend::Backend, H: MigrationHarness<DB>>(
    harness: &mut H,
    known: &EmbeddedMigrations,
) -> Result<Status, MigrateError> {
    use diesel::migration::MigrationSource;
    let fail = |e: Box<dyn std::error::Error + Send + Sync>| MigrateError::Failed(e.to_string());
    let mut applied: Vec<String> =
        harness.applied_migrations().map_err(fail)?.iter().map(MigrationVersion::to_string).collect();
    applied.sort();
    let known: Vec<String> = MigrationSource::<DB>::migrations(known)
        .map_err(fail)?
        .iter()
        .map(|m| m.name().version().to_string())
        .collect();
    let mut pending: Vec<String> = known.iter().filter(|v| !applied.contains(v)).cloned().collect();
    pending.sort();
    let unknown = applied.iter().filter(|v| !known.contains(v)).cloned().collect();
    Ok(Status { applied, pending, unknown })
}

/// The version of the newest migration: that of the schema which this program works with.
///
/// # Errors
/// When the program's own migrations cannot be read.
pub fn newest() -> Result<String, MigrateError> {
    use diesel::migration::MigrationSource;
    let fail = |e: Box<dyn std::error::Error + Send + Sync>| MigrateError::Failed(e.to_string());
    let known = MigrationSource::<diesel::sqlite::Sqlite>::migrations(&SQLITE).map_err(fail)?;
    let newest = known.iter().map(|m| m.name().version().to_string()).max();
    newest.ok_or_else(|| MigrateError::Failed("the program has no migrations".into()))
}

/// Looks at, or applies, the migrations of a SQLite file. Blocks. Looking changes nothing: a file that is
/// not there is not made.
///
/// # Errors
/// When the file cannot be used, is newer than the program, or a migration fails.
pub fn sqlite(path: &Path, apply: bool) -> Result<Status, MigrateError> {
    let text = path
        .to_str()
        .ok_or_else(|| Error::Unavailable("the path of the database is not valid UTF-8".into()))?;
    let unusable = |why: &dyn std::fmt::Display| Error::Unavailable(format!("{}: {why}", path.display()));
    let open = |place: &str, pragmas: &str| {
        let mut conn = SqliteConnection::establish(place).map_err(|e| unusable(&e))?;
        conn.batch_execute(pragmas).map_err(|e| unusable(&e))?;
        Ok::<_, Error>(conn)
    };
    if !apply {
        if path.exists() {
            let mut conn = open(text, "PRAGMA busy_timeout = 10000; PRAGMA query_only = ON;")?;
            let begun: i64 = diesel::select(diesel::dsl::sql::<BigInt>(
                "(SELECT count(*) FROM sqlite_master WHERE name = '__diesel_schema_migrations')",
            ))
            .get_result(&mut conn)
            .map_err(|e| unusable(&e))?;
            if begun > 0 {
                let status = status_of(&mut conn, &SQLITE)?;
                status.refuse_newer()?;
                return Ok(status);
            }
        }
        // Diesel makes its table to look into it.
        return status_of(&mut open(":memory:", "")?, &SQLITE);
    }
    let mut conn =
        open(text, "PRAGMA busy_timeout = 10000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;")?;
    let status = status_of(&mut conn, &SQLITE)?;
    status.refuse_newer()?;
    // Under one lock: another process may be about to do the same.
    conn.immediate_transaction(|c| {
        c.run_pending_migrations(SQLITE).map_err(|e| MigrateError::Failed(e.to_string()))?;
        Ok::<_, MigrateError>(())
    })?;
    status_of(&mut conn, &SQLITE)
}

/// Looks at, or applies, the migrations of a PostgreSQL database.
///
/// # Errors
/// As [`sqlite`].
pub async fn postgres(server: &Server, runtime: &Arc<Runtime>, apply: bool) -> Result<Status, MigrateError> {
    let server = server.clone();
    // The harness blocks its thread: only the database runtime has threads to spare.
    let work = runtime.handle().spawn(async move {
        let mut conn = server.connect().await.map_err(|e| Error::Unavailable(e.to_string()))?;
        let lock = diesel::sql_query("SELECT pg_advisory_lock($1)").bind::<BigInt, _>(LOCK_KEY);
        diesel_async::RunQueryDsl::execute(lock, &mut conn).await.map_err(Error::from)?;
        let mut harness = AsyncMigrationHarness::new(conn);
        let status = status_of(&mut harness, &POSTGRES)?;
        status.refuse_newer()?;
        if apply {
            harness.run_pending_migrations(POSTGRES).map_err(|e| MigrateError::Failed(e.to_string()))?;
            return status_of(&mut harness, &POSTGRES);
        }
        Ok(status)
        // Dropping the connection gives the lock back.
    });
    work.await.map_err(|e| MigrateError::Failed(e.to_string()))?
}
