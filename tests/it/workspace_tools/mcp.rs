//! Tools of the tool servers of a chat's workspace: real agents, and servers that are small shell scripts.

use super::{Bound, LOCAL, error, ok, person::Person};
use crate::relay::until_figure;
use crate::support::{
    Engine, Harness, both,
    daemon::DaemonProcess,
    fake_model::{Reply, calls, says},
    outside::{eventually, memory_kib, within},
    run_within,
    tool_server::write as script,
};
use serde_json::{Value, json};
use std::{fs, time::Duration};
use tokio::time::Instant;

/// Names the scripts in this folder as its tool servers.
pub fn configure(folder: &str, servers: &[&str]) {
    let server = |name: &&str| ((*name).to_owned(), json!({"command": "sh", "args": [format!("{name}.sh")]}));
    let servers: serde_json::Map<String, Value> = servers.iter().map(server).collect();
    write_config(folder, &Value::Object(servers));
}

/// In one piece: an agent may look at any moment.
fn write_config(folder: &str, servers: &Value) {
    fs::write(format!("{folder}/.mcp.new"), json!({"mcpServers": servers}).to_string()).unwrap();
    fs::rename(format!("{folder}/.mcp.new"), format!("{folder}/.mcp.json")).unwrap();
}

pub fn tool(name: &str) -> String {
    json!({"name": name, "description": "A tool", "inputSchema": {
        "type": "object", "properties": {"a": {"type": "number"}}, "required": ["a"],
    }})
    .to_string()
}

pub const TEXT: &str =
    r#"say '{"content":[{"type":"text","text":"first"},{"type":"text","text":"second"}]}'"#;

/// A call that says that it runs, and then waits for a file.
const WAITS: &str = r#"echo called >> calls.log; while ! test -e go; do sleep 0.05; done; say '{"content":[{"type":"text","text":"went"}]}'"#;

fn lines(folder: &str, file: &str) -> usize {
    fs::read_to_string(format!("{folder}/{file}")).unwrap_or_default().lines().count()
}

/// The tools of model call number `n` that can only be a workspace's.
async fn offered(h: &Harness, n: usize) -> Vec<String> {
    let request = h.turn(n).await;
    request.tool_names().into_iter().filter(|name| name.contains("__")).map(str::to_owned).collect()
}

async fn bound(h: &Harness, daemon: &DaemonProcess, name: &str) -> Bound {
    h.model.push([says("Hi.")]);
    let bound = Bound::make(daemon, name).await;
    bound.ends("Hi.").await;
    bound
}

