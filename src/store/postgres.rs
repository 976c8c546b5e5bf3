//! PostgreSQL: a pool on a runtime of its own. Each operation is a detached task there, so a dropped
//! HTTP request never cancels half a transaction, and connections outlive actors and HTTP workers.

use super::{
    error::{Error, Result},
    statements::counting,
};
use crate::bus::postgres::connect::Server;
use diesel_async::{
    AsyncConnection, AsyncPgConnection,
    pooled_connection::{AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod, deadpool},
};
use futures_util::FutureExt;
use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

/// The connection type that the shared queries are compiled for.
pub(in crate::store) type Conn = AsyncPgConnection;

macro_rules! for_update {
    ($q:expr) => {
        $q.for_update()
    };
}
/// A lock that creation of rows which refer to this one does not wait for.
macro_rules! for_no_key_update {
    ($q:expr) => {
        $q.for_no_key_update()
    };
}
/// A lock that only writers of the row wait for.
macro_rules! for_share {
    ($q:expr) => {
        $q.for_share()
    };
}
/// Substring of the title, any case.
macro_rules! title_contains {
    ($text:expr) => {
        diesel::dsl::sql::<diesel::sql_types::Bool>("strpos(lower(chats.title), lower(")
            .bind::<diesel::sql_types::Text, _>($text.clone())
            .sql(")) > 0")
    };
}
/// Substring of a user's names or address, any case.
macro_rules! person_contains {
    ($text:expr) => {
        diesel::dsl::sql::<diesel::sql_types::Bool>(
            "strpos(lower(users.username || ' ' || users.name || ' ' || users.email), lower(",
        )
        .bind::<diesel::sql_types::Text, _>($text.clone())
        .sql(")) > 0")
    };
}
/// The same of the title of a chat's pull request.
macro_rules! pull_request_contains {
    ($text:expr) => {
        diesel::dsl::sql::<diesel::sql_types::Bool>(
            "EXISTS (SELECT 1 FROM chat_diff_statuses d WHERE d.chat_id = chats.id \
             AND strpos(lower(d.pull_request_title), lower(",
        )
        .bind::<diesel::sql_types::Text, _>($text.clone())
        .sql(")) > 0)")
    };
}
/// One message of the family has all the words; words of which nothing is left find nothing.
macro_rules! said {
    ($words:expr, $owners:expr) => {
        diesel::dsl::sql::<diesel::sql_types::Bool>(
            "chats.id IN (SELECT s.root_chat_id FROM chat_search s \
             WHERE s.body @@ (plainto_tsquery('english', ",
        )
        .bind::<diesel::sql_types::Text, _>($words.join(" "))
        .sql(") && CAST(")
        .bind::<diesel::sql_types::Text, _>($crate::store::words::tsquery_of($owners))
        .sql(" AS tsquery)) AND numnode(plainto_tsquery('english', ")
        .bind::<diesel::sql_types::Text, _>($words.join(" "))
        .sql(")) > 0)")
    };
}
/// A label has a value.
macro_rules! label_is {
    ($key:expr, $value:expr) => {
        diesel::dsl::sql::<diesel::sql_types::Bool>("chats.labels ->> ")
            .bind::<diesel::sql_types::Text, _>($key.clone())
            .sql(" = ")
            .bind::<diesel::sql_types::Text, _>($value.clone())
    };
}
pub(super) mod commit;
/// Statements of this engine.
pub(super) mod statement {
    pub type Statement = crate::store::statement::Statement<diesel::pg::Pg>;
}

pub(super) use super::divergent::pg as divergent;
use statement::Statement;
#[path = "queries/mod.rs"]
#[allow(clippy::duplicate_mod, reason = "the one query source is compiled once for each engine")]
pub(in crate::store) mod queries;

/// How long an operation waits for a free connection before it answers "overloaded".
const POOL_WAIT: Duration = Duration::from_secs(5);
/// How long the work of one transaction may take, and how long a heartbeat. None of ours takes a tenth of it: the
/// connection has gone silent (a firewall, a proxy, a machine that froze), and would keep its place in the pool for ever.
const ANSWER_WAIT: Duration = Duration::from_secs(60);
const BEAT_WAIT: Duration = Duration::from_secs(5);

