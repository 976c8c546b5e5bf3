//! What stands between the actor of a chat and the socket of one reader: a bounded channel of frames
//! and a guard that takes the reader off when it is dropped.

use crate::{
    ids::ChatId,
    stream::{episode::EpisodeKey, subscriber},
};
use bytestring::ByteString;
use std::{any::Any, fmt};
use tokio::sync::mpsc;

/// Where readers of chats are taken on. The actors implement it; the API only asks.
pub trait Streams: Send + Sync {
    /// Takes a reader on. Never waits: whatever has to be read first comes through the channel.
    ///
    /// `after_id` filters the first synchronisation (api.md §4.3): messages with a greater id only.
    fn subscribe(&self, chat: ChatId, after_id: Option<i64>) -> Subscription;

    /// Takes a reader of the parts of one episode on, which need not exist yet. Never waits.
    fn parts(&self, chat: ChatId, key: EpisodeKey) -> PartsSubscription;
}

/// One reader.
pub struct Subscription {
    /// Frames in order, then at most one [`Outgoing::Close`]. A channel that ends without one means
    /// that the chat's actor is gone; the reader is told to reconnect.
    pub outgoing: mpsc::Receiver<Outgoing>,
    /// Dropped when the socket is closed, whoever closed it.
    pub guard: Box<dyn Any + Send>,
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("waiting", &self.outgoing.len()).finish_non_exhaustive()
    }
}

/// One reader of parts.
pub struct PartsSubscription {
    /// Events of parts 1, 2, 3 … in order. A channel that ends means that the reader was too slow or
    /// that the chat's actor is gone; it may come back for a replay.
    pub outgoing: mpsc::Receiver<Vec<ByteString>>,
    /// Dropped when the reader leaves or selects another episode.
    pub guard: Box<dyn Any + Send>,
}

/// What the reader's socket has to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outgoing {
    /// Send a text frame.
    Frame(ByteString),
    /// Close; nothing follows.
    Close(CloseReason),
}

/// Why a reader is sent away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// This replica stops; another one, or its successor, takes the reader.
    Shutdown,
    /// The reader did not keep up and would miss events.
    Lagging,
    /// The store cannot be read.
    Unavailable,
    /// The reader may no longer read this chat.
    Unauthorized,
    /// The chat is not there any more.
    Deleted,
}

impl CloseReason {
    /// The WebSocket close code (RFC 6455 §7.4.1; 1013 from the IANA registry).
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::Shutdown => 1001,
            Self::Lagging => 1013,
            Self::Unavailable => 1011,
            Self::Unauthorized => 1008,
            Self::Deleted => 1000,
        }
    }

    /// The text in the close frame.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Shutdown => "Server is shutting down",
            Self::Lagging => "Reader too slow, reconnect",
            Self::Unavailable => "Storage unavailable, reconnect",
            Self::Unauthorized => "Access withdrawn",
            Self::Deleted => "The chat was deleted",
        }
    }
}

impl From<subscriber::CloseReason> for CloseReason {
    fn from(reason: subscriber::CloseReason) -> Self {
        match reason {
            subscriber::CloseReason::TooSlow | subscriber::CloseReason::Gone => Self::Lagging,
            subscriber::CloseReason::Shutdown => Self::Shutdown,
            subscriber::CloseReason::Unauthorized => Self::Unauthorized,
            subscriber::CloseReason::Unavailable => Self::Unavailable,
            subscriber::CloseReason::Deleted => Self::Deleted,
        }
    }
}
