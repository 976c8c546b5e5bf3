//! HTTP client that takes nothing for granted: the exact status, the content type, the shape of errors.

use super::{
    EventStream,
    socket::{ChatStream, WatchStream},
};
use reqwest::Method;
use serde_json::{Value, json};
use std::sync::Once;

/// Header that carries the session token (api.md §1.2).
pub const TOKEN_HEADER: &str = "Coder-Session-Token";

/// A caller of the API.
#[derive(Debug, Clone)]
pub struct Api {
    base: String,
    /// What stands before `/chats`.
    prefix: &'static str,
    token: Option<String>,
    http: reqwest::Client,
}

/// A reply of the API.
#[derive(Debug)]
pub struct Answer {
    /// `POST /path`, for messages of failed tests.
    what: String,
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: Vec<u8>,
}

impl Api {
    /// A caller with this session token, or without one.
    pub fn new(base: &str, token: Option<&str>) -> Self {
        static PROVIDER: Once = Once::new();
        // Fails when the daemon under test, in this process, was first: then there is one already.
        PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
        let http = reqwest::Client::builder().no_proxy().build().expect("build an HTTP client");
        let base = base.trim_end_matches('/').to_owned();
        Self { base, prefix: "/api/experimental", token: token.map(str::to_owned), http }
    }

    /// The same caller as someone else.
    pub fn with_token(&self, token: Option<&str>) -> Self {
        Self { token: token.map(str::to_owned), ..self.clone() }
    }

    /// The same caller at another replica.
    pub fn at(&self, base: &str) -> Self {
        Self { base: base.trim_end_matches('/').to_owned(), ..self.clone() }
    }

    /// The same caller under another prefix: `/api/v2`, or `/api/experimental` as everybody begins.
    pub fn under(&self, prefix: &'static str) -> Self {
        Self { prefix, ..self.clone() }
    }

    /// `/chats` means `/api/experimental/chats`, or what [`Api::under`] says; a path that begins with
    /// `/api` or `//` is taken as it is (`//readyz` is `/readyz`).
    pub fn url(&self, path: &str) -> String {
        match path.strip_prefix("//") {
            Some(root) => format!("{}/{root}", self.base),
            None if path.starts_with("/api/") => format!("{}{path}", self.base),
            None => format!("{}{}{path}", self.base, self.prefix),
        }
    }

    /// Sends a request.
    ///
    /// # Errors
    /// When there is no answer, as after a kill.
    pub async fn try_call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, reqwest::Error> {
        self.try_call_with(method, path, body, &[]).await
    }

    /// Sends a request with more headers.
    ///
    /// # Errors
    /// When there is no answer, as after a kill.
    pub async fn try_call_with(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        headers: &[(&str, &str)],
    ) -> Result<Answer, reqwest::Error> {
        let what = format!("{method} {path}");
        let mut request = self.http.request(method, self.url(path));
        if let Some(token) = &self.token {
            request = request.header(TOKEN_HEADER, token);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Answer { what, status, headers, body: response.bytes().await?.to_vec() })
    }

