//! DeleteQueuedMessage, PromoteQueuedMessage.

use super::draft::Draft;
use crate::{
    chat::{
        plan::Refusal,
        state::{State, Status},
    },
    ids::QueuedId,
};

/// Takes a message out of the queue.
pub(super) fn delete(draft: &mut Draft<'_>, id: QueuedId) -> Result<(), Refusal> {
    match draft.state() {
        State::E1 | State::R1 | State::I1 | State::A1 => draft.dequeue(id),
        State::W
        | State::E0
        | State::R0
        | State::I0
        | State::A0
        | State::XW
        | State::XE0
        | State::XE1
        | State::Invalid(_, _, _) => draft.refuse(),
    }
}

/// Makes a queued message the next one: at once where nothing is under way, else by interrupting.
pub(super) fn promote(draft: &mut Draft<'_>, id: QueuedId) -> Result<(), Refusal> {
    match draft.state() {
        State::E1 | State::A1 => {
            draft.take_queued(id)?;
            draft.go(Status::Running);
            Ok(())
        }
        State::R1 | State::I1 => {
            draft.move_to_head(id)?;
            draft.go(Status::Interrupting);
            Ok(())
        }
        State::W
        | State::E0
        | State::R0
        | State::I0
        | State::A0
        | State::XW
        | State::XE0
        | State::XE1
        | State::Invalid(_, _, _) => draft.refuse(),
    }
}
