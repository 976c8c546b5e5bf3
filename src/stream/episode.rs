//! Episodes: the parts streamed by one attempt (worker-and-stream.md §4).

use super::{
    StreamLimits,
    kept::Kept,
    wire::{Event, PartOut, Payload},
};
use crate::{
    chat::{
        message::{Part, Role},
        state::Versions,
    },
    clock::Timestamp,
    ids::ChatId,
};
use bytestring::ByteString;
use serde::{Deserialize, Serialize};

/// One attempt at one history. Ordered: what comes later is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EpisodeKey {
    /// The history the model was given.
    pub history_version: i64,
    /// Attempt under that history, from 1.
    pub generation_attempt: i64,
}

impl EpisodeKey {
    /// The episode in progress at these versions; none before the first attempt.
    #[must_use]
    pub const fn current(versions: &Versions) -> Option<Self> {
        if versions.attempt > 0 {
            Some(Self { history_version: versions.history, generation_attempt: versions.attempt })
        } else {
            None
        }
    }
}

/// A live part, serialised once and shared by everyone it goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedPart {
    /// Its episode.
    pub key: EpisodeKey,
    /// Its place in the episode, from 1 without gaps.
    pub seq: u64,
    /// The whole `message_part` event as JSON text.
    pub event: ByteString,
}

impl AsRef<str> for SharedPart {
    fn as_ref(&self) -> &str {
        &self.event
    }
}

/// What became of a part that another replica numbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relayed {
    /// It was the next one.
    Accepted,
    /// It was there already, or its episode is closed.
    Ignored,
    /// One before it is missing; the relay has to select the episode again.
    Gap,
}

/// Life of an episode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// A reader asked for it before it existed.
    Awaited,
    /// Parts arrive.
    Open,
    /// No more parts.
    Closed(Timestamp),
}

/// The part buffer of one attempt.
///
/// What a late joiner gets is always a prefix: the first part that finds no room ends the buffer for
/// good, even if a later, smaller one would fit. So a late joiner sees parts 1…k and then none
/// (k+1 is not there, and no other is the next one) until the message brings the whole text. Those
/// who were there all along get every part, since live parts do not pass through the buffer.
#[derive(Debug)]
pub struct Episode {
    key: EpisodeKey,
    pub(super) phase: Phase,
    pub(super) readers: usize,
    /// Events of seq 1, 2, 3 …
    parts: Vec<ByteString>,
    bytes: usize,
    /// Parts numbered so far, buffered or not.
    last_seq: u64,
    kept: Kept,
}

impl Episode {
    pub(super) fn new(key: EpisodeKey, phase: Phase) -> Self {
        Self { key, phase, readers: 0, parts: Vec::new(), bytes: 0, last_seq: 0, kept: Kept::default() }
    }

    /// Which attempt it is.
    #[must_use]
    pub const fn key(&self) -> EpisodeKey {
        self.key
    }

    /// Whether parts are taken.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Whether no part will follow.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed(_))
    }

    /// Bytes of serialised parts.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Place of the newest part, 0 before the first.
    #[must_use]
    pub const fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// Parts that late joiners will not get.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.last_seq - self.parts.len() as u64
    }

    /// The accumulated content, for an interruption. Empty on a replica that only relays.
    #[must_use]
    pub const fn kept(&self) -> &Kept {
        &self.kept
    }

    /// The buffered events after seq `last`, in order.
    #[must_use]
    pub fn parts_after(&self, last: u64) -> &[ByteString] {
        usize::try_from(last).ok().and_then(|n| self.parts.get(n..)).unwrap_or(&[])
    }

    /// Numbers and serialises a part. `None` when the episode is not open.
    pub fn push(
        &mut self,
        chat: ChatId,
        role: Role,
        part: &Part,
        limits: &StreamLimits,
    ) -> Option<SharedPart> {
        if !self.is_open() {
            return None;
        }
        let seq = self.last_seq + 1;
        let payload = Payload::MessagePart(PartOut { role, part, key: self.key, seq });
        let event = Event { chat_id: chat, payload }.encode();
        self.kept.push(role, part, limits.kept_bytes);
        self.append(event.clone(), limits);
        Some(SharedPart { key: self.key, seq, event })
    }

    /// Takes a part that its owner, another replica, has numbered and serialised.
    pub fn relay(&mut self, seq: u64, event: ByteString, limits: &StreamLimits) -> Relayed {
        if !self.is_open() || seq <= self.last_seq {
            return Relayed::Ignored;
        }
        if seq != self.last_seq + 1 {
            return Relayed::Gap;
        }
        self.append(event, limits);
        Relayed::Accepted
    }

    fn append(&mut self, event: ByteString, limits: &StreamLimits) {
        let whole = self.dropped() == 0;
        self.last_seq += 1;
        if whole && self.bytes + event.len() <= limits.episode_bytes {
            self.bytes += event.len();
            self.parts.push(event);
        }
    }
}
