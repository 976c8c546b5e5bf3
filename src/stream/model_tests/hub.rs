//! Whole histories through the hub.

use super::{
    client::{Client, Line},
    database::{Change, Database, change},
};
use crate::{
    chat::{
        message::{Part, Role},
        state::Status,
    },
    clock::Timestamp,
    stream::{
        StreamLimits,
        episode::EpisodeKey,
        hub::{Hub, ReadResult, ReadSpec},
        subscriber::{CloseReason, SubscriberId},
    },
};
use proptest::prelude::*;
use serde_json::json;
use std::{collections::HashMap, time::Duration};

#[derive(Debug, Clone)]
enum Op {
    Commit(Change, Hint),
    Parts(usize),
    Connect { client: usize, highest: bool },
    Consume { client: usize, frames: usize },
    Flush,
    Tick(u64),
    StartRead,
    EndRead { fails: bool },
    Poll,
    CloseEpisode,
}

#[derive(Debug, Clone, Copy)]
enum Hint {
    Lost,
    Once,
    Twice,
}

const CLIENTS: usize = 3;
/// Queue of each client's line: one tiny, one small, one that is never full.
const CAPACITY: [usize; CLIENTS] = [1, 3, 1000];

fn op() -> impl Strategy<Value = Op> {
    let hint = prop_oneof![1 => Just(Hint::Lost), 3 => Just(Hint::Once), 1 => Just(Hint::Twice)];
    prop_oneof![
        6 => (change(), hint).prop_map(|(c, h)| Op::Commit(c, h)),
        6 => (1..4_usize).prop_map(Op::Parts),
        2 => (0..CLIENTS, proptest::bool::ANY).prop_map(|(client, highest)| Op::Connect { client, highest }),
        6 => (0..CLIENTS, 1..4_usize).prop_map(|(client, frames)| Op::Consume { client, frames }),
        4 => Just(Op::Flush),
        3 => (0..3000_u64).prop_map(Op::Tick),
        6 => Just(Op::StartRead),
        6 => proptest::bool::weighted(0.1).prop_map(|fails| Op::EndRead { fails }),
        1 => Just(Op::Poll),
        1 => Just(Op::CloseEpisode),
    ]
}

#[derive(Default)]
struct Peer {
    client: Client,
    original: Option<i64>,
    line: Option<(SubscriberId, Line)>,
}

struct World {
    db: Database,
    hub: Hub<Line>,
    peers: Vec<Peer>,
    now: Timestamp,
    /// A read under way; it sees the database as it was when it began.
    read: Option<ReadResult>,
    /// Messages that one read hands to a joiner.
    page: usize,
    /// All parts ever pushed.
    parts: HashMap<EpisodeKey, Vec<String>>,
    pushed: usize,
}

impl World {
    fn new(originals: &[Option<i64>], limits: StreamLimits) -> Self {
        let db = Database::new();
        let hub = Hub::new(db.head.id, limits);
        let peers = originals.iter().map(|o| Peer { original: *o, ..Peer::default() }).collect();
        let now = Timestamp::from_micros(0);
        Self { db, hub, peers, now, read: None, page: 1000, parts: HashMap::new(), pushed: 0 }
    }

    fn answer(&self, spec: &ReadSpec) -> ReadResult {
        ReadResult {
            changes: spec.since.map(|v| self.db.since(&v)),
            joins: spec.joins.iter().map(|from| (*from, self.db.join(*from, self.page))).collect(),
        }
    }

    fn run(&mut self, op: &Op) {
        match op {
            Op::Commit(change, hint) => {
                if let Change::Attempt = change {
                    let v = self.db.head.versions;
                    let key = EpisodeKey { history_version: v.history, generation_attempt: v.attempt + 1 };
                    self.hub.open_episode(key, self.now);
                }
                self.db.commit(change);
                let times = match hint {
                    Hint::Lost => 0,
                    Hint::Once => 1,
                    Hint::Twice => 2,
                };
                for _ in 0..times {
                    self.hub.notice(self.db.head.versions.snapshot);
                }
            }
            Op::Parts(n) => {
                let Some(key) = EpisodeKey::current(&self.db.head.versions) else { return };
                for _ in 0..*n {
                    self.pushed += 1;
                    let text = format!("p{}", self.pushed);
                    let part = Part::Text { text: text.clone() };
                    if let Some(shared) = self.hub.push(key, Role::Assistant, &part, self.now) {
                        let all = self.parts.entry(key).or_default();
                        all.push(text);
                        assert_eq!(shared.seq, all.len() as u64);
                    }
                }
            }
            Op::Connect { client, highest } => self.connect(*client, *highest),
            Op::Consume { client, frames } => self.consume(*client, *frames),
            Op::Flush => self.hub.flush(self.now),
            Op::Tick(ms) => {
                self.now = self.now + Duration::from_millis(*ms);
                self.hub.tick(self.now);
                self.hub.take_departed();
            }
            Op::StartRead => {
                if let Some(spec) = self.hub.reads_needed() {
                    assert!(self.read.is_none(), "one read at a time");
                    self.read = Some(self.answer(&spec));
                }
            }
            Op::EndRead { fails } => match self.read.take() {
                Some(_) if *fails => self.hub.read_failed(),
                Some(result) => self.hub.read_done(&result, self.now),
                None => {}
            },
            Op::Poll => self.hub.poll(),
            Op::CloseEpisode => {
                if let Some(key) = EpisodeKey::current(&self.db.head.versions) {
                    self.hub.close_episode(key, self.now);
                }
            }
        }
    }

