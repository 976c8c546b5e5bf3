//! Parts that models and users seldom send, as clients see them (api.md §3.6): live, stored, and on a second connection.

use crate::support::{
    both,
    client::Fold,
    fake_model::{Gate, says},
    turns::id,
};
use serde_json::{Value, json};

const IMAGE: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

/// A chunk of Chat Completions with this delta.
fn chunk(delta: &Value) -> String {
    let chunk = json!({ "id": "chatcmpl-x", "object": "chat.completion.chunk", "created": 1, "model": "fake-model",
        "choices": [{ "index": 0, "delta": delta, "finish_reason": null }] });
    format!("data: {chunk}\n\n")
}

fn of_type(parts: &[Value], kind: &str) -> Vec<Value> {
    parts.iter().filter(|part| part["type"] == kind).cloned().collect()
}

fn content(message: &Value) -> Vec<Value> {
    message["content"].as_array().expect("content").clone()
}

both! {
    async fn sources_and_files_of_a_model_are_whole_parts(h: Harness) {
        let cited = json!({ "annotations": [{ "type": "url_citation", "url_citation": { "url": "https://docs.test/a", "title": "A page" } },
            { "type": "url_citation", "url_citation": { "url": "https://docs.test/b" } }] });
        let drawn = json!({ "images": [{ "type": "image_url", "image_url": { "url": format!("data:image/png;base64,{IMAGE}") } }] });
        let gate = Gate::new();
        let reply = says("Look. ").raw(chunk(&cited)).raw(chunk(&drawn)).gate(&gate).says("That is all.");
        h.model.push([reply, says("Yes.")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("Search and draw").await);
        let mut stream = api.stream(&chat, None).await;
        let held = stream.until("the parts before the gate", |f| !of_type(&f.preview.parts, "file").is_empty()).await;
        let live = held.preview.parts.clone();
        gate.open();
        stream.answered(1).await;
        let sources = [
            json!({ "type": "source", "url": "https://docs.test/a", "title": "A page" }),
            json!({ "type": "source", "url": "https://docs.test/b" }),
        ];
        let file = json!({ "type": "file", "media_type": "image/png", "data": IMAGE });
        let stored = content(api.history(&chat).await.last().expect("an answer"));
        for parts in [&live, &stored] {
            assert_eq!(of_type(parts, "source"), sources);
            assert_eq!(of_type(parts, "file"), std::slice::from_ref(&file));
        }
        let events = stream.events();
        let mut roles = events.iter().filter(|e| e["type"] == "message_part").map(|e| &e["message_part"]["role"]);
        assert!(roles.all(|role| role == "assistant"), "{events:?}");
        let mut again = api.stream(&chat, None).await;
        again.until("the whole history", Fold::settled).await;
        let told = again.events();
        let told = told.iter().filter(|e| e["type"] == "message").map(|e| &e["message"]).find(|m| m["role"] == "assistant");
        assert_eq!(content(told.expect("the answer")), stored);
        // What a model cited and drew does no harm to the next turn.
        api.send(&chat, "Go on?").await;
        again.answered(2).await;
        assert_eq!(again.fold.texts("assistant").last().map(String::as_str), Some("Yes."));
    }

    async fn files_of_a_user_are_named_and_not_carried(h: Harness) {
        h.model.otherwise(|_| says("Seen."));
        let daemon = h.daemon().await;
        let api = daemon.api();
        let upload = api.upload("notes.md", "text/markdown", b"# Notes".to_vec()).await.json(201);
        let file = id(&upload);
        let body = json!({ "content": [
            { "type": "text", "text": "Read" },
            { "type": " FILE ", "file_id": file },
            { "type": "file-reference", "file_name": "src/main.rs", "start_line": 3, "end_line": 4, "content": "fn main() {}" },
        ] });
        let made = api.create_chat_with(body).await;
        let chat = id(&made);
        assert_eq!((&made["files"][0]["id"], &made["files"][0]["name"], &made["files"][0]["size_bytes"]), (&json!(file), &json!("notes.md"), &json!(7)));
        let mut stream = api.stream(&chat, None).await;
        stream.answered(1).await;
        let asked = content(&api.history(&chat).await[0]);
        assert_eq!(asked[0], json!({ "type": "text", "text": "Read" }));
        assert_eq!(asked[1], json!({ "type": "file", "media_type": "text/markdown", "name": "notes.md", "file_id": file }));
        let excerpt = json!({ "type": "file-reference", "file_name": "src/main.rs", "start_line": 3, "end_line": 4, "content": "fn main() {}" });
        assert_eq!(asked[2], excerpt);
        let events = stream.events();
        let told = events.iter().filter(|e| e["type"] == "message").map(|e| &e["message"]).find(|m| m["role"] == "user");
        assert_eq!(content(told.expect("the question")), asked);
        // In a list a chat has no files; got alone it has.
        let listed = api.get("/chats").await.json(200);
        assert!(listed[0].get("files").is_none(), "{listed}");
        assert_eq!(api.chat(&chat).await["files"][0]["mime_type"], "text/markdown");
    }
}
