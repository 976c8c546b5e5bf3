use crate::support::{
    both,
    fake_model::{Gate, Tokens, says, says_in, thinks},
    turns::{conversation, id, live_parts, words},
};
use serde_json::json;

both! {
    async fn a_plain_turn_streams_its_events_in_the_documented_order(h: Harness) {
        let gate = Gate::new();
        h.model.push([says("Hello."), says_in(["Hel", "lo ", "again"]).gate(&gate).says_in(["."])]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("Hi").await);
        let mut stream = api.stream(&chat, None).await;
        stream.answered(1).await;
        stream.forget_events();
        api.send(&chat, "And again?").await;
        stream.shows("Hello again").await;
        gate.open();
        stream.answered(2).await;
        let events = stream.events();
        let mut seen = words(&events);
        // The end of the step and the end of the turn may be one sync.
        if seen.ends_with(&["status waiting".into(), "preview_reset".into()]) {
            let last = seen.len() - 1;
            seen.swap(last - 1, last);
        }
        assert_eq!(
            seen,
            ["message user", "status running", "preview_reset", "message_part", "message assistant", "preview_reset", "status waiting"]
        );
        let parts = live_parts(&events);
        let text: String = parts.iter().filter_map(|p| p["part"]["text"].as_str()).collect();
        assert_eq!(text, "Hello again.");
        for (at, part) in parts.iter().enumerate() {
            assert_eq!(part["seq"], json!(at + 1), "{part}");
            assert_eq!((&part["role"], &part["generation_attempt"]), (&json!("assistant"), &json!(1)), "{part}");
            assert_eq!(part["history_version"], parts[0]["history_version"], "{part}");
        }
        assert_eq!(conversation(&h.turn(1).await), ["user: Hi", "assistant: Hello.", "user: And again?"]);
    }

    async fn the_page_of_messages_is_what_the_stream_told(h: Harness) {
        h.model.push([thinks("Hm.").says("Four.")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("Two and two?").await);
        let mut stream = api.stream(&chat, None).await;
        let held: Vec<_> = stream.answered(1).await.messages.values().cloned().collect();
        assert_eq!(api.history(&chat).await, held);
        let answer = &held[1]["content"];
        assert_eq!((&answer[0]["type"], &answer[0]["text"]), (&json!("reasoning"), &json!("Hm.")));
        assert!(answer[0]["created_at"].is_string() && answer[0]["completed_at"].is_string(), "{answer}");
        assert_eq!((&answer[1]["type"], &answer[1]["text"]), (&json!("text"), &json!("Four.")));
        let shown = api.chat(&chat).await;
        assert_eq!(shown["status"], json!("waiting"));
        assert!(shown.get("last_error").is_none(), "{shown}");
    }

    async fn token_counts_of_the_provider_are_on_the_message(h: Harness) {
        let all = Tokens { input: 100, output: 40, reasoning: 7, cache_read: 30, cache_write: 0 };
        h.model.push([says("Counted.").tokens(all)]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("Count.").await);
        let mut stream = api.stream(&chat, None).await;
        stream.answered(1).await;
        let history = api.history(&chat).await;
        assert!(history[0].get("usage").is_none(), "{}", history[0]);
        let usage = &history[1]["usage"];
        let counts = ["input_tokens", "output_tokens", "reasoning_tokens", "cache_read_tokens", "total_tokens", "context_limit"];
        let seen: Vec<_> = counts.iter().map(|key| usage[*key].as_i64().unwrap_or(-1)).collect();
        assert_eq!(seen, [100, 40, 7, 30, 170, 128_000], "{usage}");
        assert!(usage.get("cache_creation_tokens").is_none(), "zero is left out: {usage}");
    }

    async fn the_system_prompt_of_a_chat_reaches_the_model_and_no_client(h: Harness) {
        h.model.push([says("Aye.")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let body = json!({ "system_prompt": "Talk like a sailor.", "content": [{ "type": "text", "text": "Well?" }] });
        let chat = id(&api.create_chat_with(body).await);
        let mut stream = api.stream(&chat, None).await;
        assert_eq!(stream.answered(1).await.roles(), ["user", "assistant"]);
        assert!(h.turn(0).await.system().contains("Talk like a sailor."));
        assert_eq!(api.history(&chat).await.len(), 2);
    }
}
