//! `chatd doctor`: what it finds, what it says, and that it changes nothing.

use crate::support::{
    Engine, both,
    daemon::DaemonProcess,
    outside::{Ran, chatd},
    run,
    turns::id,
};
use serde_json::Value;
use std::{fs, os::unix::fs::FileExt as _};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinHandle,
};

/// Servers of others on one port: a provider below `/v1` that takes one key, and a tool server at `/mcp` whose answer to a GET
/// is a stream without an end.
struct Others {
    url: String,
    server: JoinHandle<()>,
}

impl Drop for Others {
    fn drop(&mut self) {
        self.server.abort();
    }
}

const KEY: &str = "key-that-is-taken";

fn answer(head: &str) -> String {
    let whole = |status: &str, body: &str| {
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
    };
    let path = head.split(' ').nth(1).unwrap_or_default();
    match path {
        "/v1/models" if head.contains(&format!("authorization: Bearer {KEY}\r\n")) => {
            whole("200 OK", r#"{"data":[{"id":"other"},{"id":"fake-model"}]}"#)
        }
        "/v1/models" => whole("401 Unauthorized", "you sent a wrong key"),
        "/broken/models" => whole("502 Bad Gateway", ""),
        "/plain/models" => whole("404 Not Found", ""),
        "/mcp" => "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n: hello\n".to_owned(),
        _ => whole("404 Not Found", ""),
    }
}

impl Others {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let server = tokio::spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.expect("accept");
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        head.push(socket.read_u8().await.expect("a request"));
                    }
                    let answer = answer(&String::from_utf8(head).expect("a head is text"));
                    socket.write_all(answer.as_bytes()).await.expect("answer");
                    if answer.contains("event-stream") {
                        // Until the other end has had enough.
                        let _ = socket.read_u8().await;
                    }
                });
            }
        });
        Self { url, server }
    }

    /// A provider of the fake model behind a path, with a key.
    fn provider(&self, path: &str, key: &str) -> String {
        let url = &self.url;
        format!(
            "providers = [{{ name = \"fake\", type = \"openai-compatible\", base_url = \"{url}{path}\", api_key = \"{key}\" }}]\n"
        )
    }
}

/// Verdict and detail of each check.
fn found(ran: &Ran) -> Vec<(String, String, String)> {
    let all: Vec<Value> = serde_json::from_str(&ran.out).unwrap_or_else(|e| panic!("{e}: {ran:?}"));
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    all.iter()
        .map(|f| {
            let check = format!("{} {}", text(f, "check"), text(f, "name"));
            (check.trim().to_owned(), text(f, "verdict"), text(f, "detail"))
        })
        .collect()
}

/// The one finding of a check.
fn of(ran: &Ran, check: &str) -> (String, String) {
    let mut all: Vec<_> = found(ran).into_iter().filter(|f| f.0 == check).collect();
    assert_eq!(all.len(), 1, "{check}: {ran:?}");
    let (_, verdict, detail) = all.remove(0);
    (verdict, detail)
}

/// What it says of the database of a daemon that has ended.
async fn of_database(daemon: &DaemonProcess) -> (i32, String) {
    let ran = daemon.command(&["doctor", "--json"]).await;
    let all = found(&ran).into_iter().filter(|f| f.1 == "failed");
    (ran.status, all.map(|f| format!("{}: {}", f.0, f.2)).collect::<Vec<_>>().join("\n"))
}

