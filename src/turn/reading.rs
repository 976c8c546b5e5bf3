//! What a pass reads with a summary in the history, beside what it would read without: the same
//! prompt, the same decision, and rows whose number does not depend on what the summary covers.

use super::{
    compact::{self, Compaction, Limits, Source, cleared_rows},
    decide::{Settings, ToolNames, decide},
    fixtures::{assistant, call, measured, result, text, with_parts},
    history::History,
    prompt::{Options, assemble, select},
};
use crate::{
    chat::{
        command::Command,
        json::Json,
        message::{NewMessage, Role, Visibility},
    },
    store::{
        records::{MessageRow, TurnRead},
        tests::{
            fixture::{Driven, NOW},
            support::{Db, both},
        },
    },
};
use std::collections::HashMap;

const LIMITS: Limits = Limits {
    user_threshold: None,
    model_threshold: Some(70),
    context_limit: Some(1000),
    model_config_id: None,
};

fn tools() -> ToolNames {
    ToolNames { stop_after: ["propose_plan".to_owned()].into(), ..ToolNames::default() }
}

fn new(row: MessageRow) -> NewMessage {
    let mut message = NewMessage::new(row.role, row.visibility, &[]);
    message.content = row.content;
    message.figures = row.figures;
    message
}

/// One more commit of a turn, chosen by a number.
fn next(choice: u64, n: usize, history: &[MessageRow]) -> Vec<NewMessage> {
    let id = format!("c{n}");
    let step = |tool: &str, tokens: i64| {
        let answer = with_parts(Role::Tool, &[result(&id, tool)]);
        vec![new(measured(&[text(&format!("step {n}")), call(&id, tool)], tokens)), new(answer)]
    };
    let history = History::new(history);
    // A stop-after tool ends the turn.
    let ended = history.succeeded_since_user(&tools().stop_after);
    match if ended { [0, 12, 15][choice as usize % 3] } else { choice % 16 } {
        0..=2 => vec![new(with_parts(Role::User, &[text(&format!("question {n}"))]))],
        3..=5 => step("execute", 100),
        6 => step("execute", 900),
        7 => step("propose_plan", 100),
        8 => vec![new(measured(&[text(&format!("answer {n}"))], 300))],
        9 => vec![new(measured(&[text(&format!("long answer {n}"))], 800))],
        10 | 11 => vec![new(assistant(&[text(&format!("half {n}"))]))],
        12..=14 => {
            let compaction = Compaction {
                uuid: uuid::Uuid::from_u128(n as u128),
                source: Source::Automatic,
                measurement: compact::measurement(&history, &LIMITS),
                model_config_id: None,
                created_by: None,
                started_at: NOW,
            };
            compaction.rows(&format!("summary {n}"), NOW).unwrap().0
        }
        _ => cleared_rows(uuid::Uuid::from_u128(n as u128), None, NOW),
    }
}

fn prompt(rows: &[MessageRow]) -> String {
    let files = HashMap::new();
    let options = Options {
        files: &files,
        takes_text_files: false,
        max_image_bytes: None,
        native_for: None,
        strangers: &[],
    };
    format!("{:?}", assemble(&select(&History::new(rows)), &options))
}

fn assert_alike(full: &[MessageRow], read: &TurnRead) {
    assert!(read.rows.is_sorted_by(|a, b| a.id < b.id));
    assert_eq!(prompt(full), prompt(&read.rows));
    let whole = History::new(full);
    let part = || History::new(&read.rows).with_earlier_steps(read.earlier_steps);
    assert_eq!(whole.steps_since_user(), part().steps_since_user());
    assert_eq!(compact::measurement(&whole, &LIMITS), compact::measurement(&part(), &LIMITS));
    assert_eq!(compact::has_material(&whole), compact::has_material(&part()));
    for compaction_requested in [false, true] {
        for attempts in [0, 1] {
            for max_steps in [2, 3, 1000] {
                let settings = Settings {
                    max_steps,
                    limits: LIMITS,
                    compaction_requested,
                    attempts,
                    ..Settings::default()
                };
                let wanted = decide(&whole, &tools(), &settings);
                assert_eq!(decide(&part(), &tools(), &settings), wanted, "{settings:?}");
            }
        }
    }
}

