//! `token` and `user`, on a fresh database and beside a daemon.

use crate::support::{Engine, both, outside::chatd, run};

#[test]
fn what_needs_a_database_makes_none() {
    run(Engine::Sqlite, "no_accounts", |h| async move {
        for args in [
            &["token", "list"][..],
            &["token", "list", "--user", "bob"],
            &["token", "revoke", "abc"],
            &["user", "list"],
            &["user", "suspend", "bob"],
            &["user", "login-link", "bob"],
            &["workspace", "list"],
            &["workspace", "stop", "bob/dev"],
            &["keys", "list"],
            &["keys", "rotate"],
            &["export", "all.jsonl"],
        ] {
            let ran = chatd(h.folder(), &[args, &["--data-dir", "nothing"]].concat()).await;
            assert_eq!((ran.status, ran.out.as_str()), (69, ""), "{args:?}: {ran:?}");
            assert!(ran.err.contains("there is no database") && ran.err.contains("data_dir"), "{ran:?}");
            assert!(!h.folder().join("nothing").exists(), "{args:?} has made a database");
        }
    });
}

both! {
    async fn accounts_can_be_made_before_the_first_start(h: Harness) {
        let config = h.folder().join("a.toml");
        let text = format!("data_dir = \"a\"\n[database]\nurl = \"{}\"\n", h.database_url);
        std::fs::write(&config, text).unwrap();
        let config = config.to_str().unwrap().to_owned();
        let run = async |args: &[&str]| chatd(h.folder(), &[args, &["--config", &config]].concat()).await;

        let made = run(&["migrate"]).await;
        assert_eq!(made.status, 0, "{made:?}");
        let none = run(&["user", "list", "--json"]).await;
        assert_eq!((none.status, none.out.trim()), (0, "[]"), "{}", none.err);
        let bob = run(&["user", "create", "bob", "--email", "bob@example.org"]).await;
        assert_eq!(bob.status, 0, "{bob:?}");
        let again = run(&["user", "create", "bob"]).await;
        assert_eq!((again.status, again.out.as_str()), (1, ""), "{again:?}");
        assert!(again.err.contains("exists already"), "{again:?}");
        let token = run(&["token", "create", "--user", "root", "--admin"]).await;
        assert_eq!(token.status, 0, "{token:?}");
        assert_eq!(token.out.lines().count(), 1, "the token alone: {}", token.out);
        assert!(!token.err.contains(token.out.trim()));
        let refused = run(&["token", "create", "--user", "bob", "--admin"]).await;
        assert_eq!((refused.status, refused.out.as_str()), (1, ""), "{refused:?}");
        let missing = run(&["user", "suspend", "nobody"]).await;
        assert_eq!(missing.status, 1, "{missing:?}");
        let users = run(&["user", "list", "--json"]).await;
        let users: serde_json::Value = serde_json::from_str(&users.out).unwrap();
        let named = |name: &str| users.as_array().unwrap().iter().find(|u| u["username"] == name).unwrap().clone();
        assert_eq!(named("bob")["email"], "bob@example.org");
        assert_eq!((&named("bob")["admin"], &named("root")["admin"]), (&false.into(), &true.into()));
    }

    async fn users_are_administered_on_the_machine(h: Harness) {
        let daemon = h.daemon().await;
        let run = async |args: &[&str]| daemon.command(args).await;
        let with = async |args: &[&str], input: &str| daemon.command_with_input(args, input).await;
        // Wrong usage.
        for args in [
            &["user", "create", "bob", "--email", "nowhere"][..],
            &["user", "create", "bob", "--admin", "--role", "owner"],
            &["user", "create", "bob", "--role", "king"],
            &["user", "role", "admin"],
            &["user", "login-link"],
        ] {
            let ran = run(args).await;
            assert_eq!((ran.status, ran.out.as_str()), (2, ""), "{args:?}: {ran:?}");
        }
        let short = with(&["user", "create", "bob", "--password-stdin"], "short\n").await;
        assert_eq!(short.status, 2, "{short:?}");
        assert!(short.err.contains("8 characters") && !short.err.contains("short"), "{short:?}");
        let made = with(&["user", "create", "bob", "--display-name", "Bob B", "--no-agents-access", "--password-stdin"], "a long password\n").await;
        assert_eq!((made.status, made.out.lines().count()), (0, 1), "{made:?}");
        let same = run(&["user", "create", "bobby", "--email", "BOB@localhost"]).await;
        assert_eq!(same.status, 1, "{same:?}");
        assert!(same.err.contains("--email"), "{same:?}");
        let users = async || -> serde_json::Value { serde_json::from_str(&run(&["user", "list", "--json"]).await.out).unwrap() };
        let bob = users().await.as_array().unwrap().iter().find(|u| u["username"] == "bob").unwrap().clone();
        for (key, value) in [("name", "Bob B"), ("role", "member"), ("login_type", "password"), ("status", "active")] {
            assert_eq!(bob[key], value, "{bob}");
        }
        // The last owner stays; with another one it may go.
        for args in [&["user", "suspend", "admin"][..], &["user", "role", "admin", "member"], &["user", "delete", "admin"]] {
            let ran = run(args).await;
            assert_eq!(ran.status, 1, "{args:?}: {ran:?}");
            assert!(ran.err.starts_with("chatd: The last active owner"), "{ran:?}");
        }
        assert_eq!(run(&["user", "role", "bob", "owner"]).await.status, 0);
        assert_eq!(run(&["user", "role", "admin", "member"]).await.status, 0);
        assert_eq!(run(&["user", "suspend", "admin"]).await.status, 0);
        let link = run(&["user", "login-link", "admin"]).await;
        assert_eq!((link.status, link.out.as_str()), (1, ""), "{link:?}");
        assert!(link.err.contains("user activate"), "{link:?}");
        assert_eq!(run(&["user", "activate", "admin"]).await.status, 0);
        assert_eq!(run(&["user", "delete", "admin"]).await.status, 0);
        assert_eq!(run(&["user", "delete", "admin"]).await.status, 1);
        assert_eq!(users().await.as_array().unwrap().len(), 1);
        let token = run(&["token", "create", "--user", "bob", "--name", "laptop"]).await;
        assert_eq!(token.status, 0, "{token:?}");
        let listed = run(&["token", "list", "--user", "bob", "--json"]).await;
        let listed: serde_json::Value = serde_json::from_str(&listed.out).unwrap();
        assert_eq!((&listed[0]["name"], &listed[0]["kind"]), (&"laptop".into(), &"token".into()));
        assert_eq!(run(&["token", "list", "--user", "nobody"]).await.status, 1);
    }

    async fn accounts_can_be_made_beside_a_daemon(h: Harness) {
        let daemon = h.daemon().await;
        let token = daemon.token_for("carol", &["--ttl", "1h"]).await;
        let carol = daemon.api_as(&token);
        let me = carol.get("/api/v2/users/me").await.json(200);
        assert_eq!((me["username"].as_str(), me["status"].as_str()), (Some("carol"), Some("active")));
        carol.organization().await;
        let listed = daemon.command(&["token", "list"]).await;
        let line = listed.out.lines().find(|line| line.contains("carol")).expect("a line about her");
        assert!(!line.contains("never") && !listed.out.contains(&token), "{}", listed.out);
        let listed = daemon.command(&["user", "list"]).await;
        assert!(listed.out.contains("admin") && listed.out.contains("carol"), "{}", listed.out);
        assert_eq!(daemon.command(&["migrate", "--status"]).await.status, 0);
    }
}
