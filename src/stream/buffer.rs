//! The episodes of one chat: the current one and those closed lately.

use super::{
    StreamLimits,
    episode::{Episode, EpisodeKey, Phase, Relayed, SharedPart},
    kept::Kept,
};
use crate::{
    chat::message::{Part, Role},
    clock::Timestamp,
    ids::ChatId,
};
use bytestring::ByteString;

/// All episodes of a chat that somebody may still ask for. At most one is open.
#[derive(Debug)]
pub struct EpisodeBuffer {
    chat: ChatId,
    limits: StreamLimits,
    /// In the order of their creation; a handful.
    episodes: Vec<Episode>,
    /// Bytes of serialised parts over all episodes.
    bytes: usize,
    dropped: u64,
}

impl EpisodeBuffer {
    /// No episodes.
    #[must_use]
    pub const fn new(chat: ChatId, limits: StreamLimits) -> Self {
        Self { chat, limits, episodes: Vec::new(), bytes: 0, dropped: 0 }
    }

    /// Opens the episode of an attempt that begins, before the attempt is made public; one that is
    /// open still is closed. False when the episode is closed already: its attempt was interrupted
    /// before it began, and its parts are ignored.
    pub fn open(&mut self, key: EpisodeKey, now: Timestamp) -> bool {
        // A chat that works opens one after the other; those it is done with do not wait for the janitor.
        self.expire(now);
        for other in self.episodes.iter_mut().filter(|e| e.is_open() && e.key() != key) {
            other.phase = Phase::Closed(now);
        }
        let episode = self.entry(key, Phase::Open);
        if episode.phase == Phase::Awaited {
            episode.phase = Phase::Open;
        }
        episode.is_open()
    }

    /// Numbers, serialises and keeps a part. `None` when the episode is unknown or closed.
    pub fn push(&mut self, key: EpisodeKey, role: Role, part: &Part) -> Option<SharedPart> {
        let episode = self.episodes.iter_mut().rev().find(|e| e.key() == key)?;
        let (bytes, dropped) = (episode.bytes(), episode.dropped());
        let shared = episode.push(self.chat, role, part, &self.limits)?;
        self.bytes += episode.bytes() - bytes;
        self.dropped += episode.dropped() - dropped;
        Some(shared)
    }

    /// Keeps a part that another replica numbered. The first part of an unknown episode that is
    /// newer than all known ones opens it: here nobody else announces it.
    pub fn relay(&mut self, part: &SharedPart, now: Timestamp) -> Relayed {
        match self.get(part.key) {
            None if self.episodes.iter().any(|e| e.phase != Phase::Awaited && e.key() > part.key) => {
                return Relayed::Ignored;
            }
            None if part.seq != 1 => return Relayed::Gap,
            Some(e) if e.phase != Phase::Awaited => {}
            None | Some(_) => {
                self.open(part.key, now);
            }
        }
        let Some(episode) = self.episodes.iter_mut().rev().find(|e| e.key() == part.key) else {
            return Relayed::Ignored;
        };
        let (bytes, dropped) = (episode.bytes(), episode.dropped());
        let relayed = episode.relay(part.seq, part.event.clone(), &self.limits);
        self.bytes += episode.bytes() - bytes;
        self.dropped += episode.dropped() - dropped;
        relayed
    }

    /// Ends an episode and answers with its accumulated content. Closing twice changes nothing;
    /// closing an unknown one creates it closed, so that parts which arrive late are ignored.
    pub fn close(&mut self, key: EpisodeKey, now: Timestamp) -> &Kept {
        let episode = self.entry(key, Phase::Closed(now));
        if !episode.is_closed() {
            episode.phase = Phase::Closed(now);
        }
        episode.kept()
    }

    /// Closes the episode that is open, if one is: its attempt is not ours any more.
    pub fn close_open(&mut self, now: Timestamp) {
        for episode in self.episodes.iter_mut().filter(|e| e.is_open()) {
            episode.phase = Phase::Closed(now);
        }
    }

    /// Forgets the episode that is open, if one is: what it would become is not heard of here any
    /// more. Whoever selected it waits for it from the first part on.
    pub fn forget_open(&mut self) {
        for episode in self.episodes.iter_mut().filter(|e| e.is_open()) {
            self.bytes -= episode.bytes();
            let readers = episode.readers;
            *episode = Episode::new(episode.key(), Phase::Awaited);
            episode.readers = readers;
        }
        self.remove(|e| e.phase == Phase::Awaited && e.readers == 0);
    }

    /// An episode, if it is known.
    #[must_use]
    pub fn get(&self, key: EpisodeKey) -> Option<&Episode> {
        self.episodes.iter().rev().find(|e| e.key() == key)
    }

    /// The buffered events of an episode after seq `last`; none when it is unknown.
    #[must_use]
    pub fn parts_after(&self, key: EpisodeKey, last: u64) -> &[ByteString] {
        self.get(key).map_or(&[], |e| e.parts_after(last))
    }

    /// Counts a reader, who may come before the episode does. Each must be taken off again by
    /// [`EpisodeBuffer::remove_reader`].
    pub fn add_reader(&mut self, key: EpisodeKey) {
        self.entry(key, Phase::Awaited).readers += 1;
    }

