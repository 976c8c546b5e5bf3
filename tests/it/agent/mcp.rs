//! Tool servers of the project: small shell scripts that speak JSON-RPC, good and bad ones.

use super::{Answered, Inside};
use crate::support::{
    outside::{eventually, within},
    tool_server,
};
use serde_json::{Value, json};
use std::{fs, time::Duration};
use tokio::time::Instant;

fn script(inside: &Inside, name: &str, tools: &str, calls: &str) {
    tool_server::write(inside.at(""), name, tools, calls);
}

fn configure(inside: &Inside, servers: Value) {
    fs::write(inside.at(".mcp.json"), json!({"mcpServers": servers}).to_string()).unwrap();
}

async fn names(inside: &Inside) -> Vec<String> {
    let listed = inside.client.get("mcp/tools").await.ok();
    listed["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

fn starts(inside: &Inside, name: &str) -> usize {
    fs::read_to_string(inside.at(&format!("{name}.log"))).unwrap_or_default().lines().count()
}

const ADD: &str = r#"{"name":"add","description":"Adds","inputSchema":{"type":"object","properties":{"a":{"type":"number"}},"required":["a"]}}"#;

#[tokio::test]
async fn tools_are_listed_and_called() {
    let inside = Inside::with(&[("GREETING", "hello"), ("CHATD_AGENT_TOKEN", "secret")]).await;
    assert_eq!(inside.client.get("mcp/tools").await.ok(), json!({"tools": []}));
    let calls = r#"case "$line" in
      *'"name":"add"'*) say '{"content":[{"type":"text","text":"'"$TOLD ${CHATD_AGENT_TOKEN-none}"'"},{"type":"image","data":"aGk=","mimeType":"image/png"},{"type":"resource_link","uri":"file:///x","name":"x"}]}';;
      *) say '{"content":[{"type":"text","text":"no"}],"isError":true}';;
    esac"#;
    script(&inside, "one", &format!(r#"{{"name":"fail","inputSchema":{{"type":"object"}}}},{ADD}"#), calls);
    configure(
        &inside,
        json!({
            "one": {"command": "sh", "args": ["one.sh"], "env": {"TOLD": "${GREETING} ${CHATD_AGENT_TOKEN:-hidden}"}},
            "a__b": {"command": "sh"}, "far": {"url": "http://h"}, "gone": {"command": "/no/such/program"},
        }),
    );
    let listed = inside.client.get("mcp/tools").await.ok();
    assert_eq!(
        listed["tools"][0],
        json!({"server_name": "one", "name": "one__add", "description": "Adds", "schema": {"a": {"type": "number"}}, "required": ["a"]})
    );
    assert_eq!(names(&inside).await, ["one__add", "one__fail"]);
    let call = async |name: &str| {
        inside.client.post("mcp/call-tool", json!({"tool_name": name, "arguments": {"a": 1}})).await
    };
    assert_eq!(
        call("one__add").await.ok(),
        json!({"content": [
            {"type": "text", "text": "hello hidden none"},
            {"type": "image", "data": "aGk=", "media_type": "image/png"},
            {"type": "text", "text": "[resource: x (file:///x)]"},
        ], "is_error": false})
    );
    assert_eq!(call("one__fail").await.ok()["is_error"], true);
    for unknown in ["one__none", "two__add", "add", "far__x"] {
        assert!(call(unknown).await.refused(404).contains(unknown));
    }
    assert!(call("gone__x").await.refused(502).contains("/no/such/program"));
    assert_eq!(starts(&inside, "one"), 1);
}

#[tokio::test]
async fn a_changed_file_restarts_what_changed() {
    let inside = Inside::new().await;
    script(&inside, "one", ADD, r#"say '{"content":[]}'"#);
    script(&inside, "two", ADD, r#"say '{"content":[]}'"#);
    let server = |name: &str, more: &str| json!({"command": "sh", "args": [format!("{name}.sh"), more]});
    configure(&inside, json!({"one": server("one", ""), "two": server("two", "")}));
    assert_eq!(names(&inside).await, ["one__add", "two__add"]);
    configure(&inside, json!({"one": server("one", ""), "two": server("two", "changed")}));
    assert_eq!(names(&inside).await, ["one__add", "two__add"]);
    assert_eq!((starts(&inside, "one"), starts(&inside, "two")), (1, 2));
    fs::write(inside.at(".mcp.json"), "not JSON").unwrap();
    assert!(names(&inside).await.is_empty());
    fs::remove_file(inside.at(".mcp.json")).unwrap();
    assert!(names(&inside).await.is_empty());
}

#[tokio::test]
async fn one_that_has_ended_is_started_again() {
    let inside = Inside::new().await;
    script(&inside, "one", ADD, r#"echo "it broke" >&2; exit 1"#);
    configure(&inside, json!({"one": {"command": "sh", "args": ["one.sh"]}}));
    let call = json!({"tool_name": "one__add"});
    let ended = inside.client.post("mcp/call-tool", call.clone()).await.refused(502);
    assert!(ended.contains("\"one\"") && ended.contains("had an effect is unknown"), "{ended}");
    eventually("it is started again", async || {
        drop(inside.client.post("mcp/call-tool", call.clone()).await);
        (starts(&inside, "one") >= 2).then_some(())
    })
    .await;
    assert_eq!(names(&inside).await, ["one__add"]);
}

#[tokio::test]
async fn a_call_has_one_effect() {
    let inside = Inside::new().await;
    script(
        &inside,
        "one",
        ADD,
        r#"echo called >> calls.log; say '{"content":[{"type":"text","text":"done"}]}'"#,
    );
    configure(&inside, json!({"one": {"command": "sh", "args": ["one.sh"]}}));
    let body = json!({"tool_name": "one__add", "arguments": {"a": 1}});
    let first = inside.client.tool_call("c").post("mcp/call-tool", body.clone()).await.ok();
    assert_eq!(inside.again().await.tool_call("c").post("mcp/call-tool", body).await.ok(), first);
    assert_eq!(fs::read_to_string(inside.at("calls.log")).unwrap(), "called\n");
}

#[tokio::test]
async fn bad_servers_cost_the_good_ones_nothing() {
    let inside = Inside::new().await;
    script(&inside, "good", ADD, r#"say '{"content":[{"type":"text","text":"fine"}]}'"#);
    // One floods and never answers; one prints junk before it ends; one dies at once.
    configure(
        &inside,
        json!({
            "flood": {"command": "yes", "args": ["x".repeat(1000)]},
            "junk": {"command": "sh", "args": ["-c", "head -c 100000 /dev/urandom; echo broken >&2; exit 1"]},
            "dead": {"command": "false"},
            "good": {"command": "sh", "args": ["good.sh"]},
        }),
    );
    let since = Instant::now();
    assert_eq!(names(&inside).await, ["good__add"]);
    assert!(since.elapsed() < Duration::from_secs(25), "a flood is not waited for: {:?}", since.elapsed());
    // They are not tried again at once.
    let since = Instant::now();
    assert_eq!(names(&inside).await, ["good__add"]);
    assert!(since.elapsed() < Duration::from_secs(2), "{:?}", since.elapsed());
    let fine = inside.client.post("mcp/call-tool", json!({"tool_name": "good__add"})).await.ok();
    assert_eq!(fine["content"][0]["text"], "fine");
    let junk = inside.client.post("mcp/call-tool", json!({"tool_name": "junk__x"})).await.refused(502);
    assert!(junk.contains("broken"), "{junk}");
    inside.agent.stop().await;
    assert!(
        inside.client.post("mcp/call-tool", json!({"tool_name": "good__add"})).await.status.is_client_error()
    );
}

#[tokio::test]
async fn one_that_hangs_ends_with_an_explanation_and_with_the_agent() {
    let inside = Inside::new().await;
    script(&inside, "one", ADD, "sh -c 'echo $$ > hung; exec sleep 600'");
    configure(&inside, json!({"one": {"command": "sh", "args": ["one.sh"]}}));
    assert_eq!(names(&inside).await, ["one__add"]);
    let client = inside.client.clone();
    let call = tokio::spawn(async move {
        let body = json!({"tool_name": "one__add"}).to_string().into();
        client.try_call(hyper::Method::POST, "mcp/call-tool", body).await.unwrap()
    });
    let hung = inside.at("hung");
    let id =
        eventually("it hangs", async || fs::read_to_string(&hung).ok().filter(|id| id.ends_with('\n'))).await;
    // The others go on meanwhile.
    assert_eq!(inside.client.get("processes/list").await.ok(), json!({"processes": []}));
    inside.agent.stop().await;
    assert!(call.await.unwrap().refused(502).contains("\"one\""));
    within(Duration::from_secs(10), "its child is gone", async || {
        (!fs::exists(format!("/proc/{}", id.trim())).unwrap()).then_some(())
    })
    .await;
}

/// Calls a tool without a limit of the test's own.
async fn call(inside: &Inside, name: &str) -> (Answered, Duration) {
    let begun = Instant::now();
    let body = json!({"tool_name": name}).to_string().into();
    let answered = inside.client.try_call(hyper::Method::POST, "mcp/call-tool", body).await.unwrap();
    (answered, begun.elapsed())
}

const FINE: &str = r#"say '{"content":[{"type":"text","text":"fine"}]}'"#;

#[tokio::test]
async fn an_answer_that_is_too_long_fails_at_once_and_its_server_is_started_anew() {
    let inside = Inside::new().await;
    let calls = format!(
        "if test -e again; then {FINE}; else echo x > again; head -c 5000000 /dev/zero | tr '\\0' x; fi"
    );
    script(&inside, "one", ADD, &calls);
    configure(&inside, json!({"one": {"command": "sh", "args": ["one.sh"]}}));
    assert_eq!(names(&inside).await, ["one__add"]);
    let (failed, took) = call(&inside, "one__add").await;
    let why = failed.refused(502);
    assert!(why.contains("more than 4194304 bytes") && why.contains("started anew"), "{why}");
    assert!(took < Duration::from_secs(20), "{took:?}");
    assert_eq!(call(&inside, "one__add").await.0.ok()["content"][0]["text"], "fine");
    assert_eq!(starts(&inside, "one"), 2);
}

#[tokio::test]
async fn one_that_answers_nothing_is_started_anew_and_one_that_is_slow_is_not() {
    let inside = Inside::new().await;
    // The first does not read any more, the second has nothing to say to this call.
    for (name, silent) in [("hung", "sleep 600"), ("slow", ":")] {
        let calls = format!("if test -e {name}.again; then {FINE}; else echo x > {name}.again; {silent}; fi");
        script(&inside, name, ADD, &calls);
    }
    let server = |name: &str| json!({"command": "sh", "args": [format!("{name}.sh")]});
    configure(&inside, json!({"hung": server("hung"), "slow": server("slow")}));
    assert_eq!(names(&inside).await, ["hung__add", "slow__add"]);
    let ((hung, _), (slow, _)) = tokio::join!(call(&inside, "hung__add"), call(&inside, "slow__add"));
    let (hung, slow) = (hung.refused(502), slow.refused(502));
    assert!(hung.contains("did not answer within") && hung.contains("started anew"), "{hung}");
    assert!(slow.contains("did not answer within") && !slow.contains("started anew"), "{slow}");
    for name in ["hung__add", "slow__add"] {
        assert_eq!(call(&inside, name).await.0.ok()["content"][0]["text"], "fine");
    }
    assert_eq!((starts(&inside, "hung"), starts(&inside, "slow")), (2, 1));
}

/// A server whose list is the file `list`. Its tool `switch` puts the file `next` in its place and tells so.
const SWITCHES: &str = r#"case "$line" in
      *'"name":"switch"'*)
        mv next list; printf '{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}\n'; say '{"content":[]}';;
      *'"name":"code"'*) printf '{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"no"}}\n' "$id";;
      *'"name":"text"'*) printf '{"jsonrpc":"2.0","id":%s,"error":{"code":-32602,"message":"Unknown tool: text"}}\n' "$id";;
      *'"name":"result"'*) say '{"content":[{"type":"text","text":"Tool result not found"}],"isError":true}';;
      *) say '{"content":[{"type":"text","text":"fine"}]}';;
    esac"#;

fn list(inside: &Inside, file: &str, names: &[&str]) {
    let tools = names.iter().map(|name| json!({"name": name, "inputSchema": {"type": "object"}}).to_string());
    fs::write(inside.at(file), tools.collect::<Vec<_>>().join(",")).unwrap();
}

/// What an answer tells of the state of the tools.
fn version(answer: &Answered) -> String {
    answer.headers["x-chatd-tools-version"].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_list_that_its_server_changes_is_asked_for_once_more() {
    let inside = Inside::new().await;
    script(&inside, "one", r#"'"$(cat list)"'"#, SWITCHES);
    list(&inside, "list", &["a", "switch"]);
    list(&inside, "next", &["b"]);
    configure(&inside, json!({"one": {"command": "sh", "args": ["one.sh"]}}));
    let listed = inside.client.get("mcp/tools").await;
    assert_eq!(names(&inside).await, ["one__a", "one__switch"]);
    let same = inside.client.post("mcp/call-tool", json!({"tool_name": "one__a"})).await;
    assert_eq!(version(&same), version(&listed));
    let switched = inside.client.post("mcp/call-tool", json!({"tool_name": "one__switch"})).await;
    switched.ok();
    // Any other answer tells of it, too.
    eventually("it is told", async || {
        let answer = inside.client.get("processes/list").await;
        (version(&answer) != version(&listed)).then_some(())
    })
    .await;
    assert_eq!(names(&inside).await, ["one__b"]);
    assert_eq!(starts(&inside, "one"), 1);
}

#[tokio::test]
async fn a_tool_that_its_server_does_not_know_is_gone_if_it_is_not_listed_any_more() {
    let inside = Inside::new().await;
    script(&inside, "one", r#"'"$(cat list)"'"#, SWITCHES);
    let tools = ["code", "text", "result", "other"];
    list(&inside, "list", &tools);
    configure(&inside, json!({"one": {"command": "sh", "args": ["one.sh"]}}));
    let listed = inside.client.get("mcp/tools").await;
    let call = async |name: &str| inside.client.post("mcp/call-tool", json!({"tool_name": name})).await;
    // It is still listed: then that is what it says.
    assert!(call("one__code").await.refused(502).contains("-32601"));
    assert!(call("one__text").await.refused(502).contains("Unknown tool: text"));
    assert_eq!(call("one__result").await.ok()["is_error"], true);
    // It was asked for its list, which is the same.
    let same = inside.client.get("mcp/tools").await;
    assert_eq!(version(&same), version(&listed));
    let before = version(&listed);
    for (n, name) in tools[..3].iter().enumerate() {
        list(&inside, "list", &tools[n + 1..]);
        let gone = call(&format!("one__{name}")).await;
        assert!(gone.refused(404).contains(name));
        assert_ne!(version(&gone), before);
        assert_eq!(names(&inside).await.len(), 3 - n);
    }
    assert_eq!(call("one__other").await.ok()["content"][0]["text"], "fine");
    assert_eq!(starts(&inside, "one"), 1);
}
