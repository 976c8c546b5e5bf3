//! `/chats/model-configs` and `/chats/models` (api.md §2.11).

use super::{model, provider, somebody};
use crate::support::{both, client::Api, fake_model::says, turns::id};
use reqwest::Method;
use serde_json::{Value, json};

async fn configs(api: &Api) -> Vec<Value> {
    api.get("/chats/model-configs").await.json(200).as_array().expect("a list").clone()
}

fn defaults(configs: &[Value]) -> Vec<&str> {
    configs.iter().filter(|c| c["is_default"] == json!(true)).filter_map(|c| c["model"].as_str()).collect()
}

both! {
    async fn a_model_is_made_changed_and_deleted(h: Harness) {
        let daemon = h.daemon().await;
        let (admin, user) = (daemon.api(), somebody(&daemon, "ann").await);
        let p = provider(&h, &admin, "mine", &["key-of-mine-0123456789"]).await;
        let body = json!({
            "provider": "openai-compat", "ai_provider_id": p["id"], "model": " big-model ", "context_limit": 500_000,
            "model_config": {
                "input_price_per_million_tokens": 3, "cost": { "output_price_per_million_tokens": "15.50" },
                "temperature": 0.5, "provider_options": { "openaicompat": { "reasoning_effort": "high" } } },
        });
        user.post("/chats/model-configs", body.clone()).await.problem(403);
        let made = admin.post("/chats/model-configs", body.clone()).await.json(201);
        assert_eq!(made["model"], "big-model");
        assert_eq!((&made["display_name"], &made["enabled"], &made["is_default"]), (&json!("big-model"), &json!(true), &json!(false)));
        assert_eq!((&made["context_limit"], &made["compression_threshold"]), (&json!(500_000), &json!(30)));
        assert_eq!(made["model_config"], json!({
            "cost": { "input_price_per_million_tokens": "3", "output_price_per_million_tokens": "15.50" },
            "temperature": 0.5, "provider_options": { "openaicompat": { "reasoning_effort": "high" } } }));
        assert!(made["created_at"].is_string() && made["updated_at"].is_string());
        admin.post("/chats/model-configs", body).await.problem(409);
        let small = model(&admin, &p, "small").await;
        assert_eq!(small["compression_threshold"], json!(70));
        assert!(small.get("model_config").is_none(), "nothing is set: {small}");
        let path = format!("/chats/model-configs/{}", made["id"].as_str().unwrap());
        user.patch(&path, json!({})).await.problem(403);
        user.delete(&path).await.problem(403);
        admin.patch(&path, json!({ "model": "small" })).await.problem(409);
        let changed = admin.patch(&path, json!({ "model": "", "display_name": "Big", "compression_threshold": 0, "unknown": 1 })).await.json(200);
        assert_eq!((&changed["model"], &changed["display_name"], &changed["compression_threshold"]), (&json!("big-model"), &json!("Big"), &json!(0)));
        assert_eq!(changed["model_config"], made["model_config"], "kept");
        admin.patch(&path, json!({ "enabled": false })).await.json(200);
        assert!(configs(&user).await.iter().all(|c| c["id"] != made["id"]), "hidden from users");
        assert!(configs(&admin).await.iter().any(|c| c["id"] == made["id"]));
        admin.delete(&path).await.empty(204);
        admin.delete(&path).await.problem(404);
        admin.patch("/chats/model-configs/nonsense", json!({})).await.problem(400);
        assert!(configs(&admin).await.iter().all(|c| c["id"] != made["id"]));
    }

    async fn a_request_repeated_under_its_key_is_answered_though_its_model_is_gone(h: Harness) {
        let daemon = h.daemon().await;
        let api = daemon.api();
        h.model.push([says("A1"), says("A2")]);
        let p = provider(&h, &api, "mine", &["test-key"]).await;
        let m = model(&api, &p, "brief").await;
        let key = [("Idempotency-Key", "k1")];
        let again = [("Idempotency-Key", "k2")];
        let mut body = json!({ "content": [{ "type": "text", "text": "Q1" }], "model_config_id": m["id"] });
        let mut create = body.clone();
        create["organization_id"] = json!(api.organization().await);
        let sent = async |path: &str, body: &Value, key| {
            api.try_call_with(Method::POST, path, Some(body), key).await.expect("an answer")
        };
        let made = sent("/chats", &create, &key).await.json(201);
        let chat = id(&made);
        let mut stream = api.stream(&chat, None).await;
        stream.answered(1).await;
        let messages = format!("/chats/{chat}/messages");
        let first = sent(&messages, &body, &again).await.json(200);
        stream.answered(2).await;
        api.delete(&format!("/chats/model-configs/{}", m["id"].as_str().unwrap())).await.empty(204);
        assert_eq!(sent("/chats", &create, &key).await.json(201), made);
        assert_eq!(sent(&messages, &body, &again).await.json(200), first);
        sent(&messages, &body, &[("Idempotency-Key", "k3")]).await.problem(400);
        body["content"][0]["text"] = json!("Q2");
        sent(&messages, &body, &again).await.problem(409);
    }

    async fn what_is_wrong_with_a_model_is_named(h: Harness) {
        let daemon = h.daemon().await;
        let admin = daemon.api();
        let p = provider(&h, &admin, "mine", &[]).await;
        let with = |key: &str, value: Value| {
            let mut body = json!({ "ai_provider_id": p["id"], "model": "m", "context_limit": 1000 });
            body[key] = value;
            body
        };
        for (body, field) in [
            (json!({ "model": "m", "context_limit": 1 }), "provider"),
            (json!({ "provider": "nonsense", "model": "m", "context_limit": 1 }), "provider"),
            (json!({ "provider": "google", "model": "m", "context_limit": 1 }), "provider"),
            (with("model", json!("  ")), "model"),
            (with("context_limit", json!(0)), "context_limit"),
            (with("context_limit", Value::Null), "context_limit"),
            (with("compression_threshold", json!(101)), "compression_threshold"),
            (with("compression_threshold", json!(-1)), "compression_threshold"),
            (with("model_config", json!({ "temperature": 3 })), "model_config.temperature"),
            (with("model_config", json!({ "cost": { "input_price_per_million_tokens": -1 } })), "model_config.cost.input_price_per_million_tokens"),
            (with("model_config", json!({ "cost": { "input_price_per_million_tokens": 1_000_001 } })), "model_config.cost"),
            (with("model_config", json!({ "cost": { "input_price_per_million_tokens": "much" } })), "model_config.cost.input_price_per_million_tokens"),
            (with("model_config", json!({ "output_price_per_million_tokens": "1e3" })), "model_config.output_price_per_million_tokens"),
            (with("model_config", json!({ "provider_options": { "openai": { "store": 1 } } })), "model_config.provider_options.openai.store"),
            (with("context_limit", json!("many")), "context_limit"),
            (with("display_name", json!("a\u{0}b")), "display_name"),
        ] {
            let problem = admin.post("/chats/model-configs", body.clone()).await.problem(400);
            assert_eq!(problem["validations"][0]["field"], field, "{body} {problem}");
        }
        let mut nobody = with("model", json!("m"));
        nobody["ai_provider_id"] = json!("11111111-1111-4111-8111-111111111111");
        admin.post("/chats/model-configs", nobody).await.problem(412);
        let path = format!("/api/v2/ai/providers/{}", p["id"].as_str().unwrap());
        admin.patch(&path, json!({ "enabled": false })).await.json(200);
        admin.post("/chats/model-configs", with("model", json!("m"))).await.problem(412);
    }

    async fn exactly_one_enabled_model_is_the_default(h: Harness) {
        let daemon = h.daemon().await;
        let admin = daemon.api();
        let p = provider(&h, &admin, "mine", &[]).await;
        assert_eq!(defaults(&configs(&admin).await), ["fake-model"], "the declared one");
        let (a, b) = (model(&admin, &p, "a").await, model(&admin, &p, "b").await);
        let at = |m: &Value| format!("/chats/model-configs/{}", m["id"].as_str().unwrap());
        admin.patch(&at(&a), json!({ "is_default": true })).await.json(200);
        assert_eq!(defaults(&configs(&admin).await), ["a"]);
        // Unset, disabled, deleted: the flag goes to another one.
        admin.patch(&at(&a), json!({ "is_default": false })).await.json(200);
        assert_eq!(defaults(&configs(&admin).await), ["fake-model"]);
        admin.patch(&at(&b), json!({ "is_default": true })).await.json(200);
        admin.patch(&at(&b), json!({ "enabled": false, "is_default": true })).await.problem(400);
        admin.patch(&at(&b), json!({ "enabled": false })).await.json(200);
        assert_eq!(defaults(&configs(&admin).await), ["fake-model"]);
        admin.patch(&at(&a), json!({ "is_default": true })).await.json(200);
        admin.delete(&at(&a)).await.empty(204);
        let left = configs(&admin).await;
        assert_eq!(defaults(&left), ["fake-model"]);
        // The flag may move to a declared model, though nothing else of it may change.
        let c = model(&admin, &p, "c").await;
        admin.patch(&at(&c), json!({ "is_default": true })).await.json(200);
        let declared = left.iter().find(|m| m["model"] == "fake-model").expect("declared");
        assert_eq!(admin.patch(&at(declared), json!({ "is_default": true })).await.json(200)["is_default"], json!(true));
        assert_eq!(defaults(&configs(&admin).await), ["fake-model"]);
        let refused = admin.patch(&at(declared), json!({ "display_name": "x" })).await.problem(403);
        assert!(refused["detail"].as_str().unwrap().contains("[[models]]"), "{refused}");
        admin.delete(&at(declared)).await.problem(403);
    }

    async fn what_can_be_used_depends_on_who_asks(h: Harness) {
        let daemon = h.daemon().await;
        let (admin, ann) = (daemon.api(), somebody(&daemon, "ann").await);
        let body = json!({ "type": "anthropic", "name": "claude", "enabled": true, "base_url": "", "api_keys": [] });
        let p = admin.post("/api/v2/ai/providers", body).await.json(201);
        let m = model(&admin, &p, "claude-x").await;
        let of = async |api: &Api| {
            let all = api.get("/chats/models").await.json(200);
            all["providers"].as_array().unwrap().iter().find(|p| p["provider"] == "anthropic").cloned()
        };
        let none = of(&ann).await.expect("shown");
        assert_eq!(none, json!({ "provider": "anthropic", "available": false, "unavailable_reason": "user_api_key_required", "models": [] }));
        let create = json!({ "content": [{ "type": "text", "text": "x" }], "model_config_id": m["id"], "organization_id": ann.organization().await });
        let refused = ann.post("/chats", create).await.problem(400);
        assert_eq!(refused["validations"][0]["field"], "model_config_id");
        ann.put("/api/v2/users/me/ai-provider-keys/claude", json!({ "api_key": "sk-of-ann-0123456789" })).await.json(200);
        let some = of(&ann).await.expect("shown");
        assert_eq!(some["available"], json!(true));
        assert_eq!(some["models"], json!([{ "id": "anthropic:claude-x", "provider": "anthropic", "model": "claude-x", "display_name": "claude-x" }]));
        assert_eq!(of(&admin).await.expect("shown")["available"], json!(false), "her key is hers");
        admin.patch("/api/v2/ai/providers/claude", json!({ "enabled": false })).await.json(200);
        assert!(of(&ann).await.is_none(), "a disabled provider is left out");
    }
}
