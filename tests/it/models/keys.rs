//! Encryption keys: made at the first start, rotated beside a daemon, and asked for by replicas.

use super::{chat_with, model, provider, somebody};
use crate::support::{Engine, both, fake_model::says, outside::chatd, run};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt as _;

both! {
    async fn keys_are_rotated_beside_a_running_daemon(h: Harness) {
        let mut daemon = h.daemon().await;
        let (admin, ann) = (daemon.api(), somebody(&daemon, "ann").await);
        let file = if h.engine == Engine::Sqlite { daemon.data_dir().join("keys") } else { h.folder().join("keys") };
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let p = provider(&h, &admin, "mine", &["sk-central-0123456789"]).await;
        let m = model(&admin, &p, "m-one").await;
        ann.put("/api/v2/users/me/ai-provider-keys/mine", json!({ "api_key": "sk-ann-0123456789" })).await.json(200);
        let before = std::fs::read_to_string(&file).unwrap();
        let list = async |daemon: &crate::support::daemon::DaemonProcess| -> Value {
            let ran = daemon.command(&["keys", "list", "--json"]).await;
            assert_eq!(ran.status, 0, "{}", ran.err);
            serde_json::from_str(&ran.out).unwrap()
        };
        let old = list(&daemon).await;
        assert_eq!((old.as_array().unwrap().len(), &old[0]["seals"], &old[0]["secrets"]), (1, &json!(true), &json!(2)));
        let rotated = daemon.command(&["keys", "rotate"]).await;
        assert_eq!(rotated.status, 0, "{}", rotated.err);
        assert!(rotated.err.contains("encrypted 2 secrets anew"), "{}", rotated.err);
        let new = list(&daemon).await;
        assert_eq!((new.as_array().unwrap().len(), &new[0]["secrets"]), (1, &json!(2)));
        assert_eq!(new[0]["id"], json!(rotated.out.trim()));
        assert_ne!(new[0]["id"], old[0]["id"]);
        let after = std::fs::read_to_string(&file).unwrap();
        let secret = before.lines().last().unwrap();
        assert!(!after.contains(secret), "the old key is out of the file");
        assert!(!rotated.err.contains(secret) && !rotated.out.contains(secret));
        // The daemon that ran meanwhile can use what is there, and store more.
        h.model.push([says("One."), says("Two."), says("Three.")]);
        h.model.expect_key(Some("sk-ann-0123456789"));
        let chat = chat_with(&ann, &m, "Q1").await;
        let mut stream = ann.stream(&chat, None).await;
        stream.answered(1).await;
        ann.put("/api/v2/users/me/ai-provider-keys/mine", json!({ "api_key": "sk-ann-9876543210" })).await.json(200);
        h.model.expect_key(Some("sk-ann-9876543210"));
        ann.send(&chat, "Q2").await;
        stream.answered(2).await;
        drop(stream);
        let table = daemon.command(&["keys", "list"]).await;
        assert!(table.out.contains("in use") && !table.out.contains("MISSING"), "{}", table.out);
        daemon.kill_9().await;
        daemon.restart().await;
        ann.send(&chat, "Q3").await;
        ann.stream(&chat, None).await.answered(3).await;
    }

    async fn a_rotation_that_is_killed_goes_on(h: Harness) {
        let daemon = h.daemon().await;
        let admin = daemon.api();
        let keys: Vec<String> = (0..50).map(|n| format!("sk-number-0123456789-{n}")).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        for n in 0..20 {
            provider(&h, &admin, &format!("p{n}"), &keys).await;
        }
        let file = if h.engine == Engine::Sqlite { daemon.data_dir().join("keys") } else { h.folder().join("keys") };
        let written = || std::fs::read_to_string(&file).unwrap().lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(written(), 1);
        let mut rotation = tokio::process::Command::new(env!("CARGO_BIN_EXE_chatd"))
            .args(["keys", "rotate", "--config"])
            .arg(daemon.config_file())
            .env_clear()
            .env("HOME", h.folder())
            .kill_on_drop(true)
            .spawn()
            .expect("start chatd");
        // Once the new key is written down, wherever it is then.
        while written() == 1 && rotation.try_wait().expect("ask for the state of a child").is_none() {
            tokio::task::yield_now().await;
        }
        rotation.kill().await.expect("kill a child");
        let again = daemon.command(&["keys", "rotate"]).await;
        assert_eq!(again.status, 0, "{}", again.err);
        let ran = daemon.command(&["keys", "list", "--json"]).await;
        let left: Value = serde_json::from_str(&ran.out).unwrap();
        assert_eq!(left, json!([{ "id": again.out.trim(), "seals": true, "present": true, "secrets": 1000 }]));
        assert_eq!(written(), 1);
        let p = admin.get("/api/v2/ai/providers/p7").await.json(200);
        let m = model(&admin, &p, "m-one").await;
        h.model.push([says("Fine.")]);
        h.model.expect_key(Some("sk-number-0123456789-0"));
        let chat = chat_with(&admin, &m, "Q1").await;
        admin.stream(&chat, None).await.answered(1).await;
    }

    async fn a_daemon_without_its_keys_does_not_start(h: Harness) {
        let mut daemon = h.daemon().await;
        provider(&h, &daemon.api(), "mine", &["sk-central-0123456789"]).await;
        daemon.stop().await;
        let file = if h.engine == Engine::Sqlite { daemon.data_dir().join("keys") } else { h.folder().join("keys") };
        let kept = h.folder().join("kept");
        std::fs::rename(&file, &kept).unwrap();
        let ran = daemon.command(&["serve"]).await;
        assert_eq!(ran.status, 78, "{}", ran.err);
        assert!(ran.err.contains("keys") && ran.err.contains("encryption_key_file"), "{}", ran.err);
        assert!(!file.exists(), "no new key in place of the lost one");
        std::fs::rename(&kept, &file).unwrap();
        daemon.restart().await;
    }
}

