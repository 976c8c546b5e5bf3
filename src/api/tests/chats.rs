//! Create, list, get, patch, messages: fields, presence, paging, repeatability.

use super::support::{Engine, NOW, on_both, world, world_with};
use crate::{
    api::{ApiSettings, commit},
    bus::{Notice, WatchKind},
    chat::{
        command::Command,
        state::{State, Status},
    },
    llm::catalog::model_id,
    store::commit::Commit,
};
use actix_web::test::TestRequest;
use serde_json::{Value, json};
use std::{pin::pin, time::Duration};

on_both![
    create_answers_the_chat_and_stores_its_rows,
    create_refuses_what_breaks_a_rule,
    lists_are_filtered_paged_and_searched,
    patch_checks_everything_before_it_changes_anything,
    messages_page_in_both_directions,
    a_repeated_request_gets_the_same_answer_and_does_nothing,
    a_compaction_that_was_accepted_can_be_repeated_when_nothing_is_left,
    bodies_have_a_size_an_encoding_and_a_shape,
    what_is_committed_is_announced_though_the_client_is_gone,
];

fn with(mut body: Value, key: &str, value: Value) -> Value {
    body[key] = value;
    body
}

async fn create_answers_the_chat_and_stores_its_rows(on: Engine) {
    let world = world(on).await;
    let mut body = world.create_body("one two three four five six seven");
    body["system_prompt"] = json!(" be brief ");
    body["labels"] = json!({"team": "a"});
    body["plan_mode"] = json!("plan");
    body["client_type"] = json!("ui");
    body["reasoning_effort"] = json!("high");
    let made = world.own("POST", "", body).await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(made.header("content-type"), Some("application/json; charset=utf-8"));
    let id = made.id();
    assert_eq!(
        made.body,
        json!({
            "id": id, "root_chat_id": id, "organization_id": world.organization, "owner_id": world.owner_id,
            "owner_username": "owner", "owner_name": "owner the tester",
            "last_model_config_id": model_id("one"), "last_reasoning_effort": "high",
            "title": "one two three four five six…", "status": "running", "plan_mode": "plan",
            "last_turn_summary": null, "created_at": NOW, "updated_at": NOW, "archived": false, "shared": false,
            "pin_order": 0, "mcp_server_ids": [], "labels": {"team": "a"}, "has_unread": false,
            "client_type": "ui", "children": []
        })
    );
    let history = world.state.store.history(id.parse().unwrap()).await.unwrap();
    assert_eq!(history.len(), 3, "the prompt of the deployment, the chat's, the message");
    assert_eq!(history[1].content.get(), r#"[{"type":"text","text":"be brief"}]"#);
    let page = world.own("GET", &format!("/{id}/messages"), Value::Null).await;
    let messages = page.body["messages"].as_array().unwrap();
    assert_eq!(messages.len(), 1, "the system row is hidden: {page:?}");
    assert_eq!(messages[0]["created_by"], json!(world.owner_id));
    assert_eq!((&page.body["queued_messages"], &page.body["has_more"]), (&json!([]), &json!(false)));
    let got = world.own("GET", &format!("/{id}"), Value::Null).await;
    assert_eq!(got.body["diff_status"]["chat_id"], json!(id));
    let v2 = world.own("GET", &format!("/api/v2/chats/{id}"), Value::Null).await;
    assert_eq!(v2.body, got.body);
}

async fn create_refuses_what_breaks_a_rule(on: Engine) {
    let world = world(on).await;
    let good = world.create_body("x");
    let uuid = "11111111-1111-4111-8111-111111111111";
    let nil = "00000000-0000-0000-0000-000000000000";
    for (key, value, status) in [
        ("organization_id", Value::Null, 400),
        ("organization_id", json!(nil), 400),
        ("organization_id", json!("x"), 400),
        ("organization_id", json!(uuid), 403),
        ("content", json!([]), 400),
        ("content", json!([{"type": "text", "text": 5}]), 400),
        ("workspace_id", json!(uuid), 400),
        ("model_config_id", json!(nil), 400),
        ("model_config_id", json!(uuid), 400),
        ("model_config_id", json!(model_id("off")), 400),
        ("reasoning_effort", json!("huge"), 400),
        ("mcp_server_ids", json!([uuid]), 400),
        ("labels", json!({"": "x"}), 400),
        ("plan_mode", json!("maybe"), 400),
        ("client_type", json!("cli"), 400),
        ("unsafe_dynamic_tools", json!([{"name": ""}]), 400),
    ] {
        let answer = world.own("POST", "", with(good.clone(), key, value.clone())).await;
        assert_eq!(answer.status, status, "{key} {value}: {answer:?}");
        if status == 400 {
            let field = answer.body["validations"][0]["field"].as_str().unwrap();
            assert!(field.starts_with(key), "{key} {value}: {answer:?}");
        }
    }
    let large =
        world.own("POST", "", with(good.clone(), "system_prompt", json!("x".repeat(256 * 1024)))).await;
    assert_eq!(large.status, 413, "{large:?}");
    let nothing = world.own("POST", "", Value::Null).await;
    assert_eq!(nothing.status, 400);
    assert_eq!(world.own("GET", "", Value::Null).await.body, json!([]));
}

async fn lists_are_filtered_paged_and_searched(on: Engine) {
    let world = world(on).await;
    let mut ids = Vec::new();
    for name in ["alpha", "beta", "gamma"] {
        let body = with(world.create_body(name), "labels", json!({"name": name, "all": "yes"}));
        ids.push(world.own("POST", "", body).await.id());
    }
    let titles = |v: &Value| -> Vec<String> {
        v.as_array().unwrap().iter().map(|c| c["title"].as_str().unwrap().to_owned()).collect()
    };
    let list = async |query: &str| world.own("GET", query, Value::Null).await;
    assert_eq!(titles(&list("").await.body), ["gamma", "beta", "alpha"]);
    assert_eq!(titles(&list("?limit=1&offset=1").await.body), ["beta"]);
    assert_eq!(titles(&list(&format!("?after_id={}", ids[2])).await.body), ["beta", "alpha"]);
    assert_eq!(titles(&list("?label=all:yes&label=name:beta").await.body), ["beta"]);
    assert_eq!(titles(&list("?q=title:ALP").await.body), ["alpha"]);
    assert_eq!(titles(&list("?q=status:waiting").await.body), [""; 0]);
    assert_eq!(titles(&list("?q=source:shared_with_me").await.body), [""; 0]);
    assert_eq!(world.own("PATCH", &format!("/{}", ids[0]), json!({"pin_order": 1})).await.status, 204);
    assert_eq!(titles(&list("?limit=0").await.body), ["alpha", "gamma", "beta"]);
    for bad in ["?limit=x", "?limit=-1", "?offset=-1", "?after_id=x", "?label=a", "?q=hello", "?q=pr:x"] {
        assert_eq!(list(bad).await.status, 400, "{bad}");
    }
    let row = &list("").await.body[0];
    assert_eq!(row["diff_status"]["additions"], 0);
    let others = world.call(&world.stranger, "GET", "", Value::Null).await;
    assert_eq!(others.body, json!([]));
}

async fn patch_checks_everything_before_it_changes_anything(on: Engine) {
    let world = world(on).await;
    let chat = world.chat_in(State::W).await;
    let path = format!("/{chat}");
    let mut bus = world.state.store.bus().subscribe();
    for bad in [
        json!({"title": " "}),
        json!({"title": "x".repeat(201)}),
        json!({"title": "ok", "pin_order": -1}),
        json!({"title": "ok", "labels": {"": "x"}}),
        json!({"title": "ok", "plan_mode": "x"}),
        json!({"title": "ok", "archived": true, "pin_order": 1}),
        json!({"title": "ok", "archived": false}),
        json!({"workspace_id": "11111111-1111-4111-8111-111111111111"}),
        json!({"archived": "yes"}),
    ] {
        let answer = world.own("PATCH", &path, bad.clone()).await;
        assert_eq!(answer.status, 400, "{bad}: {answer:?}");
        assert_eq!(world.state.store.chat(chat).await.unwrap().title, "hello world");
    }
    assert_eq!(world.own("PATCH", &path, json!({})).await.status, 204);
    let all = json!({"title": " new ", "labels": {"a": "b"}, "plan_mode": "plan", "pin_order": 5,
                     "workspace_id": "00000000-0000-0000-0000-000000000000"});
    let answer = world.own("PATCH", &path, all).await;
    assert_eq!((answer.status, answer.text.as_str()), (204, ""));
    assert_eq!(
        bus.next().await,
        Some(Notice::Watch { owner: world.owner_id, chat, kind: WatchKind::TitleChange })
    );
    let got = world.own("GET", &path, Value::Null).await.body;
    assert_eq!(
        (&got["title"], &got["labels"], &got["plan_mode"], &got["pin_order"]),
        (&json!("new"), &json!({"a": "b"}), &json!("plan"), &json!(1))
    );
    assert_eq!(world.own("PATCH", &path, json!({"archived": true})).await.status, 204);
    assert_eq!(world.own("PATCH", &path, json!({"pin_order": 1})).await.status, 400);
    assert_eq!(world.own("GET", "?q=archived:true", Value::Null).await.body[0]["id"], json!(chat));
    assert_eq!(world.own("GET", "", Value::Null).await.body, json!([]));
}

async fn messages_page_in_both_directions(on: Engine) {
    let world = world(on).await;
    let chat = world.chat_in(State::R1).await;
    for _ in 0..3 {
        world
            .own("POST", &format!("/{chat}/messages"), json!({"content": [{"type": "text", "text": "m"}]}))
            .await;
    }
    for _ in 0..4 {
        world.commit(chat, crate::chat::command::Command::FinishTurn).await;
    }
    let page = async |query: &str| world.own("GET", &format!("/{chat}/messages{query}"), Value::Null).await;
    let ids = |v: &Value| -> Vec<i64> {
        v["messages"].as_array().unwrap().iter().map(|m| m["id"].as_i64().unwrap()).collect()
    };
    let all = ids(&page("").await.body);
    assert_eq!(all.len(), 5);
    assert!(all.is_sorted_by(|a, b| a > b));
    let first = page("?limit=2").await.body;
    assert_eq!((ids(&first), &first["has_more"]), (all[..2].to_vec(), &json!(true)));
    let rest = page(&format!("?before_id={}", all[1])).await.body;
    assert_eq!((ids(&rest), &rest["has_more"]), (all[2..].to_vec(), &json!(false)));
    let mut forward = ids(&page(&format!("?after_id={}", all[3])).await.body);
    forward.reverse();
    assert_eq!(forward, all[..3]);
    for bad in
        ["?limit=0", "?limit=201", "?before_id=0", "?after_id=-1", "?after_id=5&before_id=5", "?limit=x"]
    {
        assert_eq!(page(bad).await.status, 400, "{bad}");
    }
}

async fn a_repeated_request_gets_the_same_answer_and_does_nothing(on: Engine) {
    let world = world(on).await;
    let body = world.create_body("x");
    let first = world.keyed(&world.owner, "POST", "", body.clone(), Some("k1")).await;
    let again = world.keyed(&world.owner, "POST", "", body.clone(), Some("k1")).await;
    assert_eq!((first.status, &first.text), (201, &again.text));
    assert_eq!(again.status, 201);
    let other = world.keyed(&world.owner, "POST", "", world.create_body("y"), Some("k1")).await;
    assert_eq!(other.status, 409, "{other:?}");
    assert_eq!(world.keyed(&world.owner, "POST", "", body.clone(), Some("")).await.status, 400);
    assert_eq!(world.keyed(&world.owner, "POST", "", body, Some(&"k".repeat(256))).await.status, 400);
    let id = first.id();
    let message = json!({"content": [{"type": "text", "text": "m"}]});
    let path = format!("/{id}/messages");
    let first = world.keyed(&world.owner, "POST", &path, message.clone(), Some("k2")).await;
    let again = world.keyed(&world.owner, "POST", &path, message, Some("k2")).await;
    assert_eq!((first.status, &first.text), (200, &again.text));
    let page = world.own("GET", &path, Value::Null).await.body;
    assert_eq!(page["queued_messages"].as_array().unwrap().len(), 1);

    let asked = world.chat_in(State::A0).await;
    let results = json!({"results": [{"tool_call_id": "call_1", "output": null}]});
    for _ in 0..2 {
        let answer = world
            .keyed(&world.owner, "POST", &format!("/{asked}/tool-results"), results.clone(), Some("k3"))
            .await;
        assert_eq!((answer.status, answer.text.as_str()), (204, ""));
    }
    let done = world.chat_in(State::W).await;
    let first = world.keyed(&world.owner, "POST", &format!("/{done}/clear"), Value::Null, Some("k4")).await;
    let again = world.keyed(&world.owner, "POST", &format!("/{done}/clear"), Value::Null, Some("k4")).await;
    assert_eq!((first.status, &first.text), (200, &again.text));
    assert_eq!(world.own("POST", &format!("/{done}/compact"), Value::Null).await.status, 409);
}

async fn a_compaction_that_was_accepted_can_be_repeated_when_nothing_is_left(on: Engine) {
    let world = world(on).await;
    let chat = world.chat_in(State::W).await;
    let path = format!("/{chat}/compact");
    let first = world.keyed(&world.owner, "POST", &path, Value::Null, Some("k")).await;
    assert_eq!(first.status, 200, "{first:?}");
    world.commit(chat, crate::chat::command::Command::FinishTurn).await;
    assert_eq!(world.own("POST", &format!("/{chat}/clear"), Value::Null).await.status, 200);
    let again = world.keyed(&world.owner, "POST", &path, Value::Null, Some("k")).await;
    assert_eq!((again.status, &again.text), (200, &first.text));
    assert_eq!(world.keyed(&world.owner, "POST", &path, Value::Null, Some("l")).await.status, 409);
}

async fn bodies_have_a_size_an_encoding_and_a_shape(on: Engine) {
    let world = world_with(on, ApiSettings { max_body: 1000, ..ApiSettings::default() }).await;
    let chat = world.chat().await;
    let send = async |payload: Vec<u8>| {
        let request = TestRequest::post()
            .uri(&format!("/api/experimental/chats/{chat}/messages"))
            .insert_header(("Coder-Session-Token", world.owner.clone()))
            .set_payload(payload);
        world.raw(request).await
    };
    let text =
        |n: usize| json!({"content": [{"type": "text", "text": "x".repeat(n)}]}).to_string().into_bytes();
    assert_eq!(send(text(900)).await.status, 200);
    assert_eq!(send(text(1000)).await.status, 413);
    for bad in
        [b"\xff\xfe".to_vec(), b"{".to_vec(), b"[]".to_vec(), b"".to_vec(), b"{\"content\": 5}".to_vec()]
    {
        let answer = send(bad.clone()).await;
        assert_eq!(answer.status, 400, "{bad:?} {answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/json; charset=utf-8"));
    }
    let wrong = send(br#"{"content": [{"type": "text", "text": {}}]}"#.to_vec()).await;
    assert_eq!(wrong.body["validations"][0]["field"], "content[0].text");
}

async fn what_is_committed_is_announced_though_the_client_is_gone(on: Engine) {
    let world = world(on).await;
    let chat = world.chat_in(State::R1).await;
    let mut bus = world.state.store.bus().subscribe();
    let interrupt = Commit::new(chat, Command::Interrupt { reason: "enough".into() }, NOW);
    {
        let mut request = pin!(commit::run(&world.state, interrupt, None, |_| (200, commit::nothing())));
        assert!(futures_util::poll!(request.as_mut()).is_pending());
    }
    let told = async {
        loop {
            match bus.next().await {
                Some(Notice::Chat(notice)) if notice.chat == chat => break notice.status,
                Some(_) => {}
                None => panic!("the bus is gone"),
            }
        }
    };
    let told = tokio::time::timeout(Duration::from_secs(20), told).await;
    assert_eq!(told.expect("it is announced"), Status::Interrupting);
}
