//! Much history: in little memory, and killed in the middle.

use super::{ENGINES, Target, rows};
use crate::support::{both, fake_model::says, outside::peak_memory_kib, turns::id};
use nix::unistd::Pid;
use serde_json::Value;
use std::process::Stdio;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::Child,
};

/// Messages that are added, and bytes of each: together more than the memory that is allowed.
const MESSAGES: usize = 1600;
const BYTES: usize = 100_000;
/// Most memory of an export or an import, in KiB. A program of the tests takes 70 MiB to do nothing.
const MEMORY: u64 = 120 * 1024;

fn peak(child: &Child) -> u64 {
    peak_memory_kib(Pid::from_raw(i32::try_from(child.id().expect("it runs")).expect("a process id")))
}

/// The same export with many more messages in its only chat.
pub fn grown(export: &str, more: usize) -> String {
    let lines: Vec<&str> = export.lines().collect();
    let messages = |line: &&str| line.starts_with("{\"table\":\"chat_messages\"");
    let at = lines.iter().rposition(messages).expect("a message");
    let mut message: Value = serde_json::from_str(lines[at]).unwrap();
    let mut end: Value = serde_json::from_str(lines[lines.len() - 1]).unwrap();
    let first = message["row"]["id"].as_i64().unwrap();
    let mut text = lines[..=at].join("\n") + "\n";
    message["row"]["content"] = format!("[{{\"type\":\"text\",\"text\":\"{}\"}}]", "x".repeat(BYTES)).into();
    // Deleted ones: what is shown of the chat stays as it was.
    message["row"]["deleted"] = true.into();
    for n in 1..=more {
        message["row"]["id"] = (first + i64::try_from(n).unwrap()).into();
        text += &(message.to_string() + "\n");
    }
    let add = |of: &mut Value| *of = (of.as_u64().unwrap() + more as u64).into();
    add(&mut end["end"]["rows"]["chat_messages"]);
    add(&mut end["end"]["numbers"]["chat_messages"]);
    for line in &lines[at + 1..lines.len() - 1] {
        text += &format!("{line}\n");
    }
    text + &end.to_string() + "\n"
}

both! {
    async fn a_long_history_needs_little_memory_and_a_kill_leaves_nothing(h: Harness) {
        h.model.push([says("Kept.")]);
        let mut daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("Keep this").await);
        api.stream(&chat, None).await.answered(1).await;
        let export = grown(&daemon.command(&["export", "-"]).await.out, MESSAGES);
        daemon.stop().await;
        let (beginning, last) = export.trim_end().rsplit_once('\n').expect("lines");
        let engine = ENGINES.into_iter().find(|engine| *engine == h.engine).expect("one of both");
        let target = Target::new(&h, engine, "large").await;

        // What fits into the pipe may wait there; everything before it was entered.
        let mut killed = target.importing();
        killed.stdin.as_mut().unwrap().write_all(beginning.as_bytes()).await.unwrap();
        killed.kill().await.unwrap();

        let mut child = target.importing();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(beginning.as_bytes()).await.unwrap();
        let held = peak(&child);
        assert!(held < MEMORY, "importing took {held} KiB");
        stdin.write_all(format!("\n{last}\n").as_bytes()).await.unwrap();
        drop(stdin);
        assert_eq!(child.wait().await.unwrap().code(), Some(0), "the kill has left nothing");

        let mut child = target.spawn(&["export", "-"], |command| command.stdout(Stdio::piped()));
        let mut stdout = child.stdout.take().unwrap();
        let mut text = vec![0; export.len() - BYTES];
        stdout.read_exact(&mut text).await.unwrap();
        let held = peak(&child);
        assert!(held < MEMORY, "exporting took {held} KiB");
        stdout.read_to_end(&mut text).await.unwrap();
        assert_eq!(child.wait().await.unwrap().code(), Some(0));
        let text = String::from_utf8(text).unwrap();
        // Keys of an object may stand in another order where the test has written it.
        let parsed = |line: &str| serde_json::from_str::<Value>(line).unwrap();
        assert_eq!(rows(&text).lines().count(), rows(&export).lines().count());
        for (a, b) in rows(&text).lines().zip(rows(&export).lines()) {
            assert!(parsed(a) == parsed(b), "{a:.300}\n{b:.300}");
        }
        target.remove().await;
    }
}
