use crate::support::{
    Harness, both,
    fake_model::{RecordedRequest, Tokens, Wire, says, thinks},
    turns::{conversation, id},
};
use serde_json::{Value, json};

/// A turn of reasoning, a tool and an answer, and a second turn after it. Returns the second and
/// third request.
async fn tool_turn(h: &Harness, wire: Wire) -> (RecordedRequest, RecordedRequest) {
    h.speak(wire);
    let tokens = Tokens { cache_read: 20, ..Tokens::new(50, 9) };
    h.model.push([
        thinks("I should look.")
            .says("Looking. ")
            .calls("list_templates", json!({ "query": "local" }))
            .with_id("call_x"),
        thinks("Good.").says("It is found.").tokens(tokens),
        says("You are welcome."),
    ]);
    let daemon = h.daemon().await;
    let api = daemon.api();
    let chat = id(&api.create_chat("Look.").await);
    let mut stream = api.stream(&chat, None).await;
    let held = stream.answered(2).await;
    assert_eq!(held.roles(), ["user", "assistant", "tool", "assistant"]);
    assert_eq!(held.texts("assistant"), ["Looking. ", "It is found."]);
    let reasoning: Vec<_> = held.parts_of("reasoning").iter().map(|p| p["text"].clone()).collect();
    assert_eq!(reasoning, [json!("I should look."), json!("Good.")]);
    let usage = held.messages.values().last().expect("messages")["usage"].clone();
    let counts = ["input_tokens", "cache_read_tokens", "output_tokens"].map(|key| usage[key].clone());
    assert_eq!(counts, [json!(50), json!(20), json!(9)], "{usage}");
    api.send(&chat, "Thanks.").await;
    stream.answered(3).await;
    let (second, third) = (h.turn(1).await, h.turn(2).await);
    assert_eq!(second.wire, wire);
    assert!(second.tool_results()[0].contains("total_count"), "{:?}", second.tool_results());
    assert_eq!(
        second.messages.iter().flat_map(|m| &m.calls).map(|c| c.id.as_str()).collect::<Vec<_>>(),
        ["call_x"]
    );
    assert_eq!(third.last_user(), "Thanks.");
    (second, third)
}

fn of_type<'a>(list: &'a Value, kind: &str) -> Vec<&'a Value> {
    list.as_array().into_iter().flatten().filter(|item| item["type"] == kind).collect()
}

both! {
    async fn chat_completions_run_a_turn_with_a_tool(h: Harness) {
        let (second, third) = tool_turn(&h, Wire::Chat).await;
        assert_eq!(
            conversation(&second).iter().map(|line| line.trim_end()).collect::<Vec<_>>(),
            ["user: Look.", "assistant: Looking.", "tool:"]
        );
        assert_eq!(third.messages.iter().filter(|m| m.role == "assistant").count(), 2);
    }

    async fn anthropic_gets_its_signed_thinking_back(h: Harness) {
        let (second, third) = tool_turn(&h, Wire::Anthropic).await;
        let blocks = |request: &RecordedRequest, at: usize| request.body["messages"][at]["content"].clone();
        let first = blocks(&second, 1);
        let kinds: Vec<_> = first.as_array().expect("blocks").iter().map(|b| b["type"].as_str().unwrap_or_default()).collect();
        assert_eq!(kinds, ["thinking", "text", "tool_use"]);
        assert_eq!((&first[0]["thinking"], &first[0]["signature"]), (&json!("I should look."), &json!("signature of 14 bytes")));
        assert_eq!(first[2]["input"], json!({ "query": "local" }));
        assert_eq!(of_type(&blocks(&third, 3), "thinking")[0]["signature"], json!("signature of 5 bytes"));
    }

    async fn responses_gets_its_sealed_items_back(h: Harness) {
        let (second, third) = tool_turn(&h, Wire::Responses).await;
        let sealed = of_type(&second.body["input"], "reasoning");
        assert_eq!(sealed.len(), 1, "{}", second.body["input"]);
        assert_eq!(sealed[0]["encrypted_content"], json!("sealed 14"));
        assert_eq!(sealed[0]["summary"], json!([{ "type": "summary_text", "text": "I should look." }]));
        assert_eq!(of_type(&second.body["input"], "function_call")[0]["call_id"], json!("call_x"));
        if third.body.get("previous_response_id").is_none_or(Value::is_null) {
            let sealed = of_type(&third.body["input"], "reasoning");
            assert_eq!(sealed.iter().map(|item| item["encrypted_content"].clone()).collect::<Vec<_>>(), [json!("sealed 14"), json!("sealed 5")]);
        }
    }
}
