//! What turns make of providers, keys and models that change under them.

use super::{chat_with, model, provider, somebody};
use crate::support::{
    Engine, both,
    fake_model::{fails, says},
    outside::eventually,
    run,
    turns::id,
};
use serde_json::json;

const FIRST: &str = "sk-first-0123456789";
const SECOND: &str = "sk-second-0123456789";

both! {
    async fn a_changed_key_is_used_for_the_next_call(h: Harness) {
        let daemon = h.daemon().await;
        let api = daemon.api();
        let p = provider(&h, &api, "mine", &[FIRST]).await;
        let m = model(&api, &p, "m-one").await;
        h.model.push([says("One."), says("Two."), says("Three.")]);
        h.model.expect_key(Some(FIRST));
        let chat = chat_with(&api, &m, "Q1").await;
        let mut stream = api.stream(&chat, None).await;
        stream.answered(1).await;
        assert_eq!(h.turn(0).await.model(), "m-one");
        assert_eq!(h.turn(0).await.body["max_tokens"].as_i64().or(h.turn(0).await.body["max_completion_tokens"].as_i64()), Some(32_000));
        api.patch("/api/v2/ai/providers/mine", json!({ "api_keys": [{ "api_key": SECOND }] })).await.json(200);
        h.model.expect_key(Some(SECOND));
        api.send(&chat, "Q2").await;
        stream.answered(2).await;
        // Of several keys the oldest counts.
        let keys = api.get("/api/v2/ai/providers/mine").await.json(200)["api_keys"].clone();
        let both = json!({ "api_keys": [{ "id": keys[0]["id"] }, { "api_key": "sk-third-0123456789" }] });
        api.patch("/api/v2/ai/providers/mine", both).await.json(200);
        api.send(&chat, "Q3").await;
        stream.answered(3).await;
    }

    async fn a_disabled_provider_ends_turns_until_it_is_enabled_again(h: Harness) {
        let daemon = h.daemon().await;
        let api = daemon.api();
        let p = provider(&h, &api, "mine", &["test-key"]).await;
        let m = model(&api, &p, "m-one").await;
        h.model.push([says("One."), says("Back.")]);
        let chat = chat_with(&api, &m, "Q1").await;
        let mut stream = api.stream(&chat, None).await;
        stream.answered(1).await;
        api.patch("/api/v2/ai/providers/mine", json!({ "enabled": false })).await.json(200);
        api.send(&chat, "Q2").await;
        let held = stream.until("the error", |f| f.error.is_some()).await;
        let error = held.error.clone().expect("just seen");
        assert_eq!((&error["kind"], &error["retryable"], &error["provider"]), (&json!("provider_disabled"), &json!(false), &json!("openai-compat")));
        assert!(held.retries.is_empty());
        let body = json!({ "content": [{ "type": "text", "text": "x" }], "model_config_id": m["id"] });
        let refused = api.post(&format!("/chats/{chat}/messages"), body).await.problem(400);
        assert!(refused.to_string().contains("disabled"), "{refused}");
        api.patch("/api/v2/ai/providers/mine", json!({ "enabled": true })).await.json(200);
        api.send(&chat, "Q3").await;
        stream.answered(2).await;
    }

    async fn what_changes_while_a_retry_waits_counts_for_it(h: Harness) {
        let daemon = h.daemon().await;
        let api = daemon.api();
        let p = provider(&h, &api, "mine", &[FIRST]).await;
        let m = model(&api, &p, "m-one").await;
        let busy = || fails(429, json!({ "error": { "message": "slow down" } })).header("retry-after", "4");
        h.model.push([busy(), says("With the new key."), busy()]);
        h.model.expect_key(Some(FIRST));
        let chat = chat_with(&api, &m, "Q1").await;
        let mut stream = api.stream(&chat, None).await;
        stream.until("the retry", |f| f.retries.len() == 1).await;
        api.patch("/api/v2/ai/providers/mine", json!({ "api_keys": [{ "api_key": SECOND }] })).await.json(200);
        h.model.expect_key(Some(SECOND));
        stream.answered(1).await;
        api.send(&chat, "Q2").await;
        stream.until("the second retry", |f| f.retries.len() == 2).await;
        api.patch("/api/v2/ai/providers/mine", json!({ "enabled": false })).await.json(200);
        let held = stream.until("the error", |f| f.error.is_some()).await;
        assert_eq!(held.error.as_ref().map(|e| e["kind"].clone()), Some(json!("provider_disabled")));
        assert_eq!(h.turns(), 3, "the model is not asked again");
    }

    async fn a_users_own_key_comes_first_and_its_loss_is_told(h: Harness) {
        let daemon = h.daemon().await;
        let (admin, ann) = (daemon.api(), somebody(&daemon, "ann").await);
        let body = json!({ "type": "openrouter", "name": "router", "base_url": format!("{}/v1", h.model.url()), "api_keys": [FIRST] });
        let p = admin.post("/api/v2/ai/providers", body).await.json(201);
        let m = model(&admin, &p, "m-one").await;
        h.model.push([says("One."), says("Two.")]);
        ann.put("/api/v2/users/me/ai-provider-keys/router", json!({ "api_key": SECOND })).await.json(200);
        h.model.expect_key(Some(SECOND));
        let chat = chat_with(&ann, &m, "Q1").await;
        let mut stream = ann.stream(&chat, None).await;
        stream.answered(1).await;
        ann.delete("/api/v2/users/me/ai-provider-keys/router").await.empty(204);
        h.model.expect_key(Some(FIRST));
        ann.send(&chat, "Q2").await;
        stream.answered(2).await;
        admin.patch("/api/v2/ai/providers/router", json!({ "api_keys": [] })).await.json(200);
        ann.send(&chat, "Q3").await;
        let held = stream.until("the error", |f| f.error.is_some()).await;
        let error = held.error.clone().expect("just seen");
        assert_eq!((&error["kind"], &error["retryable"]), (&json!("missing_key"), &json!(false)), "{error}");
    }

    async fn a_chat_whose_model_is_gone_uses_the_default(h: Harness) {
        let daemon = h.daemon().await;
        let api = daemon.api();
        let p = provider(&h, &api, "mine", &["test-key"]).await;
        let m = model(&api, &p, "m-one").await;
        h.model.push([says("One."), says("Two.")]);
        let chat = chat_with(&api, &m, "Q1").await;
        let mut stream = api.stream(&chat, None).await;
        stream.answered(1).await;
        let path = format!("/chats/model-configs/{}", m["id"].as_str().unwrap());
        api.patch(&path, json!({ "enabled": false })).await.json(200);
        api.send(&chat, "Q2").await;
        let error = stream.until("the error", |f| f.error.is_some()).await.error.clone().expect("just seen");
        assert!(error["message"].as_str().unwrap().contains(m["id"].as_str().unwrap()), "{error}");
        api.delete(&path).await.empty(204);
        api.send(&chat, "Q3").await;
        stream.answered(2).await;
        assert_eq!(h.turn(1).await.model(), "fake-model");
        assert_eq!(api.chat(&chat).await["last_model_config_id"], m["id"], "chats keep the id they used");
        for bad in [json!("00000000-0000-0000-0000-000000000000"), m["id"].clone()] {
            let body = json!({ "content": [{ "type": "text", "text": "x" }], "model_config_id": bad, "organization_id": api.organization().await });
            api.post("/chats", body).await.problem(400);
        }
        // Who picks none gets the default, whatever it is now.
        let other = model(&api, &p, "m-two").await;
        api.patch(&format!("/chats/model-configs/{}", other["id"].as_str().unwrap()), json!({ "is_default": true })).await.json(200);
        h.model.push([says("Three.")]);
        let chat = api.create_chat("Q4").await;
        assert_eq!(chat["last_model_config_id"], other["id"]);
        api.stream(&id(&chat), None).await.answered(1).await;
    }
}