    /// Sends a request and returns whatever the answer is.
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Answer {
        let what = format!("{method} {path}");
        self.try_call(method, path, body).await.unwrap_or_else(|e| panic!("{what}: no answer: {e:?}"))
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, None).await
    }

    /// POST with a JSON body.
    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.call(Method::POST, path, Some(&body)).await
    }

    /// PATCH with a JSON body.
    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        self.call(Method::PATCH, path, Some(&body)).await
    }

    /// PUT with a JSON body.
    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.call(Method::PUT, path, Some(&body)).await
    }

    /// DELETE.
    pub async fn delete(&self, path: &str) -> Answer {
        self.call(Method::DELETE, path, None).await
    }

    /// Id of the caller's first organization.
    pub async fn organization(&self) -> String {
        let found = self.get("/api/v2/users/me/organizations").await.json(200);
        found[0]["id"].as_str().unwrap_or_else(|| panic!("no organization: {found}")).to_owned()
    }

    /// Creates a chat with a first message of text and returns it.
    pub async fn create_chat(&self, text: &str) -> Value {
        self.create_chat_with(json!({ "content": [{ "type": "text", "text": text }] })).await
    }

    /// Creates a chat from this body; the organization is added when it is not named.
    pub async fn create_chat_with(&self, mut body: Value) -> Value {
        if body["organization_id"].is_null() {
            body["organization_id"] = json!(self.organization().await);
        }
        let chat = self.post("/chats", body).await.json(201);
        assert!(chat["id"].is_string(), "a chat without id: {chat}");
        chat
    }

    /// The chat.
    pub async fn chat(&self, chat: &str) -> Value {
        self.get(&format!("/chats/{chat}")).await.json(200)
    }

    /// Sends a text message and returns the reply.
    pub async fn send(&self, chat: &str, text: &str) -> Value {
        let body = json!({ "content": [{ "type": "text", "text": text }] });
        let sent = self.post(&format!("/chats/{chat}/messages"), body).await.json(200);
        let expected = if sent["queued"] == json!(true) { "queued_message" } else { "message" };
        assert!(sent[expected].is_object(), "{expected} is missing: {sent}");
        sent
    }

    /// Interrupts the chat and returns it.
    pub async fn interrupt(&self, chat: &str) -> Value {
        self.post(&format!("/chats/{chat}/interrupt"), json!({})).await.json(200)
    }

    /// Uploads a file to the caller's first organization.
    pub async fn upload(&self, name: &str, content_type: &str, bytes: Vec<u8>) -> Answer {
        let organization = self.organization().await;
        let path = format!("/chats/files?organization={organization}");
        let disposition = format!("attachment; filename=\"{name}\"");
        let headers = [("content-type", content_type), ("content-disposition", disposition.as_str())];
        self.post_bytes(&path, bytes, &headers).await
    }

    /// POST with a body that need not be JSON.
    pub async fn post_bytes(&self, path: &str, body: Vec<u8>, headers: &[(&str, &str)]) -> Answer {
        let what = format!("POST {path}");
        let mut request = self.http.post(self.url(path)).body(body);
        if let Some(token) = &self.token {
            request = request.header(TOKEN_HEADER, token);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.unwrap_or_else(|e| panic!("{what}: no answer: {e:?}"));
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.bytes().await.unwrap_or_else(|e| panic!("{what}: {e:?}")).to_vec();
        Answer { what, status, headers, body }
    }

    /// The whole history, oldest first, page by page.
    pub async fn history(&self, chat: &str) -> Vec<Value> {
        let mut newest_first: Vec<Value> = Vec::new();
        loop {
            let cursor =
                newest_first.last().map(|last| format!("&before_id={}", last["id"])).unwrap_or_default();
            let page = self.get(&format!("/chats/{chat}/messages?limit=200{cursor}")).await.json(200);
            newest_first.extend(page["messages"].as_array().expect("messages is an array").iter().cloned());
            if page["has_more"] == json!(false) {
                newest_first.reverse();
                return newest_first;
            }
        }
    }

    /// The queue, in the order of processing.
    pub async fn queue(&self, chat: &str) -> Vec<Value> {
        let page = self.get(&format!("/chats/{chat}/messages")).await.json(200);
        page["queued_messages"].as_array().expect("queued_messages is an array").clone()
    }

    fn socket_url(&self, path: &str) -> String {
        self.url(path).replacen("http://", "ws://", 1)
    }

    /// Opens the event stream of a chat.
    pub async fn stream(&self, chat: &str, after_id: Option<i64>) -> ChatStream {
        let url = self.socket_url(&format!("/chats/{chat}/stream"));
        ChatStream::open(url, self.token.clone(), chat, after_id).await
    }

    /// Asks for the events of a chat, or of the chat list.
    pub async fn get_events(&self, path: &str, last_event_id: Option<&str>) -> reqwest::Response {
        let mut request = self.http.get(self.url(path)).header("Accept", "text/event-stream");
        if let Some(token) = &self.token {
            request = request.header(TOKEN_HEADER, token);
        }
        if let Some(id) = last_event_id {
            request = request.header("Last-Event-ID", id);
        }
        request.send().await.expect("an answer")
    }

    /// Follows a chat by server-sent events.
    pub async fn events(&self, chat: &str, after_id: Option<i64>) -> EventStream {
        let query = after_id.map(|id| format!("?after_id={id}")).unwrap_or_default();
        let response = self.get_events(&format!("/chats/{chat}/stream{query}"), None).await;
        EventStream::new(response, chat, after_id)
    }

    /// Comes back as `EventSource` does: with the id of the last event.
    pub async fn events_again(&self, chat: &str, stream: &mut EventStream) {
        let last = stream.last_event_id.clone();
        let response = self.get_events(&format!("/chats/{chat}/stream"), last.as_deref()).await;
        stream.go_on(response, last.map(|id| id.parse().expect("a message id")));
    }

    /// Opens the event stream of the caller's chat list.
    pub async fn watch(&self) -> WatchStream {
        WatchStream::open(&self.socket_url("/chats/watch"), self.token.as_deref()).await
    }
}

impl Answer {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    fn status_is(&self, status: u16) {
        assert_eq!(self.status, status, "{}: {}", self.what, self.text());
    }

    /// The JSON body of an answer with exactly this status.
    #[track_caller]
    pub fn json(&self, status: u16) -> Value {
        self.status_is(status);
        let kind = self.headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
        assert_eq!(kind, "application/json; charset=utf-8", "{}: content type", self.what);
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{}: {e}: {}", self.what, self.text()))
    }

    /// A header of the answer; empty when it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// An answer with exactly this status and nothing in it.
    #[track_caller]
    pub fn empty(&self, status: u16) {
        self.status_is(status);
        assert!(self.body.is_empty(), "{}: a body where none is due: {}", self.what, self.text());
    }

    /// The body of a refusal (api.md §1.3, and §1.8 for the spend limit).
    #[track_caller]
    pub fn problem(&self, status: u16) -> Value {
        let body = self.json(status);
        let object = body.as_object().unwrap_or_else(|| panic!("{}: {body}", self.what));
        assert!(object["message"].as_str().is_some_and(|text| !text.is_empty()), "{}: {body}", self.what);
        const KNOWN: [&str; 6] =
            ["message", "detail", "validations", "spent_micros", "limit_micros", "resets_at"];
        for (key, value) in object {
            assert!(KNOWN.contains(&key.as_str()), "{}: unknown key {key:?} in {body}", self.what);
            let empty =
                value.as_str() == Some("") || value.as_array().is_some_and(Vec::is_empty) || value.is_null();
            assert!(!empty, "{}: {key:?} is empty and should be left out: {body}", self.what);
        }
        for entry in body["validations"].as_array().into_iter().flatten() {
            let whole = entry["field"].is_string() && entry["detail"].is_string();
            assert!(whole, "{}: {entry}", self.what);
        }
        body
    }
}
