//! The smallest working set (api.md §5.1), row by row, with the exact codes of §5.2. Attach is not there.

use super::shapes;
use crate::{
    support::{
        Harness, both,
        client::{Api, ChatStream},
        fake_model::{Gate, Reply, says},
        turns::{id, live_parts, text},
    },
    tools::with_client_tool,
};
use serde_json::{Value, json};

/// Chats on a page of the list, messages on a page of a chat: what the web client asks for.
const PAGE: usize = 50;

/// Start: `users/me`, its organizations, the models.
async fn start(api: &Api) {
    let me = api.get("/api/v2/users/me").await.json(200);
    shapes::uuid(&me["id"]);
    for key in ["username", "name", "email"] {
        assert!(me[key].is_string(), "{key}: {me}");
    }
    assert_eq!(me["status"], json!("active"));
    let organizations = api.get("/api/v2/users/me/organizations").await.json(200);
    shapes::uuid(&organizations[0]["id"]);
    assert_eq!(me["organization_ids"][0], organizations[0]["id"]);
    // Both are below the experimental prefix only (§1.1).
    let models = api.get("/api/experimental/chats/models").await.json(200);
    assert_eq!(models["providers"][0]["available"], json!(true), "{models}");
    assert_eq!(models["providers"][0]["models"][0]["model"], json!("fake-model"), "{models}");
    let configs = api.get("/api/experimental/chats/model-configs").await.json(200);
    let defaults = configs.as_array().expect("an array").iter();
    let defaults: Vec<&Value> =
        defaults.filter(|c| c["enabled"] == json!(true) && c["is_default"] == json!(true)).collect();
    assert_eq!(defaults.len(), 1, "{configs}");
    shapes::uuid(&defaults[0]["id"]);
    for path in ["/api/v2/chats/models", "/api/v2/chats/model-configs"] {
        api.get(path).await.problem(404);
    }
}

/// Create: 201, and the id is good for a stream at once. Live list: it is told.
async fn create(api: &Api) -> (String, ChatStream) {
    let mut watch = api.watch().await;
    let organization = api.organization().await;
    let mut body = text("one two three four five six seven");
    body["organization_id"] = json!(organization);
    let chat = api.post("/chats", body).await.json(201);
    let mut stream = api.stream(&id(&chat), None).await;
    shapes::chat_without_diff(&chat);
    assert_eq!((&chat["organization_id"], &chat["status"]), (&json!(organization), &json!("running")));
    assert_eq!(chat["title"], json!("one two three four five six…"));
    let chat = id(&chat);
    shapes::chat(&watch.kind("created", &chat).await["chat"]);
    watch.until("the end of the turn", |e| e["chat"]["status"] == "waiting").await;
    stream.answered(1).await;
    stream.fold.messages.values().for_each(shapes::message);
    (chat, stream)
}

/// Open, and scroll back.
async fn open(api: &Api, chat: &str, stream: &mut ChatStream) {
    for n in 2..=PAGE / 2 + 1 {
        api.send(chat, &format!("question {n}")).await;
        stream.answered(n).await;
    }
    let opened = api.get(&format!("/chats/{chat}")).await.json(200);
    shapes::chat_with_diff(&opened);
    let first = api.get(&format!("/chats/{chat}/messages?limit={PAGE}")).await.json(200);
    let newest = shapes::page(&first);
    assert!(newest.is_sorted_by(|a, b| a > b), "newest first: {newest:?}");
    assert_eq!((newest.len(), &first["has_more"]), (PAGE, &json!(true)));
    let lowest = newest.last().expect("a full page");
    let second = api.get(&format!("/chats/{chat}/messages?before_id={lowest}")).await.json(200);
    let oldest = shapes::page(&second);
    assert_eq!((oldest.len(), &second["has_more"]), (2, &json!(false)));
    assert!(oldest[0] < *lowest && oldest[1] < oldest[0], "{oldest:?}");
    // Together they are what the stream has told.
    let mut all: Vec<Value> = [&first, &second].into_iter().flat_map(messages).collect();
    all.reverse();
    assert_eq!(all, stream.fold.messages.values().cloned().collect::<Vec<_>>());
}

fn messages(page: &Value) -> Vec<Value> {
    page["messages"].as_array().expect("an array").clone()
}

