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
use std::{
    path::Path,
    sync::{Arc, Mutex, mpsc},
};

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
    let begun = std::time::Instant::now();
    let waiting =
        join_all((0..20).map(|i| chat.attempt(Commit::new(chat.id, send(&i.to_string()), NOW)))).await;
    assert!(waiting.iter().all(|o| matches!(o, Err(Error::Overloaded))), "{waiting:?}");
    // One waits for the file, at most once again for those who came too late for it.
    assert!(begun.elapsed() < std::time::Duration::from_secs(14), "{:?}", begun.elapsed());
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

/// Some errors (of the disk; here a statement) make SQLite end a read transaction by itself.
#[tokio::test]
async fn a_reader_whose_transaction_ended_by_itself_goes_on() {
    let db = Db::sqlite();
    let Place::Sqlite { path, .. } = &db.place else { unreachable!() };
    let store = crate::store::sqlite::SqliteStore::open(path, false).unwrap();
    let read = |statement: &'static str| {
        store.snapshot(move |conn| {
            crate::store::sqlite::now(async {
                diesel_async::RunQueryDsl::execute(diesel::sql_query(statement), conn).await?;
                if statement == "ROLLBACK" { Err(Error::NotFound) } else { Ok(()) }
            })
        })
    };
    // As often as there are readers, and more.
    for _ in 0..4 {
        assert!(matches!(read("ROLLBACK").await, Err(Error::NotFound)));
        read("SELECT 1").await.unwrap();
    }
}

/// What is read again under a lock must be the newest, whatever the default of the server is.
#[tokio::test]
async fn transactions_do_not_depend_on_the_default_isolation() {
    let db = Db::postgres().await;
    let chat = Driven::new(&db).await;
    for level in ["serializable", "repeatable read"] {
        db.sql(&format!(
            "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_isolation = %L', \
             current_database(), '{level}'); END $$"
        ))
        .await;
        let peer = db.peer();
        let step = |i| Commit::new(chat.id, Command::CommitStep(vec![said(&format!("{level} {i}"))]), NOW);
        let outcomes = join_all((0..24).map(|i| peer.commit(step(i)))).await;
        assert!(outcomes.iter().all(Result::is_ok), "{level}: {outcomes:?}");
    }
    assert_eq!(chat.history().await.len(), 49);
}

/// A wire to a server. What has been connected over it when it freezes stays silent for ever, and open.
async fn wire(socket: std::path::PathBuf) -> (u16, tokio::sync::watch::Sender<bool>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let frozen = tokio::sync::watch::Sender::new(false);
    let state = frozen.clone();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let (mut state, socket) = (state.subscribe(), socket.clone());
            tokio::spawn(async move {
                let mut far = tokio::net::UnixStream::connect(socket).await.unwrap();
                let freezes = async { drop(state.wait_for(|frozen| *frozen).await) };
                tokio::select! {
                    biased;
                    () = freezes => {}
                    _ = tokio::io::copy_bidirectional(&mut near, &mut far) => return,
                }
                // Both ends stay open.
                std::future::pending::<()>().await;
            });
        }
    });
    (port, frozen)
}

/// Connections that went silent, as behind a firewall that forgot them, are given up and replaced.
#[tokio::test]
async fn a_connection_that_gives_no_answer_is_given_up() {
    let db = Db::postgres().await;
    let chat = Driven::new(&db).await;
    let Place::Postgres { url, runtime } = &db.place else { unreachable!() };
    let (name, query) = url.trim_start_matches("postgres:///").split_once('?').unwrap();
    let folder = query.split('&').find_map(|pair| pair.strip_prefix("host=")).unwrap();
    let (port, frozen) = wire(Path::new(folder).join(".s.PGSQL.5432")).await;
    let server = Server::at(&format!("postgres://chatd@127.0.0.1:{port}/{name}?sslmode=disable")).unwrap();
    let engine = crate::store::postgres::PgStore::open(&server, 2, Arc::clone(runtime)).unwrap();
    let engine = engine.answering_within(std::time::Duration::from_millis(500));
    let store = crate::store::Store::postgres(engine, Bus::local());
    let beat = || store.beat(chat.owner.worker, vec![(chat.id, chat.owner.runner)], NOW);
    for round in 0..3 {
        store.commit(Commit::new(chat.id, send(&format!("before {round}")), NOW)).await.unwrap();
        beat().await.unwrap();
        frozen.send_replace(true);
        let read = store.chat(chat.id).await;
        assert!(matches!(read, Err(Error::Silent)), "{read:?}");
        let beaten = beat().await;
        assert!(matches!(beaten, Err(Error::Silent)), "{beaten:?}");
        frozen.send_replace(false);
        beat().await.unwrap();
        fresh(store.commit(Commit::new(chat.id, send(&format!("after {round}")), NOW)).await.unwrap());
    }
    assert_eq!(chat.queue().await.len(), 6);
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
