//! Golden streams, the dialects, and the bodies of every vendor; the strict scripted model is the judge
//! of whole conversations.

use crate::llm::{
    event::FinishReason,
    request::{AssistantContent, PromptMessage, Request, UserContent, WireFormat::ChatCompletions as F},
    scripted,
    testing::*,
    wire::WireError,
};
use proptest::prelude::*;
use serde_json::{Value, json};

#[expect(clippy::needless_pass_by_value, reason = "called with literals")]
fn delta(delta: Value) -> Value {
    json!({"id": "r1", "choices": [{"index": 0, "delta": delta, "finish_reason": null}]})
}

fn end(reason: &str) -> Value {
    json!({"id": "r1", "choices": [{"index": 0, "delta": {}, "finish_reason": reason}], "usage": null})
}

fn usage() -> Value {
    json!({"id": "r1", "choices": [], "usage": {"prompt_tokens": 120, "completion_tokens": 30, "total_tokens": 150,
        "prompt_tokens_details": {"cached_tokens": 100, "cache_write_tokens": 5}, "completion_tokens_details": {"reasoning_tokens": 7}}})
}

fn golden() -> Vec<Value> {
    let calls = |list: Value| delta(json!({"tool_calls": list}));
    vec![
        delta(json!({"role": "assistant", "content": ""})),
        delta(json!({"reasoning_content": "hm "})),
        delta(json!({"reasoning_content": "ok"})),
        delta(json!({"content": "Grüße "})),
        delta(json!({"content": "🎉"})),
        delta(
            json!({"annotations": [{"type": "url_citation", "url_citation": {"url": "http://a", "title": "A"}}]}),
        ),
        calls(
            json!([{"index": 0, "id": "a", "type": "function", "function": {"name": "read_file", "arguments": ""}}]),
        ),
        calls(
            json!([{"index": 1, "id": "b", "type": "function", "function": {"name": "list", "arguments": "{"}}]),
        ),
        calls(
            json!([{"index": 0, "function": {"arguments": "{\"p\":"}}, {"index": 1, "function": {"arguments": "}"}}]),
        ),
        calls(json!([{"index": 0, "function": {"arguments": "1}"}}])),
        json!({"object": "unknown.event", "surprise": true}),
        end("tool_calls"),
        usage(),
        json!("[DONE]"),
    ]
}

#[test]
fn a_whole_answer_is_understood() {
    let events = decode(F, &golden());
    assert_eq!(
        words(&events),
        [
            "reason(",
            "hm ",
            "ok",
            ")",
            "text(",
            "Grüße ",
            "🎉",
            "source http://a A",
            ")",
            "start a read_file",
            "start b list",
            "args b {",
            "args a {\"p\":",
            "args b }",
            "args a 1}",
            "call a read_file {\"p\":1}",
            "call b list {}",
            "finish ToolCalls",
        ]
    );
    let finish = finish(&events);
    let u = finish.usage;
    assert_eq!((u.input_tokens, u.cache_read_tokens, u.cache_creation_tokens), (15, 100, 5));
    assert_eq!((u.output_tokens, u.total_tokens, u.reasoning_tokens), (30, 150, 7));
    assert_eq!(finish.response_id.as_deref(), Some("r1"));
    assert_eq!(finish.native.as_ref().unwrap().items[0].get(), "{\"reasoning_content\":\"hm ok\"}");
}

#[test]
fn any_split_decodes_alike_and_garbage_is_harmless() {
    any_split_is_the_same(F, &golden());
    garbage_is_harmless(F, &golden());
}

#[test]
fn a_plain_answer_has_nothing_native() {
    let events = decode(F, &[delta(json!({"content": "hi"})), end("stop"), json!("[DONE]")]);
    assert_eq!(words(&events), ["text(", "hi", ")", "finish Stop"]);
    assert_eq!(finish(&events).native, None);
}

#[test]
fn done_may_be_absent_but_only_after_a_reason() {
    assert_eq!(
        finish(&decode(F, &[delta(json!({"content": "hi"})), end("length")])).reason,
        FinishReason::Length
    );
    assert_eq!(words(&decode(F, &[delta(json!({"content": "hi"}))])), ["text(", "hi"]);
    assert_eq!(
        finish(&decode(F, &[delta(json!({"content": "hi"})), json!("[DONE]")])).reason,
        FinishReason::Stop
    );
}

#[test]
fn usage_may_come_with_the_reason_or_before_it() {
    let mut last = end("stop");
    last["usage"] = usage()["usage"].clone();
    assert_eq!(finish(&decode(F, &[delta(json!({"content": "x"})), last])).usage.output_tokens, 30);
    let events = decode(F, &[delta(json!({"content": "x"})), usage(), end("stop"), json!("[DONE]")]);
    assert_eq!(finish(&events).usage.output_tokens, 30);
}

