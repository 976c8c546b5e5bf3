//! The event stream of a chat: what a client gets on connecting, and that it is the same for all.

mod events;

use crate::support::{
    both,
    client::refusal,
    daemon::DaemonProcess,
    fake_model::{Gate, Reply, says, says_in, thinks},
    outside::{memory_kib, within},
    turns::{id, words},
};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpSocket, TcpStream},
};

/// Somebody who asks for the stream and never reads it.
async fn deaf(daemon: &DaemonProcess, chat: &str) -> TcpStream {
    let address = daemon.url().strip_prefix("http://").and_then(|a| a.parse().ok()).expect("an address");
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    let mut socket = socket.connect(address).await.expect("connect");
    let request = format!(
        "GET /api/experimental/chats/{chat}/stream HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nCoder-Session-Token: {}\r\n\r\n",
        daemon.token()
    );
    socket.write_all(request.as_bytes()).await.expect("ask");
    socket
}

both! {
    async fn the_first_connect_to_an_idle_chat_sends_its_history_and_status(h: Harness) {
        h.model.push([says("A")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("Q").await);
        api.stream(&chat, None).await.answered(1).await;
        let mut late = api.stream(&chat, None).await;
        late.answered(1).await;
        let mut seen = words(&late.events());
        seen.retain(|word| word != "preview_reset");
        assert_eq!(seen, ["message user", "message assistant", "status waiting"]);
    }

    async fn the_first_connect_to_a_running_chat_replays_the_parts_so_far(h: Harness) {
        let gate = Gate::new();
        h.model.push([thinks("Hm, ").says("the answer ").gate(&gate).says("is four.")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("Q").await);
        let mut early = api.stream(&chat, None).await;
        early.shows("the answer ").await;
        api.send(&chat, "Next").await;
        h.model.push([says("Then this.")]);
        early.until("the queue", |f| f.queue.len() == 1).await;
        let mut late = api.stream(&chat, None).await;
        late.shows("the answer ").await;
        assert_eq!(late.fold.preview.reasoning(), "Hm, ");
        let mut seen = words(&late.events());
        seen.retain(|word| word != "preview_reset");
        assert_eq!(seen, ["message user", "queue of 1", "status running", "message_part"]);
        gate.open();
        let all = early.answered(2).await.messages.clone();
        assert_eq!(late.answered(2).await.messages, all);
        assert_eq!(late.fold.texts("assistant"), ["the answer is four.", "Then this."]);
    }

    async fn after_id_leaves_out_what_the_client_has(h: Harness) {
        h.model.push([says("A1"), says("A2")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("Q1").await);
        let mut first = api.stream(&chat, None).await;
        let last = first.answered(1).await.last_id();
        let mut second = api.stream(&chat, last).await;
        second.status("waiting").await;
        assert!(second.fold.messages.is_empty(), "{:?}", second.fold.messages);
        api.send(&chat, "Q2").await;
        second.answered(1).await;
        assert_eq!((second.fold.texts("user"), second.fold.texts("assistant")), (vec!["Q2".to_owned()], vec!["A2".to_owned()]));
        let mut beyond = api.stream(&chat, Some(i64::MAX)).await;
        beyond.status("waiting").await;
        assert!(beyond.fold.messages.is_empty());
    }

    async fn fifty_reconnects_within_one_answer_lose_and_repeat_nothing(h: Harness) {
        let gates: Vec<Gate> = (0..50).map(|_| Gate::new()).collect();
        let mut reply = Reply::empty();
        let mut whole = String::new();
        for (n, gate) in gates.iter().enumerate() {
            reply = reply.says_in([format!("piece {n}, ")]).gate(gate);
        }
        h.model.push([reply]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("Recite.").await);
        let mut stream = api.stream(&chat, None).await;
        for (n, gate) in gates.iter().enumerate() {
            whole.push_str(&format!("piece {n}, "));
            gate.reached().await;
            let last = stream.fold.last_id().filter(|_| n % 2 == 0);
            stream.reconnect(&api, &chat, last).await;
            stream.shows(&whole).await;
            gate.open();
        }
        assert_eq!(stream.answered(1).await.texts("assistant"), [whole]);
        assert_eq!(h.turns(), 1);
    }

    async fn every_subscriber_gets_the_same(h: Harness) {
        let gate = Gate::new();
        h.model.push([says("One ").gate(&gate).says("for all.")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("Q").await);
        let mut streams = Vec::new();
        for _ in 0..8 {
            streams.push(api.stream(&chat, None).await);
        }
        for stream in &mut streams {
            stream.shows("One ").await;
        }
        gate.open();
        let mut held: Vec<Vec<Value>> = Vec::new();
        for stream in &mut streams {
            held.push(stream.answered(1).await.messages.values().cloned().collect());
        }
        assert!(held.iter().all(|messages| *messages == held[0]));
        assert_eq!(api.history(&chat).await, held[0]);
    }

    async fn the_figures_count_parts_as_they_are_at_the_scrape(h: Harness) {
        let gate = Gate::new();
        h.model.push([says_in(["a", "b", "c"]).gate(&gate).says("d")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("Q").await);
        let mut stream = api.stream(&chat, None).await;
        stream.shows("abc").await;
        assert_eq!(daemon.metric("chatd_stream_buffer_events").await, Some(3.0));
        assert_eq!(daemon.metric("chatd_stream_buffer_size_max").await, Some(3.0));
        assert_eq!(daemon.metric("chatd_stream_subscribers").await, Some(1.0));
        assert_eq!(daemon.metric("chatd_owned_chats").await, Some(1.0));
        gate.open();
        stream.settled().await;
    }

    async fn a_stream_is_refused_before_it_begins(h: Harness) {
        h.model.push([says("A")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("Q").await);
        api.stream(&chat, None).await.answered(1).await;
        let token = daemon.token();
        let url = |chat: &str, query: &str| api.url(&format!("/chats/{chat}/stream{query}"));
        assert_eq!(refusal(&url(&chat, ""), None).await, 401);
        assert_eq!(refusal(&url(&chat, "?after_id=x"), Some(&token)).await, 400);
        assert_eq!(refusal(&url("00000000-0000-4000-8000-000000000000", ""), Some(&token)).await, 404);
        assert_eq!(refusal(&url("no-uuid", ""), Some(&token)).await, 400);
    }

    async fn a_client_that_talks_is_disconnected(h: Harness) {
        h.model.push([says("A")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("Q").await);
        let mut stream = api.stream(&chat, None).await;
        stream.answered(1).await;
        stream.say("hello").await;
        assert_ne!(stream.closed().await.code, 1006, "the server says good-bye");
    }

    async fn opening_the_stream_marks_the_chat_as_read(h: Harness) {
        h.model.push([says("A")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let mut watch = api.watch().await;
        let chat = id(&api.create_chat("Q").await);
        watch.until("the end of the turn", |e| e["kind"] == "status_change" && e["chat"]["status"] == "waiting").await;
        assert_eq!(api.get("/chats").await.json(200)[0]["has_unread"], json!(true));
        assert_eq!(api.get("/chats?q=has_unread:true").await.json(200).as_array().map(Vec::len), Some(1));
        let mut stream = api.stream(&chat, None).await;
        stream.answered(1).await;
        stream.say("good-bye").await;
        stream.closed().await;
        assert_eq!(api.get("/chats").await.json(200)[0]["has_unread"], json!(false));
    }

    async fn a_long_history_costs_little_for_those_who_never_read_it(h: Harness) {
        h.configure("[log]\nfilter = \"info\"");
        h.model.push([says("A")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat(&"x".repeat(200 << 10)).await);
        api.stream(&chat, None).await.answered(1).await;
        // 20 MiB, of a hundred messages.
        let copies = format!(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100) \
             INSERT INTO chat_messages (chat_id, revision, role, visibility, content, created_at) \
             SELECT m.chat_id, m.revision, m.role, m.visibility, m.content, m.created_at FROM chat_messages m, n \
             WHERE m.chat_id = {} AND m.role = 'user' ORDER BY m.id",
            h.uuid(&chat)
        );
        h.execute(&daemon, &copies).await;
        let mut reader = api.stream(&chat, None).await;
        assert_eq!(reader.status("waiting").await.messages.len(), 102);
        drop(reader);
        let before = memory_kib(daemon.pid());
        let mut all = Vec::new();
        for _ in 0..20 {
            all.push(deaf(&daemon, &chat).await);
        }
        within(Duration::from_secs(20), "they are all taken on", async || {
            (daemon.metric("chatd_stream_subscribers").await == Some(20.0)).then_some(())
        })
        .await;
        let mut reader = api.stream(&chat, None).await;
        assert_eq!(reader.status("waiting").await.messages.len(), 102);
        let during = memory_kib(daemon.pid());
        assert!(during < before + 130 * 1024, "memory: {before} KiB, then {during} KiB");
    }
}
