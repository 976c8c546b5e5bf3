//! Golden streams and bodies.

use crate::llm::{
    event::FinishReason,
    request::{
        AssistantContent, Native, PromptMessage, Request, UserContent, WireFormat::OpenaiResponses as F,
    },
    testing::*,
    wire::WireError,
};
use proptest::prelude::*;
use serde_json::{Value, json};

fn golden() -> Vec<Value> {
    let added =
        |i: u64, item: Value| json!({"type": "response.output_item.added", "output_index": i, "item": item});
    let done =
        |i: u64, item: Value| json!({"type": "response.output_item.done", "output_index": i, "item": item});
    let args = |i: u64, delta: &str| json!({"type": "response.function_call_arguments.delta", "output_index": i, "delta": delta});
    let summary = |n: u64, delta: &str| json!({"type": "response.reasoning_summary_text.delta", "output_index": 0, "summary_index": n, "delta": delta});
    let text = |delta: &str| json!({"type": "response.output_text.delta", "output_index": 2, "content_index": 0, "delta": delta});
    vec![
        json!({"type": "response.created", "response": {"id": "resp_1", "status": "in_progress"}}),
        added(0, json!({"type": "reasoning", "id": "rs_1", "summary": []})),
        summary(0, "first "),
        summary(0, "thought"),
        json!({"type": "response.reasoning_summary_part.done", "output_index": 0, "summary_index": 0}),
        summary(1, "second"),
        // Key order must survive.
        json!(
            "{\"type\":\"response.output_item.done\",\"output_index\":0,\"item\":{\"type\":\"reasoning\",\"id\":\"rs_1\",\"encrypted_content\":\"ENC\",\"summary\":[]}}"
        ),
        added(1, json!({"type": "web_search_call", "id": "ws_1", "status": "in_progress"})),
        json!({"type": "response.web_search_call.searching", "output_index": 1}),
        done(
            1,
            json!({"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "q"}}),
        ),
        added(2, json!({"type": "message", "id": "msg_1", "role": "assistant", "content": []})),
        text("Grüße "),
        json!({"type": "response.output_text.annotation.added", "output_index": 2, "annotation": {"type": "url_citation", "url": "http://a", "title": "A"}}),
        text("🎉"),
        done(
            2,
            json!({"type": "message", "id": "msg_1", "role": "assistant", "content": [{"type": "output_text", "text": "Grüße 🎉", "annotations": [{"type": "url_citation", "url": "http://a", "title": "A"}]}]}),
        ),
        added(
            3,
            json!({"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "read_file", "arguments": ""}),
        ),
        added(
            4,
            json!({"type": "function_call", "id": "fc_2", "call_id": "c2", "name": "list", "arguments": ""}),
        ),
        args(4, "{"),
        args(3, "{\"p\":"),
        args(4, "}"),
        args(3, "1}"),
        done(
            4,
            json!({"type": "function_call", "id": "fc_2", "call_id": "c2", "name": "list", "arguments": "{}"}),
        ),
        done(
            3,
            json!({"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "read_file", "arguments": "{\"p\":1}"}),
        ),
        json!({"type": "response.some_future_event", "x": 1}),
        json!({"type": "response.completed", "response": {"id": "resp_1", "status": "completed", "output": [{"context_window": 5}],
            "max_input_tokens": 4000, "usage": {"input_tokens": 120, "input_tokens_details": {"cached_tokens": 100}, "output_tokens": 30,
            "output_tokens_details": {"reasoning_tokens": 7}, "total_tokens": 150}}}),
    ]
}

#[test]
fn calls_get_ids_of_their_own() {
    let added = |i: u64| json!({"type": "response.output_item.added", "output_index": i, "item": {"type": "function_call", "id": "f", "call_id": "a", "name": "list", "arguments": ""}});
    let args =
        |i: u64| json!({"type": "response.function_call_arguments.delta", "output_index": i, "delta": "{}"});
    let end = json!({"type": "response.completed", "response": {"id": "r", "status": "completed"}});
    let events = decode(F, &[added(0), added(1), args(1), args(0), end]);
    let calls: Vec<String> = words(&events).into_iter().filter(|w| w.starts_with("call ")).collect();
    assert_eq!(calls, ["call a list {}", "call a_1 list {}"]);
}

#[test]
fn a_whole_answer_is_understood() {
    let events = decode(F, &golden());
    assert_eq!(
        words(&events),
        [
            "reason(",
            "first ",
            "thought",
            ")",
            "reason(",
            "second",
            ")",
            "start ws_1 web_search provider",
            "call ws_1 web_search {\"query\":\"q\",\"type\":\"search\"}",
            "result ws_1 web_search {\"status\":\"completed\",\"action\":{\"query\":\"q\",\"type\":\"search\"}}",
            "text(",
            "Grüße ",
            "source http://a A",
            "🎉",
            ")",
            "start c1 read_file",
            "start c2 list",
            "args c2 {",
            "args c1 {\"p\":",
            "args c2 }",
            "args c1 1}",
            "call c2 list {}",
            "call c1 read_file {\"p\":1}",
            "finish ToolCalls",
        ]
    );
    let finish = finish(&events);
    let u = finish.usage;
    assert_eq!(
        (u.input_tokens, u.cache_read_tokens, u.output_tokens, u.total_tokens, u.reasoning_tokens),
        (20, 100, 30, 150, 7)
    );
    assert_eq!((finish.response_id.as_deref(), finish.context_limit), (Some("resp_1"), Some(4000)));
    let items = &finish.native.as_ref().unwrap().items;
    assert_eq!(items.len(), 5);
    assert_eq!(
        items[0].get(),
        "{\"type\":\"reasoning\",\"id\":\"rs_1\",\"encrypted_content\":\"ENC\",\"summary\":[]}"
    );
    assert!(items[3].get().contains("c1"), "in the order of the output");
}

#[test]
fn any_split_decodes_alike_and_garbage_is_harmless() {
    any_split_is_the_same(F, &golden());
    garbage_is_harmless(F, &golden());
}

#[test]
fn ends_are_mapped() {
    let incomplete = |reason: &str| json!({"type": "response.incomplete", "response": {"status": "incomplete", "incomplete_details": {"reason": reason}}});
    assert_eq!(finish(&decode(F, &[incomplete("max_output_tokens")])).reason, FinishReason::Length);
    assert_eq!(finish(&decode(F, &[incomplete("content_filter")])).reason, FinishReason::ContentFilter);
    assert_eq!(
        finish(&decode(F, &[json!({"type": "response.completed", "response": {}})])).reason,
        FinishReason::Stop
    );
    let failed = json!({"type": "response.failed", "response": {"error": {"code": "server_error", "message": "sorry"}}});
    assert_eq!(
        decode_err(F, &[failed]),
        WireError::Provider { status: None, code: Some("server_error".into()), message: "sorry".into() }
    );
    let foreign = json!({"error": {"message": "upstream is down", "code": "503"}});
    assert!(matches!(decode_err(F, &[foreign]), WireError::Provider { status: Some(503), .. }));
    let error = json!({"type": "error", "code": "rate_limit_exceeded", "message": "slow"});
    assert_eq!(
        decode_err(F, &[error]),
        WireError::Provider {
            status: None,
            code: Some("rate_limit_exceeded".into()),
            message: "slow".into()
        }
    );
}

#[test]
fn text_without_deltas_and_refusals_are_heard() {
    let item = json!({"type": "message", "content": [{"type": "output_text", "text": "whole"}]});
    let events = decode(
        F,
        &[
            json!({"type": "response.output_item.done", "output_index": 0, "item": item}),
            json!({"type": "response.refusal.delta", "output_index": 1, "content_index": 0, "delta": "no"}),
            json!({"type": "response.completed", "response": {"id": "r"}}),
        ],
    );
    assert_eq!(words(&events), ["text(", "whole", ")", "text(", "no", ")", "finish Stop"]);
}

#[test]
fn the_answer_goes_back_verbatim_to_its_model_only() {
    let native = finish(&decode(F, &golden())).native.clone();
    let named = |id: &str| AssistantContent::ToolCall {
        id: id.into(),
        name: "read_file".into(),
        args: raw(&json!({})),
    };
    let content = vec![AssistantContent::Text("Grüße 🎉".into()), named("c1"), named("c2")];
    let req = request(vec![
        user("hi"),
        assistant(content, native),
        PromptMessage::Tool(vec![answer("c1", "1"), answer("c2", "2")]),
    ]);
    let kinds = |sent: &Value| -> Vec<String> {
        sent["input"].as_array().unwrap().iter().map(|i| i["type"].as_str().unwrap().to_owned()).collect()
    };
    let sent = body("openai", F, &req);
    assert_eq!(
        kinds(&sent)[3..],
        [
            "reasoning",
            "web_search_call",
            "message",
            "function_call",
            "function_call",
            "function_call_output",
            "function_call_output"
        ]
    );
    assert_eq!((&sent["store"], &sent["include"]), (&json!(true), &json!(["reasoning.encrypted_content"])));
    // Ids that the prompt has rewritten: the calls have them as well, and the reasoning stays.
    let mut renamed = req.clone();
    if let PromptMessage::Assistant { content, .. } = &mut renamed.messages[1] {
        content[1] = named("c1_2");
    }
    let sent = body("openai", F, &renamed);
    assert_eq!(
        (&sent["input"][3]["type"], &sent["input"][6]["call_id"]),
        (&json!("reasoning"), &json!("c1_2"))
    );
    let mut other = req.clone();
    other.model = "gpt-4.1".into();
    let sent = body("openai", F, &other);
    assert_eq!(
        kinds(&sent)[3..],
        ["message", "function_call", "function_call", "function_call_output", "function_call_output"]
    );
    assert_eq!(sent.get("include"), None);
}

#[test]
fn options_are_sent() {
    let options = json!({"include": ["x"], "instructions": "i", "max_tool_calls": 3, "parallel_tool_calls": true, "user": "u",
        "reasoning_effort": "xhigh", "reasoning_summary": "auto", "text_verbosity": "low", "store": false, "metadata": {"a": "b"},
        "prompt_cache_key": "k", "safety_identifier": "s", "service_tier": "priority", "top_log_probs": 2,
        "web_search_enabled": true, "search_context_size": "high", "allowed_domains": ["a.org"]});
    let req = Request { max_output_tokens: Some(7), temperature: Some(0.1), ..request(vec![user("hi")]) };
    for (provider, model) in [("openai", "gpt-5"), ("azure", "my-deployment")] {
        let mut req = with_options(req.clone(), "openai", options.clone());
        req.model = model.into();
        let sent = body(provider, F, &req);
        let expected = json!({"include": ["x", "reasoning.encrypted_content"], "instructions": "i", "max_tool_calls": 3, "parallel_tool_calls": true,
            "user": "u", "reasoning": {"effort": "xhigh", "summary": "auto"}, "text": {"verbosity": "low"}, "store": false, "metadata": {"a": "b"},
            "prompt_cache_key": "k", "safety_identifier": "s", "service_tier": "priority", "top_logprobs": 2, "max_output_tokens": 7, "stream": true});
        for (key, value) in expected.as_object().unwrap() {
            assert_eq!(sent.get(key), Some(value), "{key}");
        }
        assert_eq!(sent.get("temperature").is_some(), model != "gpt-5");
        assert_eq!(sent["tools"][0]["strict"], false);
        assert_eq!(
            sent["tools"][1],
            json!({"type": "web_search", "search_context_size": "high", "filters": {"allowed_domains": ["a.org"]}})
        );
    }
}

#[test]
fn media_reach_the_model() {
    let mut result = answer("c", "{}");
    result.media.push(("image/png".into(), "AA==".into()));
    let picture = UserContent::File { media_type: "image/png".into(), data: "BB==".into(), name: None };
    let sent = body(
        "openai",
        F,
        &request(vec![
            PromptMessage::User(vec![picture]),
            assistant(vec![call("c")], None),
            PromptMessage::Tool(vec![result]),
        ]),
    );
    assert_eq!(sent["input"][2]["content"][0]["image_url"], "data:image/png;base64,BB==");
    assert_eq!(sent["input"][4]["output"][1]["image_url"], "data:image/png;base64,AA==");
}

proptest! {
    #[test]
    fn every_call_is_answered_once(messages in conversations()) {
        let sent = body("openai", F, &request(messages));
        let ids = |kind: &str| -> Vec<String> {
            let items = sent["input"].as_array().unwrap().iter();
            items.filter(|i| i["type"] == kind).map(|i| i["call_id"].as_str().unwrap().to_owned()).collect()
        };
        prop_assert_eq!(ids("function_call"), ids("function_call_output"));
    }
}

#[test]
fn items_may_come_at_the_end_only() {
    let response = json!({"id": "r", "status": "completed", "output": [
        {"type": "message", "content": [{"type": "output_text", "text": "hi"}]},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}]});
    let events = decode(F, &[json!({"type": "response.completed", "response": response})]);
    assert_eq!(words(&events), ["text(", "hi", ")", "start c f", "call c f {}", "finish ToolCalls"]);
}

#[test]
fn a_failure_without_a_reason_quotes_no_prompt() {
    let failed =
        json!({"type": "response.failed", "response": {"id": "r", "error": null, "instructions": "secret"}});
    let error = decode_err(F, &[failed]).to_string();
    assert!(!error.contains("secret") && error.contains("server_error"), "{error}");
}

#[test]
fn reasoning_that_led_to_nothing_does_not_go_back() {
    let thought = |id: &str| json!({"type": "reasoning", "id": id, "summary": [], "encrypted_content": "E"});
    let said =
        json!({"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "a"}]});
    for (items, kept) in [
        (vec![thought("1"), said.clone(), thought("2")], vec!["reasoning", "message"]),
        (vec![thought("1"), thought("2")], vec![]),
        (vec![thought("1"), thought("2"), said], vec!["reasoning", "reasoning", "message"]),
    ] {
        let native = Native { format: F, model: MODEL.into(), items: items.iter().map(raw).collect() };
        let messages = vec![user("q"), assistant(vec![], Some(native)), user("r")];
        let sent = body("openai", F, &request(messages));
        let input = sent["input"].as_array().unwrap();
        let kinds: Vec<&str> =
            input[3..input.len() - 1].iter().map(|i| i["type"].as_str().unwrap()).collect();
        assert_eq!(kinds, kept);
    }
}
