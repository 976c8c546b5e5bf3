//! Databases for the tests: a SQLite file, or a database of a private PostgreSQL server that lives
//! as long as the test process.

use crate::{
    bus::{Bus, postgres::connect},
    store::{
        Store, migrate,
        postgres::{PgStore, Runtime},
        sqlite::SqliteStore,
    },
};
use diesel::{Connection, SqliteConnection, connection::SimpleConnection};
use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};
use std::{
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};
use tempfile::TempDir;

/// A migrated database and a store on it.
pub struct Db {
    pub store: Store,
    pub place: Place,
}

pub enum Place {
    Sqlite { path: PathBuf, _dir: TempDir },
    Postgres { url: String, runtime: Arc<Runtime> },
}

impl Db {
    pub fn sqlite() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("chatd.db");
        migrate::sqlite(&path, true).unwrap();
        let place = Place::Sqlite { path, _dir: dir };
        Self { store: place.open(), place }
    }

    pub async fn postgres() -> Self {
        let place = empty_postgres().await;
        let Place::Postgres { url, runtime } = &place else { unreachable!() };
        migrate::postgres(&connect::Server::at(url).unwrap(), runtime, true).await.unwrap();
        Self { store: place.open(), place }
    }

    /// Another process on the same database.
    pub fn peer(&self) -> Store {
        self.place.open()
    }

    /// Statements behind the store's back.
    pub async fn sql(&self, text: &str) {
        match &self.place {
            Place::Sqlite { path, .. } => {
                let mut conn = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
                conn.batch_execute("PRAGMA busy_timeout = 5000").unwrap();
                conn.batch_execute(text).unwrap();
            }
            Place::Postgres { url, .. } => {
                let mut conn = AsyncPgConnection::establish(url).await.unwrap();
                conn.batch_execute(text).await.unwrap();
            }
        }
    }

    pub fn is_sqlite(&self) -> bool {
        matches!(self.place, Place::Sqlite { .. })
    }

    /// A UUID as a literal of the engine.
    pub fn literal(&self, id: uuid::Uuid) -> String {
        if self.is_sqlite() { format!("x'{}'", id.simple()) } else { format!("'{id}'") }
    }
}

impl Place {
    fn open(&self) -> Store {
        match self {
            Self::Sqlite { path, .. } => Store::sqlite(SqliteStore::open(path, false).unwrap(), Bus::local()),
            Self::Postgres { url, runtime } => {
                let server = connect::Server::at(url).unwrap();
                Store::postgres(PgStore::open(&server, 12, Arc::clone(runtime)).unwrap(), Bus::local())
            }
        }
    }
}

/// A database without tables.
pub async fn empty_postgres() -> Place {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("t{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let mut conn = AsyncPgConnection::establish(&server().url("postgres")).await.unwrap();
    conn.batch_execute(&format!("CREATE DATABASE {name} TEMPLATE template0")).await.unwrap();
    Place::Postgres { url: server().url(&name), runtime: Arc::new(Runtime::start().unwrap()) }
}

struct Server {
    /// URL of any of its databases.
    url: String,
    /// Reads a pipe that closes when this process dies, then stops the server and cleans up.
    _watcher: Option<Child>,
}

impl Server {
    fn url(&self, database: &str) -> String {
        let (base, query) = self.url.split_once('?').unwrap_or((&self.url, ""));
        let authority = base.find("://").map_or(0, |at| at + 3);
        let end = base[authority..].find('/').map_or(base.len(), |at| authority + at);
        format!("{}/{database}?{query}", &base[..end])
    }
}

fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    // CHATD_TEST_PG: an existing server, e.g. `postgres://me@localhost/postgres`, as in tests/it.
    SERVER.get_or_init(|| match std::env::var("CHATD_TEST_PG") {
        Ok(url) => Server { url, _watcher: None },
        Err(_) => start_server(),
    })
}

fn start_server() -> Server {
    let bin = server_binaries();
    let dir = tempfile::Builder::new().prefix("chatd-pg-").tempdir().unwrap().keep();
    let account =
        nix::unistd::User::from_name("postgres").unwrap().filter(|_| nix::unistd::geteuid().is_root());
    if let Some(a) = &account {
        chown(&dir, Some(a.uid.as_raw()), Some(a.gid.as_raw())).unwrap();
    }
    let command = |program: &Path| {
        let mut c = Command::new(program);
        c.current_dir(&dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if let Some(a) = &account {
            c.uid(a.uid.as_raw()).gid(a.gid.as_raw());
        }
        c
    };
    let data = dir.join("data");
    let made = command(&bin.join("initdb"))
        .args(["-A", "trust", "--no-sync", "-U", "chatd", "-E", "UTF8", "-D"])
        .arg(&data)
        .status()
        .unwrap();
    assert!(made.success(), "initdb failed");
    let options = format!("-c listen_addresses='' -c fsync=off -c max_connections=400 -k {}", dir.display());
    let started = command(&bin.join("pg_ctl"))
        .args(["-w", "start", "-l", "log", "-o", &options, "-D"])
        .arg(&data)
        .status()
        .unwrap();
    assert!(started.success(), "pg_ctl start failed; see {}/log", dir.display());
    let watcher = command(Path::new("/bin/sh"))
        .args(["-c", "read _; \"$0/pg_ctl\" -D \"$1/data\" -m immediate -w stop; cd /; rm -rf \"$1\""])
        .arg(&bin)
        .arg(&dir)
        .stdin(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap();
    let url = format!("postgres:///postgres?host={}&user=chatd", dir.display());
    Server { url, _watcher: Some(watcher) }
}

/// The programs of the newest server >= 15; `tests/it/support/postgres.rs` looks in the same places.
fn server_binaries() -> PathBuf {
    let roots = ["/usr/lib/postgresql", "/usr/local/lib/postgresql", "/opt/homebrew/opt"];
    let installed = roots.iter().filter_map(|root| std::fs::read_dir(root).ok()).flatten().flatten();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = installed.map(|entry| entry.path().join("bin")).chain(std::env::split_paths(&path));
    let found = folders.filter_map(|bin| Some((major_version(&bin)?, bin)));
    let newest = found.filter(|(major, _)| *major >= 15).max();
    newest.expect("no PostgreSQL server >= 15 found; ./scripts/test.sh installs one").1
}

/// Of `postgres (PostgreSQL) 15.4 …`: 15.
fn major_version(bin: &Path) -> Option<u32> {
    let out =
        bin.join("initdb").exists().then(|| Command::new(bin.join("postgres")).arg("--version").output());
    let text = String::from_utf8(out?.ok()?.stdout).ok()?;
    text.split_whitespace().nth(2)?.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Each test body runs once on each engine.
macro_rules! both {
    ($($(#[$doc:meta])* async fn $name:ident($db:ident) $body:block)*) => { $(
        $(#[$doc])*
        mod $name {
            use super::*;
            async fn run($db: crate::store::tests::support::Db) $body
            #[tokio::test]
            async fn sqlite() { run(crate::store::tests::support::Db::sqlite()).await }
            #[tokio::test]
            async fn postgres() { run(crate::store::tests::support::Db::postgres().await).await }
        }
    )* };
}
pub(crate) use both;
