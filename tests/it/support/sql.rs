//! A look into the database itself, for what no request shows and for states no request makes.

use super::{Engine, Harness, daemon::DaemonProcess};
use diesel::{
    Connection as _, QueryableByName, SqliteConnection, connection::SimpleConnection as _, sql_query,
};
use diesel_async::{AsyncConnection as _, AsyncPgConnection, SimpleAsyncConnection as _};

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    n: i64,
}

impl Harness {
    fn sqlite(&self, daemon: &DaemonProcess) -> SqliteConnection {
        let path = daemon.data_dir().join("chatd.db");
        let mut conn =
            SqliteConnection::establish(path.to_str().expect("a path of ours")).expect("open the file");
        conn.batch_execute("PRAGMA busy_timeout = 5000").expect("set a timeout");
        conn
    }

    /// A UUID as a literal of the engine.
    pub fn uuid(&self, id: &str) -> String {
        match self.engine {
            Engine::Sqlite => format!("x'{}'", id.replace('-', "")),
            Engine::Postgres => format!("'{id}'"),
        }
    }

    /// The moment so many days ago, as an expression of the engine.
    pub fn moment(&self, days_ago: u32) -> String {
        match self.engine {
            Engine::Sqlite => format!("(unixepoch() - {days_ago} * 86400) * 1000000"),
            Engine::Postgres => format!("now() - {days_ago} * interval '1 day'"),
        }
    }

    /// The number in column `n` of the only row of this query.
    pub async fn number(&self, daemon: &DaemonProcess, sql: &str) -> i64 {
        let row: Result<Count, _> = match self.engine {
            Engine::Sqlite => diesel::RunQueryDsl::get_result(sql_query(sql), &mut self.sqlite(daemon)),
            Engine::Postgres => {
                let mut conn = AsyncPgConnection::establish(&self.database_url).await.expect("connect");
                diesel_async::RunQueryDsl::get_result(sql_query(sql), &mut conn).await
            }
        };
        row.unwrap_or_else(|e| panic!("{sql}: {e}")).n
    }

    /// Runs statements.
    pub async fn execute(&self, daemon: &DaemonProcess, sql: &str) {
        let done = match self.engine {
            Engine::Sqlite => self.sqlite(daemon).batch_execute(sql),
            Engine::Postgres => {
                let mut conn = AsyncPgConnection::establish(&self.database_url).await.expect("connect");
                conn.batch_execute(sql).await
            }
        };
        done.unwrap_or_else(|e| panic!("{sql}: {e}"));
    }

    /// What the rows of a database break of the rules of state-machine.md §1 and §2.
    pub async fn broken_rules(&self, daemon: &DaemonProcess) -> Vec<&'static str> {
        let mut broken = Vec::new();
        for (rule, sql) in RULES {
            if self.number(daemon, sql).await != 0 {
                broken.push(rule);
            }
        }
        broken
    }
}

/// A rule and the query that counts what breaks it. Both engines take `NOT deleted` and `archived`.
const RULES: [(&str, &str); 6] = [
    (
        "no active chat is archived, no waiting chat has a queue",
        "SELECT count(*) AS n FROM chats c WHERE (archived AND status NOT IN ('waiting', 'error')) \
         OR (status = 'waiting' AND EXISTS (SELECT 1 FROM chat_queued_messages q WHERE q.chat_id = c.id))",
    ),
    (
        "no version is newer than the snapshot",
        "SELECT count(*) AS n FROM chats WHERE history_version > snapshot_version \
         OR queue_version > snapshot_version OR retry_state_version > snapshot_version",
    ),
    (
        "the newest revision is the version of the history",
        "SELECT count(*) AS n FROM chats c WHERE history_version <> \
         (SELECT max(revision) FROM chat_messages m WHERE m.chat_id = c.id)",
    ),
    (
        "revisions rise with ids",
        "SELECT count(*) AS n FROM chat_messages a JOIN chat_messages b ON a.chat_id = b.chat_id AND a.id < b.id \
         WHERE NOT a.deleted AND NOT b.deleted AND a.revision > b.revision",
    ),
    (
        "a deadline belongs to requires_action, an error to error",
        "SELECT count(*) AS n FROM chats WHERE (requires_action_deadline_at IS NOT NULL) <> (status = 'requires_action') \
         OR (last_error IS NOT NULL) <> (status = 'error')",
    ),
    (
        "a chat has a worker and a runner, or neither",
        "SELECT count(*) AS n FROM chats WHERE (worker_id IS NULL) <> (runner_id IS NULL)",
    ),
];
