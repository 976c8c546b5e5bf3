//! Two replicas side by side, both healthy.

use crate::support::{
    Engine,
    fake_model::says,
    outside::{eventually, stays},
    run,
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

#[test]
fn each_chat_is_driven_by_exactly_one() {
    run(Engine::Postgres, "one_driver", |h| async move {
        let (one, two) = (h.daemon().await, h.daemon().await);
        let token = one.token();
        let apis = [one.api_as(&token), two.api_as(&token)];
        h.model.otherwise(|request| says(format!("answer {} to {}", request.index, request.last_user())));
        let mut chats = Vec::new();
        for n in 0..24 {
            let chat = apis[n % 2].create_chat(&format!("question {n}.")).await;
            chats.push((n, chat["id"].as_str().unwrap().to_owned()));
        }
        for (n, chat) in &chats {
            // Followed on the replica where it was not made.
            let mut stream = apis[(n + 1) % 2].stream(chat, None).await;
            let fold = stream.settled().await;
            assert_eq!(fold.roles(), ["user", "assistant"], "{fold:?}");
        }
        let mut asked: BTreeMap<String, usize> = BTreeMap::new();
        for request in h.turn_requests() {
            *asked.entry(request.last_user().to_owned()).or_default() += 1;
        }
        assert_eq!(asked.len(), 24);
        assert!(asked.values().all(|count| *count == 1), "{asked:?}");
    });
}

#[test]
fn a_replica_without_a_worker_serves_the_api_only() {
    run(Engine::Postgres, "no_worker", |h| async move {
        h.configure("[worker]\nenabled = false");
        let front = h.daemon().await;
        let api = front.api();
        let chat = api.create_chat("Is anybody there?").await;
        let chat = chat["id"].as_str().unwrap();
        let mut stream = api.stream(chat, None).await;
        stream.status("running").await;
        assert_eq!(api.get("//readyz").await.status, 200);
        stays(Duration::from_secs(1), "nobody works", async || h.turn_requests().is_empty()).await;
        assert_eq!(api.chat(chat).await["status"], json!("running"));

        h.model.push([says("Now I am.")]);
        h.configure("[worker]\nenabled = true");
        let back = h.daemon().await;
        assert_eq!(stream.settled().await.texts("assistant"), ["Now I am."]);
        // What is sent to the one reaches the other at once, and back.
        h.model.push([says("Yes?")]);
        api.send(chat, "Hello").await;
        assert_eq!(
            stream
                .until("the second turn is over", |f| f.settled() && f.messages.len() == 4)
                .await
                .texts("assistant"),
            ["Now I am.", "Yes?"]
        );
        eventually("nothing is owned", async || {
            (back.metric("chatd_owned_chats").await == Some(0.0)).then_some(())
        })
        .await;
    });
}

#[test]
fn the_list_of_chats_is_told_of_moves_made_by_another_replica() {
    run(Engine::Postgres, "watch_elsewhere", |h| async move {
        h.model.push([says("first"), says("second")]);
        let driver = h.daemon().await;
        h.configure("[worker]\nenabled = false");
        let front = h.daemon().await;
        let api = front.api_as(&driver.token());
        let mut watch = api.watch().await;
        let chat = api.create_chat("Q").await["id"].as_str().unwrap().to_owned();
        let is_move = |e: &Value| e["kind"] == "status_change" && e["chat"]["id"] == chat.as_str();
        api.stream(&chat, None).await.answered(1).await;
        api.send(&chat, "Again").await;
        api.stream(&chat, None).await.answered(2).await;
        // The first one ends, the second begins here, and ends.
        let seen = AtomicUsize::new(0);
        watch.until("three moves", |e| is_move(e) && seen.fetch_add(1, Ordering::Relaxed) == 2).await;
        // Told by the other replica, behind whatever else it tells.
        driver.api().patch(&format!("/chats/{chat}"), json!({ "title": "Mine" })).await.empty(204);
        watch.kind("title_change", &chat).await;
        assert_eq!(watch.events.iter().filter(|e| is_move(e)).count(), 3, "{:#?}", watch.events);
    });
}
