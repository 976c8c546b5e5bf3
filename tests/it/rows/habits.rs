//! The habits of other people's clients (api.md §5.5), row by row.

use crate::support::{
    both,
    client::refusal,
    fake_model::{Gate, says, says_in},
    turns::{id, live_parts, text},
};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

const NOWHERE: &str = "11111111-1111-4111-8111-111111111111";

/// The status of a handshake with these headers.
async fn handshake(url: &str, headers: &[(&'static str, String)]) -> u16 {
    let mut request = url.replacen("http", "ws", 1).into_client_request().expect("a URL");
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().expect("plain text"));
    }
    match tokio_tungstenite::connect_async(request).await {
        Ok((_, answer)) => answer.status().as_u16(),
        Err(tokio_tungstenite::tungstenite::Error::Http(answer)) => answer.status().as_u16(),
        Err(e) => panic!("{url}: {e}"),
    }
}

both! {
    async fn a_token_is_taken_at_the_handshake(h: Harness) {
        h.model.otherwise(|_| says("Done."));
        let daemon = h.daemon().await;
        let (api, token) = (daemon.api(), daemon.token());
        let chat = id(&api.create_chat("Hello").await);
        api.stream(&chat, None).await.settled().await;
        for path in [format!("/chats/{chat}/stream"), format!("/chats/{chat}/stream/parts"), "/chats/watch".to_owned()] {
            for prefix in ["/api/experimental", "/api/v2"] {
                let url = api.under(prefix).url(&path);
                assert_eq!(handshake(&url, &[("coder-session-token", token.clone())]).await, 101, "{url}");
                assert_eq!(handshake(&url, &[("authorization", format!("Bearer {token}"))]).await, 101, "{url}");
                assert_eq!(handshake(&format!("{url}?coder_session_token={token}"), &[]).await, 101, "{url}");
                assert_eq!(handshake(&url, &[("coder-session-token", format!("{token}x"))]).await, 401, "{url}");
                assert_eq!(refusal(&url, None).await, 401, "{url}");
            }
        }
    }

    async fn whoever_dials_again_as_at_first_gets_the_same_messages(h: Harness) {
        let gate = Gate::new();
        h.model.push([says("one"), says("two"), says_in(["th", "re", "e"]).gate(&gate)]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("1").await);
        let mut first = api.stream(&chat, None).await;
        let after = first.answered(1).await.last_id();
        let mut stream = api.stream(&chat, after).await;
        api.send(&chat, "2").await;
        stream.answered(1).await;
        let known: BTreeMap<i64, Value> = stream.fold.messages.clone();
        assert_eq!(known.len(), 2, "the question and the answer after the cursor");
        api.send(&chat, "3").await;
        stream.shows("three").await;
        let parts = live_parts(&stream.events());
        for _ in 0..3 {
            // What is held stays as it is: the same ids, and nothing of them has changed.
            let mut again = api.stream(&chat, after).await;
            again.shows("three").await;
            for (id, message) in &known {
                assert_eq!(again.fold.messages.get(id), Some(message));
            }
            assert_eq!(again.fold.messages, stream.fold.messages);
            // Live parts come again from the first, with the keys by which they are told apart.
            let replayed = live_parts(&again.events());
            let key = |part: &Value| {
                ["history_version", "generation_attempt", "seq"].map(|key| part[key].as_i64().unwrap_or_else(|| panic!("{key}: {part}")))
            };
            let last = parts.last().expect("parts");
            let episode: Vec<_> = parts.iter().filter(|p| key(p)[..2] == key(last)[..2]).map(key).collect();
            let (first, end) = (key(&replayed[0]), key(replayed.last().expect("parts")));
            assert_eq!((first[2], &first[..2], end), (1, &key(last)[..2], *episode.last().expect("parts")));
            assert!(replayed.windows(2).all(|two| key(&two[1])[2] == key(&two[0])[2] + 1), "{replayed:?}");
        }
        gate.open();
        stream.answered(2).await;
    }

    /// Calls that this server does not have, of §6 and of the lines of §2.1 that came later: a client
    /// that tries them takes 404 for "not here".
    async fn what_is_not_there_answers_404(h: Harness) {
        h.model.otherwise(|_| says("Done."));
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("Hello").await);
        api.stream(&chat, None).await.settled().await;
        for (method, path) in [
            ("GET", format!("/chats/{chat}/context")),
            ("PUT", format!("/chats/{chat}/context")),
            ("GET", format!("/chats/{chat}/goals")),
            ("GET", format!("/chats/{chat}/summary")),
            ("POST", format!("/chats/{chat}/hooks")),
            ("POST", format!("/chats/files/{NOWHERE}/download-url")),
            ("GET", format!("/chats/files/{NOWHERE}/download")),
            ("GET", "/chats/automations/x".to_owned()),
            ("GET", "/chats/config/nothing".to_owned()),
            ("PUT", "/chats/config/nothing".to_owned()),
            ("GET", "/api/v2/chats/models".to_owned()),
            ("POST", "/api/v2/chats/model-configs".to_owned()),
            ("GET", "/api/v2/chats/providers".to_owned()),
            ("GET", "/api/v2/chats/user-provider-configs".to_owned()),
            ("GET", format!("/api/v2/chats/{chat}/debug/runs")),
            ("GET", format!("/api/v2/chats/{chat}/stream/desktop")),
            ("GET", format!("/api/v2/organizations/{NOWHERE}/mcp-servers")),
            ("GET", "/api/v2/projects".to_owned()),
            ("GET", "/api/v2/deployment/config".to_owned()),
        ] {
            let body = (method != "GET").then(|| json!({}));
            api.call(method.parse().expect("a method"), &path, body.as_ref()).await.problem(404);
        }
    }

    async fn a_wrong_method_is_told_which_are_right(h: Harness) {
        let daemon = h.daemon().await;
        let api = daemon.api();
        for (method, path, allow) in [
            (Method::DELETE, format!("/chats/{NOWHERE}"), "GET, HEAD, PATCH"),
            (Method::PUT, format!("/chats/{NOWHERE}/messages"), "GET, HEAD, POST"),
            (Method::GET, format!("/chats/{NOWHERE}/interrupt"), "POST"),
            (Method::POST, "/chats/watch".to_owned(), "GET"),
            (Method::POST, "/chats/config/retention-days".to_owned(), "GET, HEAD, PUT"),
            (Method::GET, "/chats/files".to_owned(), "POST"),
            (Method::POST, "/chats/models".to_owned(), "GET, HEAD"),
            (Method::PATCH, "//healthz".to_owned(), "GET, HEAD"),
            (Method::OPTIONS, "/chats".to_owned(), "GET, HEAD, POST"),
        ] {
            let answer = api.call(method, &path, None).await;
            answer.problem(405);
            assert_eq!(answer.header("allow"), allow, "{path}");
        }
    }

    async fn keys_that_nobody_knows_change_nothing(h: Harness) {
        h.model.otherwise(|_| says("Done."));
        let daemon = h.daemon().await;
        let api = daemon.api();
        let later = json!({ "of": ["a later", { "version": 2 }] });
        let mut body = text("Hello");
        body["content"][0]["later"] = later.clone();
        body["later"] = later.clone();
        let chat = id(&api.create_chat_with(body.clone()).await);
        api.stream(&chat, None).await.answered(1).await;
        let sent = api.post(&format!("/chats/{chat}/messages"), body).await.json(200);
        assert!(sent["message"]["content"][0].get("later").is_none(), "{sent}");
        api.patch(&format!("/chats/{chat}"), json!({ "later": later, "title": "Named" })).await.empty(204);
        assert_eq!(api.chat(&chat).await["title"], json!("Named"));
        let limit = json!({ "spend_limit_micros": null, "period": "day", "later": later });
        api.put("/chats/usage-limits", limit).await.json(200);
    }
}
