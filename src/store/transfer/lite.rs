//! The link to an SQLite file.

use super::{
    Failure,
    link::{Link, Words},
    tables::Table,
    value::{Value, lite},
};
use crate::store::{
    error::{Error, Result},
    sqlite::{SqliteStore, Statement},
    types::{Id, sql},
};
use diesel::{
    SqliteConnection,
    connection::{Connection as _, DefaultLoadingMode, LoadConnection, SimpleConnection as _},
    sql_types::{BigInt, Text},
};

pub struct Lite(SqliteConnection);

impl Lite {
    pub fn open(store: &SqliteStore) -> Result<Self> {
        let mut conn = store.connect()?;
        // The daemon sorts little and in memory; here whole tables may have to be put in order.
        conn.batch_execute("PRAGMA temp_store = FILE")?;
        Ok(Self(conn))
    }
}

impl Link for Lite {
    fn engine(&self) -> &'static str {
        "sqlite"
    }

    fn begin_reading(&mut self) -> Result<()> {
        self.run("PRAGMA query_only = ON; BEGIN")
    }

    fn begin_writing(&mut self) -> Result<()> {
        self.run("BEGIN IMMEDIATE")
    }

    fn commit(&mut self) -> Result<()> {
        self.run("COMMIT")
    }

    fn run(&mut self, sql: &str) -> Result<()> {
        Ok(self.0.batch_execute(sql)?)
    }

    fn each(
        &mut self,
        table: &'static Table,
        sql: String,
        take: &mut dyn FnMut(Vec<Value>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut statement = Statement::default();
        statement.sql(sql);
        let rows = LoadConnection::<DefaultLoadingMode>::load(&mut self.0, statement).map_err(Error::from)?;
        for row in rows {
            take(lite::read(table, &row.map_err(Error::from)?)?)?;
        }
        Ok(())
    }

    fn insert(&mut self, table: &'static Table, rows: Vec<Vec<Value>>) -> Result<()> {
        // Nothing is saved by fewer statements without a network.
        for row in rows {
            self.0.execute_returning_count(&lite::insert(table, vec![row], ""))?;
        }
        Ok(())
    }

    fn index(&mut self, words: Vec<Words>) -> Result<()> {
        for w in words {
            let mut s = Statement::default();
            s.sql("INSERT INTO chat_search (rowid, owner, body) SELECT ").bind::<BigInt, _>(w.message);
            s.sql(", lower(hex(owner_id)), ").bind::<Text, _>(w.words);
            s.sql(" FROM chats WHERE id = ").bind::<sql::Uid, _>(Id(w.chat));
            self.0.execute_returning_count(&s)?;
        }
        Ok(())
    }

    fn by_bytes(&self) -> &'static str {
        ""
    }

    fn last_number(&self, table: &Table) -> String {
        format!("SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = '{}'), 0)", table.name)
    }

    fn go_on_from(&self, table: &Table, last: i64) -> String {
        // A table that has had no row has no entry.
        format!(
            "DELETE FROM sqlite_sequence WHERE name = '{name}'; \
             INSERT INTO sqlite_sequence (name, seq) SELECT '{name}', max({last}, m) \
             FROM (SELECT coalesce(max(id), 0) AS m FROM {name}) WHERE max({last}, m) > 0",
            name = table.name
        )
    }

    fn epoch(&self) -> &'static str {
        "0"
    }
}
