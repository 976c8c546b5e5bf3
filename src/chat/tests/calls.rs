//! Who answers which calls, and what the synthetic answers look like.

use super::fixture::{NOW, brief, calls, chat, command, open, result, said, submitted, user};
use crate::chat::{
    answers,
    command::{Command, CommandKind},
    message::{NewMessage, Part, Role, Visibility},
    plan::{Refusal, Write},
    state::{Chat, State},
    step::{step, step_many},
};

fn writes(state: State, kind: CommandKind) -> Vec<String> {
    brief(&step(&chat(state, 2), &command(kind), NOW).unwrap())
}

const ALL: [&str; 3] = ["+tool result l", "+tool result c", "+tool result d"];
const PENDING: [&str; 2] = ["+tool result c", "+tool result d"];

#[test]
fn a_user_message_goes_into_history_behind_the_answers_to_all_open_calls() {
    let cases = [
        (State::W, CommandKind::SendMessageQueue, vec!["+user sent"]),
        (State::E0, CommandKind::SendMessageInterrupt, vec!["+user sent"]),
        (State::E1, CommandKind::SendMessageQueue, vec!["take 101", "enqueue user sent"]),
        (State::E1, CommandKind::PromoteQueuedMessage, vec!["take 101"]),
        (State::A1, CommandKind::PromoteQueuedMessage, vec!["take 101"]),
        (State::R1, CommandKind::FinishTurn, vec!["take 101"]),
        (State::E0, CommandKind::ClearContext, vec!["+user summary"]),
        (State::I1, CommandKind::FinishInterruption, vec!["+assistant half", "take 101"]),
    ];
    for (state, kind, rest) in cases {
        let expected: Vec<&str> = ALL.into_iter().chain(rest).collect();
        assert_eq!(writes(state, kind), expected, "{kind} in {state}");
    }
}

#[test]
fn a_step_that_holds_a_user_row_answers_the_open_calls_too() {
    let context = Command::CommitStep(vec![user("context")]);
    assert!(context.needs_open_calls());
    assert!(!Command::CommitStep(vec![said("x")]).needs_open_calls());
    let plan = step(&chat(State::R0, 0), &context, NOW).unwrap();
    assert_eq!(brief(&plan), ["+tool result l", "+tool result c", "+tool result d", "+user context"]);
}

#[test]
fn leaving_requires_action_without_a_message_cancels_the_pending_calls_only() {
    for state in [State::A0, State::A1] {
        for kind in [CommandKind::Interrupt, CommandKind::CancelRequiresAction] {
            assert_eq!(writes(state, kind), PENDING, "{kind} in {state}");
        }
        let sent = writes(state, CommandKind::SendMessageInterrupt);
        assert_eq!(sent, ["+tool result c", "+tool result d", "enqueue user sent"]);
        assert_eq!(writes(state, CommandKind::SendMessageQueue), ["enqueue user sent"]);
    }
}

#[test]
fn an_edit_deletes_the_calls_with_their_messages() {
    let edited = writes(State::A1, CommandKind::EditMessage);
    assert_eq!(edited, ["delete from 10", "clear queue", "+user edited"]);
}

#[test]
fn interrupting_a_turn_writes_no_message() {
    for state in [State::R0, State::R1] {
        assert!(writes(state, CommandKind::Interrupt).is_empty());
    }
}

fn inserted(write: &Write) -> (&NewMessage, Part) {
    let Write::Insert(row) = write else { panic!("{write:?}") };
    let mut parts: Vec<Part> = row.content.read().unwrap();
    assert_eq!(parts.len(), 1);
    (row, parts.remove(0))
}

