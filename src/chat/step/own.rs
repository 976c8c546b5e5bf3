//! Acquire, Abandon: who drives the chat. They do not touch the execution state.

use super::draft::Draft;
use crate::chat::{
    plan::Refusal,
    state::{Owner, State},
};

/// A worker takes a chat that has work to do, from nobody or from another owner.
pub(super) fn acquire(draft: &mut Draft<'_>, owner: Owner) -> Result<(), Refusal> {
    match draft.state() {
        State::R0 | State::R1 | State::I0 | State::I1 | State::A0 | State::A1 => {
            draft.columns.owner = Some(owner);
            Ok(())
        }
        State::W | State::E0 | State::E1 | State::XW | State::XE0 | State::XE1 | State::Invalid(_, _, _) => {
            draft.refuse()
        }
    }
}

/// The owner lets go, in whatever state the chat is; even an invalid one must not stay owned.
pub(super) fn abandon(draft: &mut Draft<'_>) -> Result<(), Refusal> {
    if draft.columns.owner.take().is_some() { Ok(()) } else { draft.refuse() }
}
