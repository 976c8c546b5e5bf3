//! The fake is strict, and plays its scripts as written.

use super::*;
use crate::support::client::Api;
use futures_util::StreamExt as _;
use reqwest::{Method, header::CONTENT_TYPE};

fn path(wire: Wire) -> &'static str {
    match wire {
        Wire::Chat => "/v1/chat/completions",
        Wire::Anthropic => "/v1/messages",
        Wire::Responses => "/v1/responses",
        Wire::Unknown => "/v1/nonsense",
    }
}

async fn post(model: &FakeModel, wire: Wire, key: &str, body: &Value) -> reqwest::Response {
    drop(Api::new("http://unused", None)); // installs the TLS provider that reqwest asks for
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request =
        client.request(Method::POST, model.url() + path(wire)).header(CONTENT_TYPE, "application/json");
    let request = match wire {
        Wire::Anthropic => request.header("x-api-key", key).header("anthropic-version", "2023-06-01"),
        _ => request.header("authorization", format!("Bearer {key}")),
    };
    request.body(body.to_string()).send().await.unwrap()
}

fn tool(wire: Wire, name: &str, schema: Value) -> Value {
    match wire {
        Wire::Anthropic => json!({ "name": name, "description": "d", "input_schema": schema }),
        Wire::Responses => {
            json!({ "type": "function", "name": name, "description": "d", "parameters": schema })
        }
        _ => {
            json!({ "type": "function", "function": { "name": name, "description": "d", "parameters": schema } })
        }
    }
}

fn object_schema() -> Value {
    json!({ "type": "object", "properties": { "path": { "type": "string" } }, "required": ["path"] })
}

/// A prompt of each format with two parallel calls, both answered.
fn good(wire: Wire) -> Value {
    let tools = json!([tool(wire, "read_file", object_schema())]);
    let args = "{\"path\":\"a\"}";
    match wire {
        Wire::Anthropic => {
            json!({ "model": "m", "stream": true, "max_tokens": 100, "system": "Be brief.", "tools": tools,
            "messages": [
                { "role": "user", "content": [{ "type": "text", "text": "Read" }] },
                { "role": "assistant", "content": [
                    { "type": "thinking", "thinking": "hm", "signature": "s" },
                    { "type": "tool_use", "id": "c1", "name": "read_file", "input": { "path": "a" } },
                    { "type": "tool_use", "id": "c2", "name": "read_file", "input": { "path": "a" } }] },
                { "role": "user", "content": [
                    { "type": "tool_result", "tool_use_id": "c1", "content": "one" },
                    { "type": "tool_result", "tool_use_id": "c2", "content": [{ "type": "text", "text": "two" }] },
                    { "type": "text", "text": "And?" }] }] })
        }
        Wire::Responses => {
            json!({ "model": "m", "stream": true, "instructions": "Be brief.", "tools": tools, "input": [
            { "role": "user", "content": [{ "type": "input_text", "text": "Read" }] },
            { "type": "reasoning", "id": "rs1", "summary": [], "encrypted_content": "x" },
            { "type": "function_call", "call_id": "c1", "name": "read_file", "arguments": args },
            { "type": "function_call", "call_id": "c2", "name": "read_file", "arguments": args },
            { "type": "function_call_output", "call_id": "c1", "output": "one" },
            { "type": "function_call_output", "call_id": "c2", "output": "two" },
            { "role": "user", "content": "And?" }] })
        }
        _ => {
            json!({ "model": "m", "stream": true, "tools": tools, "stream_options": { "include_usage": true }, "messages": [
            { "role": "system", "content": "Be brief." },
            { "role": "user", "content": "Read" },
            { "role": "assistant", "content": null, "tool_calls": [
                { "id": "c1", "type": "function", "function": { "name": "read_file", "arguments": args } },
                { "id": "c2", "type": "function", "function": { "name": "read_file", "arguments": args } }] },
            { "role": "tool", "tool_call_id": "c1", "content": "one" },
            { "role": "tool", "tool_call_id": "c2", "content": "two" },
            { "role": "user", "content": "And?" }] })
        }
    }
}

const WIRES: [Wire; 3] = [Wire::Chat, Wire::Anthropic, Wire::Responses];

