//! `chatd backup FILE`: a copy of the embedded database, made while the daemon runs.

use super::{Exit, Failure, Options, Outcome, output};
use crate::store::sqlite;
use clap::Args;
use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// Arguments of `chatd backup`.
#[derive(Debug, Clone, Args)]
pub struct BackupArgs {
    /// The file to write; one that exists is left alone
    pub file: PathBuf,
}

/// Writes the copy: everything that was committed when it began, and nothing of what came later.
///
/// # Errors
/// Status 2 when the database is not embedded, 69 when there is none, 1 when the copy cannot be written.
pub fn run(args: &BackupArgs, options: &Options) -> Outcome {
    let config = options.load()?.config;
    let Some(database) = config.sqlite_file() else {
        let message = "the database is PostgreSQL; copy it with pg_dump";
        return Err(Failure::new(Exit::Usage, message));
    };
    if !database.is_file() {
        let message = format!("there is no database {}; check data_dir and database.url", database.display());
        return Err(Failure::new(Exit::Unavailable, message));
    }
    let shown = args.file.display();
    let cannot = |e: io::Error| Failure::failed(format!("cannot write {shown}: {e}"));
    let target = std::path::absolute(&args.file).map_err(cannot)?;
    // Made first, so that nobody else can read it and nothing is overwritten.
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&target) {
        Ok(_) => {}
        Err(e) if e.kind() == ErrorKind::AlreadyExists => {
            return Err(Failure::failed(format!("{shown} exists already; name another file")));
        }
        Err(e) => return Err(cannot(e)),
    }
    if let Err(failure) = copy(&database, &target) {
        // Half a copy would look like a whole one.
        drop(fs::remove_file(&target));
        return Err(Failure::failed(format!("cannot copy the database to {shown}: {failure}")));
    }
    output::note(format_args!("chatd: wrote {shown}; to use it, name it in database.url"));
    if config.secrets.encryption_key_env.is_none() {
        let keys = config.secrets.key_file(&config.data_dir);
        let keys = keys.display();
        output::note(format_args!(
            "chatd: the secrets in it need the keys in {keys}; keep a copy of those too"
        ));
    }
    Ok(Exit::Done)
}

fn copy(database: &Path, target: &Path) -> Result<(), String> {
    sqlite::copy(database, target).map_err(|e| e.to_string())?;
    File::open(target).and_then(|file| file.sync_all()).map_err(|e| e.to_string())
}