    fn connect(&mut self, at: usize, highest: bool) {
        let newest = self.db.rows.iter().map(|r| r.id.0).max();
        let peer = &mut self.peers[at];
        // An id that a client was given: none from the future.
        peer.original = peer.original.min(newest);
        if let Some((id, line)) = peer.line.take() {
            // Half of the hub's news about it is an orderly goodbye, half a dead socket.
            if highest {
                self.hub.unsubscribe(id, CloseReason::Gone);
            } else {
                line.hang_up();
            }
        }
        let held = peer.client.messages.keys().next_back().copied();
        let after = if highest { held.or(peer.original) } else { peer.original };
        peer.client.reconnecting(after.is_none());
        let line = Line::new(CAPACITY[at]);
        let id = self.hub.subscribe(line.clone(), after);
        self.peers[at].line = Some((id, line));
    }

    fn consume(&mut self, at: usize, frames: usize) {
        let peer = &mut self.peers[at];
        let Some((_, line)) = &peer.line else { return };
        for _ in 0..frames {
            let Some(frame) = line.take() else { return };
            peer.client.frame(&frame);
        }
    }

    /// Everybody comes back and reads what there is, until nothing moves.
    fn quiesce(&mut self) {
        for at in 0..CLIENTS {
            let closed = self.peers[at].line.as_ref().is_none_or(|(_, l)| l.0.borrow().closed.is_some());
            if closed {
                while self.peers[at].line.as_ref().is_some_and(|(_, l)| l.queued_frames() > 0) {
                    self.consume(at, 1);
                }
                self.connect(at, true);
            }
        }
        if self.read.is_some() {
            self.run(&Op::EndRead { fails: false });
        }
        self.hub.poll();
        for round in 0.. {
            assert!(round < 1000, "it never comes to rest");
            let read = self.hub.reads_needed();
            let busy = read.is_some() || self.hub.has_pending() || self.hub.has_lagging();
            if let Some(spec) = read {
                let result = self.answer(&spec);
                self.hub.read_done(&result, self.now);
            }
            self.hub.flush(self.now);
            for at in 0..CLIENTS {
                self.consume(at, usize::MAX);
            }
            self.now = self.now + Duration::from_secs(1);
            self.hub.tick(self.now);
            if !busy {
                break;
            }
        }
    }

    fn check(&self, whole_preview: bool) {
        let expected: HashMap<i64, String> =
            self.db.visible().map(|r| (r.id.0, r.content.get().to_owned())).collect();
        for peer in &self.peers {
            let client = &peer.client;
            let floor = peer.original.unwrap_or(0);
            for (id, message) in &client.messages {
                let content = expected.get(id).expect("no message that is not committed and visible");
                assert_eq!(&message["content"].to_string(), content);
            }
            for id in expected.keys().filter(|id| **id > floor) {
                assert!(client.messages.contains_key(id), "message {id} is missing");
            }
            let queue: Vec<_> = self.db.queue.iter().map(|q| json!(q.id)).collect();
            assert_eq!(client.queue.iter().map(|q| q["id"].clone()).collect::<Vec<_>>(), queue);
            assert_eq!(client.status.as_deref(), Some(self.db.head.status.as_str()));
            if self.db.head.status == Status::Error {
                let error = self.db.head.last_error.as_ref().map(|e| e.read().unwrap());
                assert_eq!(client.error, error);
            }
            if self.db.head.status == Status::Running
                && let Some(retry) = &self.db.head.retry_state
            {
                assert_eq!(client.retry, Some(retry.read().unwrap()));
            }
            let key = EpisodeKey::current(&self.db.head.versions);
            let parts = key.and_then(|k| self.parts.get(&k)).map_or(&[][..], Vec::as_slice);
            // Closed episodes are forgotten some time; only those who come later miss them then.
            let buffered = key.is_some_and(|k| self.hub.episodes().get(k).is_some());
            if whole_preview && buffered {
                assert_eq!(client.preview, parts);
            } else {
                assert!(parts.starts_with(&client.preview));
            }
            if let Some((h, a)) = client.episode {
                assert_eq!(Some(EpisodeKey { history_version: h, generation_attempt: a }), key);
            }
        }
    }
}

