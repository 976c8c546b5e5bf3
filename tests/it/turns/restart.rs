use crate::support::{
    both,
    fake_model::{Gate, Reply, calls, fails, says},
    turns::{conversation, id},
};
use serde_json::json;
use std::time::{Duration, Instant};

/// A reply that stands still after its first words.
fn stands_still(words: &str, gate: &Gate) -> Reply {
    says(words).gate(gate)
}

both! {
    async fn a_stop_closes_the_streams_and_the_next_start_goes_on_with_the_turn(h: Harness) {
        h.configure("server.shutdown_grace = \"200ms\"");
        let gate = Gate::new();
        h.model.push([stands_still("Half a", &gate), says("A whole answer.")]);
        let mut daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("Q").await);
        let mut stream = api.stream(&chat, None).await;
        stream.shows("Half a").await;
        daemon.sigterm();
        assert_eq!(stream.closed().await.code, 1001);
        assert_eq!(daemon.wait().await.code(), Some(143));
        h.model.closed_by_client(h.turn(0).await.index).await;
        daemon.restart().await;
        let last = stream.fold.last_id();
        stream.reconnect(&api, &chat, last).await;
        assert_eq!(stream.answered(1).await.texts("assistant"), ["A whole answer."]);
        assert_eq!(conversation(&h.turn(1).await), ["user: Q"]);
        assert_eq!(api.history(&chat).await.len(), 2);
    }

    async fn an_interrupt_during_a_stop_keeps_what_was_shown(h: Harness) {
        let gate = Gate::new();
        h.model.push([stands_still("Shown", &gate)]);
        let mut daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("Q").await);
        let mut stream = api.stream(&chat, None).await;
        stream.shows("Shown").await;
        daemon.sigterm();
        assert_eq!(stream.closed().await.code, 1001);
        assert_eq!(api.get("//readyz").await.status, 503);
        assert_eq!(api.interrupt(&chat).await["status"], json!("interrupting"));
        assert_eq!(daemon.wait().await.code(), Some(143));
        daemon.restart().await;
        stream.reconnect(&api, &chat, None).await;
        assert_eq!(stream.answered(1).await.texts("assistant"), ["Shown"]);
        assert_eq!(h.turns(), 1);
    }

    async fn a_provider_that_asked_for_time_has_it_from_the_next_process_too(h: Harness) {
        h.model.push([fails(429, json!({ "error": { "message": "slow down" } })).header("retry-after", "6"), says("Rested.")]);
        let mut daemon = h.daemon().await;
        let api = daemon.api();
        let begun = Instant::now();
        let chat = id(&api.create_chat("Q").await);
        let mut stream = api.stream(&chat, None).await;
        stream.until("the retry", |f| f.retries.len() == 1).await;
        daemon.sigterm();
        assert_eq!(daemon.wait().await.code(), Some(143));
        daemon.restart().await;
        stream.reconnect(&api, &chat, None).await;
        stream.answered(1).await;
        assert!(begun.elapsed() >= Duration::from_secs(6), "{:?}", begun.elapsed());
        assert_eq!(h.turns(), 2);
    }

    async fn an_answer_that_takes_the_process_down_each_time_is_given_up(h: Harness) {
        h.configure("worker.max_attempts = 2\nworker.lease = \"1s\"\nworker.heartbeat_interval = \"200ms\"");
        let gate = Gate::new();
        h.model.push([stands_still("One", &gate), stands_still("Two", &gate)]);
        let mut daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("Q").await);
        for words in ["One", "Two"] {
            let mut stream = api.stream(&chat, None).await;
            stream.shows(words).await;
            daemon.kill_9().await;
            daemon.restart().await;
        }
        let mut stream = api.stream(&chat, None).await;
        stream.status("error").await;
        let held = stream.until("the error", |fold| fold.error.is_some()).await;
        let message = held.error.as_ref().expect("an error")["message"].as_str().expect("a text");
        assert!(message.contains("too often"), "{message}");
        assert_eq!(h.turns(), 2);
    }

    async fn a_turn_that_can_end_within_the_grace_does(h: Harness) {
        let gate = Gate::new();
        h.model.push([stands_still("Just in ", &gate).says("time.")]);
        let mut daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("Q").await);
        let mut stream = api.stream(&chat, None).await;
        stream.shows("Just in ").await;
        daemon.sigterm();
        stream.closed().await;
        gate.open();
        assert_eq!(daemon.wait().await.code(), Some(143));
        daemon.restart().await;
        stream.reconnect(&api, &chat, None).await;
        assert_eq!(stream.answered(1).await.texts("assistant"), ["Just in time."]);
        assert_eq!(h.turns(), 1);
    }

    async fn a_kill_in_the_middle_of_an_answer_costs_one_more_model_call_and_nothing_else(h: Harness) {
        let gate = Gate::new();
        h.model.push([stands_still("Lost ", &gate), says("Found.")]);
        let mut daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("Q").await);
        let mut stream = api.stream(&chat, None).await;
        stream.shows("Lost ").await;
        api.send(&chat, "Queued").await;
        stream.until("the queue", |f| f.queue.len() == 1).await;
        h.model.push([says("Next.")]);
        daemon.kill_9().await;
        stream.closed().await;
        daemon.restart().await;
        let last = stream.fold.last_id();
        stream.reconnect(&api, &chat, last).await;
        let held = stream.answered(2).await;
        assert_eq!(held.texts("assistant"), ["Found.", "Next."]);
        assert_eq!(held.texts("user"), ["Q", "Queued"]);
        assert_eq!(conversation(&h.turn(1).await), ["user: Q"]);
        assert_eq!(api.history(&chat).await.len(), 4);
        assert_eq!(h.turns(), 3);
    }

    async fn a_kill_between_two_steps_repeats_neither_the_step_nor_its_tool(h: Harness) {
        let gate = Gate::new();
        h.model.push([
            calls("list_templates", json!({})),
            stands_still("So ", &gate),
            says("It ran once."),
        ]);
        let mut daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("Run it.").await);
        let mut stream = api.stream(&chat, None).await;
        stream.shows("So ").await;
        daemon.kill_9().await;
        stream.closed().await;
        daemon.restart().await;
        stream.reconnect(&api, &chat, None).await;
        let held = stream.answered(2).await;
        assert_eq!(held.roles(), ["user", "assistant", "tool", "assistant"]);
        let asked = h.turn(2).await;
        let results = asked.tool_results();
        assert!(results.len() == 1 && results[0].contains("total_count"), "{results:?}");
    }

    async fn a_call_pending_at_a_stop_is_asked_for_again_after_it(h: Harness) {
        h.model.push([calls("ask_client", json!({ "what": "x" })).with_id("a"), says("Thanks.")]);
        let mut daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat_with(crate::tools::with_client_tool("Ask.")).await);
        let mut stream = api.stream(&chat, None).await;
        stream.until("the call", |f| f.action_required.is_some()).await;
        daemon.kill_9().await;
        stream.closed().await;
        daemon.restart().await;
        stream.reconnect(&api, &chat, None).await;
        stream.until("the call again", |f| !f.statuses.is_empty() && f.action_required.is_some()).await;
        let results = json!({ "results": [{ "tool_call_id": "a", "output": "yes" }] });
        api.post(&format!("/chats/{chat}/tool-results"), results).await.empty(204);
        assert_eq!(stream.answered(2).await.texts("assistant").last().map(String::as_str), Some("Thanks."));
    }

    async fn attempts_are_counted_across_a_restart(h: Harness) {
        h.configure("worker.max_attempts = 2");
        let gate = Gate::new();
        let down = || crate::support::fake_model::fails(503, json!({ "error": { "message": "down" } }));
        h.model.push([stands_still("Lost ", &gate), down()]);
        let mut daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("Q").await);
        let mut stream = api.stream(&chat, None).await;
        stream.shows("Lost ").await;
        daemon.kill_9().await;
        stream.closed().await;
        daemon.restart().await;
        stream.reconnect(&api, &chat, None).await;
        let held = stream.until("the error", |f| f.error.is_some()).await;
        assert_eq!(held.error.as_ref().expect("an error")["status_code"], json!(503));
        assert_eq!(h.turns(), 2);
    }
}
