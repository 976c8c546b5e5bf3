use crate::support::{
    both,
    client::{Answer, Api},
    fake_model::says,
    turns::{id, text},
};
use reqwest::Method;
use serde_json::{Value, json};

async fn keyed(api: &Api, path: &str, body: &Value, key: &str) -> Answer {
    let sent = api.try_call_with(Method::POST, path, Some(body), &[("Idempotency-Key", key)]).await;
    sent.expect("an answer")
}

both! {
    async fn a_create_repeated_under_its_key_makes_one_chat(h: Harness) {
        h.model.push([says("Once.")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let mut body = text("Once?");
        body["organization_id"] = json!(api.organization().await);
        let first = keyed(&api, "/chats", &body, "k1").await.json(201);
        let again = keyed(&api, "/chats", &body, "k1").await.json(201);
        assert_eq!(first, again);
        let mut stream = api.stream(&id(&first), None).await;
        stream.answered(1).await;
        assert_eq!(keyed(&api, "/chats", &body, "k1").await.json(201), first);
        let list = api.get("/chats").await.json(200);
        assert_eq!(list.as_array().map(Vec::len), Some(1));
        body["content"][0]["text"] = json!("Other");
        keyed(&api, "/chats", &body, "k1").await.problem(409);
        assert_eq!(h.turns(), 1);
    }

    async fn a_message_repeated_under_its_key_is_sent_once(h: Harness) {
        h.model.push([says("A1"), says("A2"), says("A3")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("Q1").await);
        let mut stream = api.stream(&chat, None).await;
        stream.answered(1).await;
        let path = format!("/chats/{chat}/messages");
        let first = keyed(&api, &path, &text("Q2"), "k").await.json(200);
        stream.answered(2).await;
        assert_eq!(keyed(&api, &path, &text("Q2"), "k").await.json(200), first);
        keyed(&api, &path, &text("Q3"), "k").await.problem(409);
        keyed(&api, &path, &text("Q2"), "another").await.json(200);
        assert_eq!(stream.answered(3).await.texts("user"), ["Q1", "Q2", "Q2"]);
    }
}
