//! Starting: the first time, again, and when it cannot be.

use crate::support::{
    Engine, Harness, both,
    daemon::DaemonProcess,
    outside::{Ran, chatd},
    run,
};
use serde_json::json;
use std::{os::unix::fs::PermissionsExt as _, path::Path};

/// Writes a configuration beside no daemon and returns its path.
fn file(h: &Harness, name: &str, text: &str) -> String {
    let path = h.folder().join(name);
    std::fs::write(&path, text).expect("write a configuration");
    path.to_str().expect("a path of ours").to_owned()
}

fn last_line(ran: &Ran) -> &str {
    let line = ran.err.lines().last().unwrap_or_default();
    assert!(line.starts_with("chatd: "), "{ran:?}");
    line
}

both! {
    async fn a_database_that_is_newer_than_the_program_is_refused(h: Harness) {
        let mut daemon = h.daemon().await;
        daemon.stop().await;
        h.execute(&daemon, "INSERT INTO __diesel_schema_migrations (version) VALUES ('99991231235959')").await;
        for args in [&["serve"][..], &["migrate"], &["migrate", "--status"], &["token", "list"], &["user", "list"]] {
            let ran = daemon.command(args).await;
            if args == ["migrate", "--status"] && ran.status == 0 {
                panic!("the status hides an unknown migration: {ran:?}");
            }
            assert_eq!(ran.status, 78, "{args:?}: {ran:?}");
            assert!(last_line(&ran).contains("99991231235959") && ran.err.contains("newer"), "{ran:?}");
        }
        h.execute(&daemon, "DELETE FROM __diesel_schema_migrations WHERE version = '99991231235959'").await;
        daemon.restart().await;
    }

    async fn a_port_that_is_taken_is_said_so(h: Harness) {
        let daemon = h.daemon().await;
        let listen = daemon.url().strip_prefix("http://").unwrap().to_owned();
        let ran = chatd(h.folder(), &["serve", "--listen", &listen, "--data-dir", "elsewhere"]).await;
        assert_eq!(ran.status, 69, "{ran:?}");
        assert!(last_line(&ran).contains(&listen) && ran.err.contains("server.listen"), "{ran:?}");
        let database = h.folder().join("elsewhere/chatd.db");
        assert!(!database.exists(), "a daemon that cannot listen has made a database");
    }

    async fn migrations_are_shown_and_applied_once(h: Harness) {
        let config = file(&h, "m.toml", &format!("data_dir = \"m\"\n[database]\nurl = \"{}\"\n", h.database_url));
        let before = chatd(h.folder(), &["migrate", "--status", "--config", &config]).await;
        assert_eq!(before.status, 0, "{before:?}");
        assert!(before.out.lines().count() > 0 && before.out.lines().all(|l| l.ends_with(" pending")), "{before:?}");
        assert!(!h.folder().join("m").exists(), "looking has made a folder");
        let migrate = ["migrate", "--config", &config];
        let twice = tokio::join!(chatd(h.folder(), &migrate), chatd(h.folder(), &migrate));
        for ran in [&twice.0, &twice.1] {
            assert_eq!(ran.status, 0, "{ran:?}");
            assert!(ran.out.lines().all(|l| l.ends_with(" applied")), "{ran:?}");
        }
        let after = chatd(h.folder(), &["migrate", "--status", "--config", &config]).await;
        assert_eq!((after.status, after.out.as_str()), (0, twice.0.out.as_str()));
    }

    async fn the_first_start_writes_a_token_and_later_ones_print_no_secret(h: Harness) {
        let mut daemon = h.daemon().await;
        let path = daemon.data_dir().join("token");
        let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{mode:o}");
        assert_eq!(std::fs::metadata(daemon.data_dir()).unwrap().permissions().mode() & 0o077, 0);
        if let Ok(database) = std::fs::metadata(daemon.data_dir().join("chatd.db")) {
            assert_eq!(database.permissions().mode() & 0o077, 0, "others may read the database");
        }
        let token = daemon.token();
        assert!(!h.log.tail().contains(&token), "the first start has printed the token");
        h.log.forbid(&token);
        h.log.forbid(token.split_once('-').unwrap().1);
        daemon.api().get("/api/v2/users/me").await.json(200);
        daemon.stop().await;
        daemon.restart().await;
        assert_eq!(daemon.token(), token, "a later start has made a token");
        daemon.api().get("/api/v2/users/me").await.json(200);
        daemon.stop().await;
    }

    async fn a_first_start_that_was_killed_is_ended_by_the_next_one(h: Harness) {
        let mut daemon = h.daemon().await;
        daemon.stop().await;
        // As it is between the user and the token.
        let token = daemon.data_dir().join("token");
        std::fs::remove_file(&token).unwrap();
        h.execute(&daemon, "DELETE FROM api_tokens").await;
        h.execute(&daemon, "DELETE FROM login_links").await;
        h.execute(&daemon, "UPDATE users SET last_seen_at = NULL").await;
        if h.engine == Engine::Postgres {
            // Another replica may be at it for a minute.
            daemon.restart().await;
            assert!(!token.exists());
            daemon.stop().await;
            h.execute(&daemon, "UPDATE users SET created_at = now() - interval '2 minutes'").await;
        }
        daemon.restart().await;
        assert_eq!(daemon.api().get("/api/v2/users/me").await.json(200)["username"], "admin");
        assert_eq!(h.log.tail().matches("/login/once?token=").count(), 2);
        daemon.stop().await;
    }
}