both! {
    async fn the_tools_of_a_workspace_are_offered_and_called(h: Harness) {
        h.configure(LOCAL);
        let daemon = h.daemon().await;
        let bound = bound(&h, &daemon, "mcp").await;
        assert!(offered(&h, 0).await.is_empty());
        const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg==";
        let image = format!(r#"{{"type":"image","data":"{PNG}","mimeType":"image/png"}}"#);
        let cases = format!(
            r#"case "$line" in
              *'"name":"add"'*) {TEXT};;
              *'"name":"shot"'*) say '{{"content":[{image}]}}';;
              *'"name":"odd.name"'*) say '{{"content":[{{"type":"text","text":"{{\"n\": 1}}"}}]}}';;
              *) say '{{"content":[{{"type":"text","text":"it broke"}}],"isError":true}}';;
            esac"#
        );
        let tools = ["add", "fail", "shot", "odd.name"].map(tool).join(",");
        script(&bound.folder, "one", &tools, &cases);
        configure(&bound.folder, &["one"]);
        let before = h.turns();
        let results = bound.calls(&h, vec![
            ("one__add", json!({"a": 1})),
            ("one__fail", json!({"a": 1})),
            ("one__shot", json!({})),
            ("one__odd_name", json!({})),
            ("one__none", json!({})),
        ]).await;
        let request = h.turn(before).await;
        let names = request.tool_names();
        // Behind our own, as the agent sorts them.
        assert_eq!(names[names.len() - 4..], ["one__add", "one__fail", "one__odd_name", "one__shot"]);
        assert_eq!(names.iter().filter(|name| name.contains("__")).count(), 4);
        let add = request.tools.iter().find(|tool| tool.name == "one__add").expect("it is there");
        assert_eq!(add.description, "A tool");
        assert_eq!(add.schema, json!({"type": "object", "properties": {"a": {"type": "number"}}, "required": ["a"]}));
        assert_eq!(ok(&results[0]), "first\nsecond");
        assert_eq!(error(&results[1]), "it broke");
        assert_eq!(ok(&results[2]), &json!({"data": PNG, "mime_type": "image/png", "text": ""}));
        assert_eq!(results[2]["is_media"], json!(true), "{}", results[2]);
        assert_eq!(ok(&results[3]), &json!({"n": 1}));
        assert!(error(&results[4]).contains("no tool"), "{}", results[4]);
        // The model is shown the picture.
        let request = h.turn(before + 1).await;
        assert_eq!(request.messages.iter().map(|m| m.files).sum::<usize>(), 1);
        // Calls that run together answer together; the server was started once.
        assert_eq!(lines(&bound.folder, "one.log"), 1);
        // Its log does not tell of each message.
        let log = fs::read_to_string(daemon.data_dir().join("agents").join(format!("{}.log", bound.workspace))).unwrap();
        assert!(log.contains("started") && !log.contains("rmcp"), "{log}");
        // In plan mode there are none.
        bound.api.patch(&format!("/chats/{}", bound.chat), json!({ "plan_mode": "plan" })).await.empty(204);
        let before = h.turns();
        let planned = bound.call(&h, "one__add", json!({"a": 1})).await;
        assert!(error(&planned).contains("no tool"), "{planned}");
        assert!(offered(&h, before).await.is_empty());
        bound.end().await;
    }

    async fn a_list_is_kept_until_a_tool_of_it_is_gone_or_the_agent_is_another(h: Harness) {
        h.configure(LOCAL);
        // It goes with the chat's actor, which must not leave between two turns of a slow test.
        h.configure("[stream]\nretain_grace = \"1m\"\n");
        let daemon = h.daemon().await;
        let bound = bound(&h, &daemon, "kept").await;
        script(&bound.folder, "one", &tool("add"), TEXT);
        script(&bound.folder, "two", &tool("add"), TEXT);
        configure(&bound.folder, &["one"]);
        let first = h.turns();
        assert_eq!(ok(&bound.call(&h, "one__add", json!({"a": 1})).await), "first\nsecond");
        assert_eq!(offered(&h, first).await, ["one__add"]);
        configure(&bound.folder, &["two"]);
        let kept = h.turns();
        let gone = bound.call(&h, "one__add", json!({"a": 1})).await;
        assert!(error(&gone).contains("has no tool \"one__add\" any more"), "{gone}");
        assert_eq!(offered(&h, kept).await, ["one__add"], "nobody asked again");
        assert_eq!(offered(&h, kept + 1).await, ["two__add"], "the list was wrong");
        // Without an agent there is no list; a new one is asked as soon as it is there.
        h.model.push([
            calls("stop_workspace", json!({})),
            Reply::empty().calls("two__add", json!({"a": 1})),
            calls("start_workspace", json!({})),
            calls("one__add", json!({"a": 1})),
            says("Again."),
        ]);
        let stopped = h.turns();
        configure(&bound.folder, &["one", "two"]);
        bound.api.send(&bound.chat, "Start anew.").await;
        bound.ends("Again.").await;
        let results = bound.results(6).await;
        assert_eq!(ok(&results[2])["stopped"], json!(true));
        assert!(error(&results[3]).contains("start_workspace"), "{}", results[3]);
        assert_eq!(ok(&results[4])["started"], json!(true), "{}", results[4]);
        assert_eq!(ok(&results[5]), "first\nsecond");
        let both = vec!["one__add".to_owned(), "two__add".to_owned()];
        assert_eq!(offered(&h, stopped).await, ["two__add"]);
        for n in [stopped + 1, stopped + 2] {
            assert!(offered(&h, n).await.is_empty(), "nothing runs there");
        }
        for n in [stopped + 3, stopped + 4] {
            assert_eq!(offered(&h, n).await, both);
        }
        bound.end().await;
    }

    async fn a_list_that_its_server_changes_is_asked_for_again(h: Harness) {
        h.configure(LOCAL);
        // It goes with the chat's actor, which must not leave between two turns of a slow test.
        h.configure("[stream]\nretain_grace = \"1m\"\n");
        let daemon = h.daemon().await;
        let bound = bound(&h, &daemon, "changes").await;
        let list = |file: &str, names: &[&str]| {
            let tools: Vec<String> = names.iter().map(|name| tool(name)).collect();
            fs::write(format!("{}/{file}", bound.folder), tools.join(",")).unwrap();
        };
        let cases = r#"case "$line" in
              *'"name":"switch"'*)
                mv next list; printf '{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}\n'; say '{"content":[]}';;
              *'"name":"wait"'*)
                (until test -e go; do sleep 0.05; done
                 mv last list; printf '{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}\n') &
                say '{"content":[]}';;
              *) printf '{"jsonrpc":"2.0","id":%s,"error":{"code":-32602,"message":"Unknown tool: old"}}\n' "$id";;
            esac"#;
        script(&bound.folder, "one", r#"'"$(cat list)"'"#, cases);
        list("list", &["old", "switch"]);
        list("next", &["new", "old"]);
        list("last", &["last"]);
        configure(&bound.folder, &["one"]);
        // The call itself changes it.
        let before = h.turns();
        ok(&bound.call(&h, "one__switch", json!({"a": 1})).await);
        assert_eq!(offered(&h, before).await, ["one__old", "one__switch"]);
        assert_eq!(offered(&h, before + 1).await, ["one__new", "one__old"]);
        // The server does not know a tool any more, and has not told so.
        list("list", &["new", "wait"]);
        let before = h.turns();
        let gone = bound.call(&h, "one__old", json!({"a": 1})).await;
        assert!(error(&gone).contains("has no tool \"one__old\" any more"), "{gone}");
        assert_eq!(offered(&h, before).await, ["one__new", "one__old"]);
        assert_eq!(offered(&h, before + 1).await, ["one__new", "one__wait"]);
        // It tells while it is not asked: any tool that asks the workspace brings that.
        ok(&bound.call(&h, "one__wait", json!({"a": 1})).await);
        within(Duration::from_secs(40), "the last list", async || {
            ok(&bound.call(&h, "execute", json!({ "command": "touch go" })).await);
            (offered(&h, h.turns() - 1).await == ["one__last"]).then_some(())
        })
        .await;
        assert_eq!(lines(&bound.folder, "one.log"), 1);
        bound.end().await;
    }

    async fn a_call_that_the_daemon_did_not_live_to_see_is_gone_on_with(h: Harness) {
        h.configure(LOCAL);
        let mut daemon = h.daemon().await;
        let bound = bound(&h, &daemon, "once").await;
        script(&bound.folder, "one", &tool("wait"), WAITS);
        configure(&bound.folder, &["one"]);
        h.model.push([calls("one__wait", json!({"a": 1})), says("Done.")]);
        bound.api.send(&bound.chat, "Go.").await;
        eventually("the call runs", async || (lines(&bound.folder, "calls.log") == 1).then_some(())).await;
        daemon.kill_9().await;
        daemon.restart().await;
        fs::write(format!("{}/go", bound.folder), "").unwrap();
        let bound = Bound { api: daemon.api(), ..bound };
        bound.ends("Done.").await;
        assert_eq!(ok(&bound.results(1).await[0]), "went");
        assert_eq!(lines(&bound.folder, "calls.log"), 1);
        bound.end().await;
    }

    async fn a_call_that_was_cut_off_before_plan_mode_is_unknown(h: Harness) {
        h.configure(LOCAL);
        let mut daemon = h.daemon().await;
        let bound = bound(&h, &daemon, "planned").await;
        script(&bound.folder, "one", &tool("wait"), WAITS);
        configure(&bound.folder, &["one"]);
        h.model.push([calls("one__wait", json!({"a": 1})), says("Done.")]);
        bound.api.send(&bound.chat, "Go.").await;
        eventually("the call runs", async || (lines(&bound.folder, "calls.log") == 1).then_some(())).await;
        bound.api.patch(&format!("/chats/{}", bound.chat), json!({ "plan_mode": "plan" })).await.empty(204);
        daemon.kill_9().await;
        daemon.restart().await;
        fs::write(format!("{}/go", bound.folder), "").unwrap();
        let bound = Bound { api: daemon.api(), ..bound };
        bound.ends("Done.").await;
        let result = bound.results(1).await.remove(0);
        assert!(error(&result).contains("nobody knows how far it came"), "{result}");
        assert_eq!(lines(&bound.folder, "calls.log"), 1);
        bound.end().await;
    }

    async fn a_list_goes_with_the_chats_actor(h: Harness) {
        h.configure(LOCAL);
        h.configure("[stream]\nretain_grace = \"100ms\"\njanitor_interval = \"200ms\"\n");
        let daemon = h.daemon().await;
        let bound = bound(&h, &daemon, "reaped").await;
        script(&bound.folder, "one", &tool("add"), TEXT);
        script(&bound.folder, "two", &tool("add"), TEXT);
        configure(&bound.folder, &["one"]);
        let first = h.turns();
        assert_eq!(ok(&bound.call(&h, "one__add", json!({"a": 1})).await), "first\nsecond");
        assert_eq!(offered(&h, first).await, ["one__add"]);
        configure(&bound.folder, &["one", "two"]);
        until_figure(&bound.api, "chatd_streams_active", 0.0).await;
        let second = h.turns();
        assert_eq!(ok(&bound.call(&h, "two__add", json!({"a": 1})).await), "first\nsecond");
        assert_eq!(offered(&h, second).await, ["one__add", "two__add"]);
        bound.end().await;
    }

    async fn a_call_that_the_agent_did_not_live_to_see_is_unknown(h: Harness) {
        h.configure(LOCAL);
        h.model.push([says("Hi.")]);
        let daemon = h.daemon().await;
        let mut person = Person::make(&h, &daemon, "unknown").await;
        let bound = person.bound.clone();
        bound.ends("Hi.").await;
        script(&bound.folder, "one", &tool("wait"), WAITS);
        configure(&bound.folder, &["one"]);
        h.model.push([calls("one__wait", json!({"a": 1})), says("Done.")]);
        bound.api.send(&bound.chat, "Go.").await;
        eventually("the call runs", async || (lines(&bound.folder, "calls.log") == 1).then_some(())).await;
        person.kill().await;
        person.start().await;
        bound.ends("Done.").await;
        let result = bound.results(1).await.remove(0);
        assert!(error(&result).contains("nobody knows how far it came"), "{result}");
        assert_eq!(lines(&bound.folder, "calls.log"), 1);
        person.stop().await;
    }
}

