//! What is said about a commit.

use super::records::Head;
use crate::{
    bus::ChatNotice,
    chat::state::{State, Status},
};

/// The status of a state.
pub(super) fn status_of(state: State) -> Option<Status> {
    Some(match state {
        State::W | State::XW => Status::Waiting,
        State::E0 | State::E1 | State::XE0 | State::XE1 => Status::Error,
        State::R0 | State::R1 => Status::Running,
        State::I0 | State::I1 => Status::Interrupting,
        State::A0 | State::A1 => Status::RequiresAction,
        State::Invalid(status, _, _) => status,
    })
}

/// The hint about a chat's new columns.
#[must_use]
pub(super) fn notice(head: &Head) -> ChatNotice {
    ChatNotice {
        chat: head.id,
        versions: head.versions,
        status: head.status,
        archived: head.archived,
        worker: head.owner.map(|o| o.worker),
        runner: head.owner.map(|o| o.runner),
    }
}
