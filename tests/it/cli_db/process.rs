//! What stands around the process: its standard error, its signals, its other listener, its probes.

use crate::support::{Engine, client::Api, run};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use reqwest::Method;
use std::{path::Path, process::Stdio, time::Duration};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

const CHATD: &str = env!("CARGO_BIN_EXE_chatd");

fn serve(home: &Path, args: &[&str]) -> Child {
    spawn(home, Command::new(CHATD).arg("serve").args(args))
}

fn spawn(home: &Path, command: &mut Command) -> Child {
    command.current_dir(home).kill_on_drop(true).env_clear().env("HOME", home);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().expect("start chatd")
}

async fn status_after(mut child: Child, signal: Signal) -> Option<i32> {
    let pid = i32::try_from(child.id().expect("not waited for yet")).expect("a process id is an i32");
    kill(Pid::from_raw(pid), signal).expect("signal the daemon");
    let ended = tokio::time::timeout(Duration::from_secs(10), child.wait()).await;
    ended.expect("the daemon ends").expect("wait for a child").code()
}

#[test]
fn a_daemon_whose_log_is_gone_goes_on() {
    run(Engine::Sqlite, "no_stderr", |h| async move {
        // Every request writes a line, and nobody reads them.
        let args = ["--data-dir", "d", "--listen", "127.0.0.1:0", "--log-filter", "debug"];
        let mut child = serve(h.folder(), &args);
        let mut lines = BufReader::new(child.stderr.take().expect("stderr is piped")).lines();
        let url = loop {
            let line = lines.next_line().await.expect("output is text").expect("it says where it listens");
            if let Some((_, url)) = line.split_once("is listening on ") {
                break url.to_owned();
            }
        };
        drop(lines);
        let api = Api::new(&url, None);
        for _ in 0..5 {
            assert_eq!(api.get("//healthz").await.status, 200);
            assert_eq!(api.get("/chats").await.status, 401);
        }
        assert_eq!(status_after(child, Signal::SIGTERM).await, Some(143));
    });
}

/// A shell's limit of open files is below what many streams need.
#[cfg(target_os = "linux")]
#[test]
fn as_many_files_may_be_open_as_the_system_allows() {
    run(Engine::Sqlite, "files", |h| async move {
        for (limits, expected) in [("200:5000", "5000"), ("5000:5000", "5000")] {
            let args = ["serve", "--data-dir", "f", "--listen", "127.0.0.1:0"];
            let mut command = Command::new("prlimit");
            let mut child =
                spawn(h.folder(), command.arg(format!("--nofile={limits}")).arg(CHATD).args(args));
            let mut lines = BufReader::new(child.stderr.take().expect("stderr is piped")).lines();
            while !lines.next_line().await.unwrap().expect("it listens").contains("is listening on") {}
            let pid = child.id().expect("it runs");
            let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
            let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
            assert_eq!(files.split_whitespace().nth(3), Some(expected), "{files}");
            assert_eq!(status_after(child, Signal::SIGTERM).await, Some(143));
        }
    });
}

#[test]
fn a_signal_ends_a_start_that_waits_for_its_database() {
    run(Engine::Sqlite, "slow_start", |h| async move {
        for (signal, status) in [(Signal::SIGTERM, 143), (Signal::SIGINT, 130)] {
            let database = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("postgres://u:p@{}/db", database.local_addr().unwrap());
            let child =
                serve(h.folder(), &["--data-dir", "s", "--listen", "127.0.0.1:0", "--database-url", &url]);
            // It is connected, and is never answered.
            let _open = database.accept().await.unwrap();
            assert_eq!(status_after(child, signal).await, Some(status));
        }
    });
}

#[test]
fn metrics_can_have_a_listener_of_their_own() {
    run(Engine::Sqlite, "own_metrics", |h| async move {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        h.configure(&format!("[metrics]\nlisten = \"{free}\""));
        let mut daemon = h.daemon().await;
        assert_eq!(daemon.api().get("//metrics").await.status, 404);
        let own = Api::new(&format!("http://{free}"), None);
        let answer = own.get("//metrics").await;
        assert_eq!(answer.status, 200);
        assert!(String::from_utf8(answer.body).unwrap().contains("chatd_http_requests_total"));
        assert_eq!(own.get("//healthz").await.status, 404);
        let taken = daemon.command(&["serve", "--listen", "127.0.0.1:0", "--data-dir", "other"]).await;
        assert_eq!(taken.status, 69, "{taken:?}");
        assert!(taken.err.contains("metrics.listen"), "{taken:?}");
        assert_eq!(daemon.stop().await.code(), Some(143));
    });
}

#[test]
fn probes_may_ask_for_the_head_alone() {
    run(Engine::Sqlite, "head", |h| async move {
        let daemon = h.daemon().await;
        let api = daemon.api();
        for path in ["//healthz", "//readyz", "//openapi.json", "/chats", "/api/v2/users/me"] {
            let (get, head) = (api.get(path).await, api.call(Method::HEAD, path, None).await);
            assert_eq!((head.status, head.body.len()), (200, 0), "{path}");
            assert_eq!(head.headers["content-type"], get.headers["content-type"], "{path}");
        }
        assert_eq!(api.with_token(None).call(Method::HEAD, "/chats", None).await.status, 401);
        let socket = api.call(Method::HEAD, "/chats/watch", None).await;
        assert_eq!((socket.status, socket.header("allow")), (405, "GET"));
    });
}