#[test]
fn servers_that_hang_or_flood_cost_a_turn_their_time_once() {
    run_within(Duration::from_secs(180), Engine::Sqlite, "mcp_bad", |h| async move {
        h.configure(LOCAL);
        let daemon = h.daemon().await;
        let bound = bound(&h, &daemon, "bad").await;
        let flood = "x".repeat(1000);
        write_config(
            &bound.folder,
            &json!({
                "hang": {"command": "sleep", "args": ["600"]},
                "flood": {"command": "yes", "args": [flood]},
            }),
        );
        let memory = memory_kib(daemon.pid());
        // Two passes: the second does not wait for them once more.
        h.model.push([calls("execute", json!({ "command": "echo fine" })), says("Done.")]);
        let (begun, before) = (Instant::now(), h.turns());
        bound.api.send(&bound.chat, "Go.").await;
        bound.ends("Done.").await;
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(45), "{took:?}");
        assert_eq!(ok(&bound.results(1).await[0])["output"], "fine\n");
        for n in [before, before + 1] {
            assert!(offered(&h, n).await.is_empty());
        }
        let grown = memory_kib(daemon.pid()).saturating_sub(memory);
        assert!(grown < 20 << 10, "{grown} KiB more");
        // A good one beside them is there as soon as the agent has given them up, and is kept then.
        script(&bound.folder, "good", &tool("add"), TEXT);
        write_config(
            &bound.folder,
            &json!({
                "good": {"command": "sh", "args": ["good.sh"]},
                "hang": {"command": "sleep", "args": ["601"]},
            }),
        );
        for limit in [45, 10] {
            let (begun, before) = (Instant::now(), h.turns());
            h.model.push([says(format!("Within {limit}."))]);
            bound.api.send(&bound.chat, "And now?").await;
            bound.ends(&format!("Within {limit}.")).await;
            assert!(begun.elapsed() < Duration::from_secs(limit), "{:?}", begun.elapsed());
            assert_eq!(offered(&h, before).await, ["good__add"]);
        }
        // A call that floods fails, and nothing else does.
        script(
            &bound.folder,
            "good",
            &tool("add"),
            r#"head -c 20000000 /dev/zero | tr '\0' x; say '{"content":[]}'"#,
        );
        write_config(&bound.folder, &json!({ "good": {"command": "sh", "args": ["good.sh", "anew"]} }));
        h.model.push([calls("good__add", json!({"a": 1})), says("Over.")]);
        bound.api.send(&bound.chat, "Flood.").await;
        bound.ends("Over.").await;
        error(&bound.results(2).await[1]);
        let grown = memory_kib(daemon.pid()).saturating_sub(memory);
        assert!(grown < 20 << 10, "{grown} KiB more");
        bound.end().await;
    });
}

