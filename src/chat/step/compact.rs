//! RequestCompaction, ClearContext.

use super::draft::Draft;
use crate::chat::{
    message::NewMessage,
    plan::Refusal,
    state::{State, Status},
};

/// Starts a turn that compacts the history. A queue stays as it is.
pub(super) fn request(draft: &mut Draft<'_>) -> Result<(), Refusal> {
    match draft.state() {
        State::W | State::E0 | State::E1 => {
            draft.go(Status::Running);
            draft.columns.compaction_requested_at = Some(draft.now());
            Ok(())
        }
        State::R0
        | State::R1
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

/// Hides the history so far from the model. The marker rows may hold a row in the role of the user,
/// which counts as a user message: open calls are answered before it.
pub(super) fn clear(draft: &mut Draft<'_>, rows: &[NewMessage]) -> Result<(), Refusal> {
    match draft.state() {
        State::W | State::E0 => {
            draft.insert_all(rows);
            draft.go(Status::Waiting);
            Ok(())
        }
        State::E1
        | State::R0
        | State::R1
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