#[test]
fn calls_of_every_dialect_are_told_apart() {
    let f = |name: &str, args: Value| json!({"name": name, "arguments": args});
    let cases: [(&str, Vec<Value>, Vec<&str>); 8] = [
        (
            "one index for all",
            vec![
                json!({"index": 0, "id": "a", "function": f("x", json!("{}"))}),
                json!({"index": 0, "id": "b", "function": f("y", json!("{}"))}),
            ],
            vec!["call a x {}", "call b y {}"],
        ),
        (
            "no index",
            vec![
                json!({"id": "a", "function": f("x", json!("{\"q\":"))}),
                json!({"function": {"arguments": "1}"}}),
                json!({"id": "b", "function": f("y", json!(""))}),
            ],
            vec!["call a x {\"q\":1}", "call b y {}"],
        ),
        (
            "no id",
            vec![
                json!({"index": 0, "function": f("x", json!("{}"))}),
                json!({"index": 1, "function": f("x", json!("{}"))}),
            ],
            vec!["call call_salt_0 x {}", "call call_salt_1 x {}"],
        ),
        (
            "neither",
            vec![json!({"function": f("x", json!({"deep": [1]}))}), json!({"function": f("y", json!(null))})],
            vec!["call call_salt_0 x {\"deep\":[1]}", "call call_salt_1 y {}"],
        ),
        (
            "one index for all and no id",
            vec![
                json!({"index": 0, "function": f("x", json!("{\"q\":"))}),
                json!({"index": 0, "function": f("x", json!("1}"))}),
                json!({"index": 0, "function": f("x", json!("{\"q\":2}"))}),
                json!({"index": 0, "function": f("y", json!(""))}),
                json!({"index": 0, "function": {"arguments": "{}"}}),
            ],
            vec!["call call_salt_0 x {\"q\":1}", "call call_salt_1 x {\"q\":2}", "call call_salt_2 y {}"],
        ),
        (
            "name repeated without id",
            vec![
                json!({"index": 0, "function": f("x", json!("{"))}),
                json!({"index": 0, "function": f("x", json!("}"))}),
                json!({"index": 0, "function": f("x", json!(""))}),
            ],
            vec!["call call_salt_0 x {}"],
        ),
        (
            "one id twice",
            vec![
                json!({"index": 0, "id": "a", "function": f("x", json!("{}"))}),
                json!({"index": 1, "id": "a", "function": f("y", json!("{}"))}),
            ],
            vec!["call a x {}", "call a_1 y {}"],
        ),
        (
            "name repeated",
            vec![
                json!({"index": 0, "id": "a", "function": f("x", json!("{"))}),
                json!({"index": 0, "id": "a", "function": f("x", json!("}"))}),
            ],
            vec!["call a x {}"],
        ),
    ];
    for (what, pieces, expected) in cases {
        let mut values: Vec<Value> = pieces.into_iter().map(|p| delta(json!({"tool_calls": [p]}))).collect();
        values.push(end("stop"));
        let events = decode(F, &values);
        let calls: Vec<String> = words(&events).into_iter().filter(|w| w.starts_with("call ")).collect();
        assert_eq!(calls, expected, "{what}");
        assert_eq!(finish(&events).reason, FinishReason::ToolCalls, "{what}");
    }
}

#[test]
fn reasoning_of_every_dialect_is_heard_once_and_kept() {
    let details =
        |text: &str| json!([{"type": "reasoning.text", "index": 0, "text": text, "signature": null}]);
    let events = decode(
        F,
        &[
            delta(json!({"reasoning": "a", "reasoning_details": details("a")})),
            delta(json!({"reasoning": "b", "reasoning_details": details("b")})),
            delta(json!({"reasoning_details": [{"type": "reasoning.text", "index": 0, "signature": "S"}]})),
            delta(json!({"reasoning_details": [{"type": "reasoning.encrypted", "index": 1, "data": "E"}]})),
            delta(json!({"content": "x"})),
            end("stop"),
        ],
    );
    assert_eq!(words(&events)[..4], ["reason(", "a", "b", ")"]);
    let native: Value = finish(&events).native.as_ref().unwrap().items[0].read().unwrap();
    assert_eq!(
        native,
        json!({"reasoning": "ab", "reasoning_details": [
        {"type": "reasoning.text", "index": 0, "text": "ab", "signature": "S"}, {"type": "reasoning.encrypted", "index": 1, "data": "E"}]})
    );

    let parts = json!([{"type": "thinking", "thinking": [{"type": "text", "text": "t"}]}, {"type": "text", "text": "x"}]);
    assert_eq!(
        words(&decode(F, &[delta(json!({"content": parts})), end("stop")])),
        ["reason(", "t", ")", "text(", "x", ")", "finish Stop"]
    );

    let thought = delta(json!({"content": "<thought>t", "extra_content": {"google": {"thought": true}}}));
    assert_eq!(words(&decode(F, &[thought, end("stop")])), ["reason(", "t", ")", "finish Stop"]);
}

