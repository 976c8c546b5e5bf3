//! The floor of a database: what it takes when a transition is one update and one insert and nothing
//! else, with as many writers as `transitions` has clients.

use crate::Result;
use diesel::{
    Connection as _, ExpressionMethods as _, RunQueryDsl as _, SqliteConnection,
    connection::SimpleConnection as _,
};
use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
};

/// Jobs of one commit, as in chatd's writer.
const GROUP: usize = 128;
/// Connections to PostgreSQL, as chatd has by default.
const POOL: usize = 16;
/// Content of a queued message.
const CONTENT: &str = r#"[{"type":"text","text":"Say fifty words about nothing in particular."}]"#;

diesel::table! {
    floor_chats (id) {
        id -> Integer,
        status -> Text,
        version -> BigInt,
        updated_at -> BigInt,
    }
}

diesel::table! {
    floor_messages (id) {
        id -> BigInt,
        chat_id -> Integer,
        content -> Text,
    }
}

struct Job {
    chat: i32,
    done: oneshot::Sender<()>,
}

/// Transitions a second of one writer thread with group commit: WAL, `synchronous = FULL`, checkpoints
/// when SQLite likes.
pub async fn sqlite(folder: &Path, clients: usize, time: Duration) -> Result<f64> {
    let path = folder.join(format!("floor-{clients}-{}.db", std::process::id()));
    let mut conn = SqliteConnection::establish(&path.display().to_string())?;
    conn.batch_execute(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
         CREATE TABLE floor_chats (id INTEGER PRIMARY KEY, status TEXT NOT NULL, version INTEGER NOT NULL,
             updated_at INTEGER NOT NULL) STRICT;
         CREATE TABLE floor_messages (id INTEGER PRIMARY KEY, chat_id INTEGER NOT NULL, content TEXT NOT NULL)
             STRICT;
         CREATE INDEX floor_messages_page ON floor_messages (chat_id, id);",
    )?;
    for chat in 0..clients {
        let row = (
            floor_chats::id.eq(i32::try_from(chat)?),
            floor_chats::status.eq("running"),
            floor_chats::version.eq(1),
            floor_chats::updated_at.eq(0),
        );
        diesel::insert_into(floor_chats::table).values(row).execute(&mut conn)?;
    }
    let (jobs, queue) = mpsc::channel(GROUP);
    let writer = std::thread::spawn(move || write_loop(&mut conn, queue));
    let clients = (0..clients).map(|chat| {
        let jobs = jobs.clone();
        move |until: Instant| async move {
            let chat = i32::try_from(chat)?;
            let mut count = 0_u64;
            while Instant::now() < until {
                let (done, answer) = oneshot::channel();
                jobs.send(Job { chat, done }).await.map_err(|_| "the writer has ended")?;
                answer.await?;
                count += 1;
            }
            Ok(count)
        }
    });
    let rate = race(clients, time).await?;
    drop(jobs);
    writer.join().map_err(|_| "the writer panicked")??;
    Ok(rate)
}

fn write_loop(conn: &mut SqliteConnection, mut queue: mpsc::Receiver<Job>) -> Result<()> {
    let mut group = Vec::with_capacity(GROUP);
    let mut now = 0_i64;
    while let Some(first) = queue.blocking_recv() {
        conn.batch_execute("BEGIN IMMEDIATE")?;
        let mut next = Some(first);
        while let Some(job) = next.take() {
            now += 1;
            diesel::update(floor_chats::table)
                .filter(floor_chats::id.eq(job.chat))
                .set((floor_chats::version.eq(floor_chats::version + 1), floor_chats::updated_at.eq(now)))
                .execute(conn)?;
            diesel::insert_into(floor_messages::table)
                .values((floor_messages::chat_id.eq(job.chat), floor_messages::content.eq(CONTENT)))
                .execute(conn)?;
            group.push(job.done);
            if group.len() < GROUP {
                next = queue.try_recv().ok();
            }
        }
        conn.batch_execute("COMMIT")?;
        for done in group.drain(..) {
            // A client whose time was up is not there any more.
            let _ = done.send(());
        }
    }
    Ok(())
}

/// Transitions a second of one statement each over a pool of connections.
pub async fn postgres(url: &str, clients: usize, time: Duration) -> Result<f64> {
    let mut drivers = JoinSet::new();
    let (give, take) = mpsc::channel(POOL);
    for n in 0..POOL {
        let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await?;
        drivers.spawn(connection);
        if n == 0 {
            client
                .batch_execute(&format!(
                    "DROP TABLE IF EXISTS floor_chats, floor_messages;
                     CREATE TABLE floor_chats (id int PRIMARY KEY, status text NOT NULL, version bigint NOT NULL,
                         updated_at bigint NOT NULL) WITH (fillfactor = 70);
                     CREATE TABLE floor_messages (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
                         chat_id int NOT NULL, content text NOT NULL);
                     CREATE INDEX floor_messages_page ON floor_messages (chat_id, id);
                     INSERT INTO floor_chats SELECT n, 'running', 1, 0 FROM generate_series(0, {clients} - 1) n;",
                ))
                .await?;
        }
        let statement = client
            .prepare(
                "WITH moved AS (UPDATE floor_chats SET version = version + 1, updated_at = updated_at + 1
                     WHERE id = $1 RETURNING id)
                 INSERT INTO floor_messages (chat_id, content) SELECT id, $2 FROM moved",
            )
            .await?;
        give.send((client, statement)).await?;
    }
    let take = Arc::new(tokio::sync::Mutex::new(take));
    let clients = (0..clients).map(|chat| {
        let (give, take) = (give.clone(), Arc::clone(&take));
        move |until: Instant| async move {
            let chat = i32::try_from(chat)?;
            let mut count = 0_u64;
            while Instant::now() < until {
                let (client, statement) = take.lock().await.recv().await.ok_or("no connection")?;
                client.execute(&statement, &[&chat, &CONTENT]).await?;
                give.send((client, statement)).await?;
                count += 1;
            }
            Ok(count)
        }
    });
    race(clients, time).await
}

/// Runs all clients until the time is up; what they counted, a second.
async fn race<C, F>(clients: impl Iterator<Item = C>, time: Duration) -> Result<f64>
where
    C: FnOnce(Instant) -> F,
    F: Future<Output = Result<u64>> + Send + 'static,
{
    let start = Instant::now();
    let mut running = JoinSet::new();
    for client in clients {
        running.spawn(client(start + time));
    }
    let mut count = 0;
    while let Some(counted) = running.join_next().await {
        count += counted??;
    }
    Ok(count as f64 / start.elapsed().as_secs_f64())
}
