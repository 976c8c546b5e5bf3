//! What is under way: at the source when it is exported, and beside an import.

use super::{Engine, Target, large::grown};
use crate::{
    support::{Harness, fake_model::says, outside::eventually, run, turns::id},
    workspaces::{create, has_status},
};
use diesel::{Connection as _, SqliteConnection, connection::SimpleConnection as _};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;
use tokio::{io::AsyncWriteExt as _, process::Child};

/// The database of a test on PostgreSQL as a target.
fn own(h: &Harness) -> Target {
    let home = h.folder().join("own");
    std::fs::create_dir_all(&home).expect("make a folder");
    Target { home, config: h.config(), database: None }
}

fn send(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id().expect("it runs")).expect("a process id");
    kill(Pid::from_raw(pid), signal).expect("signal a child");
}

#[test]
fn a_build_that_ran_is_ended_by_the_target() {
    run(Engine::Sqlite, "build_moved", |h| async move {
        h.configure("[[templates]]\nname = \"host\"\nkind = \"command\"\nstart = \"touch begun; sleep 300\"\nstop = \"true\"");
        let mut daemon = h.daemon().await;
        let api = daemon.api();
        let workspace = create(&api, "dev", "host").await;
        let begun = daemon.data_dir().join("begun");
        eventually("the command", async || begun.exists().then_some(())).await;
        let export = daemon.command(&["export", "-"]).await;
        assert_eq!(export.status, 0, "{export:?}");
        daemon.stop().await;
        for engine in super::ENGINES {
            let target = Target::new(&h, engine, "build").await;
            let done = target.run(&["import", "-"], &export.out).await;
            assert_eq!(done.status, 0, "{done:?}");
            let mut there = target.daemon(&h).await;
            let failed = has_status(&api.at(there.url()), &workspace, "failed").await;
            let error = failed["latest_build"]["error"].as_str().unwrap_or_default();
            assert!(error.contains("Build again"), "{failed}");
            there.stop().await;
            target.remove().await;
        }
    });
}

#[test]
fn a_daemon_that_starts_beside_an_import_waits_for_it() {
    run(Engine::Postgres, "import_beside", |h| async move {
        h.model.push([says("Kept.")]);
        let source = Target::new(&h, Engine::Sqlite, "source").await;
        let mut daemon = source.daemon(&h).await;
        let api = daemon.api();
        let chat = id(&api.create_chat("Keep this").await);
        api.stream(&chat, None).await.answered(1).await;
        daemon.stop().await;
        let export = source.exported().await;
        let (beginning, last) = export.trim_end().rsplit_once('\n').expect("lines");
        let target = own(&h);
        // Migrations lock the same tables, and must not be taken for the import.
        let migrated = target.run(&["migrate"], "").await;
        assert_eq!(migrated.status, 0, "{migrated:?}");
        let mut importing = target.importing();
        let mut stdin = importing.stdin.take().unwrap();
        stdin.write_all(beginning.as_bytes()).await.unwrap();
        let waits = "SELECT count(*) AS n FROM pg_locks WHERE locktype = 'advisory' AND NOT granted \
             AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
        eventually("the import has begun", async || {
            let begun = "SELECT count(*) AS n FROM pg_locks l JOIN pg_class c ON c.oid = l.relation \
                 WHERE c.relname = 'chats' AND l.mode = 'ShareRowExclusiveLock' AND l.granted \
                 AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())";
            (h.number(&daemon, begun).await == 1).then_some(())
        })
        .await;
        let end = async {
            eventually("the daemon waits", async || (h.number(&daemon, waits).await == 1).then_some(()))
                .await;
            stdin.write_all(format!("\n{last}\n").as_bytes()).await.unwrap();
            drop(stdin);
            assert_eq!(importing.wait().await.unwrap().code(), Some(0));
        };
        let (mut there, ()) = tokio::join!(target.daemon(&h), end);
        // It has found what was imported, and made no first user of its own.
        let api = api.at(there.url());
        assert_eq!(api.history(&chat).await.len(), 2);
        assert_eq!(api.get("/api/v2/users").await.json(200)["count"], json!(1));
        assert!(!there.data_dir().join("token").exists());
        there.stop().await;
    });
}

#[test]
fn a_signal_leaves_no_half_export_and_no_half_import() {
    run(Engine::Sqlite, "transfer_signal", |h| async move {
        h.model.push([says("Kept.")]);
        let mut daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("Keep this").await);
        api.stream(&chat, None).await.answered(1).await;
        daemon.stop().await;
        let export = grown(&daemon.command(&["export", "-"]).await.out, 20);
        let (beginning, last) = export.trim_end().rsplit_once('\n').expect("lines");
        let target = Target::new(&h, Engine::Sqlite, "stopped").await;
        for (signal, status) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
            let mut importing = target.importing();
            // Held open: at its end the import would end by itself. What fits into the pipe may wait there;
            // everything before it was entered.
            let mut stdin = importing.stdin.take().unwrap();
            stdin.write_all(beginning.as_bytes()).await.unwrap();
            send(&importing, signal);
            assert_eq!(importing.wait().await.unwrap().code(), Some(status));
            drop(stdin);
        }
        let done = target.run(&["import", "-"], &format!("{beginning}\n{last}\n")).await;
        assert_eq!(done.status, 0, "{done:?}");

        // Somebody who lets nobody read: the export has begun, and waits.
        let file = target.home.join("data/chatd.db");
        let mut holder = SqliteConnection::establish(file.to_str().unwrap()).unwrap();
        holder.batch_execute("PRAGMA locking_mode = EXCLUSIVE; CREATE TABLE held (x)").unwrap();
        let folder = h.folder().join("exports");
        std::fs::create_dir_all(&folder).unwrap();
        let names =
            || std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().file_name()).collect::<Vec<_>>();
        for (signal, status) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
            let path = folder.join("all.jsonl");
            let mut exporting = target.spawn(&["export", path.to_str().unwrap()], |command| command);
            eventually("the export has begun", async || (names().len() == 1).then_some(())).await;
            send(&exporting, signal);
            assert_eq!(exporting.wait().await.unwrap().code(), Some(status));
            assert!(names().is_empty(), "{:?}", names());
        }
    });
}
