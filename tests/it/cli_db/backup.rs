//! `chatd backup`, beside a daemon that works.

use crate::support::{Engine, daemon::DaemonProcess, fake_model::says, outside::chatd, run};
use std::os::unix::fs::PermissionsExt as _;

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
