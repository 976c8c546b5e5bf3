//! How a user is connected to a tool server.

use super::{authority::Authority, made, server};
use crate::support::{
    both,
    client::{Answer, Api},
};
use reqwest::{Method, Url};
use serde_json::{Value, json};
use std::collections::HashMap;

/// A browser: it follows nothing by itself and keeps the cookies of one exchange.
struct Window {
    http: reqwest::Client,
    token: String,
    base: String,
}

struct Sent {
    location: Url,
    query: HashMap<String, String>,
    cookies: Vec<String>,
}

impl Window {
    fn new(base: &str, token: &str) -> Self {
        let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        Self { http: http.build().expect("a client"), token: token.into(), base: base.into() }
    }

    async fn get(&self, path: &str, cookies: &str) -> reqwest::Response {
        let url = format!("{}/api/experimental{path}", self.base);
        let request = self.http.get(url).header("Coder-Session-Token", &self.token).header("cookie", cookies);
        request.send().await.expect("an answer")
    }

    async fn connect(&self, id: &str) -> Sent {
        let answer = self.get(&format!("/mcp/servers/{id}/oauth2/connect"), "").await;
        assert_eq!(answer.status().as_u16(), 307);
        let cookies = answer.headers().get_all("set-cookie").iter();
        let cookies: Vec<String> = cookies.map(|c| c.to_str().expect("text").to_owned()).collect();
        let location = Url::parse(answer.headers()["location"].to_str().expect("text")).expect("a URL");
        let query = location.query_pairs().map(|(k, v)| (k.into_owned(), v.into_owned())).collect();
        Sent { location, query, cookies }
    }

    async fn come_back(&self, id: &str, sent: &Sent, query: &str) -> (u16, String) {
        let pairs: Vec<_> = sent.cookies.iter().map(|c| c.split(';').next().unwrap_or_default()).collect();
        let answer = self.get(&format!("/mcp/servers/{id}/oauth2/callback?{query}"), &pairs.join("; ")).await;
        (answer.status().as_u16(), answer.text().await.expect("a body"))
    }
}

fn oauth(at: &Authority, over: Value) -> Value {
    let mut body = server("guarded", json!({ "auth_type": "oauth2", "url": format!("{}/mcp", at.url) }));
    for (key, value) in over.as_object().expect("an object") {
        body[key] = value.clone();
    }
    body
}

fn id(server: &Value) -> String {
    server["id"].as_str().expect("an id").to_owned()
}

async fn connected(api: &Api, id: &str) -> Value {
    api.get(&format!("/mcp/servers/{id}")).await.json(200)["auth_connected"].clone()
}

async fn disconnect(api: &Api, id: &str) -> Answer {
    api.call(Method::DELETE, &format!("/mcp/servers/{id}/oauth2/disconnect"), None).await
}

