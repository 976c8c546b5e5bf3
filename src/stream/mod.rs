//! How what happens in a chat reaches its subscribers (worker-and-stream.md §4, §5; api.md §4).
//!
//! Pure: no async, no I/O, no clock. [`hub::Hub`] is the whole of it for one chat: it takes live
//! parts, the results of database reads and the time, and writes frames into [`subscriber::Sink`]s.
//! [`fold`] turns one read into events, [`episode`] numbers and buffers parts, [`wire`] and
//! [`frame`] say what they look like.

pub mod buffer;
pub mod episode;
pub mod fold;
pub mod frame;
pub mod hub;
pub mod kept;
pub mod relay;
pub mod schema;
pub mod subscriber;
pub mod wire;

#[cfg(test)]
mod model_tests;

use std::time::Duration;

/// Bounds of the stream of one chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamLimits {
    /// Most bytes of serialised parts an episode keeps for those who join late (agent-loop.md §23: 1 MiB).
    pub episode_bytes: usize,
    /// Most bytes of accumulated content an episode keeps for an interruption. Above the 1 MiB of
    /// `episode_bytes` on purpose: what a late joiner misses comes with the message, what an
    /// interruption misses is gone.
    pub kept_bytes: usize,
    /// Bytes above which a frame takes no further event, see [`frame::MAX_BYTES`].
    pub frame_bytes: usize,
    /// How long a closed episode stays at least (agent-loop.md §23: 15 s).
    pub closed_ttl: Duration,
    /// A subscriber whose full queue does not shrink for so long is closed (agent-loop.md §23: 10 s).
    pub drain_timeout: Duration,
}

impl Default for StreamLimits {
    fn default() -> Self {
        Self {
            episode_bytes: 1 << 20,
            kept_bytes: 16 << 20,
            frame_bytes: frame::MAX_BYTES,
            closed_ttl: Duration::from_secs(15),
            drain_timeout: Duration::from_secs(10),
        }
    }
}

/// Frames that may wait for one subscriber's socket (worker-and-stream.md §5). It is the capacity
/// to give the channel behind a [`subscriber::Sink`].
pub const SUBSCRIBER_QUEUE: usize = 128;
