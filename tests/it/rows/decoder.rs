//! What the web client's decoder takes (api.md §5.3), row by row.
//!
//! | row | here | elsewhere |
//! |---|---|---|
//! | a frame is an array | `every_event_can_be_decoded` | `Fold::frame`, so every test with a stream |
//! | no unknown type, the payload of each type | the same | `Fold::event` |
//! | events of another chat | `streams_do_not_mix` | `Fold::event` |
//! | kinds of `watch` | `every_event_can_be_decoded` | `check_watch` |
//! | types of parts | the same | `parts` (source, file, file-reference), `workspace_tools::context` (context-file, skill), `stock_client::shapes` |
//! | 409 with the four spend keys | | `spend::whoever_reached_the_limit_is_told_with_four_keys` |
//! | `validations` name the field | `a_refused_form_names_its_field` | beside each resource |

use crate::{
    support::{
        both,
        client::Fold,
        fake_model::{Gate, fails, says, thinks},
        turns::{id, text},
    },
    tools::with_client_tool,
};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The types of §4.2, in the order of the alphabet.
const TYPES: [&str; 9] = [
    "action_required",
    "error",
    "history_reset",
    "message",
    "message_part",
    "preview_reset",
    "queue_update",
    "retry",
    "status",
];

/// The types of parts of §3.6.
const PARTS: [&str; 10] = [
    "text",
    "reasoning",
    "tool-call",
    "tool-result",
    "source",
    "file",
    "file-reference",
    "context-file",
    "skill",
    "hook-notice",
];

fn types(events: &[Value]) -> BTreeSet<&str> {
    events.iter().map(|event| event["type"].as_str().expect("a type")).collect()
}

