//! Opening a connection with the settings of its role.

use super::{Conn, ready};
use crate::store::{
    error::{Error, Result},
    statements::counting,
};
use diesel::{Connection, SqliteConnection, connection::SimpleConnection};
use diesel_async::{
    SimpleAsyncConnection,
    sync_connection_wrapper::{SpawnBlocking, SyncConnectionWrapper},
};
use futures_util::future::BoxFuture;
use std::{
    error::Error as StdError,
    path::PathBuf,
    sync::{Arc, atomic::AtomicU64},
};

#[diesel::declare_sql_function]
extern "SQL" {
    /// SQLite's own `lower` knows ASCII only.
    fn chatd_lower(text: diesel::sql_types::Text) -> diesel::sql_types::Text;
}

/// "Blocking" work runs where it stands: on the connection's own thread.
pub struct Inline;

impl SpawnBlocking for Inline {
    fn spawn_blocking<'a, R: Send + 'static>(
        &mut self,
        task: impl FnOnce() -> R + Send + 'static,
    ) -> BoxFuture<'a, Result<R, Box<dyn StdError + Send + Sync>>> {
        Box::pin(std::future::ready(Ok(task())))
    }

    fn get_runtime() -> Self {
        Self
    }
}

/// How connections are opened.
#[derive(Clone)]
pub(super) struct Settings {
    pub path: PathBuf,
    pub synchronous_full: bool,
    /// Counts statements, for tests and metrics.
    pub statements: Arc<AtomicU64>,
}

impl Settings {
    /// A connection in WAL mode without automatic checkpoints: they would stop the writer
    /// (stack-evidence §3: p99 halves with a thread of their own).
    pub fn open(&self) -> Result<Conn> {
        let mut conn = self.open_sync()?;
        chatd_lower_utils::register_impl(&mut conn, |text: String| text.to_lowercase())?;
        conn.set_instrumentation(counting(&self.statements));
        Ok(SyncConnectionWrapper::new(conn))
    }

    /// A connection that cannot write, whatever the query says.
    pub fn open_reader(&self) -> Result<Conn> {
        let mut conn = self.open()?;
        ready(SimpleAsyncConnection::batch_execute(&mut conn, "PRAGMA query_only = ON"))?;
        Ok(conn)
    }

    pub fn open_sync(&self) -> Result<SqliteConnection> {
        let path = self
            .path
            .to_str()
            .ok_or_else(|| Error::Unavailable("the path of the database is not valid UTF-8".into()))?;
        let mut conn = SqliteConnection::establish(path).map_err(|e| Error::Unavailable(e.to_string()))?;
        let synchronous = if self.synchronous_full { "FULL" } else { "NORMAL" };
        conn.batch_execute(&format!(
            "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = {synchronous}; \
             PRAGMA foreign_keys = ON; PRAGMA wal_autocheckpoint = 0; PRAGMA temp_store = MEMORY; \
             PRAGMA cache_size = -16000;"
        ))?;
        Ok(conn)
    }
}
