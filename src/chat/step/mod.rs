//! `(&Chat, &Command, now) -> Result<Plan, Refusal>`: dispatch, and the table of legal moves.
//!
//! One file per command family. Each matches every [`State`] by name, so that a new state does not
//! compile until every command has an answer for it. Rules that hold across commands live where
//! they cannot be forgotten: in [`draft::Draft`] and in [`keeps_compaction_marker`].

mod action;
mod archive;
mod compact;
mod draft;
mod edit;
mod interrupt;
mod own;
mod queue;
mod reconcile;
mod run;
mod send;

use super::{
    command::{Busy, Command},
    message::NewMessage,
    plan::{Columns, Plan, Refusal, Write},
    state::{Chat, Owner, State, Status, Versions},
};
use crate::clock::Timestamp;
use draft::Draft;

/// Applies one command to the facts of a chat.
///
/// # Errors
/// When the pair of state and command is not in the table of state-machine.md §3, or the command's
/// own conditions do not hold. Nothing is to be written then.
pub fn step(chat: &Chat, command: &Command, now: Timestamp) -> Result<Plan, Refusal> {
    step_many(chat, std::slice::from_ref(command), now)
}

/// Applies several commands, one after the other, as one transaction: all of them or none, with one
/// advance of the snapshot version. Without commands the plan changes nothing.
///
/// [`Chat::open_calls`] must be loaded if any of the commands needs them.
///
/// # Errors
/// The refusal of the first command that is refused.
pub fn step_many(chat: &Chat, commands: &[Command], now: Timestamp) -> Result<Plan, Refusal> {
    let mut draft = Draft::of(chat, now);
    for command in commands {
        draft.begin(command.kind());
        if !keeps_compaction_marker(command, draft.state()) {
            draft.columns.compaction_requested_at = None;
        }
        apply(&mut draft, command)?;
    }
    Ok(draft.into_plan())
}

/// Create: N→R0, and Acquire if somebody claims the chat at once. `initial` are the rows a new chat
/// starts with, in order.
#[must_use]
pub fn create(initial: Vec<NewMessage>, owner: Option<Owner>) -> Plan {
    Plan {
        writes: initial.into_iter().map(Write::Insert).collect(),
        columns: Columns {
            status: Status::Running,
            archived: false,
            // Whoever claims it asks the model next.
            versions: Versions {
                snapshot: 1,
                history: 1,
                queue: 0,
                retry_state: 0,
                attempt: i64::from(owner.is_some()),
            },
            owner,
            last_error: None,
            retry_state: None,
            requires_action_deadline_at: None,
            compaction_requested_at: None,
        },
        lands_in: State::R0,
    }
}

fn apply(draft: &mut Draft<'_>, command: &Command) -> Result<(), Refusal> {
    match command {
        Command::SendMessage { message, busy, max_queue } => send::send(draft, message, *busy, *max_queue),
        Command::EditMessage { target, replacement } => edit::edit(draft, *target, replacement),
        Command::DeleteQueuedMessage(id) => queue::delete(draft, *id),
        Command::PromoteQueuedMessage(id) => queue::promote(draft, *id),
        Command::Interrupt { reason } => interrupt::interrupt(draft, reason),
        Command::FinishInterruption { partial } => interrupt::finish(draft, partial),
        Command::CompleteRequiresAction(results) => action::complete(draft, results),
        Command::EnterRequiresAction { deadline } => action::enter(draft, *deadline),
        Command::CancelRequiresAction { reason } => action::cancel(draft, reason),
        Command::RequestCompaction => compact::request(draft),
        Command::ClearContext { rows } => compact::clear(draft, rows),
        Command::SetArchived(archived) => archive::set(draft, *archived),
        Command::RecordGenerationAttempt => run::record_attempt(draft),
        Command::RecordRetryState(retry) => run::record_retry(draft, retry),
        Command::CommitStep(rows) => run::commit_step(draft, rows),
        Command::FinishTurn => run::finish_turn(draft),
        Command::FinishError { error } => run::finish_error(draft, error),
        Command::ReconcileInvalidState { error } => reconcile::reconcile(draft, error),
        Command::Acquire(owner) => own::acquire(draft, *owner),
        Command::Abandon => own::abandon(draft),
    }
}

/// The marker of a manual compaction survives Acquire, Abandon, SetArchived and queueing on a busy
/// chat; every other transition clears it (state-machine.md §3). RequestCompaction then sets it anew.
fn keeps_compaction_marker(command: &Command, from: State) -> bool {
    match command {
        Command::Acquire(_) | Command::Abandon | Command::SetArchived(_) => true,
        Command::SendMessage { busy, .. } => queues_on_a_busy_chat(*busy, from),
        Command::EditMessage { .. }
        | Command::DeleteQueuedMessage(_)
        | Command::PromoteQueuedMessage(_)
        | Command::Interrupt { .. }
        | Command::FinishInterruption { .. }
        | Command::CompleteRequiresAction(_)
        | Command::EnterRequiresAction { .. }
        | Command::CancelRequiresAction { .. }
        | Command::RequestCompaction
        | Command::ClearContext { .. }
        | Command::RecordGenerationAttempt
        | Command::RecordRetryState(_)
        | Command::CommitStep(_)
        | Command::FinishTurn
        | Command::FinishError { .. }
        | Command::ReconcileInvalidState { .. } => false,
    }
}

/// Whether a message that is sent is put into the queue and nothing else happens.
fn queues_on_a_busy_chat(busy: Busy, from: State) -> bool {
    match (from, busy) {
        (State::I0 | State::I1, Busy::Queue | Busy::Interrupt) => true,
        (State::R0 | State::R1 | State::A0 | State::A1, busy) => busy == Busy::Queue,
        (
            State::W | State::E0 | State::E1 | State::XW | State::XE0 | State::XE1 | State::Invalid(_, _, _),
            Busy::Queue | Busy::Interrupt,
        ) => false,
    }
}
