//! Rules that hold across commands: the marker, the error, the deadline, ownership, the queue.

use super::fixture::{
    BEFORE, DEADLINE, NOW, TARGET, all_plans, all_states, brief, chat, command, json, owner, user,
};
use crate::{
    chat::{
        command::{Busy, Command, CommandKind},
        message::Role,
        plan::Refusal,
        state::{EditTarget, State, Status},
        step::step,
    },
    ids::{MessageId, QueuedId},
};

/// What becomes of the compaction marker: `+` kept, `0` cleared, `!` set to now, `.` refused.
const MARKER: &str = "
    command                    W E0 E1 R0 R1 I0 I1 A0 A1 XW XE0 XE1
    send_message_queue         0 0  0  +  +  +  +  +  +  .  .   .
    send_message_interrupt     0 0  0  0  0  +  +  0  0  .  .   .
    edit_message               0 0  0  0  0  0  0  0  0  .  .   .
    delete_queued_message      . .  0  .  0  .  0  .  0  .  .   .
    promote_queued_message     . .  0  .  0  .  0  .  0  .  .   .
    interrupt                  . .  .  0  0  .  .  0  0  .  .   .
    complete_requires_action   . .  .  .  .  .  .  0  0  .  .   .
    request_compaction         ! !  !  .  .  .  .  .  .  .  .   .
    clear_context              0 0  .  .  .  .  .  .  .  .  .   .
    archive                    + +  +  .  .  .  .  .  .  .  .   .
    unarchive                  . .  .  .  .  .  .  .  .  +  +   +
    record_generation_attempt  . .  .  0  0  .  .  .  .  .  .   .
    record_retry_state         . .  .  0  0  .  .  .  .  .  .   .
    commit_step                . .  .  0  0  .  .  .  .  .  .   .
    enter_requires_action      . .  .  0  0  .  .  .  .  .  .   .
    finish_turn                . .  .  0  0  .  .  .  .  .  .   .
    finish_interruption        . .  .  .  .  0  0  .  .  .  .   .
    finish_error               0 .  .  0  0  .  .  .  .  .  .   .
    cancel_requires_action     . .  .  .  .  .  .  0  0  .  .   .
    reconcile_invalid_state    . .  .  .  .  .  .  .  .  .  .   .
    acquire                    . .  .  +  +  +  +  +  +  .  .   .
    abandon                    + +  +  +  +  +  +  +  +  +  +   +
";

#[test]
fn the_compaction_marker_survives_only_what_the_table_says() {
    let lines: Vec<&str> = MARKER.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(lines.len(), 23);
    for kind in CommandKind::ALL {
        let line = lines.iter().find(|line| line.split(' ').next() == Some(kind.as_str())).unwrap();
        let cells: Vec<&str> = line.split_whitespace().skip(1).collect();
        for (state, cell) in State::LEGAL.into_iter().zip(cells) {
            let marker = step(&chat(state, 2), &command(kind), NOW);
            let marker = marker.map(|plan| plan.columns.compaction_requested_at);
            let expected = match cell {
                "+" => Ok(Some(BEFORE)),
                "0" => Ok(None),
                "!" => Ok(Some(NOW)),
                "." => Err(Refusal::NotAllowed { command: kind, from: state }),
                other => panic!("{other}"),
            };
            assert_eq!(marker, expected, "{kind} in {state}");
        }
    }
}

