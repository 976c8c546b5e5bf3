//! Requests that are wrong in every way a request can be.

use crate::support::{
    both,
    client::{Api, refusal},
    daemon::DaemonProcess,
    fake_model::says,
    turns::id,
};
use reqwest::Method;
use serde_json::json;
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// Sends these bytes and returns the status of the answer; 0 when the connection was just closed.
async fn raw(daemon: &DaemonProcess, head: &str, body: &[u8]) -> u16 {
    let address = daemon.url().strip_prefix("http://").expect("an address").to_owned();
    let mut socket = TcpStream::connect(&address).await.expect("connect");
    let head = format!(
        "{head}\r\nHost: {address}\r\nConnection: close\r\nCoder-Session-Token: {}\r\n\r\n",
        daemon.token()
    );
    let (mut read, mut write) = socket.split();
    let send = async {
        // The server may answer and close before it has read everything.
        if write.write_all(head.as_bytes()).await.is_ok() {
            drop(write.write_all(body).await);
        }
    };
    let mut answer = Vec::new();
    let receive = async { drop(read.read_to_end(&mut answer).await) };
    let both = async { tokio::join!(send, receive) };
    assert!(
        tokio::time::timeout(Duration::from_secs(20), both).await.is_ok(),
        "no end of the answer to {head}"
    );
    let line = String::from_utf8_lossy(&answer);
    line.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}

/// Sends a JSON body as bytes to `POST path`.
async fn post(daemon: &DaemonProcess, path: &str, body: &[u8]) -> u16 {
    let head = format!(
        "POST /api/experimental{path} HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: {}",
        body.len()
    );
    raw(daemon, &head, body).await
}

/// The same in chunks of 8 KiB, without a length.
async fn post_chunked(daemon: &DaemonProcess, path: &str, body: &[u8]) -> u16 {
    let mut chunks = Vec::new();
    for chunk in body.chunks(8192) {
        chunks.extend(format!("{:x}\r\n", chunk.len()).bytes());
        chunks.extend(chunk);
        chunks.extend(b"\r\n");
    }
    chunks.extend(b"0\r\n\r\n");
    let head = format!(
        "POST /api/experimental{path} HTTP/1.1\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked"
    );
    raw(daemon, &head, &chunks).await
}

