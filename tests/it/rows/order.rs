//! Of several refusals that hold, which one is told: 401 before 404 and 403, these before 400. Who may not know of a thing
//! learns nothing of it from how a request is refused.

use crate::support::{both, fake_model::says, turns::id};
use reqwest::Method;
use serde_json::{Value, json};

const NOWHERE: &str = "11111111-1111-4111-8111-111111111111";

both! {
    async fn what_is_hidden_is_told_before_what_is_wrong(h: Harness) {
        h.model.otherwise(|_| says("Done."));
        let daemon = h.daemon().await;
        let (api, eve) = (daemon.api(), daemon.api_as(&daemon.token_for("eve", &[]).await));
        let chat = id(&api.create_chat("Hello").await);
        api.stream(&chat, None).await.settled().await;
        let wrong = json!({ "content": 5, "title": 5, "user_roles": 5, "results": 5 });
        let one = |chat: &str, path: &str| format!("/chats/{chat}{path}");
        for (method, path) in [
            ("GET", ""),
            ("PATCH", ""),
            ("GET", "/messages?limit=x"),
            ("POST", "/messages"),
            ("PATCH", "/messages/x"),
            ("GET", "/prompts?limit=x"),
            ("DELETE", "/queue/x"),
            ("POST", "/queue/x/promote"),
            ("POST", "/interrupt"),
            ("POST", "/reconcile-invalid"),
            ("POST", "/tool-results"),
            ("POST", "/compact"),
            ("POST", "/clear"),
            ("POST", "/title/regenerate"),
            ("POST", "/title/propose"),
            ("GET", "/diff"),
            ("GET", "/acl"),
            ("PATCH", "/acl"),
            ("GET", "/cost"),
            ("GET", "/stream?after_id=x"),
            ("GET", "/stream/parts"),
            ("GET", "/stream/git"),
            ("GET", "/stream/desktop"),
            ("GET", "/debug/runs"),
            ("GET", "/debug/runs/x"),
        ] {
            let method: Method = method.parse().expect("a method");
            let body = (method != Method::GET).then_some(&wrong);
            let ask = async |of: &crate::support::client::Api, chat: &str| {
                of.call(method.clone(), &one(chat, path), body).await
            };
            ask(&api.with_token(None), &chat).await.problem(401);
            ask(&api.with_token(None), "x").await.problem(401);
            ask(&eve, &chat).await.problem(404);
            ask(&api, NOWHERE).await.problem(404);
            ask(&api, "x").await.problem(400);
        }
    }

    async fn who_may_not_is_told_before_what_is_wrong(h: Harness) {
        h.model.otherwise(|_| says("Done."));
        let daemon = h.daemon().await;
        let (api, eve) = (daemon.api(), daemon.api_as(&daemon.token_for("eve", &[]).await));
        let lab = id(&api.post("/api/v2/organizations", json!({ "name": "lab" })).await.json(201));
        eve.post("/chats", json!({ "organization_id": lab, "content": [], "labels": { "": "" } })).await.problem(403);
        eve.post_bytes(&format!("/chats/files?organization={lab}"), b"x".to_vec(), &[]).await.problem(403);
        eve.get("/chats/cost/ann/summary?start_date=x").await.problem(403);
        eve.get("/chats/cost/users?nonsense=1").await.problem(404);
        eve.get("/chats/insights/pull-requests?start_date=x").await.problem(403);
        for (method, path, status) in [
            ("PUT", "/chats/usage-limits", 403),
            ("PUT", "/chats/usage-limits/overrides/x", 403),
            ("PUT", "/chats/config/retention-days", 403),
            ("PUT", "/chats/config/template-allowlist", 404),
            ("GET", "/chats/config/system-prompt", 404),
            ("POST", "/chats/model-configs", 403),
            ("PATCH", "/chats/providers/x", 403),
            ("POST", "/api/v2/ai/providers", 403),
            ("POST", "/mcp/servers", 403),
            ("PATCH", "/mcp/servers/x", 403),
            ("POST", "/users/ann/skills", 404),
        ] {
            let wrong = json!({ "content": 5 });
            let body = (method != "GET").then_some(&wrong);
            eve.call(method.parse().expect("a method"), path, body).await.problem(status);
        }
        // What is missing is told before what is wrong with the request for it.
        for (method, path) in [
            ("PUT", "/chats/usage-limits/overrides/nobody".to_owned()),
            ("PUT", format!("/chats/usage-limits/group-overrides/{NOWHERE}")),
            ("PATCH", format!("/mcp/servers/{NOWHERE}")),
            ("PATCH", format!("/chats/model-configs/{NOWHERE}")),
            ("PATCH", format!("/chats/providers/{NOWHERE}")),
            ("PATCH", "/api/v2/ai/providers/nothing".to_owned()),
            ("PUT", format!("/chats/user-provider-configs/{NOWHERE}")),
            ("PUT", "/api/v2/users/me/ai-provider-keys/nothing".to_owned()),
            ("PUT", format!("/chats/config/user-compaction-thresholds/{NOWHERE}")),
            ("PATCH", "/users/me/skills/nothing".to_owned()),
        ] {
            let wrong = json!({ "api_key": 5, "display_name": 5, "spend_limit_micros": "x", "threshold_percent": "x", "content": 5 });
            api.call(method.parse().expect("a method"), &path, Some(&wrong)).await.problem(404);
        }
    }

    async fn a_list_may_be_asked_for_whole(h: Harness) {
        h.model.otherwise(|_| says("Done."));
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("Hello").await);
        for limit in ["0", "1", "10001", "9223372036854775807"] {
            let list = api.get(&format!("/chats?limit={limit}")).await.json(200);
            assert_eq!(list[0]["id"], Value::from(chat.as_str()), "{limit}");
        }
        for limit in ["-1", "x", "1.5", "9223372036854775808"] {
            api.get(&format!("/chats?limit={limit}")).await.problem(400);
        }
    }
}
