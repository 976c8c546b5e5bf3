//! Who gets in, what they may do, and what is not there.

use super::support::{Engine, NOW, on_both, world, world_with};
use crate::{
    api::{ApiSettings, routes, token},
    bus::Notice,
    chat::state::State,
};
use actix_web::test::TestRequest;
use serde_json::{Value, json};
use std::time::Duration;

on_both![
    only_a_good_token_opens_the_door,
    a_suspended_user_is_out_as_soon_as_the_hint_arrives,
    others_see_nothing_and_admins_may_read_and_update,
    without_auth_everybody_is_the_first_admin,
    users_and_the_deployment,
    models_are_shown_and_not_written,
    what_is_not_there_is_404_with_a_body_and_what_is_there_is_not,
    readiness_and_request_ids,
];

async fn only_a_good_token_opens_the_door(on: Engine) {
    let world = world(on).await;
    let expired = token::mint(world.owner_id, NOW, Some(NOW));
    world.state.store.create_token(expired.record).await.unwrap();
    let later = token::mint(world.owner_id, NOW, Some(NOW + Duration::from_secs(1)));
    world.state.store.create_token(later.record).await.unwrap();
    let wrong = format!("{}-{}", &world.owner[..10], "x".repeat(22));
    for (text, status) in [
        ("", 401),
        ("nonsense", 401),
        (wrong.as_str(), 401),
        (expired.text.as_str(), 401),
        (later.text.as_str(), 200),
        (world.owner.as_str(), 200),
    ] {
        assert_eq!(world.call(text, "GET", "", Value::Null).await.status, status, "{text}");
    }
    let bearer = TestRequest::with_uri("/api/v2/users/me")
        .insert_header(("Authorization", format!("Bearer {}", world.owner)));
    assert_eq!(world.raw(bearer).await.body["username"], "owner");
    let query = format!("/api/v2/users/me?coder_session_token={}", world.owner);
    assert_eq!(world.raw(TestRequest::with_uri(&query)).await.status, 200);

    let cookie = format!("coder_session_token={}; csrf_token=abc", world.owner);
    let post = || {
        TestRequest::post()
            .uri("/api/experimental/chats")
            .insert_header(("Cookie", cookie.clone()))
            .set_payload(world.create_body("x").to_string())
    };
    assert_eq!(world.raw(post()).await.status, 403);
    assert_eq!(world.raw(post().insert_header(("X-CSRF-TOKEN", "abc"))).await.status, 201);
}

async fn a_suspended_user_is_out_as_soon_as_the_hint_arrives(on: Engine) {
    let world = world(on).await;
    assert_eq!(world.own("GET", "", Value::Null).await.status, 200);
    world.state.store.set_suspended(world.owner_id, true, NOW).await.unwrap();
    world.state.notices.on(
        &Notice::Access { user: world.owner_id },
        &world.state.tokens,
        &world.state.mcp_servers,
    );
    let out = world.own("GET", "", Value::Null).await;
    assert_eq!(out.status, 401, "{out:?}");
}

