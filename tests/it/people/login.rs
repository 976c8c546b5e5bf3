//! Passwords, sessions, login links.

use super::{ME, PASSWORD, make, person, sign_in};
use crate::support::{both, client::Api, daemon::DaemonProcess};
use reqwest::{Method, header::HeaderMap};
use serde_json::{Value, json};

const LOGIN: &str = "/api/v2/users/login";

fn cookies(headers: &HeaderMap) -> Vec<String> {
    headers.get_all("set-cookie").iter().map(|v| v.to_str().unwrap().to_owned()).collect()
}

/// The value of a cookie that was set.
fn value<'a>(cookies: &'a [String], name: &str) -> &'a str {
    let line = cookies.iter().find_map(|c| c.strip_prefix(name)?.strip_prefix('='));
    line.and_then(|rest| rest.split(';').next()).unwrap_or_else(|| panic!("{name}: {cookies:?}"))
}

/// Follows a link as far as its first answer.
async fn visit(url: &str) -> (u16, HeaderMap, Value) {
    let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
    let answer = client.build().unwrap().get(url).send().await.unwrap();
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    let body = answer.bytes().await.unwrap();
    (status, headers, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

/// The login link in a text, at the address of this daemon.
fn link(daemon: &DaemonProcess, text: &str) -> String {
    let (_, rest) = text.rsplit_once("/login/once?token=").unwrap_or_else(|| panic!("no link: {text}"));
    let token = rest.split_whitespace().next().unwrap();
    format!("{}/login/once?token={token}", daemon.url())
}

both! {
    async fn a_password_opens_a_session_and_logging_out_ends_it(h: Harness) {
        let daemon = h.daemon().await;
        let admin = daemon.api();
        let ann = make(&admin, "ann", json!({})).await;
        assert_eq!(ann["login_type"], "password");
        h.log.forbid(PASSWORD);
        let nobody = Api::new(daemon.url(), None);
        // Either name will do; addresses do not care for case.
        for login in ["ann@example.test", "ANN@Example.test", "ann"] {
            let body = json!({ "email": login, "password": PASSWORD });
            let answer = nobody.post(LOGIN, body).await;
            let cookies = cookies(&answer.headers);
            let token = answer.json(201)["session_token"].as_str().unwrap().to_owned();
            assert_eq!(value(&cookies, "coder_session_token"), token);
            let find = |name: &str| cookies.iter().find(|c| c.starts_with(name)).unwrap();
            let session = find("coder_session_token=");
            for flag in ["; HttpOnly", "; SameSite=Lax", "; Path=/", "; Max-Age=2592000"] {
                assert!(session.contains(flag), "{session}");
            }
            let csrf = find("csrf_token=");
            assert!(!csrf.contains("HttpOnly") && !csrf.contains("Secure") && !session.contains("Secure"), "{csrf}");
            assert_eq!(daemon.api_as(&token).get(ME).await.json(200)["id"], ann["id"]);
        }
        // A wrong password, an unknown user and one without password are answered alike.
        daemon.token_for("bob", &[]).await;
        let mut said = Vec::new();
        for (login, password) in [("ann", "wrong"), ("zoe@example.test", PASSWORD), ("bob", PASSWORD), ("a\0b", "x")] {
            said.push(nobody.post(LOGIN, json!({ "email": login, "password": password })).await.problem(401));
        }
        assert!(said.windows(2).all(|w| w[0] == w[1]), "{said:?}");
        for missing in [json!({}), json!({ "email": "ann" }), json!({ "password": "x" }), json!({ "email": "", "password": "x" })] {
            assert!(nobody.post(LOGIN, missing).await.problem(400)["validations"][0]["field"].is_string());
        }
        let evil = [("Origin", "https://evil.example")];
        let body = json!({ "email": "ann", "password": PASSWORD });
        nobody.try_call_with(Method::POST, LOGIN, Some(&body), &evil).await.unwrap().problem(403);

        // In a browser: the cookie alone changes nothing, with the other one's value it does.
        let answer = nobody.post(LOGIN, body).await;
        let set = cookies(&answer.headers);
        let (session, csrf) = (value(&set, "coder_session_token"), value(&set, "csrf_token"));
        let both = format!("coder_session_token={session}; csrf_token={csrf}");
        let out = async |headers: &[(&str, &str)]| {
            nobody.try_call_with(Method::POST, "/api/v2/users/logout", None, headers).await.unwrap()
        };
        out(&[("Cookie", &both)]).await.problem(403);
        let done = out(&[("Cookie", &both), ("X-CSRF-TOKEN", csrf)]).await;
        let gone = cookies(&done.headers);
        assert!(gone.iter().all(|c| c.contains("Max-Age=0")) && gone.len() == 2, "{gone:?}");
        assert!(done.json(200)["message"].is_string());
        out(&[("Cookie", &both), ("X-CSRF-TOKEN", csrf)]).await.problem(401);
        daemon.api_as(session).get(ME).await.problem(401);
    }

    async fn a_deployment_behind_https_sets_secure_cookies(h: Harness) {
        h.configure("[server]\npublic_url = \"https://chat.test\"\n[auth]\nsession_ttl = \"1h\"");
        let daemon = h.daemon().await;
        make(&daemon.api(), "ann", json!({})).await;
        let body = json!({ "email": "ann", "password": PASSWORD });
        let answer = Api::new(daemon.url(), None).post(LOGIN, body).await;
        let set = cookies(&answer.headers);
        assert!(set.len() == 2 && set.iter().all(|c| c.contains("; Secure") && c.contains("Max-Age=3600")), "{set:?}");
    }

    async fn a_login_link_works_once(h: Harness) {
        let mut daemon = h.daemon().await;
        let first = link(&daemon, &h.log.tail());
        // Whoever only looks at it, such as a program that shows what is behind a link, does not use it up.
        let looked = reqwest::Client::builder().no_proxy().build().unwrap().head(&first).send().await.unwrap();
        assert_eq!(looked.status(), 405);
        let (status, headers, _) = visit(&first).await;
        assert_eq!(status, 303);
        assert!(headers["location"].to_str().unwrap().starts_with('/'), "{headers:?}");
        let set = cookies(&headers);
        let me = daemon.api_as(value(&set, "coder_session_token")).get(ME).await.json(200);
        assert_eq!((&me["username"], crate::people::roles(&me)[0]), (&json!("admin"), "owner"));
        let (status, headers, body) = visit(&first).await;
        assert_eq!(status, 401, "{body}");
        assert!(cookies(&headers).is_empty() && body["message"].is_string(), "{body}");

        let again = async || {
            let ran = daemon.command(&["user", "login-link", "admin"]).await;
            assert_eq!((ran.status, ran.out.lines().count()), (0, 1), "{ran:?}");
            assert!(ran.out.starts_with(daemon.url()), "the port of this start: {ran:?}");
            link(&daemon, &ran.out)
        };
        // A new one ends the one before.
        let (older, newer) = (again().await, again().await);
        assert_eq!(visit(&older).await.0, 401);
        let secret = newer.rsplit_once('-').unwrap().0;
        assert_eq!(visit(&format!("{secret}-{}", "x".repeat(22))).await.0, 401);
        assert_eq!(visit(&newer).await.0, 303);
        let late = again().await;
        h.execute(&daemon, match h.engine {
            crate::support::Engine::Sqlite => "UPDATE login_links SET expires_at = 1",
            crate::support::Engine::Postgres => "UPDATE login_links SET expires_at = now()",
        }).await;
        assert_eq!(visit(&late).await.0, 401);
        assert_eq!(visit(&format!("{}/login/once", daemon.url())).await.0, 400);
        let missing = daemon.command(&["user", "login-link", "nobody"]).await;
        assert_eq!((missing.status, missing.out.as_str()), (1, ""), "{missing:?}");
        // Two who follow one link at once: one comes in.
        let raced = again().await;
        let (a, b) = tokio::join!(visit(&raced), visit(&raced));
        let mut statuses = [a.0, b.0];
        statuses.sort_unstable();
        assert_eq!(statuses, [303, 401]);
        let printed = h.log.tail().matches("/login/once?token=").count();
        daemon.stop().await;
        daemon.restart().await;
        assert_eq!(h.log.tail().matches("/login/once?token=").count(), printed, "a later start has printed a link");
    }

    async fn a_new_password_ends_the_other_sessions(h: Harness) {
        let daemon = h.daemon().await;
        let here = person(&daemon, "ann", json!({})).await;
        let there = sign_in(&daemon, "ann").await;
        let token = here.post("/api/v2/users/me/keys/tokens", json!({ "name": "ci" })).await.json(201);
        let path = "/api/v2/users/me/password";
        let set = async |api: &Api, body: Value| api.put(path, body).await;
        set(&here, json!({ "password": "another horse" })).await.problem(400);
        set(&here, json!({ "password": "another horse", "old_password": "wrong" })).await.problem(400);
        set(&here, json!({ "password": "short", "old_password": PASSWORD })).await.problem(400);
        there.get(ME).await.json(200);
        set(&here, json!({ "password": "another horse", "old_password": PASSWORD })).await.empty(204);
        here.get(ME).await.json(200);
        there.get(ME).await.problem(401);
        daemon.api_as(token["key"].as_str().unwrap()).get(ME).await.json(200);
        let nobody = Api::new(daemon.url(), None);
        nobody.post(LOGIN, json!({ "email": "ann", "password": PASSWORD })).await.problem(401);
        nobody.post(LOGIN, json!({ "email": "ann", "password": "another horse" })).await.json(201);
        // An administrator needs no old one; somebody else may not.
        let admin = daemon.api();
        admin.put("/api/v2/users/ann/password", json!({ "password": "given by the admin" })).await.empty(204);
        here.get(ME).await.problem(401);
        let bob = person(&daemon, "bob", json!({})).await;
        bob.put("/api/v2/users/ann/password", json!({ "password": "given by bob" })).await.problem(404);
        // On the machine itself.
        let ran = daemon.command_with_input(&["user", "password", "ann"], "given on the machine\n").await;
        assert_eq!(ran.status, 0, "{ran:?}");
        nobody.post(LOGIN, json!({ "email": "ann", "password": "given on the machine" })).await.json(201);
    }

    async fn tokens_are_listed_named_and_revoked(h: Harness) {
        let daemon = h.daemon().await;
        let ann = person(&daemon, "ann", json!({})).await;
        let keys = "/api/v2/users/me/keys/tokens";
        let made = ann.post(keys, json!({ "name": "ci", "lifetime": 3_600_000_000_000_i64 })).await.json(201);
        let (id, key) = (made["id"].as_str().unwrap(), made["key"].as_str().unwrap());
        assert!(key.starts_with(id) && key.len() == 33 && made["expires_at"].is_string(), "{made}");
        let ci = daemon.api_as(key);
        ci.get(ME).await.json(200);
        let list = ann.get(keys).await.json(200);
        assert!(!list.to_string().contains(key) && !list.to_string().contains("hash"), "{list}");
        let of = |kind: &str| list.as_array().unwrap().iter().find(|t| t["kind"] == kind).unwrap().clone();
        assert_eq!((&of("token")["name"], &of("token")["current"]), (&json!("ci"), &json!(false)));
        assert_eq!((&of("session")["created_from"], &of("session")["current"]), (&json!("127.0.0.1"), &json!(true)));
        for bad in [
            json!({ "lifetime": -1 }),
            json!({ "expires_at": "2020-01-01T00:00:00Z" }),
            json!({ "expires_at": "2099-01-01T00:00:00Z", "lifetime": 1 }),
            json!({ "name": "a\nb" }),
        ] {
            ann.post(keys, bad).await.problem(400);
        }
        // Somebody else's is not there.
        let bob = person(&daemon, "bob", json!({})).await;
        bob.delete(&format!("/api/v2/users/me/keys/{id}")).await.problem(404);
        bob.delete(&format!("/api/v2/users/ann/keys/{id}")).await.problem(404);
        bob.get("/api/v2/users/ann/keys/tokens").await.problem(404);
        bob.post("/api/v2/users/ann/keys/tokens", json!({})).await.problem(404);
        ci.get(ME).await.json(200);
        daemon.api().delete(&format!("/api/v2/users/ann/keys/{id}")).await.empty(204);
        ci.get(ME).await.problem(401);
        ann.delete(&format!("/api/v2/users/me/keys/{id}")).await.problem(404);
        ann.get(ME).await.json(200);
    }
}
