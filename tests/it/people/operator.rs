//! An operator's day: from nothing to a deployment of several people, and somebody who has to leave.

use super::{ME, PASSWORD, USERS};
use crate::support::{
    both,
    client::Api,
    fake_model::{Gate, says},
};
use serde_json::json;

both! {
    async fn an_operator_runs_a_deployment_of_several_people(h: Harness) {
        let daemon = h.daemon().await;
        // The first token lies in a file; a person gets an account of their own, by the command line.
        let root = daemon.api();
        let made = daemon
            .command_with_input(&["user", "create", "olga", "--email", "olga@example.test", "--role", "admin", "--password-stdin"], &format!("{PASSWORD}\n"))
            .await;
        assert_eq!((made.status, made.out.lines().count()), (0, 1), "{made:?}");
        let olga = crate::people::sign_in(&daemon, "olga").await;
        assert_eq!(crate::people::roles(&olga.get(ME).await.json(200)), ["admin", "agents-access"]);
        // She makes the others through the API.
        for (name, agents) in [("ann", true), ("eve", true), ("guest", false)] {
            let body = json!({ "username": name, "email": format!("{name}@example.test"), "password": PASSWORD, "agents_access": agents });
            olga.post(USERS, body).await.json(201);
        }
        assert_eq!(olga.get(USERS).await.json(200)["count"], 5);
        olga.post("/api/v2/organizations/default/groups", json!({ "name": "research" })).await.json(201);
        olga.put("/api/v2/organizations/default/groups/research/members/ann", json!({})).await.empty(204);
        // Eve works by a token of hers; it leaks and is revoked.
        let eve = crate::people::sign_in(&daemon, "eve").await;
        let leaked = eve.post("/api/v2/users/me/keys/tokens", json!({ "name": "laptop" })).await.json(201);
        let program = daemon.api_as(leaked["key"].as_str().unwrap());
        let gate = Gate::new();
        h.model.push([says("working").gate(&gate).says(" done")]);
        let chat = program.create_chat("Work for me").await;
        let chat = chat["id"].as_str().unwrap();
        let mut by_token = program.stream(chat, None).await;
        let mut by_session = eve.stream(chat, None).await;
        gate.reached().await;
        let listed = daemon.command(&["token", "list", "--user", "eve"]).await;
        assert!(listed.out.contains("laptop") && listed.out.contains("session"), "{listed:?}");
        let id = leaked["id"].as_str().unwrap();
        olga.delete(&format!("/api/v2/users/eve/keys/{id}")).await.empty(204);
        assert_eq!(by_token.closed().await.code, 1008);
        program.get(ME).await.problem(401);
        by_session.status("running").await;
        // Then Eve herself, while her stream is open.
        olga.put("/api/v2/users/eve/status/suspend", json!({})).await.json(200);
        assert_eq!(by_session.closed().await.code, 1008);
        eve.get(ME).await.problem(401);
        Api::new(daemon.url(), None)
            .post("/api/v2/users/login", json!({ "email": "eve", "password": PASSWORD }))
            .await
            .problem(401);
        // Her turn is brought to its end, and the operator can read it.
        gate.open();
        assert_eq!(olga.stream(chat, None).await.settled().await.texts("assistant"), ["working done"]);
        olga.post(&format!("/chats/{chat}/messages"), json!({ "content": [{ "type": "text", "text": "x" }] })).await.problem(403);
        // Nobody but an owner touches the owner.
        olga.put("/api/v2/users/admin/status/suspend", json!({})).await.problem(403);
        root.put("/api/v2/users/olga/roles", json!({ "roles": ["owner"] })).await.json(200);
        for name in ["eve", "guest"] {
            root.delete(&format!("{USERS}/{name}")).await.empty(204);
        }
        assert_eq!(root.chat(chat).await["owner_username"], "eve");
    }
}
