//! Migrations: once, twice, at once, backwards, and by an older program.

use super::support::{Db, Place, empty_postgres};
use crate::{
    bus::postgres::connect::Server,
    store::{
        migrate::{self, MigrateError},
        postgres::Runtime,
    },
};
use diesel::{
    Connection, QueryableByName, RunQueryDsl as _, SqliteConnection,
    connection::SimpleConnection,
    sql_types::{Nullable, Text},
};
use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};
use std::{collections::BTreeSet, path::Path, sync::Arc};

#[derive(QueryableByName)]
struct Name {
    #[diesel(sql_type = Text)]
    name: String,
}

#[derive(QueryableByName)]
struct Script {
    #[diesel(sql_type = Nullable<Text>)]
    sql: Option<String>,
}

/// The scripts of one direction as one text: forwards, or backwards from the last.
fn scripts(engine: &str, direction: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(engine);
    let mut folders: Vec<_> = std::fs::read_dir(root).unwrap().map(|e| e.unwrap().path()).collect();
    folders.sort();
    if direction == "down" {
        folders.reverse();
    }
    let read = |folder: &std::path::PathBuf| std::fs::read_to_string(folder.join(format!("{direction}.sql")));
    folders.iter().map(|folder| read(folder).unwrap()).collect::<Vec<_>>().join("\n")
}

/// How many migrations there are.
fn migrations() -> usize {
    std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations/sqlite")).unwrap().count()
}

fn sqlite(path: &Path) -> SqliteConnection {
    SqliteConnection::establish(path.to_str().unwrap()).unwrap()
}

fn sqlite_schema(path: &Path) -> Vec<Option<String>> {
    let rows: Vec<Script> = diesel::sql_query("SELECT sql FROM sqlite_master ORDER BY type, name")
        .load(&mut sqlite(path))
        .unwrap();
    rows.into_iter().map(|r| r.sql).collect()
}

/// What both engines have: search is each engine's own.
fn sqlite_columns(path: &Path) -> BTreeSet<String> {
    let rows: Vec<Name> = diesel::sql_query(
        "SELECT m.name || '.' || c.name || ' ' || (c.\"notnull\" OR c.pk > 0) AS name \
         FROM sqlite_master m, pragma_table_info(m.name) c \
         WHERE m.type = 'table' AND m.name NOT LIKE '\\_\\_%' ESCAPE '\\' AND m.name NOT LIKE 'sqlite%' \
         AND m.name NOT LIKE 'chat_search%'",
    )
    .load(&mut sqlite(path))
    .unwrap();
    rows.into_iter().map(|r| r.name).collect()
}

async fn postgres_names(url: &str, query: &str) -> BTreeSet<String> {
    let mut conn = AsyncPgConnection::establish(url).await.unwrap();
    let rows: Vec<Name> = diesel_async::RunQueryDsl::load(diesel::sql_query(query), &mut conn).await.unwrap();
    rows.into_iter().map(|r| r.name).collect()
}

const PG_COLUMNS: &str = "SELECT table_name || '.' || column_name || ' ' || \
     (is_nullable = 'NO')::int AS name FROM information_schema.columns \
     WHERE table_schema = 'public' AND table_name NOT LIKE '\\_\\_%' \
     AND table_name <> 'chat_search'";
const PG_INDEXES: &str = "SELECT indexdef AS name FROM pg_indexes WHERE schemaname = 'public'";

#[test]
fn sqlite_is_migrated_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let look = migrate::sqlite(&path, false).unwrap();
    assert_eq!((look.applied.len(), look.pending.len()), (0, migrations()));
    assert!(!path.exists(), "a look makes no file");
    // Nor does it change one: neither its table nor its way to keep a log.
    sqlite(&path).batch_execute("CREATE TABLE foreign_to_us (a)").unwrap();
    let before = std::fs::read(&path).unwrap();
    assert_eq!(migrate::sqlite(&path, false).unwrap(), look);
    assert_eq!(std::fs::read(&path).unwrap(), before);
    std::fs::remove_file(&path).unwrap();
    let first = migrate::sqlite(&path, true).unwrap();
    assert_eq!((first.applied.len(), first.pending.len(), first.unknown.len()), (migrations(), 0, 0));
    let schema = sqlite_schema(&path);
    assert_eq!(migrate::sqlite(&path, true).unwrap(), first);
    assert_eq!(migrate::sqlite(&path, false).unwrap(), first);
    assert_eq!(sqlite_schema(&path), schema);
    let mut conn = sqlite(&path);
    conn.batch_execute(&scripts("sqlite", "down")).unwrap();
    assert_eq!(sqlite_columns(&path).len(), 0);
    conn.batch_execute(&scripts("sqlite", "up")).unwrap();
    assert_eq!(sqlite_schema(&path), schema);
    conn.batch_execute("INSERT INTO __diesel_schema_migrations (version) VALUES ('9999')").unwrap();
    let e = migrate::sqlite(&path, true).unwrap_err();
    assert!(matches!(e, MigrateError::Newer(ref v) if v == "9999"), "{e}");
}

