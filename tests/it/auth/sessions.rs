//! Tokens: where they may stand, how they end.

use crate::support::{
    both,
    client::{Api, refusal},
    fake_model::{Gate, says},
    outside::{chatd, eventually},
};
use reqwest::Method;
use serde_json::json;

/// A path that needs a caller.
const ME: &str = "/api/v2/users/me";

both! {
    async fn a_token_may_stand_in_four_places(h: Harness) {
        let daemon = h.daemon().await;
        let token = daemon.token();
        let nobody = Api::new(daemon.url(), None);
        let get = async |path: &str, headers: &[(&str, &str)]| {
            nobody.try_call_with(Method::GET, path, None, headers).await.unwrap()
        };
        get(ME, &[]).await.problem(401);
        get(ME, &[("Coder-Session-Token", &token)]).await.json(200);
        get(ME, &[("Authorization", &format!("Bearer {token}"))]).await.json(200);
        get(ME, &[("Cookie", &format!("a=b; coder_session_token={token}"))]).await.json(200);
        get(&format!("{ME}?coder_session_token={token}"), &[]).await.json(200);
        let (id, secret) = token.split_once('-').unwrap();
        let other = if secret.starts_with('a') { "b" } else { "a" };
        for wrong in [id.to_owned(), format!("{id}-"), format!("{id}-{other}{}", &secret[1..]), "x".repeat(10_000)] {
            get(ME, &[("Coder-Session-Token", &wrong)]).await.problem(401);
            get(ME, &[("Authorization", &format!("Bearer {wrong}"))]).await.problem(401);
        }
        get(ME, &[("Authorization", &format!("Basic {token}"))]).await.problem(401);
        let stream = nobody.url("/chats/watch");
        assert_eq!(refusal(&stream, None).await, 401);
        assert_eq!(refusal(&stream, Some("nonsense")).await, 401);
    }

    async fn a_cookie_must_prove_that_a_change_comes_from_this_site(h: Harness) {
        let daemon = h.daemon().await;
        let token = daemon.token();
        let nobody = Api::new(daemon.url(), None);
        let organization = daemon.api().organization().await;
        let body = json!({ "organization_id": organization, "content": [{ "type": "text", "text": "hi" }] });
        let post = async |headers: &[(&str, &str)]| {
            nobody.try_call_with(Method::POST, "/chats", Some(&body), headers).await.unwrap()
        };
        let session = format!("coder_session_token={token}");
        let with_csrf = format!("{session}; csrf_token=sesame");
        post(&[("Cookie", &session)]).await.problem(403);
        post(&[("Cookie", &with_csrf)]).await.problem(403);
        post(&[("Cookie", &with_csrf), ("X-CSRF-TOKEN", "simsalabim")]).await.problem(403);
        assert!(daemon.api().get("/chats").await.json(200).as_array().unwrap().is_empty());
        h.model.push([says("hi"), says("hi"), says("hi")]);
        let chat = post(&[("Cookie", &with_csrf), ("X-CSRF-TOKEN", "sesame")]).await.json(201);
        // A page of another site can send neither of these.
        let second = post(&[("Coder-Session-Token", &token)]).await.json(201);
        // Clients that are no browsers keep the cookie of their sign-in, and send it beside the token.
        let kept = post(&[("Cookie", &session), ("Coder-Session-Token", &token)]).await.json(201);
        post(&[("Cookie", &session), ("Coder-Session-Token", "another")]).await.problem(403);
        for chat in [chat, second, kept] {
            daemon.api().stream(chat["id"].as_str().unwrap(), None).await.settled().await;
        }
    }

    async fn a_token_ends_by_time_or_by_command(h: Harness) {
        let daemon = h.daemon().await;
        let short = daemon.token_for("shorty", &["--ttl", "2s"]).await;
        let short = daemon.api_as(&short);
        short.get(ME).await.json(200);
        eventually("the token has expired", async || (short.get(ME).await.status == 401).then_some(())).await;

        let token = daemon.token_for("bob", &[]).await;
        let bob = daemon.api_as(&token);
        assert_eq!(bob.get(ME).await.json(200)["username"], "bob");
        // Another token of the same user is another matter.
        let kept = daemon.api_as(&daemon.token_for("bob", &[]).await);
        let listed = daemon.command(&["token", "list", "--json"]).await;
        let id = token.split_once('-').unwrap().0;
        assert!(listed.status == 0 && listed.out.contains(id) && !listed.out.contains(&token), "{listed:?}");
        let revoked = daemon.command(&["token", "revoke", id]).await;
        assert_eq!((revoked.status, revoked.out.as_str()), (0, ""), "{}", revoked.err);
        eventually("the token is revoked", async || (bob.get(ME).await.status == 401).then_some(())).await;
        kept.get(ME).await.json(200);
        let again = daemon.command(&["token", "revoke", id]).await;
        assert_eq!(again.status, 1, "{again:?}");
        assert!(again.err.contains("there is no token"), "{}", again.err);
    }

    async fn a_suspended_user_loses_the_open_stream(h: Harness) {
        h.configure("[stream]\nping_interval = \"1s\"");
        let daemon = h.daemon().await;
        let gate = Gate::new();
        h.model.push([says("one").gate(&gate).says("two")]);
        let bob = daemon.api_as(&daemon.token_for("bob", &[]).await);
        let chat = bob.create_chat("Hold the line").await;
        let chat = chat["id"].as_str().unwrap();
        let mut stream = bob.stream(chat, None).await;
        gate.reached().await;
        stream.status("running").await;
        let ran = daemon.command(&["user", "suspend", "bob"]).await;
        assert_eq!(ran.status, 0, "{}", ran.err);
        let closed = stream.closed().await;
        assert_eq!(closed.code, 1008, "{closed:?}");
        assert_eq!(refusal(&bob.url(&format!("/chats/{chat}/stream")), None).await, 401);
        bob.get(ME).await.problem(401);
        // The turn goes on: the chat is not suspended.
        gate.open();
        let mut stream = daemon.api().stream(chat, None).await;
        assert_eq!(stream.settled().await.texts("assistant"), ["onetwo"]);
        assert_eq!(daemon.api().chat(chat).await["owner_id"], bob_id(&daemon.command(&["user", "list", "--json"]).await.out));
    }

    async fn without_authentication_everybody_is_the_administrator(h: Harness) {
        h.configure("[auth]\nmode = \"none\"");
        let daemon = h.daemon().await;
        let nobody = Api::new(daemon.url(), None);
        assert_eq!(nobody.get(ME).await.json(200)["username"], "admin");
        h.model.push([says("hello")]);
        let organization = nobody.organization().await;
        let body = json!({ "organization_id": organization, "content": [{ "type": "text", "text": "hi" }] });
        let chat = nobody.try_call_with(Method::POST, "/chats", Some(&body), &[]).await.unwrap().json(201);
        nobody.stream(chat["id"].as_str().unwrap(), None).await.settled().await;
        // What a page of another site would send is refused.
        for origin in ["https://evil.example", "null"] {
            let headers = [("Origin", origin)];
            nobody.try_call_with(Method::POST, "/chats", Some(&body), &headers).await.unwrap().problem(403);
        }
        // And such a daemon must not be reachable from elsewhere.
        let file = h.folder().join("open.toml");
        std::fs::write(&file, "data_dir = \"open\"\n[auth]\nmode = \"none\"\n").unwrap();
        let file = file.to_str().unwrap();
        let open = chatd(h.folder(), &["serve", "--listen", "0.0.0.0:0", "--config", file]).await;
        assert_eq!(open.status, 78, "{open:?}");
        assert!(open.err.contains("auth.mode"), "{}", open.err);
    }
}

fn bob_id(list: &str) -> serde_json::Value {
    let users: serde_json::Value = serde_json::from_str(list).expect("a JSON list");
    let bob = users.as_array().into_iter().flatten().find(|user| user["username"] == "bob");
    bob.expect("bob is a user")["id"].clone()
}
