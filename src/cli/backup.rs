//! `chatd backup FILE`: a copy of the embedded database, made while the daemon runs.

use super::{Exit, Failure, Options, Outcome, daemon, output, part::Part};
use crate::store::sqlite;
use clap::Args;
use std::{
    fs::File,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};
use tokio::signal::unix::SignalKind;

/// Arguments of `chatd backup`.
#[derive(Debug, Clone, Args)]
pub struct BackupArgs {
    /// The file to write; one that exists is left alone
    pub file: PathBuf,
}

/// Writes the copy: everything that was committed when it began, and nothing of what came later.
///
/// # Errors
/// Status 2 when the database is not embedded, 69 when there is none, 1 when the copy cannot be written; 130
/// and 143 after a signal, with nothing left behind.
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
    let cannot = |e: io::Error| match e.kind() {
        ErrorKind::AlreadyExists => Failure::failed(format!("{shown} exists already; name another file")),
        _ => Failure::failed(format!("cannot write {shown}: {e}")),
    };
    let failed = |why: &str| Failure::failed(format!("cannot copy the database to {shown}: {why}"));
    let target = std::path::absolute(&args.file).map_err(cannot)?;
    if target.symlink_metadata().is_ok() {
        return Err(cannot(ErrorKind::AlreadyExists.into()));
    }
    let runtime = daemon::runtime()?;
    let ended = runtime.block_on(async {
        let mut terminate = daemon::on(SignalKind::terminate())?;
        let mut interrupt = daemon::on(SignalKind::interrupt())?;
        let part = Part::beside(&target).map_err(cannot)?;
        let into = part.path().to_owned();
        tokio::select! {
            done = tokio::task::spawn_blocking(move || copy(&database, &into)) => match done {
                Ok(Ok(())) => part.publish(&target).map_err(cannot).map(|()| Exit::Done),
                Ok(Err(why)) => Err(failed(&why)),
                Err(panicked) => Err(failed(&panicked.to_string())),
            },
            _ = interrupt.recv() => Ok(Exit::Interrupted),
            _ = terminate.recv() => Ok(Exit::Terminated),
        }
    });
    // What still copies ends with the process.
    runtime.shutdown_background();
    match ended? {
        Exit::Done => {}
        signalled => {
            output::note(format_args!("chatd: interrupted; {shown} was not written"));
            return Ok(signalled);
        }
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
