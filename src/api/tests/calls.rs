//! The table of api.md §2.2, cell by cell: what each call answers in each state and where it leads.

use super::support::{World, postgres_world, world};
use crate::chat::state::{State, Status};
use serde_json::{Value, json};

const INVALID: State = State::Invalid(Status::Running, false, true);

const STATES: [State; 13] = [
    State::W,
    State::E0,
    State::E1,
    State::R0,
    State::R1,
    State::I0,
    State::I1,
    State::A0,
    State::A1,
    State::XW,
    State::XE0,
    State::XE1,
    INVALID,
];

/// Status of the answer; below 300 with the state afterwards.
type Cell = Result<State, u16>;

/// One row of the table, by hand: nine states, then one cell for X*, then invalid.
struct Row {
    call: &'static str,
    success: u16,
    cells: [Cell; 9],
    archived: Result<[State; 3], u16>,
    invalid: Cell,
}

fn table() -> Vec<Row> {
    use State::*;
    let no = Err(409);
    vec![
        Row {
            call: "send queue",
            success: 200,
            archived: Err(400),
            invalid: no,
            cells: [Ok(R0), Ok(R0), Ok(R1), Ok(R1), Ok(R1), Ok(I1), Ok(I1), Ok(A1), Ok(A1)],
        },
        Row {
            call: "send interrupt",
            success: 200,
            archived: Err(400),
            invalid: no,
            cells: [Ok(R0), Ok(R0), Ok(R1), Ok(I1), Ok(I1), Ok(I1), Ok(I1), Ok(R1), Ok(R1)],
        },
        Row { call: "edit", success: 200, archived: Err(400), invalid: no, cells: [Ok(R0); 9] },
        Row {
            call: "interrupt",
            success: 200,
            archived: Err(400),
            invalid: no,
            cells: [no, no, no, Ok(I0), Ok(I1), no, no, Ok(R0), Ok(R1)],
        },
        Row {
            call: "promote",
            success: 202,
            archived: Err(400),
            invalid: no,
            cells: [no, no, Ok(R0), no, Ok(I1), no, Ok(I1), no, Ok(R0)],
        },
        Row {
            call: "delete queued",
            success: 204,
            archived: Err(400),
            invalid: no,
            cells: [no, no, Ok(E0), no, Ok(R0), no, Ok(I0), no, Ok(A0)],
        },
        Row {
            call: "tool-results",
            success: 204,
            archived: Err(400),
            invalid: no,
            cells: [no, no, no, no, no, no, no, Ok(R0), Ok(R1)],
        },
        Row {
            call: "archive",
            success: 204,
            archived: Err(400),
            invalid: no,
            cells: [Ok(XW), Ok(XE0), Ok(XE1), no, no, no, no, no, no],
        },
        Row { call: "unarchive", success: 204, archived: Ok([W, E0, E1]), invalid: no, cells: [Err(400); 9] },
        Row {
            call: "compact",
            success: 200,
            archived: Err(400),
            invalid: no,
            cells: [Ok(R0), Ok(R0), Ok(R1), no, no, no, no, no, no],
        },
        Row {
            call: "clear",
            success: 200,
            archived: Err(400),
            invalid: no,
            cells: [Ok(W), Ok(W), no, no, no, no, no, no, no],
        },
        Row { call: "reconcile-invalid", success: 200, archived: Err(409), invalid: Ok(E0), cells: [no; 9] },
    ]
}

async fn make(world: &World, call: &str, chat: &str) -> (u16, Value) {
    let text = json!([{"type": "text", "text": "again"}]);
    let page = world.own("GET", &format!("/{chat}/messages"), Value::Null).await;
    assert_eq!(page.status, 200, "{page:?}");
    let queued = page.body["queued_messages"][0]["id"].as_i64().unwrap_or(1);
    let messages = page.body["messages"].as_array().unwrap();
    let first = messages.iter().rev().find(|m| m["role"] == "user").unwrap()["id"].as_i64().unwrap();
    let (method, path, body) = match call {
        "send queue" => ("POST", "/messages".into(), json!({"content": text})),
        "send interrupt" => {
            ("POST", "/messages".into(), json!({"content": text, "busy_behavior": "interrupt"}))
        }
        "edit" => ("PATCH", format!("/messages/{first}"), json!({"content": text})),
        "interrupt" | "compact" | "clear" | "reconcile-invalid" => ("POST", format!("/{call}"), Value::Null),
        "promote" => ("POST", format!("/queue/{queued}/promote"), Value::Null),
        "delete queued" => ("DELETE", format!("/queue/{queued}"), Value::Null),
        "tool-results" => (
            "POST",
            "/tool-results".into(),
            json!({"results": [{"tool_call_id": "call_1", "output": {"ok": 1}}]}),
        ),
        "archive" => ("PATCH", String::new(), json!({"archived": true})),
        "unarchive" => ("PATCH", String::new(), json!({"archived": false})),
        other => panic!("{other}"),
    };
    let answer = world.own(method, &format!("/{chat}{path}"), body).await;
    if answer.status >= 400 {
        assert!(answer.body["message"].is_string(), "{call}: {answer:?}");
    }
    (answer.status, answer.body)
}

#[actix_web::test]
async fn every_cell_of_the_table_on_sqlite() {
    every_cell(world().await).await;
}

#[actix_web::test]
async fn every_cell_of_the_table_on_postgresql() {
    every_cell(postgres_world().await).await;
}

async fn every_cell(world: World) {
    let mut wrong = Vec::new();
    for row in table() {
        for (at, from) in STATES.into_iter().enumerate() {
            let expected = match at {
                0..9 => row.cells[at],
                9..12 => row.archived.map(|all| all[at - 9]),
                _ => row.invalid,
            };
            let chat = world.chat_in(from).await;
            let before = world.state.store.chat(chat).await.unwrap();
            let (status, body) = make(&world, row.call, &chat.to_string()).await;
            let after = world.state_of(chat).await;
            let good = match expected {
                Ok(to) => status == row.success && after == to,
                Err(code) => {
                    status == code && after == from && world.state.store.chat(chat).await.unwrap() == before
                }
            };
            if !good {
                wrong
                    .push(format!("{} in {from}: {status} {after}, expected {expected:?}: {body}", row.call));
            }
            if good
                && row.success == 200
                && !row.call.starts_with("send")
                && row.call != "edit"
                && status == 200
            {
                let status = world.state.store.chat(chat).await.unwrap().head.status;
                assert_eq!(body["status"], status.as_str(), "{} in {from}", row.call);
                assert!(body.get("diff_status").is_none() && body.get("files").is_none());
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[actix_web::test]
async fn refusals_that_depend_on_an_id() {
    let world = world().await;
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

#[actix_web::test]
async fn the_queue_has_an_end() {
    let world = world().await;
    let chat = world.chat().await;
    let body = json!({"content": [{"type": "text", "text": "q"}]});
    for _ in 0..20 {
        assert_eq!(world.own("POST", &format!("/{chat}/messages"), body.clone()).await.status, 200);
    }
    let full = world.own("POST", &format!("/{chat}/messages"), body).await;
    assert_eq!(full.status, 429, "{full:?}");
}