#[test]
fn a_synthetic_answer_is_an_error_with_the_reason_as_text() {
    let interrupt = Command::Interrupt { reason: "the user said \"no\"".to_owned() };
    let plan = step(&chat(State::A0, 0), &interrupt, NOW).unwrap();
    for (write, id) in plan.writes.iter().zip(["c", "d"]) {
        let (row, part) = inserted(write);
        assert_eq!((row.role, row.visibility), (Role::Tool, Visibility::Both));
        let Part::ToolResult(result) = part else { panic!("{part:?}") };
        assert_eq!(result.tool_call_id, id);
        assert_eq!(result.tool_name, format!("tool_{id}"));
        assert_eq!(result.result.unwrap().get(), r#""the user said \"no\"""#);
        assert!(result.is_error);
        assert_eq!(result.created_at, Some(NOW));
    }
}

#[test]
fn a_clients_results_are_stored_as_they_came_in_call_order() {
    let kind = CommandKind::CompleteRequiresAction;
    let plan = step(&chat(State::A1, 2), &command(kind), NOW).unwrap();
    assert_eq!(brief(&plan), PENDING);
    let stored: Vec<(String, bool)> = plan
        .writes
        .iter()
        .map(|write| {
            let Part::ToolResult(result) = inserted(write).1 else { panic!() };
            (result.result.unwrap().get().to_owned(), result.is_error)
        })
        .collect();
    assert_eq!(stored, [("7".to_owned(), false), (r#"{"b":1, "a":2}"#.to_owned(), true)]);
}

#[test]
fn a_submission_must_answer_exactly_the_pending_calls() {
    let refusal = |results| step(&chat(State::A0, 0), &Command::CompleteRequiresAction(results), NOW);
    let (c, d) = (|| submitted("c", "1", false), || submitted("d", "2", false));
    let cases = [
        (vec![], Refusal::MissingResult("c".into())),
        (vec![c()], Refusal::MissingResult("d".into())),
        (vec![c(), d(), c()], Refusal::DuplicateResult("c".into())),
        (vec![c(), d(), submitted("z", "3", false)], Refusal::UnexpectedResult("z".into())),
        (vec![c(), d(), submitted("l", "3", false)], Refusal::UnexpectedResult("l".into())),
        (vec![c(), submitted("d", "{", false)], Refusal::ResultNotJson("d".into())),
        (vec![c(), submitted("d", "", false)], Refusal::ResultNotJson("d".into())),
        // Of several faults the first in the order duplicate, unexpected, missing, not JSON counts.
        (vec![submitted("z", "{", false), submitted("z", "1", false)], Refusal::DuplicateResult("z".into())),
        (vec![submitted("z", "{", false)], Refusal::UnexpectedResult("z".into())),
        (vec![submitted("c", "{", false)], Refusal::MissingResult("d".into())),
    ];
    for (results, expected) in cases {
        assert_eq!(refusal(results), Err(expected));
    }
}

#[test]
fn without_a_client_side_call_there_is_nothing_to_wait_for() {
    let mut running = chat(State::R0, 0);
    running.open_calls = vec![open("l", false)];
    let enter = command(CommandKind::EnterRequiresAction);
    assert_eq!(step(&running, &enter, NOW), Err(Refusal::NothingPending));
    let mut waiting = chat(State::A0, 0);
    waiting.open_calls.clear();
    let complete = Command::CompleteRequiresAction(Vec::new());
    assert_eq!(step(&waiting, &complete, NOW), Err(Refusal::NothingPending));
}

fn finish(chat: &Chat, partial: Vec<NewMessage>) -> Vec<String> {
    brief(&step(chat, &Command::FinishInterruption { partial }, NOW).unwrap())
}

#[test]
fn an_interruption_leaves_no_call_open() {
    // The turn ran local tools: one has its result, the others are answered for it.
    let ran = finish(&chat(State::I0, 0), vec![result("l", "tool_l")]);
    assert_eq!(ran, ["+tool result c", "+tool result d", "+tool result l"]);

    let mut chat = chat(State::I1, 1);
    chat.open_calls.clear();
    // The partial output brings a call with its result.
    let whole = finish(&chat, vec![calls(&[("p", "t")]), result("p", "t")]);
    assert_eq!(whole, ["+assistant call p", "+tool result p", "take 101"]);
    // And here one of two results is missing.
    let half = finish(&chat, vec![calls(&[("p", "t"), ("q", "t")]), result("p", "t")]);
    assert_eq!(half, ["+assistant call p call q", "+tool result p", "+tool result q", "take 101"]);
    assert_eq!(finish(&chat, Vec::new()), ["take 101"]);
}

#[test]
fn calls_made_in_the_same_transaction_are_seen() {
    let mut chat = chat(State::R1, 1);
    chat.open_calls.clear();
    let commands = [Command::CommitStep(vec![calls(&[("p", "t")])]), Command::FinishTurn];
    let plan = step_many(&chat, &commands, NOW).unwrap();
    assert_eq!(brief(&plan), ["+assistant call p", "+tool result p", "take 101"]);
}

#[test]
fn provider_executed_calls_and_unreadable_content_open_nothing() {
    let mut row = calls(&[("p", "t")]);
    row.content = super::fixture::json(
        r#"[{"type":"tool-call","tool_call_id":"p","tool_name":"t","provider_executed":true}]"#,
    );
    let mut open = Vec::new();
    answers::follow(&mut open, &row);
    assert!(open.is_empty());
    row.content = super::fixture::json(r#"{"type":"tool-call"}"#);
    answers::follow(&mut open, &row);
    assert!(open.is_empty());
}
