//! What only one engine does: the writer thread, the lock file, broken connections.

use super::{
    fixture::*,
    support::{Db, Place},
};
use crate::{
    bus::{self, Bus, Notice, postgres::connect::Server},
    chat::command::Command,
    ids::{ChatId, WorkerId},
    store::{
        Error,
        commit::{Commit, Idempotency},
        sqlite::InstanceLock,
    },
};
use diesel::{Connection, SqliteConnection, connection::SimpleConnection};
use diesel_async::{AsyncConnection as _, SimpleAsyncConnection as _};
use futures_util::future::join_all;
use std::sync::{Arc, Mutex, mpsc};

/// A commit that holds up the writer until told to go on, and says when it has started.
fn blocking(chat: &Driven, fails: bool) -> (Commit, mpsc::Receiver<()>, mpsc::Sender<()>) {
    let (started, has_started) = mpsc::channel();
    let (go, wait) = mpsc::channel();
    let gate = Mutex::new((started, wait));
    let mut c = Commit::new(chat.id, Command::RecordGenerationAttempt, NOW);
    c.idempotency = Some(Idempotency {
        user: chat.person.user,
        key: "block".into(),
        request_hash: vec![],
        render: Arc::new(move |_| {
            let gate = gate.lock().unwrap();
            gate.0.send(()).unwrap();
            let _ = gate.1.recv();
            assert!(!fails, "injected");
            (200, json("{}"))
        }),
    });
    (c, has_started, go)
}

#[tokio::test]
async fn a_full_write_queue_says_overloaded() {
    let db = Db::sqlite();
    let chat = Driven::new(&db).await;
    let (commit, started, go) = blocking(&chat, false);
    let store = chat.store.clone();
    let blocked = tokio::spawn(async move { store.commit(commit).await });
    tokio::task::spawn_blocking(move || started.recv().unwrap()).await.unwrap();
    let worker = WorkerId::fresh();
    let flood = join_all((0..5000).map(|_| chat.store.drop_beats(worker)));
    let release = async {
        tokio::task::yield_now().await;
        go.send(()).unwrap();
    };
    let (outcomes, ()) = tokio::join!(flood, release);
    let refused = outcomes.iter().filter(|o| matches!(o, Err(Error::Overloaded))).count();
    let done = outcomes.iter().filter(|o| o.is_ok()).count();
    assert_eq!((done, refused), (4096, 904));
    fresh(blocked.await.unwrap().unwrap());
    chat.run(send("on it goes")).await;
}

#[tokio::test]
async fn a_panic_fails_its_group_only() {
    let db = Db::sqlite();
    let chat = Driven::new(&db).await;
    let before = chat.store.chat(chat.id).await.unwrap();
    // Both wait in the queue while the writer is held, and so form a group with the panic.
    let (first, started, go) = blocking(&chat, true);
    let (a, b, ()) = tokio::join!(
        chat.store.commit(first),
        chat.store.commit(Commit::new(chat.id, send("same group"), NOW)),
        async {
            tokio::task::spawn_blocking(move || started.recv().unwrap()).await.unwrap();
            go.send(()).unwrap();
        }
    );
    assert!(matches!(a, Err(Error::Unavailable(_))), "{a:?}");
    // The second was in the panicking group or in the one after it.
    assert!(b.is_ok() || matches!(b, Err(Error::Unavailable(_))), "{b:?}");
    let expected = before.head.versions.snapshot + i64::from(b.is_ok());
    assert_eq!(chat.store.chat(chat.id).await.unwrap().head.versions.snapshot, expected);
    chat.run(send("the writer lives")).await;
}

