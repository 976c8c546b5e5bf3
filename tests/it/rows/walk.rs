//! A walk through the document: it calls operations by their templates, holds every answer against an
//! exact code, and knows in the end which operations it has not called.

use crate::support::{client::Api, daemon::DaemonProcess};
use reqwest::Method;
use serde_json::Value;
use std::collections::BTreeSet;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

/// What only another replica may call; `workspace_tools::link` has two of them.
const OF_REPLICAS: (&str, &str) = ("POST", "/api/v2/workspaceagents/{agent}/relay");

/// `GET /path/{with}/{names}`.
type Operation = (String, String);

/// A caller that remembers what it called.
pub struct Walk {
    pub base: String,
    pub token: String,
    http: reqwest::Client,
    called: BTreeSet<Operation>,
}

/// An answer whose code was right.
pub struct Step {
    pub headers: reqwest::header::HeaderMap,
    /// Null when the answer is not JSON.
    pub body: Value,
}

impl Step {
    /// The id in the body.
    pub fn id(&self) -> String {
        text(&self.body["id"])
    }
}

/// A string of an answer.
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no string: {value}")).to_owned()
}

/// The template with its names replaced, in order.
fn filled(template: &str, values: &[&str]) -> String {
    let mut values = values.iter();
    let (path, query) = template.split_once('?').unwrap_or((template, ""));
    let segments = path.split('/').map(|segment| {
        let named = segment.starts_with('{');
        if named {
            *values.next().unwrap_or_else(|| panic!("{template}: a value is missing"))
        } else {
            segment
        }
    });
    let path = segments.collect::<Vec<_>>().join("/");
    assert!(values.next().is_none(), "{template}: a value is left over");
    if query.is_empty() { path } else { format!("{path}?{query}") }
}

impl Walk {
    /// A walk as the first user.
    pub fn new(daemon: &DaemonProcess) -> Self {
        let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        Self {
            base: daemon.url().to_owned(),
            token: daemon.token(),
            http: http.build().expect("a client"),
            called: BTreeSet::new(),
        }
    }

    fn note(&mut self, method: &str, template: &str) {
        let path = template.split_once('?').map_or(template, |(path, _)| path);
        self.called.insert((method.to_owned(), path.to_owned()));
    }

    /// Calls an operation and returns what it answered.
    #[track_caller]
    pub fn call<'a>(
        &'a mut self,
        method: &'static str,
        template: &'a str,
        values: &'a [&'a str],
        body: Value,
        code: u16,
    ) -> impl Future<Output = Step> + 'a {
        let request = self.request(method, template, values);
        let request = if body.is_null() {
            request
        } else {
            request.header("content-type", "application/json").body(body.to_string())
        };
        self.send(method, template, request, code)
    }

    /// The request of an operation, for more headers or other bodies.
    pub fn request(&self, method: &str, template: &str, values: &[&str]) -> reqwest::RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let url = format!("{}{}", self.base, filled(template, values));
        self.http.request(method, url).header("Coder-Session-Token", &self.token)
    }

    /// Sends a request of an operation.
    pub async fn send(
        &mut self,
        method: &str,
        template: &str,
        request: reqwest::RequestBuilder,
        code: u16,
    ) -> Step {
        let answer = request.send().await.unwrap_or_else(|e| panic!("{method} {template}: {e:?}"));
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let bytes = answer.bytes().await.unwrap_or_else(|e| panic!("{method} {template}: {e:?}"));
        assert_eq!(status, code, "{method} {template}: {}", String::from_utf8_lossy(&bytes));
        assert!(code != 204 || bytes.is_empty(), "{method} {template}: a body with 204");
        self.note(method, template);
        Step { headers, body: serde_json::from_slice(&bytes).unwrap_or(Value::Null) }
    }

    /// Opens a WebSocket and lets it go.
    pub async fn socket(&mut self, template: &str, values: &[&str], authorization: Option<&str>) {
        let url = format!("{}{}", self.base.replacen("http", "ws", 1), filled(template, values));
        let mut request = url.into_client_request().expect("a URL");
        let (name, value) = match authorization {
            Some(token) => ("authorization", format!("Bearer {token}")),
            None => ("coder-session-token", self.token.clone()),
        };
        request.headers_mut().insert(name, value.parse().expect("plain text"));
        let (_, answer) =
            tokio_tungstenite::connect_async(request).await.unwrap_or_else(|e| panic!("{template}: {e}"));
        assert_eq!(answer.status().as_u16(), 101, "{template}");
        self.note("GET", template);
    }

    /// Operations of the document that were not called, and calls that the document does not have.
    pub async fn differences(&self, api: &Api) -> (Vec<Operation>, Vec<Operation>) {
        let document = api.get("//openapi.json").await.json(200);
        let paths = document["paths"].as_object().expect("paths");
        let mut known = BTreeSet::new();
        for (path, operations) in paths {
            for method in operations.as_object().expect("operations").keys() {
                if ["get", "put", "post", "patch", "delete"].contains(&method.as_str()) {
                    known.insert((method.to_uppercase(), path.clone()));
                }
            }
        }
        known.remove(&(OF_REPLICAS.0.to_owned(), OF_REPLICAS.1.to_owned()));
        let left = known.difference(&self.called).cloned().collect();
        (left, self.called.difference(&known).cloned().collect())
    }
}
