//! Messages that are sent while a turn runs.

mod after_an_error;

use crate::support::{
    both,
    fake_model::{Gate, says},
    turns::{conversation, id, text, words},
};
use serde_json::{Value, json};

fn texts(queue: &[Value]) -> Vec<&str> {
    queue.iter().map(|row| row["content"][0]["text"].as_str().unwrap_or_default()).collect()
}

both! {
    async fn queued_messages_are_answered_in_their_order(h: Harness) {
        let gate = Gate::new();
        h.model.push([says("A.").gate(&gate), says("B."), says("C.")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("a").await);
        let mut stream = api.stream(&chat, None).await;
        stream.shows("A.").await;
        stream.forget_events();
        let sent = api.send(&chat, "b").await;
        assert!(sent.get("message").is_none(), "{sent}");
        api.send(&chat, "c").await;
        stream.until("the queue", |f| f.queue.len() == 2).await;
        assert_eq!(texts(&stream.fold.queue), ["b", "c"]);
        assert_eq!(api.queue(&chat).await, stream.fold.queue);
        gate.open();
        let held = stream.answered(3).await;
        assert_eq!(held.texts("user"), ["a", "b", "c"]);
        assert_eq!(held.texts("assistant"), ["A.", "B.", "C."]);
        assert_eq!(held.roles(), ["user", "assistant", "user", "assistant", "user", "assistant"]);
        let seen = words(&stream.events());
        let waits = seen.iter().filter(|word| *word == "status waiting").count();
        assert_eq!(waits, 1, "the chat runs on: {seen:?}");
        assert_eq!(conversation(&h.turn(2).await), ["user: a", "assistant: A.", "user: b", "assistant: B.", "user: c"]);
        assert!(api.queue(&chat).await.is_empty());
    }

    async fn a_promoted_message_interrupts_and_goes_first(h: Harness) {
        let gate = Gate::new();
        h.model.push([says("A, cut ").gate(&gate), says("C."), says("B.")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("a").await);
        let mut stream = api.stream(&chat, None).await;
        stream.shows("A, cut ").await;
        api.send(&chat, "b").await;
        let c = api.send(&chat, "c").await["queued_message"]["id"].clone();
        api.post(&format!("/chats/{chat}/queue/{c}/promote"), json!({})).await.json(202);
        h.model.closed_by_client(h.turn(0).await.index).await;
        let held = stream.answered(3).await;
        assert_eq!(held.texts("user"), ["a", "c", "b"]);
        assert_eq!(held.texts("assistant"), ["A, cut ", "C.", "B."]);
        api.post(&format!("/chats/{chat}/queue/{c}/promote"), json!({})).await;
        assert_eq!(h.turns(), 3);
    }

    async fn a_message_taken_out_of_the_queue_is_never_answered(h: Harness) {
        let gate = Gate::new();
        h.model.push([says("A.").gate(&gate), says("C.")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("a").await);
        let mut stream = api.stream(&chat, None).await;
        stream.shows("A.").await;
        let b = api.send(&chat, "b").await["queued_message"]["id"].as_i64().expect("an id");
        api.send(&chat, "c").await;
        let path = format!("/chats/{chat}/queue");
        api.delete(&format!("{path}/{b}")).await.empty(204);
        stream.until("the shorter queue", |f| texts(&f.queue) == ["c"]).await;
        api.delete(&format!("{path}/{b}")).await.problem(404);
        api.delete(&format!("{path}/x")).await.problem(400);
        gate.open();
        assert_eq!(stream.answered(2).await.texts("user"), ["a", "c"]);
        api.delete(&format!("{path}/{b}")).await.problem(409);
    }

    async fn the_queue_holds_twenty_messages_and_no_more(h: Harness) {
        let gate = Gate::new();
        h.model.push([says("A.").gate(&gate)]);
        h.model.otherwise(|request| says(format!("Answer to {}.", request.last_user())));
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("q").await);
        let mut stream = api.stream(&chat, None).await;
        stream.shows("A.").await;
        for n in 0..20 {
            api.send(&chat, &format!("q{n}")).await;
        }
        api.post(&format!("/chats/{chat}/messages"), text("one too many")).await.problem(429);
        assert_eq!(api.queue(&chat).await.len(), 20);
        gate.open();
        let held = stream.answered(21).await;
        let expected: Vec<String> = (0..20).map(|n| format!("Answer to q{n}.")).collect();
        assert_eq!(held.texts("assistant")[1..], expected[..]);
    }
}
