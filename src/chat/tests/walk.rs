//! Random walks: the state machine on a store in memory against the naive model.

use super::{
    database::{CLIENT_TOOL, Database},
    fixture::{DEADLINE, calls, json, owner, result, said, user},
    model::{Entry, MAX_QUEUE, Model, Move},
};
use crate::{
    chat::{
        command::{Busy, Command, SubmittedResult},
        message::{NewMessage, Part, Role},
        state::Versions,
    },
    ids::{MessageId, QueuedId},
};
use proptest::prelude::*;
use std::collections::BTreeSet;

/// One random step: what, and which one. Meaning is given to it by [`choose`].
type Dice = (u8, u8);

/// What a broken writer would do: makes the state invalid. Not a move of the machine.
const CORRUPT: [u8; 2] = [0, 44];

fn choose((what, which): Dice, model: &Model, n: usize) -> Move {
    let text = format!("m{n}");
    let pick = usize::from(which);
    // One in eight aims at something that does not exist.
    let queued = match model.queue.len() {
        length if length > 0 && which % 8 > 0 => model.queue[pick % length].0,
        _ => 9_999,
    };
    match what {
        1..=7 => Move::Send { text, interrupt: what > 5 },
        8 => {
            let target = model.history[pick % model.history.len()].0;
            Move::Edit { target: if which % 8 > 0 { target } else { 9_999 }, text }
        }
        9..=10 => Move::Delete(queued),
        11..=12 => Move::Promote(queued),
        13 => Move::Interrupt,
        14..=15 => Move::Complete(results(model, which)),
        16 => Move::Compact,
        17 => Move::Clear { text },
        18 => Move::Archive(true),
        19..=20 => Move::Archive(false),
        21 => Move::Attempt,
        22 => Move::Retry(which % 3),
        23..=28 => Move::Step(entries(model, which, n)),
        29..=31 => Move::Enter,
        32..=33 => Move::Finish,
        34..=36 => Move::FinishInterruption(entries(model, which % 7, n)),
        37 => Move::Fail,
        38 => Move::Cancel,
        39..=41 => Move::Reconcile,
        42 => Move::Acquire,
        _ => Move::Abandon,
    }
}

/// Mostly the right results, sometimes one too many, too few, twice, or not JSON.
fn results(model: &Model, which: u8) -> Vec<(String, bool)> {
    let pending = model.open().into_iter().filter(|(_, client)| *client);
    let mut results: Vec<(String, bool)> = pending.map(|(id, _)| (id, true)).rev().collect();
    match which % 10 {
        0 => results.push(("stray".to_owned(), true)),
        1 => drop(results.pop()),
        2 => results.extend(results.first().cloned()),
        3 => results.iter_mut().take(1).for_each(|result| result.1 = false),
        _ => {}
    }
    results
}

fn entries(model: &Model, which: u8, n: usize) -> Vec<Entry> {
    let call = |letter: char, client| Entry::Call { id: format!("{letter}{n}"), client };
    let said = Entry::Said(format!("s{n}"));
    match which % 9 {
        0 => Vec::new(),
        1 => vec![said, call('l', false)],
        2 | 3 => vec![call('c', true), call('d', true)],
        4 => vec![call('c', true), call('l', false)],
        5 => model.open().into_iter().take(1).map(|(id, _)| Entry::Result(id)).collect(),
        6 => vec![call('p', false), Entry::Result(format!("p{n}"))],
        7 => vec![Entry::User(format!("m{n}"))],
        _ => vec![said],
    }
}

fn row(entry: &Entry) -> NewMessage {
    match entry {
        Entry::User(text) => user(text),
        Entry::Said(text) => said(text),
        Entry::Call { id, client } => calls(&[(id, if *client { CLIENT_TOOL } else { "local" })]),
        Entry::Result(id) => result(id, "tool"),
    }
}

