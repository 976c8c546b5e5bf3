//! What each call refuses by its ids and its body. What it does in each state is in `tests/it/states`.

use super::support::{Engine, on_both, world};
use crate::chat::state::State;
use serde_json::{Value, json};

on_both![refusals_that_depend_on_an_id, the_queue_has_an_end];

async fn refusals_that_depend_on_an_id(on: Engine) {
    let world = world(on).await;
    let chat = world.chat_in(State::R1).await;
    for (method, path, expected) in [
        ("DELETE", "/queue/999999", 404),
        ("DELETE", "/queue/x", 400),
        ("DELETE", "/queue/0", 400),
        ("POST", "/queue/999999/promote", 404),
        ("POST", "/queue/-1/promote", 400),
    ] {
        let answer = world.own(method, &format!("/{chat}{path}"), Value::Null).await;
        assert_eq!(answer.status, expected, "{method} {path} {answer:?}");
    }
    let edit = json!({"content": [{"type": "text", "text": "a"}]});
    for (id, expected) in [("999999", 404), ("abc", 400), ("0", 400)] {
        assert_eq!(
            world.own("PATCH", &format!("/{chat}/messages/{id}"), edit.clone()).await.status,
            expected
        );
    }
    let asked = world.chat_in(State::A0).await;
    let page = world.own("GET", &format!("/{asked}/messages"), Value::Null).await;
    let assistant = page.body["messages"][0]["id"].as_i64().unwrap();
    assert_eq!(world.own("PATCH", &format!("/{asked}/messages/{assistant}"), edit).await.status, 400);
    for results in [
        json!([]),
        json!([{"tool_call_id": "call_1", "output": 1}, {"tool_call_id": "call_1", "output": 1}]),
        json!([{"tool_call_id": "other", "output": 1}]),
        json!([{"tool_call_id": "call_1", "output": 1}, {"tool_call_id": "other", "output": 1}]),
        json!([{"tool_call_id": "call_1"}]),
    ] {
        let answer =
            world.own("POST", &format!("/{asked}/tool-results"), json!({ "results": results })).await;
        assert_eq!(answer.status, 400, "{answer:?}");
    }
    assert_eq!(world.state_of(asked).await, State::A0);
}

async fn the_queue_has_an_end(on: Engine) {
    let world = world(on).await;
    let chat = world.chat().await;
    let body = json!({"content": [{"type": "text", "text": "q"}]});
    for _ in 0..20 {
        assert_eq!(world.own("POST", &format!("/{chat}/messages"), body.clone()).await.status, 200);
    }
    let full = world.own("POST", &format!("/{chat}/messages"), body).await;
    assert_eq!(full.status, 429, "{full:?}");
}