/// Stream with `after_id`, send while idle, and send while busy.
async fn stream_and_send(h: &Harness, api: &Api, chat: &str, stream: &mut ChatStream) {
    let highest = stream.fold.last_id().expect("messages");
    let mut stream = api.stream(chat, Some(highest)).await;
    stream.status("waiting").await;
    assert!(stream.fold.messages.is_empty(), "all of them are known");
    let (gate, end) = (Gate::new(), Gate::new());
    h.model.push([
        says("Part one, ").gate(&gate).says("part two.").gate(&end),
        says("Third."),
        says("Fourth."),
    ]);
    let sent = api.post(&format!("/chats/{chat}/messages"), text("idle")).await.json(200);
    assert_eq!((&sent["queued"], sent.get("queued_message")), (&json!(false), None));
    shapes::message(&sent["message"]);
    stream.shows("Part one, ").await;
    assert_eq!(stream.fold.messages[&sent["message"]["id"].as_i64().expect("an id")], sent["message"]);

    // Queue: delete and promote.
    let mut waiting = Vec::new();
    for name in ["second", "third", "fourth"] {
        let sent = api.post(&format!("/chats/{chat}/messages"), text(name)).await.json(200);
        assert_eq!((&sent["queued"], sent.get("message")), (&json!(true), None));
        shapes::queued(&sent["queued_message"]);
        waiting.push(sent["queued_message"].clone());
    }
    let page = api.get(&format!("/chats/{chat}/messages?limit={PAGE}")).await.json(200);
    shapes::page(&page);
    assert_eq!(page["queued_messages"], json!(waiting), "the first page has the queue");
    let older = api.get(&format!("/chats/{chat}/messages?before_id={highest}")).await.json(200);
    assert_eq!(older["queued_messages"], json!([]), "later pages do not");
    api.delete(&format!("/chats/{chat}/queue/{}", waiting[0]["id"])).await.empty(204);
    stream.until("the shorter queue", |f| f.queue == waiting[1..]).await;
    gate.open();
    stream.shows("Part one, part two.").await;
    let promoted = api.post(&format!("/chats/{chat}/queue/{}/promote", waiting[2]["id"]), json!({})).await;
    assert!(promoted.json(202)["message"].is_string());
    let held = stream.answered(3).await;
    assert_eq!(held.texts("user"), ["idle", "fourth", "third"]);
    assert_eq!(held.texts("assistant"), ["Part one, part two.", "Third.", "Fourth."]);
    held.messages.values().for_each(shapes::message);
    for part in live_parts(&stream.events()) {
        let fence = ["history_version", "generation_attempt", "seq"];
        assert!(fence.iter().all(|key| part[*key].as_i64() >= Some(1)), "{part}");
    }
    end.open();
}

/// Stop: 200 with the chat; 409 when there is nothing to stop.
async fn stop(h: &Harness, api: &Api, chat: &str) {
    let gate = Gate::new();
    h.model.push([says("Never ").gate(&gate).says("said.")]);
    let mut stream = api.stream(chat, None).await;
    stream.status("waiting").await;
    api.send(chat, "Talk.").await;
    stream.shows("Never ").await;
    let stopped = api.post(&format!("/chats/{chat}/interrupt"), json!({})).await.json(200);
    shapes::chat_without_diff(&stopped);
    assert_eq!(stopped["status"], json!("interrupting"));
    stream.settled().await;
    assert_eq!(stream.fold.texts("assistant").last().map(String::as_str), Some("Never "));
    api.post(&format!("/chats/{chat}/interrupt"), json!({})).await.problem(409);
}

/// Edit: 200, then `history_reset`.
async fn edit(api: &Api, chat: &str) {
    let mut stream = api.stream(chat, None).await;
    stream.settled().await;
    let first = *stream.fold.messages.keys().next().expect("messages");
    stream.forget_events();
    let edited = api.patch(&format!("/chats/{chat}/messages/{first}"), text("Anew.")).await.json(200);
    shapes::message(&edited["message"]);
    assert!(edited["message"]["id"].as_i64() > Some(first), "{edited}");
    let held = stream.until("the new answer", |f| f.settled() && f.history_resets == 1).await;
    assert_eq!((held.texts("user"), held.roles().len()), (vec!["Anew.".to_owned()], 2));
    assert_eq!(stream.events()[0]["type"], json!("history_reset"));
}

