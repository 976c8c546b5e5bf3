//! A tool server and its authorization server on one socket: metadata, registration, tokens.

use reqwest::Url;
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// What arrived.
#[derive(Debug, Clone)]
pub struct Seen {
    pub path: String,
    pub headers: HashMap<String, String>,
    pub body: String,
}

impl Seen {
    /// The fields of a form.
    pub fn form(&self) -> HashMap<String, String> {
        let url = Url::parse(&format!("http://form/?{}", self.body)).expect("a form");
        url.query_pairs().map(|(k, v)| (k.into_owned(), v.into_owned())).collect()
    }
}

#[derive(Default)]
struct State {
    seen: Vec<Seen>,
    /// Answers by path; a path without one is a 404.
    answers: HashMap<String, (u16, String)>,
}

/// The servers.
#[derive(Clone)]
pub struct Authority {
    pub url: String,
    state: Arc<Mutex<State>>,
}

impl Authority {
    /// Knows how to register clients and to make tokens.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let authority = Self { url: url.clone(), state: Arc::default() };
        authority.answer("/mcp", 401, json!({}));
        let resource = json!({ "resource": format!("{url}/mcp"), "authorization_servers": [format!("{url}/as")],
            "scopes_supported": ["read", "write"] });
        authority.answer("/.well-known/oauth-protected-resource/mcp", 200, resource);
        authority.metadata(json!({}));
        authority.answer("/register", 201, json!({ "client_id": "made-for-you" }));
        authority.answer(
            "/token",
            200,
            json!({ "access_token": "canary-access-1", "token_type": "bearer",
            "expires_in": 3600, "refresh_token": "canary-refresh-1" }),
        );
        let state = Arc::clone(&authority.state);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket, Arc::clone(&state)));
            }
        });
        authority
    }

    /// The metadata of the authorization server, with these keys in place of others.
    pub fn metadata(&self, over: Value) {
        let url = &self.url;
        let mut all = json!({ "issuer": format!("{url}/as"), "authorization_endpoint": format!("{url}/authorize?tenant=a"),
            "token_endpoint": format!("{url}/token"), "registration_endpoint": format!("{url}/register"),
            "code_challenge_methods_supported": ["S256"], "token_endpoint_auth_methods_supported": ["none"] });
        for (key, value) in over.as_object().expect("an object") {
            all[key] = value.clone();
        }
        self.answer("/.well-known/oauth-authorization-server/as", 200, all);
    }

    pub fn answer(&self, path: &str, status: u16, body: Value) {
        self.state.lock().unwrap().answers.insert(path.into(), (status, body.to_string()));
    }

    /// Requests to a path.
    pub fn seen(&self, path: &str) -> Vec<Seen> {
        self.state.lock().unwrap().seen.iter().filter(|s| s.path == path).cloned().collect()
    }
}

async fn serve(mut socket: TcpStream, state: Arc<Mutex<State>>) {
    let Some(seen) = read(&mut socket).await else { return };
    let (status, body) = {
        let mut state = state.lock().unwrap();
        state.seen.push(seen.clone());
        state.answers.get(&seen.path).cloned().unwrap_or((404, "{}".into()))
    };
    let answer = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    // A client that has gone is no matter of the test.
    let _ = socket.write_all(answer.as_bytes()).await;
}

async fn read(socket: &mut TcpStream) -> Option<Seen> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break end;
        }
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.lines();
    let target = lines.next()?.split(' ').nth(1)?.to_owned();
    let headers: HashMap<String, String> = lines
        .filter_map(|l| l.split_once(": "))
        .map(|(k, v)| (k.to_ascii_lowercase(), v.to_owned()))
        .collect();
    let length: usize = headers.get("content-length").and_then(|l| l.parse().ok()).unwrap_or(0);
    while bytes.len() < end + 4 + length {
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    let path = target.split('?').next().unwrap_or_default().to_owned();
    Some(Seen { path, headers, body: String::from_utf8_lossy(&bytes[end + 4..]).into_owned() })
}
