use crate::support::{
    both,
    fake_model::{Gate, fails, says},
    turns::{id, text},
};
use serde_json::{Value, json};

fn ids(list: Value) -> Vec<String> {
    list.as_array().expect("a list").iter().map(id).collect()
}

both! {
    async fn an_archived_chat_is_hidden_and_frozen_until_it_is_brought_back(h: Harness) {
        h.model.push([says("A1"), says("A2")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("Q1").await);
        let path = format!("/chats/{chat}");
        let mut stream = api.stream(&chat, None).await;
        let last = stream.answered(1).await.last_id().expect("messages");
        api.patch(&path, json!({ "archived": false })).await.problem(400);
        api.patch(&path, json!({ "archived": true })).await.empty(204);
        api.patch(&path, json!({ "archived": true })).await.problem(400);
        assert_eq!(api.chat(&chat).await["archived"], json!(true));
        assert_eq!(ids(api.get("/chats").await.json(200)), [""; 0]);
        assert_eq!(ids(api.get("/chats?q=archived:true").await.json(200)), std::slice::from_ref(&chat));
        api.post(&format!("{path}/messages"), text("no")).await.problem(400);
        api.patch(&format!("{path}/messages/{}", last - 1), text("no")).await.problem(400);
        api.post(&format!("{path}/interrupt"), json!({})).await.problem(400);
        api.post(&format!("{path}/compact"), json!({})).await.problem(400);
        api.post(&format!("{path}/clear"), json!({})).await.problem(400);
        let results = json!({ "results": [{ "tool_call_id": "c", "output": 1 }] });
        api.post(&format!("{path}/tool-results"), results).await.problem(400);
        assert_eq!(api.history(&chat).await.len(), 2);
        api.patch(&path, json!({ "archived": false })).await.empty(204);
        api.send(&chat, "Q2").await;
        assert_eq!(stream.answered(2).await.texts("assistant"), ["A1", "A2"]);
    }

    async fn a_running_chat_cannot_be_archived(h: Harness) {
        let gate = Gate::new();
        h.model.push([says("A").gate(&gate)]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("Q").await);
        let mut stream = api.stream(&chat, None).await;
        stream.shows("A").await;
        api.patch(&format!("/chats/{chat}"), json!({ "archived": true })).await.problem(409);
        gate.open();
        stream.answered(1).await;
        api.patch(&format!("/chats/{chat}"), json!({ "archived": true })).await.empty(204);
    }

    async fn a_failed_chat_keeps_its_error_in_the_archive(h: Harness) {
        h.model.push([fails(401, json!({ "error": { "message": "bad key" } }))]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("Q").await);
        let mut stream = api.stream(&chat, None).await;
        stream.until("the error", |f| f.error.is_some()).await;
        let path = format!("/chats/{chat}");
        api.patch(&path, json!({ "archived": true })).await.empty(204);
        assert_eq!(api.chat(&chat).await["last_error"]["kind"], json!("auth"));
        api.patch(&path, json!({ "archived": false })).await.empty(204);
        let back = api.chat(&chat).await;
        assert_eq!((&back["status"], &back["last_error"]["kind"]), (&json!("error"), &json!("auth")));
    }
}
