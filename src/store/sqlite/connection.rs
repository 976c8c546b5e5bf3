//! Opening a connection with the settings of its role.

use super::Conn;
use crate::store::error::{Error, Result};
use diesel::{
    Connection, SqliteConnection,
    connection::{InstrumentationEvent, SimpleConnection},
};
use diesel_async::sync_connection_wrapper::{SpawnBlocking, SyncConnectionWrapper};
use futures_util::future::{BoxFuture, ready};
use std::{
    error::Error as StdError,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// "Blocking" work runs where it stands: on the connection's own thread.
pub struct Inline;

impl SpawnBlocking for Inline {
    fn spawn_blocking<'a, R: Send + 'static>(
        &mut self,
        task: impl FnOnce() -> R + Send + 'static,
    ) -> BoxFuture<'a, Result<R, Box<dyn StdError + Send + Sync>>> {
        Box::pin(ready(Ok(task())))
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
        let counter = Arc::clone(&self.statements);
        conn.set_instrumentation(move |event: InstrumentationEvent<'_>| {
            if let InstrumentationEvent::StartQuery { .. } = event {
                counter.fetch_add(1, Ordering::Relaxed);
            }
        });
        Ok(SyncConnectionWrapper::new(conn))
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
