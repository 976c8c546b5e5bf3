//! Every command in every state, against a table copied by hand from state-machine.md §3 and
//! api.md §2.2.

use super::fixture::{INVALID, NOW, all_states, chat, command};
use crate::chat::{
    command::CommandKind,
    plan::Refusal,
    state::{State, Status},
    step::{create, step},
};
use std::collections::HashMap;

/// Where the chat lands. `-` is refused, `=` keeps the state. With `a/b` the chat lands in `a` when
/// the queue held one message and in `b` when it held two.
const TABLE: &str = "
    command                    W   E0  E1     R0  R1     I0  I1     A0  A1     XW  XE0 XE1
    send_message_queue         R0  R0  R1/R1  R1  R1     I1  I1     A1  A1     -   -   -
    send_message_interrupt     R0  R0  R1/R1  I1  I1     I1  I1     R1  R1     -   -   -
    edit_message               R0  R0  R0     R0  R0     R0  R0     R0  R0     -   -   -
    delete_queued_message      -   -   E0/E1  -   R0/R1  -   I0/I1  -   A0/A1  -   -   -
    promote_queued_message     -   -   R0/R1  -   I1     -   I1     -   R0/R1  -   -   -
    interrupt                  -   -   -      I0  I1     -   -      R0  R1     -   -   -
    complete_requires_action   -   -   -      -   -      -   -      R0  R1     -   -   -
    request_compaction         R0  R0  R1     -   -      -   -      -   -      -   -   -
    clear_context              W   W   -      -   -      -   -      -   -      -   -   -
    archive                    XW  XE0 XE1    -   -      -   -      -   -      -   -   -
    unarchive                  -   -   -      -   -      -   -      -   -      W   E0  E1
    record_generation_attempt  -   -   -      R0  R1     -   -      -   -      -   -   -
    record_retry_state         -   -   -      R0  R1     -   -      -   -      -   -   -
    commit_step                -   -   -      R0  R1     -   -      -   -      -   -   -
    enter_requires_action      -   -   -      A0  A1     -   -      -   -      -   -   -
    finish_turn                -   -   -      W   R0/R1  -   -      -   -      -   -   -
    finish_interruption        -   -   -      -   -      W   R0/R1  -   -      -   -   -
    finish_error               E0  -   -      E0  E1     -   -      -   -      -   -   -
    cancel_requires_action     -   -   -      -   -      -   -      R0  R1     -   -   -
    reconcile_invalid_state    -   -   -      -   -      -   -      -   -      -   -   -
    acquire                    -   -   -      R0  R1     I0  I1     A0  A1     -   -   -
    abandon                    W   E0  E1     R0  R1     I0  I1     A0  A1     XW  XE0 XE1
";

/// The table by command and state.
fn table() -> HashMap<(&'static str, &'static str), &'static str> {
    let mut lines = TABLE.lines().map(str::trim).filter(|line| !line.is_empty());
    let states: Vec<&str> = lines.next().unwrap().split_whitespace().skip(1).collect();
    assert_eq!(states.len(), 12);
    let mut cells = HashMap::new();
    for line in lines {
        let mut words = line.split_whitespace();
        let name = words.next().unwrap();
        let row: Vec<&str> = words.collect();
        assert_eq!(row.len(), 12, "{name}");
        cells.extend(states.iter().zip(row).map(|(state, cell)| ((name, *state), cell)));
    }
    assert_eq!(cells.len(), 22 * 12);
    cells
}

#[test]
fn every_legal_state_answers_every_command_as_the_table_says() {
    let table = table();
    for from in State::LEGAL {
        for kind in CommandKind::ALL {
            let cell = table[&(kind.as_str(), from.to_string().as_str())];
            for queued in [1, 2] {
                let expected = match (cell.split_once('/'), queued) {
                    (Some((last, _)), 1) => last,
                    (Some((_, more)), _) => more,
                    (None, _) => cell,
                };
                match step(&chat(from, queued), &command(kind), NOW) {
                    Ok(plan) => assert_eq!(plan.lands_in.to_string(), expected, "{kind} in {from}"),
                    Err(refusal) => {
                        assert_eq!("-", expected, "{kind} in {from}: {refusal}");
                        assert_eq!(refusal, Refusal::NotAllowed { command: kind, from });
                    }
                }
            }
        }
    }
}

#[test]
fn an_invalid_state_allows_nothing_but_reconcile_and_abandon() {
    for from in INVALID {
        for kind in CommandKind::ALL {
            let landed = step(&chat(from, 2), &command(kind), NOW).map(|plan| plan.lands_in);
            let expected = match (kind, from) {
                (CommandKind::ReconcileInvalidState, State::Invalid(_, true, _)) => Ok(State::E1),
                (CommandKind::ReconcileInvalidState, _) => Ok(State::E0),
                (CommandKind::Abandon, _) => Ok(from),
                _ => Err(Refusal::NotAllowed { command: kind, from }),
            };
            assert_eq!(landed, expected, "{kind} in {from}");
        }
    }
}

#[test]
fn the_samples_cover_all_combinations_of_the_stored_facts() {
    let mut combinations = Vec::new();
    for status in Status::ALL {
        for queued in [false, true] {
            for archived in [false, true] {
                combinations.push(State::classify(status, queued, archived));
            }
        }
    }
    assert_eq!(combinations.len(), all_states().count());
    for state in all_states() {
        assert!(combinations.contains(&state), "{state}");
        assert_eq!(chat(state, 1).state(), state);
    }
}

#[test]
fn an_unowned_chat_cannot_be_abandoned_and_a_runnable_one_can_be_acquired() {
    for from in all_states() {
        let mut unowned = chat(from, 1);
        unowned.owner = None;
        assert!(step(&unowned, &command(CommandKind::Abandon), NOW).is_err(), "{from}");
        let acquired = step(&unowned, &command(CommandKind::Acquire), NOW);
        let runnable = matches!(from, State::R0 | State::R1 | State::I0 | State::I1 | State::A0 | State::A1);
        assert_eq!(acquired.is_ok(), runnable, "{from}");
    }
}

#[test]
fn the_plan_lands_where_its_columns_and_its_queue_say() {
    for (chat, command, plan) in super::fixture::all_plans() {
        let queued = super::database::queue_after(&chat.queue, &plan);
        let columns = &plan.columns;
        let state = State::classify(columns.status, queued > 0, columns.archived);
        assert_eq!(plan.lands_in, state, "{} in {}", command.kind(), chat.state());
    }
}

#[test]
fn a_new_chat_runs() {
    let plan = create(vec![super::fixture::said("system"), super::fixture::user("hello")], None);
    assert_eq!(plan.lands_in, State::R0);
    assert_eq!(super::fixture::brief(&plan), ["+assistant system", "+user hello"]);
    let v = plan.columns.versions;
    assert_eq!((v.snapshot, v.history, v.queue, v.retry_state, v.attempt), (1, 1, 0, 0, 0));
    assert_eq!(plan.columns.status, Status::Running);
    assert!(!plan.columns.archived && plan.columns.owner.is_none());
}
