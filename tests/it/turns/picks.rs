//! The model and the effort that a caller picks.

use crate::support::{
    both,
    fake_model::says,
    turns::{id, text},
};
use serde_json::json;

both! {
    async fn the_effort_asked_for_reaches_the_model(h: Harness) {
        h.model.push([says("A1"), says("A2")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let mut body = text("Think hard.");
        body["reasoning_effort"] = json!("high");
        let chat = id(&api.create_chat_with(body).await);
        let mut stream = api.stream(&chat, None).await;
        stream.answered(1).await;
        assert_eq!(h.turn(0).await.body["reasoning_effort"], json!("high"));
        let mut body = text("Do not.");
        body["reasoning_effort"] = json!("low");
        api.post(&format!("/chats/{chat}/messages"), body).await.json(200);
        stream.answered(2).await;
        assert_eq!(h.turn(1).await.body["reasoning_effort"], json!("low"));
        let mut body = text("Well?");
        body["reasoning_effort"] = json!("extreme");
        api.post(&format!("/chats/{chat}/messages"), body).await.problem(400);
    }

    async fn another_model_may_answer_the_next_question(h: Harness) {
        let mut models = h.config()["models"].as_array().expect("models").clone();
        let mut other = models[0].as_table().expect("a table").clone();
        other.extend("name = \"other\"\nmodel = \"other-model\"\ndefault = false".parse::<toml::Table>().expect("TOML"));
        models.push(other.into());
        let mut over = toml::Table::new();
        over.insert("models".into(), models.into());
        h.configure(&over.to_string());
        h.model.push([says("A1"), says("A2"), says("A3")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let configs = api.get("/chats/model-configs").await.json(200);
        let id_of = |model: &str| {
            let found = configs.as_array().expect("a list").iter().find(|c| c["model"] == model);
            found.unwrap_or_else(|| panic!("no {model}: {configs}"))["id"].clone()
        };
        let chat = id(&api.create_chat("Q1").await);
        let mut stream = api.stream(&chat, None).await;
        stream.answered(1).await;
        let mut body = text("Q2");
        body["model_config_id"] = id_of("other-model");
        api.post(&format!("/chats/{chat}/messages"), body).await.json(200);
        stream.answered(2).await;
        api.send(&chat, "Q3").await;
        let held = stream.answered(3).await;
        let by: Vec<_> = held.messages.values().filter(|m| m["role"] == "assistant").map(|m| m["model_config_id"].clone()).collect();
        assert_eq!(by, [id_of("fake-model"), id_of("other-model"), id_of("other-model")]);
        let mut asked = Vec::new();
        for n in 0..3 {
            asked.push(h.turn(n).await.model().to_owned());
        }
        assert_eq!(asked, ["fake-model", "other-model", "other-model"]);
        let mut body = text("Q4");
        body["model_config_id"] = json!("00000000-0000-4000-8000-000000000000");
        api.post(&format!("/chats/{chat}/messages"), body).await.problem(400);
    }
}
