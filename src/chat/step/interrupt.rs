//! Interrupt, FinishInterruption.

use super::draft::Draft;
use crate::chat::{
    answers,
    message::NewMessage,
    plan::Refusal,
    state::{State, Status},
};

/// Stops what is under way. A pending client-side call needs no finishing: it is cancelled at once.
pub(super) fn interrupt(draft: &mut Draft<'_>, reason: &str) -> Result<(), Refusal> {
    match draft.state() {
        State::R0 | State::R1 => draft.go(Status::Interrupting),
        State::A0 | State::A1 => {
            draft.cancel_pending(reason);
            draft.go(Status::Running);
        }
        State::W
        | State::E0
        | State::E1
        | State::I0
        | State::I1
        | State::XW
        | State::XE0
        | State::XE1
        | State::Invalid(_, _, _) => return draft.refuse(),
    }
    Ok(())
}

/// Commits what the interrupted turn had brought forth, and goes on with the queue.
pub(super) fn finish(draft: &mut Draft<'_>, partial: &[NewMessage]) -> Result<(), Refusal> {
    let next = match draft.state() {
        State::I0 => Status::Waiting,
        State::I1 => Status::Running,
        State::W
        | State::E0
        | State::E1
        | State::R0
        | State::R1
        | State::A0
        | State::A1
        | State::XW
        | State::XE0
        | State::XE1
        | State::Invalid(_, _, _) => return draft.refuse(),
    };
    // A result must follow its call directly, so older calls are answered before the partial output
    // and its own calls after it.
    draft.cancel_open_but_for(partial, answers::INTERRUPTED);
    draft.insert_all(partial);
    draft.cancel_open(answers::INTERRUPTED);
    draft.take_head();
    draft.go(next);
    Ok(())
}