fn command(step: &Move) -> Command {
    let rows = |entries: &[Entry]| entries.iter().map(row).collect();
    let reason = "reason".to_owned();
    match step {
        Move::Send { text, interrupt } => Command::SendMessage {
            message: user(text),
            busy: if *interrupt { Busy::Interrupt } else { Busy::Queue },
            max_queue: MAX_QUEUE,
        },
        Move::Edit { target, text } => {
            Command::EditMessage { target: MessageId(*target), replacement: user(text) }
        }
        Move::Delete(id) => Command::DeleteQueuedMessage(QueuedId(*id)),
        Move::Promote(id) => Command::PromoteQueuedMessage(QueuedId(*id)),
        Move::Interrupt => Command::Interrupt { reason },
        Move::Complete(results) => Command::CompleteRequiresAction(
            results
                .iter()
                .map(|(id, is_json)| SubmittedResult {
                    tool_call_id: id.clone(),
                    output: if *is_json { "[1]" } else { "[1" }.to_owned(),
                    is_error: false,
                })
                .collect(),
        ),
        Move::Compact => Command::RequestCompaction,
        Move::Clear { text } => Command::ClearContext { rows: vec![user(text)] },
        Move::Archive(archive) => Command::SetArchived(*archive),
        Move::Attempt => Command::RecordGenerationAttempt,
        Move::Retry(n) => Command::RecordRetryState(json(&n.to_string())),
        Move::Step(entries) => Command::CommitStep(rows(entries)),
        Move::Enter => Command::EnterRequiresAction { deadline: DEADLINE },
        Move::Finish => Command::FinishTurn,
        Move::FinishInterruption(entries) => Command::FinishInterruption { partial: rows(entries) },
        Move::Fail => Command::FinishError { error: json("{}") },
        Move::Cancel => Command::CancelRequiresAction { reason },
        Move::Reconcile => Command::ReconcileInvalidState { error: json("{}") },
        Move::Acquire => Command::Acquire(owner(1)),
        Move::Abandon => Command::Abandon,
    }
}

fn text_of(message: &NewMessage) -> String {
    match message.content.read::<Vec<Part>>().unwrap().swap_remove(0) {
        Part::Text { text } => text,
        other => panic!("{other:?}"),
    }
}

