//! The typical sequences of api.md §4.4. Elsewhere: the two first connects in `streaming`, the plain turn
//! and the edit in `turns`.

use crate::{
    support::{
        both,
        fake_model::{Gate, Reply, fails, says, says_in},
        turns::{id, live_parts, text, words},
    },
    tools::with_client_tool,
};
use serde_json::{Value, json};

/// The words without live parts and resets: what is stored.
fn stored(events: &[Value]) -> Vec<String> {
    let mut seen = words(events);
    seen.retain(|word| word != "message_part" && word != "preview_reset");
    seen
}

/// Every message that ends a preview is followed by its reset before the next part (§4.3).
fn check_resets(events: &[Value]) {
    let mut stale = false;
    for event in events {
        match event["type"].as_str() {
            Some("message") => stale = true,
            Some("preview_reset") => stale = false,
            Some("message_part") => assert!(!stale, "a part of the next preview without a reset: {event}"),
            _ => {}
        }
    }
    assert!(!stale, "the last message came without a reset");
}

both! {
    async fn a_tool_step(h: Harness) {
        let gate = Gate::new();
        h.model.push([
            says("Look: ").calls("execute", json!({ "command": "echo hi", "timeout": "5s" })).with_id("a"),
            says_in(["It ", "said hi."]).gate(&gate),
        ]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("Echo.").await);
        let mut stream = api.stream(&chat, None).await;
        stream.shows("It said hi.").await;
        gate.open();
        stream.answered(2).await;
        let events = stream.events();
        assert_eq!(
            stored(&events),
            ["message user", "status running", "message assistant", "message tool", "message assistant", "status waiting"]
        );
        check_resets(&events);
        let version = |part: &Value| part["history_version"].as_i64().expect("a number");
        let parts = live_parts(&events);
        let (step, next) = (&parts[0], parts.last().expect("parts"));
        assert!(version(next) > version(step), "{next}");
        assert_eq!(next["part"]["text"], json!("said hi."));
        let last = events.iter().rposition(|e| e["type"] == "message" && e["message"]["role"] == "tool");
        let begin = events.iter().position(|e| e["type"] == "message_part" && version(&e["message_part"]) == version(next));
        assert!(begin > last, "the next step begins after the results of this one");
    }

    async fn a_send_while_busy(h: Harness) {
        let gate = Gate::new();
        h.model.push([says("A.").gate(&gate), says("B.")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("a").await);
        let mut stream = api.stream(&chat, None).await;
        stream.shows("A.").await;
        stream.forget_events();
        let queued = api.post(&format!("/chats/{chat}/messages"), text("b")).await.json(200)["queued_message"].clone();
        stream.until("the queue", |f| f.queue == [queued.clone()]).await;
        gate.open();
        stream.answered(2).await;
        let events = stream.events();
        // The status stays: none is told between the two turns.
        assert_eq!(
            stored(&events),
            ["queue of 1", "message assistant", "message user", "queue of 0", "message assistant", "status waiting"]
        );
        check_resets(&events);
        let user = events.iter().find(|e| e["message"]["role"] == "user").expect("the queued one");
        assert_eq!(user["message"]["content"], queued["content"]);
    }

    async fn an_interrupt(h: Harness) {
        let gate = Gate::new();
        h.model.push([says("Cut ").gate(&gate).says("off.")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("a").await);
        let mut stream = api.stream(&chat, None).await;
        stream.shows("Cut ").await;
        stream.forget_events();
        api.interrupt(&chat).await;
        stream.answered(1).await;
        let events = stream.events();
        check_resets(&events);
        let mut seen = stored(&events);
        // Both moves may be one sync.
        if seen[0] == "status interrupting" {
            seen.remove(0);
        }
        assert_eq!(seen, ["message assistant", "status waiting"]);
    }

    async fn a_retry_of_the_provider(h: Harness) {
        let (first, second) = (Gate::new(), Gate::new());
        h.model.push([says("Half ").gate(&first).cut(), says("Whole.").gate(&second)]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("a").await);
        let mut stream = api.stream(&chat, None).await;
        stream.shows("Half ").await;
        stream.forget_events();
        first.open();
        stream.shows("Whole.").await;
        second.open();
        stream.answered(1).await;
        let events = stream.events();
        assert_eq!(
            words(&events)[..3],
            ["retry", "preview_reset", "message_part"].map(str::to_owned),
            "{:?}", words(&events)
        );
        let parts = live_parts(&events);
        assert!(parts.iter().all(|part| part["generation_attempt"] == json!(2)), "{parts:?}");
        assert_eq!(parts[0]["seq"], json!(1));
        assert_eq!(stored(&events), ["retry", "message assistant", "status waiting"]);
    }

    async fn a_failure(h: Harness) {
        h.model.push([fails(401, json!({ "error": { "message": "bad key" } }))]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("a").await);
        let mut stream = api.stream(&chat, None).await;
        stream.until("the error", |f| f.error.is_some()).await;
        assert_eq!(stored(&stream.events()), ["message user", "status running", "status error", "error"]);
    }

    async fn a_failure_in_the_middle_of_an_answer(h: Harness) {
        h.configure("worker.max_attempts = 1");
        let gate = Gate::new();
        h.model.push([says("Half ").gate(&gate).cut()]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("a").await);
        let mut stream = api.stream(&chat, None).await;
        stream.shows("Half ").await;
        stream.forget_events();
        gate.open();
        stream.until("the error", |f| f.error.is_some()).await;
        let mut seen = stored(&stream.events());
        // Whether the partial answer is kept is left open.
        if seen[0] == "message assistant" {
            seen.remove(0);
        }
        assert_eq!(seen, ["status error", "error"]);
    }

    async fn a_client_tool(h: Harness) {
        let gate = Gate::new();
        h.model.push([
            Reply::empty().calls("ask_client", json!({ "what": "name" })).with_id("a"),
            says("Hello Ann.").gate(&gate),
        ]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat_with(with_client_tool("Ask.")).await);
        let mut stream = api.stream(&chat, None).await;
        stream.until("the call", |f| f.action_required.is_some()).await;
        let results = json!({ "results": [{ "tool_call_id": "a", "output": "Ann" }] });
        api.post(&format!("/chats/{chat}/tool-results"), results).await.empty(204);
        stream.shows("Hello Ann.").await;
        gate.open();
        stream.answered(2).await;
        let events = stream.events();
        assert_eq!(
            stored(&events),
            [
                "message user", "status running", "message assistant", "status requires_action", "action_required",
                "message tool", "status running", "message assistant", "status waiting",
            ]
        );
        check_resets(&events);
    }
}
