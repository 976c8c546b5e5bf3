//! The list of tables against the schema of both engines, and every column there and back.

use super::{
    Source,
    tables::{Kind, LEFT_OUT, TABLES, Table},
    value::Value,
};
use crate::{
    chat::json::Json,
    clock::Timestamp,
    store::{
        Store,
        tests::support::{Db, Place},
    },
};
use diesel::{Connection as _, QueryableByName, SqliteConnection, sql_types::Text};
use diesel_async::{AsyncConnection as _, AsyncPgConnection};
use std::{collections::BTreeSet, io::Cursor};
use uuid::Uuid;

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

/// Columns of the database with their types that the list has not and does not leave out, and columns of the list
/// that the database has not.
async fn differences(place: &Place, sql: &str, type_of: fn(Kind) -> &'static str) -> [Vec<String>; 2] {
    let there = names(place, sql).await;
    let left_out = |column: &str| {
        let (table, column) = column.split_once(' ').unwrap().0.split_once('.').unwrap();
        LEFT_OUT.contains(&table) || TABLES.iter().any(|t| t.name == table && t.left_out.contains(&column))
    };
    let stored: BTreeSet<String> = there.into_iter().filter(|column| !left_out(column)).collect();
    let listed = TABLES.iter().flat_map(|table| {
        table.columns.iter().map(move |c| format!("{}.{} {}", table.name, c.name, type_of(c.kind)))
    });
    let listed: BTreeSet<String> = listed.collect();
    [stored.difference(&listed).cloned().collect(), listed.difference(&stored).cloned().collect()]
}