both! {
    /// One chat goes through everything that makes an event; the fold has looked at each of them.
    async fn every_event_can_be_decoded(h: Harness) {
        let (watched, gate) = (Gate::new(), Gate::new());
        let busy = json!({ "error": { "message": "slow down" } });
        h.model.push([
            fails(429, busy).header("retry-after", "0").gate(&watched),
            thinks("Hm. ").says("Let me ask. ").calls("ask_client", json!({ "what": "name" })).with_id("a"),
            says("Thanks.").gate(&gate),
            says("And that."),
            says("Anew."),
            fails(401, json!({ "error": { "message": "bad key" } })),
        ]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let mut watch = api.watch().await;
        let chat = id(&api.create_chat_with(with_client_tool("Ask.")).await);
        let mut stream = api.stream(&chat, None).await;
        // The wait is told only to who is there.
        stream.status("running").await;
        watched.open();
        stream.status("requires_action").await;
        // Calls that are answered before anybody could be told are not told.
        watch.kind("action_required", &chat).await;
        let answer = json!({ "results": [{ "tool_call_id": "a", "output": "Ann" }] });
        api.post(&format!("/chats/{chat}/tool-results"), answer).await.empty(204);
        gate.reached().await;
        api.send(&chat, "Next").await;
        stream.until("the queue", |f| f.queue.len() == 1).await;
        gate.open();
        stream.until("the second turn", |f| f.settled() && f.texts("assistant").contains(&"And that.".to_owned())).await;
        let first = api.history(&chat).await[0]["id"].clone();
        api.patch(&format!("/chats/{chat}/messages/{first}"), text("Ask anew.")).await.json(200);
        stream.until("the edited turn", |f| f.settled() && f.history_resets == 1).await;
        api.send(&chat, "Fail").await;
        stream.until("the failure", |f| f.is("error") && f.error.is_some()).await;

        let events = stream.events();
        assert_eq!(types(&events), BTreeSet::from(TYPES));
        let mut emptied = events.iter().filter(|e| e["type"] == "queue_update");
        assert_eq!(emptied.next_back().expect("an update")["queued_messages"], json!([]), "an empty queue is told as []");
        let stored = events.iter().filter(|e| e["type"] == "message");
        let stored = stored.flat_map(|e| e["message"]["content"].as_array().cloned().unwrap_or_default());
        let live = events.iter().filter(|e| e["type"] == "message_part").map(|e| e["message_part"]["part"].clone());
        for part in stored.chain(live) {
            assert!(PARTS.contains(&part["type"].as_str().expect("a type")), "{part}");
        }
        // `watch` has objects, and of known kinds only, which its client has looked at.
        api.patch(&format!("/chats/{chat}"), json!({ "archived": true })).await.empty(204);
        for kind in ["created", "title_change", "status_change", "deleted"] {
            watch.kind(kind, &chat).await;
        }
    }

    async fn streams_do_not_mix(h: Harness) {
        h.model.otherwise(|request| says(format!("To {}", request.last_user())));
        let daemon = h.daemon().await;
        let api = daemon.api();
        let (one, two) = tokio::join!(api.create_chat("one"), api.create_chat("two"));
        let (one, two) = (id(&one), id(&two));
        let (mut first, mut second) = (api.stream(&one, None).await, api.stream(&two, None).await);
        for n in 2..5 {
            first.until("rest", Fold::settled).await;
            second.until("rest", Fold::settled).await;
            tokio::join!(api.send(&one, "one"), api.send(&two, "two"));
            tokio::join!(first.answered(n), second.answered(n));
        }
        for (stream, chat, word) in [(&first, &one, "To one"), (&second, &two, "To two")] {
            assert!(stream.events().iter().all(|event| event["chat_id"] == json!(chat)));
            assert_eq!(stream.fold.texts("assistant"), [word; 4]);
        }
    }

    /// What a form shows its mistakes by: the first of `validations` names the field that is wrong.
    async fn a_refused_form_names_its_field(h: Harness) {
        h.model.otherwise(|_| says("Done."));
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("Hello").await);
        api.stream(&chat, None).await.settled().await;
        let (one, send) = (format!("/chats/{chat}"), format!("/chats/{chat}/messages"));
        let organization = api.organization().await;
        let with = |key: &str, value: Value| {
            let mut body = json!({ "organization_id": organization, "content": text("x")["content"] });
            body[key] = value;
            body
        };
        let server = |key: &str, value: Value| {
            let mut body = json!({ "display_name": "Tools", "slug": "tools", "url": "http://127.0.0.1:9/mcp",
                "transport": "streamable_http", "auth_type": "none", "availability": "default_off" });
            body[key] = value;
            body
        };
        for (method, path, body, field) in [
            ("POST", "/chats", with("organization_id", json!(null)), "organization_id"),
            ("POST", "/chats", with("content", json!([])), "content"),
            ("POST", "/chats", with("labels", json!({ "": "x" })), "labels"),
            ("POST", "/chats", with("plan_mode", json!("maybe")), "plan_mode"),
            ("POST", "/chats", with("model_config_id", json!("x")), "model_config_id"),
            ("POST", &send, with("content", json!([{ "type": "text", "text": " " }])), "content"),
            ("POST", &send, with("busy_behavior", json!("nonsense")), "busy_behavior"),
            ("PATCH", &one, json!({ "title": "" }), "title"),
            ("PATCH", &one, json!({ "title": "x".repeat(201) }), "title"),
            ("PATCH", &one, json!({ "pin_order": -1 }), "pin_order"),
            ("PATCH", &one, json!({ "labels": { "": "" } }), "labels"),
            ("PATCH", &one, json!({ "plan_mode": "maybe" }), "plan_mode"),
            ("GET", "/chats?q=nonsense:1", json!(null), "nonsense"),
            ("GET", "/chats?q=word", json!(null), "q"),
            ("GET", "/chats?q=archived:perhaps", json!(null), "archived"),
            ("POST", "/chats/model-configs", json!({ "provider": "nonsense", "model": "m", "context_limit": 1 }), "provider"),
            ("POST", "/chats/model-configs", json!({ "provider": "openai-compat", "model": " ", "context_limit": 1 }), "model"),
            ("POST", "/chats/model-configs", json!({ "provider": "openai-compat", "model": "m", "context_limit": 0 }), "context_limit"),
            ("POST", "/chats/providers", json!({ "provider": "openai", "api_key": " " }), "api_key"),
            ("POST", "/api/v2/ai/providers", json!({ "type": "openai", "name": "No", "base_url": "" }), "name"),
            ("PUT", "/chats/usage-limits", json!({ "spend_limit_micros": 0, "period": "day" }), "spend_limit_micros"),
            ("PUT", "/chats/usage-limits", json!({ "spend_limit_micros": 1, "period": "year" }), "period"),
            ("PUT", "/chats/usage-limits", json!({ "period": "day" }), "spend_limit_micros"),
            ("PUT", "/chats/usage-limits", json!({}), "spend_limit_micros"),
            ("PUT", "/chats/config/retention-days", json!({ "retention_days": -1 }), "retention_days"),
            ("PUT", "/chats/config/user-prompt", json!({ "custom_prompt": "x".repeat(131_073) }), "custom_prompt"),
            ("POST", "/mcp/servers", server("url", json!("nonsense")), "url"),
            ("POST", "/mcp/servers", server("transport", json!("pigeon")), "transport"),
            ("POST", "/users/me/skills", json!({ "content": "no front matter" }), "content"),
            ("POST", "/api/v2/users", json!({ "username": "No Name", "email": "a@example.test" }), "username"),
        ] {
            let body = (!body.is_null()).then_some(&body);
            let method = method.parse().expect("a method");
            let problem = api.call(method, path, body).await.problem(400);
            assert_eq!(problem["validations"][0]["field"], field, "{path} {problem}");
        }
        // An answer that is no form's mistake names none.
        let conflict = api.post(&format!("{one}/interrupt"), json!({})).await.problem(409);
        assert!(conflict.get("validations").is_none() && conflict.get("spent_micros").is_none(), "{conflict}");
    }
}