both! {
    async fn bodies_that_are_no_message_are_refused_with_a_reason(h: Harness) {
        h.model.push([says("hello"), says("and still there")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let organization = api.organization().await;
        let chat = api.create_chat("hello").await;
        let chat = chat["id"].as_str().unwrap();
        let mut stream = api.stream(chat, None).await;
        stream.settled().await;
        let messages = format!("/chats/{chat}/messages");
        let message = |content: serde_json::Value| json!({ "organization_id": organization, "content": content });
        let deep = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));

        let cut = br#"{"content": [{"type": "text", "text": "hi"#;
        let not_utf8 = b"{\"content\": [{\"type\": \"text\", \"text\": \"\xff\xfe\"}]}";
        let nested = format!(r#"{{"content": [{{"type": "text", "text": "x"}}], "labels": {}}}"#, deep(10_000));
        let unknown = format!(r#"{{"content": {}}}"#, deep(10_000));
        let bare = deep(100_000);
        for path in ["/chats", messages.as_str()] {
            for body in
                [&b""[..], b"{", b"nonsense", b"null", b"[]", b"1", cut, not_utf8, unknown.as_bytes(), bare.as_bytes()]
            {
                let status = post(&daemon, path, body).await;
                assert_eq!(status, 400, "{path}: {}", String::from_utf8_lossy(&body[..body.len().min(80)]));
            }
        }
        assert_eq!(post(&daemon, "/chats", nested.as_bytes()).await, 400);
        for content in [
            json!(null), json!("text"), json!(5), json!({}), json!([]), json!([null]), json!([[]]), json!([{}]),
            json!([{ "type": "text" }]), json!([{ "type": "text", "text": 7 }]), json!([{ "type": "text", "text": " " }]),
            json!([{ "type": "tool-call", "tool_call_id": "x" }]), json!([{ "type": 3 }]), json!([["text", "x"]]),
        ] {
            api.post("/chats", message(content.clone())).await.problem(400);
            api.post(&messages, message(content)).await.problem(400);
        }
        let whole = json!([{ "type": "text", "text": "x" }]);
        for (key, value) in [
            ("organization_id", json!("nonsense")), ("organization_id", json!(7)), ("model_config_id", json!("x")),
            ("labels", json!({ "": "x" })), ("labels", json!({ "a": 1 })), ("labels", json!([])),
            ("unsafe_dynamic_tools", json!([{ "name": "" }])), ("unsafe_dynamic_tools", json!("x")),
            ("plan_mode", json!("nonsense")), ("client_type", json!("nonsense")), ("reasoning_effort", json!("no")),
            ("mcp_server_ids", json!(["x"])),
        ] {
            let mut body = message(whole.clone());
            body[key] = value;
            api.post("/chats", body.clone()).await.problem(400);
        }
        let mut body = message(whole.clone());
        body["busy_behavior"] = json!("nonsense");
        api.post(&messages, body).await.problem(400);

        // Too large, with a length and without one.
        let large = message(json!([{ "type": "text", "text": "x".repeat(300 << 10) }])).to_string();
        assert_eq!(post(&daemon, "/chats", large.as_bytes()).await, 413);
        assert_eq!(post_chunked(&daemon, "/chats", large.as_bytes()).await, 413);
        assert_eq!(post(&daemon, &format!("/chats/{chat}/tool-results"), large.as_bytes()).await, 413);
        let huge = vec![b' '; 17 << 20];
        assert_eq!(post(&daemon, &messages, &huge).await, 413);
        assert_eq!(post_chunked(&daemon, &messages, &huge).await, 413);
        let lie = "POST /api/experimental/chats HTTP/1.1\r\nContent-Length: 99999999999999999999";
        assert!(matches!(raw(&daemon, lie, b"{}").await, 400 | 413 | 0));
        let both = "POST /api/experimental/chats HTTP/1.1\r\nContent-Length: 2\r\nTransfer-Encoding: chunked";
        assert!(matches!(raw(&daemon, both, b"{}").await, 400 | 0));
        let head = format!("GET /api/v2/users/me HTTP/1.1\r\nX: {}", "x".repeat(1 << 20));
        assert!(matches!(raw(&daemon, &head, b"").await, 400 | 413 | 431 | 0));

        // None of it did anything, and the daemon is well.
        assert_eq!(api.get("/chats").await.json(200).as_array().unwrap().len(), 1);
        assert_eq!(api.history(chat).await.len(), 2);
        api.send(chat, "Are you well?").await;
        stream.until("the second turn is over", |f| f.settled() && f.messages.len() == 4).await;
    }

    async fn compressed_bodies_are_refused_as_such(h: Harness) {
        h.model.push([says("one"), says("two")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let organization = api.organization().await;
        let chat = json!({ "organization_id": organization, "content": [{ "type": "text", "text": "hello" }] });
        let upload = format!("/chats/files?organization={organization}");
        for (coding, expected) in [("gzip", 415), ("identity, br", 415), ("identity", 201), ("", 201)] {
            for path in ["/chats", &upload] {
                let headers =
                    [("Content-Encoding", coding), ("Content-Disposition", "attachment; filename=\"a.json\"")];
                let answer = api.try_call_with(Method::POST, path, Some(&chat), &headers).await.unwrap();
                assert_eq!(answer.status, expected, "{coding:?}: {answer:?}");
                if expected == 415 {
                    assert_eq!(answer.headers["accept-encoding"], "identity");
                    answer.problem(415);
                } else if path == "/chats" {
                    api.stream(&id(&answer.json(201)), None).await.answered(1).await;
                }
            }
        }
    }

    async fn ids_that_name_nothing_are_refused(h: Harness) {
        h.model.push([says("hello")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let other = daemon.api_as(&daemon.token_for("other", &[]).await);
        let chat = api.create_chat("hello").await;
        let chat = chat["id"].as_str().unwrap();
        api.stream(chat, None).await.settled().await;
        let nowhere = "11111111-1111-4111-8111-111111111111";
        let text = json!({ "content": [{ "type": "text", "text": "x" }] });

        for id in ["x", "1", "-1", "..", "%00", "%ff", "%2e%2e", &"1".repeat(5000)] {
            let answer = api.get(&format!("/chats/{id}")).await;
            assert!(matches!(answer.status, 400 | 404), "{id}: {answer:?}");
        }
        for (caller, id) in [(&api, nowhere), (&other, chat), (&other, nowhere)] {
            for tail in ["", "/messages"] {
                caller.get(&format!("/chats/{id}{tail}")).await.problem(404);
            }
            for tail in ["/messages", "/interrupt", "/tool-results", "/queue/1/promote", "/reconcile-invalid"] {
                let body = json!({ "content": text["content"], "results": [{ "tool_call_id": "a", "output": 1 }] });
                caller.post(&format!("/chats/{id}{tail}"), body).await.problem(404);
            }
            caller.patch(&format!("/chats/{id}"), json!({ "title": "x" })).await.problem(404);
            caller.patch(&format!("/chats/{id}/messages/1"), text.clone()).await.problem(404);
            caller.delete(&format!("/chats/{id}/queue/1")).await.problem(404);
            let token = if std::ptr::eq(caller, &api) { daemon.token() } else { String::new() };
            if !token.is_empty() {
                assert_eq!(refusal(&caller.url(&format!("/chats/{id}/stream")), Some(&token)).await, 404);
            }
        }
        for id in ["x", "0", "-1", "1.5", "9223372036854775808", "99999999999999999999999", "1e3", "%00"] {
            api.patch(&format!("/chats/{chat}/messages/{id}"), text.clone()).await.problem(400);
            api.delete(&format!("/chats/{chat}/queue/{id}")).await.problem(400);
        }
        for (method, tail, status) in [
            (Method::PATCH, "/messages/9223372036854775807", 404),
            (Method::DELETE, "/queue/9223372036854775807", 409),
        ] {
            let answer = api.call(method, &format!("/chats/{chat}{tail}"), Some(&text)).await;
            assert!(answer.status == status || answer.status == 404, "{tail}: {answer:?}");
        }
        for query in [
            "after_id=x", "after_id=-1", "after_id=1.5", "after_id=99999999999999999999", "before_id=0", "before_id=-7",
            "limit=0", "limit=201", "limit=x", "after_id=9&before_id=3", "after_id=%00",
        ] {
            api.get(&format!("/chats/{chat}/messages?{query}")).await.problem(400);
        }
        for query in ["after_id=x", "after_id=-1", "after_id=99999999999999999999", "after_id=%ff"] {
            let url = api.url(&format!("/chats/{chat}/stream?{query}"));
            assert_eq!(refusal(&url, Some(&daemon.token())).await, 400, "{query}");
        }
        for query in ["limit=-1", "limit=x", "offset=-1", "after_id=x", "q=nonsense", "q=archived:perhaps", "label=x", "q=%00"] {
            api.get(&format!("/chats?{query}")).await.problem(400);
        }
        // A cursor beyond everything is no mistake.
        assert_eq!(api.get(&format!("/chats/{chat}/messages?after_id=9223372036854775807")).await.json(200)["messages"], json!([]));
        for path in ["/chats/nothing/at/all", "/nothing", "/api/v9/x", "//nothing"] {
            api.get(path).await.problem(404);
        }
        let nobody = Api::new(daemon.url(), None);
        nobody.get(&format!("/chats/{chat}")).await.problem(401);
    }
}