#[tokio::test]
async fn a_good_prompt_is_read_alike_in_every_format() {
    for wire in WIRES {
        let model = FakeModel::script([says("Fine.")]).await;
        let response = post(&model, wire, FakeModel::KEY, &good(wire)).await;
        assert_eq!(response.status().as_u16(), 200, "{wire:?}");
        let text = response.text().await.unwrap();
        assert!(text.contains("Fi") && text.contains("ne."), "{text}");
        assert_eq!(model.verdict(), Vec::<String>::new(), "{wire:?}");
        let seen = model.request(0).await;
        assert_eq!(seen.tool_results(), ["one", "two"], "{wire:?}");
        assert_eq!((seen.system().as_str(), seen.last_user()), ("Be brief.", "And?"), "{wire:?}");
        assert_eq!(seen.tool_names(), ["read_file"]);
        let roles: Vec<&str> = seen.messages.iter().map(|m| m.role.as_str()).collect();
        assert_eq!(roles, ["system", "user", "assistant", "tool", "user"], "{wire:?}");
        assert_eq!(seen.messages[2].calls[1].args, json!({ "path": "a" }));
        assert_eq!(model.ended(0).await, Ending::Played);
    }
}

/// Where the conversation lies in a body.
fn list_key(wire: Wire) -> &'static str {
    if wire == Wire::Responses { "input" } else { "messages" }
}

fn drop_at(wire: Wire, body: &Value, at: usize) -> Value {
    let mut body = body.clone();
    body[list_key(wire)].as_array_mut().unwrap().remove(at);
    body
}

fn set(body: &Value, pointer: &str, value: Value) -> Value {
    let mut body = body.clone();
    *body.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}")) = value;
    body
}

#[tokio::test]
async fn malformed_prompts_are_refused_and_remembered() {
    use Wire::{Anthropic, Chat, Responses};
    let (chat, anthropic, responses) = (good(Chat), good(Anthropic), good(Responses));
    let schema = |wire, schema: Value| set(&good(wire), "/tools", json!([tool(wire, "t", schema)]));
    let cases = [
        (Chat, drop_at(Chat, &chat, 4), "\"c2\" has 0 answers"),
        (Chat, drop_at(Chat, &chat, 2), "\"c1\" has no call directly before it"),
        (Chat, set(&chat, "/messages/4/tool_call_id", json!("c1")), "\"c1\" has 2 answers"),
        (Chat, set(&chat, "/messages/2/tool_calls/1/id", json!("c1")), "\"c1\" occurs twice"),
        (Chat, set(&chat, "/messages/3", json!({ "role": "user", "content": "no" })), "\"c1\" has 0 answers"),
        (Chat, set(&chat, "/messages/1/content", json!("  ")), "empty user message"),
        (
            Chat,
            set(&chat, "/messages/5", json!({ "role": "assistant", "content": "" })),
            "empty assistant message",
        ),
        (Chat, set(&chat, "/messages/0/content", json!("")), "empty system text"),
        (Chat, drop_at(Chat, &chat, 1), "first message is of role \"assistant\""),
        (Chat, set(&chat, "/messages", json!([])), "no message"),
        (Chat, set(&chat, "/stream", json!(false)), "does not ask for a stream"),
        (Chat, set(&chat, "/model", json!("")), "no model"),
        (Chat, set(&chat, "/messages/2/tool_calls/0/function/arguments", json!("{")), "no JSON object"),
        (Chat, set(&chat, "/tools", json!([])), "empty list of tools"),
        (Chat, schema(Chat, json!({ "type": "object" })), "lacks properties"),
        (Chat, schema(Chat, json!({ "type": "string" })), "no object schema"),
        (
            Chat,
            schema(Chat, json!({ "type": "object", "properties": { "a": { "type": "array" } } })),
            "without items",
        ),
        (
            Chat,
            schema(Chat, json!({ "type": "object", "properties": { "a": { "$ref": "#/$defs/b" } } })),
            "leads nowhere",
        ),
        (
            Chat,
            schema(Chat, json!({ "type": "object", "properties": { "a": { "type": "text" } } })),
            "type \"text\"",
        ),
        (Chat, set(&chat, "/tools/0/function/name", json!("no spaces")), "tool name"),
        (
            Anthropic,
            set(&anthropic, "/messages/2/content/1/tool_use_id", json!("c9")),
            "\"c2\" has 0 answers",
        ),
        (Anthropic, set(&anthropic, "/messages/2/content/1/tool_use_id", json!("c9")), "\"c9\" has no call"),
        (Anthropic, set(&anthropic, "/messages/0/content/0/text", json!("")), "empty text part"),
        (Anthropic, set(&anthropic, "/messages/1/content/0/signature", json!("")), "without its signature"),
        (Anthropic, set(&anthropic, "/messages/1/content/1/input", json!("{}")), "tool_use with input"),
        (Anthropic, set(&anthropic, "/messages/1/content/1/id", json!("c.1")), "characters that are refused"),
        (Anthropic, set(&anthropic, "/max_tokens", json!(0)), "max_tokens"),
        (
            Anthropic,
            set(&anthropic, "/messages/2/content/0", json!({ "type": "text", "text": "x" })),
            "behind other content",
        ),
        (Responses, drop_at(Responses, &responses, 5), "\"c2\" has 0 answers"),
        (Responses, drop_at(Responses, &responses, 2), "\"c1\" has no call"),
        (
            Responses,
            set(&responses, "/input/1", json!({ "type": "item_reference", "id": "x" })),
            "type \"item_reference\"",
        ),
        (
            Responses,
            set(&responses, "/input/6", responses["input"][1].clone()),
            "item id \"rs1\" occurs twice",
        ),
        (
            Responses,
            set(&responses, "/input/0/content/0/type", json!("output_text")),
            "a part of type \"output_text\"",
        ),
        (Wire::Unknown, chat.clone(), "is no model call"),
    ];
    for (wire, body, expected) in cases {
        let model = FakeModel::start().await;
        let response = post(&model, wire, FakeModel::KEY, &body).await;
        assert_eq!(response.status().as_u16(), 400, "{expected}: {body}");
        let said = response.text().await.unwrap();
        let kept = model.verdict().join("\n");
        assert!(said.contains("invalid_request_error"), "{said}");
        assert!(kept.contains(expected), "expected {expected:?} in {kept}");
    }
}

