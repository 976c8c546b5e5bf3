//! What a running turn records: attempts, steps, its end.

use super::draft::Draft;
use crate::chat::{
    json::Json,
    message::NewMessage,
    plan::Refusal,
    state::{State, Status},
};

/// A model call is about to start.
pub(super) fn record_attempt(draft: &mut Draft<'_>) -> Result<(), Refusal> {
    require_running(draft)?;
    draft.next_attempt();
    Ok(())
}

/// An attempt failed and another will follow.
pub(super) fn record_retry(draft: &mut Draft<'_>, retry: &Json) -> Result<(), Refusal> {
    require_running(draft)?;
    draft.columns.retry_state = Some(retry.clone());
    Ok(())
}

/// One step's output. A step without rows leaves history, and so the attempt, as they are.
pub(super) fn commit_step(draft: &mut Draft<'_>, rows: &[NewMessage]) -> Result<(), Refusal> {
    require_running(draft)?;
    draft.insert_all(rows);
    Ok(())
}

/// The turn is over; the next queued message, if any, starts another.
pub(super) fn finish_turn(draft: &mut Draft<'_>) -> Result<(), Refusal> {
    match draft.state() {
        State::R0 => draft.go(Status::Waiting),
        State::R1 => draft.take_head(),
        State::W
        | State::E0
        | State::E1
        | State::I0
        | State::I1
        | State::A0
        | State::A1
        | State::XW
        | State::XE0
        | State::XE1
        | State::Invalid(_, _, _) => return draft.refuse(),
    }
    Ok(())
}

/// The turn, or something outside a turn, failed for good. The queue waits for the user.
pub(super) fn finish_error(draft: &mut Draft<'_>, error: &Json) -> Result<(), Refusal> {
    match draft.state() {
        State::W | State::R0 | State::R1 => {
            draft.fail(error);
            Ok(())
        }
        State::E0
        | State::E1
        | State::I0
        | State::I1
        | State::A0
        | State::A1
        | State::XW
        | State::XE0
        | State::XE1
        | State::Invalid(_, _, _) => draft.refuse(),
    }
}

fn require_running(draft: &Draft<'_>) -> Result<(), Refusal> {
    match draft.state() {
        State::R0 | State::R1 => Ok(()),
        State::W
        | State::E0
        | State::E1
        | State::I0
        | State::I1
        | State::A0
        | State::A1
        | State::XW
        | State::XE0
        | State::XE1
        | State::Invalid(_, _, _) => draft.refuse(),
    }
}
