//! Episodes between replicas (worker-and-stream.md §6, api.md §4.7): what goes over the wire, and the
//! readers that the owner of a chat serves.

use super::{
    buffer::EpisodeBuffer,
    episode::{EpisodeKey, SharedPart},
    frame,
    subscriber::Refused,
};
use bytestring::ByteString;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// Parts that may wait for one relay's socket. Parts are small and come one by one, so this is some
/// seconds of the fastest models; a relay that is further behind replays from the buffer instead.
pub const READER_QUEUE: usize = 1024;

/// The frame that selects an episode.
///
/// # Panics
/// Never: two numbers can always be written.
#[must_use]
pub fn selection(key: EpisodeKey) -> String {
    serde_json::to_string(&key).expect("two numbers are always serialisable")
}

/// The frame around one part.
#[must_use]
pub fn part_frame(event: &ByteString) -> ByteString {
    frame::encode_batch(std::slice::from_ref(event)).into_iter().next().unwrap_or_default()
}

/// Why a frame of the owner cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("not an array of parts: {0}")]
pub struct BadFrame(#[from] serde_json::Error);

/// The parts in a frame of the owner. Their text is kept as it is.
///
/// # Errors
/// When the frame is anything else than an array of `message_part` events.
pub fn parts(frame: &str) -> Result<Vec<SharedPart>, BadFrame> {
    #[derive(Deserialize)]
    struct Event {
        message_part: Place,
    }
    #[derive(Deserialize)]
    struct Place {
        #[serde(flatten)]
        key: EpisodeKey,
        seq: u64,
    }
    let events: Vec<&RawValue> = serde_json::from_str(frame)?;
    events
        .into_iter()
        .map(|raw| {
            let Event { message_part: place } = serde_json::from_str(raw.get())?;
            Ok(SharedPart { key: place.key, seq: place.seq, event: raw.get().into() })
        })
        .collect()
}

/// The bounded queue in front of one reader's socket.
pub trait PartSink {
    /// Puts parts into the queue, all or none. Never waits.
    ///
    /// # Errors
    /// When the queue is full or nobody reads it any more.
    fn try_send(&mut self, parts: &[ByteString]) -> Result<(), Refused>;
    /// Whether nobody reads it any more.
    fn is_closed(&self) -> bool;
}

#[derive(Debug)]
struct Reader<S> {
    key: EpisodeKey,
    /// The seq it needs next.
    next: u64,
    sink: S,
}

/// Everyone who reads an episode of one chat part by part. Each gets parts 1, 2, 3 … of the episode
/// it selected: those so far at once, the others as they come. Whoever has missed a part that found
/// no room in the buffer gets no more (the message will have it); whoever does not keep up is taken
/// off, which ends its queue, and comes back for a replay.
#[derive(Debug)]
pub struct PartReaders<S>(BTreeMap<u64, Reader<S>>);

impl<S> Default for PartReaders<S> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<S: PartSink> PartReaders<S> {
    /// Takes a reader on, and gives it what is there.
    pub fn add(&mut self, episodes: &mut EpisodeBuffer, id: u64, key: EpisodeKey, mut sink: S) {
        let so_far = episodes.parts_after(key, 0);
        if !so_far.is_empty() && sink.try_send(so_far).is_err() {
            return;
        }
        let next = 1 + so_far.len() as u64;
        episodes.add_reader(key);
        if let Some(old) = self.0.insert(id, Reader { key, next, sink }) {
            episodes.remove_reader(old.key);
        }
    }

    /// Takes a reader off; unknown ones are off already.
    pub fn remove(&mut self, episodes: &mut EpisodeBuffer, id: u64) {
        if let Some(reader) = self.0.remove(&id) {
            episodes.remove_reader(reader.key);
        }
    }

    /// Passes on a part that has just been put into the buffer.
    pub fn live(&mut self, episodes: &mut EpisodeBuffer, part: &SharedPart) {
        self.0.retain(|_, reader| {
            if reader.key != part.key || reader.next != part.seq {
                return true;
            }
            reader.next += 1;
            let stays = reader.sink.try_send(std::slice::from_ref(&part.event)).is_ok();
            if !stays {
                episodes.remove_reader(reader.key);
            }
            stays
        });
    }

    /// Takes off those whose socket is gone.
    pub fn sweep(&mut self, episodes: &mut EpisodeBuffer) {
        self.0.retain(|_, reader| {
            let gone = reader.sink.is_closed();
            if gone {
                episodes.remove_reader(reader.key);
            }
            !gone
        });
    }

    /// Whether there is no reader.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        chat::message::{Part, Role},
        clock::Timestamp,
        ids::ChatId,
        stream::{StreamLimits, episode::Relayed},
    };
    use std::{cell::RefCell, rc::Rc};

    const NOW: Timestamp = Timestamp::from_micros(0);

    fn key(n: i64) -> EpisodeKey {
        EpisodeKey { history_version: 3, generation_attempt: n }
    }

    /// Remembers what it got; holds `room` more calls.
    #[derive(Clone)]
    struct Kept(Rc<RefCell<(Vec<ByteString>, usize)>>);

    impl Kept {
        fn new(room: usize) -> Self {
            Self(Rc::new(RefCell::new((Vec::new(), room))))
        }
        fn seqs(&self) -> Vec<u64> {
            let frames: Vec<_> = self.0.borrow().0.iter().map(part_frame).collect();
            frames.iter().flat_map(|f| parts(f).unwrap()).map(|p| p.seq).collect()
        }
    }

    impl PartSink for Kept {
        fn try_send(&mut self, parts: &[ByteString]) -> Result<(), Refused> {
            let mut kept = self.0.borrow_mut();
            kept.1 = kept.1.checked_sub(1).ok_or(Refused::Full)?;
            kept.0.extend_from_slice(parts);
            Ok(())
        }
        fn is_closed(&self) -> bool {
            Rc::strong_count(&self.0) == 1
        }
    }

    struct Owner {
        buffer: EpisodeBuffer,
        readers: PartReaders<Kept>,
    }

    impl Owner {
        fn new(episode_bytes: usize) -> Self {
            let limits = StreamLimits { episode_bytes, ..StreamLimits::default() };
            Self { buffer: EpisodeBuffer::new(ChatId::fresh(), limits), readers: PartReaders::default() }
        }
        fn push(&mut self, n: i64, text: &str) {
            let part = Part::Text { text: text.into() };
            let part = self.buffer.push(key(n), Role::Assistant, &part).unwrap();
            self.readers.live(&mut self.buffer, &part);
        }
    }

    #[test]
    fn a_frame_says_where_its_parts_belong() {
        let mut owner = Owner::new(1 << 20);
        owner.buffer.open(key(1), NOW);
        let part = owner.buffer.push(key(1), Role::Tool, &Part::Text { text: "ü\"".into() }).unwrap();
        let frame = part_frame(&part.event);
        assert_eq!(parts(&frame).unwrap(), [part]);
        assert_eq!(serde_json::from_str::<EpisodeKey>(&selection(key(2))).unwrap(), key(2));
        for bad in ["", "{}", "[{}]", "[{\"type\":\"status\",\"status\":{\"status\":\"running\"}}]"] {
            assert!(parts(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_reader_gets_its_episode_from_the_first_part_on() {
        let mut owner = Owner::new(1 << 20);
        let (early, late, other) = (Kept::new(9), Kept::new(9), Kept::new(9));
        owner.readers.add(&mut owner.buffer, 1, key(1), early.clone());
        owner.buffer.open(key(1), NOW);
        owner.push(1, "a");
        owner.push(1, "b");
        owner.readers.add(&mut owner.buffer, 2, key(1), late.clone());
        owner.readers.add(&mut owner.buffer, 3, key(2), other.clone());
        owner.push(1, "c");
        assert_eq!((early.seqs(), late.seqs(), other.seqs()), (vec![1, 2, 3], vec![1, 2, 3], vec![]));
        drop(early);
        owner.readers.sweep(&mut owner.buffer);
        owner.readers.remove(&mut owner.buffer, 2);
        owner.readers.remove(&mut owner.buffer, 3);
        assert!(owner.readers.is_empty());
        assert!(owner.buffer.get(key(2)).is_none(), "nobody waits for it any more");
    }

    #[test]
    fn nobody_gets_a_gap() {
        // Room for the first part only.
        let mut owner = Owner::new(220);
        owner.buffer.open(key(1), NOW);
        let (whole, slow) = (Kept::new(9), Kept::new(1));
        owner.readers.add(&mut owner.buffer, 1, key(1), whole.clone());
        owner.readers.add(&mut owner.buffer, 2, key(1), slow.clone());
        owner.push(1, "a");
        owner.push(1, "b");
        let late = Kept::new(9);
        owner.readers.add(&mut owner.buffer, 3, key(1), late.clone());
        owner.push(1, "c");
        assert_eq!(whole.seqs(), [1, 2, 3]);
        assert_eq!(slow.seqs(), [1], "taken off when its queue was full");
        assert_eq!(late.seqs(), [1], "what it missed comes with the message");
        assert_eq!(owner.readers.0.len(), 2);
    }

    #[test]
    fn a_follower_that_replays_has_every_part_once() {
        let mut owner = Owner::new(1 << 20);
        owner.buffer.open(key(1), NOW);
        let mut follower = EpisodeBuffer::new(ChatId::fresh(), StreamLimits::default());
        let (first, second) = (Kept::new(2), Kept::new(9));
        owner.readers.add(&mut owner.buffer, 1, key(1), first.clone());
        for text in ["a", "b", "c", "d"] {
            owner.push(1, text);
        }
        owner.readers.add(&mut owner.buffer, 2, key(1), second.clone());
        owner.push(1, "e");
        let mut accepted = Vec::new();
        for event in first.0.borrow().0.iter().chain(&second.0.borrow().0) {
            for part in parts(&part_frame(event)).unwrap() {
                match follower.relay(&part, NOW) {
                    Relayed::Accepted => accepted.push(part.seq),
                    Relayed::Ignored => {}
                    Relayed::Gap => panic!("a gap before {}", part.seq),
                }
            }
        }
        assert_eq!(accepted, [1, 2, 3, 4, 5]);
    }
}