#[tokio::test]
async fn a_request_without_the_key_or_without_a_script_is_refused() {
    let model = FakeModel::script([says("secret")]).await;
    let response = post(&model, Wire::Chat, "wrong", &good(Wire::Chat)).await;
    assert_eq!(response.status().as_u16(), 401);
    assert!(model.verdict().join("\n").contains("API key"));
    model.forget_rest();
    let response = post(&model, Wire::Chat, FakeModel::KEY, &good(Wire::Chat)).await;
    assert_eq!(response.status().as_u16(), 400);
    assert!(model.verdict().join("\n").contains("nothing is scripted"));
    model.expect_key(None);
    model.push([says("open to all")]);
    assert_eq!(post(&model, Wire::Chat, "", &good(Wire::Chat)).await.status().as_u16(), 200);
    assert!(model.verdict().is_empty());
}

/// Data of the events of a stream, in order.
fn events(text: &str) -> Vec<Value> {
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    data.filter(|data| *data != "[DONE]").map(|data| serde_json::from_str(data).unwrap()).collect()
}

#[tokio::test]
async fn each_format_carries_reasoning_text_parallel_calls_and_usage() {
    for wire in WIRES {
        let reply = thinks("hmm")
            .says_in(["a", "b"])
            .calls("one", json!({ "x": 1 }))
            .calls_in("two", ["{\"y\"", ":2}"])
            .with_id("chosen")
            .tokens(Tokens { cache_read: 3, ..Tokens::new(7, 9) });
        let model = FakeModel::script([reply.slices(5)]).await;
        let text = post(&model, wire, FakeModel::KEY, &good(wire)).await.text().await.unwrap();
        let all = events(&text);
        let (text, args, tokens): (String, Vec<String>, (i64, i64)) = match wire {
            Wire::Anthropic => {
                let delta = |key: &'static str| all.iter().filter_map(move |e| e["delta"][key].as_str());
                let json_of = |at: usize| {
                    let mine = all.iter().filter(move |e| e["index"] == at);
                    mine.filter_map(|e| e["delta"]["partial_json"].as_str()).collect::<String>()
                };
                assert_eq!(all[0]["message"]["usage"]["cache_read_input_tokens"], 3);
                let usage = (all[0]["message"]["usage"]["input_tokens"].as_i64().unwrap(), 9);
                assert_eq!(all[all.len() - 2]["usage"]["output_tokens"], 9);
                assert_eq!(all[all.len() - 2]["delta"]["stop_reason"], "tool_use");
                (delta("text").collect(), vec![json_of(2), json_of(3)], usage)
            }
            Wire::Responses => {
                let done = &all.last().unwrap()["response"];
                let output = done["output"].as_array().unwrap();
                assert_eq!(output[0]["summary"][0]["text"], "hmm");
                assert_eq!(output[3]["call_id"], "chosen");
                let arguments = |at: usize| output[at]["arguments"].as_str().unwrap().to_owned();
                assert!(all.iter().enumerate().all(|(n, e)| e["sequence_number"] == n));
                let usage = &done["usage"];
                let tokens =
                    (usage["input_tokens"].as_i64().unwrap() - 3, usage["output_tokens"].as_i64().unwrap());
                (
                    output[1]["content"][0]["text"].as_str().unwrap().to_owned(),
                    vec![arguments(2), arguments(3)],
                    tokens,
                )
            }
            _ => {
                let deltas = all.iter().map(|e| &e["choices"][0]["delta"]);
                let calls: Vec<&Value> = deltas.clone().filter_map(|d| d["tool_calls"].get(0)).collect();
                let json_of = |at: usize| {
                    let mine = calls.iter().filter(move |c| c["index"] == at);
                    mine.filter_map(|c| c["function"]["arguments"].as_str()).collect::<String>()
                };
                let usage = &all.last().unwrap()["usage"];
                let tokens = (
                    usage["prompt_tokens"].as_i64().unwrap() - 3,
                    usage["completion_tokens"].as_i64().unwrap(),
                );
                (deltas.filter_map(|d| d["content"].as_str()).collect(), vec![json_of(0), json_of(1)], tokens)
            }
        };
        assert_eq!((text.as_str(), tokens), ("ab", (7, 9)), "{wire:?}");
        assert_eq!(args, ["{\"x\":1}", "{\"y\":2}"], "{wire:?}");
    }
}

