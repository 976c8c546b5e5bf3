//! `/chats/providers`, `/api/v2/ai/providers` and users' keys (api.md §2.12).

use super::{model, provider, somebody};
use crate::support::both;
use serde_json::{Value, json};

const KEY: &str = "sk-canary-0123456789-tail";

both! {
    async fn older_clients_manage_one_provider_of_a_type(h: Harness) {
        let daemon = h.daemon().await;
        let (admin, user) = (daemon.api(), somebody(&daemon, "ann").await);
        user.get("/chats/providers").await.problem(404);
        user.post("/chats/providers", json!({ "provider": "openai", "api_key": KEY })).await.problem(403);
        let all = admin.get("/chats/providers").await.json(200);
        let of = |all: &Value, name: &str| all.as_array().unwrap().iter().find(|p| p["provider"] == name).unwrap().clone();
        assert_eq!(of(&all, "openai-compat")["source"], "env_preset", "declared in the file");
        // What chatd cannot call is not offered.
        assert!(!all.as_array().unwrap().iter().any(|p| p["provider"] == "bedrock"), "{all}");
        let supported = of(&all, "openai");
        assert_eq!((&supported["source"], &supported["id"]), (&json!("supported"), &json!("00000000-0000-0000-0000-000000000000")));
        assert!(supported.get("created_at").is_none());
        for (body, field) in [
            (json!({ "provider": "nonsense" }), "provider"),
            (json!({}), "provider"),
            (json!({ "provider": "bedrock", "api_key": KEY }), "provider"),
            (json!({ "provider": "openai" }), "api_key"),
            (json!({ "provider": "openai", "api_key": "  " }), "api_key"),
            (json!({ "provider": "openai", "api_key": "x".repeat(10_241) }), "api_key"),
            (json!({ "provider": "openai", "api_key": KEY, "base_url": "ftp://x" }), "base_url"),
            (json!({ "provider": "azure", "api_key": KEY }), "base_url"),
            (json!({ "provider": "openai", "central_api_key_enabled": false }), "allow_user_api_key"),
            (json!({ "provider": "openai", "api_key": KEY, "allow_central_api_key_fallback": true }), "allow_central_api_key_fallback"),
        ] {
            let problem = admin.post("/chats/providers", body.clone()).await.problem(400);
            assert_eq!(problem["validations"][0]["field"], field, "{body} {problem}");
        }
        let made = admin.post("/chats/providers", json!({ "provider": "openai", "api_key": KEY, "display_name": "Ours" })).await.json(201);
        for (key, value) in [
            ("provider", json!("openai")), ("display_name", json!("Ours")), ("enabled", json!(true)), ("has_api_key", json!(true)),
            ("central_api_key_enabled", json!(true)), ("allow_user_api_key", json!(false)),
            ("allow_central_api_key_fallback", json!(false)), ("source", json!("database")),
        ] {
            assert_eq!(made[key], value, "{key}: {made}");
        }
        assert!(made["created_at"].is_string() && made.get("base_url").is_none(), "{made}");
        admin.post("/chats/providers", json!({ "provider": "openai", "api_key": KEY })).await.problem(409);
        let path = format!("/chats/providers/{}", made["id"].as_str().unwrap());
        let changed = admin.patch(&path, json!({ "allow_user_api_key": true, "allow_central_api_key_fallback": true, "base_url": "http://h/v1" })).await.json(200);
        assert_eq!((&changed["base_url"], &changed["has_api_key"]), (&json!("http://h/v1"), &json!(true)));
        admin.patch(&path, json!({ "api_key": "" })).await.problem(400);
        let keyless = json!({ "api_key": "", "central_api_key_enabled": false, "allow_central_api_key_fallback": false });
        assert_eq!(admin.patch(&path, keyless).await.json(200)["has_api_key"], json!(false));
        let m = model(&admin, &made, "gpt-x").await;
        admin.delete(&path).await.problem(400);
        admin.delete(&format!("/chats/model-configs/{}", m["id"].as_str().unwrap())).await.empty(204);
        user.delete(&path).await.problem(403);
        admin.delete(&path).await.empty(204);
        admin.delete(&path).await.problem(404);
        admin.patch("/chats/providers/nonsense", json!({})).await.problem(400);
        let declared = of(&all, "openai-compat")["id"].as_str().unwrap().to_owned();
        let refused = admin.patch(&format!("/chats/providers/{declared}"), json!({ "enabled": false })).await.problem(403);
        assert!(refused["detail"].as_str().unwrap().contains("[[providers]]"), "{refused}");
        admin.delete(&format!("/api/v2/ai/providers/{declared}")).await.problem(403);
    }

    async fn newer_clients_manage_any_number_with_any_number_of_keys(h: Harness) {
        let daemon = h.daemon().await;
        let (admin, user) = (daemon.api(), somebody(&daemon, "ann").await);
        user.get("/api/v2/ai/providers").await.problem(404);
        let p = provider(&h, &admin, "one", &[KEY, "short"]).await;
        assert_eq!((&p["type"], &p["name"], &p["settings"]), (&json!("openai-compat"), &json!("one"), &Value::Null));
        let masked: Vec<_> = p["api_keys"].as_array().unwrap().iter().map(|k| k["masked"].clone()).collect();
        assert_eq!(masked, [json!("****tail"), json!("****")]);
        provider(&h, &admin, "two", &[]).await;
        for (body, field) in [
            (json!({ "type": "x", "name": "n", "base_url": "" }), "type"),
            (json!({ "type": "copilot", "name": "n", "base_url": "" }), "type"),
            (json!({ "type": "openai", "name": "No", "base_url": "" }), "name"),
            (json!({ "type": "openai", "base_url": "" }), "name"),
            (json!({ "type": "openai", "name": "n", "base_url": "x" }), "base_url"),
            (json!({ "type": "openai-compat", "name": "n", "base_url": "" }), "base_url"),
            (json!({ "type": "openai", "name": "n", "base_url": "", "api_keys": ["ok", " "] }), "api_keys[1]"),
            (json!({ "type": "openai", "name": "n", "base_url": "", "settings": { "_type": "bedrock" } }), "settings"),
        ] {
            let problem = admin.post("/api/v2/ai/providers", body.clone()).await.problem(400);
            assert_eq!(problem["validations"][0]["field"], field, "{body} {problem}");
        }
        let twice = json!({ "type": "openai", "name": "one", "base_url": "" });
        admin.post("/api/v2/ai/providers", twice).await.problem(409);
        admin.patch("/api/v2/ai/providers/two", json!({ "name": "one" })).await.problem(409);
        let keep = p["api_keys"][1]["id"].clone();
        let wanted = json!({ "api_keys": [{ "id": keep }, { "api_key": "another-key-0123456789" }], "display_name": "Eins" });
        let changed = admin.patch("/api/v2/ai/providers/one", wanted).await.json(200);
        assert_eq!((&changed["api_keys"][0]["id"], &changed["api_keys"][1]["masked"]), (&keep, &json!("****6789")));
        assert_eq!(admin.patch("/api/v2/ai/providers/one", json!({ "enabled": false })).await.json(200)["api_keys"].as_array().unwrap().len(), 2);
        assert_eq!(admin.patch("/api/v2/ai/providers/one", json!({ "api_keys": [] })).await.json(200)["api_keys"], json!([]));
        for bad in [json!([{}]), json!([{ "id": keep }]), json!([{ "id": keep, "api_key": "x" }])] {
            admin.patch("/api/v2/ai/providers/one", json!({ "api_keys": bad })).await.problem(400);
        }
        let by_id = admin.get(&format!("/api/v2/ai/providers/{}", p["id"].as_str().unwrap())).await.json(200);
        assert_eq!(by_id["display_name"], "Eins");
        admin.get("/api/v2/ai/providers/nobody").await.problem(404);
        user.delete("/api/v2/ai/providers/one").await.problem(403);
        admin.delete("/api/v2/ai/providers/one").await.empty(204);
        admin.delete("/api/v2/ai/providers/one").await.problem(404);
        provider(&h, &admin, "one", &[]).await;
    }

    async fn users_bring_keys_of_their_own(h: Harness) {
        let daemon = h.daemon().await;
        let (admin, ann, bob) = (daemon.api(), somebody(&daemon, "ann").await, somebody(&daemon, "bob").await);
        let p = provider(&h, &admin, "open", &[KEY]).await;
        let entry = async |api: &crate::support::client::Api, user: &str| {
            let all = api.get(&format!("/api/v2/users/{user}/ai-provider-keys")).await.json(200);
            all.as_array().unwrap().iter().find(|e| e["provider"]["name"] == "open").cloned().unwrap()
        };
        let before = entry(&ann, "me").await;
        assert_eq!(before, json!({ "provider": { "id": p["id"], "type": "openai-compat", "name": "open", "display_name": "OpenAI Compatible",
            "icon": "", "enabled": true, "deleted": false }, "has_user_api_key": false, "has_provider_api_key": true, "byok_enabled": true }));
        let at = "/api/v2/users/me/ai-provider-keys";
        ann.put(&format!("{at}/open"), json!({ "api_key": " " })).await.problem(400);
        ann.put(&format!("{at}/nobody"), json!({ "api_key": "x" })).await.problem(404);
        let stored = ann.put(&format!("{at}/{}", p["id"].as_str().unwrap()), json!({ "api_key": "sk-ann-0123456789" })).await.json(200);
        assert_eq!(stored["has_user_api_key"], json!(true));
        assert_eq!(entry(&admin, "ann").await["has_user_api_key"], json!(true), "an administrator sees that there is one");
        bob.get("/api/v2/users/ann/ai-provider-keys").await.problem(404);
        assert_eq!(entry(&bob, "me").await["has_user_api_key"], json!(false));
        // The same key, as older clients see it.
        let id = p["id"].as_str().unwrap();
        let legacy = ann.get("/chats/user-provider-configs").await.json(200);
        let mine = legacy.as_array().unwrap().iter().find(|e| e["provider_id"] == p["id"]).cloned().unwrap();
        assert_eq!(mine, json!({ "provider_id": id, "provider": "openai-compat", "display_name": "OpenAI Compatible", "icon": "",
            "enabled": true, "has_user_api_key": true, "has_central_api_key_fallback": true, "byok_enabled": true }));
        ann.delete(&format!("/chats/user-provider-configs/{id}")).await.empty(204);
        ann.delete(&format!("{at}/open")).await.empty(204);
        assert_eq!(entry(&ann, "me").await["has_user_api_key"], json!(false));
        assert_eq!(ann.put(&format!("/chats/user-provider-configs/{id}"), json!({ "api_key": "sk-ann-9876543210" })).await.json(200)["has_user_api_key"], json!(true));
        ann.put("/chats/user-provider-configs/nonsense", json!({ "api_key": "x" })).await.problem(400);
        admin.patch("/api/v2/ai/providers/open", json!({ "enabled": false })).await.json(200);
        ann.put(&format!("{at}/open"), json!({ "api_key": "x" })).await.problem(412);
        ann.put(&format!("/chats/user-provider-configs/{id}"), json!({ "api_key": "x" })).await.problem(400);
        // A provider that takes no keys of users.
        let closed = admin.post("/chats/providers", json!({ "provider": "openai", "api_key": KEY })).await.json(201);
        ann.put(&format!("/chats/user-provider-configs/{}", closed["id"].as_str().unwrap()), json!({ "api_key": "x" })).await.problem(400);
        ann.put(&format!("{at}/openai"), json!({ "api_key": "x" })).await.problem(403);
    }

    async fn where_a_key_of_the_users_own_is_demanded_no_model_does_without(h: Harness) {
        h.model.push([crate::support::fake_model::says("Hi.")]);
        let daemon = h.daemon().await;
        let (admin, ann) = (daemon.api(), somebody(&daemon, "ann").await);
        let p = provider(&h, &admin, "open", &[]).await;
        let m = model(&admin, &p, "mine").await;
        let at = format!("/chats/providers/{}", p["id"].as_str().unwrap());
        let offer = async || {
            let all = ann.get("/chats/models").await.json(200);
            all["providers"].as_array().unwrap().iter().find(|p| p["provider"] == "openai-compat").cloned().unwrap()
        };
        // The declared provider of this type serves everybody; its models stay.
        assert_eq!(offer().await["models"].as_array().map(Vec::len), Some(2), "without any key");
        let chat = json!({ "organization_id": ann.organization().await, "model_config_id": m["id"],
            "content": [{ "type": "text", "text": "Q" }] });
        for flags in [
            json!({ "central_api_key_enabled": true, "allow_central_api_key_fallback": false }),
            json!({ "central_api_key_enabled": false, "allow_central_api_key_fallback": false }),
        ] {
            admin.patch(&at, flags).await.json(200);
            assert_eq!(offer().await["models"].as_array().map(Vec::len), Some(1), "{}", offer().await);
            let refused = ann.post("/chats", chat.clone()).await.problem(400);
            assert!(refused.to_string().contains("an API key of your own"), "{refused}");
        }
        ann.put("/api/v2/users/me/ai-provider-keys/open", json!({ "api_key": "sk-ann-0123456789" })).await.json(200);
        assert_eq!(offer().await["models"].as_array().map(Vec::len), Some(2));
        h.model.expect_key(Some("sk-ann-0123456789"));
        let made = crate::support::turns::id(&ann.post("/chats", chat).await.json(201));
        ann.stream(&made, None).await.answered(1).await;
    }

    async fn the_scripted_model_takes_no_keys(h: Harness) {
        h.configure("[[providers]]\nname = \"script\"\ntype = \"scripted\"\n[[models]]\nname = \"script\"\nprovider = \"script\"\nmodel = \"x\"\ncontext_limit = 1000");
        let daemon = h.daemon().await;
        let api = daemon.api();
        let named = |list: &Value, key: &str| list.as_array().unwrap().iter().any(|p| p.pointer(key) == Some(&json!("scripted")));
        let offered = api.get("/chats/models").await.json(200)["providers"].clone();
        assert!(named(&offered, "/provider"), "{offered}");
        assert!(!named(&api.get("/chats/user-provider-configs").await.json(200), "/provider"));
        assert!(!named(&api.get("/api/v2/users/me/ai-provider-keys").await.json(200), "/provider/type"));
        api.put("/api/v2/users/me/ai-provider-keys/script", json!({ "api_key": "sk-0123456789" })).await.problem(403);
    }

    async fn an_operator_may_forbid_keys_of_users(h: Harness) {
        h.configure("secrets.allow_user_api_keys = false");
        let daemon = h.daemon().await;
        let (admin, ann) = (daemon.api(), somebody(&daemon, "ann").await);
        provider(&h, &admin, "open", &[]).await;
        ann.put("/api/v2/users/me/ai-provider-keys/open", json!({ "api_key": "x" })).await.problem(403);
        assert_eq!(ann.get("/chats/user-provider-configs").await.json(200), json!([]));
        assert_eq!(ann.get("/api/v2/users/me/ai-provider-keys").await.json(200)[0]["byok_enabled"], json!(false));
    }
}
