//! Records of tool servers (api.md §2.16).

pub mod authority;
mod oauth;

use crate::support::{both, client::Api, fake_model::says, turns::id};
use serde_json::{Value, json};

/// A server that needs nothing.
pub fn server(slug: &str, over: Value) -> Value {
    let mut body = json!({ "display_name": "Tools", "slug": slug, "transport": "streamable_http",
        "url": "http://127.0.0.1:9/mcp", "auth_type": "none", "availability": "default_off" });
    for (key, value) in over.as_object().expect("an object") {
        body[key] = value.clone();
    }
    body
}

pub async fn made(api: &Api, body: Value) -> Value {
    api.post("/mcp/servers", body).await.json(201)
}

fn path(server: &Value) -> String {
    format!("/mcp/servers/{}", server["id"].as_str().expect("an id"))
}

both! {
    async fn a_server_is_made_seen_changed_and_removed(h: Harness) {
        let daemon = h.daemon().await;
        let api = daemon.api();
        let eve = daemon.api_as(&daemon.token_for("eve", &[]).await);
        assert_eq!(api.get("/mcp/servers").await.json(200), json!([]));
        let secret = json!({ "auth_type": "api_key", "api_key_header": "X-Key", "api_key_value": "canary-key",
            "description": "About", "icon_url": "/i.png", "tool_allow_list": ["a"], "tool_deny_list": ["b"],
            "model_intent": true, "allow_in_plan_mode": true, "forward_coder_headers": true });
        let server = made(&api, server("tools", secret)).await;
        let expected = json!({
            "id": server["id"], "display_name": "Tools", "slug": "tools", "description": "About", "icon_url": "/i.png",
            "transport": "streamable_http", "url": "http://127.0.0.1:9/mcp", "auth_type": "api_key",
            "has_oauth2_secret": false, "api_key_header": "X-Key", "has_api_key": true, "has_custom_headers": false,
            "tool_allow_list": ["a"], "tool_deny_list": ["b"], "availability": "default_off", "enabled": true,
            "model_intent": true, "allow_in_plan_mode": true, "forward_coder_headers": true, "declared": false,
            "created_at": server["created_at"], "updated_at": server["updated_at"], "auth_connected": true,
        });
        assert_eq!(server, expected);
        assert_eq!(api.get(&path(&server)).await.json(200), expected);
        assert_eq!(api.get("/mcp/servers").await.json(200), json!([expected]));
        // Others see what it is, and not where or how it is reached.
        let mut hidden = expected.clone();
        hidden["transport"] = json!("");
        hidden["url"] = json!("");
        hidden.as_object_mut().expect("an object").remove("api_key_header");
        assert_eq!(eve.get(&path(&server)).await.json(200), hidden);
        assert_eq!(eve.get("/mcp/servers").await.json(200), json!([hidden]));
        eve.patch(&path(&server), json!({ "enabled": false })).await.problem(403);
        eve.delete(&path(&server)).await.problem(403);
        eve.post("/mcp/servers", crate::mcp_records::server("x", json!({}))).await.problem(403);

        let changed = api.patch(&path(&server), json!({ "enabled": false, "display_name": "Off" })).await.json(200);
        assert_eq!((&changed["enabled"], &changed["display_name"], &changed["has_api_key"]), (&json!(false), &json!("Off"), &json!(true)));
        assert_ne!(changed["updated_at"], server["updated_at"]);
        eve.get(&path(&server)).await.problem(404);
        assert_eq!(eve.get("/mcp/servers").await.json(200), json!([]));
        // Another type drops the credentials of the old one.
        let headers = json!({ "auth_type": "custom_headers", "custom_headers": { "X-A": "canary-header" } });
        let changed = api.patch(&path(&server), headers).await.json(200);
        assert_eq!((&changed["has_api_key"], &changed["has_custom_headers"]), (&json!(false), &json!(true)));
        assert!(changed.get("api_key_header").is_none(), "{changed}");
        api.patch(&path(&server), json!({ "auth_type": "api_key" })).await.problem(400);
        api.patch(&path(&server), json!({ "custom_headers": {} })).await.problem(400);
        let kept = h.number(&daemon, "SELECT count(*) AS n FROM mcp_servers WHERE custom_headers IS NOT NULL AND api_key_value IS NULL").await;
        assert_eq!(kept, 1);
        api.delete(&path(&server)).await.empty(204);
        api.delete(&path(&server)).await.problem(404);
        api.get(&path(&server)).await.problem(404);
        api.patch(&path(&server), json!({})).await.problem(404);
        for bad in ["/mcp/servers/x", "/mcp/servers/123"] {
            api.get(bad).await.problem(400);
            api.patch(bad, json!({})).await.problem(400);
            api.delete(bad).await.problem(400);
        }
    }

    async fn what_breaks_a_rule_is_refused(h: Harness) {
        let daemon = h.daemon().await;
        let api = daemon.api();
        made(&api, server("taken", json!({}))).await;
        api.post("/mcp/servers", server("taken", json!({}))).await.problem(409);
        for (over, field) in [
            (json!({ "display_name": "" }), "display_name"),
            (json!({ "slug": null }), "slug"),
            (json!({ "slug": "a b" }), "slug"),
            (json!({ "slug": "x".repeat(65) }), "slug"),
            (json!({ "transport": "carrier pigeon" }), "transport"),
            (json!({ "url": "ftp://host/" }), "url"),
            (json!({ "url": "not a url" }), "url"),
            (json!({ "auth_type": "basic" }), "auth_type"),
            (json!({ "availability": "sometimes" }), "availability"),
            (json!({ "auth_type": "api_key", "api_key_value": "x" }), "api_key_header"),
            (json!({ "auth_type": "api_key", "api_key_header": "X-K" }), "api_key_value"),
            (json!({ "auth_type": "api_key", "api_key_header": "a b", "api_key_value": "x" }), "api_key_header"),
            (json!({ "auth_type": "api_key", "api_key_header": "X-K", "api_key_value": "a\nb" }), "api_key_value"),
            (json!({ "auth_type": "custom_headers" }), "custom_headers"),
            (json!({ "auth_type": "custom_headers", "custom_headers": {} }), "custom_headers"),
            (json!({ "auth_type": "custom_headers", "custom_headers": { "a b": "x" } }), "custom_headers"),
            (json!({ "auth_type": "oauth2", "oauth2_client_id": "x" }), "oauth2_auth_url"),
            (json!({ "auth_type": "oauth2", "oauth2_auth_url": "https://h/a", "oauth2_token_url": "https://h/t" }), "oauth2_client_id"),
            (json!({ "auth_type": "oauth2", "oauth2_client_id": "x", "oauth2_auth_url": "h", "oauth2_token_url": "https://h/t" }), "oauth2_auth_url"),
        ] {
            let problem = api.post("/mcp/servers", server("other", over.clone())).await.problem(400);
            assert_eq!(problem["validations"][0]["field"], json!(field), "{over}");
        }
        let all = api.get("/mcp/servers").await.json(200);
        assert_eq!(all.as_array().map(Vec::len), Some(1), "nothing was kept: {all}");
        let other = made(&api, server("other", json!({}))).await;
        api.patch(&path(&other), json!({ "slug": "taken" })).await.problem(409);
    }

    async fn chats_take_enabled_servers_and_get_those_of_everybody(h: Harness) {
        h.model.push([says("A1"), says("A2"), says("A3")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let forced = id(&made(&api, server("forced", json!({ "availability": "force_on" }))).await);
        let chosen = id(&made(&api, server("chosen", json!({}))).await);
        let off = id(&made(&api, server("off", json!({ "enabled": false, "availability": "force_on" }))).await);
        let unknown = "11111111-1111-4111-8111-111111111111";
        let text = json!([{ "type": "text", "text": "Q" }]);
        let plain = api.create_chat("Q").await;
        assert_eq!(plain["mcp_server_ids"], json!([forced]));
        let chat = api.create_chat_with(json!({ "content": text, "mcp_server_ids": [chosen] })).await;
        assert_eq!(chat["mcp_server_ids"], json!([chosen, forced]));
        let organization = api.organization().await;
        let bad = json!({ "organization_id": organization, "content": text, "mcp_server_ids": [off, chosen, unknown] });
        let problem = api.post("/chats", bad).await.problem(400);
        let detail = problem["detail"].as_str().expect("a detail");
        assert!(detail.contains(&off) && detail.contains(unknown) && !detail.contains(&chosen), "{problem}");
        let chat = id(&plain);
        let mut stream = api.stream(&chat, None).await;
        stream.answered(1).await;
        let send = format!("/chats/{chat}/messages");
        api.post(&send, json!({ "content": text, "mcp_server_ids": [unknown] })).await.problem(400);
        api.post(&send, json!({ "content": text, "mcp_server_ids": [chosen] })).await.json(200);
        assert_eq!(api.chat(&chat).await["mcp_server_ids"], json!([chosen, forced]));
        stream.answered(2).await;
        // A server that is switched off a moment ago cannot be picked any more.
        api.patch(&format!("/mcp/servers/{chosen}"), json!({ "enabled": false })).await.json(200);
        api.post(&send, json!({ "content": text, "mcp_server_ids": [chosen] })).await.problem(400);
    }

    async fn declared_servers_are_kept_in_step_and_not_changed(h: Harness) {
        h.configure("[[mcp_servers]]\nname = \"declared\"\nurl = \"http://127.0.0.1:9/mcp\"\nauth = \"headers\"\nheaders = { X-T = \"canary-config\" }\navailability = \"force_on\"");
        let mut daemon = h.daemon().await;
        let api = daemon.api();
        let before = api.get("/mcp/servers").await.json(200);
        let declared = &before[0];
        assert_eq!((&declared["slug"], &declared["declared"], &declared["has_custom_headers"]), (&json!("declared"), &json!(true), &json!(true)));
        assert_eq!((&declared["auth_type"], &declared["availability"]), (&json!("custom_headers"), &json!("force_on")));
        let problem = api.patch(&path(declared), json!({ "enabled": false })).await.problem(403);
        assert!(problem["detail"].as_str().is_some_and(|d| d.contains("[[mcp_servers]]")), "{problem}");
        api.delete(&path(declared)).await.problem(403);
        let own = made(&api, server("own", json!({}))).await;
        daemon.stop().await;
        daemon.restart().await;
        let again = api.get("/mcp/servers").await.json(200);
        assert!(again.as_array().is_some_and(|all| all.contains(declared)), "a start that changes nothing writes nothing: {again}");
        daemon.stop().await;
        daemon.configure("mcp_servers = [{ name = \"declared\", url = \"http://127.0.0.1:9/other\", enabled = false }]");
        daemon.restart().await;
        let changed = api.get(&path(declared)).await.json(200);
        assert_eq!((&changed["url"], &changed["enabled"], &changed["has_custom_headers"]), (&json!("http://127.0.0.1:9/other"), &json!(false), &json!(false)));
        daemon.stop().await;
        daemon.configure("mcp_servers = []");
        daemon.restart().await;
        api.get(&path(declared)).await.problem(404);
        api.get(&path(&own)).await.json(200);
    }
}