#[test]
fn errors_in_the_stream_end_it() {
    let error = decode_err(
        F,
        &[
            delta(json!({"content": "x"})),
            json!({"error": {"code": 502, "message": "bad gateway"}, "choices": []}),
        ],
    );
    assert_eq!(error, WireError::Provider { status: Some(502), code: None, message: "bad gateway".into() });
    let error = decode_err(
        F,
        &[json!({"object": "error", "message": "oops", "type": "BadRequestError", "code": 400})],
    );
    assert_eq!(
        error,
        WireError::Provider {
            status: Some(400),
            code: Some("BadRequestError".into()),
            message: "oops".into()
        }
    );
    assert!(matches!(decode_err(F, &[json!("{nonsense")]), WireError::Malformed(_)));
}

#[test]
fn what_was_native_goes_back_with_its_message() {
    let signature = json!({"google": {"thought_signature": "TS"}});
    let answer_stream = [
        delta(json!({"reasoning_content": "r"})),
        // Ids that are the same once they are spelled as providers take them.
        delta(
            json!({"tool_calls": [{"index": 0, "id": "a_1", "type": "function", "function": {"name": "read_file", "arguments": "{}"}}]}),
        ),
        delta(
            json!({"tool_calls": [{"index": 1, "id": "a.1", "type": "function", "extra_content": signature, "function": {"name": "read_file", "arguments": "{}"}}]}),
        ),
        end("tool_calls"),
    ];
    let native = finish(&decode(F, &answer_stream)).native.clone();
    let messages = |native| {
        let calls = vec![call("a_1"), call("b")];
        vec![
            user("hi"),
            assistant(calls, native),
            PromptMessage::Tool(vec![answer("a_1", "1"), answer("b", "2")]),
        ]
    };
    let sent = body("google", F, &request(messages(native.clone())));
    assert_eq!(sent["messages"][2]["reasoning_content"], "r");
    assert_eq!(sent["messages"][2]["tool_calls"][0].get("extra_content"), None);
    assert_eq!(sent["messages"][2]["tool_calls"][1]["extra_content"], signature);
    assert_eq!(sent["messages"][2]["tool_calls"][1]["id"], "b");
    let mut other = request(messages(native));
    other.model = "m-2".into();
    assert_eq!(body("google", F, &other)["messages"][2].get("reasoning_content"), None);
}

#[test]
fn media_of_tools_follow_as_a_user_message() {
    let mut result = answer("c", "{\"text\":\"shot\"}");
    result.media.push(("image/png".into(), "AA==".into()));
    let pdf = UserContent::File {
        media_type: "application/pdf".into(),
        data: "AA==".into(),
        name: Some("a.pdf".into()),
    };
    let req = request(vec![
        PromptMessage::User(vec![pdf]),
        assistant(vec![call("c")], None),
        PromptMessage::Tool(vec![result]),
        user("and?"),
    ]);
    let sent = body("openai", F, &req);
    assert_eq!(sent["messages"][0], json!({"role": "system", "content": "be kind\n\nbe brief"}));
    assert_eq!(sent["messages"][1]["content"][0]["file"]["filename"], "a.pdf");
    assert_eq!(sent["messages"][3]["role"], "tool");
    let last = sent["messages"][4]["content"].as_array().unwrap();
    assert_eq!(last[1]["image_url"]["url"], "data:image/png;base64,AA==");
    assert_eq!(last[2]["text"], "and?");
    assert!(body("openai-compat", F, &req)["messages"][1]["content"].as_str().unwrap().contains("a.pdf"));
}

