//! `token` and `user`, on a fresh database and beside a daemon.

use crate::support::{both, outside::chatd};

both! {
    async fn accounts_can_be_made_before_the_first_start(h: Harness) {
        let config = h.folder().join("a.toml");
        let text = format!("data_dir = \"a\"\n[database]\nurl = \"{}\"\n", h.database_url);
        std::fs::write(&config, text).unwrap();
        let config = config.to_str().unwrap().to_owned();
        let run = async |args: &[&str]| chatd(h.folder(), &[args, &["--config", &config]].concat()).await;

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