#[test]
fn two_processes_migrate_one_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let barrier = std::sync::Barrier::new(4);
    std::thread::scope(|s| {
        for _ in 0..4 {
            s.spawn(|| {
                barrier.wait();
                assert_eq!(migrate::sqlite(&path, true).unwrap().applied.len(), migrations());
            });
        }
    });
}

#[tokio::test]
async fn postgres_is_migrated_once() {
    let Place::Postgres { url, runtime } = empty_postgres().await else { unreachable!() };
    // Two replicas at once.
    let other = Arc::new(Runtime::start().unwrap());
    let server = Server::at(&url).unwrap();
    let (a, b) =
        tokio::join!(migrate::postgres(&server, &runtime, true), migrate::postgres(&server, &other, true));
    let first = a.unwrap();
    assert_eq!((first.applied.len(), first.pending.len()), (migrations(), 0));
    assert_eq!(b.unwrap(), first);
    let (columns, indexes) = (postgres_names(&url, PG_COLUMNS).await, postgres_names(&url, PG_INDEXES).await);
    assert_eq!(migrate::postgres(&server, &runtime, true).await.unwrap(), first);
    let mut conn = AsyncPgConnection::establish(&url).await.unwrap();
    conn.batch_execute(&scripts("postgres", "down")).await.unwrap();
    assert!(postgres_names(&url, PG_COLUMNS).await.is_empty());
    conn.batch_execute(&scripts("postgres", "up")).await.unwrap();
    assert_eq!(postgres_names(&url, PG_COLUMNS).await, columns);
    assert_eq!(postgres_names(&url, PG_INDEXES).await, indexes);
    conn.batch_execute("INSERT INTO __diesel_schema_migrations (version) VALUES ('9999')").await.unwrap();
    assert!(matches!(migrate::postgres(&server, &runtime, false).await, Err(MigrateError::Newer(_))));
}

#[tokio::test]
async fn both_engines_have_the_same_tables() {
    let (a, b) = (Db::sqlite(), Db::postgres().await);
    let (Place::Sqlite { path, .. }, Place::Postgres { url, .. }) = (&a.place, &b.place) else {
        unreachable!()
    };
    assert_eq!(sqlite_columns(path), postgres_names(url, PG_COLUMNS).await);
}

#[test]
fn those_who_were_there_before_keep_their_rights() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    migrate::sqlite(&path, true).unwrap();
    let mut conn = sqlite(&path);
    let undo = include_str!("../../../migrations/sqlite/0002_people/down.sql");
    let redo = include_str!("../../../migrations/sqlite/0002_people/up.sql");
    conn.batch_execute(undo).unwrap();
    conn.batch_execute(
        "INSERT INTO users (id, username, name, email, is_admin, status, created_at, updated_at) VALUES \
         (x'01', 'a', 'A', 'A@x', 1, 'active', 1, 1), (x'02', 'b', 'B', 'a@x', 0, 'active', 1, 1), \
         (x'03', 'c', 'C', 'c@x', 0, 'suspended', 1, 1)",
    )
    .unwrap();
    conn.batch_execute(redo).unwrap();
    let rows: Vec<Name> = diesel::sql_query(
        "SELECT username || ' ' || role || ' ' || login_type || ' ' || coalesce(login_email, '-') AS name \
         FROM users ORDER BY id",
    )
    .load(&mut conn)
    .unwrap();
    let rows: Vec<_> = rows.into_iter().map(|r| r.name).collect();
    assert_eq!(rows, ["a owner token a@x", "b member token -", "c member token c@x"]);
}
