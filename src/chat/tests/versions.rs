//! Versions, the attempt counter and the retry payload.

use super::fixture::{NOW, all_plans, brief, chat, command, json, said, user};
use crate::{
    chat::{
        command::{Busy, Command, CommandKind},
        plan::{Plan, Write},
        state::State,
        step::{step, step_many},
    },
    ids::QueuedId,
};

fn touches_history(plan: &Plan) -> bool {
    plan.writes.iter().any(|write| {
        matches!(write, Write::Insert(_) | Write::MoveIntoHistory(_) | Write::DeleteMessagesFrom(_))
    })
}

fn touches_queue(plan: &Plan) -> bool {
    plan.writes.iter().any(|write| {
        matches!(
            write,
            Write::Enqueue(_)
                | Write::MoveIntoHistory(_)
                | Write::Dequeue(_)
                | Write::MoveToHead(_)
                | Write::ClearQueue
        )
    })
}

#[test]
fn every_transaction_bumps_the_snapshot_and_only_the_versions_it_touches() {
    for (chat, command, plan) in all_plans() {
        let (old, new) = (chat.versions, plan.columns.versions);
        let at = format!("{} in {}", command.kind(), chat.state());
        assert_eq!(new.snapshot, 41, "{at}");
        assert_eq!(new.history, if touches_history(&plan) { 41 } else { old.history }, "{at}");
        assert_eq!(new.queue, if touches_queue(&plan) { 41 } else { old.queue }, "{at}");
        let retry_moved = plan.columns.retry_state != chat.retry_state;
        assert_eq!(new.retry_state, if retry_moved { 41 } else { old.retry_state }, "{at}");
    }
}

#[test]
fn the_attempt_starts_again_with_the_history_and_takes_the_retry_payload_along() {
    for (chat, command, plan) in all_plans() {
        let at = format!("{} in {}", command.kind(), chat.state());
        let attempt = plan.columns.versions.attempt;
        let expected = match command.kind() {
            CommandKind::RecordGenerationAttempt => 4,
            _ if touches_history(&plan) => 0,
            _ => 3,
        };
        assert_eq!(attempt, expected, "{at}");
        let retry = match command.kind() {
            CommandKind::RecordRetryState => Some(json(r#"{"attempt":4}"#)),
            _ if attempt != 3 => None,
            _ => chat.retry_state.clone(),
        };
        assert_eq!(plan.columns.retry_state, retry, "{at}");
    }
}

#[test]
fn the_retry_version_moves_only_with_the_value() {
    let mut chat = chat(State::R0, 0);
    let same = Command::RecordRetryState(json(r#"{"attempt":3}"#));
    assert_eq!(step(&chat, &same, NOW).unwrap().columns.versions.retry_state, 10);
    let other = Command::RecordRetryState(json(r#"{"attempt":9}"#));
    assert_eq!(step(&chat, &other, NOW).unwrap().columns.versions.retry_state, 41);
    let attempt = Command::RecordGenerationAttempt;
    assert_eq!(step(&chat, &attempt, NOW).unwrap().columns.versions.retry_state, 41);
    chat.retry_state = None;
    assert_eq!(step(&chat, &attempt, NOW).unwrap().columns.versions.retry_state, 10);
}

#[test]
fn a_step_without_rows_is_applied_but_leaves_history_alone() {
    let plan = step(&chat(State::R1, 1), &Command::CommitStep(Vec::new()), NOW).unwrap();
    let v = plan.columns.versions;
    assert_eq!((v.snapshot, v.history, v.attempt), (41, 30, 3));
    assert!(plan.writes.is_empty());
}

#[test]
fn an_edit_of_a_chat_without_a_queue_leaves_the_queue_version_alone() {
    let edit = command(CommandKind::EditMessage);
    let plan = step(&chat(State::R0, 0), &edit, NOW).unwrap();
    assert_eq!(brief(&plan), ["delete from 10", "+user edited"]);
    assert_eq!(plan.columns.versions.queue, 20);
    let plan = step(&chat(State::R1, 2), &edit, NOW).unwrap();
    assert_eq!(brief(&plan), ["delete from 10", "clear queue", "+user edited"]);
    assert_eq!(plan.columns.versions.queue, 41);
}

#[test]
fn several_commands_are_one_transaction() {
    let mut chat = chat(State::R0, 0);
    chat.open_calls.clear();
    let commands = [Command::CommitStep(vec![said("end")]), Command::FinishTurn, Command::Abandon];
    let plan = step_many(&chat, &commands, NOW).unwrap();
    assert_eq!(plan.lands_in, State::W);
    assert_eq!(plan.columns.versions.snapshot, 41);
    assert_eq!(plan.columns.versions.history, 41);
    assert_eq!(plan.columns.owner, None);
    assert_eq!(brief(&plan), ["+assistant end"]);

    let attempt_last = [Command::CommitStep(vec![said("x")]), Command::RecordGenerationAttempt];
    assert_eq!(step_many(&chat, &attempt_last, NOW).unwrap().columns.versions.attempt, 1);
}

#[test]
fn several_commands_are_refused_as_one() {
    let chat = chat(State::R0, 0);
    let commands = [Command::FinishTurn, Command::CommitStep(Vec::new()), Command::Abandon];
    let refusal = step_many(&chat, &commands, NOW).unwrap_err();
    assert_eq!(refusal.to_string(), "commit_step is not allowed while the chat is W");
}

#[test]
fn no_command_changes_nothing() {
    let chat = chat(State::I1, 2);
    let plan = step_many(&chat, &[], NOW).unwrap();
    assert!(plan.writes.is_empty());
    assert_eq!(plan.columns.versions, chat.versions);
    assert_eq!(plan.lands_in, State::I1);
}

#[test]
fn a_message_queued_and_taken_in_one_transaction_goes_straight_into_history() {
    let mut chat = chat(State::R0, 0);
    chat.open_calls.clear();
    let send = |text: &str| Command::SendMessage { message: user(text), busy: Busy::Queue, max_queue: 20 };
    let commands = [send("a"), send("b"), Command::FinishTurn];
    let plan = step_many(&chat, &commands, NOW).unwrap();
    assert_eq!(brief(&plan), ["+user a", "enqueue user b"]);
    assert_eq!(plan.lands_in, State::R1);
}

#[test]
fn a_message_promoted_and_taken_in_one_transaction_is_the_promoted_one() {
    let mut chat = chat(State::R1, 3);
    chat.open_calls.clear();
    let finish = Command::FinishInterruption { partial: Vec::new() };
    let commands = [Command::PromoteQueuedMessage(QueuedId(102)), finish];
    let plan = step_many(&chat, &commands, NOW).unwrap();
    assert_eq!(brief(&plan), ["to head 102", "take 102"]);
    assert_eq!(plan.lands_in, State::R1);
}