/// A chat with two system rows.
async fn chat(db: &Db) -> Driven {
    let chat = Driven::new(db).await;
    let mut new = chat.person.new_chat("with system rows");
    let system = |words: &str| NewMessage::new(Role::System, Visibility::Model, &[text(words)]);
    new.initial = vec![
        system("Be kind."),
        system("Be brief."),
        NewMessage::new(Role::User, Visibility::Both, &[text("first")]),
    ];
    let id = new.id;
    chat.store.create_chat(new, NOW, None).await.unwrap();
    Driven { id, ..chat }
}

both! {
    async fn a_summary_hides_rows_and_changes_nothing(db) {
        let with_system_rows = chat(&db).await;
        let person = with_system_rows.person;
        let chats = [with_system_rows, Driven::another(&db, person).await, Driven::another(&db, person).await];
        for (chat, seed) in chats.into_iter().zip(1_u64..) {
            let mut state = seed;
            for n in 0..40 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let full = chat.store.history(chat.id).await.unwrap();
                chat.run(Command::CommitStep(next(state >> 33, n, &full))).await;
                let full = chat.store.history(chat.id).await.unwrap();
                let read = chat.store.turn(chat.id).await.unwrap();
                assert_alike(&full, &read);
                assert_eq!(chat.store.compactable(chat.id).await.unwrap(), compact::has_material(&History::new(&full)));
            }
        }
    }

    async fn what_a_summary_covers_is_not_read(db) {
        let chat = chat(&db).await;
        let mut counts = Vec::new();
        for round in 0..4_usize {
            // Each round covers ten times the rows of the one before.
            for n in 0..10_usize.pow(u32::try_from(round).unwrap()) {
                let step = next(3, 1000 * round + n, &[]);
                chat.run(Command::CommitStep(step)).await;
            }
            let full = chat.store.history(chat.id).await.unwrap();
            chat.run(Command::CommitStep(next(12, round, &full))).await;
            let full = chat.store.history(chat.id).await.unwrap();
            let before = chat.store.statements();
            let read = chat.store.turn(chat.id).await.unwrap();
            counts.push((chat.store.statements() - before, read.rows.len()));
            assert_alike(&full, &read);
        }
        // Two system rows, the last step with its answer, the three rows of the summary. Statements:
        // the chat, the rows since the summary, the system rows, the last step, the steps before it.
        assert_eq!(counts, [(5, 7); 4]);
        // And once somebody has written, the turn before does not matter: 2 + 3 + 1.
        chat.run(Command::CommitStep(next(0, 1, &[]))).await;
        let before = chat.store.statements();
        let read = chat.store.turn(chat.id).await.unwrap();
        assert_eq!((chat.store.statements() - before, read.rows.len()), (3, 6));
    }

    async fn only_uncovered_steps_can_be_compacted_but_in_a_failed_chat_anything(db) {
        let chat = chat(&db).await;
        let ask = async || chat.store.compactable(chat.id).await.unwrap();
        assert!(!ask().await, "a question without an answer");
        chat.run(Command::FinishError { error: Json::of(&serde_json::json!({"message": "x"})) }).await;
        let before = chat.store.statements();
        assert!(ask().await, "in the error state the turn is taken up again");
        assert_eq!(chat.store.statements() - before, 1);
        chat.run(Command::ClearContext { rows: cleared_rows(uuid::Uuid::nil(), None, NOW) }).await;
        assert!(!ask().await);
        chat.run(crate::store::tests::fixture::send("again")).await;
        assert!(!ask().await);
        chat.run(Command::CommitStep(next(8, 1, &[]))).await;
        assert!(ask().await);
        let full = chat.store.history(chat.id).await.unwrap();
        chat.run(Command::CommitStep(next(12, 1, &full))).await;
        assert!(!ask().await);
    }
}
