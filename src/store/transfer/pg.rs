//! The link to a PostgreSQL server.

use super::{
    Failure,
    link::{Link, Words},
    tables::Table,
    value::{Value, pg},
};
use crate::store::{
    error::{Error, Result},
    migrate,
    operations::deadpool_take,
    postgres::{Conn, PgStore, statement::Statement},
    types::{Id, sql},
};
use diesel::sql_types::{Array, BigInt, Text};
use diesel_async::{AsyncConnectionCore, RunQueryDsl as _, SimpleAsyncConnection as _};
use futures_util::StreamExt as _;
use std::pin::pin;
use tokio::runtime::Handle;

pub struct Pg {
    conn: Conn,
    /// Waits on the runtime of the database, where the connection's own task runs.
    runtime: Handle,
}

/// The other end of a pipe may take its time, and a whole table is more than a request reads.
const PATIENCE: &str = "SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL statement_timeout = 0";

impl Pg {
    pub fn open(store: &PgStore) -> Result<Self> {
        let runtime = store.runtime.handle().clone();
        let conn = runtime.block_on(store.connection())?;
        Ok(Self { conn: deadpool_take(conn), runtime })
    }
}

impl Link for Pg {
    fn engine(&self) -> &'static str {
        "postgres"
    }

    fn begin_reading(&mut self) -> Result<()> {
        self.run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")?;
        self.run(PATIENCE)
    }

    fn begin_writing(&mut self) -> Result<()> {
        self.run("BEGIN ISOLATION LEVEL READ COMMITTED")?;
        self.run(PATIENCE)?;
        // A replica that starts meanwhile waits for its look at the migrations, and one that has just done that for
        // its first user. What they wrote before is seen by the look for rows, which comes after.
        self.run(&format!("SELECT pg_advisory_xact_lock({})", migrate::LOCK_KEY))?;
        self.run("LOCK TABLE organizations, users, chats IN SHARE ROW EXCLUSIVE MODE")
    }

    fn commit(&mut self) -> Result<()> {
        self.run("COMMIT")
    }

    fn run(&mut self, sql: &str) -> Result<()> {
        Ok(self.runtime.block_on(self.conn.batch_execute(sql))?)
    }

    fn each(
        &mut self,
        table: &'static Table,
        sql: String,
        take: &mut dyn FnMut(Vec<Value>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut statement = Statement::default();
        statement.sql(sql);
        let conn = &mut self.conn;
        self.runtime.block_on(async {
            // Rows come as they are taken; the server waits meanwhile.
            let mut rows = pin!(AsyncConnectionCore::load(conn, statement).await.map_err(Error::from)?);
            while let Some(row) = rows.next().await {
                take(pg::read(table, &row.map_err(Error::from)?)?)?;
            }
            Ok(())
        })
    }

    fn insert(&mut self, table: &'static Table, rows: Vec<Vec<Value>>) -> Result<()> {
        // In groups of a power of two: each number of rows is a text of its own, which stays prepared.
        let mut rows = rows.into_iter();
        while let Some(group) = rows.len().checked_ilog2() {
            let some = rows.by_ref().take(1 << group).collect();
            let statement = pg::insert(table, some, "OVERRIDING SYSTEM VALUE ");
            self.runtime.block_on(statement.execute(&mut self.conn))?;
        }
        Ok(())
    }

    fn index(&mut self, words: Vec<Words>) -> Result<()> {
        let (mut messages, mut chats, mut texts) = (Vec::new(), Vec::new(), Vec::new());
        for w in words {
            messages.push(w.message);
            chats.push(Id(w.chat));
            texts.push(w.words);
        }
        let mut s = Statement::default();
        s.sql("INSERT INTO chat_search (message_id, root_chat_id, body) SELECT w.message, c.root_chat_id, ");
        s.sql("to_tsvector('english', w.words) || array_to_tsvector(ARRAY['o' || replace(c.owner_id::text, '-', '')]) ");
        s.sql("FROM unnest(").bind::<Array<BigInt>, _>(messages).sql(", ").bind::<Array<sql::Uid>, _>(chats);
        s.sql(", ").bind::<Array<Text>, _>(texts);
        s.sql(") AS w (message, chat, words) JOIN chats c ON c.id = w.chat");
        self.runtime.block_on(s.execute(&mut self.conn))?;
        Ok(())
    }

    fn by_bytes(&self) -> &'static str {
        " COLLATE \"C\""
    }

    fn last_number(&self, table: &Table) -> String {
        format!("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {}_id_seq", table.name)
    }

    fn go_on_from(&self, table: &Table, last: i64) -> String {
        // Of the greatest nothing is NULL only where there is nothing, and then nothing is set.
        format!(
            "SELECT setval(pg_get_serial_sequence('{name}', 'id'), \
             GREATEST((SELECT max(id) FROM {name}), NULLIF({last}, 0)))",
            name = table.name
        )
    }

    fn epoch(&self) -> &'static str {
        "to_timestamp(0)"
    }
}
