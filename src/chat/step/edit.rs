//! EditMessage.

use super::draft::Draft;
use crate::{
    chat::{
        message::{NewMessage, Role},
        plan::Refusal,
        state::{State, Status},
    },
    ids::MessageId,
};

/// Replaces a user message and all that came after it. Pending calls go with the rest; a synthetic
/// result for them would answer a call that is no longer in history.
pub(super) fn edit(
    draft: &mut Draft<'_>,
    target: MessageId,
    replacement: &NewMessage,
) -> Result<(), Refusal> {
    match draft.state() {
        State::W
        | State::E0
        | State::E1
        | State::R0
        | State::R1
        | State::I0
        | State::I1
        | State::A0
        | State::A1 => {}
        State::XW | State::XE0 | State::XE1 | State::Invalid(_, _, _) => return draft.refuse(),
    }
    let found = draft.facts().edit_target.filter(|found| found.id == target);
    let role = found.ok_or(Refusal::EditedMessageNotFound)?.role;
    if role != Role::User {
        return Err(Refusal::OnlyUserMessagesCanBeEdited);
    }
    draft.delete_from(target);
    draft.clear_queue();
    draft.insert(replacement.clone());
    draft.go(Status::Running);
    Ok(())
}
