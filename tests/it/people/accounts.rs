//! What administrators do with accounts, and who may not.

use super::{ME, PASSWORD, USERS, make, person, roles, sign_in};
use crate::support::{both, fake_model::says};
use reqwest::Method;
use serde_json::{Value, json};

both! {
    async fn a_user_has_all_keys_that_clients_read(h: Harness) {
        let daemon = h.daemon().await;
        let me = daemon.api().get(ME).await.json(200);
        let organization = me["organization_ids"][0].clone();
        let mut keys: Vec<_> = me.as_object().unwrap().keys().map(String::as_str).collect();
        keys.sort_unstable();
        assert_eq!(keys, [
            "avatar_url", "created_at", "email", "id", "last_seen_at", "login_type", "name", "organization_ids",
            "roles", "status", "updated_at", "username",
        ]);
        assert_eq!(me["roles"], json!([
            { "name": "owner", "display_name": "Owner" },
            { "name": "agents-access", "display_name": "Agents access", "organization_id": organization },
        ]));
        assert_eq!((&me["status"], &me["login_type"], &me["avatar_url"]), (&json!("active"), &json!("token"), &json!("")));
        let ann = make(&daemon.api(), "ann", json!({ "name": "Ann", "avatar_url": "https://x.test/a.png" })).await;
        assert_eq!((&ann["name"], &ann["email"]), (&json!("Ann"), &json!("ann@example.test")));
        assert_eq!((&ann["avatar_url"], roles(&ann)), (&json!("https://x.test/a.png"), vec!["agents-access"]));
        assert_eq!(ann["last_seen_at"], ann["created_at"]);
        sign_in(&daemon, "ann").await;
        let seen = daemon.api().get("/api/v2/users/ann").await.json(200);
        assert_ne!(seen["last_seen_at"], seen["created_at"]);
    }

    async fn users_are_made_listed_and_changed(h: Harness) {
        let daemon = h.daemon().await;
        let admin = daemon.api();
        let ann = make(&admin, "ann", json!({ "name": "Ann of the Hill" })).await;
        make(&admin, "bob", json!({ "agents_access": false })).await;
        make(&admin, "robot", json!({ "login_type": "none", "password": null })).await;
        for (body, status) in [
            (json!({ "username": "ann", "email": "other@example.test" }), 409),
            (json!({ "username": "Ann", "email": "other@example.test" }), 409),
            (json!({ "username": "ann2", "email": "ANN@example.test" }), 409),
            (json!({ "username": "a b", "email": "x@example.test" }), 400),
            (json!({ "username": "me", "email": "x@example.test" }), 400),
            (json!({ "username": "c", "email": "nowhere" }), 400),
            (json!({ "username": "c" }), 400),
            (json!({ "email": "x@example.test" }), 400),
            (json!({ "username": "c", "email": "x@example.test", "password": "short" }), 400),
            (json!({ "username": "c", "email": "x@example.test", "roles": ["king"] }), 400),
            (json!({ "username": "c", "email": "x@example.test", "login_type": "magic" }), 400),
            (json!({ "username": "c", "email": "x@example.test", "avatar_url": "javascript:1" }), 400),
            (json!({ "username": "c", "email": "x@example.test", "organization_ids": [ann["id"]] }), 400),
        ] {
            let answer = admin.post(USERS, body.clone()).await;
            assert_eq!(answer.status, status, "{body}: {answer:?}");
            answer.problem(status);
        }
        let list = async |query: &str| admin.get(&format!("{USERS}{query}")).await.json(200);
        let names = |page: &Value| -> Vec<String> {
            page["users"].as_array().unwrap().iter().map(|u| u["username"].as_str().unwrap().to_owned()).collect()
        };
        let all = list("").await;
        assert_eq!((names(&all), &all["count"]), (["admin", "ann", "bob", "robot"].map(str::to_owned).to_vec(), &json!(4)));
        let page = list("?limit=2&offset=1").await;
        assert_eq!((names(&page), &page["count"]), (["ann", "bob"].map(str::to_owned).to_vec(), &json!(4)));
        for (query, found) in [("?q=HILL", 1), ("?q=example.test", 3), ("?q=%25", 0), ("?q=%20", 4), ("?limit=0", 4)] {
            assert_eq!(list(query).await["count"], found, "{query}");
        }
        for bad in ["?limit=-1", "?limit=x", "?offset=-1", "?limit=100000", "?q=%00"] {
            admin.get(&format!("{USERS}{bad}")).await.problem(400);
        }
        let id = ann["id"].as_str().unwrap();
        for path in [format!("{USERS}/{id}"), format!("{USERS}/ann"), format!("{USERS}/ANN")] {
            assert_eq!(admin.get(&path).await.json(200)["id"], ann["id"]);
        }
        let api = sign_in(&daemon, "ann").await;
        let changed = api.put("/api/v2/users/me/profile", json!({ "username": "anna", "name": "Anna" })).await.json(200);
        assert_eq!((&changed["username"], &changed["name"], &changed["email"]), (&json!("anna"), &json!("Anna"), &ann["email"]));
        assert_eq!(api.get(ME).await.json(200)["username"], "anna");
        api.patch("/api/v2/users/me/profile", json!({ "username": "Bob" })).await.problem(409);
        api.patch("/api/v2/users/me/profile", json!({ "email": "bob@example.test" })).await.problem(409);
        admin.patch("/api/v2/users/anna/profile", json!({ "email": "new@example.test" })).await.json(200);
        admin.get("/api/v2/users/ann").await.problem(404);
    }

    async fn the_last_owner_stays(h: Harness) {
        let daemon = h.daemon().await;
        let owner = daemon.api();
        let boss = person(&daemon, "boss", json!({ "roles": ["admin"] })).await;
        assert_eq!(roles(&boss.get(ME).await.json(200)), ["admin", "agents-access"]);
        // An administrator does what is to be done, but not to an owner.
        make(&boss, "ann", json!({})).await;
        boss.put("/api/v2/users/ann/status/suspend", json!({})).await.json(200);
        boss.put("/api/v2/users/ann/status/activate", json!({})).await.json(200);
        boss.put("/api/v2/users/ann/roles", json!({ "roles": ["admin"] })).await.json(200);
        boss.put("/api/v2/users/ann/roles", json!({ "roles": ["owner"] })).await.problem(403);
        boss.post(USERS, json!({ "username": "x", "email": "x@x.test", "roles": ["owner"] })).await.problem(403);
        for (method, tail, body) in [
            (Method::PUT, "/status/suspend", Value::Null),
            (Method::PUT, "/roles", json!({ "roles": [] })),
            (Method::PUT, "/password", json!({ "password": PASSWORD })),
            (Method::PATCH, "/profile", json!({ "name": "x" })),
            (Method::POST, "/keys/tokens", json!({})),
            (Method::DELETE, "", Value::Null),
        ] {
            boss.call(method, &format!("{USERS}/admin{tail}"), Some(&body)).await.problem(403);
        }
        // Nobody locks themselves out.
        owner.put("/api/v2/users/me/status/suspend", json!({})).await.problem(400);
        owner.delete(ME).await.problem(400);
        owner.put("/api/v2/users/me/roles", json!({ "roles": ["admin"] })).await.problem(409);
        owner.put("/api/v2/users/me/roles", json!({ "roles": ["agents-access"] })).await.problem(400);
        owner.put("/api/v2/users/me/roles", json!({})).await.problem(400);
        // With a second owner one may step down; the other is then the last.
        owner.put("/api/v2/users/boss/roles", json!({ "roles": ["member", "owner"] })).await.json(200);
        let done = tokio::join!(
            owner.put("/api/v2/users/me/roles", json!({ "roles": [] })),
            boss.put("/api/v2/users/me/roles", json!({ "roles": [] })),
        );
        let mut statuses = [done.0.status, done.1.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 409]);
        let owners = daemon.command(&["user", "list", "--json"]).await.out;
        assert_eq!(owners.matches("\"role\":\"owner\"").count(), 1, "{owners}");
    }

    async fn a_deleted_user_is_gone_and_the_chats_stay(h: Harness) {
        let daemon = h.daemon().await;
        let admin = daemon.api();
        let ann = person(&daemon, "ann", json!({})).await;
        h.model.push([says("kept")]);
        let chat = ann.create_chat("Remember me").await;
        let chat = chat["id"].as_str().unwrap();
        ann.stream(chat, None).await.settled().await;
        let mut open = ann.stream(chat, None).await;
        let id = ann.get(ME).await.json(200)["id"].as_str().unwrap().to_owned();
        admin.delete("/api/v2/users/ann").await.empty(204);
        assert_eq!(open.closed().await.code, 1008);
        ann.get(ME).await.problem(401);
        for path in ["/api/v2/users/ann".to_owned(), format!("/api/v2/users/{id}")] {
            admin.get(&path).await.problem(404);
            admin.delete(&path).await.problem(404);
            admin.put(&format!("{path}/status/activate"), json!({})).await.problem(404);
        }
        assert_eq!(admin.get(USERS).await.json(200)["count"], 1);
        let kept = admin.chat(chat).await;
        assert_eq!((&kept["owner_id"], &kept["owner_username"]), (&json!(id), &json!("ann")));
        assert_eq!(admin.history(chat).await.len(), 2);
        // Name and address are free again, for somebody who is another.
        let again = person(&daemon, "ann", json!({})).await;
        again.get(&format!("/chats/{chat}")).await.problem(404);
        assert!(again.get("/chats").await.json(200).as_array().unwrap().is_empty());
    }
}