both! {
    async fn all_is_well_beside_a_daemon_that_works(h: Harness) {
        let others = Others::start().await;
        h.configure(&others.provider("/v1", KEY));
        h.configure(&format!("mcp_servers = [{{ name = \"tools\", url = \"{}/mcp\" }}, {{ name = \"off\", url = \"{0}/mcp\", enabled = false }}]", others.url));
        let daemon = h.daemon().await;
        let listen = daemon.url().trim_start_matches("http://");
        let ran = daemon.command(&["doctor", "--json", "--listen", listen]).await;
        assert_eq!((ran.status, ran.err.as_str()), (0, ""), "{ran:?}");
        let verdicts: Vec<_> = found(&ran).into_iter().map(|f| (f.0, f.1)).collect();
        let expected = [
            ("configuration", "ok"), ("configuration", "warning"), ("configuration", "warning"), ("data_dir", "ok"), ("database", "ok"), ("integrity", "ok"), ("encryption_keys", "ok"),
            ("daemon", "ok"), ("provider fake", "ok"), ("mcp_server tools", "ok"), ("mcp_server off", "skipped"),
        ];
        assert_eq!(verdicts, expected.map(|(check, verdict)| (check.to_owned(), verdict.to_owned())), "{ran:?}");
        assert!(of(&ran, "provider fake").1.contains("2 models"), "{ran:?}");
        // For people, a line each.
        let ran = daemon.command(&["doctor", "--listen", listen]).await;
        assert_eq!((ran.status, ran.out.lines().count()), (0, 11), "{ran:?}");
        assert!(ran.out.contains(&format!("\nok       daemon: runs at {}", daemon.url())), "{ran:?}");
        assert!(ran.out.contains("\nskipped  MCP server off: it is disabled\n"), "{ran:?}");
    }

    async fn what_is_wrong_outside_is_told(h: Harness) {
        let others = Others::start().await;
        h.configure(&others.provider("/v1", KEY));
        let mut daemon = h.daemon().await;
        daemon.stop().await;
        let cases = [
            (others.provider("/v1", "a-wrong-secret"), 1, "failed", "does not take the key (status 401)"),
            (others.provider("/broken", KEY), 0, "warning", "status 502"),
            (others.provider("/plain", KEY), 0, "ok", "its key is not checked"),
            ("providers = [{ name = \"fake\", type = \"openai-compatible\", base_url = \"http://127.0.0.1:1\" }]\n".to_owned(), 1, "failed", "cannot be reached: Connection refused"),
            ("providers = [{ name = \"fake\", type = \"anthropic\" }]\n".to_owned(), 0, "skipped", "users bring theirs"),
            ("providers = [{ name = \"fake\", type = \"anthropic\" }]\n[secrets]\nallow_user_api_keys = false\n".to_owned(), 0, "warning", "no API key"),
            (others.provider("/v1", KEY) + "[[models]]\nname = \"x\"\nprovider = \"fake\"\nmodel = \"gone\"\ncontext_limit = 9000\n", 0, "warning", "but not the configured gone"),
        ];
        for (toml, status, verdict, detail) in cases {
            let mut config = h.config();
            crate::support::daemon::merge(&mut config, toml.parse().expect("TOML"));
            config.insert("data_dir".into(), daemon.data_dir().display().to_string().into());
            let file = h.folder().join("other.toml");
            fs::write(&file, config.to_string()).expect("write a configuration");
            let ran = chatd(h.folder(), &["doctor", "--json", "--config", file.to_str().expect("text")]).await;
            assert_eq!(ran.status, status, "{toml}: {ran:?}");
            let told = of(&ran, "provider fake");
            assert!(told.0 == verdict && told.1.contains(detail), "{toml}: {told:?}");
            assert!(!ran.out.contains("secret\"") && !ran.out.contains(KEY) && !ran.out.contains("a-wrong-secret"), "{ran:?}");
            assert_eq!(of(&ran, "daemon").0, "skipped");
        }
    }

    async fn a_state_that_no_transition_makes_is_told(h: Harness) {
        let others = Others::start().await;
        // Nobody takes it up.
        h.configure(&(others.provider("/v1", KEY) + "[worker]\nenabled = false"));
        let mut daemon = h.daemon().await;
        let chat = id(&daemon.api().create_chat("Q").await);
        daemon.stop().await;
        h.execute(&daemon, "UPDATE chats SET archived = true").await;
        let (status, failed) = of_database(&daemon).await;
        assert_eq!(status, 1, "{failed}");
        assert!(failed.starts_with("integrity: ") && failed.contains(&chat) && failed.contains("reconcile-invalid"), "{failed}");
    }
}

