//! `chatd backup`, beside a daemon that works.

use crate::support::{
    Engine,
    daemon::DaemonProcess,
    fake_model::says,
    outside::{chatd, eventually},
    run,
};
use diesel::{Connection as _, SqliteConnection, connection::SimpleConnection as _};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{os::unix::fs::PermissionsExt as _, process::Stdio};
use tokio::process::Command;

#[test]
fn a_copy_made_beside_the_daemon_is_a_database_of_its_own() {
    run(Engine::Sqlite, "backup", |h| async move {
        h.model.push([says("Kept.")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = api.create_chat("Keep this").await;
        let id = chat["id"].as_str().unwrap();
        let mut stream = api.stream(id, None).await;
        assert_eq!(stream.settled().await.texts("assistant"), ["Kept."]);

        let home = h.folder().join("copy");
        std::fs::create_dir_all(home.join("data")).unwrap();
        let file = home.join("data/chatd.db");
        let ran = daemon.command(&["backup", file.to_str().unwrap()]).await;
        assert_eq!((ran.status, ran.out.as_str()), (0, ""), "{ran:?}");
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let again = daemon.command(&["backup", file.to_str().unwrap()]).await;
        assert_eq!(again.status, 1, "{again:?}");
        assert!(again.err.contains("exists already"), "{again:?}");
        // The daemon has noticed nothing, and the copy serves the same chat to the same caller.
        api.get(&format!("/chats/{id}")).await.json(200);
        let mut copy = DaemonProcess::start(&home, toml::Table::new(), &h.log).await;
        let there = api.at(copy.url());
        let messages = there.get(&format!("/chats/{id}/messages")).await.json(200);
        let roles: Vec<_> = messages["messages"].as_array().unwrap().iter().map(|m| &m["role"]).collect();
        assert_eq!(roles, ["assistant", "user"]);
        copy.stop().await;
    });
}

#[test]
fn the_file_of_a_daemon_that_was_stopped_is_whole_without_its_log() {
    run(Engine::Sqlite, "cold_copy", |h| async move {
        h.model.push([says("Kept.")]);
        let mut daemon = h.daemon().await;
        let api = daemon.api();
        let id = api.create_chat("Keep this").await["id"].as_str().unwrap().to_owned();
        let mut stream = api.stream(&id, None).await;
        stream.settled().await;
        daemon.stop().await;
        // A log that is left would be read into whatever file is put in its place.
        let log = daemon.data_dir().join("chatd.db-wal");
        assert_eq!(std::fs::metadata(log).map_or(0, |m| m.len()), 0);
        let home = h.folder().join("copy");
        std::fs::create_dir_all(home.join("data")).unwrap();
        std::fs::copy(daemon.data_dir().join("chatd.db"), home.join("data/chatd.db")).unwrap();
        let mut copy = DaemonProcess::start(&home, toml::Table::new(), &h.log).await;
        let there = api.at(copy.url());
        assert_eq!(there.history(&id).await.len(), 2);
        copy.stop().await;
    });
}

#[test]
fn a_signal_leaves_no_half_copy() {
    run(Engine::Sqlite, "backup_signal", |h| async move {
        let mut daemon = h.daemon().await;
        daemon.stop().await;
        let database = daemon.data_dir().join("chatd.db");
        // Somebody who lets nobody read: the copy has begun, and waits.
        let mut holder = SqliteConnection::establish(database.to_str().unwrap()).unwrap();
        holder.batch_execute("PRAGMA locking_mode = EXCLUSIVE; CREATE TABLE held (x)").unwrap();
        let folder = h.folder().join("copies");
        std::fs::create_dir_all(&folder).unwrap();
        for (signal, status) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
            let mut backup = Command::new(env!("CARGO_BIN_EXE_chatd"));
            backup.arg("backup").arg(folder.join("copy.db")).arg("--config").arg(daemon.config_file());
            let mut backup = backup.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            let names = || -> Vec<String> {
                let entries = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap());
                entries.map(|entry| entry.file_name().into_string().unwrap()).collect()
            };
            eventually("the copy has begun", async || {
                names().iter().any(|n| n.ends_with(".part")).then_some(())
            })
            .await;
            kill(Pid::from_raw(i32::try_from(backup.id().unwrap()).unwrap()), signal).unwrap();
            assert_eq!(backup.wait().await.unwrap().code(), Some(status));
            assert_eq!(names(), Vec::<String>::new());
        }
    });
}

#[test]
fn only_a_database_that_is_there_and_embedded_is_copied() {
    run(Engine::Sqlite, "no_backup", |h| async move {
        let none = chatd(h.folder(), &["backup", "copy.db", "--data-dir", "nothing"]).await;
        assert_eq!(none.status, 69, "{none:?}");
        let url = "postgres://u:canary-password@127.0.0.1:1/db";
        let other = chatd(h.folder(), &["backup", "copy.db", "--database-url", url]).await;
        assert_eq!(other.status, 2, "{other:?}");
        assert!(other.err.contains("pg_dump") && !other.err.contains("canary"), "{other:?}");
        assert!(!h.folder().join("copy.db").exists() && !h.folder().join("nothing").exists());
    });
}
