//! Owner, administrator, stranger.

use crate::support::{
    both,
    client::refusal,
    fake_model::{Gate, proposes, says},
};
use reqwest::Method;
use serde_json::{Value, json};

fn text(text: &str) -> Value {
    json!({ "content": [{ "type": "text", "text": text }] })
}

both! {
    async fn each_call_asks_who_it_is(h: Harness) {
        let daemon = h.daemon().await;
        let admin = daemon.api();
        let owner = daemon.api_as(&daemon.token_for("owner", &[]).await);
        let stranger = daemon.api_as(&daemon.token_for("stranger", &[]).await);
        let gate = Gate::new();
        h.model.push([says("done"), says("wait").gate(&gate)]);
        // So that only a rename can change the title.
        h.model.answer_titles(|request| proposes(request, &json!({ "title": "Mine" })));
        let chat = owner.create_chat("Mine").await;
        let chat = chat["id"].as_str().unwrap();
        let mut stream = owner.stream(chat, None).await;
        stream.settled().await;
        let first = *stream.fold.messages.keys().next().unwrap();
        owner.send(chat, "And now wait").await;
        gate.reached().await;
        let queued = owner.send(chat, "Next").await["queued_message"]["id"].clone();

        let at = |tail: &str| format!("/chats/{chat}{tail}");
        let message = at(&format!("/messages/{first}"));
        let promote = at(&format!("/queue/{queued}/promote"));
        let unqueue = at(&format!("/queue/{queued}"));
        let reads = [at(""), at("/messages")];
        let results = json!({ "results": [{ "tool_call_id": "x", "output": 1 }] });
        // In the owner's name: refused to administrators, hidden from strangers.
        let owners_alone = [
            (Method::POST, at("/messages"), text("I am you")),
            (Method::PATCH, message, text("You said this")),
            (Method::POST, promote, json!({})),
            (Method::POST, at("/tool-results"), results),
            (Method::POST, at("/compact"), json!({})),
            (Method::POST, at("/clear"), json!({})),
        ];
        let updates = [
            (Method::PATCH, at(""), json!({ "title": "Seen by all" })),
            (Method::DELETE, unqueue, Value::Null),
            (Method::POST, at("/interrupt"), json!({})),
        ];
        for path in &reads {
            stranger.get(path).await.problem(404);
            admin.get(path).await.json(200);
        }
        for (method, path, body) in &owners_alone {
            stranger.call(method.clone(), path, Some(body)).await.problem(404);
            admin.call(method.clone(), path, Some(body)).await.problem(403);
        }
        for (method, path, body) in &updates {
            stranger.call(method.clone(), path, Some(body)).await.problem(404);
        }
        let socket = owner.url(&at("/stream"));
        assert_eq!(refusal(&format!("{socket}?coder_session_token={}", daemon.token_for("stranger", &[]).await), None).await, 404);
        assert!(stranger.get("/chats").await.json(200).as_array().unwrap().is_empty());
        assert!(admin.get("/chats").await.json(200).as_array().unwrap().is_empty());
        assert_eq!(owner.get("/chats").await.json(200).as_array().unwrap().len(), 1);
        let title = owner.chat(chat).await["title"].clone();
        assert_eq!(title, "Mine");

        // An administrator may read along and update.
        let mut along = admin.stream(chat, None).await;
        along.status("running").await;
        for (method, path, body) in &updates {
            let answer = admin.call(method.clone(), path, Some(body)).await;
            assert!(answer.status < 300, "{method} {path}: {answer:?}");
        }
        stream.until("at rest again", |f| f.settled() && f.texts("user").len() == 2).await;
        assert_eq!(owner.chat(chat).await["title"], "Seen by all");

        // Others are hidden from those who are no administrators.
        stranger.get("/api/v2/users/owner").await.problem(404);
        assert_eq!(admin.get("/api/v2/users/owner").await.json(200)["username"], "owner");
        assert_eq!(stranger.get("/api/v2/users/stranger").await.json(200)["username"], "stranger");
        for path in ["/chats/model-configs", "/chats/providers"] {
            assert!(stranger.post(path, json!({})).await.status >= 400, "{path}");
        }
    }
}
