//! From one consistent database read to the events it means (worker-and-stream.md §5, api.md §4.3).

use super::{
    episode::EpisodeKey,
    wire::{Event, MessageOut, Payload},
};
use crate::{
    chat::{
        json::Json,
        state::{Status, Versions},
    },
    store::records::{Head, StreamRead},
};

/// The database state a subscriber has been brought to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Synced {
    /// Versions.
    pub versions: Versions,
    /// Status.
    pub status: Status,
    /// The error that was sent and the history it belongs to. Forgotten when the status leaves
    /// `error`: a compaction that fails after an error fails under the same history, and is news.
    pub error_sent: Option<(i64, Json)>,
    /// The history whose pending calls were sent; forgotten when the status leaves `requires_action`.
    pub action_sent: Option<i64>,
}

impl Synced {
    fn of(head: &Head) -> Self {
        let history = head.versions.history;
        Self {
            versions: head.versions,
            status: head.status,
            error_sent: match head.status {
                Status::Error => head.last_error.clone().map(|e| (history, e)),
                _ => None,
            },
            action_sent: (head.status == Status::RequiresAction).then_some(history),
        }
    }

    /// The episode whose parts come next, if an attempt has begun.
    #[must_use]
    pub const fn follow(&self) -> Option<EpisodeKey> {
        EpisodeKey::current(&self.versions)
    }
}

/// What one read means for those who were at one position.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    /// Events to send, in order.
    pub events: Vec<Event<'static>>,
    /// Where they lead.
    pub synced: Synced,
    /// The episode to follow from there.
    pub follow: Option<EpisodeKey>,
    /// The events are the beginning only: more of the history has to be read before anything else of this state is said.
    pub more: bool,
}

/// Applies a read to those who are at `prev`, or who have nothing yet (`None`). It depends on nothing
/// else, so the caller applies and serialises once for all subscribers at the same position.
///
/// A read that is not newer than `prev` means nothing. `read` must have been made for what it is
/// applied to: `messages` and `queue` since the versions of `prev`, or what a joiner asked for.
#[must_use]
pub fn apply(prev: Option<&Synced>, read: &StreamRead) -> Applied {
    let head = &read.head;
    let now = head.versions;
    if let Some(prev) = prev
        && now.snapshot <= prev.versions.snapshot
    {
        return Applied { events: Vec::new(), synced: prev.clone(), follow: prev.follow(), more: false };
    }
    let synced = Synced::of(head);
    let history_moved = prev.is_none_or(|p| p.versions.history != now.history);
    let mut events = Vec::new();
    let mut emit = |payload| events.push(Event { chat_id: head.id, payload });

    if history_moved {
        if read.reset {
            emit(Payload::HistoryReset);
        }
        for row in &read.messages {
            emit(Payload::Message(MessageOut::from(row)));
        }
    }
    if read.more {
        return Applied { events, synced, follow: None, more: true };
    }
    if prev.map_or(0, |p| p.versions.queue) != now.queue
        && let Some(queue) = &read.queue
    {
        emit(Payload::QueueUpdate(queue.iter().map(Into::into).collect()));
    }
    if prev.is_none_or(|p| p.status != head.status) {
        emit(Payload::Status(head.status));
    }
    if let Some((_, error)) = &synced.error_sent
        && prev.is_none_or(|p| p.error_sent != synced.error_sent)
    {
        emit(Payload::Error(error.clone()));
    }
    if synced.action_sent.is_some() && prev.is_none_or(|p| p.action_sent != synced.action_sent) {
        emit(Payload::ActionRequired(read.pending.iter().map(Into::into).collect()));
    }
    // It stays stored when an interruption ends the wait for the next attempt, but nobody waits any more.
    if prev.is_none_or(|p| p.versions.retry_state != now.retry_state)
        && head.status == Status::Running
        && let Some(retry) = &head.retry_state
    {
        emit(Payload::Retry(retry.clone()));
    }
    if history_moved || (now.attempt != 0 && prev.is_some_and(|p| p.versions.attempt != now.attempt)) {
        emit(Payload::PreviewReset);
    }
    let follow = synced.follow();
    Applied { events, synced, follow, more: false }
}