both! {
    async fn a_client_is_discovered_and_a_user_connected(h: Harness) {
        let at = Authority::start().await;
        let daemon = h.daemon().await;
        let api = daemon.api();
        let made = made(&api, oauth(&at, json!({}))).await;
        assert_eq!(made["oauth2_client_id"], json!("made-for-you"));
        assert_eq!(made["oauth2_token_url"], json!(format!("{}/token", at.url)));
        assert_eq!((&made["oauth2_scopes"], &made["auth_connected"]), (&json!("read write"), &json!(false)));
        let id = id(&made);
        let callback = format!("{}/api/experimental/mcp/servers/{id}/oauth2/callback", daemon.url());
        let asked: Value = serde_json::from_str(&at.seen("/register")[0].body).expect("JSON");
        assert_eq!(asked["redirect_uris"], json!([callback]));
        assert_eq!(asked["token_endpoint_auth_method"], json!("none"));

        let eve = daemon.token_for("eve", &[]).await;
        let (window, eve) = (Window::new(daemon.url(), &eve), daemon.api_as(&eve));
        let sent = window.connect(&id).await;
        assert_eq!(sent.location.path(), "/authorize");
        let q = |key: &str| sent.query.get(key).map(String::as_str).unwrap_or_default();
        assert_eq!((q("tenant"), q("response_type"), q("client_id")), ("a", "code", "made-for-you"));
        assert_eq!((q("redirect_uri"), q("code_challenge_method"), q("scope")), (callback.as_str(), "S256", "read write"));
        assert_eq!((q("code_challenge").len(), q("resource")), (43, format!("{}/mcp", at.url).as_str()));
        assert_eq!(sent.cookies.len(), 2);
        for (cookie, name) in sent.cookies.iter().zip(["state", "verifier"]) {
            assert!(cookie.starts_with(&format!("mcp_oauth2_{name}_{id}=")), "{cookie}");
            let rest = format!("; Path=/api/experimental/mcp/servers/{id}/oauth2/callback; Max-Age=600; HttpOnly; SameSite=Lax");
            assert!(cookie.ends_with(&rest), "{cookie}");
        }
        let state = q("state");
        for wrong in ["code=c".to_owned(), "code=c&state=x".into(), format!("state={state}"), format!("error=access_denied&state={state}")] {
            assert_eq!(window.come_back(&id, &sent, &wrong).await.0, 400, "{wrong}");
        }
        assert!(at.seen("/token").is_empty());
        at.answer("/token", 400, json!({ "error": "invalid_grant", "error_description": "canary-description" }));
        let (status, text) = window.come_back(&id, &sent, &format!("code=c&state={state}")).await;
        assert!(status == 502 && text.contains("invalid_grant") && !text.contains("canary"), "{status} {text}");
        assert_eq!(connected(&eve, &id).await, json!(false));
        at.answer("/token", 200, json!({ "access_token": "canary-access-1", "token_type": "bearer", "expires_in": "3600", "refresh_token": "canary-refresh-1" }));
        let (status, page) = window.come_back(&id, &sent, &format!("code=c&state={state}")).await;
        assert_eq!(status, 200, "{page}");
        assert!(page.contains(r#""type":"mcp-oauth2-complete""#) && page.contains(&format!(r#""serverID":"{id}""#)), "{page}");
        let form = at.seen("/token")[1].form();
        assert_eq!((form["grant_type"].as_str(), form["code"].as_str(), form["client_id"].as_str()), ("authorization_code", "c", "made-for-you"));
        assert_eq!((form["redirect_uri"].as_str(), form["code_verifier"].len()), (callback.as_str(), 43));
        assert_eq!((connected(&eve, &id).await, connected(&api, &id).await), (json!(true), json!(false)), "the token is the user's own");
        // Sealed at rest.
        let stored = h.number(&daemon, "SELECT count(*) AS n FROM mcp_user_tokens WHERE refresh_token IS NOT NULL").await;
        assert_eq!(stored, 1);
        disconnect(&eve, &id).await.empty(204);
        disconnect(&eve, &id).await.empty(204);
        assert_eq!(connected(&eve, &id).await, json!(false));
    }

    async fn another_client_or_address_ends_the_tokens_and_another_name_does_not(h: Harness) {
        let at = Authority::start().await;
        let daemon = h.daemon().await;
        let api = daemon.api();
        let given = json!({ "oauth2_client_id": "mine", "oauth2_client_secret": "canary-client", "oauth2_auth_url": format!("{}/authorize", at.url), "oauth2_token_url": format!("{}/token", at.url) });
        let made = made(&api, oauth(&at, given)).await;
        assert!(at.seen("/register").is_empty() && made["has_oauth2_secret"] == json!(true), "{made}");
        let id = id(&made);
        let window = Window::new(daemon.url(), &daemon.token());
        let connect = async || {
            let sent = window.connect(&id).await;
            let state = &sent.query["state"];
            let (status, page) = window.come_back(&id, &sent, &format!("code=c&state={state}")).await;
            assert_eq!((status, connected(&api, &id).await), (200, json!(true)), "{page}");
        };
        connect().await;
        // A client with a secret shows it in the header, encoded.
        let basic = at.seen("/token")[0].headers["authorization"].clone();
        assert_eq!(basic, "Basic bWluZTpjYW5hcnktY2xpZW50");
        let path = format!("/mcp/servers/{id}");
        api.patch(&path, json!({ "display_name": "Renamed", "oauth2_scopes": "more" })).await.json(200);
        assert_eq!(connected(&api, &id).await, json!(true));
        api.patch(&path, json!({ "oauth2_client_id": "another" })).await.json(200);
        assert_eq!(connected(&api, &id).await, json!(false));
        connect().await;
        api.patch(&path, json!({ "auth_type": "none" })).await.json(200);
        assert_eq!(connected(&api, &id).await, json!(true), "nothing to connect");
        assert_eq!(h.number(&daemon, "SELECT count(*) AS n FROM mcp_user_tokens").await, 0);
        let refused = window.get(&format!("/mcp/servers/{id}/oauth2/connect"), "").await;
        assert_eq!(refused.status().as_u16(), 400);
        api.patch(&path, json!({ "enabled": false })).await.json(200);
        assert_eq!(window.get(&format!("/mcp/servers/{id}/oauth2/connect"), "").await.status().as_u16(), 400);
    }

    async fn a_server_cannot_send_the_daemon_into_its_own_network(h: Harness) {
        let at = Authority::start().await;
        let daemon = h.daemon().await;
        let api = daemon.api();
        // Another machine, as far as names go.
        let inside = at.url.replace("127.0.0.1", "localhost");
        for over in [
            json!({ "token_endpoint": format!("{inside}/token") }),
            json!({ "registration_endpoint": format!("{inside}/register") }),
            json!({ "authorization_endpoint": "https://10.0.0.1/authorize" }),
            json!({ "registration_endpoint": "https://[::1]/register" }),
            json!({ "issuer": "https://somebody.else" }),
            json!({ "code_challenge_methods_supported": ["plain"] }),
            json!({ "registration_endpoint": null }),
            json!({ "token_endpoint": null }),
        ] {
            at.metadata(over.clone());
            let problem = api.post("/mcp/servers", oauth(&at, json!({}))).await.problem(400);
            assert!(problem["detail"].as_str().is_some_and(|d| d.contains("oauth2_client_id")), "{over}: {problem}");
        }
        at.metadata(json!({}));
        at.answer("/.well-known/oauth-protected-resource/mcp", 200, json!({ "authorization_servers": [format!("{inside}/as")] }));
        api.post("/mcp/servers", oauth(&at, json!({}))).await.problem(400);
        assert!(at.seen("/register").is_empty() && at.seen("/token").is_empty());
        assert_eq!(api.get("/mcp/servers").await.json(200), json!([]), "nothing was kept");
        let nobody = json!({ "url": "http://127.0.0.1:9/mcp" });
        api.post("/mcp/servers", oauth(&at, nobody)).await.problem(400);
    }
}
