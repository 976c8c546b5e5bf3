//! Moves the write-ahead log into the database file, away from the writer.

use super::{connection::Settings, writer::Writer};
use crate::store::error::{Error, Result};
use diesel::connection::SimpleConnection;
use std::time::{Duration, Instant};

/// How often a passive checkpoint runs.
const EVERY: Duration = Duration::from_millis(100);
/// Above this size of the log a truncating checkpoint is tried.
const TRUNCATE_AT: u64 = 64 * 1024 * 1024;
/// But not more often: a long read, such as a backup, lets none succeed, and each try holds up the writer.
const TRUNCATE_EVERY: Duration = Duration::from_secs(5);

/// Starts the thread; it ends with the writer's last handle.
pub(super) fn start(settings: &Settings, writer: &Writer) -> Result<()> {
    let alive = writer.alive();
    let mut conn = settings.open_sync()?;
    // A truncating checkpoint holds up the writer while it waits for readers: it may not wait long.
    conn.batch_execute("PRAGMA busy_timeout = 50")?;
    let mut wal = settings.path.clone().into_os_string();
    wal.push("-wal");
    std::thread::Builder::new()
        .name("chatd-checkpoint".into())
        .spawn(move || {
            let (mut last, mut tried) = (None, None::<Instant>);
            while alive.strong_count() > 0 {
                std::thread::park_timeout(EVERY);
                let log = std::fs::metadata(&wal).ok();
                let size = log.as_ref().map_or(0, std::fs::Metadata::len);
                // An idle database is left alone. The log is written again from its start after a
                // checkpoint, so its size alone says nothing.
                let seen = log.and_then(|m| Some((m.len(), m.modified().ok()?)));
                let truncates =
                    size > TRUNCATE_AT && tried.is_none_or(|tried| tried.elapsed() >= TRUNCATE_EVERY);
                if seen == last && !truncates {
                    continue;
                }
                last = seen;
                if truncates {
                    tried = Some(Instant::now());
                }
                let mode = if truncates { "TRUNCATE" } else { "PASSIVE" };
                if let Err(e) = conn.batch_execute(&format!("PRAGMA wal_checkpoint({mode})")) {
                    tracing::warn!(error = %e, "checkpoint failed; the next one tries again");
                }
            }
        })
        .map_err(|e| Error::Unavailable(format!("the checkpoint thread could not be started: {e}")))?;
    Ok(())
}
