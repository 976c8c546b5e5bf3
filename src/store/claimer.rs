//! A chat that a transaction leaves to be driven by nobody is claimed in that very transaction when
//! this replica can drive it (docs/decisions/0008).

use super::commit::{Accepted, Committed, Created};
use crate::{
    chat::state::Owner,
    ids::{ChatId, RunnerId, WorkerId},
    store::records::Head,
};
use std::{fmt, sync::Arc};

/// Who drives chats in this process.
pub trait Claimer: Send + Sync {
    /// Who would claim; `None` when nothing may be claimed this way now.
    fn worker(&self) -> Option<WorkerId>;

    /// Whether this runner drives this chat in this process, whatever has become of its lease.
    fn drives(&self, chat: ChatId, runner: RunnerId) -> bool;

    /// A chat was claimed, durably, with the first heartbeat written: drive it. Called on a thread of
    /// the store, so it must not block, and called whatever became of the request that was answered.
    /// A chat that gets lost here gets no further heartbeat, and so another claim after the lease.
    fn take(&self, claimed: Taken);
}

/// A chat that was claimed together with what left it without an owner.
#[derive(Debug)]
pub enum Taken {
    /// It was created.
    Created(Head),
    /// It was moved.
    Moved(Box<Committed>),
}

/// The offer to claim one chat, if its transaction asks for it.
#[derive(Clone)]
pub(super) struct Offer {
    /// The owner it would have.
    pub owner: Owner,
    claimer: Arc<dyn Claimer>,
}

impl fmt::Debug for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offer").field("owner", &self.owner).finish_non_exhaustive()
    }
}

impl Offer {
    /// An offer, when the claimer takes chats.
    pub fn of(claimer: Arc<dyn Claimer>) -> Option<Self> {
        let worker = claimer.worker()?;
        Some(Self { owner: Owner { worker, runner: RunnerId::fresh() }, claimer })
    }

    /// Hands a chat over that was claimed on this offer. For after the commit.
    pub fn hand_over(offer: Option<Self>, head: &Head, taken: impl FnOnce() -> Taken) {
        if let Some(offer) = offer
            && head.owner == Some(offer.owner)
        {
            offer.claimer.take(taken());
        }
    }
}

impl Taken {
    /// Of a creation.
    pub(super) fn created(done: &Accepted<Created>, offer: Option<Offer>) {
        if let Accepted::Fresh(c) = done {
            Offer::hand_over(offer, &c.chat.head, || Self::Created(c.chat.head.clone()));
        }
    }

    /// Of a transition.
    pub(super) fn moved(done: &Accepted<Committed>, offer: Option<Offer>) {
        if let Accepted::Fresh(c) = done {
            Offer::hand_over(offer, &c.head, || Self::Moved(Box::new(c.clone())));
        }
    }
}