#[test]
fn every_replica_follows_a_change() {
    run(Engine::Postgres, "models_on_replicas", |h| async move {
        let (one, two) = (h.daemon().await, h.daemon().await);
        let token = one.token();
        let (a, b) = (one.api_as(&token), two.api_as(&token));
        let p = provider(&h, &a, "mine", &[FIRST]).await;
        let m = model(&a, &p, "m-one").await;
        let ids = async || b.get("/chats/model-configs").await.json(200);
        eventually("the model on the other replica", async || {
            ids().await.as_array().unwrap().iter().any(|c| c["id"] == m["id"]).then_some(())
        })
        .await;
        h.model.expect_key(Some(FIRST));
        h.model.otherwise(|_| says("Fine."));
        let chats = [chat_with(&a, &m, "Q1").await, chat_with(&b, &m, "Q1").await];
        let mut streams = [a.stream(&chats[0], None).await, b.stream(&chats[1], None).await];
        for stream in &mut streams {
            stream.answered(1).await;
        }
        b.patch("/api/v2/ai/providers/mine", json!({ "api_keys": [{ "api_key": SECOND }] })).await.json(200);
        eventually("the new key on the first replica", async || {
            let seen = a.get("/api/v2/ai/providers/mine").await.json(200);
            (seen["api_keys"][0]["masked"] == json!("****6789") && seen["updated_at"] != p["updated_at"])
                .then_some(())
        })
        .await;
        h.model.expect_key(Some(SECOND));
        for (chat, stream) in chats.iter().zip(&mut streams) {
            a.send(chat, "Q2").await;
            stream.answered(2).await;
        }
        a.patch("/api/v2/ai/providers/mine", json!({ "enabled": false })).await.json(200);
        eventually("the end of the provider on the other replica", async || {
            (b.get("/api/v2/ai/providers/mine").await.json(200)["enabled"] == json!(false)).then_some(())
        })
        .await;
        for (chat, stream) in chats.iter().zip(&mut streams) {
            b.send(chat, "Q3").await;
            let held = stream.until("the error", |f| f.error.is_some()).await;
            assert_eq!(held.error.as_ref().expect("just seen")["kind"], json!("provider_disabled"));
        }
    });
}
