//! `chatd demo`, interrupted at several moments: `chatd serve` goes on with what it left.

use crate::support::{
    Engine,
    daemon::DaemonProcess,
    outside::{eventually, within},
    run,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{path::Path, process::Stdio, time::Duration};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Command,
};

/// Runs the demonstration until it prints a line with this text, interrupts it, and returns its status.
async fn interrupted_at(home: &Path, data: &Path, text: &str) -> Option<i32> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chatd"));
    command.arg("demo").arg("--data-dir").arg(data).current_dir(home).kill_on_drop(true);
    command.env_clear().env("HOME", home).envs(std::env::var("PATH").map(|path| ("PATH", path)));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("start the demonstration");
    let mut lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
    let mut seen = String::new();
    while let Some(line) = lines.next_line().await.expect("output is text") {
        seen.push_str(&line);
        seen.push('\n');
        if line.contains(text) {
            break;
        }
    }
    assert!(seen.contains(text), "the demonstration never printed {text:?}: {seen}");
    let pid = i32::try_from(child.id().expect("not waited for yet")).expect("a process id is an i32");
    kill(Pid::from_raw(pid), Signal::SIGINT).expect("interrupt the demonstration");
    let rest = tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    let status = tokio::time::timeout(Duration::from_secs(20), child.wait()).await;
    rest.abort();
    status.expect("the demonstration ends when it is interrupted").expect("wait for a child").code()
}

#[test]
fn an_interrupted_demonstration_is_continued_by_serve() {
    run(Engine::Sqlite, "demo", |h| async move {
        // At the start, while its workspace is made, at a tool call in it, and after that.
        for (n, moment) in
            ["chatd demo:", "create_workspace", "write_file", "execute"].into_iter().enumerate()
        {
            let home = h.folder().join(format!("demo-{n}"));
            std::fs::create_dir_all(&home).unwrap();
            let status = interrupted_at(&home, &home.join("data"), moment).await;
            assert_eq!(status, Some(130), "at {moment:?}");
            // No model of the tests: the built-in one goes on with its script.
            let mut daemon = DaemonProcess::start(&home, toml::Table::new(), &h.log).await;
            let api = daemon.api();
            let chats = api.get("/chats").await.json(200);
            let chats = chats.as_array().unwrap();
            assert!(chats.len() <= 1, "{chats:?}");
            if let Some(chat) = chats.first() {
                let chat = chat["id"].as_str().unwrap();
                let mut stream = api.stream(chat, None).await;
                let fold = stream.settled().await;
                assert_eq!(fold.roles().first(), Some(&"user"));
                assert_eq!(fold.roles().last(), Some(&"assistant"), "{fold:?}");
                eventually("nothing is owned", async || {
                    (daemon.metric("chatd_owned_chats").await == Some(0.0)).then_some(())
                })
                .await;
            }
            assert_eq!(h.broken_rules(&daemon).await, Vec::<&str>::new());
            daemon.stop().await;
        }
        within(Duration::from_secs(20), "nothing of it is asked of our model", async || {
            h.turn_requests().is_empty().then_some(())
        })
        .await;
    });
}
