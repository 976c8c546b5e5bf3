//! One daemon a file.

use crate::store::error::{Error, Result};
use std::{
    fs::{File, TryLockError},
    path::Path,
};

/// Held by the daemon for as long as it serves a database file. The operating system gives it back
/// when the process ends, however it ends. The command line does not take it: it may write to the
/// file beside a running daemon.
#[derive(Debug)]
pub struct InstanceLock {
    _file: File,
}

impl InstanceLock {
    /// Takes the lock file beside the database, `{database}.lock`; `None` when another process holds it.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn acquire(database: &Path) -> Result<Option<Self>> {
        let mut path = database.as_os_str().to_owned();
        path.push(".lock");
        let path = Path::new(&path);
        let fail = |e: std::io::Error| Error::Unavailable(format!("{}: {e}", path.display()));
        let file = File::options().create(true).truncate(false).write(true).open(path).map_err(fail)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(e)) => Err(fail(e)),
        }
    }
}