/// The user messages a move puts into the chat's care.
fn accepted(step: &Move) -> Vec<String> {
    match step {
        Move::Send { text, .. } | Move::Edit { text, .. } | Move::Clear { text } => vec![text.clone()],
        Move::Step(entries) | Move::FinishInterruption(entries) => entries
            .iter()
            .filter_map(|entry| match entry {
                Entry::User(text) => Some(text.clone()),
                Entry::Said(_) | Entry::Call { .. } | Entry::Result(_) => None,
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// The stored chat as the model would describe it.
fn described(database: &Database, model: &Model) -> Model {
    let mut history = Vec::new();
    for row in database.active() {
        let part = row.message.content.read::<Vec<Part>>().unwrap().swap_remove(0);
        let entry = match (row.message.role, part) {
            (Role::User, Part::Text { text }) => Entry::User(text),
            (Role::Assistant, Part::Text { text }) => Entry::Said(text),
            (Role::Assistant, Part::ToolCall(call)) => {
                Entry::Call { client: call.tool_name == CLIENT_TOOL, id: call.tool_call_id }
            }
            (Role::Tool, Part::ToolResult(result)) => Entry::Result(result.tool_call_id),
            other => panic!("{other:?}"),
        };
        history.push((row.id, entry));
    }
    let chat = &database.chat;
    Model {
        status: chat.status.as_str(),
        archived: chat.archived,
        history,
        queue: database.queue.iter().map(|(id, message)| (*id, text_of(message))).collect(),
        snapshot: chat.versions.snapshot,
        history_version: chat.versions.history,
        queue_version: chat.versions.queue,
        retry_version: chat.versions.retry_state,
        attempt: chat.versions.attempt,
        retry: chat.retry_state.as_ref().map(|retry| retry.read().unwrap()),
        error: chat.last_error.is_some(),
        deadline: chat.requires_action_deadline_at.is_some(),
        marker: chat.compaction_requested_at.is_some(),
        owned: chat.owner.is_some(),
        // Counters of the model's own.
        next_message: model.next_message,
        next_queued: model.next_queued,
    }
}

fn corrupt(database: &mut Database, model: &mut Model, which: u8) {
    let mut broken = model.clone();
    broken.archived = true;
    if which.is_multiple_of(2) || broken.is_valid() {
        broken.archived = model.archived;
        broken.status = "waiting";
    }
    if broken.is_valid() {
        return;
    }
    database.chat.archived = broken.archived;
    if broken.status == "waiting" {
        database.chat.status = crate::chat::state::Status::Waiting;
    }
    *model = broken;
}

/// Every accepted user message is in exactly one place.
fn check_conservation(database: &Database, accepted: &[String]) {
    let users = database.rows.iter().filter(|row| row.message.role == Role::User);
    let rows = users.map(|row| &row.message);
    let queued = database.queue.iter().map(|(_, message)| message);
    let mut found: Vec<String> = rows.chain(queued).chain(&database.dropped).map(text_of).collect();
    let mut accepted = accepted.to_vec();
    found.sort();
    accepted.sort();
    assert_eq!(found, accepted);
}

/// How many user messages were thrown away so far.
fn lost(database: &Database) -> usize {
    database.dropped.len() + database.rows.iter().filter(|row| row.deleted).count()
}

fn check_versions(old: Versions, new: Versions) {
    assert_eq!(new.snapshot, old.snapshot + 1);
    for (old, new) in [(old.history, new.history), (old.queue, new.queue), (old.retry_state, new.retry_state)]
    {
        assert!(new >= old, "{old} -> {new}");
    }
    assert!(new.history <= new.snapshot && new.queue <= new.snapshot);
    assert!(new.attempt >= old.attempt || (new.attempt == 0 && new.history > old.history));
}

/// Walks, and returns the states it saw.
fn walk(dice: &[Dice]) -> BTreeSet<String> {
    let mut model = Model::create("first");
    let mut database = Database::create(vec![user("first")]);
    let mut all = vec!["first".to_owned()];
    let mut seen = BTreeSet::new();
    for (n, &dice) in dice.iter().enumerate() {
        if CORRUPT.contains(&dice.0) {
            corrupt(&mut database, &mut model, dice.1);
            seen.insert(format!("{} {} {}", model.status, model.archived, !model.queue.is_empty()));
            continue;
        }
        let step = choose(dice, &model, n);
        let before = described(&database, &model);
        let (versions, lost_before) = (database.chat.versions, lost(&database));
        let outcome = database.run(&[command(&step)]);
        match (model.apply(&step), outcome) {
            (Some(next), Ok(())) => {
                model = next;
                all.extend(accepted(&step));
                check_versions(versions, database.chat.versions);
                let may_lose = matches!(step, Move::Edit { .. } | Move::Delete(_));
                assert!(may_lose || lost(&database) == lost_before, "{step:?}");
            }
            (None, Err(_)) => assert_eq!(described(&database, &model), before),
            (Some(_), Err(refusal)) => panic!("{step:?} refused: {refusal} by {model:?}"),
            (None, Ok(())) => panic!("{step:?} not refused by {model:?}"),
        }
        assert_eq!(described(&database, &model), model, "after {step:?}");
        check_conservation(&database, &all);
        // Panics if a call is unanswered before a user message.
        database.open_calls();
        seen.insert(format!("{} {} {}", model.status, model.archived, !model.queue.is_empty()));
    }
    seen
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn walks_agree_with_the_model(dice in prop::collection::vec((0..45_u8, any::<u8>()), 1..120)) {
        walk(&dice);
    }
}

/// Guards the walk itself: a long one must see all states, legal and invalid, or it tests little.
#[test]
fn a_long_walk_sees_every_state() {
    // Knuth's multiplier; any fixed sequence that is well mixed does.
    let mut seed = 2_u64;
    let mut roll = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        seed.to_be_bytes()
    };
    let mut seen = BTreeSet::new();
    for _ in 0..60 {
        let dice: Vec<Dice> = (0..120)
            .map(|_| {
                let r = roll();
                (r[0] % 45, r[1])
            })
            .collect();
        seen.extend(walk(&dice));
    }
    assert_eq!(seen.len(), 20, "{seen:#?}");
}
