//! The scripted model through our own transport, and its strictness.

use super::*;
use crate::llm::{
    event::{Event, FinishReason},
    failure::{Failure, FailureKind},
    providers,
    request::{PromptMessage, Request},
    testing::{answer, assistant, call, finish, raw, request, user, words},
    transport,
};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use std::time::Duration;

async fn ask(server: &ScriptedServer, request: &Request) -> Result<Vec<Event>, Failure> {
    let endpoint =
        providers::lookup("scripted").unwrap().endpoint(Some(&server.base_url()), None, false).unwrap();
    let events: Vec<_> = transport::stream(&transport::client().unwrap(), &endpoint, request).collect().await;
    events.into_iter().collect()
}

fn text(events: &[Event]) -> String {
    let deltas =
        events.iter().filter_map(|e| if let Event::TextDelta(t) = e { Some(t.as_str()) } else { None });
    deltas.collect()
}

/// The built-in script without its pauses.
fn fast(script: &str) -> Script {
    let mut script = Script::parse(script).unwrap();
    for piece in script.rules.iter_mut().flat_map(|r| &mut r.reply) {
        if let Piece::Say(say) = piece {
            say.delay_ms = 0;
        }
    }
    script
}

#[tokio::test]
async fn the_built_in_script_echoes_and_plays_the_demo() {
    let server = start(fast(include_str!("default_script.json"))).await.unwrap();
    let events = ask(&server, &request(vec![user("good morning")])).await.unwrap();
    assert!(text(&events).starts_with("You wrote: good morning\n"), "{}", text(&events));
    let done = finish(&events);
    assert_eq!(done.reason, FinishReason::Stop);
    assert!(done.usage.input_tokens > 5 && done.usage.output_tokens > 20);
    assert_eq!(done.usage.total_tokens, done.usage.input_tokens + done.usage.output_tokens);

    let mut demo = request(vec![user("Show me a demo")]);
    for name in ["list_templates", "create_workspace", "write_file", "execute"] {
        let mut tool = demo.tools[0].clone();
        tool.name = name.into();
        demo.tools.push(tool);
    }
    for (tool, output) in [
        ("list_templates", "{\"templates\":[{\"id\":\"t-1\"}]}"),
        ("create_workspace", "{\"created\":true}"),
        ("write_file", "{\"ok\":true}"),
        ("execute", "{\"output\":\"Hello {{model}}\"}"),
    ] {
        if tool == "write_file" {
            demo.system.push("<workspace-context>\nWorking Directory: /w\n</workspace-context>".into());
        }
        let events = ask(&server, &demo).await.unwrap();
        let Some(Event::ToolCall { id, name, args, .. }) =
            events.iter().find(|e| matches!(e, Event::ToolCall { .. }))
        else {
            panic!("{:?}", words(&events));
        };
        assert_eq!(name, tool);
        assert_eq!(finish(&events).reason, FinishReason::ToolCalls);
        let args: Value = serde_json::from_str(args).unwrap();
        match tool {
            "create_workspace" => assert_eq!(args["template_id"], "t-1"),
            "write_file" => assert_eq!(args["path"], "/w/chatd-demo.sh"),
            _ => {}
        }
        let made = crate::llm::request::AssistantContent::ToolCall {
            id: id.clone(),
            name: name.clone(),
            args: raw(&args),
        };
        demo.messages.push(assistant(vec![made], finish(&events).native.clone()));
        demo.messages.push(PromptMessage::Tool(vec![answer(id, output)]));
    }
    let events = ask(&server, &demo).await.unwrap();
    assert!(
        text(&events).contains("{\"output\":\"Hello {{model}}\"}"),
        "the real output, not expanded again"
    );
    assert_eq!(finish(&events).reason, FinishReason::Stop);
}

#[tokio::test]
async fn a_script_says_fails_and_cuts_as_it_is_told() {
    let script = r#"[
        {"when": {"last_user_contains": "BUSY"}, "times": 1, "reply": [{"error": {"status": 429, "retry_after": "1", "body": {"error": {"message": "slow"}}}}]},
        {"when": {"last_user_contains": "cut"}, "reply": [{"text": "half", "delay_ms": 0}, {"cut": true}]},
        {"when": {"last_user_contains": "late"}, "reply": [{"text": "half", "delay_ms": 0}, {"error": {"status": 500, "body": {"error": {"message": "overloaded"}}}}]},
        {"when": {"system_contains": "brief"}, "reply": [{"reasoning": "hm", "delay_ms": 0}, {"text": "abcd", "chunk_chars": 3, "delay_ms": 0}]}
    ]"#;
    let server = start(Script::parse(script).unwrap()).await.unwrap();
    let failure = ask(&server, &request(vec![user("busy?")])).await.unwrap_err();
    assert_eq!((failure.kind, failure.retry_after), (FailureKind::RateLimit, Some(Duration::from_secs(1))));
    let events = ask(&server, &request(vec![user("busy?")])).await.unwrap();
    assert_eq!(words(&events), ["reason(", "hm", ")", "text(", "abc", "d", ")", "finish Stop"]);
    assert_eq!(ask(&server, &request(vec![user("cut")])).await.unwrap_err().kind, FailureKind::Timeout);
    assert_eq!(ask(&server, &request(vec![user("late")])).await.unwrap_err().kind, FailureKind::Overloaded);
}

