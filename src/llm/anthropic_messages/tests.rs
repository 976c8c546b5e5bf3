//! Golden streams, and what a strict server would refuse.

use crate::llm::{
    event::FinishReason,
    request::{AssistantContent, Native, PromptMessage, UserContent, WireFormat::AnthropicMessages as F},
    testing::*,
    wire::WireError,
};
use proptest::prelude::*;
use serde_json::{Value, json};

fn golden() -> Vec<Value> {
    let start =
        |i: u64, block: Value| json!({"type": "content_block_start", "index": i, "content_block": block});
    let delta = |i: u64, delta: Value| json!({"type": "content_block_delta", "index": i, "delta": delta});
    let stop = |i: u64| json!({"type": "content_block_stop", "index": i});
    vec![
        json!({"type": "message_start", "message": {"id": "msg_1", "model": "m-1-2026", "usage":
            {"input_tokens": 10, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 5, "output_tokens": 1}}}),
        start(0, json!({"type": "thinking", "thinking": "", "signature": ""})),
        json!({"type": "ping"}),
        delta(0, json!({"type": "thinking_delta", "thinking": "let me "})),
        delta(0, json!({"type": "thinking_delta", "thinking": "see"})),
        delta(0, json!({"type": "signature_delta", "signature": "SIG=="})),
        stop(0),
        start(1, json!({"type": "redacted_thinking", "data": "zZ/9"})),
        stop(1),
        start(2, json!({"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {}})),
        delta(2, json!({"type": "input_json_delta", "partial_json": "{\"query\":"})),
        delta(2, json!({"type": "input_json_delta", "partial_json": "\"x\"}"})),
        stop(2),
        // Key order and number form must survive.
        json!(
            "{\"type\":\"content_block_start\",\"index\":3,\"content_block\":{\"type\":\"web_search_tool_result\",\"tool_use_id\":\"srv_1\",\"content\":[{\"url\":\"http://a\",\"n\":1.50,\"encrypted_content\":\"E\"}]}}"
        ),
        stop(3),
        start(4, json!({"type": "text", "text": ""})),
        delta(4, json!({"type": "text_delta", "text": "Grüße "})),
        delta(
            4,
            json!({"type": "citations_delta", "citation": {"type": "web_search_result_location", "url": "http://a", "title": "A"}}),
        ),
        delta(
            4,
            json!({"type": "citations_delta", "citation": {"type": "web_search_result_location", "url": "http://a", "title": "A"}}),
        ),
        delta(4, json!({"type": "text_delta", "text": "🎉"})),
        delta(4, json!({"type": "new_delta_of_2030", "x": 1})),
        stop(4),
        start(5, json!({"type": "tool_use", "id": "t_1", "name": "read_file", "input": {}})),
        start(6, json!({"type": "tool_use", "id": "t_2", "name": "read_file", "input": {}})),
        delta(6, json!({"type": "input_json_delta", "partial_json": "{\"b\":"})),
        delta(5, json!({"type": "input_json_delta", "partial_json": "{\"a\": 1}"})),
        delta(6, json!({"type": "input_json_delta", "partial_json": "2}"})),
        stop(5),
        stop(6),
        start(7, json!({"type": "tool_use", "id": "t_3", "name": "list", "input": {}})),
        delta(7, json!({"type": "input_json_delta", "partial_json": ""})),
        stop(7),
        json!({"type": "something_new", "x": [1]}),
        json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 33}}),
        json!({"type": "message_stop"}),
    ]
}

#[test]
fn a_whole_answer_is_understood() {
    let events = decode(F, &golden());
    assert_eq!(
        words(&events),
        [
            "reason(",
            "let me ",
            "see",
            ")",
            "start srv_1 web_search provider",
            "args srv_1 {\"query\":",
            "args srv_1 \"x\"}",
            "call srv_1 web_search {\"query\":\"x\"}",
            "result srv_1 web_search [{\"url\":\"http://a\",\"n\":1.50,\"encrypted_content\":\"E\"}]",
            "text(",
            "Grüße ",
            "source http://a A",
            "🎉",
            ")",
            "start t_1 read_file",
            "start t_2 read_file",
            "args t_2 {\"b\":",
            "args t_1 {\"a\": 1}",
            "args t_2 2}",
            "call t_1 read_file {\"a\": 1}",
            "call t_2 read_file {\"b\":2}",
            "start t_3 list",
            "call t_3 list {}",
            "finish ToolCalls",
        ]
    );
    let finish = finish(&events);
    let u = finish.usage;
    assert_eq!(
        (u.input_tokens, u.cache_read_tokens, u.cache_creation_tokens, u.output_tokens),
        (10, 100, 5, 33)
    );
    assert_eq!(finish.response_id.as_deref(), Some("msg_1"));
    let native = finish.native.as_ref().unwrap();
    assert_eq!((native.format, native.model.as_str()), (F, "m-1"));
    let items: Vec<&str> = native.items.iter().map(crate::chat::json::Json::get).collect();
    assert_eq!(items.len(), 8);
    assert_eq!(
        serde_json::from_str::<Value>(items[0]).unwrap(),
        json!({"type": "thinking", "thinking": "let me see", "signature": "SIG=="})
    );
    assert_eq!(
        items[3],
        "{\"type\":\"web_search_tool_result\",\"tool_use_id\":\"srv_1\",\"content\":[{\"url\":\"http://a\",\"n\":1.50,\"encrypted_content\":\"E\"}]}"
    );
    assert!(items[5].contains("\"input\":{\"a\": 1}"), "{}", items[5]);
    assert_eq!(serde_json::from_str::<Value>(items[4]).unwrap()["citations"].as_array().unwrap().len(), 2);
}