#[test]
fn a_server_that_was_missing_is_asked_for_once_more() {
    run_within(Duration::from_secs(150), Engine::Sqlite, "mcp_missing", |h| async move {
        h.configure(LOCAL);
        h.configure("[stream]\nretain_grace = \"5m\"\n");
        let daemon = h.daemon().await;
        let bound = bound(&h, &daemon, "missing").await;
        script(&bound.folder, "one", &tool("add"), TEXT);
        let good = json!({"command": "sh", "args": ["one.sh"]});
        write_config(&bound.folder, &json!({ "one": good, "two": {"command": "./not-there", "args": []} }));
        let turn = async || {
            let before = h.turns();
            h.model.push([says("Done.")]);
            bound.api.send(&bound.chat, "Go.").await;
            h.turn(before).await;
            bound.ends("Done.").await;
            offered(&h, before).await
        };
        assert_eq!(turn().await, ["one__add"]);
        script(&bound.folder, "two", &tool("add"), TEXT);
        configure(&bound.folder, &["one", "two"]);
        assert_eq!(turn().await, ["one__add"], "not at once");
        within(Duration::from_secs(90), "the missing tools", async || {
            let offered = turn().await;
            (offered == ["one__add", "two__add"]).then_some(())
        })
        .await;
        bound.end().await;
    });
}

#[test]
fn a_stopped_workspace_costs_a_plain_turn_nothing() {
    run_within(Duration::from_secs(60), Engine::Sqlite, "mcp_stopped", |h| async move {
        h.configure(LOCAL);
        let daemon = h.daemon().await;
        let bound = bound(&h, &daemon, "stopped").await;
        script(&bound.folder, "one", &tool("add"), TEXT);
        configure(&bound.folder, &["one"]);
        let path = format!("/api/v2/workspaces/{}/builds", bound.workspace);
        bound.api.post(&path, json!({ "transition": "stop" })).await.json(201);
        let path = format!("/api/v2/workspaces/{}", bound.workspace);
        eventually("it is stopped", async || {
            (bound.api.get(&path).await.json(200)["status"] == "stopped").then_some(())
        })
        .await;
        let (begun, before) = (Instant::now(), h.turns());
        h.model.push([says("Quick.")]);
        bound.api.send(&bound.chat, "Hello?").await;
        h.turn(before).await;
        assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
        assert!(offered(&h, before).await.is_empty());
        bound.ends("Quick.").await;
        assert_eq!(lines(&bound.folder, "one.log"), 0);
        bound.end().await;
    });
}
