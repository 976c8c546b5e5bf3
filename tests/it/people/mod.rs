//! Several people on one deployment: how they sign in, what they may do, what they belong to, and how
//! they are kept out.

mod access;
mod accounts;
mod limits;
mod login;
mod operator;
mod organizations;

use crate::support::{client::Api, daemon::DaemonProcess};
use serde_json::{Value, json};

/// A path that needs a caller.
const ME: &str = "/api/v2/users/me";
const USERS: &str = "/api/v2/users";
const PASSWORD: &str = "correct horse battery";

/// Makes a user with a password and returns it.
async fn make(admin: &Api, name: &str, more: Value) -> Value {
    let mut body = json!({ "username": name, "email": format!("{name}@example.test"), "password": PASSWORD });
    for (key, value) in more.as_object().into_iter().flatten() {
        body[key] = value.clone();
    }
    admin.post(USERS, body).await.json(201)
}

/// Signs in with the password of [`make`].
async fn sign_in(daemon: &DaemonProcess, name: &str) -> Api {
    let body = json!({ "email": format!("{name}@example.test"), "password": PASSWORD });
    let answer = Api::new(daemon.url(), None).post("/api/v2/users/login", body).await.json(201);
    let token = answer["session_token"].as_str().expect("a session token");
    daemon.api_as(token)
}

/// Makes a user and signs in.
pub async fn person(daemon: &DaemonProcess, name: &str, more: Value) -> Api {
    make(&daemon.api(), name, more).await;
    sign_in(daemon, name).await
}

/// Names of the roles of a user.
fn roles(user: &Value) -> Vec<&str> {
    user["roles"].as_array().expect("roles").iter().map(|r| r["name"].as_str().expect("a name")).collect()
}
