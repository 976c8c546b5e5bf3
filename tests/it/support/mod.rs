//! The harness: everything around the daemon is fake and strict, the daemon itself is real.
//!
//! ```ignore
//! both! {
//!     async fn a_question_is_answered(h: Harness) {
//!         h.model.push([says("42")]);
//!         let daemon = h.daemon().await;
//!         let api = daemon.api();
//!         let chat = api.create_chat("What is it?").await;
//!         let mut stream = api.stream(chat["id"].as_str().unwrap(), None).await;
//!         assert_eq!(stream.settled().await.texts("assistant"), ["42"]);
//!     }
//! }
//! ```

pub mod client;
pub mod daemon;
pub mod fake_model;
pub mod logs;
pub mod outside;
pub mod postgres;
pub mod sql;
pub mod tool_server;
pub mod turns;

use daemon::{DaemonProcess, merge};
use fake_model::{FakeModel, Wire};
use logs::Log;
use std::{
    ops::Deref,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// A test that takes longer hangs.
const TEST_LIMIT: Duration = Duration::from_secs(120);

/// The database that a test runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// A file in the data folder.
    Sqlite,
    /// A database of its own in the cluster of this process.
    Postgres,
}

/// Makes two tests of one body, one for each engine: `NAME::sqlite` and `NAME::postgres`.
macro_rules! both {
    ($($(#[$doc:meta])* async fn $name:ident($h:ident: Harness) $body:block)*) => { $(
        $(#[$doc])*
        mod $name {
            #[allow(unused_imports, reason = "a body may need nothing of its file")]
            use super::*;

            async fn body($h: $crate::support::Harness) $body

            #[test]
            fn sqlite() {
                $crate::support::run($crate::support::Engine::Sqlite, stringify!($name), body);
            }

            #[test]
            fn postgres() {
                $crate::support::run($crate::support::Engine::Postgres, stringify!($name), body);
            }
        }
    )* };
}
pub(crate) use both;

/// What a test has. Clones are the same harness.
#[derive(Clone)]
pub struct Harness(Arc<Parts>);

/// The parts of a [`Harness`].
pub struct Parts {
    /// The engine under test.
    pub engine: Engine,
    /// Value of `database.url`.
    pub database_url: String,
    /// The far side of every model call.
    pub model: FakeModel,
    /// What is logged meanwhile.
    pub log: Log,
    database: Option<postgres::Database>,
    folder: tempfile::TempDir,
    config: Mutex<toml::Table>,
    homes: Mutex<usize>,
}

impl Deref for Harness {
    type Target = Parts;
    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl Harness {
    async fn new(engine: Engine, name: &str) -> Self {
        let log = Log::start();
        let (database, database_url) = match engine {
            Engine::Sqlite => (None, "sqlite:chatd.db".to_owned()),
            Engine::Postgres => {
                let database = postgres::Database::create(name).await;
                let url = database.url.clone();
                (Some(database), url)
            }
        };
        let model = FakeModel::start().await;
        let folder = tempfile::Builder::new().prefix("chatd-test-").tempdir().expect("make a folder");
        let mut config = base_config(&database_url, &model, Wire::Chat);
        if engine == Engine::Postgres {
            // Replicas share their keys; SQLite has the file that the first start makes.
            let keys = folder.path().join("keys").display().to_string();
            let secrets = toml::Table::from_iter([("encryption_key_file".to_owned(), keys.into())]);
            config.insert("secrets".into(), secrets.into());
        }
        Self(Arc::new(Parts {
            engine,
            config: Mutex::new(config),
            database_url,
            model,
            log,
            database,
            folder,
            homes: Mutex::new(0),
        }))
    }

    /// Its database; PostgreSQL only.
    pub fn database(&self) -> &postgres::Database {
        self.database.as_ref().expect("a test on PostgreSQL")
    }

    /// A folder of this test.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Declares that an ERROR with this text in it will be logged; it must come.
    pub fn expect_error(&self, text: &str) {
        self.log.expect_error(text);
    }

    /// Merges TOML into the configuration of daemons started from now on.
    pub fn configure(&self, toml: &str) {
        let over = toml.parse().unwrap_or_else(|e| panic!("{e}: {toml}"));
        merge(&mut self.config.lock().unwrap_or_else(PoisonError::into_inner), over);
    }

    /// Has daemons started from now on speak this wire format with the fake model.
    pub fn speak(&self, wire: Wire) {
        let over = provider_config(&self.model, wire);
        merge(&mut self.config.lock().unwrap_or_else(PoisonError::into_inner), over);
    }

    /// The configuration as it stands, for tests that start the daemon in their own way.
    pub fn config(&self) -> toml::Table {
        self.config.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Starts a daemon with a data folder of its own. A second one on PostgreSQL is another replica.
    ///
    /// This is THE PLACE where the daemon comes in. Today it is the real program; once
    /// `chatd::app::start(config) -> Running` exists, a test that needs no kill can have
    /// `start(parse(h.config()))` here and spare the process.
    pub async fn daemon(&self) -> DaemonProcess {
        let home = self.home();
        DaemonProcess::start(&home, self.config(), &self.log).await
    }

    fn home(&self) -> PathBuf {
        let mut homes = self.homes.lock().unwrap_or_else(PoisonError::into_inner);
        *homes += 1;
        self.folder.path().join(format!("daemon-{homes}"))
    }
}

/// Short times, so that a takeover is a matter of a second, and one model behind the fake.
fn base_config(database_url: &str, model: &FakeModel, wire: Wire) -> toml::Table {
    let mut config = toml::toml! {
        [server]
        workers = 1
        shutdown_grace = "5s"
        [database]
        pool_size = 4
        [worker]
        acquire_interval = "100ms"
        heartbeat_interval = "300ms"
        lease = "1500ms"
        [stream]
        sync_interval = "1s"
        [limits]
        requests_per_minute = 0
        logins_per_minute = 0
        files_per_minute = 0
        [log]
        filter = "info,chatd=debug"
    };
    config["database"].as_table_mut().expect("a table").insert("url".into(), database_url.into());
    merge(&mut config, provider_config(model, wire));
    config
}

fn provider_config(model: &FakeModel, wire: Wire) -> toml::Table {
    let (kind, path) = match wire {
        Wire::Chat | Wire::Unknown => ("openai-compatible", "/v1"),
        Wire::Anthropic => ("anthropic", ""),
        Wire::Responses => ("openai", "/v1"),
    };
    let mut config = toml::toml! {
        [[models]]
        name = "fake"
        provider = "fake"
        model = "fake-model"
        default = true
        context_limit = 128000
        max_output_tokens = 4096
    };
    let mut provider = toml::Table::new();
    provider.insert("name".into(), "fake".into());
    provider.insert("type".into(), kind.into());
    provider.insert("api_key".into(), FakeModel::KEY.into());
    provider.insert("base_url".into(), format!("{}{path}", model.url()).into());
    config.insert("providers".into(), toml::Value::Array(vec![provider.into()]));
    config
}

/// Runs one test on one engine and judges what it left behind.
pub fn run<F: Future<Output = ()>>(engine: Engine, name: &str, body: impl FnOnce(Harness) -> F) {
    run_within(TEST_LIMIT, engine, name, body);
}

/// [`run`] for a test that is known to take long.
pub fn run_within<F: Future<Output = ()>>(
    limit: Duration,
    engine: Engine,
    name: &str,
    body: impl FnOnce(Harness) -> F,
) {
    // Several threads: a test that blocks for a moment must not stop the fake model.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("build a runtime");
    let harness = runtime.block_on(Harness::new(engine, name));
    let parts = harness.clone();
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        runtime.block_on(async { tokio::time::timeout(limit, body(harness)).await })
    }));
    let mut faults = parts.model.verdict();
    faults.extend(parts.log.verdict());
    if let Some(database) = &parts.database {
        runtime.block_on(database.remove());
    }
    let passed = matches!(ended, Ok(Ok(()))) && faults.is_empty();
    if !passed {
        eprintln!("--- log of {name} on {engine:?}\n{}\n---", parts.log.tail());
    }
    match ended {
        Ok(Ok(())) => assert!(faults.is_empty(), "{name} on {engine:?}:\n{}", faults.join("\n")),
        Ok(Err(_)) => panic!("{name} on {engine:?} took longer than {limit:?}; {faults:#?}"),
        Err(panic) => {
            if !faults.is_empty() {
                eprintln!("besides: {}", faults.join("\n"));
            }
            std::panic::resume_unwind(panic);
        }
    }
}

/// Waits until a condition outside of this process holds. For files and processes, which tell nobody;
/// never for a state of a chat, which streams do tell.
pub fn wait_until_blocking(what: &str, holds: impl Fn() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < Duration::from_secs(20), "not within 20 s: {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

#[cfg(test)]
mod tests;
