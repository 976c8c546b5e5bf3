//! Claims and heartbeats.

use super::{fixture::*, support::both};
use crate::{
    chat::{command::Command, state::Owner},
    clock::Timestamp,
    ids::{ChatId, WorkerId},
    store::{Store, records::Claimed},
};
use std::time::Duration;

async fn claimed(store: &Store, worker: WorkerId, now: Timestamp, lease: Duration) -> Vec<Claimed> {
    store.claim(claim(worker, now, lease)).await.unwrap()
}

const SECOND: Duration = Duration::from_secs(1);

both! {
    async fn a_lease_is_kept_by_heartbeats_and_lost_without(db) {
        let person = Person::of(&db.store).await;
        let id = person.create(&db.store, "c").await.chat.head.id;
        let (a, b) = (WorkerId::fresh(), WorkerId::fresh());
        let first = claimed(&db.store, a, NOW, LEASE).await;
        assert_eq!(first.len(), 1);
        assert!(!first[0].takeover);
        let runner = first[0].head.owner.unwrap().runner;
        assert_eq!(db.store.chat(id).await.unwrap().head, first[0].head);
        let later = NOW + LEASE + SECOND;
        db.store.beat(a, vec![(id, runner)], later).await.unwrap();
        assert!(claimed(&db.store, b, later + SECOND, LEASE).await.is_empty());
        if !db.is_sqlite() {
            // The clock of a replica does not matter, the database's does.
            assert!(claimed(&db.store, b, later + 1000 * LEASE, LEASE).await.is_empty());
        }
        let taken = claimed(&db.store, b, later + SECOND, Duration::ZERO).await;
        assert!(taken[0].takeover);
        assert_eq!(taken[0].head.owner.unwrap().worker, b);
        assert_eq!(taken[0].head.versions.snapshot, first[0].head.versions.snapshot + 1);
        assert_eq!(taken[0].head.versions.history, first[0].head.versions.history);
    }

    async fn the_heartbeat_of_a_lost_chat_changes_nothing(db) {
        let chat = Driven::new(&db).await;
        let b = WorkerId::fresh();
        let taken = claimed(&chat.store, b, NOW + SECOND, Duration::ZERO).await;
        let new = taken[0].head.owner.unwrap();
        // The old owner comes back with a clock far ahead.
        chat.store.beat(chat.owner.worker, vec![(chat.id, chat.owner.runner)], NOW + 100 * LEASE).await.unwrap();
        chat.run(Command::Abandon).await;
        chat.store.beat(b, vec![(chat.id, new.runner)], NOW + 100 * LEASE).await.unwrap();
        chat.store.beat(chat.owner.worker, vec![(chat.id, chat.owner.runner)], NOW + 100 * LEASE).await.unwrap();
        // Abandoned: free at once, whatever its late owners say.
        let again = claimed(&chat.store, WorkerId::fresh(), NOW, LEASE).await;
        assert_eq!(again.len(), 1);
        assert!(!again[0].takeover);
    }

    async fn a_worker_that_leaves_frees_its_chats(db) {
        let chat = Driven::new(&db).await;
        assert!(claimed(&chat.store, WorkerId::fresh(), NOW, LEASE).await.is_empty());
        assert_eq!(chat.store.drop_beats(chat.owner.worker).await.unwrap(), 1);
        assert!(claimed(&chat.store, WorkerId::fresh(), NOW, LEASE).await[0].takeover);
    }

    async fn old_heartbeats_are_swept(db) {
        let chat = Driven::new(&db).await;
        assert_eq!(chat.store.sweep_beats(Timestamp::from_micros(1)).await.unwrap(), 0);
        let end = Timestamp::from_micros(4_000_000_000_000_000);
        assert_eq!(chat.store.sweep_beats(end).await.unwrap(), 1);
    }

    async fn leases_are_forgotten_on_sqlite_alone(db) {
        let chat = Driven::new(&db).await;
        let forgotten = chat.store.forget_leases().await.unwrap();
        assert_eq!(forgotten, usize::from(db.is_sqlite()));
        assert_eq!(claimed(&chat.store, WorkerId::fresh(), NOW, LEASE).await.len(), forgotten);
    }

    /// A crash of PostgreSQL empties the leases, which are not logged, under owners who live.
    async fn a_replica_that_beats_keeps_its_chats_when_all_leases_are_gone(db) {
        let chat = Driven::new(&db).await;
        let Owner { worker, runner } = chat.owner;
        let other = WorkerId::fresh();
        chat.store.beat_replica(worker, "http://here".into(), NOW).await.unwrap();
        db.sql("DELETE FROM chat_heartbeats").await;
        if db.is_sqlite() {
            // There the only process has emptied them itself.
            assert!(claimed(&chat.store, other, NOW, LEASE).await[0].takeover);
            return;
        }
        assert!(claimed(&chat.store, other, NOW, LEASE).await.is_empty());
        // Without a runner here the chat was claimed and the answer got lost: only its owner can know.
        let mine = claimed(&chat.store, worker, NOW, LEASE).await;
        assert_eq!(mine.iter().map(|c| c.head.id).collect::<Vec<_>>(), [chat.id]);
        let runner = mine[0].head.owner.map_or(runner, |owner| owner.runner);
        chat.store.beat(worker, vec![(chat.id, runner)], NOW).await.unwrap();
        chat.store.drop_replica(worker).await.unwrap();
        assert!(claimed(&chat.store, other, NOW, LEASE).await.is_empty(), "the beat has written the lease anew");
        db.sql("DELETE FROM chat_heartbeats").await;
        assert!(claimed(&chat.store, other, NOW, LEASE).await[0].takeover, "no such replica");
    }

    async fn only_runnable_chats_are_claimed_oldest_first(db) {
        let person = Person::of(&db.store).await;
        let mut ids: Vec<ChatId> = Vec::new();
        for i in 0..14u32 {
            let new = person.new_chat("c");
            // The newest chat was touched first.
            let at = NOW - SECOND * i;
            ids.push(fresh(db.store.create_chat(new, at, None).await.unwrap()).chat.head.id);
        }
        db.store.commit(crate::store::commit::Commit::new(ids[13], Command::FinishTurn, NOW)).await.unwrap();
        db.store.commit(crate::store::commit::Commit::new(ids[12], Command::Interrupt { reason: "x".into() }, NOW)).await.unwrap();
        let worker = WorkerId::fresh();
        let mut expected: Vec<ChatId> = ids[..12].iter().rev().copied().collect();
        expected.push(ids[12]);
        let got: Vec<_> = claimed(&db.store, worker, NOW, LEASE).await.iter().map(|c| c.head.id).collect();
        assert_eq!(got, expected[..10]);
        let got: Vec<_> = claimed(&db.store, worker, NOW, LEASE).await.iter().map(|c| c.head.id).collect();
        // The last two hold the same moment but for the order of their updates.
        assert_eq!(got.len(), 3);
        assert!(expected[10..].iter().all(|id| got.contains(id)));
    }

    async fn a_chat_over_the_limit_waits_and_stays_interruptible(db) {
        let person = Person::of(&db.store).await;
        let running = person.create(&db.store, "a").await.chat.head.id;
        let worker = WorkerId::fresh();
        let mut spec = claim(worker, NOW, LEASE);
        spec.max_running_chats = 1;
        let first = db.store.claim(spec).await.unwrap();
        assert_eq!(first.iter().map(|c| c.head.id).collect::<Vec<_>>(), [running]);
        let waiting = person.create(&db.store, "b").await.chat.head.id;
        assert!(db.store.claim(spec).await.unwrap().is_empty());
        db.store.commit(crate::store::commit::Commit::new(waiting, Command::Interrupt { reason: "x".into() }, NOW)).await.unwrap();
        assert_eq!(db.store.claim(spec).await.unwrap()[0].head.id, waiting);
        // The owner dies: the chat that counts against the limit is the one to be taken over.
        spec.worker = WorkerId::fresh();
        spec.now = NOW + SECOND;
        spec.lease = Duration::ZERO;
        let again: Vec<_> = db.store.claim(spec).await.unwrap().iter().map(|c| c.head.id).collect();
        assert!(again.contains(&running), "{again:?}");
    }

    async fn ten_thousand_waiting_children_do_not_count_as_roots(db) {
        let chat = Driven::new(&db).await;
        let child = Driven::another(&db, chat.person).await;
        db.sql(&format!("UPDATE chats SET parent_chat_id = {0}, root_chat_id = {0} WHERE id = {1}",
            db.literal(chat.id.0), db.literal(child.id.0))).await;
        let free = chat.person.create(&db.store, "free").await.chat.head.id;
        let mut spec = claim(WorkerId::fresh(), NOW, LEASE);
        spec.max_running_chats = 1;
        spec.max_running_subagents = 1;
        assert!(db.store.claim(spec).await.unwrap().is_empty());
        spec.max_running_chats = 2;
        assert_eq!(db.store.claim(spec).await.unwrap()[0].head.id, free);
    }

    async fn acquire_and_abandon_keep_the_heartbeat_row(db) {
        let chat = Driven::new(&db).await;
        let Owner { worker, .. } = chat.owner;
        chat.run(Command::Abandon).await;
        assert_eq!(chat.store.drop_beats(worker).await.unwrap(), 0);
        assert_eq!(chat.store.chat(chat.id).await.unwrap().head.owner, None);
    }

    async fn the_clock_answers(db) {
        let now = db.store.database_now(NOW).await.unwrap();
        assert_eq!(now == NOW, db.is_sqlite());
        db.store.ping().await.unwrap();
    }
}
