//! Sockets that say nothing, too much, or never listen.

use crate::support::{
    both,
    daemon::DaemonProcess,
    fake_model::{Gate, says, says_in},
    outside::{memory_kib, open_files, within},
};
use std::time::{Duration, Instant};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

fn address(daemon: &DaemonProcess) -> std::net::SocketAddr {
    daemon.url().strip_prefix("http://").and_then(|a| a.parse().ok()).expect("an address")
}

/// Reads until the other side closes, at most for `limit`.
async fn closes(socket: &mut TcpStream, limit: Duration) -> Duration {
    let since = Instant::now();
    let mut buffer = Vec::new();
    let end = tokio::time::timeout(limit, socket.read_to_end(&mut buffer)).await;
    assert!(end.is_ok(), "the server kept the socket for {limit:?}");
    since.elapsed()
}

both! {
    async fn a_client_that_talks_on_the_stream_is_sent_away(h: Harness) {
        let gate = Gate::new();
        h.model.push([says("one").gate(&gate).says("two")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = api.create_chat("hello").await;
        let chat = chat["id"].as_str().unwrap();
        let mut quiet = api.stream(chat, None).await;
        gate.reached().await;
        for text in ["hi", "{\"type\":\"ping\"}", &"x".repeat(60_000)] {
            let mut stream = api.stream(chat, None).await;
            stream.status("running").await;
            stream.say(text).await;
            let closed = stream.closed().await;
            assert!([1003, 1008].contains(&closed.code), "{closed:?}");
        }
        // A frame over every limit, and one that only says how large it will be.
        let mut stream = api.stream(chat, None).await;
        stream.say(&"x".repeat(1 << 20)).await;
        let closed = stream.closed().await;
        assert!([1006, 1008, 1009].contains(&closed.code), "{closed:?}");
        let request = api.url(&format!("/chats/{chat}/stream")).replacen("http", "ws", 1);
        let mut request = request.into_client_request().unwrap();
        request.headers_mut().insert("Coder-Session-Token", daemon.token().parse().unwrap());
        let socket = TcpStream::connect(address(&daemon)).await.unwrap();
        let (socket, _) = tokio_tungstenite::client_async(request, socket).await.unwrap();
        let mut socket = socket.into_inner();
        // FIN + text, masked, 64-bit length of 2^40.
        let mut head = vec![0x81, 0xff];
        head.extend((1u64 << 40).to_be_bytes());
        head.extend([1, 2, 3, 4]);
        socket.write_all(&head).await.unwrap();
        socket.write_all(&[b'x'; 200_000]).await.ok();
        closes(&mut socket, Duration::from_secs(60)).await;
        gate.open();
        assert_eq!(quiet.settled().await.texts("assistant"), ["onetwo"]);
    }

    async fn half_open_connections_are_closed_and_hold_nobody_up(h: Harness) {
        h.model.push([says("hello")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let mut silent = Vec::new();
        for n in 0..100 {
            let mut socket = TcpStream::connect(address(&daemon)).await.unwrap();
            // Some say nothing at all, others begin a request, or its body.
            let said: &[u8] = match n % 4 {
                0 => b"POST /api/experimental/chats HTTP/1.1\r\nHost: x\r\n",
                1 => b"POST /api/v2/users/login HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{",
                _ => b"",
            };
            socket.write_all(said).await.unwrap();
            silent.push(socket);
        }
        let chat = api.create_chat("hello").await;
        api.stream(chat["id"].as_str().unwrap(), None).await.settled().await;
        for socket in &mut silent {
            closes(socket, Duration::from_secs(60)).await;
        }
    }

    async fn a_reader_that_never_reads_is_closed_and_delays_nobody(h: Harness) {
        h.configure("[stream]\nping_interval = \"2s\"\ncoalesce = \"0s\"\n[log]\nfilter = \"info\"");
        // More than sockets and queues hold, while there is somebody who reads.
        let gate = Gate::new();
        let pieces = || (0..400).map(|n| format!("{n} {}", "x".repeat(16 << 10)));
        h.model.push([says_in(["start "]).gate(&gate).says_in(pieces())]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = api.create_chat("A lot, please").await;
        let chat = chat["id"].as_str().unwrap();
        let mut fast = api.stream(chat, None).await;
        gate.reached().await;
        fast.status("running").await;
        let (before, files) = (memory_kib(daemon.pid()), open_files(daemon.pid()));
        let mut deaf = Vec::new();
        for _ in 0..20 {
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_recv_buffer_size(4096).unwrap();
            let mut socket = socket.connect(address(&daemon)).await.unwrap();
            let request = format!(
                "GET /api/experimental/chats/{chat}/stream HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n\
                 Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                 Coder-Session-Token: {}\r\n\r\n", daemon.token());
            socket.write_all(request.as_bytes()).await.unwrap();
            deaf.push(socket);
        }
        within(Duration::from_secs(30), "they are all taken on", async || {
            (daemon.metric("chatd_stream_subscribers").await == Some(21.0)).then_some(())
        })
        .await;
        let since = Instant::now();
        gate.open();
        let text = fast.settled().await.texts("assistant").concat();
        let took = since.elapsed();
        assert!(text.len() > 6 << 20, "{}", text.len());
        // The slow ones are given 10 s: the fast one did not wait for them, or on a busy machine at least not
        // until they were gone.
        let open = daemon.metric("chatd_stream_subscribers").await;
        assert!(took < Duration::from_secs(8) || open == Some(21.0), "{took:?}, {open:?} subscribers");
        let during = memory_kib(daemon.pid());
        assert!(during < before + 200 * 1024, "memory: {before} KiB, then {during} KiB");
        drop(fast);
        within(Duration::from_secs(60), "the deaf ones are given up", async || {
            (daemon.metric("chatd_stream_subscribers").await == Some(0.0)).then_some(())
        })
        .await;
        within(Duration::from_secs(60), "their sockets are closed", async || {
            (open_files(daemon.pid()) <= files + 4).then_some(())
        })
        .await;
        drop(deaf);
    }
}
