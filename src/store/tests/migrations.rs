//! Migrations: once, twice, at once, backwards, and by an older program.

use super::support::{Db, Place, empty_postgres};
use crate::store::{
    migrate::{self, MigrateError},
    postgres::Runtime,
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

/// The texts of every migration of an engine, in order.
fn scripts(engine: &str, file: &str) -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(engine);
    let mut folders: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    folders.sort();
    folders.iter().map(|f| std::fs::read_to_string(f.join(file)).unwrap()).collect()
}

fn up(engine: &str) -> String {
    scripts(engine, "up.sql").concat()
}

fn down(engine: &str) -> String {
    let mut all = scripts(engine, "down.sql");
    all.reverse();
    all.concat()
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

fn sqlite_columns(path: &Path) -> BTreeSet<String> {
    let rows: Vec<Name> = diesel::sql_query(
        "SELECT m.name || '.' || c.name || ' ' || (c.\"notnull\" OR c.pk > 0) AS name \
         FROM sqlite_master m, pragma_table_info(m.name) c \
         WHERE m.type = 'table' AND m.name NOT LIKE '\\_\\_%' ESCAPE '\\' AND m.name NOT LIKE 'sqlite%'",
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
     WHERE table_schema = 'public' AND table_name NOT LIKE '\\_\\_%'";
const PG_INDEXES: &str = "SELECT indexdef AS name FROM pg_indexes WHERE schemaname = 'public'";

#[test]
fn sqlite_is_migrated_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let look = migrate::sqlite(&path, false).unwrap();
    assert_eq!((look.applied.len(), look.pending.len()), (0, scripts("sqlite", "up.sql").len()));
    let first = migrate::sqlite(&path, true).unwrap();
    assert_eq!((first.applied.len(), first.pending.len(), first.unknown.len()), (look.pending.len(), 0, 0));
    let schema = sqlite_schema(&path);
    assert_eq!(migrate::sqlite(&path, true).unwrap(), first);
    assert_eq!(sqlite_schema(&path), schema);
    let mut conn = sqlite(&path);
    conn.batch_execute(&down("sqlite")).unwrap();
    assert_eq!(sqlite_columns(&path).len(), 0);
    conn.batch_execute(&up("sqlite")).unwrap();
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
                let all = scripts("sqlite", "up.sql").len();
                assert_eq!(migrate::sqlite(&path, true).unwrap().applied.len(), all);
            });
        }
    });
}

#[tokio::test]
async fn postgres_is_migrated_once() {
    let Place::Postgres { url, runtime } = empty_postgres().await else { unreachable!() };
    // Two replicas at once.
    let other = Arc::new(Runtime::start().unwrap());
    let (a, b) = tokio::join!(migrate::postgres(&url, &runtime, true), migrate::postgres(&url, &other, true));
    let first = a.unwrap();
    assert_eq!((first.applied.len(), first.pending.len()), (scripts("postgres", "up.sql").len(), 0));
    assert_eq!(b.unwrap(), first);
    let (columns, indexes) = (postgres_names(&url, PG_COLUMNS).await, postgres_names(&url, PG_INDEXES).await);
    assert_eq!(migrate::postgres(&url, &runtime, true).await.unwrap(), first);
    let mut conn = AsyncPgConnection::establish(&url).await.unwrap();
    conn.batch_execute(&down("postgres")).await.unwrap();
    assert!(postgres_names(&url, PG_COLUMNS).await.is_empty());
    conn.batch_execute(&up("postgres")).await.unwrap();
    assert_eq!(postgres_names(&url, PG_COLUMNS).await, columns);
    assert_eq!(postgres_names(&url, PG_INDEXES).await, indexes);
    conn.batch_execute("INSERT INTO __diesel_schema_migrations (version) VALUES ('9999')").await.unwrap();
    assert!(matches!(migrate::postgres(&url, &runtime, false).await, Err(MigrateError::Newer(_))));
}

#[tokio::test]
async fn both_engines_have_the_same_tables() {
    let (a, b) = (Db::sqlite(), Db::postgres().await);
    let (Place::Sqlite { path, .. }, Place::Postgres { url, .. }) = (&a.place, &b.place) else {
        unreachable!()
    };
    assert_eq!(sqlite_columns(path), postgres_names(url, PG_COLUMNS).await);
}
