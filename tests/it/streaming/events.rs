//! The same stream as server-sent events.

use crate::support::{
    both,
    fake_model::{Gate, Reply, says},
    turns::id,
};
use serde_json::{Value, json};

both! {
    async fn both_kinds_of_client_hold_the_same(h: Harness) {
        let gate = Gate::new();
        h.model.push([says("Half of it, ").gate(&gate).says("and the rest."), says("Again.")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("Q").await);
        let mut socket = api.stream(&chat, None).await;
        let mut events = api.events(&chat, None).await;
        events.until("the first half", |f| f.preview.text() == "Half of it, ").await;
        socket.shows("Half of it, ").await;
        gate.open();
        api.send(&chat, "More").await;
        let held = socket.answered(2).await.messages.clone();
        let fold = events.until("both answers", |f| f.settled() && f.texts("assistant").len() == 2).await;
        assert_eq!(fold.messages, held);
        assert_eq!(fold.texts("assistant"), ["Half of it, and the rest.", "Again."]);
        let last = fold.last_id().expect("messages");
        assert_eq!(events.last_event_id, Some(last.to_string()));
        // An edit takes the history back here too.
        h.model.push([says("Anew.")]);
        let first = api.history(&chat).await.iter().map(|m| m["id"].as_i64().expect("an id")).min().expect("messages");
        let edit = json!({ "content": [{ "type": "text", "text": "Q2" }] });
        api.patch(&format!("/chats/{chat}/messages/{first}"), edit).await.json(200);
        let fold = events.until("the new answer", |f| f.settled() && f.texts("assistant") == ["Anew."]).await;
        assert_eq!((fold.history_resets, fold.texts("user")), (1, vec!["Q2".to_owned()]));
    }

    async fn fifty_returns_with_the_last_event_id_lose_and_repeat_nothing(h: Harness) {
        let gates: Vec<Gate> = (0..50).map(|_| Gate::new()).collect();
        let reply = gates.iter().enumerate().fold(Reply::empty(), |reply, (n, gate)| {
            reply.says_in([format!("{n} ")]).gate(gate)
        });
        h.model.push([reply]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("Count.").await);
        let mut events = api.events(&chat, None).await;
        let mut text = String::new();
        for (n, gate) in gates.iter().enumerate() {
            text += &format!("{n} ");
            events.until("the next number", |f| f.preview.text() == text).await;
            api.events_again(&chat, &mut events).await;
            gate.open();
        }
        let fold = events.until("the answer", |f| f.settled() && f.texts("assistant").len() == 1).await;
        assert_eq!(fold.texts("assistant"), [text]);
        assert_eq!(fold.texts("user"), ["Count."]);
    }

    async fn what_ends_a_socket_ends_the_events_and_is_told(h: Harness) {
        h.configure("stream.ping_interval = \"200ms\"");
        h.model.push([says("A")]);
        let mut daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("Q").await);
        let mut events = api.events(&chat, None).await;
        events.until("the answer", |f| f.settled() && f.texts("assistant") == ["A"]).await;
        assert_eq!(daemon.metric("chatd_stream_subscribers").await, Some(1.0));
        for wrong in ["x", "-1", "1.5", "99999999999999999999"] {
            let refused = api.get_events(&format!("/chats/{chat}/stream"), Some(wrong)).await;
            assert_eq!(refused.status().as_u16(), 400, "{wrong}");
            let body: Value = serde_json::from_slice(&refused.bytes().await.expect("a body")).expect("JSON");
            assert_eq!(body["validations"][0]["field"], json!("Last-Event-ID"), "{body}");
        }
        let nobody = api.with_token(None).get_events(&format!("/chats/{chat}/stream"), None).await;
        assert_eq!(nobody.status().as_u16(), 401);
        let none = api.get_events("/chats/00000000-0000-4000-8000-000000000000/stream", None).await;
        assert_eq!(none.status().as_u16(), 404);
        // A token that is revoked.
        let user = api.get("/api/v2/users/me").await.json(200)["id"].as_str().expect("an id").to_owned();
        let made = api.post(&format!("/api/v2/users/{user}/keys/tokens"), json!({})).await.json(201);
        let key = made["key"].as_str().expect("a key").to_owned();
        let other = api.with_token(Some(&key));
        let mut of_other = other.events(&chat, None).await;
        of_other.until("the history", |f| f.messages.len() == 2).await;
        let key_id = key.split('-').next().expect("an id");
        api.delete(&format!("/api/v2/users/{user}/keys/{key_id}")).await.empty(204);
        assert_eq!(of_other.closed().await.0, 1008);
        // Somebody who leaves is not waited for.
        drop(api.events(&chat, None).await);
        crate::support::outside::eventually("one is left", async || {
            (daemon.metric("chatd_stream_subscribers").await == Some(1.0)).then_some(())
        })
        .await;
        daemon.sigterm();
        assert_eq!(events.closed().await.0, 1001);
        assert_eq!(daemon.wait().await.code(), Some(143));
    }

    async fn the_chat_list_is_followed_by_events_too(h: Harness) {
        h.configure("stream.ping_interval = \"100ms\"");
        h.model.push([says("A")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let response = api.get_events("/chats/watch", None).await;
        let mut events = crate::support::client::EventStream::of(response);
        let chat = id(&api.create_chat("Q").await);
        let first = events.next().await.expect("an event");
        let created: Value = serde_json::from_str(&first.data).expect("JSON");
        assert_eq!((&created["kind"], &created["chat"]["id"]), (&json!("created"), &json!(chat)));
        assert_eq!(first.id, None);
        while events.comments < 2 {
            events.pass().await;
        }
    }
}
