//! Agents whose link is at another replica than the one that drives the chat, and something is wrong with that replica or
//! with the way to it.

use super::{Bound, LOCAL, error, link::Between, ok};
use crate::support::{
    Engine,
    fake_model::{calls, says},
    outside::{eventually, freeze, thaw},
    run_within,
};
use serde_json::json;
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    time::Instant,
};

/// The agent links to another replica while the first one stands still: whoever waits there looks where the agent is.
#[test]
fn a_replica_that_stands_still_keeps_no_command() {
    run_within(Duration::from_secs(120), Engine::Postgres, "stands_still", |h| async move {
        let between = Between::start().await;
        h.configure(LOCAL);
        h.configure(&format!("[server]\npublic_url = \"http://{}\"\n", between.address));
        h.configure(&format!("[secrets]\nencryption_key_file = {:?}\n", h.folder().join("keys")));
        h.model.push([says("Hi.")]);
        let first = h.daemon().await;
        between.mend(first.url());
        let bound = Bound::make(&first, "still").await;
        let second = h.daemon().await;
        // Whoever takes a message drives its chat.
        let bound = Bound { api: bound.api.at(second.url()), ..bound };
        bound.api.stream(&bound.chat, None).await.settled().await;
        let waits = "echo started >>marks; while ! test -e go; do sleep 0.05; done; echo ended";
        h.model.push([calls("execute", json!({ "command": waits, "timeout": "10m" })), says("Done.")]);
        bound.api.send(&bound.chat, "Run it.").await;
        let marks = format!("{}/marks", bound.folder);
        eventually("the command has begun", async || std::fs::exists(&marks).unwrap().then_some(())).await;
        freeze(first.pid()).await;
        between.mend(second.url());
        std::fs::write(format!("{}/go", bound.folder), "").unwrap();
        let since = Instant::now();
        let ended = bound.results(1).await.remove(0);
        assert_eq!(
            (&ok(&ended)["exit_code"], &ok(&ended)["output"]),
            (&json!(0), &json!("ended\n")),
            "{ended}"
        );
        assert!(since.elapsed() < Duration::from_secs(60), "{:?}", since.elapsed());
        thaw(first.pid());
        bound.ends("Done.").await;
        assert_eq!(std::fs::read_to_string(&marks).unwrap(), "started\n");
        bound.end().await;
    });
}

/// What answers at the address of a replica may be anything: it says nothing about a workspace.
#[test]
fn something_else_at_the_address_of_a_replica_is_no_agent() {
    run_within(Duration::from_secs(120), Engine::Postgres, "something_else", |h| async move {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let _ = socket.read(&mut [0; 4096]).await;
                    let _ = socket
                        .write_all(
                            b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                        )
                        .await;
                });
            }
        });
        h.configure(LOCAL);
        h.configure(&format!("[server]\nrelay_url = \"http://{address}\"\n"));
        h.configure(&format!("[secrets]\nencryption_key_file = {:?}\n", h.folder().join("keys")));
        h.model.push([says("Hi.")]);
        let first = h.daemon().await;
        let bound = Bound::make(&first, "else").await;
        let mut second = h.daemon().await;
        second.stop().await;
        // That of the first one only is wrong.
        second.configure("[server]\nrelay_url = \"\"\n");
        second.restart().await;
        let bound = Bound { api: bound.api.at(second.url()), ..bound };
        bound.api.stream(&bound.chat, None).await.settled().await;
        h.model.push([
            calls("process_output", json!({ "process_id": "x", "wait_timeout": "0s" })),
            says("Done."),
        ]);
        bound.api.send(&bound.chat, "Look.").await;
        let failed = bound.results(1).await.remove(0);
        let why = error(&failed);
        assert!(why.contains("at another replica") && why.contains("404"), "{why}");
        bound.ends("Done.").await;
        bound.end().await;
    });
}