#[test]
fn a_replica_without_the_keys_of_the_others_serves_as_long_as_nothing_needs_them() {
    run(Engine::Postgres, "replica_without_keys", |h| async move {
        let first = h.daemon().await;
        let other = h.folder().join("keys-of-another").display().to_string();
        h.configure(&format!("[secrets]\nencryption_key_file = \"{other}\""));
        let mut second = h.daemon().await;
        assert!(h.log.tail().contains("has not the encryption keys of the others"), "{}", h.log.tail());
        assert!(!std::path::Path::new(&other).exists(), "a key that fits nothing was made");
        h.model.push([says("Served.")]);
        let api = second.api_as(&first.token());
        let chat = api.create_chat("Q").await["id"].as_str().unwrap().to_owned();
        api.stream(&chat, None).await.answered(1).await;
        let own = json!({ "type": "anthropic", "name": "own", "base_url": "", "api_keys": ["sk-central-0123456789"] });
        let refused = api.post("/api/v2/ai/providers", own).await.problem(503);
        assert!(refused["detail"].as_str().is_some_and(|d| d.contains("encryption_key_file")), "{refused}");
        second.stop().await;
        provider(&h, &first.api(), "mine", &["sk-central-0123456789"]).await;
        let ran = second.command(&["serve"]).await;
        assert_eq!(ran.status, 78, "{}", ran.err);
        assert!(ran.err.contains("encryption_key_file"), "{}", ran.err);
    });
}

#[test]
fn a_replica_with_other_keys_does_not_start() {
    run(Engine::Postgres, "replica_with_other_keys", |h| async move {
        let first = h.daemon().await;
        provider(&h, &first.api(), "mine", &["sk-central-0123456789"]).await;
        let config = format!(
            "data_dir = \"b\"\n[server]\nlisten = \"127.0.0.1:0\"\n[database]\nurl = \"{}\"\n",
            h.database_url
        );
        std::fs::write(h.folder().join("b.toml"), config).unwrap();
        let file = h.folder().join("b.toml").display().to_string();
        let ran = chatd(h.folder(), &["serve", "--config", &file]).await;
        assert_eq!(ran.status, 78, "{}", ran.err);
        assert!(ran.err.contains("encryption keys of this replica"), "{}", ran.err);
        // Keys from a variable, which is found in .env too: another one is refused, two are tried in turn.
        let generated = chatd(h.folder(), &["keys", "generate"]).await;
        assert_eq!((generated.status, generated.out.lines().count()), (0, 1), "{}", generated.err);
        let config = std::fs::read_to_string(h.folder().join("b.toml")).unwrap()
            + "[secrets]\nencryption_key_env = \"KEYS\"\n";
        std::fs::write(h.folder().join("b.toml"), config).unwrap();
        let unset = chatd(h.folder(), &["config", "check", "--config", &file]).await;
        assert_eq!(unset.status, 78, "{}", unset.err);
        std::fs::write(h.folder().join(".env"), format!("KEYS={}\n", generated.out.trim())).unwrap();
        assert_eq!(chatd(h.folder(), &["serve", "--config", &file]).await.status, 78);
        let right = std::fs::read_to_string(h.folder().join("keys")).unwrap();
        let right = right.lines().last().unwrap();
        std::fs::write(h.folder().join(".env"), format!("KEYS=\"{right} {}\"\n", generated.out.trim()))
            .unwrap();
        let rotated = chatd(h.folder(), &["keys", "rotate", "--config", &file]).await;
        assert_eq!(rotated.status, 0, "{}", rotated.err);
        assert!(rotated.err.contains("take it out of KEYS"), "{}", rotated.err);
        let again = chatd(h.folder(), &["keys", "rotate", "--config", &file]).await;
        assert_eq!(again.status, 78, "{}", again.err);
        assert!(again.err.contains("chatd keys generate"), "{}", again.err);
    });
}

#[test]
fn without_secrets_a_lone_daemon_needs_no_old_keys() {
    run(Engine::Sqlite, "no_secrets", |h| async move {
        let mut daemon = h.daemon().await;
        daemon.stop().await;
        let file = daemon.data_dir().join("keys");
        std::fs::remove_file(&file).unwrap();
        daemon.restart().await;
        assert!(file.exists());
        provider(&h, &daemon.api(), "mine", &["sk-central-0123456789"]).await;
        let listed = daemon.command(&["keys", "list"]).await;
        assert!(listed.out.contains("in use") && !listed.out.contains("MISSING"), "{}", listed.out);
    });
}