#[test]
fn a_database_that_cannot_be_reached_is_said_so() {
    run(Engine::Sqlite, "unreachable", |h| async move {
        let url = "postgres://user:canary-password@127.0.0.1:1/db";
        let config = file(
            &h,
            "u.toml",
            &format!("data_dir = \"u\"\n[database]\nurl = \"{url}\"\n[server]\nlisten = \"127.0.0.1:0\"\n"),
        );
        for args in [&["serve"][..], &["migrate"], &["token", "list"], &["user", "create", "bob"]] {
            let ran = chatd(h.folder(), &[args, &["--config", &config]].concat()).await;
            assert_eq!(ran.status, 69, "{args:?}: {ran:?}");
            assert!(last_line(&ran).contains("database.url"), "{ran:?}");
            assert!(!format!("{ran:?}").contains("canary-password"), "{ran:?}");
        }
        // A server that takes the connection and says nothing.
        let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("postgres://user:canary-password@{}/db", mute.local_addr().unwrap());
        let config = file(&h, "mute.toml", &format!("data_dir = \"u\"\n[database]\nurl = \"{url}\"\n"));
        let ran = chatd(h.folder(), &["migrate", "--config", &config]).await;
        assert_eq!(ran.status, 69, "{ran:?}");
        assert!(last_line(&ran).contains("no answer"), "{ran:?}");
        assert!(!format!("{ran:?}").contains("canary-password"), "{ran:?}");
        // A file where the folder should be.
        std::fs::write(h.folder().join("file"), "x").unwrap();
        let ran = chatd(h.folder(), &["migrate", "--data-dir", "file"]).await;
        assert_eq!(ran.status, 69, "{ran:?}");
        let said = last_line(&ran);
        assert!(
            said.contains("data_dir") && !said.contains("running"),
            "no server is to be started: {ran:?}"
        );
    });
}

#[test]
fn wrong_usage_exits_2_and_openapi_is_json() {
    run(Engine::Sqlite, "usage", |h| async move {
        for args in [
            &["token"][..],
            &["token", "create"],
            &["token", "create", "--user", "a", "--ttl", "soon"],
            &["token", "create", "--user", "a", "--ttl", "0s"],
            &["token", "create", "--user", "a", "--ttl", "500000y"],
            &["user", "create", "11111111-1111-4111-8111-111111111111"],
            &["user", "create", "bob", "--email", "nobody"],
            &["backup"],
            &["user", "create", "no spaces"],
            &["user", "create", "me"],
            &["migrate", "--nonsense"],
            &["demo", "--listen", "nowhere"],
        ] {
            let ran = chatd(h.folder(), args).await;
            assert_eq!((ran.status, ran.out.as_str()), (2, ""), "{args:?}: {ran:?}");
        }
        let ran = chatd(h.folder(), &["openapi"]).await;
        assert_eq!(ran.status, 0, "{ran:?}");
        let document: serde_json::Value = serde_json::from_str(&ran.out).expect("JSON");
        assert!(document["openapi"].as_str().is_some_and(|v| v.starts_with("3.")), "{}", document["openapi"]);
        assert!(document["paths"]["/api/experimental/chats/{chat}/messages"]["post"].is_object());
        assert!(!Path::new(&h.folder().join(".local")).exists(), "a command without a database has made one");
    });
}

#[test]
fn a_signal_ends_the_daemon_in_order() {
    run(Engine::Sqlite, "signals", |h| async move {
        use nix::sys::signal::Signal;
        let mut daemon: DaemonProcess = h.daemon().await;
        daemon.signal(Signal::SIGTERM);
        assert_eq!(daemon.wait().await.code(), Some(143));
        daemon.restart().await;
        daemon.signal(Signal::SIGINT);
        assert_eq!(daemon.wait().await.code(), Some(130));
    });
}

/// What a process does by default at a file that may not grow, or a disk that is full in this way, is to end.
#[test]
fn a_file_that_may_not_grow_fails_writes_and_ends_nothing() {
    run(Engine::Sqlite, "may_not_grow", |h| async move {
        for told in ["commit failed", "a group of writes was undone"] {
            h.expect_error(told);
        }
        let daemon = h.daemon().await;
        let api = daemon.api();
        let body = |name: &str| json!({ "content": format!("---\nname: {name}\n---\nx") });
        let limit = |bytes: &str| {
            let pid = daemon.pid().to_string();
            let set = std::process::Command::new("prlimit")
                .args(["--pid", &pid, &format!("--fsize={bytes}:unlimited")])
                .status();
            assert!(set.expect("run prlimit").success());
        };
        api.post("/users/me/skills", body("before")).await.json(201);
        limit("1");
        let refused = api.post("/users/me/skills", body("meanwhile")).await;
        assert!(refused.status >= 500, "{refused:?}");
        assert_eq!(api.get("/users/me/skills").await.json(200).as_array().map(Vec::len), Some(1));
        limit("unlimited");
        api.post("/users/me/skills", body("after")).await.json(201);
    });
}
