//! One subscriber: where it stands, and how frames get into its bounded queue.

use super::frame;
use crate::{clock::Timestamp, ids::MessageId};
use bytestring::ByteString;
use std::time::Duration;

/// Names a subscriber within its hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriberId(pub u64);

pub use crate::store::records::JoinFrom;

/// Why a frame was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The queue is full.
    Full,
    /// The reader is gone.
    Closed,
}

/// Why a subscriber was taken off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// Its queue was full and did not shrink for the drain timeout; it should reconnect.
    TooSlow,
    /// Its reader went away.
    Gone,
    /// This process shuts down; it should reconnect.
    Shutdown,
    /// Its access was withdrawn.
    Unauthorized,
    /// The chat is not there any more.
    Deleted,
    /// The database stays away.
    Unavailable,
}

impl CloseReason {
    /// The reason in the close frame and in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooSlow => "reader too slow",
            Self::Gone => "reader gone",
            Self::Shutdown => "shutting down",
            Self::Unauthorized => "access withdrawn",
            Self::Deleted => "chat deleted",
            Self::Unavailable => "storage unavailable",
        }
    }
}

/// The bounded queue of frames in front of one reader's socket ([`super::SUBSCRIBER_QUEUE`] frames).
pub trait Sink {
    /// Puts a frame into the queue. Never waits.
    ///
    /// # Errors
    /// When the queue is full or nobody reads it any more.
    fn try_send(&mut self, frame: ByteString) -> Result<(), Refused>;
    /// Frames in the queue; 0 when the reader is gone, so that the next frame finds it out.
    fn queued(&self) -> usize;
    /// Tells the reader that nothing more will come, and why. Must work while the queue is full.
    fn close(self, reason: CloseReason);
}

/// Frames that may wait in front of a reader while the next page of a history is read for it: as many as a page has, so
/// that the socket is not idle meanwhile.
const PAGE_AHEAD: usize = 8;

/// Events packed into frames, with what a reader knows after each frame. Shared by all readers at
/// the same position.
#[derive(Debug)]
pub(super) struct Batch {
    frames: Vec<(ByteString, Mark)>,
    /// History version an application leads to; `None` for parts alone.
    history: Option<i64>,
    /// It ends before the application does.
    more: bool,
}

/// What a reader has when it has got a frame and all before it.
#[derive(Debug, Clone, Copy)]
struct Mark {
    /// The newest message of the application; 0 when there is only its `history_reset` yet.
    message: Option<MessageId>,
    /// Whether the application is complete.
    applied: bool,
    /// The newest part; 0 = none of this batch.
    seq: u64,
}

impl Batch {
    /// An application (its events and, for each that is a message, the id; 0 for `history_reset`),
    /// and the parts that follow it from seq 1.
    ///
    /// `more`: the application is the beginning of one.
    pub(super) fn application(
        mut events: Vec<ByteString>,
        ids: &[Option<MessageId>],
        (history, more): (i64, bool),
        parts: &[ByteString],
        max_bytes: usize,
    ) -> Self {
        let applied = if more { usize::MAX } else { events.len() };
        events.extend_from_slice(parts);
        let frames = frame::frames(&events, max_bytes)
            .map(|(end, frame)| {
                let message = ids.iter().take(end).rev().find_map(|id| *id);
                let seq = end.saturating_sub(applied) as u64;
                (frame, Mark { message, applied: end >= applied, seq })
            })
            .collect();
        Self { frames, history: Some(history), more }
    }

    /// Parts alone, the first of which has the seq `first`.
    pub(super) fn parts<E: AsRef<str>>(parts: &[E], first: u64, max_bytes: usize) -> Self {
        let frames = frame::frames(parts, max_bytes)
            .map(|(end, frame)| (frame, Mark { message: None, applied: true, seq: first - 1 + end as u64 }))
            .collect();
        Self { frames, history: None, more: false }
    }
}

/// A full queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lag {
    /// An application was missed or cut: a read is needed. Otherwise the episode's buffer has all.
    pub(super) behind: bool,
    /// Length of the queue when it last shrank,
    pub(super) queued: usize,
    /// and when that was.
    pub(super) since: Timestamp,
}

/// What a subscriber waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// A read from its [`JoinFrom`]; `asked` while that read is under way.
    Joining {
        /// The read under way is for it too.
        asked: bool,
    },
    /// Room in its queue for more of a long history.
    Paging,
    /// Whatever happens next.
    Live,
    /// Room in its queue.
    Lagging(Lag),
}

/// How a delivery ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivery {
    Whole,
    Lagged,
    Gone,
}

#[derive(Debug)]
pub(super) struct Subscriber<S> {
    pub(super) sink: S,
    /// Where a read has to start to make it whole again.
    pub(super) from: JoinFrom,
    /// Last seq it got of the followed episode.
    pub(super) seq: u64,
    pub(super) mode: Mode,
}

impl<S: Sink> Subscriber<S> {
    pub(super) const fn new(sink: S, from: JoinFrom) -> Self {
        Self { sink, from, seq: 0, mode: Mode::Joining { asked: false } }
    }

    /// Whether the chat's position is its own, so that changes since then concern it.
    pub(super) const fn is_current(&self) -> bool {
        matches!(self.mode, Mode::Live | Mode::Lagging(Lag { behind: false, .. }))
    }

    /// Puts a batch into the queue as far as it goes. What was accepted counts as received: it
    /// reaches the reader in order or the connection ends.
    pub(super) fn deliver(&mut self, batch: &Batch, now: Timestamp) -> Delivery {
        let mut applied = batch.history.is_none();
        for (frame, mark) in &batch.frames {
            match self.sink.try_send(frame.clone()) {
                Ok(()) => {
                    if mark.seq > 0 {
                        self.seq = mark.seq;
                    }
                    if let Some(history) = batch.history {
                        if mark.applied {
                            applied = true;
                            self.from = JoinFrom::Revision(history);
                        } else if let Some(id) = mark.message {
                            // Messages come by ascending id: those up to here are received. Without
                            // this a history longer than the queue would start over for ever.
                            self.from = JoinFrom::Resume { after_id: id.0, revision: history };
                        }
                    }
                }
                Err(Refused::Full) => {
                    let lag = Lag { behind: !applied, queued: self.sink.queued(), since: now };
                    self.mode = Mode::Lagging(lag);
                    return Delivery::Lagged;
                }
                Err(Refused::Closed) => return Delivery::Gone,
            }
        }
        if batch.more {
            self.mode = Mode::Paging;
            self.take_next_page();
            return Delivery::Whole;
        }
        if let (true, Some(history)) = (batch.frames.is_empty(), batch.history) {
            self.from = JoinFrom::Revision(history);
        }
        self.mode = Mode::Live;
        Delivery::Whole
    }

    /// Goes on with a long history when what is there of it has been taken, but for a few frames.
    pub(super) fn take_next_page(&mut self) {
        if self.mode == Mode::Paging && self.sink.queued() <= PAGE_AHEAD {
            self.mode = Mode::Joining { asked: false };
        }
    }

    /// Whether a full queue has not shrunk for `timeout`.
    pub(super) fn is_stuck(&mut self, now: Timestamp, timeout: Duration) -> bool {
        let Mode::Lagging(lag) = &mut self.mode else { return false };
        let queued = self.sink.queued();
        if queued < lag.queued {
            (lag.queued, lag.since) = (queued, now);
        }
        now.since(lag.since) >= timeout
    }
}