impl Line {
    fn queued_frames(&self) -> usize {
        crate::stream::subscriber::Sink::queued(self)
    }
}

fn original() -> impl Strategy<Value = Option<i64>> {
    proptest::option::of(0..12_i64)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]
    #[test]
    fn every_reader_ends_with_what_is_committed(
        originals in proptest::collection::vec(original(), CLIENTS),
        ops in proptest::collection::vec(op(), 0..120),
        small_buffer in proptest::bool::weighted(0.3),
        page in prop_oneof![Just(1_usize), Just(3), Just(1000)],
    ) {
        let limits = StreamLimits {
            episode_bytes: if small_buffer { 900 } else { 1 << 20 },
            frame_bytes: 1000,
            ..StreamLimits::default()
        };
        let mut world = World::new(&originals, limits);
        world.page = page;
        for op in &ops {
            world.run(op);
        }
        world.quiesce();
        world.check(!small_buffer);
        // A dead reader is found out by the next frame, or by not draining.
        world.run(&Op::Tick(20_000));
        world.run(&Op::Commit(Change::Insert { hidden: false, role: Role::User, size: 1 }, Hint::Lost));
        world.quiesce();
        world.check(!small_buffer);
        prop_assert_eq!(world.hub.subscribers(), CLIENTS, "dead readers are found out");
        world.hub.close_all(CloseReason::Shutdown);
        world.now = world.now + Duration::from_secs(60);
        if let Some(key) = EpisodeKey::current(&world.db.head.versions) {
            world.hub.close_episode(key, world.now);
        }
        world.hub.poll();
        prop_assert_eq!(world.hub.reads_needed(), None, "nobody is there to read for");
    }
}

fn connected(limits: StreamLimits, capacity: usize) -> (World, Line) {
    let mut world = World::new(&[None; CLIENTS], limits);
    let line = Line::new(capacity);
    world.hub.subscribe(line.clone(), None);
    world.run(&Op::Commit(Change::Attempt, Hint::Once));
    world.run(&Op::StartRead);
    world.run(&Op::EndRead { fails: false });
    (world, line)
}

