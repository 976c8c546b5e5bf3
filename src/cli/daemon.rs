//! What the commands that touch the database or run the daemon share.

use super::{Exit, Failure};
use crate::{
    app::{StartError, open},
    config::{Config, Loaded},
    ids::WorkerId,
    store::Store,
};
use tokio::signal::unix::{Signal, SignalKind, signal};

impl From<StartError> for Failure {
    fn from(e: StartError) -> Self {
        let exit = match e {
            StartError::Config(_) | StartError::Newer(_) => Exit::Config,
            StartError::Database(_) | StartError::File(_) | StartError::Taken(_) | StartError::Port(_) => {
                Exit::Unavailable
            }
            StartError::Failed(_) => Exit::Failed,
        };
        Self::new(exit, format!("{e}{}", e.advice()))
    }
}

impl From<crate::store::Error> for Failure {
    fn from(e: crate::store::Error) -> Self {
        let exit = if e.is_transient() { Exit::Unavailable } else { Exit::Failed };
        Self::new(exit, e.to_string().trim_end_matches('.'))
    }
}

/// Tells warnings of the configuration.
pub fn warn(loaded: &Loaded) {
    for problem in &loaded.warnings {
        super::output::note(format_args!("chatd: {problem}"));
    }
}

/// A runtime for a command that ends.
///
/// # Errors
/// When it cannot be started.
pub fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|e| Failure::failed(format!("cannot start: {e}")))
}

/// A runtime of one thread, for an agent: it waits, and what takes long goes to threads of its own. With a worker beside
/// the thread that waits for its end, a request from the link went to and fro between the two several times.
///
/// # Errors
/// When it cannot be started.
pub fn single_threaded() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::failed(format!("cannot start: {e}")))
}

/// Lets this process open as many files as it may, as far as a daemon can need them: each stream of a client is one, and
/// shells start programs with 1024.
pub fn many_files() {
    use nix::sys::resource::{Resource::RLIMIT_NOFILE, getrlimit, setrlimit};
    const ENOUGH: u64 = 65_536;
    let raised = getrlimit(RLIMIT_NOFILE).and_then(|(soft, hard)| match hard.min(ENOUGH) {
        most if soft < most => setrlimit(RLIMIT_NOFILE, most, hard),
        _ => Ok(()),
    });
    if let Err(e) = raised {
        tracing::warn!(error = %e, "the number of files that may be open stays as it is");
    }
}

/// Signals of a kind, from now on.
///
/// # Errors
/// When they cannot be watched.
pub fn on(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|e| Failure::failed(format!("signals cannot be watched: {e}")))
}

/// Runs a command on the database, beside a daemon or without one.
///
/// # Errors
/// When the database cannot be had, or what the command says.
pub fn on_database<R>(
    config: &Config,
    command: impl AsyncFnOnce(&Store) -> Result<R, Failure>,
) -> Result<R, Failure> {
    runtime()?.block_on(async {
        let opened = open::open(config, WorkerId::fresh(), false).await?;
        command(&opened.store).await
    })
}

/// The same for a command that only makes sense on a database that is there: none is made.
///
/// # Errors
/// Status 69 when there is no embedded database; otherwise as [`on_database`].
pub fn on_existing_database<R>(
    config: &Config,
    command: impl AsyncFnOnce(&Store) -> Result<R, Failure>,
) -> Result<R, Failure> {
    there_is_a_database(config)?;
    on_database(config, command)
}

/// Makes sure that opening the database makes none.
///
/// # Errors
/// Status 69 when there is no embedded database.
pub fn there_is_a_database(config: &Config) -> Result<(), Failure> {
    // A PostgreSQL database is never made by opening it: the server says that it does not exist.
    match config.sqlite_file().filter(|file| !file.is_file()) {
        None => Ok(()),
        Some(database) => Err(Failure::new(
            Exit::Unavailable,
            format!("there is no database {}; check data_dir and database.url", database.display()),
        )),
    }
}

/// Where the configuration has its encryption keys.
pub fn place_of_keys(config: &Config) -> String {
    match &config.secrets.encryption_key_env {
        Some(variable) => format!("the variable {variable}"),
        None => config.secrets.key_file(&config.data_dir).display().to_string(),
    }
}