/// The PostgreSQL engine.
#[derive(Clone)]
pub struct PgStore {
    pub(super) pool: deadpool::Pool<AsyncPgConnection>,
    /// One connection that no other work can keep from the heartbeats.
    beats: deadpool::Pool<AsyncPgConnection>,
    pub(super) runtime: Arc<Runtime>,
    pub(super) statements: Arc<AtomicU64>,
    answer_wait: Duration,
}

/// A tokio runtime that may be dropped anywhere, also inside of another runtime.
pub struct Runtime(Option<tokio::runtime::Runtime>);

impl Runtime {
    /// A runtime with its own threads for database work.
    ///
    /// # Errors
    /// When the threads cannot be started.
    pub fn start() -> std::io::Result<Self> {
        let inner = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("chatd-db")
            .enable_all()
            .build()?;
        Ok(Self(Some(inner)))
    }

    /// To spawn on it.
    #[must_use]
    pub fn handle(&self) -> &tokio::runtime::Handle {
        self.0.as_ref().expect("present until dropped").handle()
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        if let Some(inner) = self.0.take() {
            inner.shutdown_background();
        }
    }
}

impl PgStore {
    /// Opens the pool. Connections are made when they are needed.
    ///
    /// # Errors
    /// When the runtime or the pool cannot be made.
    pub fn open(server: &Server, pool_size: usize, runtime: Arc<Runtime>) -> Result<Self> {
        let statements = Arc::new(AtomicU64::new(0));
        let pool = pool(server, pool_size, &statements)?;
        let beats = self::pool(server, 1, &statements)?;
        Ok(Self { pool, beats, runtime, statements, answer_wait: ANSWER_WAIT })
    }

    /// The same engine on the connection that is kept for heartbeats.
    pub(super) fn for_beats(&self) -> Self {
        Self { pool: self.beats.clone(), answer_wait: BEAT_WAIT.min(self.answer_wait), ..self.clone() }
    }

    /// The same engine with less patience.
    pub(super) fn answering_within(self, answer_wait: Duration) -> Self {
        Self { answer_wait: answer_wait.min(self.answer_wait), ..self }
    }

    /// What comes of work on a connection; [`Error::Silent`] when that gives no answer, and is of no use
    /// any more.
    pub(super) async fn answer<R, E: Into<Error>>(
        &self,
        work: impl Future<Output = Result<R, E>>,
    ) -> Result<R> {
        match tokio::time::timeout(self.answer_wait, work).await {
            Ok(answer) => answer.map_err(Into::into),
            Err(_) => Err(Error::Silent),
        }
    }

    /// Tries of an operation that meets closed connections: after a restart of the server all of
    /// the pool are, and each tells so only when it is used.
    pub(super) fn tries(&self) -> usize {
        self.pool.status().max_size + 2
    }

    /// A connection from the pool.
    pub(super) async fn connection(&self) -> Result<deadpool::Object<AsyncPgConnection>> {
        match tokio::time::timeout(POOL_WAIT, self.pool.get()).await {
            Ok(Ok(conn)) => Ok(conn),
            Ok(Err(e)) => Err(Error::Unavailable(e.to_string())),
            Err(_) => Err(Error::Overloaded),
        }
    }
}

fn pool(
    server: &Server,
    size: usize,
    statements: &Arc<AtomicU64>,
) -> Result<deadpool::Pool<AsyncPgConnection>> {
    let counter = Arc::clone(statements);
    let mut config = ManagerConfig::default();
    config.recycling_method = RecyclingMethod::Fast;
    let dialled = server.clone();
    config.custom_setup = Box::new(move |_| {
        let counter = Arc::clone(&counter);
        let server = dialled.clone();
        async move {
            let mut conn = server.connect().await?;
            conn.set_instrumentation(counting(&counter));
            Ok(conn)
        }
        .boxed()
    });
    let manager = AsyncDieselConnectionManager::<AsyncPgConnection>::new_with_config("", config);
    deadpool::Pool::builder(manager).max_size(size).build().map_err(|e| Error::Unavailable(e.to_string()))
}

/// Runs database work on its own runtime. Dropping the caller detaches the work.
pub(super) async fn detached<R: Send + 'static>(
    runtime: &Runtime,
    work: impl Future<Output = Result<R>> + Send + 'static,
) -> Result<R> {
    match runtime.handle().spawn(work).await {
        Ok(r) => r,
        // The transaction was undone with its connection, which the pool does not take back.
        Err(e) if e.is_panic() => Err(Error::Unavailable("the operation panicked".into())),
        Err(_) => Err(Error::Unavailable("the database runtime was stopped".into())),
    }
}
