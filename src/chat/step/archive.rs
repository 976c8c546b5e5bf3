//! SetArchived.

use super::draft::Draft;
use crate::chat::{plan::Refusal, state::State};

/// Flips the flag of one member of a family. That the request came for a root chat, and that all
/// members follow or none, is the business of the transaction that loads the family.
pub(super) fn set(draft: &mut Draft<'_>, archived: bool) -> Result<(), Refusal> {
    match (draft.state(), archived) {
        (State::W | State::E0 | State::E1, true) | (State::XW | State::XE0 | State::XE1, false) => {
            draft.columns.archived = archived;
            Ok(())
        }
        (State::W | State::E0 | State::E1, false)
        | (State::XW | State::XE0 | State::XE1, true)
        | (
            State::R0 | State::R1 | State::I0 | State::I1 | State::A0 | State::A1 | State::Invalid(_, _, _),
            true | false,
        ) => draft.refuse(),
    }
}
