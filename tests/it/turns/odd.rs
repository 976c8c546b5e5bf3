//! What models and people really send.

use crate::support::{
    both,
    fake_model::{Reply, calls, says, says_in},
    turns::{conversation, id, text},
};
use serde_json::json;

both! {
    async fn letters_of_many_bytes_survive_a_stream_cut_anywhere(h: Harness) {
        let words = "Grüße aus 東京, 👩‍👩‍👧 und Ωμέγα. \u{0} \u{e000} \"quoted\\\" \u{2028}";
        let args = json!({ "command": "printf 'ä👍'", "timeout": "5s" });
        h.model.push([says(words).calls("execute", args.clone()).slices(1), says(words).slices(3)]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat(words).await);
        let mut stream = api.stream(&chat, None).await;
        let held = stream.answered(2).await;
        assert_eq!(held.texts("user"), [words]);
        assert_eq!(held.texts("assistant"), [words, words]);
        assert_eq!(held.parts_of("tool-call")[0]["args"], args);
        assert_eq!(conversation(&h.turn(1).await)[..2], [format!("user: {words}"), format!("assistant: {words}")]);
    }

    async fn a_model_that_counts_its_calls_anew_in_each_step_is_understood(h: Harness) {
        let step = |tool: &str| calls(tool, json!({})).with_id("call_0");
        h.model.push([step("no_tool_one"), step("no_tool_two"), says("Both.")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("Twice.").await);
        let mut stream = api.stream(&chat, None).await;
        stream.answered(3).await;
        let results = h.turn(2).await.tool_results().join(" ");
        assert!(results.contains("one") && results.contains("two"), "{results}");
    }

    async fn a_client_answers_two_steps_that_use_one_id(h: Harness) {
        let ask = || calls("ask_client", json!({ "what": "x" })).with_id("call_0");
        h.model.push([ask(), ask(), says("Both.")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat_with(crate::tools::with_client_tool("Ask twice.")).await);
        let mut stream = api.stream(&chat, None).await;
        for n in 1..=2 {
            stream.until("the call", |f| f.action_required.is_some() && f.roles().len() == 2 * n).await;
            let results = json!({ "results": [{ "tool_call_id": "call_0", "output": n }] });
            api.post(&format!("/chats/{chat}/tool-results"), results).await.empty(204);
        }
        stream.answered(3).await;
        assert_eq!(h.turn(2).await.tool_results(), [r#"{"output":1}"#, r#"{"output":2}"#]);
    }

    async fn two_calls_of_one_id_in_one_step_do_not_stop_the_chat(h: Harness) {
        let run = json!({ "command": "echo x", "timeout": "5s" });
        h.model.push([
            Reply::empty().calls("execute", run.clone()).with_id("same").calls("execute", run).with_id("same"),
            says("Well."),
        ]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("Twice.").await);
        let mut stream = api.stream(&chat, None).await;
        stream.answered(2).await;
        assert_eq!(h.turn(1).await.tool_results().len(), 2);
    }

    async fn an_id_of_a_call_may_be_very_long(h: Harness) {
        // Nothing that could be compressed.
        let id_of_call: String =
            (1..=500_u64).map(|n| format!("{:016x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
        let run = calls("execute", json!({ "command": "echo x", "timeout": "5s" })).with_id(&id_of_call);
        h.model.push([run, says("Done.")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("Run it.").await);
        let mut stream = api.stream(&chat, None).await;
        let held = stream.answered(2).await;
        assert_eq!(held.parts_of("tool-result")[0]["tool_call_id"], held.parts_of("tool-call")[0]["tool_call_id"]);
        assert_eq!(h.turn(1).await.tool_results().len(), 1);
    }

    async fn a_long_answer_arrives_whole(h: Harness) {
        let pieces: Vec<String> = (0..3000).map(|n| format!("{n} of many, and then some more words; ")).collect();
        h.model.push([says_in(pieces.clone())]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("Talk.").await);
        let mut stream = api.stream(&chat, None).await;
        assert_eq!(stream.answered(1).await.texts("assistant"), [pieces.concat()]);
    }

    async fn a_long_question_reaches_the_model_whole(h: Harness) {
        let long = "All work and no play. ".repeat(9_000);
        h.model.push([says("Hm.")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat(&long).await);
        let mut stream = api.stream(&chat, None).await;
        stream.answered(1).await;
        assert_eq!(h.turn(0).await.last_user(), long);
        let body = text(&"x".repeat(300 * 1024));
        api.post("/chats", body).await.problem(413);
    }

    async fn a_client_tool_named_like_one_of_ours_is_hidden_by_it(h: Harness) {
        h.model.push([calls("execute", json!({ "command": "echo ours", "timeout": "5s" })), says("Ours.")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let mut body = crate::tools::with_client_tool("Run.");
        body["unsafe_dynamic_tools"][0]["name"] = json!("execute");
        let chat = id(&api.create_chat_with(body).await);
        let mut stream = api.stream(&chat, None).await;
        let held = stream.answered(2).await;
        let said = held.parts_of("tool-result")[0]["result"].to_string();
        assert!(said.contains("create_workspace"), "{said}");
        assert_eq!(h.turn(0).await.tool_names().iter().filter(|name| **name == "execute").count(), 1);
    }
}