#[test]
fn a_damaged_file_is_told() {
    run(Engine::Sqlite, "doctor_damage", |h| async move {
        let others = Others::start().await;
        // Nobody takes it up.
        h.configure(&(others.provider("/v1", KEY) + "[worker]\nenabled = false"));
        let mut daemon = h.daemon().await;
        daemon.api().create_chat("Q").await;
        daemon.stop().await;
        h.execute(&daemon, "PRAGMA foreign_keys = OFF; DELETE FROM chats; PRAGMA wal_checkpoint(TRUNCATE)")
            .await;
        let (status, failed) = of_database(&daemon).await;
        assert_eq!(status, 1, "{failed}");
        assert!(failed.contains(" rows of chat_messages name a row of chats that is not there"), "{failed}");
        // One that a newer program has migrated.
        let newer = "INSERT INTO __diesel_schema_migrations (version) VALUES ('99991231')";
        h.execute(&daemon, newer).await;
        let (status, failed) = of_database(&daemon).await;
        assert_eq!(status, 78, "{failed}");
        assert!(failed.starts_with("database: ") && failed.contains("newer chatd"), "{failed}");
        h.execute(&daemon, "DELETE FROM __diesel_schema_migrations WHERE version = '99991231'").await;
        // Every page from the middle on.
        let path = daemon.data_dir().join("chatd.db");
        let file = fs::OpenOptions::new().write(true).open(&path).expect("open the file");
        let length = file.metadata().expect("its length").len();
        file.write_all_at(&vec![0x5a; usize::try_from(length / 2).expect("it is small")], length / 2)
            .expect("damage it");
        let before = fs::read(&path).expect("read it");
        let (status, failed) = of_database(&daemon).await;
        assert!(status == 1 || status == 69, "{status}: {failed}");
        assert!(!failed.is_empty());
        assert!(fs::read(&path).expect("read it") == before, "it changes nothing");
    });
}

#[test]
fn a_key_that_is_lost_is_told() {
    run(Engine::Sqlite, "doctor_keys", |h| async move {
        let others = Others::start().await;
        h.configure(&others.provider("/v1", KEY));
        let mut daemon = h.daemon().await;
        daemon.stop().await;
        let keys = daemon.data_dir().join("keys");
        assert!(
            keys.exists(),
            "{:?}",
            fs::read_dir(daemon.data_dir()).map(|all| all.flatten().collect::<Vec<_>>())
        );
        fs::remove_file(keys).expect("lose the keys");
        let (status, failed) = of_database(&daemon).await;
        assert_eq!(status, 1, "{failed}");
        assert!(failed.starts_with("encryption_keys: ") && failed.contains("bring them back"), "{failed}");
    });
}

#[tokio::test]
async fn where_there_is_nothing_yet_nothing_is_made() {
    let home = tempfile::tempdir().expect("make a folder");
    let ran = chatd(home.path(), &["doctor", "--json", "--listen", "127.0.0.1:1"]).await;
    assert_eq!(ran.status, 0, "{ran:?}");
    for check in ["data_dir", "database", "daemon"] {
        assert_eq!(of(&ran, check).0, "skipped", "{ran:?}");
    }
    assert_eq!(
        of(&ran, "provider scripted"),
        ("ok".to_owned(), "answers from its script, in this program".to_owned())
    );
    assert_eq!(fs::read_dir(home.path()).expect("list it").count(), 0);
}

#[tokio::test]
async fn the_status_says_what_is_to_be_repaired_first() {
    let home = tempfile::tempdir().expect("make a folder");
    fs::write(home.path().join("chatd.toml"), "[server]\nlisen = \"x\"\n").expect("write a configuration");
    let ran = chatd(home.path(), &["doctor", "--json"]).await;
    assert_eq!(ran.status, 78, "{ran:?}");
    let (verdict, detail) = of(&ran, "configuration");
    assert!(verdict == "failed" && detail.contains("listen") && detail.contains("chatd.toml:2"), "{detail}");
    fs::remove_file(home.path().join("chatd.toml")).expect("remove it");
    fs::write(home.path().join("x.db"), "no database, but text").expect("write a file");
    let ran =
        chatd(home.path(), &["doctor", "--json", "--database-url", "sqlite:x.db", "--data-dir", "."]).await;
    assert_eq!((ran.status, of(&ran, "database").0.as_str()), (69, "failed"), "{ran:?}");
    let ran =
        chatd(home.path(), &["doctor", "--json", "--database-url", "postgres://u:pass-word@127.0.0.1:1/x"])
            .await;
    assert_eq!(ran.status, 69, "{ran:?}");
    let (verdict, detail) = of(&ran, "database");
    assert!(verdict == "failed" && detail.contains("check database.url"), "{detail}");
    assert!(!format!("{ran:?}").contains("pass-word"), "{ran:?}");
}