#[test]
fn any_split_decodes_alike_and_garbage_is_harmless() {
    any_split_is_the_same(F, &golden());
    garbage_is_harmless(F, &golden());
}

#[test]
fn a_cut_answer_has_no_finish_and_a_reported_error_ends_it() {
    let all = golden();
    assert!(!words(&decode(F, &all[..all.len() - 1])).iter().any(|w| w.starts_with("finish")));
    let error = decode_err(
        F,
        &[json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})],
    );
    assert_eq!(
        error,
        WireError::Provider {
            status: None,
            code: Some("overloaded_error".into()),
            message: "Overloaded".into()
        }
    );
}

#[test]
fn stop_reasons_are_mapped() {
    for (reason, expected) in [
        ("end_turn", FinishReason::Stop),
        ("max_tokens", FinishReason::Length),
        ("refusal", FinishReason::ContentFilter),
        ("pause_turn", FinishReason::Other),
    ] {
        let events = decode(
            F,
            &[
                json!({"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 1, "context_window": 1000}}),
                json!({"type": "message_stop"}),
            ],
        );
        assert_eq!(finish(&events).reason, expected);
        assert_eq!(finish(&events).context_limit, Some(1000));
    }
}

#[test]
fn calls_get_ids_of_their_own() {
    let start = |i: u64, id: Value| json!({"type": "content_block_start", "index": i, "content_block": {"type": "tool_use", "id": id, "name": "list", "input": {}}});
    let stop = |i: u64| json!({"type": "content_block_stop", "index": i});
    let events = decode(
        F,
        &[
            start(0, json!("a")),
            stop(0),
            start(1, json!("a")),
            stop(1),
            start(2, Value::Null),
            stop(2),
            json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"}}),
            json!({"type": "message_stop"}),
        ],
    );
    let calls: Vec<String> = words(&events).into_iter().filter(|w| w.starts_with("call ")).collect();
    assert_eq!(calls, ["call a list {}", "call a_1 list {}", "call call_salt_2 list {}"]);
}

#[test]
fn broken_arguments_are_kept_and_go_back_inside_an_object() {
    let events = decode(
        F,
        &[
            json!({"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "id": "t", "name": "n", "input": {}}}),
            json!({"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": "{\"a\": "}}),
            json!({"type": "message_delta", "delta": {"stop_reason": "max_tokens"}}),
            json!({"type": "message_stop"}),
        ],
    );
    assert_eq!(words(&events)[2], "call t n {\"a\": ");
    let item = finish(&events).native.as_ref().unwrap().items[0].read::<Value>().unwrap();
    assert_eq!(item["input"], json!({"INVALID_JSON": "{\"a\": "}));
}

#[test]
fn the_answer_goes_back_verbatim_to_its_model_only() {
    let native = finish(&decode(F, &golden())).native.clone();
    let content = || {
        let call = |id: &str| AssistantContent::ToolCall {
            id: id.into(),
            name: "read_file".into(),
            args: raw(&json!({})),
        };
        vec![
            AssistantContent::Reasoning("let me see".into()),
            AssistantContent::Text("Grüße 🎉".into()),
            call("t_1"),
            call("t_2"),
            call("t_3"),
        ]
    };
    let messages = |native: Option<Native>| {
        vec![
            user("hi"),
            assistant(content(), native),
            PromptMessage::Tool(["t_1", "t_2", "t_3"].map(|id| answer(id, "1")).to_vec()),
        ]
    };
    let req = with_options(
        request(messages(native.clone())),
        "anthropic",
        json!({"thinking": {"budget_tokens": 40_000}}),
    );
    let sent = body("anthropic", F, &req);
    assert_eq!(sent["messages"][1]["content"].as_array().unwrap().len(), 8);
    assert_eq!(sent["messages"][1]["content"][0]["signature"], "SIG==");
    assert_eq!(sent["thinking"], json!({"type": "enabled", "budget_tokens": 40_000}));
    assert_eq!(sent["max_tokens"], 72_000, "the budget must be below the limit");

    let mut other = req.clone();
    other.model = "m-2".into();
    let sent = body("anthropic", F, &other);
    let kinds: Vec<&str> = sent["messages"][1]["content"]
        .as_array()
        .unwrap()
        .iter()
        .map(|b| b["type"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["text", "tool_use", "tool_use", "tool_use"]);
    assert_eq!(sent.get("thinking"), None, "unsigned history while answering tools");

    // Calls that differ from the ones to be answered: neutral content, or the request would be refused.
    let mut fewer = req.clone();
    fewer.messages = vec![
        user("hi"),
        assistant(vec![call("t_1")], native.clone()),
        PromptMessage::Tool(vec![answer("t_1", "1")]),
    ];
    assert_eq!(body("anthropic", F, &fewer)["messages"][1]["content"].as_array().unwrap().len(), 1);

    // Ids that the prompt has rewritten: the calls have them as well, and the thinking stays.
    let mut renamed = req.clone();
    let content = content().into_iter().map(|item| match item {
        AssistantContent::ToolCall { id, name, args } => {
            AssistantContent::ToolCall { id: format!("{id}_2"), name, args }
        }
        other => other,
    });
    renamed.messages[1] = assistant(content.collect(), native.clone());
    let sent = body("anthropic", F, &renamed);
    assert_eq!(sent["messages"][1]["content"][0]["signature"], "SIG==");
    let blocks = sent["messages"][1]["content"].as_array().unwrap().iter();
    let ids: Vec<&Value> = blocks.filter(|b| b["type"] == "tool_use").map(|b| &b["id"]).collect();
    assert_eq!(ids, ["t_1_2", "t_2_2", "t_3_2"]);

    let silent = with_options(request(messages(native)), "anthropic", json!({"send_reasoning": false}));
    assert!(!body("anthropic", F, &silent).to_string().contains("SIG=="));
}

#[test]
fn an_unfinished_provider_call_is_left_out() {
    let items = vec![
        raw(&json!({"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}})),
        raw(&json!({"type": "text", "text": "x"})),
    ];
    let native = Native { format: F, model: MODEL.into(), items };
    let sent = body(
        "anthropic",
        F,
        &request(vec![
            user("hi"),
            assistant(vec![AssistantContent::Text("x".into())], Some(native)),
            user("go"),
        ]),
    );
    assert_eq!(sent["messages"][1]["content"].as_array().unwrap().len(), 1);
}

#[test]
fn cache_markers_are_on_the_last_system_text_and_the_last_two_messages() {
    let mut req = request(vec![
        user("1"),
        assistant(vec![AssistantContent::Text("2".into())], None),
        user("3"),
        user("4"),
    ]);
    req.temperature = Some(0.5);
    let sent = body("anthropic", F, &req);
    assert_eq!(sent["max_tokens"], 32_000);
    assert_eq!(sent["temperature"], 0.5);
    assert_eq!(sent["messages"].as_array().unwrap().len(), 3, "neighbours of one role are merged");
    let marked = |v: &Value| v.get("cache_control") == Some(&json!({"type": "ephemeral"}));
    assert!(!marked(&sent["system"][0]) && marked(&sent["system"][1]));
    assert!(!marked(&sent["messages"][0]["content"][0]));
    assert!(marked(&sent["messages"][1]["content"][0]));
    assert!(!marked(&sent["messages"][2]["content"][0]) && marked(&sent["messages"][2]["content"][1]));
    assert_eq!(sent.to_string().matches("cache_control").count(), 3);
}

#[test]
fn options_are_sent() {
    let options = json!({"effort": " HIGH ", "thinking_display": "summarized", "disable_parallel_tool_use": true,
        "web_search_enabled": true, "allowed_domains": ["a.org"], "context_1m_enabled": true});
    let mut req = with_options(request(vec![user("hi")]), "anthropic", options);
    req.temperature = Some(1.0);
    let sent = body("anthropic", F, &req);
    assert_eq!(sent["output_config"], json!({"effort": "high"}));
    assert_eq!(sent["thinking"], json!({"type": "adaptive", "display": "summarized"}));
    assert_eq!(sent["tool_choice"], json!({"type": "auto", "disable_parallel_tool_use": true}));
    assert_eq!(
        sent["tools"][1],
        json!({"type": "web_search_20250305", "name": "web_search", "allowed_domains": ["a.org"]})
    );
    assert_eq!(sent.get("temperature"), None);
    assert_eq!(super::betas(&req).len(), 1);
    req.reasoning_effort = Some("none".into());
    let sent = body("anthropic", F, &req);
    assert_eq!((sent.get("thinking"), sent.get("output_config")), (None, None));
}

#[test]
fn media_reach_the_model() {
    let file = |media_type: &str, data: &str| UserContent::File {
        media_type: media_type.into(),
        data: data.into(),
        name: Some("f".into()),
    };
    let content = vec![
        file("image/png", "AA=="),
        file("application/pdf", "AA=="),
        file("text/csv", "YSxi"),
        file("video/mp4", "AA=="),
    ];
    let mut result = answer("c", "{}");
    result.is_error = true;
    result.media.push(("image/jpeg".into(), "BB==".into()));
    let sent = body(
        "anthropic",
        F,
        &request(vec![
            PromptMessage::User(content),
            assistant(vec![call("c")], None),
            PromptMessage::Tool(vec![result]),
        ]),
    );
    let first = &sent["messages"][0]["content"];
    assert_eq!(first[0]["source"], json!({"type": "base64", "media_type": "image/png", "data": "AA=="}));
    assert_eq!(first[1]["type"], "document");
    assert_eq!(first[2]["text"], "[File f]\na,b");
    assert!(first[3]["text"].as_str().unwrap().contains("video/mp4"));
    let result = &sent["messages"][2]["content"][0];
    assert_eq!((&result["is_error"], &result["content"][1]["type"]), (&json!(true), &json!("image")));
}

proptest! {
    #[test]
    fn every_conversation_is_valid(messages in conversations()) {
        let sent = body("anthropic", F, &request(messages));
        let list = sent["messages"].as_array().unwrap();
        prop_assert_eq!(&list[0]["role"], "user");
        for pair in list.windows(2) {
            prop_assert_ne!(&pair[0]["role"], &pair[1]["role"]);
        }
        for (at, message) in list.iter().enumerate() {
            let blocks = message["content"].as_array().unwrap();
            prop_assert!(!blocks.is_empty());
            let of = |blocks: &[Value], kind: &str, key: &str| -> Vec<Value> {
                blocks.iter().filter(|b| b["type"] == kind).map(|b| b[key].clone()).collect()
            };
            let asked = of(blocks, "tool_use", "id");
            let given = list.get(at + 1).map_or(vec![], |m| of(m["content"].as_array().unwrap(), "tool_result", "tool_use_id"));
            prop_assert_eq!(asked, given);
        }
    }
}

#[test]
fn what_a_gateway_adds_is_no_error_unless_it_is_one() {
    let end = json!({"type": "message_stop"});
    let odd = [json!(""), json!({"unknown": 1}), json!({"type": "new_event"}), end, json!("[DONE]")];
    assert_eq!(words(&decode(F, &odd)), ["finish Other"]);
    let failed = [json!({"error": {"message": "upstream is down", "code": "503"}})];
    let WireError::Provider { status, message, .. } = decode_err(F, &failed) else {
        panic!("a provider's error")
    };
    assert_eq!((status, message.as_str()), (Some(503), "upstream is down"));
}

#[test]
fn thinking_that_was_cut_does_not_go_back() {
    let native =
        |items: &[Value]| Native { format: F, model: MODEL.into(), items: items.iter().map(raw).collect() };
    let signed = json!({"type": "thinking", "thinking": "a", "signature": "S"});
    let cut = json!({"type": "thinking", "thinking": "b", "signature": ""});
    let said = json!({"type": "text", "text": "said"});
    for (items, kept) in [
        (vec![signed.clone(), said.clone()], vec!["thinking", "text"]),
        (vec![signed.clone(), said.clone(), cut.clone()], vec!["thinking", "text"]),
        (vec![cut, said.clone()], vec!["text"]),
        (vec![said, signed.clone()], vec!["text"]),
        (vec![signed], vec![]),
    ] {
        let messages = vec![
            user("q"),
            assistant(vec![AssistantContent::Text("said".into())], Some(native(&items))),
            user("r"),
        ];
        let sent = body("anthropic", F, &request(messages));
        let kinds: Vec<&str> = sent["messages"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|m| m["role"] == "assistant")
            .flat_map(|m| m["content"].as_array().unwrap())
            .map(|b| b["type"].as_str().unwrap())
            .collect();
        assert_eq!(kinds, kept);
    }
}
