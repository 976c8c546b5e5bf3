//! Who may read a chat besides its owner (api.md §1.9, §2.9).

use crate::relay::socket::Socket;
use crate::support::{both, client::Api, fake_model::says, turns::id};
use reqwest::Method;
use serde_json::{Value, json};

async fn me(api: &Api) -> String {
    id(&api.get("/api/v2/users/me").await.json(200))
}

fn users(user: &str, role: &str) -> Value {
    json!({ "user_roles": { user: role } })
}

both! {
    async fn a_reader_reads_and_does_nothing_else_until_let_out(h: Harness) {
        h.model.push([says("Hello.")]);
        let daemon = h.daemon().await;
        let owner = daemon.api_as(&daemon.token_for("owner", &[]).await);
        let token = daemon.token_for("reader", &[]).await;
        let reader = daemon.api_as(&token);
        let stranger = daemon.api_as(&daemon.token_for("stranger", &[]).await);
        let reader_id = me(&reader).await;
        let file = id(&owner.upload("a.txt", "text/plain", b"for eyes".to_vec()).await.json(201));
        let body = json!({ "content": [{ "type": "text", "text": "Hi" }, { "type": "file", "file_id": file }] });
        let chat = id(&owner.create_chat_with(body).await);
        owner.stream(&chat, None).await.answered(1).await;
        owner.patch(&format!("/chats/{chat}"), json!({ "pin_order": 1 })).await.empty(204);
        let at = |tail: &str| format!("/chats/{chat}{tail}");
        assert_eq!(owner.get(&at("/acl")).await.json(200), json!({ "users": [], "groups": [] }));
        reader.get(&at("")).await.problem(404);
        reader.get(&at("/acl")).await.problem(404);
        owner.patch(&at("/acl"), users(&reader_id, "read")).await.empty(204);
        let acl = owner.get(&at("/acl")).await.json(200);
        assert_eq!(acl["users"], json!([{ "id": reader_id, "username": "reader", "name": acl["users"][0]["name"], "avatar_url": "", "role": "read" }]));
        // Reads.
        let seen = reader.get(&at("")).await.json(200);
        assert_eq!((&seen["shared"], &seen["pin_order"], &seen["owner_username"]), (&json!(true), &json!(0), &json!("owner")));
        assert_eq!(owner.chat(&chat).await["shared"], true);
        for tail in ["/messages", "/prompts", "/diff"] {
            reader.get(&at(tail)).await.json(200);
            stranger.get(&at(tail)).await.problem(404);
        }
        assert_eq!(reader.get(&format!("/chats/files/{file}")).await.body, b"for eyes");
        stranger.get(&format!("/chats/files/{file}")).await.problem(404);
        assert_eq!(reader.get("/chats").await.json(200), json!([]));
        let list = reader.get("/chats?q=source:shared_with_me").await.json(200);
        assert_eq!((&list[0]["id"], &list[0]["owner_username"], &list[0]["has_unread"]), (&json!(chat), &json!("owner"), &json!(false)));
        assert_eq!(reader.get("/chats?q=source:shared_with_me%20search:hello").await.json(200).as_array().map(Vec::len), Some(1));
        assert_eq!(owner.get("/chats?q=source:shared_with_me").await.json(200), json!([]));
        // Nothing else.
        let text = json!({ "content": [{ "type": "text", "text": "no" }] });
        for (method, tail, body, status) in [
            (Method::POST, "/messages", text.clone(), 403),
            (Method::POST, "/compact", json!({}), 403),
            (Method::POST, "/title/propose", json!({}), 403),
            (Method::POST, "/tool-results", json!({ "results": [] }), 403),
            (Method::PATCH, "/messages/1", text.clone(), 403),
            (Method::POST, "/queue/1/promote", json!({}), 403),
            (Method::DELETE, "/queue/1", json!({}), 404),
            (Method::POST, "/reconcile-invalid", json!({}), 404),
            (Method::GET, "/cost", Value::Null, 404),
            (Method::GET, "/debug/runs", Value::Null, 404),
            (Method::PATCH, "", json!({ "title": "x" }), 404),
            (Method::POST, "/interrupt", json!({}), 404),
            (Method::GET, "/acl", Value::Null, 403),
            (Method::PATCH, "/acl", users(&reader_id, ""), 403),
        ] {
            let body = Some(&body).filter(|b| !b.is_null());
            reader.call(method, &at(tail), body).await.problem(status);
        }
        // Let out, the open streams end at once.
        let url = reader.url(&at("/stream/parts"));
        let mut parts = Socket::open(&url, Some(("Coder-Session-Token", token))).await.expect("it opens");
        let mut stream = reader.stream(&chat, None).await;
        stream.settled().await;
        owner.patch(&at("/acl"), users(&reader_id, "")).await.empty(204);
        assert_eq!(stream.closed().await.code, 1008);
        assert_eq!(parts.frame().await, Err(1008));
        reader.get(&at("")).await.problem(404);
        assert_eq!(owner.chat(&chat).await["shared"], false);
        assert_eq!(reader.get("/chats?q=source:shared_with_me").await.json(200), json!([]));
    }

    async fn groups_read_and_wrong_requests_change_nothing(h: Harness) {
        h.model.push([says("Hello.")]);
        let daemon = h.daemon().await;
        let admin = daemon.api();
        let owner = daemon.api_as(&daemon.token_for("owner", &[]).await);
        let reader = daemon.api_as(&daemon.token_for("reader", &[]).await);
        let (owner_id, reader_id) = (me(&owner).await, me(&reader).await);
        let group = json!({ "name": "team", "display_name": "Team", "add_users": [reader_id] });
        let group = id(&admin.post("/api/v2/organizations/default/groups", group).await.json(201));
        let chat = id(&owner.create_chat("Hi").await);
        owner.stream(&chat, None).await.answered(1).await;
        let acl = format!("/chats/{chat}/acl");
        let nobody = "11111111-1111-4111-8111-111111111111";
        for (body, field) in [
            (users(&owner_id, "read"), "user_roles"),
            (users(nobody, "read"), "user_roles"),
            (users("x", "read"), "user_roles"),
            (users(&reader_id, "write"), "user_roles"),
            (json!({ "group_roles": { nobody: "read" } }), "group_roles"),
            (json!({ "group_roles": { &group: "read" }, "user_roles": { nobody: "read" } }), "user_roles"),
        ] {
            let problem = owner.patch(&acl, body.clone()).await.problem(400);
            assert_eq!(problem["validations"][0]["field"], field, "{body}: {problem}");
        }
        assert_eq!(owner.get(&acl).await.json(200)["groups"], json!([]));
        owner.patch(&acl, json!({})).await.empty(204);
        owner.patch(&acl, json!({ "group_roles": { &group: "read" } })).await.empty(204);
        let listed = admin.get(&acl).await.json(200);
        assert_eq!((&listed["groups"][0]["name"], &listed["groups"][0]["role"]), (&json!("team"), &json!("read")));
        reader.get(&format!("/chats/{chat}")).await.json(200);
        // Who leaves the group reads no more.
        admin.patch("/api/v2/organizations/default/groups/team", json!({ "remove_users": [reader_id] })).await.json(200);
        reader.get(&format!("/chats/{chat}")).await.problem(404);
        // A child cannot be shared by itself; it follows its root.
        h.model.push([says("Child.")]);
        let child = id(&owner.create_chat("Child").await);
        owner.stream(&child, None).await.answered(1).await;
        h.execute(&daemon, &format!("UPDATE chats SET parent_chat_id = {0}, root_chat_id = {0} WHERE id = {1}", h.uuid(&chat), h.uuid(&child))).await;
        owner.patch(&format!("/chats/{child}/acl"), users(&reader_id, "read")).await.problem(400);
        owner.patch(&acl, users(&reader_id, "read")).await.empty(204);
        reader.get(&format!("/chats/{child}")).await.json(200);
        let seen = reader.get("/chats?q=source:shared_with_me").await.json(200);
        assert_eq!(seen[0]["children"][0]["id"], json!(child));
    }

    async fn sharing_can_be_switched_off(h: Harness) {
        h.configure("[chat]\nsharing = false");
        h.model.push([says("Hello.")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("Hi").await);
        api.stream(&chat, None).await.answered(1).await;
        api.get(&format!("/chats/{chat}/acl")).await.problem(403);
        api.patch(&format!("/chats/{chat}/acl"), json!({})).await.problem(403);
        assert_eq!(api.get("/chats?q=source:shared_with_me").await.json(200), json!([]));
    }
}
