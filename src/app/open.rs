//! Opening the database that the configuration names, migrated and announced on a bus.

use super::StartError;
use crate::{
    bus::{self, Bus, postgres::connect::Server},
    config::{Config, DatabaseUrl, Secret, database::Synchronous},
    ids::WorkerId,
    store::{
        self, RotateError, Store,
        migrate::{self, MigrateError, Status},
        postgres::{PgStore, Runtime},
        sealing::{KeyError, Keyring},
        sqlite::{InstanceLock, SqliteStore},
    },
};
use std::{path::Path, sync::Arc};
use tokio::sync::mpsc;

/// Hints to other replicas that may wait for the notification connection.
const HINT_QUEUE: usize = 16_384;

/// An open database.
pub struct Opened {
    /// For everything.
    pub store: Store,
    /// Held by a daemon on SQLite: two of them cannot serve one file.
    pub lock: Option<InstanceLock>,
    /// Threads of the database; the last thing to be dropped.
    pub runtime: Arc<Runtime>,
}

/// Who opens a database, and with whom beside them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Daemon,
    /// A command that runs beside a daemon or without one.
    Beside,
    /// A command that no daemon may run beside, as far as that can be told: on SQLite.
    Alone,
}

/// Opens and migrates for a command that needs an SQLite file for itself, and holds its lock. On PostgreSQL nobody
/// can be told of.
///
/// # Errors
/// As [`open`], and [`StartError::Taken`] while a daemon serves the file.
pub async fn open_alone(config: &Config) -> Result<Opened, StartError> {
    open_database(config, WorkerId::fresh(), Role::Alone, keyring(config)?).await
}

/// Opens and migrates. A `daemon` also holds the lock of an SQLite file, and sends and receives hints
/// over PostgreSQL; a command that runs beside it does neither.
///
/// # Errors
/// When the database cannot be had or is newer than the program.
pub async fn open(config: &Config, worker: WorkerId, daemon: bool) -> Result<Opened, StartError> {
    let keys = keyring(config)?;
    let role = if daemon { Role::Daemon } else { Role::Beside };
    let opened = open_database(config, worker, role, keys).await?;
    if daemon {
        // The lock of an SQLite file says that there is nobody else.
        let ready = match opened.lock {
            Some(_) => opened.store.ready_keys_alone().await.map(Some),
            None => opened.store.ready_keys_among_others().await,
        };
        let key = ready.map_err(|e| match e {
            RotateError::Keys(e) => unusable(&e),
            RotateError::Store(store::Error::Sealed(why)) => StartError::Config(format!(
                "the encryption keys of this replica do not fit the database: {why}"
            )),
            RotateError::Store(e) => StartError::Database(e.to_string()),
        })?;
        if let Some(key) = key {
            tracing::debug!(%key, "secrets are sealed with this key");
        }
    }
    Ok(opened)
}

fn unusable(e: &KeyError) -> StartError {
    StartError::Config(format!("the encryption keys cannot be used: {e}"))
}

/// The keys that the configuration names.
fn keyring(config: &Config) -> Result<Keyring, StartError> {
    let secrets = &config.secrets;
    match (&secrets.encryption_key_env, &secrets.keys) {
        (Some(name), Some(keys)) => Keyring::variable(name, keys),
        _ => Keyring::file(&secrets.key_file(&config.data_dir)),
    }
    .map_err(|e| unusable(&e))
}

