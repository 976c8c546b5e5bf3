//! ReconcileInvalidState.

use super::draft::Draft;
use crate::chat::{answers, json::Json, plan::Refusal, state::State};

/// Leads from any invalid state to E0 or E1. The queue is kept: its messages were accepted.
pub(super) fn reconcile(draft: &mut Draft<'_>, error: &Json) -> Result<(), Refusal> {
    match draft.state() {
        State::Invalid(_, _, _) => {
            draft.cancel_pending(answers::RECONCILED);
            draft.fail(error);
            draft.columns.archived = false;
            Ok(())
        }
        State::W
        | State::E0
        | State::E1
        | State::R0
        | State::R1
        | State::I0
        | State::I1
        | State::A0
        | State::A1
        | State::XW
        | State::XE0
        | State::XE1 => draft.refuse(),
    }
}
