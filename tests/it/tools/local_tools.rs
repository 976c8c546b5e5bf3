use crate::support::{
    both,
    fake_model::{Gate, Reply, says},
    turns::{conversation, id, live_parts},
};
use serde_json::{Value, json};

/// The text of a result part as JSON.
fn outcome(part: &Value) -> &Value {
    &part["result"]
}

both! {
    async fn a_tool_step_streams_call_result_and_the_next_step_in_order(h: Harness) {
        let gate = Gate::new();
        h.model.push([
            says("Look: ").calls_in("execute", ["{\"command\":", "\"echo hi\",", "\"timeout\":\"5s\"}"]).gate(&gate),
            says("It said hi."),
        ]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("Echo.").await);
        let mut stream = api.stream(&chat, None).await;
        stream.until("the arguments", |f| f.preview.args("call_0_0").contains("5s") || f.preview.args("call_1_0").contains("5s")).await;
        gate.open();
        stream.answered(2).await;
        let parts = live_parts(&stream.events());
        let shown: Vec<(i64, &str, &str)> = parts
            .iter()
            .map(|p| {
                let kind = p["part"]["type"].as_str().unwrap_or_default();
                let form = if p["part"].get("args_delta").is_some() { "delta" } else { "whole" };
                (p["history_version"].as_i64().expect("a number"), kind, form)
            })
            .collect();
        let first = shown[0].0;
        // The message with the result may overtake the live result, which is then not sent.
        let results: Vec<usize> = (0..shown.len()).filter(|at| shown[*at].1 == "tool-result").collect();
        assert!(results.len() <= 1, "{shown:?}");
        let deltas = shown.iter().position(|s| s.2 == "delta").expect("deltas");
        let whole = shown.iter().position(|s| s.1 == "tool-call" && s.2 == "whole").expect("a whole call");
        assert!(deltas < whole && results.iter().all(|result| whole < *result), "{shown:?}");
        assert!(shown.last().expect("parts").0 > first, "the next step has its own history: {shown:?}");
        assert!(results.iter().all(|result| parts[*result]["role"] == json!("tool")), "{parts:?}");
    }

    async fn mistakes_of_the_model_come_back_as_errors_it_can_read(h: Harness) {
        h.model.push([
            Reply::empty()
                .calls("read_file", json!({ "path": "/no/such/file" }))
                .calls("read_file", json!({}))
                .calls("execute", json!({ "command": "true", "timeout": "soon" })),
            says("I see."),
        ]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("Err.").await);
        let mut stream = api.stream(&chat, None).await;
        let results = stream.answered(2).await.parts_of("tool-result");
        for result in &results {
            assert_eq!(result["is_error"], json!(true), "{result}");
            assert!(outcome(result)["error"].as_str().is_some_and(|text| !text.is_empty()), "{result}");
        }
        assert_eq!(h.turn(1).await.tool_results().len(), 3);
    }

    async fn arguments_that_are_no_json_are_answered_and_the_turn_goes_on(h: Harness) {
        h.model.push([
            Reply::empty().calls_in("execute", ["{\"command\": ", "oops"]).calls_in("read_file", ["[1, 2]"]),
            says("Sorry."),
        ]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("Garble.").await);
        let mut stream = api.stream(&chat, None).await;
        let held = stream.answered(2).await;
        let results = held.parts_of("tool-result");
        assert_eq!(results.len(), 2);
        assert!(results.iter().all(|r| r["is_error"] == json!(true)), "{results:#?}");
        assert_eq!(held.texts("assistant").last().map(String::as_str), Some("Sorry."));
        assert_eq!(conversation(&h.turn(1).await).first().map(String::as_str), Some("user: Garble."));
    }
}
