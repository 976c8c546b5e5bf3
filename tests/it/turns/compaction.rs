use crate::support::{
    both,
    fake_model::{Gate, RecordedRequest, Tokens, Wire, says},
    turns::{conversation, id},
};
use serde_json::json;

/// The summary stands in a user message, behind a sentence that says what it is.
fn summarised(request: &RecordedRequest, summary: &str) -> bool {
    request.messages.iter().any(|m| m.role == "user" && m.text.contains(summary))
}

both! {
    async fn a_full_context_is_summarised_before_the_next_step(h: Harness) {
        h.configure_model("context_limit = 1000");
        h.model.push([
            says("A1").tokens(Tokens::new(800, 5)),
            says("They greeted each other."),
            says("A2").tokens(Tokens::new(100, 5)),
            says("A3"),
        ]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let body = json!({ "system_prompt": "Stay.", "content": [{ "type": "text", "text": "Q1" }] });
        let chat = id(&api.create_chat_with(body).await);
        let mut stream = api.stream(&chat, None).await;
        stream.answered(1).await;
        api.send(&chat, "Q2").await;
        let held = stream.until("the second answer", |f| f.settled() && f.texts("assistant").contains(&"A2".to_owned())).await;
        assert_eq!(held.texts("user"), ["Q1", "Q2"], "the summary is for the model alone");
        let call = held.parts_of("tool-call");
        assert_eq!((&call[0]["tool_name"], &call[0]["args"]["source"]), (&json!("chat_summarized"), &json!("automatic")));
        assert_eq!(call[0]["args"]["threshold_percent"], json!(70));
        let result = &held.parts_of("tool-result")[0];
        assert_eq!(result["tool_call_id"], call[0]["tool_call_id"]);
        let facts = &result["result"];
        assert_eq!(facts["summary"], json!("They greeted each other."));
        assert_eq!((&facts["context_tokens"], &facts["context_limit_tokens"]), (&json!(800), &json!(1000)));
        let asked = h.turn(1).await;
        assert!(asked.mentions("Q1") && asked.mentions("A1") && asked.mentions("Q2"));
        let after = h.turn(2).await;
        assert!(after.system().contains("Stay.") && summarised(&after, "They greeted each other."));
        assert!(!after.mentions("A1") && !after.mentions("Q1"), "{:?}", conversation(&after));
        api.send(&chat, "Q3").await;
        stream.until("the third answer", |f| f.settled() && f.texts("assistant").contains(&"A3".to_owned())).await;
        let next = h.turn(3).await;
        assert!(summarised(&next, "They greeted each other.") && next.last_user().ends_with("Q3"));
        assert!(next.mentions("A2") && !next.mentions("chat_summarized"), "{:?}", conversation(&next));
    }

    async fn a_compaction_asked_for_runs_alone(h: Harness) {
        h.model.push([says("A1"), says("All of it, in short."), says("A2")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("Q1").await);
        let mut stream = api.stream(&chat, None).await;
        stream.answered(1).await;
        let running = api.post(&format!("/chats/{chat}/compact"), json!({})).await.json(200);
        assert_eq!(running["status"], json!("running"));
        let held = stream.until("the summary", |f| f.settled() && !f.parts_of("tool-result").is_empty()).await;
        assert_eq!(held.parts_of("tool-call")[0]["args"]["source"], json!("manual"));
        assert_eq!(held.texts("user"), ["Q1"]);
        assert_eq!(h.turns(), 2);
        api.send(&chat, "Q2").await;
        stream.until("the next answer", |f| f.settled() && f.texts("assistant").contains(&"A2".to_owned())).await;
        let next = h.turn(2).await;
        assert!(summarised(&next, "All of it, in short.") && next.last_user().ends_with("Q2"));
        assert!(!next.mentions("A1"), "{:?}", conversation(&next));
    }

    async fn a_compaction_that_a_crash_cuts_off_is_made_after_it(h: Harness) {
        let gate = crate::support::fake_model::Gate::new();
        h.configure("[worker]\nlease = \"2s\"\nheartbeat_interval = \"500ms\"");
        h.model.push([says("A1"), says("Never").gate(&gate), says("All of it, in short.")]);
        let mut daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("Q1").await);
        let mut stream = api.stream(&chat, None).await;
        stream.answered(1).await;
        api.post(&format!("/chats/{chat}/compact"), json!({})).await.json(200);
        gate.reached().await;
        daemon.kill_9().await;
        daemon.restart().await;
        stream.reconnect(&api, &chat, None).await;
        let held = stream.until("the summary", |f| f.settled() && !f.parts_of("tool-result").is_empty()).await;
        assert_eq!(held.parts_of("tool-call")[0]["args"]["source"], json!("manual"));
        assert_eq!(held.parts_of("tool-result")[0]["result"]["summary"], json!("All of it, in short."));
        assert_eq!(h.turns(), 3);
    }

    async fn a_compaction_that_takes_the_process_down_each_time_is_given_up(h: Harness) {
        h.configure("worker.max_attempts = 2\nworker.lease = \"1s\"\nworker.heartbeat_interval = \"200ms\"");
        let gates = [Gate::new(), Gate::new()];
        h.model.push([
            says("A1"),
            says("Never").gate(&gates[0]),
            says("Never").gate(&gates[1]),
            says("All of it, in short."),
        ]);
        let mut daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("Q1").await);
        let mut stream = api.stream(&chat, None).await;
        stream.answered(1).await;
        api.post(&format!("/chats/{chat}/compact"), json!({})).await.json(200);
        for gate in &gates {
            gate.reached().await;
            daemon.kill_9().await;
            daemon.restart().await;
        }
        stream.reconnect(&api, &chat, None).await;
        let held = stream.until("the error", |f| f.error.is_some()).await;
        let message = held.error.as_ref().expect("an error")["message"].as_str().expect("a text").to_owned();
        assert!(message.contains("too often"), "{message}");
        assert_eq!(h.turns(), 3);
        // Whoever asks again gets another attempt.
        api.post(&format!("/chats/{chat}/compact"), json!({})).await.json(200);
        let held = stream.until("the summary", |f| f.settled() && !f.parts_of("tool-result").is_empty()).await;
        assert_eq!(held.parts_of("tool-result")[0]["result"]["summary"], json!("All of it, in short."));
    }

    async fn a_summary_is_written_without_tools_and_is_no_step(h: Harness) {
        h.speak(Wire::Anthropic);
        h.configure_model("provider_options = { anthropic = { web_search_enabled = true } }");
        h.model.push([says("A1"), says("In short.")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("Q1").await);
        let mut stream = api.stream(&chat, None).await;
        stream.answered(1).await;
        api.post(&format!("/chats/{chat}/compact"), json!({})).await.json(200);
        stream.until("the summary", |f| f.settled() && !f.parts_of("tool-result").is_empty()).await;
        assert!(h.turn(0).await.body["tools"].to_string().contains("web_search"));
        assert_eq!(h.turn(1).await.body.get("tools"), None);
        for (one, more) in [
            ("steps_total", ""),
            ("message_count_count", ""),
            ("ttft_seconds_count", ""),
            ("compaction_total", ",result=\"success\""),
        ] {
            let name = format!("chatd_{one}{{provider=\"anthropic\",model=\"fake-model\"{more}}}");
            assert_eq!(daemon.metric(&name).await, Some(1.0), "{name}");
        }
    }

    async fn a_context_that_stays_full_ends_the_turn_with_an_error(h: Harness) {
        h.configure_model("context_limit = 1000");
        h.model.push([
            says("A1").tokens(Tokens::new(800, 5)),
            says("Short."),
            says("A2").tokens(Tokens::new(900, 5)),
        ]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("Q1").await);
        let mut stream = api.stream(&chat, None).await;
        stream.answered(1).await;
        api.send(&chat, "Q2").await;
        let held = stream.until("the error", |f| f.error.is_some()).await;
        assert_eq!(held.error.as_ref().expect("an error")["retryable"], json!(false));
        assert_eq!(h.turns(), 3);
    }

    async fn a_cleared_history_stays_readable_and_is_gone_for_the_model(h: Harness) {
        h.model.push([says("A1"), says("A2")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("Q1").await);
        let mut stream = api.stream(&chat, None).await;
        stream.answered(1).await;
        let cleared = api.post(&format!("/chats/{chat}/clear"), json!({})).await.json(200);
        assert_eq!(cleared["status"], json!("waiting"));
        stream.until("the mark", |f| !f.parts_of("tool-call").is_empty()).await;
        assert_eq!(stream.fold.parts_of("tool-call")[0]["tool_name"], json!("chat_cleared"));
        api.send(&chat, "Q2").await;
        let held = stream.until("the next answer", |f| f.settled() && f.texts("assistant").contains(&"A2".to_owned())).await;
        assert_eq!(held.texts("user"), ["Q1", "Q2"]);
        let next = h.turn(1).await;
        assert!(!next.mentions("A1") && !next.mentions("Q1") && next.last_user().ends_with("Q2"), "{:?}", conversation(&next));
    }

    async fn there_must_be_something_to_compact_and_nobody_at_work(h: Harness) {
        let gate = crate::support::fake_model::Gate::new();
        h.model.push([says("A").gate(&gate)]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("Q").await);
        let mut stream = api.stream(&chat, None).await;
        stream.shows("A").await;
        api.post(&format!("/chats/{chat}/compact"), json!({})).await.problem(409);
        api.post(&format!("/chats/{chat}/clear"), json!({})).await.problem(409);
        gate.open();
        stream.answered(1).await;
        api.post(&format!("/chats/{chat}/clear"), json!({})).await.json(200);
        api.post(&format!("/chats/{chat}/compact"), json!({})).await.problem(409);
    }
}
