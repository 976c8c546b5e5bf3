//! What each call does in each state (api.md §2.2), over sockets: the answer, where it leads, what it
//! keeps; and that a refused call changes nothing.

mod chats;
mod table;

use crate::support::{
    both,
    client::{Answer, Api},
    turns::text,
};
use chats::{CALL, Chats, Whole};
use serde_json::{Value, json};
use table::{Cell, STILL_QUEUED, State, TABLE};

/// Makes the call, with ids of this chat where it has them.
async fn make(api: &Api, call: &str, chat: &str, before: &Whole) -> Answer {
    let path = format!("/chats/{chat}");
    // Any id will do where there is no queue.
    let queued = before.queue.first().map_or(json!(1), |row| row["id"].clone());
    let mut again = text("again");
    match call {
        "send queue" => api.post(&format!("{path}/messages"), again).await,
        "send interrupt" => {
            again["busy_behavior"] = json!("interrupt");
            api.post(&format!("{path}/messages"), again).await
        }
        "edit" => api.patch(&format!("{path}/messages/{}", before.first_question()), again).await,
        "promote" => api.post(&format!("{path}/queue/{queued}/promote"), json!({})).await,
        "delete queued" => api.delete(&format!("{path}/queue/{queued}")).await,
        "tool-results" => {
            let results = json!([{ "tool_call_id": CALL, "output": { "name": "Ann" } }]);
            api.post(&format!("{path}/tool-results"), json!({ "results": results })).await
        }
        "archive" => api.patch(&path, json!({ "archived": true })).await,
        "unarchive" => api.patch(&path, json!({ "archived": false })).await,
        other => api.post(&format!("{path}/{other}"), json!({})).await,
    }
}

/// The answer of a success (api.md §2.5–2.7).
fn check_answer(call: &str, answer: &Answer, before: &Whole, to: State) {
    match call {
        "send queue" | "send interrupt" => {
            let sent = answer.json(200);
            let direct = before.is(table::W) || before.is(table::E0);
            assert_eq!(sent["queued"], json!(!direct), "{sent}");
            assert_eq!(
                (sent.get("message").is_some(), sent.get("queued_message").is_some()),
                (direct, !direct)
            );
            let row = if direct { &sent["message"] } else { &sent["queued_message"] };
            assert_eq!(row["content"][0]["text"], json!("again"), "{sent}");
        }
        "edit" => {
            let message = &answer.json(200)["message"];
            assert!(message["id"].as_i64().is_some_and(|id| id > before.first_question()), "{message}");
        }
        "promote" => assert!(answer.json(202)["message"].is_string()),
        "interrupt" | "compact" | "clear" | "reconcile-invalid" => {
            let chat = answer.json(200);
            assert_eq!((&chat["id"], &chat["status"]), (&before.chat["id"], &json!(to.0)));
            assert!(chat.get("diff_status").is_none() && chat.get("files").is_none(), "{chat}");
        }
        _ => answer.empty(204),
    }
}

/// What the user has said and the queue afterwards (state-machine.md §3).
fn check_words(call: &str, from: State, before: &Whole, after: &Whole) {
    let ((mut history, mut queue), seen) = (before.said(), after.said());
    match call {
        "send queue" | "send interrupt" => {
            queue.push("again".to_owned());
            // A failed chat and one at rest start with whoever is first in the queue.
            if matches!(from, table::W | table::E0 | table::E1) {
                history.push(queue.remove(0));
            }
        }
        "edit" => (history, queue) = (vec!["again".to_owned()], Vec::new()),
        // In front of the line at once, or as soon as the turn has been interrupted.
        "promote" if from.failed() || from.asks() => history.push(queue.remove(0)),
        "delete queued" => drop(queue.remove(0)),
        _ => {}
    }
    assert_eq!(seen, (history, queue));
}

/// Errors and pending calls go with the state they belong to.
fn check_rest(call: &str, from: State, to: State, after: &Whole) {
    assert_eq!(after.chat.get("last_error").is_some(), to.failed(), "{}", after.chat);
    let results = after.results();
    match call {
        "tool-results" => {
            assert_eq!((results.len(), &results[0]["result"]), (1, &json!({ "name": "Ann" })));
            assert_ne!(results[0]["is_error"], json!(true));
        }
        // The whole history was replaced.
        "edit" => assert!(results.is_empty()),
        _ if from.asks() && !to.asks() => {
            assert_eq!(results.len(), 1, "{results:?}");
            assert_eq!(results[0]["is_error"], json!(true), "{results:?}");
        }
        _ => assert!(results.is_empty(), "{results:?}"),
    }
}

async fn check(chats: &mut Chats, call: &str, from: State, queued: usize, expected: Cell) {
    println!("{call} in {from:?}, {queued} queued: {expected:?}");
    let chat = chats.take(from, queued).await;
    let before = chats.whole(&chat).await;
    assert!(before.is(from), "the chat is not in {from:?}: {before:#?}");
    let answer = make(&chats.api, call, &chat, &before).await;
    let after = chats.whole(&chat).await;
    match expected {
        Err(status) => {
            let problem = answer.problem(status);
            assert!(!problem.to_string().contains("nothing to compact"), "the state comes first: {problem}");
            assert_eq!(after, before, "a refused call changed something");
        }
        Ok(to) => {
            check_answer(call, &answer, &before, to);
            assert!(after.is(to), "not in {to:?}: {after:#?}");
            check_words(call, from, &before, &after);
            check_rest(call, from, to, &after);
        }
    }
}

both! {
    async fn every_cell_of_the_table(h: Harness) {
        let cells: Vec<(&str, State, Cell)> =
            TABLE.iter().flat_map(|row| row.cells().map(|(from, cell)| (row.0, from, cell))).collect();
        let wanted: Vec<(State, usize)> = cells.iter().map(|(_, from, _)| (*from, usize::from(from.1))).collect();
        let mut chats = Chats::new(h, &wanted).await;
        for (call, from, expected) in cells {
            check(&mut chats, call, from, usize::from(from.1), expected).await;
        }
    }

    async fn while_the_queue_is_not_empty_the_second_result_applies(h: Harness) {
        let wanted: Vec<(State, usize)> = STILL_QUEUED.iter().map(|(_, from, _)| (*from, 2)).collect();
        let mut chats = Chats::new(h, &wanted).await;
        for (call, from, to) in STILL_QUEUED {
            check(&mut chats, call, from, 2, Ok(to)).await;
        }
    }

    async fn what_is_invalid_says_so_and_comes_back_with_its_queue(h: Harness) {
        let mut chats = Chats::new(h, &[(table::WAITING_WITH_QUEUE, 2)]).await;
        let chat = chats.take(table::WAITING_WITH_QUEUE, 2).await;
        let recovered = chats.api.post(&format!("/chats/{chat}/reconcile-invalid"), Value::Null).await.json(200);
        assert!(recovered["last_error"]["message"].as_str().is_some_and(|text| !text.is_empty()), "{recovered}");
        let whole = chats.whole(&chat).await;
        assert!(whole.is(table::E1), "{whole:#?}");
        assert_eq!(whole.said().1, ["queued 1", "queued 2"]);
    }
}