#[tokio::test]
async fn a_gate_holds_a_reply_and_a_closed_socket_is_noticed() {
    let gate = Gate::new();
    let model = FakeModel::script([says("before").gate(&gate).says("after"), says("x").silence()]).await;
    let mut response = post(&model, Wire::Chat, FakeModel::KEY, &good(Wire::Chat)).await;
    gate.reached().await;
    let mut text = String::new();
    while !text.contains("ore") {
        text += &String::from_utf8_lossy(&response.chunk().await.unwrap().unwrap());
    }
    assert!(!text.contains("aft"));
    gate.open();
    assert!(response.text().await.unwrap().contains("ter"));
    let response = post(&model, Wire::Chat, FakeModel::KEY, &good(Wire::Chat)).await;
    drop(response);
    model.closed_by_client(1).await;
    assert!(model.verdict().is_empty());
}

#[tokio::test]
async fn failures_cuts_and_garbage_arrive_as_scripted() {
    let overloaded = error_body(Wire::Anthropic, "overloaded_error", "later");
    let model = FakeModel::script([
        fails(529, overloaded.clone()).header("retry-after", "7"),
        fails(502, json!("<html>bad gateway</html>")),
        says("cut").cut(),
        says_in(["end"]).without_end(),
        Reply::empty().garbage().invalid_utf8().error_event(Wire::Anthropic, "overloaded_error", "later"),
        Reply::empty().long_line(3 << 20),
    ])
    .await;
    let ask = || post(&model, Wire::Anthropic, FakeModel::KEY, &ANTHROPIC);
    static ANTHROPIC: std::sync::LazyLock<Value> = std::sync::LazyLock::new(|| good(Wire::Anthropic));
    let response = ask().await;
    assert_eq!(
        (response.status().as_u16(), &response.headers()["retry-after"]),
        (529, &"7".parse().unwrap())
    );
    assert_eq!(serde_json::from_str::<Value>(&response.text().await.unwrap()).unwrap(), overloaded);
    assert_eq!(ask().await.text().await.unwrap(), "<html>bad gateway</html>");
    assert!(ask().await.text().await.is_err(), "a cut is an error of the transport");
    let ended = ask().await.text().await.unwrap();
    assert!(ended.contains("end") && !ended.contains("message_stop"), "{ended}");
    let garbage = ask().await.bytes().await.unwrap();
    assert!(std::str::from_utf8(&garbage).is_err());
    assert!(String::from_utf8_lossy(&garbage).contains("event: error\n"));
    let mut long = ask().await.bytes_stream();
    let mut bytes = 0;
    while let Some(chunk) = long.next().await {
        bytes += chunk.unwrap().len();
    }
    assert!(bytes > 3 << 20);
    assert!(model.verdict().is_empty());
}

#[tokio::test]
async fn side_requests_do_not_eat_the_script() {
    let model = FakeModel::script([says("the turn")]).await;
    let mut title = good(Wire::Chat);
    title["tools"] =
        json!([tool(Wire::Chat, "propose_title", json!({ "type": "object", "properties": {} }))]);
    let text = post(&model, Wire::Chat, FakeModel::KEY, &title).await.text().await.unwrap();
    assert!(text.contains("propose_title"), "{text}");
    let text = post(&model, Wire::Chat, FakeModel::KEY, &good(Wire::Chat)).await.text().await.unwrap();
    assert!(text.contains("turn"), "{text}");
    assert_eq!((model.requests().len(), model.side_requests().len()), (1, 1));
    assert!(model.verdict().is_empty());
}