    /// Takes a reader off.
    pub fn remove_reader(&mut self, key: EpisodeKey) {
        if let Some(episode) = self.episodes.iter_mut().rev().find(|e| e.key() == key) {
            episode.readers = episode.readers.saturating_sub(1);
        }
        self.remove(|e| e.phase == Phase::Awaited && e.readers == 0);
    }

    /// Forgets episodes that are closed for long enough and have no reader.
    pub fn expire(&mut self, now: Timestamp) {
        let ttl = self.limits.closed_ttl;
        self.remove(|e| e.readers == 0 && matches!(e.phase, Phase::Closed(at) if now.since(at) >= ttl));
    }

    /// Bytes of serialised parts in memory.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Serialised parts in memory.
    #[must_use]
    pub fn parts(&self) -> usize {
        self.episodes.iter().map(|e| e.parts_after(0).len()).sum()
    }

    /// Episodes in memory.
    #[must_use]
    pub fn len(&self) -> usize {
        self.episodes.len()
    }

    /// Whether nothing is in memory, so that the chat's actor may go.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.episodes.is_empty()
    }

    /// Parts that late joiners did not or will not get, since the start.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    fn entry(&mut self, key: EpisodeKey, or: Phase) -> &mut Episode {
        let at = match self.episodes.iter().rposition(|e| e.key() == key) {
            Some(at) => at,
            None => {
                self.episodes.push(Episode::new(key, or));
                self.episodes.len() - 1
            }
        };
        &mut self.episodes[at]
    }

    fn remove(&mut self, gone: impl Fn(&Episode) -> bool) {
        let bytes = &mut self.bytes;
        self.episodes.retain(|e| {
            let stays = !gone(e);
            if !stays {
                *bytes -= e.bytes();
            }
            stays
        });
        // An idle chat keeps no memory for the episodes it once had.
        if self.episodes.is_empty() {
            self.episodes = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{collections::BTreeMap, time::Duration};

    const fn at(second: u64) -> Timestamp {
        Timestamp::from_micros(second.cast_signed() * 1_000_000)
    }
    fn key(n: i64) -> EpisodeKey {
        EpisodeKey { history_version: 1 + n / 2, generation_attempt: 1 + n % 2 }
    }
    fn limits() -> StreamLimits {
        StreamLimits { episode_bytes: 700, kept_bytes: 400, ..StreamLimits::default() }
    }

    #[derive(Debug, Clone)]
    enum Op {
        Open(i64),
        Push(i64, usize),
        Close(i64),
        Add(i64),
        Remove(i64),
        Wait(u64),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            2 => (0..5_i64).prop_map(Op::Open),
            8 => (0..5_i64, prop_oneof![1..20_usize, 100..300_usize]).prop_map(|(k, n)| Op::Push(k, n)),
            2 => (0..5_i64).prop_map(Op::Close),
            1 => (0..5_i64).prop_map(Op::Add),
            1 => (0..5_i64).prop_map(Op::Remove),
            2 => (0..20_u64).prop_map(Op::Wait),
        ]
    }

    /// The buffer as a plain list of everything that happened to each key.
    #[derive(Default)]
    struct Naive {
        open: bool,
        closed: Option<u64>,
        readers: usize,
        events: Vec<ByteString>,
        text: String,
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn buffer_behaves_like_the_naive_model(ops in proptest::collection::vec(op(), 0..80)) {
            let mut buffer = EpisodeBuffer::new(ChatId::fresh(), limits());
            let mut model: BTreeMap<i64, Naive> = BTreeMap::new();
            let mut now = 0;
            for op in ops {
                match op {
                    Op::Open(k) => {
                        model.retain(|_, m| m.readers > 0 || m.closed.is_none_or(|c| now - c < 15));
                        for (_, other) in model.iter_mut().filter(|(n, m)| **n != k && m.open) {
                            other.open = false;
                            other.closed = Some(now);
                        }
                        let m = model.entry(k).or_default();
                        m.open = m.closed.is_none();
                        prop_assert_eq!(buffer.open(key(k), at(now)), m.open);
                    }
                    Op::Push(k, n) => {
                        let text = "x".repeat(n);
                        let got = buffer.push(key(k), Role::Assistant, &Part::Text { text: text.clone() });
                        match model.get_mut(&k) {
                            Some(m) if m.open => {
                                let got = got.unwrap();
                                m.events.push(got.event);
                                m.text.push_str(&text);
                                prop_assert_eq!(got.seq, m.events.len() as u64);
                            }
                            _ => prop_assert!(got.is_none()),
                        }
                    }
                    Op::Close(k) => {
                        let m = model.entry(k).or_default();
                        m.open = false;
                        m.closed.get_or_insert(now);
                        buffer.close(key(k), at(now));
                    }
                    Op::Add(k) => {
                        model.entry(k).or_default().readers += 1;
                        buffer.add_reader(key(k));
                    }
                    Op::Remove(k) => {
                        if let Some(m) = model.get_mut(&k) {
                            m.readers = m.readers.saturating_sub(1);
                        }
                        model.retain(|_, m| m.open || m.closed.is_some() || m.readers > 0);
                        buffer.remove_reader(key(k));
                    }
                    Op::Wait(s) => {
                        now += s;
                        model.retain(|_, m| m.readers > 0 || m.closed.is_none_or(|c| now - c < 15));
                        buffer.expire(at(now));
                    }
                }
                let mut bytes = 0;
                for (k, m) in &model {
                    let e = buffer.get(key(*k)).unwrap();
                    prop_assert_eq!((e.is_open(), e.is_closed()), (m.open, m.closed.is_some()));
                    let fits: Vec<ByteString> = m.events.iter().scan(0, |sum, e| {
                        *sum += e.len();
                        (*sum <= limits().episode_bytes).then(|| e.clone())
                    }).collect();
                    prop_assert_eq!(e.parts_after(0), &fits);
                    prop_assert_eq!(e.parts_after(2), fits.get(2..).unwrap_or(&[]));
                    prop_assert_eq!(e.dropped(), (m.events.len() - fits.len()) as u64);
                    prop_assert!(e.kept().bytes() <= limits().kept_bytes);
                    if e.kept().dropped() == 0 && !m.text.is_empty() {
                        let whole = (Role::Assistant, Part::Text { text: m.text.clone() });
                        prop_assert_eq!(e.kept().parts(), &[whole]);
                    }
                    bytes += e.bytes();
                }
                prop_assert_eq!(buffer.len(), model.len());
                prop_assert_eq!(buffer.bytes(), bytes);
                let parts: usize = model.keys().map(|k| buffer.parts_after(key(*k), 0).len()).sum();
                prop_assert_eq!(buffer.parts(), parts);
            }
        }
    }

    #[test]
    fn interruption_keeps_what_late_joiners_miss() {
        let limits = StreamLimits { episode_bytes: 10, kept_bytes: 1000, ..StreamLimits::default() };
        let mut buffer = EpisodeBuffer::new(ChatId::fresh(), limits);
        buffer.open(key(0), at(0));
        for piece in ["a", "b", "c"] {
            buffer.push(key(0), Role::Assistant, &Part::Text { text: piece.into() }).unwrap();
        }
        assert_eq!((buffer.dropped(), buffer.bytes()), (3, 0));
        let kept = buffer.close(key(0), at(1)).parts().to_vec();
        assert_eq!(kept, [(Role::Assistant, Part::Text { text: "abc".into() })]);
        assert_eq!(buffer.close(key(0), at(9)).parts(), kept, "closing again answers the same");
        buffer.expire(at(1) + Duration::from_secs(15));
        assert!(buffer.is_empty());
    }

    #[test]
    fn a_forgotten_episode_can_be_relayed_again() {
        let mut buffer = EpisodeBuffer::new(ChatId::fresh(), limits());
        let part = |seq| SharedPart { key: key(1), seq, event: "{}".into() };
        assert_eq!(buffer.relay(&part(1), at(0)), Relayed::Accepted);
        buffer.add_reader(key(1));
        buffer.forget_open();
        assert_eq!((buffer.bytes(), buffer.parts_after(key(1), 0).len()), (0, 0));
        assert_eq!(buffer.relay(&part(1), at(0)), Relayed::Accepted);
        buffer.remove_reader(key(1));
        buffer.forget_open();
        assert!(buffer.is_empty());
        buffer.open(key(2), at(0));
        buffer.close_open(at(0));
        buffer.forget_open();
        assert!(buffer.get(key(2)).unwrap().is_closed(), "closed ones stay for their time");
    }

    #[test]
    fn a_chat_that_works_on_and_on_keeps_the_last_seconds() {
        let mut buffer = EpisodeBuffer::new(ChatId::fresh(), StreamLimits::default());
        for step in 0..1000 {
            buffer.open(key(step), at(step.unsigned_abs()));
            buffer.push(key(step), Role::Assistant, &Part::Text { text: "x".repeat(100) }).unwrap();
            assert!(buffer.len() <= 16, "{} after {step} steps", buffer.len());
        }
    }

    #[test]
    fn relayed_parts_must_be_contiguous() {
        let mut buffer = EpisodeBuffer::new(ChatId::fresh(), limits());
        let part = |k, seq| SharedPart { key: key(k), seq, event: "{}".into() };
        assert_eq!(buffer.relay(&part(1, 2), at(0)), Relayed::Gap);
        assert_eq!(buffer.relay(&part(1, 1), at(0)), Relayed::Accepted);
        assert_eq!(buffer.relay(&part(1, 1), at(0)), Relayed::Ignored);
        assert_eq!(buffer.relay(&part(1, 3), at(0)), Relayed::Gap);
        assert_eq!(buffer.relay(&part(1, 2), at(0)), Relayed::Accepted);
        assert_eq!(buffer.relay(&part(0, 1), at(0)), Relayed::Ignored, "an older episode");
        assert_eq!(buffer.relay(&part(2, 1), at(0)), Relayed::Accepted);
        assert!(buffer.get(key(1)).unwrap().is_closed());
    }
}
