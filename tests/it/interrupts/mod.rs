//! Interrupting a turn.

use crate::support::{
    both,
    fake_model::{Gate, Reply, Wire, says, thinks},
    turns::{conversation, id, text, words},
};
use serde_json::json;
use std::time::{Duration, Instant};

/// An interrupt has to reach the provider within this time.
const AT_ONCE: Duration = Duration::from_secs(1);

/// Interrupts an answer in its middle and asks a second question.
async fn partial_answer(h: crate::support::Harness, wire: Wire) {
    h.speak(wire);
    let gate = Gate::new();
    h.model.push([thinks("Let me think.").says("Part one, ").gate(&gate).says("part two."), says("Fine.")]);
    let daemon = h.daemon().await;
    let api = daemon.api();
    let chat = id(&api.create_chat("Q1").await);
    let mut stream = api.stream(&chat, None).await;
    stream.shows("Part one, ").await;
    stream.forget_events();
    assert_eq!(api.interrupt(&chat).await["status"], json!("interrupting"));
    h.model.closed_by_client(h.turn(0).await.index).await;
    let held = stream.answered(1).await;
    assert_eq!(held.texts("assistant"), ["Part one, "]);
    let reasoning = &held.parts_of("reasoning")[0];
    assert_eq!(reasoning["text"], json!("Let me think."));
    assert!(reasoning["completed_at"].is_string(), "{reasoning}");
    assert!(held.messages.values().all(|m| m.get("usage").is_none()), "a part of an answer has no usage");
    let mut seen = words(&stream.events());
    // The two commits may be one sync.
    seen.retain(|word| word != "preview_reset" && word != "status interrupting");
    assert_eq!(seen, ["message assistant", "status waiting"]);
    api.send(&chat, "Q2").await;
    stream.answered(2).await;
    let asked: Vec<String> =
        conversation(&h.turn(1).await).iter().map(|line| line.trim_end().to_owned()).collect();
    assert_eq!(asked, ["user: Q1", "assistant: Part one,", "user: Q2"]);
    assert_eq!(api.history(&chat).await.len(), 4);
}

both! {
    async fn an_interrupted_answer_is_kept_once_and_before_the_next_question(h: Harness) {
        partial_answer(h, Wire::Chat).await;
    }

    async fn an_interrupted_answer_is_kept_with_anthropic(h: Harness) {
        partial_answer(h, Wire::Anthropic).await;
    }

    async fn an_interrupted_answer_is_kept_with_responses(h: Harness) {
        partial_answer(h, Wire::Responses).await;
    }

    async fn an_interrupt_closes_the_socket_of_the_provider_at_once(h: Harness) {
        let daemon = h.daemon().await;
        let api = daemon.api();
        let mut fastest = Duration::MAX;
        // Of three, because the machine may be busy with other things.
        for n in 0..3 {
            let gate = Gate::new();
            h.model.push([says("Long ").gate(&gate)]);
            let chat = id(&api.create_chat("Q").await);
            let mut stream = api.stream(&chat, None).await;
            stream.shows("Long ").await;
            let index = h.turn(n).await.index;
            let asked = Instant::now();
            api.interrupt(&chat).await;
            h.model.closed_by_client(index).await;
            fastest = fastest.min(asked.elapsed());
            stream.answered(1).await;
        }
        assert!(fastest < AT_ONCE, "the provider's socket was closed after {fastest:?}");
    }

    async fn an_interrupt_before_the_first_word_leaves_nothing(h: Harness) {
        let gate = Gate::new();
        h.model.push([Reply::empty().gate(&gate).says("Never said."), says("Fine.")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("Q1").await);
        let mut stream = api.stream(&chat, None).await;
        gate.reached().await;
        api.interrupt(&chat).await;
        assert_eq!(stream.status("waiting").await.roles(), ["user"]);
        api.send(&chat, "Q2").await;
        assert_eq!(stream.answered(1).await.roles(), ["user", "user", "assistant"]);
    }

    async fn a_call_cut_off_in_its_arguments_is_dropped(h: Harness) {
        let gate = Gate::new();
        h.model.push([
            says("I shall ").calls_in("execute", ["{\"command\":", "\"touch it", "\"}"]).gate_in_args(&gate),
            says("Fine."),
        ]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("Q1").await);
        let mut stream = api.stream(&chat, None).await;
        gate.reached().await;
        stream.until("the pieces", |f| f.preview.parts.iter().any(|p| p["args_delta"].as_str().is_some_and(|d| d.contains("touch")))).await;
        api.interrupt(&chat).await;
        let held = stream.answered(1).await;
        assert_eq!(held.texts("assistant"), ["I shall "]);
        assert!(held.parts_of("tool-call").is_empty() && held.parts_of("tool-result").is_empty());
        api.send(&chat, "Q2").await;
        stream.answered(2).await;
    }

    async fn a_call_that_was_whole_is_kept_and_closed(h: Harness) {
        let gate = Gate::new();
        h.model.push([
            says("I shall ").calls("execute", json!({ "command": "touch it", "timeout": "5s" })).with_id("whole").gate(&gate),
            says("Fine."),
        ]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("Q1").await);
        let mut stream = api.stream(&chat, None).await;
        gate.reached().await;
        stream.until("the whole call", |f| serde_json::from_str::<serde_json::Value>(&f.preview.args("whole")).is_ok()).await;
        api.interrupt(&chat).await;
        let held = stream.answered(1).await;
        assert_eq!(held.roles(), ["user", "assistant", "tool"]);
        let result = &held.parts_of("tool-result")[0];
        assert_eq!((&result["tool_call_id"], &result["is_error"]), (&json!("whole"), &json!(true)), "{result}");
        api.send(&chat, "Q2").await;
        stream.answered(2).await;
        assert_eq!(h.turn(1).await.tool_results().len(), 1);
    }

    async fn an_interrupt_goes_on_with_the_queue(h: Harness) {
        let gate = Gate::new();
        h.model.push([says("Long ").gate(&gate), says("B.")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("a").await);
        let mut stream = api.stream(&chat, None).await;
        stream.shows("Long ").await;
        api.send(&chat, "b").await;
        api.interrupt(&chat).await;
        let held = stream.answered(2).await;
        assert_eq!(held.texts("assistant"), ["Long ", "B."]);
        let asked = conversation(&h.turn(1).await);
        assert_eq!(asked, ["user: a", "assistant: Long ", "user: b"]);
    }

    async fn a_message_may_interrupt(h: Harness) {
        let gate = Gate::new();
        h.model.push([says("Long ").gate(&gate), says("B.")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("a").await);
        let mut stream = api.stream(&chat, None).await;
        stream.shows("Long ").await;
        let mut body = text("b");
        body["busy_behavior"] = json!("interrupt");
        assert_eq!(api.post(&format!("/chats/{chat}/messages"), body).await.json(200)["queued"], json!(true));
        h.model.closed_by_client(h.turn(0).await.index).await;
        let held = stream.answered(2).await;
        assert_eq!((held.texts("user"), held.texts("assistant")), (vec!["a".to_owned(), "b".to_owned()], vec!["Long ".to_owned(), "B.".to_owned()]));
    }

    async fn an_idle_chat_cannot_be_interrupted(h: Harness) {
        h.model.push([says("A")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("Q").await);
        api.stream(&chat, None).await.answered(1).await;
        api.post(&format!("/chats/{chat}/interrupt"), json!({})).await.problem(409);
        assert_eq!(api.chat(&chat).await["status"], json!("waiting"));
    }
}
