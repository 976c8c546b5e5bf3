//! Every actor of api.md §1.9, and how the right to be here ends.

use super::{ME, USERS, make, person};
use crate::support::{
    Engine, both,
    client::refusal,
    fake_model::{Gate, says},
    outside::eventually,
    run,
};
use reqwest::Method;
use serde_json::{Value, json};

both! {
    async fn each_actor_may_do_what_is_theirs(h: Harness) {
        let daemon = h.daemon().await;
        let site_owner = daemon.api();
        let boss = person(&daemon, "boss", json!({ "roles": ["admin"] })).await;
        let owner = person(&daemon, "owner", json!({})).await;
        let member = person(&daemon, "member", json!({})).await;
        let visitor = person(&daemon, "visitor", json!({ "agents_access": false })).await;
        h.model.push([says("done")]);
        let chat = owner.create_chat("Mine").await;
        let chat = chat["id"].as_str().unwrap();
        owner.stream(chat, None).await.settled().await;
        let at = |tail: &str| format!("/chats/{chat}{tail}");
        let text = json!({ "content": [{ "type": "text", "text": "I am you" }] });
        for admin in [&site_owner, &boss] {
            admin.get(&at("")).await.json(200);
            admin.get(&at("/messages")).await.json(200);
            admin.patch(&at(""), json!({ "title": "Seen" })).await.empty(204);
            admin.post(&at("/messages"), text.clone()).await.problem(403);
            admin.post(&at("/tool-results"), json!({ "results": [] })).await.problem(403);
            admin.post(&at("/compact"), json!({})).await.problem(403);
        }
        for other in [&member, &visitor] {
            other.get(&at("")).await.problem(404);
            other.get(&at("/messages")).await.problem(404);
            other.patch(&at(""), json!({ "title": "Taken" })).await.problem(404);
            other.post(&at("/messages"), text.clone()).await.problem(404);
            // Settings: reads are hidden, writes are refused.
            other.get("/chats/providers").await.problem(404);
            other.post("/chats/providers", json!({})).await.problem(403);
        }
        // Without the agents role no chats are made; it can be given and taken.
        let organization = visitor.organization().await;
        let body = json!({ "organization_id": organization, "content": [{ "type": "text", "text": "hi" }] });
        visitor.post("/chats", body.clone()).await.problem(403);
        let roles = format!("/api/v2/organizations/{organization}/members/visitor/roles");
        visitor.put(&roles, json!({ "roles": ["agents-access"] })).await.problem(403);
        boss.put(&roles, json!({ "roles": ["agents-access"] })).await.json(200);
        h.model.push([says("hello")]);
        let made = visitor.post("/chats", body.clone()).await.json(201);
        visitor.stream(made["id"].as_str().unwrap(), None).await.settled().await;
        boss.put(&roles, json!({ "roles": [] })).await.json(200);
        visitor.post("/chats", body.clone()).await.problem(403);
        // Nor without being a member.
        boss.delete(&format!("/api/v2/organizations/{organization}/members/member")).await.empty(204);
        member.post("/chats", body).await.problem(403);
        assert_eq!(member.get(ME).await.json(200)["organization_ids"], json!([]));
    }

    async fn accounts_are_administered_by_administrators(h: Harness) {
        let daemon = h.daemon().await;
        let member = person(&daemon, "member", json!({})).await;
        make(&daemon.api(), "ann", json!({})).await;
        member.get(USERS).await.problem(404);
        for who in ["ann", "nobody", "admin"] {
            let at = |tail: &str| format!("{USERS}/{who}{tail}");
            member.get(&at("")).await.problem(404);
            member.get(&at("/organizations")).await.problem(404);
            member.get(&at("/keys/tokens")).await.problem(404);
            member.patch(&at("/profile"), json!({ "name": "x" })).await.problem(404);
            // Whether there is such a user makes no difference.
            for (method, tail, body) in [
                (Method::PUT, "/status/suspend", Value::Null),
                (Method::PUT, "/status/activate", Value::Null),
                (Method::PUT, "/roles", json!({ "roles": ["admin"] })),
                (Method::DELETE, "", Value::Null),
            ] {
                member.call(method, &at(tail), Some(&body)).await.problem(403);
            }
        }
        member.post(USERS, json!({ "username": "x", "email": "x@x.test" })).await.problem(403);
        member.put("/api/v2/users/me/roles", json!({ "roles": ["owner"] })).await.problem(403);
        member.post("/api/v2/organizations", json!({ "name": "x" })).await.problem(403);
        let organization = member.organization().await;
        member.patch(&format!("/api/v2/organizations/{organization}"), json!({ "name": "x" })).await.problem(403);
        member.delete(&format!("/api/v2/organizations/{organization}")).await.problem(403);
        member.post(&format!("/api/v2/organizations/{organization}/groups"), json!({ "name": "x" })).await.problem(403);
    }

    async fn suspension_closes_streams_at_once(h: Harness) {
        let daemon = h.daemon().await;
        let admin = daemon.api();
        let ann = person(&daemon, "ann", json!({})).await;
        let gate = Gate::new();
        h.model.push([says("one").gate(&gate).says("two")]);
        let chat = ann.create_chat("Hold the line").await;
        let chat = chat["id"].as_str().unwrap();
        let mut stream = ann.stream(chat, None).await;
        gate.reached().await;
        stream.status("running").await;
        let suspended = admin.put("/api/v2/users/ann/status/suspend", json!({})).await.json(200);
        assert_eq!(suspended["status"], "suspended");
        // Long before the next ping, which is fifteen seconds away.
        ann.get(ME).await.problem(401);
        ann.post(&format!("/chats/{chat}/interrupt"), json!({})).await.problem(401);
        let closed = stream.closed().await;
        assert_eq!(closed.code, 1008, "{closed:?}");
        let body = json!({ "email": "ann@example.test", "password": crate::people::PASSWORD });
        ann.with_token(None).post("/api/v2/users/login", body).await.problem(401);
        gate.open();
        admin.stream(chat, None).await.settled().await;
        admin.put("/api/v2/users/ann/status/activate", json!({})).await.json(200);
        assert_eq!(ann.get(ME).await.json(200)["status"], "active");
        ann.stream(chat, None).await.settled().await;
    }

    async fn a_revoked_token_closes_its_own_streams_only(h: Harness) {
        let daemon = h.daemon().await;
        let ann = person(&daemon, "ann", json!({})).await;
        h.model.push([says("done")]);
        let chat = ann.create_chat("Listen").await;
        let chat = chat["id"].as_str().unwrap();
        let made = ann.post("/api/v2/users/me/keys/tokens", json!({})).await.json(201);
        let other = daemon.api_as(made["key"].as_str().unwrap());
        let (mut here, mut there) = (ann.stream(chat, None).await, other.stream(chat, None).await);
        here.settled().await;
        there.settled().await;
        ann.delete(&format!("/api/v2/users/me/keys/{}", made["id"].as_str().unwrap())).await.empty(204);
        assert_eq!(there.closed().await.code, 1008);
        assert_eq!(refusal(&format!("{}?coder_session_token={}", ann.url(&format!("/chats/{chat}/stream")), made["key"].as_str().unwrap()), None).await, 401);
        h.model.push([says("still here")]);
        ann.send(chat, "Are you there?").await;
        here.until("the second answer", |f| f.settled() && f.texts("assistant").len() == 2).await;
        // Signing out closes the session's own.
        ann.post("/api/v2/users/logout", json!({})).await.json(200);
        assert_eq!(here.closed().await.code, 1008);
    }

    async fn whoever_loses_a_role_loses_what_it_opened(h: Harness) {
        let daemon = h.daemon().await;
        let boss = person(&daemon, "boss", json!({ "roles": ["admin"] })).await;
        let ann = person(&daemon, "ann", json!({})).await;
        h.model.push([says("done")]);
        let chat = ann.create_chat("Mine").await;
        let chat = chat["id"].as_str().unwrap();
        let mut along = boss.stream(chat, None).await;
        along.settled().await;
        daemon.api().put("/api/v2/users/boss/roles", json!({ "roles": [] })).await.json(200);
        assert_eq!(along.closed().await.code, 1008);
        boss.get(&format!("/chats/{chat}")).await.problem(404);
        boss.get(USERS).await.problem(404);
        boss.get(ME).await.json(200);
    }

    async fn the_command_line_suspends_beside_the_daemon(h: Harness) {
        let daemon = h.daemon().await;
        let ann = person(&daemon, "ann", json!({})).await;
        h.model.push([says("done")]);
        let chat = ann.create_chat("Listen").await;
        let mut stream = ann.stream(chat["id"].as_str().unwrap(), None).await;
        stream.settled().await;
        let ran = daemon.command(&["user", "suspend", "ann"]).await;
        assert_eq!(ran.status, 0, "{ran:?}");
        // No ping is due for a quarter of a minute: the daemon has looked by itself.
        assert_eq!(stream.closed().await.code, 1008);
        eventually("nothing is believed any longer", async || (ann.get(ME).await.status == 401).then_some(())).await;
        assert_eq!(daemon.command(&["user", "activate", "ann"]).await.status, 0);
        eventually("they may come in again", async || (ann.get(ME).await.status == 200).then_some(())).await;
        let refused = daemon.command(&["user", "suspend", "admin"]).await;
        assert_eq!(refused.status, 1, "{refused:?}");
        assert!(refused.err.contains("last active owner"), "{refused:?}");
    }
}

#[test]
fn suspension_reaches_the_other_replicas() {
    run(Engine::Postgres, "suspended_elsewhere", |h| async move {
        let (first, second) = (h.daemon().await, h.daemon().await);
        let admin = first.api();
        let ann = person(&first, "ann", json!({})).await.at(second.url());
        h.model.push([says("done")]);
        let chat = ann.create_chat("Far away").await;
        let mut stream = ann.stream(chat["id"].as_str().unwrap(), None).await;
        stream.settled().await;
        let mut another = ann.stream(chat["id"].as_str().unwrap(), None).await;
        admin.put("/api/v2/users/ann/status/suspend", json!({})).await.json(200);
        assert_eq!(stream.closed().await.code, 1008);
        assert_eq!(another.closed().await.code, 1008);
        eventually("the other replica knows", async || (ann.get(ME).await.status == 401).then_some(())).await;
    });
}