#[test]
fn leaving_the_error_states_clears_the_error_and_nothing_else_does() {
    for (chat, command, plan) in all_plans() {
        let expected = match (&command, plan.columns.status) {
            (Command::FinishError { .. }, _) => Some(json(r#"{"message":"new"}"#)),
            (Command::ReconcileInvalidState { .. }, _) => Some(json(r#"{"message":"found"}"#)),
            (_, Status::Error) => Some(json(r#"{"message":"old"}"#)),
            (_, _) => None,
        };
        assert_eq!(plan.columns.last_error, expected, "{} in {}", command.kind(), chat.state());
    }
}

#[test]
fn the_deadline_stands_in_requires_action_only() {
    for (chat, command, plan) in all_plans() {
        let deadline = plan.columns.requires_action_deadline_at;
        let expected = (plan.columns.status == Status::RequiresAction).then_some(DEADLINE);
        assert_eq!(deadline, expected, "{} in {}", command.kind(), chat.state());
    }
}

#[test]
fn only_the_ownership_commands_change_the_owner_and_they_change_nothing_else() {
    for (chat, command, plan) in all_plans() {
        let expected = match command.kind() {
            CommandKind::Acquire => Some(owner(90)),
            CommandKind::Abandon => None,
            _ => Some(owner(50)),
        };
        assert_eq!(plan.columns.owner, expected);
        if matches!(command, Command::Acquire(_) | Command::Abandon) {
            assert!(plan.writes.is_empty());
            assert_eq!(plan.lands_in, chat.state());
            assert_eq!(plan.columns.last_error, chat.last_error);
            assert_eq!(plan.columns.retry_state, chat.retry_state);
            assert_eq!(plan.columns.requires_action_deadline_at, chat.requires_action_deadline_at);
        }
    }
}

#[test]
fn archiving_touches_the_flag_only() {
    for (chat, command, plan) in all_plans() {
        if let Command::SetArchived(archived) = command {
            assert_eq!(plan.columns.archived, archived);
            assert_eq!(plan.columns.status, chat.status);
            assert!(plan.writes.is_empty());
        }
    }
}

fn send(state: State, queued: i64, busy: Busy, max_queue: usize) -> Result<Vec<String>, Refusal> {
    let mut chat = chat(state, queued);
    chat.open_calls.clear();
    let command = Command::SendMessage { message: user("new"), busy, max_queue };
    step(&chat, &command, NOW).map(|plan| brief(&plan))
}

#[test]
fn a_message_goes_into_history_when_idle_and_into_the_queue_when_busy() {
    for busy in [Busy::Queue, Busy::Interrupt] {
        for idle in [State::W, State::E0] {
            assert_eq!(send(idle, 0, busy, 20).unwrap(), ["+user new"]);
        }
        for at_work in [State::R0, State::R1, State::I0, State::I1, State::A0, State::A1] {
            assert_eq!(send(at_work, 2, busy, 20).unwrap(), ["enqueue user new"]);
        }
        assert_eq!(send(State::E1, 2, busy, 20).unwrap(), ["take 101", "enqueue user new"]);
    }
}

#[test]
fn a_full_queue_refuses_whatever_would_queue_one_more() {
    for busy in [Busy::Queue, Busy::Interrupt] {
        for state in [State::E1, State::R1, State::I1, State::A1] {
            assert_eq!(send(state, 3, busy, 3), Err(Refusal::QueueFull { max: 3 }), "{state}");
            assert!(send(state, 2, busy, 3).is_ok(), "{state}");
        }
        assert!(send(State::W, 0, busy, 0).is_ok());
        assert_eq!(send(State::R0, 0, busy, 0), Err(Refusal::QueueFull { max: 0 }));
    }
    let archived = send(State::XE1, 3, Busy::Queue, 3);
    assert!(matches!(archived, Err(Refusal::NotAllowed { .. })), "the state is judged first");
}

#[test]
fn promoting_takes_the_chosen_message_not_the_head() {
    let promote = Command::PromoteQueuedMessage(QueuedId(102));
    let plan = |state| {
        let mut chat = chat(state, 3);
        chat.open_calls.clear();
        brief(&step(&chat, &promote, NOW).unwrap())
    };
    assert_eq!(plan(State::E1), ["take 102"]);
    assert_eq!(plan(State::A1), ["take 102"]);
    assert_eq!(plan(State::R1), ["to head 102"]);
    assert_eq!(plan(State::I1), ["to head 102"]);
}

#[test]
fn unknown_queued_messages_are_refused_as_such() {
    for state in [State::E1, State::R1, State::I1, State::A1] {
        for command in
            [Command::DeleteQueuedMessage(QueuedId(999)), Command::PromoteQueuedMessage(QueuedId(999))]
        {
            let refusal = step(&chat(state, 2), &command, NOW).unwrap_err();
            assert_eq!(refusal, Refusal::QueuedMessageNotFound);
        }
    }
    let delete = Command::DeleteQueuedMessage(QueuedId(102));
    assert_eq!(brief(&step(&chat(State::A1, 2), &delete, NOW).unwrap()), ["dequeue 102"]);
}

#[test]
fn only_a_user_message_of_this_chat_can_be_edited() {
    let edit = command(CommandKind::EditMessage);
    let mut chat = chat(State::R1, 2);
    for role in [Role::System, Role::Assistant, Role::Tool] {
        chat.edit_target = Some(EditTarget { id: TARGET, role });
        assert_eq!(step(&chat, &edit, NOW), Err(Refusal::OnlyUserMessagesCanBeEdited));
    }
    chat.edit_target = Some(EditTarget { id: MessageId(11), role: Role::User });
    assert_eq!(step(&chat, &edit, NOW), Err(Refusal::EditedMessageNotFound));
    chat.edit_target = None;
    assert_eq!(step(&chat, &edit, NOW), Err(Refusal::EditedMessageNotFound));
}

#[test]
fn no_plan_drops_a_queued_message_unless_it_was_asked_to() {
    for (chat, command, plan) in all_plans() {
        let writes = brief(&plan);
        let asked = matches!(command, Command::EditMessage { .. } | Command::DeleteQueuedMessage(_));
        let drops = writes.iter().any(|write| write == "clear queue" || write.starts_with("dequeue"));
        assert!(asked || !drops, "{} in {}", command.kind(), chat.state());
    }
}

#[test]
fn a_compaction_that_is_asked_for_keeps_the_queue() {
    let plan = step(&chat(State::E1, 2), &Command::RequestCompaction, NOW).unwrap();
    assert!(plan.writes.is_empty());
    assert_eq!(plan.lands_in, State::R1);
}

#[test]
fn reconciling_unarchives_and_keeps_the_queue() {
    for state in all_states() {
        let Ok(plan) = step(&chat(state, 2), &command(CommandKind::ReconcileInvalidState), NOW) else {
            continue;
        };
        assert!(!plan.columns.archived);
        assert_eq!(plan.columns.status, Status::Error);
        assert_eq!(brief(&plan), ["+tool result c", "+tool result d"], "{state}");
    }
}