async fn holds_everything(place: &Place, sql: &str, type_of: fn(Kind) -> &'static str) {
    let [unknown, gone] = differences(place, sql, type_of).await;
    assert!(
        unknown.is_empty() && gone.is_empty(),
        "in the database and not in transfer/tables.rs: {unknown:#?}; there and not in the database: {gone:#?}"
    );
    let there = names(place, sql).await;
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

#[tokio::test]
async fn a_migration_that_adds_something_is_not_overlooked() {
    let db = Db::sqlite();
    db.sql("ALTER TABLE users ADD COLUMN shoe_size INTEGER; CREATE TABLE shoes (id INTEGER)").await;
    db.sql("ALTER TABLE user_skills DROP COLUMN content").await;
    let [unknown, gone] = differences(&db.place, SQLITE, sqlite_type).await;
    assert_eq!(unknown, ["shoes.id INTEGER", "users.shoe_size INTEGER"]);
    assert_eq!(gone, ["user_skills.content TEXT"]);
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

/// Columns that take certain values only.
fn certain(column: &str, n: u32) -> Option<Value> {
    let text = match column {
        "users.status" => "active",
        "users.role" => "owner",
        "users.login_type" => "password",
        "api_tokens.kind" => "session",
        "ai_providers.source" | "model_configs.source" | "mcp_servers.source" | "templates.source" => "api",
        "mcp_servers.transport" => "sse",
        "mcp_servers.auth_type" => "oauth2",
        "mcp_servers.availability" => "force_on",
        "usage_limits.period" => "week",
        "usage_ledger.kind" | "debug_runs.kind" => "compaction",
        "templates.kind" => "external",
        "workspace_builds.transition" => "start",
        "workspace_builds.status" => "running",
        "workspace_builds.reason" => "autostop",
        "workspace_build_logs.source" => "stderr",
        "chats.status" => "requires_action",
        "chat_messages.role" => "user",
        "chat_messages.visibility" => "both",
        "chat_diff_statuses.pull_request_state" => "merged",
        "chat_acl.role" => "read",
        "debug_runs.status" | "debug_steps.status" => "interrupted",
        "debug_steps.operation" => "generate",
        // What is not exported, in both rows.
        "files.complete" => return Some(Value::Bool(true)),
        "usage_limits.id" => return Some(Value::Int(1)),
        // A row names a user or a group.
        "chat_acl.user_id" if n == 2 => return Some(Value::Null),
        "chat_acl.group_id" if n == 1 => return Some(Value::Null),
        _ => return None,
    };
    Some(Value::Text(text.to_owned()))
}

/// The first row of a table is full; in the second what may be NULL is. All rows of a number have one id, so that
/// each reference has its row.
fn row(table: &Table, n: u32, nullable: &BTreeSet<String>) -> Vec<Value> {
    let of = |column: &super::tables::Column| {
        let name = format!("{}.{}", table.name, column.name);
        if let Some(value) = certain(&name, n) {
            return value;
        }
        // The second row is the child of the first.
        if table.parent == Some(column.name) {
            return if n == 1 { Value::Null } else { Value::Uid(Uuid::from_u128(1)) };
        }
        let reference = name.ends_with("_id") && table.name == "chat_acl";
        if n == 2 && nullable.contains(&name) && !reference {
            return Value::Null;
        }
        match column.kind {
            Kind::Uid => Value::Uid(Uuid::from_u128(u128::from(n))),
            Kind::Text => Value::Text(format!("{name} {n}\n\"\\\u{1F993}\u{2028}\t\u{7f}")),
            Kind::Bool => Value::Bool(n == 1),
            Kind::Int => Value::Int(i64::MAX - 10 + i64::from(n)),
            Kind::Small => Value::Small(i32::MAX - 10 + i32::try_from(n).unwrap()),
            // Microseconds that no float holds, and a year that RFC 3339 does not have.
            Kind::Moment if n == 1 => Value::Moment(Timestamp::from_micros(9_007_199_254_740_993)),
            Kind::Moment => Value::Moment(Timestamp::from_micros(1_000_000_000_000_000_001)),
            Kind::Json => Value::Json(
                Json::parse(format!("{{ \"z\":1.0,\n\"a\" : 1e400, \"a\":[\"\\u0000\\ud83e\"],\"n\":{n}}}"))
                    .unwrap(),
            ),
            Kind::Binary => Value::Binary((0..=255).chain([u8::try_from(n).unwrap()]).collect()),
        }
    };
    table.columns.iter().map(of).collect()
}

fn exported(store: &Store) -> String {
    let mut text = Vec::new();
    store.export(Timestamp::from_micros(0), &mut text).unwrap();
    String::from_utf8(text).unwrap()
}

fn without_header(export: &str) -> &str {
    export.split_once('\n').unwrap().1
}

/// The store for a thread that may block.
async fn blocking<R: Send + 'static>(db: &Db, work: impl FnOnce(Store) -> R + Send + 'static) -> R {
    let store = db.store.clone();
    tokio::task::spawn_blocking(move || work(store)).await.unwrap()
}

#[tokio::test]
async fn every_column_goes_from_either_engine_to_either_and_comes_back() {
    let first = Db::sqlite();
    let nullable = "SELECT m.name || '.' || c.name AS name FROM sqlite_master m, pragma_table_info(m.name) c \
         WHERE m.type = 'table' AND c.pk = 0 AND NOT c.\"notnull\"";
    let nullable = names(&first.place, nullable).await;
    let start = blocking(&first, move |store| {
        let mut link = store.link().unwrap();
        link.begin_writing().unwrap();
        link.run("DELETE FROM usage_limits").unwrap();
        for table in TABLES {
            let rows = if table.name == "usage_limits" { 1..=1 } else { 1..=2 };
            let rows = rows.map(|n| row(table, n, &nullable)).collect();
            link.insert(table, rows).unwrap_or_else(|e| panic!("{}: {e}", table.name));
        }
        link.commit().unwrap();
        exported(&store)
    })
    .await;
    assert_eq!(start.lines().count(), 2 * TABLES.len() - 1 + 2);
    // SQLite to PostgreSQL, to PostgreSQL, to SQLite, to SQLite.
    let mut text = start.clone();
    for target in [Db::postgres().await, Db::postgres().await, Db::sqlite(), Db::sqlite()] {
        let file = text.clone();
        text = blocking(&target, move |store| {
            let source = Source::open(Box::new(Cursor::new(file))).unwrap();
            let imported = store.import(source, || true).unwrap();
            assert_eq!(imported.rows, 2 * TABLES.len() as u64 - 1);
            exported(&store)
        })
        .await;
        assert_eq!(without_header(&text), without_header(&start), "on {}", target.store.engine_name());
        // What is left out is as after a kill.
        let over = "SELECT 'x' AS name FROM workspace_builds WHERE worker_id IS NULL AND lease_until = ";
        let epoch = if target.is_sqlite() { "0" } else { "to_timestamp(0)" };
        assert_eq!(names(&target.place, &format!("{over}{epoch}")).await.len(), 1);
    }
}

#[tokio::test]
async fn whoever_says_no_at_the_end_has_nothing() {
    for (from, to) in [(Db::sqlite(), Db::postgres().await), (Db::postgres().await, Db::sqlite())] {
        let file = blocking(&from, |store| exported(&store)).await;
        blocking(&to, move |store| {
            let source = |text: &str| Source::open(Box::new(Cursor::new(text.to_owned()))).unwrap();
            let before = exported(&store);
            let stopped = store.import(source(&file), || false);
            assert!(matches!(stopped, Err(super::Failure::Stopped)), "{stopped:?}");
            assert_eq!(exported(&store), before);
            store.import(source(&file), || true).unwrap();
            assert_eq!(without_header(&exported(&store)), without_header(&file));
        })
        .await;
    }
}
