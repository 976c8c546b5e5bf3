//! SendMessage, both modes.

use super::draft::Draft;
use crate::chat::{
    answers,
    command::Busy,
    message::NewMessage,
    plan::Refusal,
    state::{State, Status},
};

/// A user message arrives.
pub(super) fn send(
    draft: &mut Draft<'_>,
    message: &NewMessage,
    busy: Busy,
    max_queue: usize,
) -> Result<(), Refusal> {
    let message = message.clone();
    match (draft.state(), busy) {
        (State::W | State::E0, Busy::Queue | Busy::Interrupt) => {
            draft.insert(message);
            draft.go(Status::Running);
            Ok(())
        }
        (State::E1, Busy::Queue | Busy::Interrupt) => {
            draft.enqueue(message, max_queue)?;
            draft.take_head();
            draft.go(Status::Running);
            Ok(())
        }
        (State::R0 | State::R1 | State::A0 | State::A1, Busy::Queue)
        | (State::I0 | State::I1, Busy::Queue | Busy::Interrupt) => draft.enqueue(message, max_queue),
        (State::R0 | State::R1, Busy::Interrupt) => {
            draft.enqueue(message, max_queue)?;
            draft.go(Status::Interrupting);
            Ok(())
        }
        (State::A0 | State::A1, Busy::Interrupt) => {
            draft.enqueue(message, max_queue)?;
            draft.cancel_pending(answers::INTERRUPTED_BY_MESSAGE);
            draft.go(Status::Running);
            Ok(())
        }
        (State::XW | State::XE0 | State::XE1 | State::Invalid(_, _, _), Busy::Queue | Busy::Interrupt) => {
            draft.refuse()
        }
    }
}