#[tokio::test]
async fn an_unanswered_call_is_a_config_error_that_explains() {
    let server = start(Script::default()).await.unwrap();
    let broken = request(vec![user("hi"), assistant(vec![call("c1")], None), user("again")]);
    let failure = ask(&server, &broken).await.unwrap_err();
    assert_eq!((failure.kind, failure.status_code), (FailureKind::Config, Some(400)));
    assert!(failure.detail.unwrap().contains("c1"));
}

#[tokio::test]
async fn dropping_the_server_closes_its_port() {
    let server = start(Script::default()).await.unwrap();
    let address = server.address;
    drop(server);
    // The accept loop is aborted at its next poll.
    let closed = async { while tokio::net::TcpStream::connect(address).await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(5), closed).await.expect("the port is closed");
}

#[test]
fn requests_a_strict_provider_would_refuse_are_refused() {
    let user = json!({"role": "user", "content": "q"});
    let call = |id: &str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let calls = |list: Value| json!({"role": "assistant", "content": null, "tool_calls": list});
    let tool = |id: &str| json!({"role": "tool", "tool_call_id": id, "content": "1"});
    let base = |messages: Value| json!({"model": "m", "stream": true, "messages": messages});
    let refused = [
        json!({"stream": true, "messages": [user]}),
        json!({"model": "m", "messages": [user]}),
        base(json!([])),
        base(json!([{"role": "robot", "content": "x"}])),
        base(json!([user, user])),
        base(json!([user, calls(json!([]))])),
        base(json!([user, {"role": "system", "content": "late"}, user])),
        base(json!([tool("a")])),
        base(json!([user, calls(json!([call("a")]))])),
        base(json!([user, calls(json!([call("a"), call("a")])), tool("a")])),
        base(json!([user, calls(json!([call("a"), call("b")])), tool("a"), user])),
        base(json!([user, calls(json!([call("a")])), tool("a"), tool("a")])),
        base(json!([user, calls(json!([call("a")])), tool("b")])),
        base(json!([
            user,
            calls(json!([{"id": "a", "type": "function", "function": {"name": "f", "arguments": "[1]"}}])),
            tool("a")
        ])),
        base(json!([{"role": "user", "content": ""}])),
        base(json!([{"role": "user", "content": []}])),
        base(json!([{"role": "system", "content": "only"}])),
    ];
    for body in refused {
        assert!(check(body.to_string().as_bytes()).is_err(), "{body}");
    }
    assert!(check(b"{").is_err());
    let fine = base(
        json!([{"role": "system", "content": "s"}, user, calls(json!([call("a"), call("b")])), tool("b"), tool("a"), user]),
    );
    assert_eq!(check(fine.to_string().as_bytes()), Ok(()));
}

#[test]
fn scripts_are_checked() {
    for bad in [
        r#"[{"reply": [{"text": "a", "cut": true}]}]"#,
        r#"[{"reply": [{"cut": true, "delay_ms": 1}]}]"#,
        r#"[{"reply": [{}]}]"#,
        r#"[{"reply": [], "wen": {}}]"#,
        r#"[{"when": {"after": "x"}, "reply": []}]"#,
        r#"[{"reply": [{"error": {"status": 200}}]}]"#,
        r#"[{"reply": [{"tool_call": {"args": {}}}]}]"#,
    ] {
        assert!(Script::parse(bad).is_err(), "{bad}");
    }
    let built_in = Script::default();
    assert_eq!(Script::parse(&serde_json::to_string(&built_in).unwrap()).unwrap(), built_in);
}

#[tokio::test]
async fn the_built_in_script_names_a_chat_when_it_is_asked_to() {
    let server = start(Script::default()).await.unwrap();
    for (shown, title) in [
        (
            "First user message:\nWhy does \"the\" login\ntest fail today, Ann?\n",
            "Why does the login test fail",
        ),
        (
            "First user message:\nHi\n\nLatest user message:\nAnd now?\n\nSample of the conversation:\nUser: Hi",
            "And now?",
        ),
        ("First user message:\n\"\n", "A scripted chat"),
    ] {
        let schema = raw(&json!({ "type": "object", "properties": {} }));
        let output = crate::llm::request::OutputSchema { name: "propose_title", description: "", schema };
        let asked = Request { tools: Vec::new(), output: Some(output), ..request(vec![user(shown)]) };
        let said: Value = serde_json::from_str(&text(&ask(&server, &asked).await.unwrap())).unwrap();
        assert_eq!(said, json!({ "title": title }));
    }
}

#[tokio::test]
async fn a_title_takes_no_reply_of_a_turn() {
    let script = r#"[{ "times": 1, "reply": [{ "text": "the turn" }] },
        { "when": { "schema": "propose_label" }, "reply": [{ "text": "{\"label\":\"Did it\"}" }] }]"#;
    let server = start(fast(script)).await.unwrap();
    let structured = |name: &'static str| {
        let schema = raw(&json!({ "type": "object", "properties": {} }));
        let output = crate::llm::request::OutputSchema { name, description: "", schema };
        Request { tools: Vec::new(), output: Some(output), ..request(vec![user("hello")]) }
    };
    let title = ask(&server, &structured("propose_title")).await.unwrap();
    assert_eq!((text(&title), finish(&title).reason), (String::new(), FinishReason::Stop));
    assert_eq!(text(&ask(&server, &structured("propose_label")).await.unwrap()), "{\"label\":\"Did it\"}");
    assert_eq!(text(&ask(&server, &request(vec![user("hello")])).await.unwrap()), "the turn");
}
