//! An operator's day: from nothing to a deployment of several people, and somebody who has to leave.

use super::{ME, PASSWORD, USERS};
use crate::support::{
    both,
    client::Api,
    fake_model::{Gate, says},
    turns::{id, text},
};
use serde_json::json;

both! {
    async fn an_operator_runs_a_deployment_of_several_people(h: Harness) {
        h.configure_model("output_price_per_million = \"10\"");
        let daemon = h.daemon().await;
        // The console says where to sign in first; the token for programs lies in a file.
        let log = h.log.tail();
        let link = log.split_whitespace().find(|word| word.contains("/login/once?token=")).expect("a link");
        let browser = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        let signed_in = browser.build().unwrap().get(link).send().await.unwrap();
        assert_eq!(signed_in.status().as_u16(), 303);
        let cookie = signed_in.headers()["set-cookie"].to_str().unwrap();
        let session = cookie.split_once("coder_session_token=").expect("a session").1.split(';').next().unwrap();
        assert_eq!(daemon.api_as(session).get(ME).await.json(200)["username"], "admin");
        // A person gets an account of their own, by the command line.
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
        // Ann may spend a little: her first turn is more than that, and her next one is refused.
        let ann_id = id(&olga.get(&format!("{USERS}/ann")).await.json(200));
        olga.put("/chats/usage-limits", json!({ "spend_limit_micros": 1_000_000, "period": "month" })).await.json(200);
        olga.put(&format!("/chats/usage-limits/overrides/{ann_id}"), json!({ "spend_limit_micros": 1 })).await.json(200);
        let ann = crate::people::sign_in(&daemon, "ann").await;
        h.model.push([says("Dear.")]);
        let spent = id(&ann.create_chat("Spend").await);
        ann.stream(&spent, None).await.answered(1).await;
        let refused = ann.post(&format!("/chats/{spent}/messages"), text("More")).await.problem(409);
        assert_eq!(refused["limit_micros"], 1, "{refused}");
        // A key of a provider comes in by the API, is sealed anew, and works before and after.
        h.model.expect_key(Some("sk-operator-0123456789"));
        let provider = json!({ "type": "openai-compat", "name": "ours", "base_url": format!("{}/v1", h.model.url()),
            "api_keys": ["sk-operator-0123456789"] });
        let provider = olga.post("/api/v2/ai/providers", provider).await.json(201);
        assert!(!provider.to_string().contains("sk-operator"), "{provider}");
        let model = json!({ "ai_provider_id": provider["id"], "model": "m-one", "context_limit": 100_000 });
        let model = olga.post("/chats/model-configs", model).await.json(201);
        h.model.push([says("Ours."), says("Still ours.")]);
        let mut body = text("By our key");
        body["model_config_id"] = model["id"].clone();
        let keyed = id(&olga.create_chat_with(body).await);
        let mut stream = olga.stream(&keyed, None).await;
        stream.answered(1).await;
        let rotated = daemon.command(&["keys", "rotate"]).await;
        assert_eq!(rotated.status, 0, "{rotated:?}");
        olga.send(&keyed, "And after the rotation").await;
        stream.answered(2).await;
        h.model.expect_key(Some(crate::support::fake_model::FakeModel::KEY));
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
        let key = leaked["id"].as_str().unwrap();
        olga.delete(&format!("/api/v2/users/eve/keys/{key}")).await.empty(204);
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