async fn others_see_nothing_and_admins_may_read_and_update(on: Engine) {
    let world = world(on).await;
    let message = json!({"content": [{"type": "text", "text": "a"}]});
    let calls = |chat: &str| {
        [
            ("GET", format!("/{chat}"), Value::Null, 200),
            ("GET", format!("/{chat}/messages"), Value::Null, 200),
            ("PATCH", format!("/{chat}"), json!({"title": "by admin"}), 204),
            ("POST", format!("/{chat}/messages"), message.clone(), 403),
            ("PATCH", format!("/{chat}/messages/1"), message.clone(), 403),
            ("POST", format!("/{chat}/queue/1/promote"), Value::Null, 403),
            ("POST", format!("/{chat}/tool-results"), json!({"results": []}), 403),
            ("POST", format!("/{chat}/compact"), Value::Null, 403),
            ("POST", format!("/{chat}/clear"), Value::Null, 403),
            ("POST", format!("/{chat}/reconcile-invalid"), Value::Null, 409),
            ("POST", format!("/{chat}/interrupt"), Value::Null, 200),
            ("DELETE", format!("/{chat}/queue/999"), Value::Null, 404),
        ]
    };
    let chat = world.chat_in(State::R1).await.to_string();
    for (method, path, body, expected) in calls(&chat) {
        let answer = world.call(&world.stranger, method, &path, body.clone()).await;
        assert_eq!(answer.status, 404, "{method} {path} {answer:?}");
        assert_eq!(answer.body["message"], "Chat not found.");
        let answer = world.call(&world.admin, method, &path, body).await;
        assert_eq!(answer.status, expected, "{method} {path} {answer:?}");
    }
    let seen = world.call(&world.admin, "GET", &format!("/{chat}"), Value::Null).await;
    assert_eq!(seen.body["owner_username"], "owner");
    let missing = "/11111111-1111-4111-8111-111111111111";
    assert_eq!(world.own("GET", missing, Value::Null).await.status, 404);
    assert_eq!(world.own("GET", "/nonsense", Value::Null).await.status, 400);
}

async fn without_auth_everybody_is_the_first_admin(on: Engine) {
    let world = world_with(on, ApiSettings { open_to_all: true, ..ApiSettings::default() }).await;
    let me = world.raw(TestRequest::with_uri("/api/v2/users/me")).await;
    assert_eq!(me.body["username"], "admin", "{me:?}");
    assert_eq!(me.body["roles"][0], json!({"name": "owner", "display_name": "Owner"}));
    let foreign = TestRequest::post()
        .uri("/api/experimental/chats")
        .insert_header(("Origin", "https://evil.test"))
        .set_payload(world.create_body("x").to_string());
    assert_eq!(world.raw(foreign).await.status, 403);
}

async fn users_and_the_deployment(on: Engine) {
    let world = world(on).await;
    let me = world.own("GET", "/api/v2/users/me", Value::Null).await.body;
    assert_eq!((&me["status"], &me["organization_ids"]), (&json!("active"), &json!([world.organization])));
    for path in ["owner".to_owned(), world.owner_id.to_string()] {
        assert_eq!(
            world.own("GET", &format!("/api/v2/users/{path}"), Value::Null).await.body["id"],
            me["id"]
        );
    }
    assert_eq!(world.own("GET", "/api/v2/users/admin", Value::Null).await.status, 404);
    assert_eq!(
        world.call(&world.admin, "GET", "/api/v2/users/owner", Value::Null).await.body["id"],
        me["id"]
    );
    for path in ["/api/v2/organizations", "/api/v2/users/me/organizations"] {
        assert_eq!(world.own("GET", path, Value::Null).await.body[0]["is_default"], true);
    }
    let info = world.raw(TestRequest::with_uri("/api/v2/buildinfo")).await;
    assert_eq!((info.status, &info.body["telemetry"]), (200, &json!(false)));
    assert_eq!(world.own("GET", "/api/v2/entitlements", Value::Null).await.body["features"], json!({}));
    assert_eq!(world.own("GET", "/api/v2/experiments", Value::Null).await.status, 200);
}