#[test]
fn every_vendor_gets_its_options() {
    let base = || Request {
        max_output_tokens: Some(9),
        temperature: Some(0.5),
        top_k: Some(3),
        reasoning_effort: Some("High".into()),
        ..request(vec![user("hi")])
    };
    let sent =
        |provider: &str, key: &str, options: Value| body(provider, F, &with_options(base(), key, options));

    let v = sent(
        "openai",
        "openai",
        json!({"parallel_tool_calls": false, "log_probs": true, "top_log_probs": 2, "service_tier": "flex",
        "text_verbosity": "low", "metadata": {"a": "b"}, "user": "u", "store": false, "max_completion_tokens": 11, "strict_json_schema": true,
        "reasoning_effort": "low", "web_search_enabled": true, "search_context_size": "low", "logit_bias": {"1": 2}, "prediction": null}),
    );
    let expected = json!({"parallel_tool_calls": false, "logprobs": true, "top_logprobs": 2, "service_tier": "flex", "verbosity": "low",
        "metadata": {"a": "b"}, "user": "u", "store": false, "max_completion_tokens": 11, "reasoning_effort": "high", "temperature": 0.5,
        "web_search_options": {"search_context_size": "low"}, "logit_bias": {"1": 2}, "stream": true, "stream_options": {"include_usage": true}});
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(v.get(key), Some(value), "{key}");
    }
    assert_eq!(v["tools"][0]["function"]["strict"], true);
    assert_eq!((v.get("max_tokens"), v.get("top_k"), v.get("prediction")), (None, None, None));

    let v = sent("openai-compat", "openaicompat", json!({"user": "u", "reasoning_effort": "low"}));
    assert_eq!(
        (&v["max_tokens"], &v["top_k"], &v["user"], &v["reasoning_effort"]),
        (&json!(9), &json!(3), &json!("u"), &json!("high"))
    );

    let v = sent(
        "openrouter",
        "openrouter",
        json!({"reasoning": {"enabled": true, "exclude": false, "max_tokens": 5}, "include_usage": true,
        "provider": {"order": ["x"]}, "extra_body": {"transforms": [], "model": "evil"}}),
    );
    assert_eq!(v["reasoning"], json!({"enabled": true, "exclude": false, "effort": "high"}));
    assert_eq!(
        (&v["usage"], &v["provider"], &v["transforms"]),
        (&json!({"include": true}), &json!({"order": ["x"]}), &json!([]))
    );
    assert_eq!(v["model"], MODEL);

    let v = sent(
        "vercel",
        "vercel",
        json!({"providerOptions": {"order": ["a"]}, "logprobs": true, "top_logprobs": 1, "extra_body": {"z": 1}}),
    );
    assert_eq!(
        (&v["providerOptions"], &v["logprobs"], &v["z"]),
        (&json!({"gateway": {"order": ["a"]}}), &json!(true), &json!(1))
    );

    let v =
        sent("google", "google", json!({"thinking_config": {"thinking_budget": 7}, "cached_content": "c"}));
    assert_eq!(
        v["extra_body"],
        json!({"google": {"thinking_config": {"thinking_budget": 7}, "cached_content": "c"}})
    );
    assert_eq!(v.get("reasoning_effort"), None);

    let mut reasoning = base();
    reasoning.model = "o4-mini".into();
    assert_eq!(body("openai", F, &reasoning).get("temperature"), None);
}

#[test]
fn names_and_ids_that_providers_refuse_are_made_acceptable() {
    let long = "x".repeat(90);
    let odd = AssistantContent::ToolCall { id: long.clone(), name: "a.b c".into(), args: raw(&json!({})) };
    let sent = body(
        "openai",
        F,
        &request(vec![user("q"), assistant(vec![odd], None), PromptMessage::Tool(vec![answer(&long, "1")])]),
    );
    let made = &sent["messages"][2]["tool_calls"][0];
    assert_eq!(made["function"]["name"], "a_b_c");
    assert_eq!(made["id"], sent["messages"][3]["tool_call_id"]);
    assert_eq!(made["id"].as_str().unwrap().len(), 64);
}

proptest! {
    #[test]
    fn every_conversation_is_valid(messages in conversations()) {
        let sent = body("scripted", F, &request(messages));
        prop_assert_eq!(scripted::check(sent.to_string().as_bytes()), Ok(()));
    }
}

#[test]
fn a_null_index_is_the_first_choice_and_the_words_behind_a_gateway_are_kept() {
    let values = [
        json!({"choices": [{"index": null, "delta": {"content": "hi"}, "finish_reason": null}]}),
        json!({"choices": [{"index": null, "delta": {}, "finish_reason": "stop"}]}),
    ];
    assert_eq!(words(&decode(F, &values)), ["text(", "hi", ")", "finish Stop"]);
    let failed = [json!({"error": {"code": 502, "message": "Provider returned error",
        "metadata": {"provider_name": "X", "raw": "the model is overloaded"}}})];
    let error = decode_err(F, &failed);
    assert_eq!(
        error,
        WireError::Provider {
            status: Some(502),
            code: None,
            message: "Provider returned error: the model is overloaded".into()
        }
    );
}