#[test]
fn parts_of_one_tick_share_a_frame() {
    let (mut world, line) = connected(StreamLimits::default(), 9);
    line.take().expect("the snapshot");
    world.run(&Op::Parts(3));
    assert!(world.hub.has_pending() && line.take().is_none());
    world.run(&Op::Flush);
    let events: Vec<serde_json::Value> = serde_json::from_str(&line.take().unwrap()).unwrap();
    assert_eq!(events.iter().map(|e| e["message_part"]["seq"].clone()).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(line.take().is_none());
}

#[test]
fn frames_are_shared_by_readers_at_one_place() {
    let (mut world, a) = connected(StreamLimits::default(), 9);
    let b = Line::new(9);
    world.hub.subscribe(b.clone(), None);
    world.run(&Op::StartRead);
    world.run(&Op::EndRead { fails: false });
    a.take().expect("its snapshot");
    b.take().expect("its snapshot");
    world.run(&Op::Parts(1));
    world.run(&Op::Flush);
    assert_eq!(a.take().unwrap().as_ptr(), b.take().unwrap().as_ptr());
}

#[test]
fn parts_that_come_before_their_attempt_is_read_wait_for_it() {
    let (mut world, line) = connected(StreamLimits::default(), 9);
    line.take().unwrap();
    world.run(&Op::Commit(Change::Attempt, Hint::Once));
    world.run(&Op::Parts(2));
    world.run(&Op::Flush);
    assert!(line.take().is_none());
    world.run(&Op::StartRead);
    world.run(&Op::EndRead { fails: false });
    let mut client = Client::default();
    client.frame(&line.take().unwrap());
    assert_eq!(client.kinds, ["preview_reset", "message_part", "message_part"]);
}

#[test]
fn a_notice_during_a_read_is_not_lost_and_a_covered_one_costs_nothing() {
    let (mut world, _line) = connected(StreamLimits::default(), 9);
    assert_eq!(world.hub.reads_needed(), None);
    world.run(&Op::Commit(Change::Acquire, Hint::Once));
    world.run(&Op::StartRead);
    world.hub.notice(world.db.head.versions.snapshot);
    world.run(&Op::EndRead { fails: false });
    assert_eq!(world.hub.reads_needed(), None, "the read has seen it");
    world.run(&Op::Commit(Change::Acquire, Hint::Once));
    world.run(&Op::StartRead);
    world.run(&Op::Commit(Change::Acquire, Hint::Once));
    world.run(&Op::EndRead { fails: false });
    assert!(world.hub.reads_needed().is_some(), "the read began before it");
}

#[test]
fn a_reader_that_missed_parts_only_costs_no_read() {
    let (mut world, line) = connected(StreamLimits::default(), 1);
    let mut client = Client::default();
    for _ in 0..3 {
        world.run(&Op::Parts(2));
        world.run(&Op::Flush);
    }
    assert!(world.hub.has_lagging());
    client.frame(&line.take().unwrap());
    world.hub.tick(world.now);
    client.frame(&line.take().unwrap());
    assert_eq!((client.preview.len(), world.hub.reads_needed()), (6, None));
    assert_eq!((world.hub.stats().lagged, world.hub.stats().resyncs), (1, 0));
}

#[test]
fn a_reader_that_missed_a_commit_is_resynchronised() {
    let (mut world, line) = connected(StreamLimits::default(), 1);
    let mut client = Client::default();
    world.run(&Op::Commit(Change::Insert { hidden: false, role: Role::Assistant, size: 3 }, Hint::Once));
    world.run(&Op::StartRead);
    world.run(&Op::EndRead { fails: false });
    client.frame(&line.take().unwrap());
    world.hub.tick(world.now);
    let spec = world.hub.reads_needed().expect("a fresh read");
    assert_eq!((spec.since, spec.joins.len()), (None, 1));
    world.read = Some(world.answer(&spec));
    world.run(&Op::EndRead { fails: false });
    client.frame(&line.take().unwrap());
    assert_eq!((client.messages.len(), world.hub.stats().resyncs), (2, 1));
}

#[test]
fn a_history_longer_than_the_queue_arrives_in_the_end() {
    let limits = StreamLimits { frame_bytes: 1000, ..StreamLimits::default() };
    let mut world = World::new(&[None; CLIENTS], limits);
    for _ in 0..9 {
        let big = Change::Insert { hidden: false, role: Role::Tool, size: 900 };
        world.run(&Op::Commit(big, Hint::Once));
    }
    world.quiesce();
    world.check(true);
}

#[test]
fn a_reader_that_does_not_drain_is_closed_with_a_reason() {
    let (mut world, line) = connected(StreamLimits::default(), 2);
    world.run(&Op::Parts(1));
    world.run(&Op::Flush);
    world.run(&Op::Parts(1));
    world.run(&Op::Flush);
    let at = |s: u64| Timestamp::from_micros(0) + Duration::from_secs(s);
    world.hub.tick(at(9));
    line.take().expect("it moves, so the time begins anew");
    world.hub.tick(at(10));
    world.hub.tick(at(19));
    assert_eq!(world.hub.take_departed(), []);
    world.hub.tick(at(20));
    assert!(matches!(world.hub.take_departed()[..], [(_, CloseReason::TooSlow)]));
    assert_eq!(line.0.borrow().closed, Some(CloseReason::TooSlow));
    assert_eq!((world.hub.stats().closed_slow, world.hub.subscribers()), (1, 0));
}

#[test]
fn a_late_joiner_of_a_full_episode_sees_a_prefix_and_no_gap() {
    let limits = StreamLimits { episode_bytes: 500, ..StreamLimits::default() };
    let (mut world, early) = connected(limits, 99);
    world.run(&Op::Parts(6));
    let late = Line::new(99);
    world.hub.subscribe(late.clone(), None);
    world.run(&Op::StartRead);
    world.run(&Op::EndRead { fails: false });
    world.run(&Op::Parts(2));
    world.run(&Op::Flush);
    let drain = |line: &Line| {
        let mut client = Client::default();
        while let Some(frame) = line.take() {
            client.frame(&frame);
        }
        client.preview.len()
    };
    let (early, late) = (drain(&early), drain(&late));
    assert_eq!(early, 8);
    assert!((1..6).contains(&late), "{late}");
    assert_eq!(world.hub.episodes().dropped(), 8 - late as u64);
}