/// Some errors (disk full; here a trigger) make SQLite end the whole transaction by itself. What ran
/// before in the group is gone, and what comes later must not be committed alone and then denied.
#[tokio::test]
async fn an_error_that_ends_the_transaction_fails_the_group() {
    let db = Db::sqlite();
    let chat = Driven::new(&db).await;
    db.sql(
        "CREATE TRIGGER no BEFORE INSERT ON idempotency_keys WHEN NEW.key = 'bad' \
         BEGIN SELECT RAISE(ROLLBACK, 'injected'); END",
    )
    .await;
    let before = chat.store.chat(chat.id).await.unwrap().head.versions.snapshot;
    let (commit, started, go) = blocking(&chat, false);
    let store = chat.store.clone();
    let blocked = tokio::spawn(async move { store.commit(commit).await });
    tokio::task::spawn_blocking(move || started.recv().unwrap()).await.unwrap();
    // All wait while the writer is held, and so belong to its group until that fails.
    let mut bad = Commit::new(chat.id, send("bad"), NOW);
    bad.idempotency = Some(key(chat.person.user, "bad", &[], "{}"));
    let jobs = [Commit::new(chat.id, send("before"), NOW), bad, Commit::new(chat.id, send("after"), NOW)];
    let jobs = join_all(jobs.map(|c| chat.attempt(c)));
    let release = async { go.send(()).unwrap() };
    let (outcomes, ()) = futures_util::join!(jobs, release);
    assert!(matches!(blocked.await.unwrap(), Err(Error::Unavailable(_))));
    assert!(matches!(outcomes[0], Err(Error::Unavailable(_))));
    assert!(matches!(outcomes[1], Err(Error::Unavailable(_))));
    assert!(outcomes[2].is_ok(), "{:?}", outcomes[2]);
    assert_eq!(chat.queue().await, ["after"]);
    assert_eq!(chat.store.chat(chat.id).await.unwrap().head.versions.snapshot, before + 1);
}

#[tokio::test]
async fn a_second_process_writes_to_the_same_file() {
    let db = Db::sqlite();
    let chat = Driven::new(&db).await;
    let peer = db.peer();
    let mine =
        join_all((0..40).map(|i| {
            chat.attempt(Commit::new(chat.id, Command::CommitStep(vec![said(&i.to_string())]), NOW))
        }));
    let theirs = join_all((0..40).map(|i| peer.create_user(new_user(&format!("u{i}")), NOW)));
    let (mine, theirs) = tokio::join!(mine, theirs);
    assert!(mine.iter().all(Result::is_ok), "{mine:?}");
    assert!(theirs.iter().all(Result::is_ok), "{theirs:?}");
    assert_eq!(chat.history().await.len(), 41);
    assert_eq!(peer.list_users().await.unwrap().len(), 41);
}

/// Another process keeps the file: callers hear "overloaded" after the busy timeout, and the writer
/// goes on afterwards.
#[tokio::test]
async fn a_file_that_stays_locked_is_no_lock_error() {
    let db = Db::sqlite();
    let chat = Driven::new(&db).await;
    let Place::Sqlite { path, .. } = &db.place else { unreachable!() };
    let mut other = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    other.batch_execute("BEGIN IMMEDIATE").unwrap();
    let e = chat.refused(send("x")).await;
    assert!(matches!(e, Error::Overloaded), "{e}");
    // Readers do not care.
    assert_eq!(chat.history().await, ["first"]);
    other.batch_execute("ROLLBACK").unwrap();
    chat.run(send("y")).await;
}

#[test]
fn one_daemon_serves_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("chatd.db");
    let lock = InstanceLock::acquire(&path).unwrap();
    assert!(lock.is_some() && InstanceLock::acquire(&path).unwrap().is_none());
    drop(lock);
    assert!(InstanceLock::acquire(&path).unwrap().is_some());
}

#[tokio::test]
async fn readers_cannot_write() {
    let db = Db::sqlite();
    let Place::Sqlite { path, .. } = &db.place else { unreachable!() };
    let store = crate::store::sqlite::SqliteStore::open(path, false).unwrap();
    let e = store
        .read(|conn| {
            crate::store::sqlite::now(async {
                let q = diesel::sql_query("DELETE FROM chats");
                Ok(diesel_async::RunQueryDsl::execute(q, conn).await?)
            })
        })
        .await;
    assert!(e.is_err());
}

#[tokio::test]
async fn closed_connections_are_replaced() {
    let db = Db::postgres().await;
    let chat = Driven::new(&db).await;
    join_all((0..12).map(|_| chat.store.chat(chat.id))).await;
    // Waits until each is gone: one that ends during COMMIT leaves its caller in doubt, rightly.
    let cut = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity \
               WHERE datname = current_database() AND pid <> pg_backend_pid()";
    for i in 0..5 {
        db.sql(cut).await;
        chat.run(send(&i.to_string())).await;
        join_all((0..12).map(|_| chat.store.chat(chat.id))).await;
        db.sql(cut).await;
        chat.store.chat(chat.id).await.unwrap();
        db.sql(cut).await;
        chat.store.turn(chat.id).await.unwrap();
    }
    assert_eq!(chat.queue().await, ["0", "1", "2", "3", "4"]);
}