async fn open_database(
    config: &Config,
    worker: WorkerId,
    role: Role,
    keys: Keyring,
) -> Result<Opened, StartError> {
    let runtime = Arc::new(Runtime::start().map_err(|e| StartError::Database(e.to_string()))?);
    match &config.database.url {
        DatabaseUrl::Sqlite(_) => {
            let path = sqlite_path(config)?;
            make_private(&path)?;
            // SQLite keeps its log beside the file itself, wherever a link to it lies; so do we with the lock.
            let path = std::fs::canonicalize(&path).map_err(|e| {
                StartError::File(format!("the database {} cannot be used: {e}", path.display()))
            })?;
            // Before anything else: a second daemon must not migrate under the first one.
            let lock = if role == Role::Beside { None } else { Some(instance_lock(&path)?) };
            apply(config, &runtime, true).await?;
            let full = config.database.synchronous == Synchronous::Full;
            let engine = SqliteStore::open(&path, full).map_err(|e| StartError::File(e.to_string()))?;
            let store = Store::sqlite(engine, Bus::local()).with_keys(keys);
            if role == Role::Daemon {
                // With the lock held nobody else can be alive: what a killed process left running is
                // taken up at once.
                store.forget_leases().await.map_err(|e| StartError::File(e.to_string()))?;
            }
            Ok(Opened { store, lock, runtime })
        }
        DatabaseUrl::Postgres(url) => {
            apply(config, &runtime, true).await?;
            let server = server(url)?;
            let bus = if role == Role::Daemon {
                let (sender, receiver) = mpsc::channel(HINT_QUEUE);
                let bus = Bus::with_remote(sender);
                runtime.handle().spawn(bus::postgres::send(server.clone(), worker, receiver));
                runtime.handle().spawn(bus::postgres::listen(server.clone(), worker, bus.clone()));
                bus
            } else {
                Bus::local()
            };
            let engine = PgStore::open(&server, config.database.pool_size as usize, Arc::clone(&runtime))
                .map_err(|e| StartError::Database(e.to_string()))?;
            Ok(Opened { store: Store::postgres(engine, bus).with_keys(keys), lock: None, runtime })
        }
    }
}

/// Applies the migrations, or only looks.
///
/// # Errors
/// As [`open`].
pub async fn migrations(config: &Config, apply_them: bool) -> Result<Status, StartError> {
    let runtime = Arc::new(Runtime::start().map_err(|e| StartError::Database(e.to_string()))?);
    apply(config, &runtime, apply_them).await
}

async fn apply(config: &Config, runtime: &Arc<Runtime>, apply: bool) -> Result<Status, StartError> {
    let status = match &config.database.url {
        DatabaseUrl::Sqlite(_) => {
            let path = sqlite_path(config)?;
            if apply {
                make_private(&path)?;
            }
            migrate::sqlite(&path, apply)
        }
        DatabaseUrl::Postgres(url) => migrate::postgres(&server(url)?, runtime, apply).await,
    };
    let unavailable = match &config.database.url {
        DatabaseUrl::Sqlite(_) => StartError::File,
        DatabaseUrl::Postgres(_) => StartError::Database,
    };
    status.map_err(|e| match e {
        MigrateError::Newer(_) => StartError::Newer(e.to_string()),
        MigrateError::Store(e) => unavailable(e.to_string()),
        MigrateError::Transaction(e) => unavailable(e.to_string()),
        MigrateError::Failed(e) => StartError::Failed(format!("the database could not be migrated: {e}")),
    })
}

/// How the server is dialled, read from its address.
fn server(url: &Secret) -> Result<Server, StartError> {
    Server::at(url.expose()).map_err(|why| StartError::Config(format!("database.url: {why}")))
}

fn sqlite_path(config: &Config) -> Result<std::path::PathBuf, StartError> {
    config.sqlite_file().ok_or_else(|| StartError::Failed("the configuration names no SQLite file".into()))
}

/// Makes the file of the database, and its folder, for the eyes of their owner only. SQLite gives its
/// companions the same rights. What is there already is left as it is.
fn make_private(file: &Path) -> Result<(), StartError> {
    use std::os::unix::fs::OpenOptionsExt;
    if let Some(folder) = file.parent() {
        private_folder(folder)?;
    }
    let made = std::fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(file);
    made.map(drop)
        .map_err(|e| StartError::File(format!("the database {} cannot be used: {e}", file.display())))
}

fn instance_lock(file: &Path) -> Result<InstanceLock, StartError> {
    match InstanceLock::acquire(file) {
        Ok(Some(lock)) => Ok(lock),
        Ok(None) => Err(StartError::Taken(format!(
            "another chatd serves {}; stop that one, or choose another data_dir",
            file.display()
        ))),
        Err(e) => Err(StartError::File(e.to_string())),
    }
}

/// Makes a folder that only its owner may enter, unless it is there already.
pub(super) fn private_folder(folder: &Path) -> Result<(), StartError> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|e| StartError::File(format!("the folder {} cannot be used: {e}", folder.display())))
}
