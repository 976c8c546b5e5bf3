//! Templates, rights, names, limits, and the workspace of a chat.

use super::{create, has_status, path, template};
use crate::support::{both, fake_model::says};
use serde_json::json;

const EXTERNAL: &str =
    "[[templates]]\nname = \"mine\"\nkind = \"external\"\ndescription = \"A host of mine\"\n";

both! {
    async fn templates_are_declared_or_made_by_administrators(h: Harness) {
        h.configure(&format!("{EXTERNAL}[[templates]]\nname = \"gone\"\nkind = \"external\"\n"));
        let mut daemon = h.daemon().await;
        let admin = daemon.api();
        let eve = daemon.api_as(&daemon.token_for("eve", &[]).await);
        let all = eve.get("/api/v2/templates").await.json(200);
        let names: Vec<_> = all.as_array().unwrap().iter().map(|t| t["name"].clone()).collect();
        assert_eq!(names, ["gone", "mine"]);
        let mine = &all[1];
        assert_eq!(
            (&mine["kind"], &mine["description"], &mine["source"], &mine["display_name"]),
            (&json!("external"), &json!("A host of mine"), &json!("config"), &json!("mine"))
        );
        assert_eq!((&mine["default_ttl_ms"], &mine["activity_bump_ms"]), (&json!(0), &json!(3_600_000)));
        let mine = format!("/api/v2/templates/{}", mine["id"].as_str().unwrap());
        let refused = admin.patch(&mine, json!({ "deprecated": true })).await.problem(403);
        assert!(refused["detail"].as_str().is_some_and(|d| d.contains("[[templates]]")), "{refused}");
        admin.delete(&mine).await.problem(403);
        eve.delete(&mine).await.problem(403);
        let new = json!({ "name": "theirs", "kind": "external", "default_ttl_ms": 60_000 });
        eve.post("/api/v2/templates", new.clone()).await.problem(403);
        let made = admin.post("/api/v2/templates", new.clone()).await.json(201);
        assert_eq!((&made["source"], &made["default_ttl_ms"]), (&json!("api"), &json!(60_000)));
        admin.post("/api/v2/templates", new).await.problem(409);
        for (bad, field) in [
            (json!({ "kind": "external" }), "name"),
            (json!({ "name": "a b", "kind": "external" }), "name"),
            (json!({ "name": "x" }), "kind"),
            (json!({ "name": "x", "kind": "command" }), "kind"),
            (json!({ "name": "x", "kind": "external", "default_ttl_ms": -1 }), "default_ttl_ms"),
            (json!({ "name": "x", "kind": "external", "display_name": "a\nb" }), "display_name"),
        ] {
            let problem = admin.post("/api/v2/templates", bad.clone()).await.problem(400);
            assert_eq!(problem["validations"][0]["field"], json!(field), "{bad}");
        }
        let theirs = format!("/api/v2/templates/{}", made["id"].as_str().unwrap());
        let changed = admin.patch(&theirs, json!({ "deprecated": true, "description": "old" })).await.json(200);
        assert_eq!((&changed["deprecated"], &changed["description"]), (&json!(true), &json!("old")));
        let new = json!({ "name": "w", "template_id": made["id"] });
        eve.post("/api/v2/workspaces", new).await.problem(400);
        admin.delete(&theirs).await.empty(204);
        admin.get(&theirs).await.problem(404);
        admin.delete(&theirs).await.problem(404);
        admin.get("/api/v2/templates/nonsense").await.problem(400);

        // What the file declares no more is gone, and comes back as what it was.
        let gone = template(&eve, "gone").await;
        let workspace = create(&eve, "kept", "gone").await;
        has_status(&eve, &workspace, "running").await;
        daemon.stop().await;
        daemon.configure(EXTERNAL);
        daemon.restart().await;
        let all = eve.get("/api/v2/templates").await.json(200);
        assert_eq!(all.as_array().unwrap().len(), 1, "{all}");
        assert_eq!(eve.get(&path(&workspace)).await.json(200)["template_name"], "gone");
        let start = json!({ "transition": "start" });
        eve.post(&format!("{}/builds", path(&workspace)), start).await.problem(409);
        daemon.stop().await;
        daemon.configure(&format!("{EXTERNAL}[[templates]]\nname = \"gone\"\nkind = \"external\"\n"));
        daemon.restart().await;
        assert_eq!(template(&eve, "gone").await, gone);
    }

    async fn a_workspace_is_its_owners(h: Harness) {
        h.configure(&format!("[limits]\nworkspaces_per_user = 2\n{EXTERNAL}"));
        let daemon = h.daemon().await;
        let admin = daemon.api();
        let eve = daemon.api_as(&daemon.token_for("eve", &[]).await);
        let bob = daemon.api_as(&daemon.token_for("bob", &[]).await);
        let made = create(&eve, "dev", "mine").await;
        assert_eq!(
            (&made["owner_name"], &made["template_name"], &made["ttl_ms"], &made["latest_build"]["transition"]),
            (&json!("eve"), &json!("mine"), &json!(null), &json!("start"))
        );
        let running = has_status(&eve, &made, "running").await;
        assert_eq!(running["latest_build"]["status"], "succeeded");
        let agent = &running["agents"][0];
        assert_eq!(
            (&agent["name"], &agent["status"], &agent["external"]),
            (&json!("main"), &json!("connecting"), &json!(true))
        );
        let path = path(&made);
        let builds = format!("{path}/builds");
        bob.get(&path).await.problem(404);
        bob.patch(&path, json!({ "name": "taken" })).await.problem(404);
        bob.get(&builds).await.problem(404);
        bob.post(&builds, json!({ "transition": "delete" })).await.problem(404);
        let build = format!("/api/v2/workspacebuilds/{}", running["latest_build"]["id"].as_str().unwrap());
        bob.get(&build).await.problem(404);
        bob.get(&format!("{build}/logs")).await.problem(404);
        assert_eq!(eve.get(&build).await.json(200)["build_number"], 1);
        assert_eq!(admin.get(&path).await.json(200)["name"], "dev");
        let token = format!("/api/v2/workspaceagents/{}/token", agent["id"].as_str().unwrap());
        bob.post(&token, json!({})).await.problem(404);
        admin.post(&token, json!({})).await.problem(403);
        let first = eve.post(&token, json!({})).await.json(201);
        let second = eve.post(&token, json!({})).await.json(201);
        assert!(first["token"].as_str().is_some_and(|t| t.starts_with("chatd-agent-")), "{first}");
        assert_ne!(first, second);

        // Names are the owner's; a number limits how many.
        assert_eq!(create(&bob, "dev", "mine").await["owner_name"], "bob");
        let template_id = template(&eve, "mine").await;
        let again = json!({ "name": "dev", "template_id": template_id });
        eve.post("/api/v2/workspaces", again).await.problem(409);
        let other = create(&eve, "other", "mine").await;
        let third = json!({ "name": "third", "template_id": template_id });
        let full = eve.post("/api/v2/workspaces", third).await.problem(409);
        assert!(full["message"].as_str().is_some_and(|m| m.contains("Delete one first")), "{full}");
        eve.patch(&super::path(&other), json!({ "name": "dev" })).await.problem(409);
        for (bad, field) in [
            (json!({ "template_id": template_id }), "name"),
            (json!({ "name": "..", "template_id": template_id }), "name"),
            (json!({ "name": "x" }), "template_id"),
            (json!({ "name": "x", "template_id": other["id"] }), "template_id"),
            (json!({ "name": "x", "template_id": template_id, "ttl_ms": -5 }), "ttl_ms"),
        ] {
            let problem = eve.post("/api/v2/workspaces", bad.clone()).await.problem(400);
            assert_eq!(problem["validations"][0]["field"], json!(field), "{bad}");
        }
        let renamed = eve.patch(&path, json!({ "name": "renamed", "ttl_ms": 3_600_000 })).await.json(200);
        assert_eq!((&renamed["name"], &renamed["ttl_ms"]), (&json!("renamed"), &json!(3_600_000)));
        assert_eq!(eve.patch(&path, json!({ "ttl_ms": null })).await.json(200)["ttl_ms"], json!(null));
        let own = eve.get("/api/v2/workspaces").await.json(200);
        assert_eq!((&own["count"], &own["workspaces"][0]["name"]), (&json!(2), &json!("other")));
        let page = eve.get("/api/v2/workspaces?limit=1&offset=1").await.json(200);
        assert_eq!((page["workspaces"].as_array().unwrap().len(), &page["count"]), (1, &json!(2)));
        assert_eq!(admin.get("/api/v2/workspaces").await.json(200)["count"], 3);
        assert_eq!(admin.get("/api/v2/workspaces?owner=bob").await.json(200)["count"], 1);
        eve.get("/api/v2/workspaces?owner=bob").await.problem(404);
        eve.get("/api/v2/workspaces?limit=-1").await.problem(400);
        admin.with_token(None).get("/api/v2/workspaces").await.problem(401);
    }

    async fn a_chat_is_bound_to_a_workspace_of_its_owner(h: Harness) {
        h.configure(EXTERNAL);
        let daemon = h.daemon().await;
        let eve = daemon.api_as(&daemon.token_for("eve", &[]).await);
        let bob = daemon.api_as(&daemon.token_for("bob", &[]).await);
        h.model.otherwise(|_| says("Fine."));
        let (own, foreign) = (create(&eve, "dev", "mine").await, create(&bob, "dev", "mine").await);
        let chat = |workspace: &serde_json::Value| {
            json!({ "content": [{ "type": "text", "text": "hi" }], "workspace_id": workspace })
        };
        let made = eve.create_chat_with(chat(&own["id"])).await;
        assert_eq!(made["workspace_id"], own["id"]);
        let id = made["id"].as_str().unwrap();
        assert_eq!(eve.chat(id).await["workspace_id"], own["id"]);
        let workspace = own["id"].as_str().unwrap();
        let found = eve.get(&format!("/chats/by-workspace?workspace_ids={workspace}")).await.json(200);
        assert_eq!(found[workspace], json!(id));
        for bad in [&foreign["id"], &json!("11111111-1111-4111-8111-111111111111")] {
            let problem = eve.patch(&format!("/chats/{id}"), json!({ "workspace_id": bad })).await.problem(400);
            assert_eq!(problem["validations"][0]["field"], "workspace_id");
            let mut body = chat(bad);
            body["organization_id"] = json!(eve.organization().await);
            eve.post("/chats", body).await.problem(400);
        }
        let nil = "00000000-0000-0000-0000-000000000000";
        eve.patch(&format!("/chats/{id}"), json!({ "workspace_id": nil })).await.empty(204);
        assert!(eve.chat(id).await.get("workspace_id").is_none());
        eve.patch(&format!("/chats/{id}"), json!({ "workspace_id": own["id"] })).await.empty(204);
        assert_eq!(eve.chat(id).await["workspace_id"], own["id"]);
    }
}