/// A dropped request does not cancel half a transaction, nor leave a broken connection behind.
#[tokio::test]
async fn a_dropped_caller_detaches_its_work() {
    let db = Db::postgres().await;
    let chat = Driven::new(&db).await;
    let before = chat.store.chat(chat.id).await.unwrap().head.versions.snapshot;
    for i in 0..20 {
        let work =
            chat.store.commit(Commit::new(chat.id, Command::CommitStep(vec![said(&i.to_string())]), NOW));
        let mut work = std::pin::pin!(work);
        // Polled once, so that it runs; then dropped.
        assert!(futures_util::poll!(work.as_mut()).is_pending());
    }
    // The row lock queues this one behind all of them or before some; the versions tell the truth.
    let mut seen = 0;
    while seen < 20 {
        seen =
            usize::try_from(chat.store.chat(chat.id).await.unwrap().head.versions.snapshot - before).unwrap();
    }
    assert_eq!(chat.history().await.len(), 21);
}

/// Hints reach the other replica, a replica ignores its own, and a lost connection is opened again.
#[tokio::test]
async fn hints_travel_between_replicas() {
    let db = Db::postgres().await;
    let Place::Postgres { url, runtime } = &db.place else { unreachable!() };
    let (a, b) = (WorkerId::fresh(), WorkerId::fresh());
    let (sender, hints) = tokio::sync::mpsc::channel(64);
    let (from_a, at_a, at_b) = (Bus::with_remote(sender), Bus::local(), Bus::local());
    let (mut seen_a, mut seen_b) = (at_a.subscribe(), at_b.subscribe());
    let server = Server::at(url).unwrap();
    runtime.handle().spawn(bus::postgres::send(server.clone(), a, hints));
    runtime.handle().spawn(bus::postgres::listen(server.clone(), a, at_a));
    runtime.handle().spawn(bus::postgres::listen(server, b, at_b));
    assert_eq!((seen_a.next().await, seen_b.next().await), (Some(Notice::Resync), Some(Notice::Resync)));
    let hint = |snapshot| Notice::Ownership { chat: ChatId(uuid::Uuid::nil()), snapshot };
    for i in 0..60 {
        from_a.publish(hint(i));
    }
    for i in 0..60 {
        assert_eq!(seen_b.next().await, Some(hint(i)));
    }
    // What b has seen went past a, too; a kept none of it: the next thing it hears is the reconnect.
    db.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE datname = current_database() AND query LIKE 'LISTEN%'",
    )
    .await;
    assert_eq!((seen_a.next().await, seen_b.next().await), (Some(Notice::Resync), Some(Notice::Resync)));
    from_a.publish(hint(1000));
    assert_eq!(seen_b.next().await, Some(hint(1000)));
    // What is sent on a connection that was cut meanwhile goes over another one.
    let cut = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity \
         WHERE datname = current_database() AND query LIKE '%pg_notify%' AND pid <> pg_backend_pid()";
    for i in 2000..2003 {
        db.sql(cut).await;
        from_a.publish(hint(i));
        assert_eq!(seen_b.next().await, Some(hint(i)));
    }
}

/// Every pooled connection waits for a lock; the heartbeats have one of their own.
#[tokio::test]
async fn no_work_can_starve_the_heartbeats() {
    let db = Db::postgres().await;
    let chat = Driven::new(&db).await;
    let Place::Postgres { url, .. } = &db.place else { unreachable!() };
    let mut other = diesel_async::AsyncPgConnection::establish(url).await.unwrap();
    other.batch_execute("BEGIN; LOCK TABLE chat_queued_messages IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let stuck = join_all((0..20).map(|i| chat.attempt(Commit::new(chat.id, send(&i.to_string()), NOW))));
    let beat = async {
        chat.store.beat(chat.owner.worker, vec![(chat.id, chat.owner.runner)], NOW).await.unwrap();
        other.batch_execute("ROLLBACK").await.unwrap();
    };
    let (outcomes, ()) = futures_util::join!(stuck, beat);
    assert!(outcomes.iter().all(Result::is_ok));
}
