//! The list of tables against the schema of both engines.

use super::tables::{Kind, LEFT_OUT, TABLES};
use crate::store::tests::support::{Db, Place};
use diesel::{Connection as _, QueryableByName, SqliteConnection, sql_types::Text};
use diesel_async::{AsyncConnection as _, AsyncPgConnection};
use std::collections::BTreeSet;

#[derive(QueryableByName)]
struct Name {
    #[diesel(sql_type = Text)]
    name: String,
}

async fn names(place: &Place, sql: &str) -> BTreeSet<String> {
    let rows: Vec<Name> = match place {
        Place::Sqlite { path, .. } => {
            let mut conn = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
            diesel::RunQueryDsl::load(diesel::sql_query(sql), &mut conn).unwrap()
        }
        Place::Postgres { url, .. } => {
            let mut conn = AsyncPgConnection::establish(url).await.unwrap();
            diesel_async::RunQueryDsl::load(diesel::sql_query(sql), &mut conn).await.unwrap()
        }
    };
    rows.into_iter().map(|row| row.name).collect()
}

/// Tables, columns and their types, as the database has them. The tables that full-text search keeps for itself
/// on SQLite belong to `chat_search`.
const SQLITE: &str = "SELECT m.name || '.' || c.name || ' ' || c.type AS name \
     FROM sqlite_master m, pragma_table_info(m.name) c WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite%' \
     AND m.name NOT LIKE 'chat\\_search\\_%' ESCAPE '\\'";
const POSTGRES: &str = "SELECT table_name || '.' || column_name || ' ' || data_type AS name \
     FROM information_schema.columns WHERE table_schema = 'public'";

const fn sqlite_type(kind: Kind) -> &'static str {
    match kind {
        Kind::Uid | Kind::Binary => "BLOB",
        Kind::Text | Kind::Json => "TEXT",
        Kind::Bool | Kind::Int | Kind::Small | Kind::Moment => "INTEGER",
    }
}

const fn postgres_type(kind: Kind) -> &'static str {
    match kind {
        Kind::Uid => "uuid",
        Kind::Text => "text",
        Kind::Bool => "boolean",
        Kind::Int => "bigint",
        Kind::Small => "integer",
        Kind::Moment => "timestamp with time zone",
        Kind::Json => "json",
        Kind::Binary => "bytea",
    }
}

/// Every column of the database is in the list with its type, or is said to be left out; and nothing else is.
async fn holds_everything(place: &Place, sql: &str, type_of: fn(Kind) -> &'static str) {
    let there = names(place, sql).await;
    let left_out = |column: &str| {
        let (table, column) = column.split_once(' ').unwrap().0.split_once('.').unwrap();
        LEFT_OUT.contains(&table) || TABLES.iter().any(|t| t.name == table && t.left_out.contains(&column))
    };
    let stored: BTreeSet<String> = there.iter().filter(|column| !left_out(column)).cloned().collect();
    let listed = TABLES.iter().flat_map(|table| {
        table.columns.iter().map(move |c| format!("{}.{} {}", table.name, c.name, type_of(c.kind)))
    });
    let listed: BTreeSet<String> = listed.collect();
    let (unknown, gone): (Vec<_>, Vec<_>) =
        (stored.difference(&listed).collect(), listed.difference(&stored).collect());
    assert!(
        unknown.is_empty() && gone.is_empty(),
        "in the database and not in transfer/tables.rs: {unknown:#?}; there and not in the database: {gone:#?}"
    );
    // What is said to be left out is there.
    for name in LEFT_OUT {
        assert!(there.iter().any(|column| column.starts_with(&format!("{name}."))), "{name}");
    }
    for (table, column) in TABLES.iter().flat_map(|t| t.left_out.iter().map(move |c| (t.name, c))) {
        assert!(
            there.iter().any(|there| there.starts_with(&format!("{table}.{column} "))),
            "{table}.{column}"
        );
    }
}

#[tokio::test]
async fn the_list_holds_every_column_of_both_engines() {
    holds_everything(&Db::sqlite().place, SQLITE, sqlite_type).await;
    holds_everything(&Db::postgres().await.place, POSTGRES, postgres_type).await;
}

/// Keys, and the tables that a table refers to, on SQLite; both engines have the same.
#[tokio::test]
async fn rows_come_after_what_they_refer_to() {
    let db = Db::sqlite();
    let keys = "SELECT m.name || '.' || c.name AS name FROM sqlite_master m, pragma_table_info(m.name) c \
         WHERE m.type = 'table' AND c.pk > 0";
    let there = names(&db.place, keys).await;
    let referred = "SELECT m.name || ' ' || f.\"from\" || ' ' || f.\"table\" AS name \
         FROM sqlite_master m, pragma_foreign_key_list(m.name) f WHERE m.type = 'table'";
    let referred = names(&db.place, referred).await;
    let mut seen = BTreeSet::new();
    for table in TABLES {
        for column in table.key {
            assert!(there.contains(&format!("{}.{column}", table.name)), "{}.{column}", table.name);
        }
        let of_it = there.iter().filter(|key| key.starts_with(&format!("{}.", table.name)));
        assert_eq!(of_it.count(), table.key.len(), "{}", table.name);
        for reference in referred.iter().filter_map(|r| r.strip_prefix(&format!("{} ", table.name))) {
            let (from, to) = reference.split_once(' ').unwrap();
            match to == table.name {
                true => assert_eq!(table.parent, Some(from), "{}", table.name),
                false => assert!(seen.contains(to), "{} refers to {to}", table.name),
            }
        }
        seen.insert(table.name);
    }
}
