//! What the other screens of the web client call (api.md §5.4), as the person who looks at them: a member
//! who administers nothing, except on the last one.
//!
//! Elsewhere: `stream/git` and `stream/desktop` in `panel`; chunks of more than 25 ids, `diff` with a
//! pull request and `prompts` in `lists`; each setting in `settings::table`; every code in `codes`.

use crate::{
    people::person,
    support::{
        both,
        fake_model::{fails, says},
        outside::eventually,
        turns::id,
    },
    workspaces::{create, has_status},
};
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn keys(object: &Value) -> BTreeSet<&str> {
    object.as_object().unwrap_or_else(|| panic!("no object: {object}")).keys().map(String::as_str).collect()
}

both! {
    async fn the_composer(h: Harness) {
        h.model.otherwise(|_| says("Done."));
        let daemon = h.daemon().await;
        let (admin, ann) = (daemon.api(), person(&daemon, "ann", json!({})).await);
        let prompt = "/chats/config/user-prompt";
        assert_eq!(ann.get(prompt).await.json(200), json!({ "custom_prompt": "" }));
        let mine = json!({ "custom_prompt": "Be brief." });
        assert_eq!(ann.put(prompt, mine.clone()).await.json(200), mine);
        assert_eq!(ann.get(prompt).await.json(200), mine);
        assert_eq!(admin.get(prompt).await.json(200), json!({ "custom_prompt": "" }), "everybody has their own");
        // Only servers that are on, without what administrators see.
        for (slug, enabled) in [("on", true), ("off", false)] {
            let server = json!({ "display_name": slug, "slug": slug, "url": "http://127.0.0.1:9/mcp", "enabled": enabled,
                "transport": "streamable_http", "auth_type": "none", "availability": "default_on" });
            admin.post("/mcp/servers", server).await.json(201);
        }
        let seen = ann.get("/mcp/servers").await.json(200);
        assert_eq!((seen.as_array().expect("an array").len(), &seen[0]["slug"]), (1, &json!("on")), "{seen}");
        assert!(seen[0]["auth_connected"].as_bool() == Some(true) && seen[0]["url"].as_str().is_none_or(str::is_empty), "{seen}");
        assert_eq!(admin.get("/mcp/servers").await.json(200).as_array().expect("an array").len(), 2);
        let skill = "---\nname: notes\ndescription: Takes notes\n---\nWrite it down.\n";
        ann.post("/users/me/skills", json!({ "content": skill })).await.json(201);
        let skills = ann.get("/users/me/skills").await.json(200);
        assert_eq!(keys(&skills[0]), BTreeSet::from(["created_at", "description", "id", "name", "updated_at"]));
        assert_eq!(admin.get("/users/me/skills").await.json(200), json!([]));
        let chat = id(&ann.create_chat("First").await);
        ann.stream(&chat, None).await.answered(1).await;
        ann.send(&chat, "Second").await;
        ann.stream(&chat, None).await.answered(2).await;
        let prompts = ann.get(&format!("/chats/{chat}/prompts?limit=1")).await.json(200);
        assert_eq!((prompts["prompts"].as_array().expect("prompts").len(), &prompts["prompts"][0]["text"]), (1, &json!("Second")));
    }

    async fn the_sidebar(h: Harness) {
        // The chats keep the titles that they are searched by.
        h.model.answer_titles(|_| fails(400, json!({ "error": { "message": "no titles" } })));
        h.configure("[[templates]]\nname = \"mine\"\nkind = \"external\"\n");
        h.model.otherwise(|_| says("Done."));
        let daemon = h.daemon().await;
        let ann = person(&daemon, "ann", json!({})).await;
        let mut expected = serde_json::Map::new();
        for name in ["a", "b"] {
            let workspace = create(&ann, name, "mine").await;
            has_status(&ann, &workspace, "running").await;
            let content = json!([{ "type": "text", "text": format!("In {name}") }]);
            let chat = ann.create_chat_with(json!({ "content": content, "workspace_id": workspace["id"] })).await;
            expected.insert(id(&workspace), chat["id"].clone());
        }
        create(&ann, "c", "mine").await;
        // The page of workspaces gives the ids; one without a chat is left out.
        let page = ann.get("/api/v2/workspaces?limit=25").await.json(200);
        let ids: Vec<String> = page["workspaces"].as_array().expect("workspaces").iter().map(id).collect();
        assert_eq!((ids.len(), &page["count"]), (3, &json!(3)), "{page}");
        let found = ann.get(&format!("/chats/by-workspace?workspace_ids={}", ids.join(","))).await.json(200);
        assert_eq!(found, Value::Object(expected));
        for (q, count) in [("archived:false", 2), ("archived:true", 0), ("title:%22in%20a%22", 1), ("has_unread:false%20title:b", 1)] {
            let list = ann.get(&format!("/chats?limit=50&offset=0&q={q}")).await.json(200);
            let list = list.as_array().expect("a list");
            // Whether an answer has come already is no matter of this row.
            assert!(list.len() == count || q.starts_with("has_unread"), "{q}: {list:?}");
            assert!(list.iter().all(|chat| chat["children"].is_array()), "{q}");
        }
    }

    async fn the_panel_of_a_chat(h: Harness) {
        h.model.otherwise(|_| says("Done."));
        let daemon = h.daemon().await;
        let (admin, ann) = (daemon.api(), person(&daemon, "ann", json!({})).await);
        let quiet = id(&ann.create_chat("Nobody listens").await);
        ann.stream(&quiet, None).await.answered(1).await;
        assert_eq!(ann.get(&format!("/chats/{quiet}/diff")).await.json(200), json!({ "chat_id": quiet }));
        // Runs are there for those who have them recorded, and from then on.
        admin.put("/chats/config/debug-logging", json!({ "allow_users": true })).await.empty(204);
        ann.put("/chats/config/user-debug-logging", json!({ "debug_logging_enabled": true })).await.empty(204);
        assert_eq!(ann.get(&format!("/chats/{quiet}/debug/runs")).await.json(200), json!([]));
        let chat = id(&ann.create_chat("What is it?").await);
        ann.stream(&chat, None).await.answered(1).await;
        let runs = eventually("both runs", async || {
            let runs = ann.get(&format!("/chats/{chat}/debug/runs")).await.json(200);
            let ended = |kind| runs.as_array().is_some_and(|all| all.iter().any(|r| r["kind"] == kind && r["status"] == "completed"));
            (ended("chat_turn") && ended("title_generation")).then_some(runs.clone())
        })
        .await;
        for run in runs.as_array().expect("an array") {
            let seen = keys(run);
            for key in ["id", "chat_id", "kind", "status", "summary", "started_at", "updated_at"] {
                assert!(seen.contains(key), "{key}: {run}");
            }
            let path = format!("/chats/{chat}/debug/runs/{}", run["id"].as_str().expect("an id"));
            assert!(ann.get(&path).await.json(200)["steps"].is_array());
        }
    }

    async fn the_page_of_usage(h: Harness) {
        h.model.otherwise(|_| says("Done."));
        h.configure_model("input_price_per_million = \"1\"\noutput_price_per_million = \"10\"");
        let daemon = h.daemon().await;
        let ann = person(&daemon, "ann", json!({})).await;
        let status = "/chats/usage-limits/status";
        assert_eq!(ann.get(status).await.json(200), json!({ "is_limited": false, "current_spend": 0 }));
        let summary = ann.get("/chats/cost/me/summary").await.json(200);
        assert_eq!((&summary["total_cost_micros"], &summary["by_chat"]), (&json!(0), &json!([])));
        assert!(summary.get("usage_limit").is_none(), "limits are off: {summary}");
        let limit = json!({ "spend_limit_micros": 5_000_000, "period": "month" });
        daemon.api().put("/chats/usage-limits", limit).await.json(200);
        let chat = id(&ann.create_chat("Spend").await);
        ann.stream(&chat, None).await.answered(1).await;
        let now = ann.get(status).await.json(200);
        assert_eq!((&now["is_limited"], &now["period"], &now["spend_limit_micros"]), (&json!(true), &json!("month"), &json!(5_000_000)));
        assert!(now["current_spend"].as_i64() > Some(0) && now["period_end"].is_string(), "{now}");
        let summary = ann.get("/chats/cost/me/summary").await.json(200);
        assert_eq!(summary["by_chat"][0]["root_chat_id"], json!(chat));
        assert!(summary["usage_limit"].is_object(), "{summary}");
        // Others' pages are administrators' business.
        ann.get("/chats/cost/admin/summary").await.problem(403);
        daemon.api().get("/chats/cost/ann/summary").await.json(200);
    }

    /// All reads of the settings pages (§2.11–2.14, §2.16): an administrator gets each, and who is none
    /// gets it, or the refusal that hides it, and never anything else.
    async fn the_settings_of_administrators(h: Harness) {
        let daemon = h.daemon().await;
        let (admin, ann) = (daemon.api(), person(&daemon, "ann", json!({})).await);
        for (path, for_members) in [
            ("/chats/models", 200), ("/chats/model-configs", 200), ("/chats/providers", 404), ("/api/v2/ai/providers", 404),
            ("/chats/user-provider-configs", 200), ("/api/v2/users/me/ai-provider-keys", 200),
            ("/chats/config/system-prompt", 404), ("/chats/config/plan-mode-instructions", 404),
            ("/chats/config/user-prompt", 200), ("/chats/config/user-compaction-thresholds", 200),
            ("/chats/config/template-allowlist", 404), ("/chats/config/advisor", 200),
            ("/chats/config/model-override/general", 404), ("/chats/config/model-override/explore", 404),
            ("/chats/config/model-override/title_generation", 404), ("/chats/config/personal-model-overrides", 200),
            ("/chats/config/user-personal-model-overrides", 200), ("/chats/config/desktop-enabled", 200),
            ("/chats/config/computer-use-provider", 200), ("/chats/config/debug-logging", 404),
            ("/chats/config/user-debug-logging", 200), ("/chats/config/workspace-ttl", 200),
            ("/chats/config/retention-days", 200), ("/chats/config/debug-retention-days", 200),
            ("/chats/config/auto-archive-days", 200), ("/chats/usage-limits/status", 200),
            ("/chats/cost/me/summary", 200), ("/mcp/servers", 200), ("/users/me/skills", 200),
        ] {
            admin.get(path).await.json(200);
            let answer = ann.get(path).await;
            assert_eq!(answer.status, for_members, "{path}: {answer:?}");
        }
        for path in ["/chats/usage-limits", "/chats/cost/users", "/chats/insights/pull-requests"] {
            admin.get(path).await.json(200);
            let answer = ann.get(path).await;
            assert!(matches!(answer.status, 403 | 404), "{path}: {answer:?}");
        }
    }
}