/// Archive, pin, rename: 204 and no body.
async fn patch(api: &Api, chat: &str) {
    let path = format!("/chats/{chat}");
    let mut watch = api.watch().await;
    api.patch(&path, json!({ "title": " A name " })).await.empty(204);
    shapes::chat(&watch.kind("title_change", chat).await["chat"]);
    api.patch(&path, json!({ "archived": true })).await.empty(204);
    shapes::chat(&watch.kind("deleted", chat).await["chat"]);
    api.patch(&path, json!({ "archived": false })).await.empty(204);
    shapes::chat(&watch.kind("created", chat).await["chat"]);
    api.patch(&path, json!({ "pin_order": 1 })).await.empty(204);
    let patched = api.get(&path).await.json(200);
    assert_eq!((&patched["title"], &patched["pin_order"]), (&json!("A name"), &json!(1)));
    assert_eq!(patched["archived"], json!(false));
}

/// List: pinned first, then the newest; a page shorter than the limit is the last.
async fn list(api: &Api, pinned: &str) {
    let mut newest_first = Vec::new();
    for n in 0..PAGE {
        let chat = id(&api.create_chat(&format!("chat {n}")).await);
        api.stream(&chat, None).await.answered(1).await;
        newest_first.insert(0, chat);
    }
    let mut all = Vec::new();
    for offset in [0, PAGE] {
        let page = api.get(&format!("/chats?limit={PAGE}&offset={offset}&q=archived:false")).await.json(200);
        let page = page.as_array().expect("a bare array").clone();
        page.iter().for_each(shapes::chat_with_diff);
        assert_eq!(page.len() == PAGE, offset == 0, "a short page is the last: {}", page.len());
        all.extend(page);
    }
    assert_eq!(all.len(), PAGE + 1);
    assert_eq!(all[0]["id"], json!(pinned), "the pinned one is first although it is the oldest");
    assert_eq!(all[1..].iter().map(id).collect::<Vec<_>>(), newest_first);
    assert_eq!(api.get(&format!("/chats?limit={PAGE}&offset={}", PAGE + 1)).await.json(200), json!([]));
}

/// Client tools: declared, asked for, answered.
async fn client_tools(h: &Harness, api: &Api) {
    h.model.push([
        Reply::empty().calls("ask_client", json!({ "what": "name" })).with_id("a"),
        says("Hello Ann."),
    ]);
    let mut watch = api.watch().await;
    let chat = id(&api.create_chat_with(with_client_tool("Ask me.")).await);
    let mut stream = api.stream(&chat, None).await;
    stream.until("the call", |f| f.action_required.is_some()).await;
    let asked = watch.kind("action_required", &chat).await;
    let action = stream.fold.action_required.clone().expect("just seen");
    assert_eq!(action["tool_calls"], asked["tool_calls"]);
    let args = action["tool_calls"][0]["args"].as_str().expect("a string that holds JSON");
    assert_eq!(serde_json::from_str::<Value>(args).expect("JSON"), json!({ "what": "name" }));
    let results =
        json!({ "results": [{ "tool_call_id": "a", "output": { "name": "Ann" }, "is_error": false }] });
    api.post(&format!("/chats/{chat}/tool-results"), results).await.empty(204);
    stream.answered(2).await.messages.values().for_each(shapes::message);
    // Out of the way of the list.
    api.patch(&format!("/chats/{chat}"), json!({ "archived": true })).await.empty(204);
}

async fn walk(h: Harness, prefix: &'static str) {
    h.model.otherwise(|_| says("An answer."));
    let daemon = h.daemon().await;
    let api = daemon.api().under(prefix);
    start(&api).await;
    assert_eq!(api.get("/chats").await.json(200), json!([]), "an empty list is a list");
    let (chat, mut stream) = create(&api).await;
    open(&api, &chat, &mut stream).await;
    stream_and_send(&h, &api, &chat, &mut stream).await;
    stop(&h, &api, &chat).await;
    edit(&api, &chat).await;
    patch(&api, &chat).await;
    client_tools(&h, &api).await;
    list(&api, &chat).await;
    // The other prefix has the same.
    let other = if prefix == "/api/v2" { "/api/experimental" } else { "/api/v2" };
    let path = format!("/chats/{chat}");
    assert_eq!(api.under(other).get(&path).await.json(200), api.get(&path).await.json(200));
}

both! {
    async fn the_smallest_working_set_works_under_the_experimental_prefix(h: Harness) {
        walk(h, "/api/experimental").await;
    }

    async fn the_smallest_working_set_works_under_v2(h: Harness) {
        walk(h, "/api/v2").await;
    }
}
