//! After a storm everything is as it was: nothing that a chat, a stream or a socket took is kept.

use crate::support::{
    Engine, Harness,
    fake_model::says,
    outside::{memory_kib, open_files, threads, within},
    run_within,
    turns::text,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

/// Chats that are created, streamed and left.
const CHATS: usize = 2000;
/// Of them at a time.
const AT_A_TIME: usize = 32;

/// It is no measure of speed: on a machine that ten others use it has taken 400 s.
const LIMIT: Duration = Duration::from_secs(900);

/// What has to be zero again.
const FIGURES: [&str; 4] =
    ["chatd_streams_active", "chatd_stream_subscribers", "chatd_owned_chats", "chatd_stream_buffer_bytes"];

async fn storm(h: Harness) {
    h.configure(
        "[stream]\njanitor_interval = \"1s\"\nretain_grace = \"0s\"\n\
         [log]\nfilter = \"info\"\n[server]\nworkers = 2\n[database]\nsynchronous = \"normal\"",
    );
    h.model.otherwise(|_| says("done"));
    let daemon = h.daemon().await;
    let api = daemon.api();
    let organization = api.organization().await;
    let left = Arc::new(AtomicUsize::new(CHATS));
    // A first round fills pools and the caches of SQLite, which are to stay.
    let round = async |chats: usize| {
        left.store(chats, Ordering::Relaxed);
        let mut clients = tokio::task::JoinSet::new();
        for _ in 0..AT_A_TIME {
            let (api, left) = (api.clone(), left.clone());
            let mut body = text("Say a word");
            body["organization_id"] = organization.clone().into();
            clients.spawn(async move {
                let more =
                    || left.try_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok();
                while more() {
                    let chat = api.create_chat_with(body.clone()).await;
                    let mut stream = api.stream(chat["id"].as_str().expect("an id"), None).await;
                    stream.settled().await;
                }
            });
        }
        while let Some(ended) = clients.join_next().await {
            ended.unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic()));
        }
    };
    let idle = async || {
        within(Duration::from_secs(30), "no stream, no subscriber, no owned chat", async || {
            let mut figures = Vec::new();
            for name in FIGURES {
                figures.push(daemon.metric(name).await?);
            }
            figures.iter().all(|figure| *figure == 0.0).then_some(())
        })
        .await;
        (memory_kib(daemon.pid()), open_files(daemon.pid()), threads(daemon.pid()))
    };
    round(CHATS / 4).await;
    let before = idle().await;
    round(CHATS).await;
    let after = idle().await;
    println!("memory, files, threads: {before:?} before, {after:?} after {CHATS} chats");
    // Sockets of keep-alive connections come and go: some slack, far below one a chat.
    assert!(after.1 <= before.1 + AT_A_TIME * 2, "files: {before:?} {after:?}");
    assert!(after.2 <= before.2 + 4, "threads: {before:?} {after:?}");
    assert!(after.0 <= before.0 + 16 * 1024, "memory: {before:?} {after:?} KiB");
}

#[test]
fn two_thousand_chats_leave_nothing_behind_on_sqlite() {
    run_within(LIMIT, Engine::Sqlite, "baseline", storm);
}

#[test]
fn two_thousand_chats_leave_nothing_behind_on_postgres() {
    run_within(LIMIT, Engine::Postgres, "baseline", storm);
}