async fn models_are_shown_and_not_written(on: Engine) {
    let world = world(on).await;
    let shown = world.own("GET", "/model-configs", Value::Null).await.body;
    assert_eq!(shown.as_array().unwrap().len(), 1, "{shown}");
    assert_eq!((&shown[0]["display_name"], &shown[0]["is_default"]), (&json!("one"), &json!(true)));
    let all = world.call(&world.admin, "GET", "/model-configs", Value::Null).await.body;
    assert_eq!(all.as_array().unwrap().len(), 2);
    assert_eq!(world.own("GET", "/models", Value::Null).await.body["providers"][0]["available"], true);
    assert_eq!(world.own("GET", "/providers", Value::Null).await.status, 404);
    assert_eq!(
        world.call(&world.admin, "GET", "/providers", Value::Null).await.body[0]["provider"],
        "scripted"
    );
    let id = shown[0]["id"].as_str().unwrap();
    for (method, path, expected) in [
        ("POST", "/model-configs".to_owned(), 400),
        ("PATCH", format!("/model-configs/{id}"), 403),
        ("DELETE", format!("/model-configs/{id}"), 403),
        ("DELETE", "/model-configs/11111111-1111-4111-8111-111111111111".to_owned(), 404),
        ("DELETE", "/model-configs/x".to_owned(), 400),
        ("POST", "/providers".to_owned(), 400),
        ("DELETE", format!("/providers/{id}"), 404),
    ] {
        let answer = world.call(&world.admin, method, &path, json!({})).await;
        assert_eq!(answer.status, expected, "{method} {path} {answer:?}");
    }
}

async fn what_is_not_there_is_404_with_a_body_and_what_is_there_is_not(on: Engine) {
    let world = world(on).await;
    let chat = world.chat().await;
    for (method, path) in [
        ("GET", "/api/nothing".to_owned()),
        ("GET", "/config/unheard-of".to_owned()),
        ("GET", "/usage-limits/unheard-of".to_owned()),
        ("GET", "/by-workspace/x".to_owned()),
        ("GET", format!("/{chat}/context")),
        ("GET", "/api/v2/chats/models".to_owned()),
        ("GET", "/api/v2/chats/model-configs".to_owned()),
        ("GET", "/api/v2/chats/providers".to_owned()),
        ("GET", "/api/v2/chats/user-provider-configs/x".to_owned()),
    ] {
        let answer = world.own(method, &path, Value::Null).await;
        assert_eq!(answer.status, 404, "{method} {path}");
        assert_eq!(answer.body, json!({"message": "Route not found."}), "{method} {path}");
    }
    // What is there for other methods says for which.
    for (method, path) in
        [("GET", "/files".to_owned()), ("PATCH", "/watch".to_owned()), ("PUT", format!("/{chat}"))]
    {
        let answer = world.own(method, &path, Value::Null).await;
        assert_eq!(
            (answer.status, &answer.body["message"]),
            (405, &json!("Method not allowed.")),
            "{method} {path}"
        );
    }
    for (path, route) in routes::all() {
        let path = path
            .replace("{chat}", &chat.to_string())
            .replace("{message}", "1")
            .replace("{queued}", "1")
            .replace("{user}", "me");
        let answer = world.raw(TestRequest::with_uri(&path).method(route.method.parse().unwrap())).await;
        if path != "/metrics" {
            assert_ne!(answer.body["message"], "Route not found.", "{} {path}", route.method);
        }
    }
}

async fn readiness_and_request_ids(on: Engine) {
    let world = world(on).await;
    assert_eq!(world.raw(TestRequest::with_uri("/readyz")).await.status, 200);
    let answer = world.raw(TestRequest::with_uri("/healthz").insert_header(("X-Request-Id", "abc-1"))).await;
    assert_eq!((answer.status, answer.header("x-request-id")), (200, Some("abc-1")));
    let odd = world.raw(TestRequest::with_uri("/healthz").insert_header(("X-Request-Id", "a b"))).await;
    assert_eq!(odd.header("x-request-id").unwrap().len(), 36);
    world.draining.send(true).unwrap();
    let stopping = world.raw(TestRequest::with_uri("/readyz")).await;
    assert_eq!((stopping.status, stopping.header("retry-after")), (503, Some("1")));
    // A broken row: the cause stays in the log, the caller gets the id to look for.
    let chat = world.chat().await;
    world.break_status_of(chat).await;
    let broken = world.own("GET", &format!("/{chat}"), Value::Null).await;
    assert_eq!(broken.status, 500, "{broken:?}");
    let id = broken.header("x-request-id").unwrap();
    assert!(broken.body["detail"].as_str().unwrap().contains(id), "{broken:?}");
    assert!(!broken.text.contains("canary"));
}
