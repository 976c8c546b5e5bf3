//! Many at once.

use super::{fixture::*, support::both};
use crate::{
    chat::{command::Command, plan::Refusal, state::Status},
    ids::WorkerId,
    store::{
        Error,
        commit::{Accepted, Commit},
    },
};
use futures_util::future::join_all;
use std::collections::HashSet;

both! {
    async fn a_queue_takes_exactly_what_it_may(db) {
        let chat = Driven::new(&db).await;
        let peer = db.peer();
        let outcomes = join_all((0..30).map(|i| {
            let store = if i % 2 == 0 { &chat.store } else { &peer };
            store.commit(Commit::new(chat.id, send(&format!("m{i}")), NOW))
        })).await;
        let queued = outcomes.iter().filter(|o| matches!(o, Ok(Accepted::Fresh(_)))).count();
        let full = outcomes.iter().filter(|o| matches!(o, Err(Error::Refused(Refusal::QueueFull { max: 20 })))).count();
        assert_eq!((queued, full), (20, 10));
        assert_eq!(chat.queue().await.len(), 20);
    }

    async fn every_transaction_is_one_version(db) {
        let chat = Driven::new(&db).await;
        let start = chat.store.chat(chat.id).await.unwrap().head.versions.snapshot;
        let done = join_all((0..20).map(|i| chat.run(send(&i.to_string())))).await;
        let seen: HashSet<i64> = done.iter().map(|c| c.head.versions.snapshot).collect();
        assert_eq!(seen, (start + 1..=start + 20).collect());
        // The queue is in the order of the transactions.
        let mut by_version: Vec<_> = done.iter().map(|c| (c.head.versions.snapshot, c.queued.as_ref().unwrap().id)).collect();
        by_version.sort();
        let queue: Vec<_> = chat.store.queue(chat.id).await.unwrap().iter().map(|q| q.id).collect();
        assert_eq!(queue, by_version.into_iter().map(|(_, id)| id).collect::<Vec<_>>());
    }

    async fn each_chat_is_claimed_once(db) {
        let person = Person::of(&db.store).await;
        let mut all = HashSet::new();
        for _ in 0..25 {
            all.insert(person.create(&db.store, "c").await.chat.head.id);
        }
        let peer = db.peer();
        let rounds = join_all((0..8).map(|i| {
            let store = if i % 2 == 0 { db.store.clone() } else { peer.clone() };
            async move {
                let mut mine = Vec::new();
                let worker = WorkerId::fresh();
                for _ in 0..6 {
                    let got = store.claim(claim(worker, NOW, LEASE)).await.unwrap();
                    assert!(got.iter().all(|c| !c.takeover && c.head.owner.unwrap().worker == worker));
                    mine.extend(got.into_iter().map(|c| c.head.id));
                }
                mine
            }
        })).await;
        let claimed: Vec<_> = rounds.into_iter().flatten().collect();
        assert_eq!(claimed.len(), 25);
        assert_eq!(claimed.into_iter().collect::<HashSet<_>>(), all);
    }

    async fn a_limit_holds_against_racing_claimers(db) {
        let person = Person::of(&db.store).await;
        for _ in 0..10 {
            person.create(&db.store, "c").await;
        }
        let peer = db.peer();
        let got = join_all((0..6).map(|i| {
            let store = if i % 2 == 0 { &db.store } else { &peer };
            let mut spec = claim(WorkerId::fresh(), NOW, LEASE);
            spec.max_running_chats = 3;
            store.claim(spec)
        })).await;
        assert_eq!(got.into_iter().map(|c| c.unwrap().len()).sum::<usize>(), 3);
    }

    async fn one_first_use_of_a_key_wins(db) {
        let chat = Driven::new(&db).await;
        let peer = db.peer();
        // Room for one message: the loser must get the answer, not be told that the queue is full.
        let outcomes = join_all((0..6).map(|i| {
            let store = if i % 2 == 0 { &chat.store } else { &peer };
            let command = Command::SendMessage { message: user("once"), busy: crate::chat::command::Busy::Queue, max_queue: 1 };
            let mut c = Commit::new(chat.id, command, NOW);
            c.idempotency = Some(key(chat.person.user, "k", b"same", "{\"id\": 7}"));
            store.commit(c)
        })).await;
        let mut fresh = 0;
        for o in outcomes {
            match o.unwrap() {
                Accepted::Fresh(_) => fresh += 1,
                Accepted::Replayed { status, answer } => assert_eq!((status, answer.get()), (201, "{\"id\": 7}")),
            }
        }
        assert_eq!(fresh, 1);
        assert_eq!(chat.queue().await, ["once"]);
    }

    async fn one_chat_is_made_for_a_key(db) {
        let person = Person::of(&db.store).await;
        let peer = db.peer();
        let outcomes = join_all((0..6).map(|i| {
            let store = if i % 2 == 0 { &db.store } else { &peer };
            store.create_chat(person.new_chat("one"), NOW, Some(key(person.user, "k", b"same", "{}")))
        })).await;
        let fresh = outcomes.iter().filter(|o| matches!(o, Ok(Accepted::Fresh(_)))).count();
        let replayed = outcomes.iter().filter(|o| matches!(o, Ok(Accepted::Replayed { .. }))).count();
        assert_eq!((fresh, replayed), (1, 5), "{outcomes:?}");
        assert_eq!(db.store.list_chats(all_of(person.user)).await.unwrap().len(), 1);
    }

    async fn first_pins_do_not_share_a_place(db) {
        let person = Person::of(&db.store).await;
        let mut ids = Vec::new();
        for _ in 0..6 {
            ids.push(person.create(&db.store, "c").await.chat.head.id);
        }
        let patch = crate::store::records::MetaPatch { pin_order: Some(1), ..Default::default() };
        join_all(ids.iter().map(|id| db.store.patch_chat(*id, patch.clone()))).await;
        let places: Vec<i64> = db.store.list_chats(all_of(person.user)).await.unwrap().iter().map(|c| c.chat.pin_order).collect();
        assert_eq!(places, [1, 2, 3, 4, 5, 6]);
    }

    async fn no_archived_chat_is_pinned_and_nobody_waits_for_each_other(db) {
        let person = Person::of(&db.store).await;
        let mut ids = Vec::new();
        for _ in 0..12 {
            let id = person.create(&db.store, "c").await.chat.head.id;
            db.store.commit(Commit::new(id, Command::FinishTurn, NOW)).await.unwrap();
            ids.push(id);
        }
        let peer = db.peer();
        let patch = crate::store::records::MetaPatch { pin_order: Some(1), ..Default::default() };
        for id in &ids {
            db.store.patch_chat(*id, patch.clone()).await.unwrap();
        }
        let pins = join_all(ids.iter().map(|id| peer.patch_chat(*id, patch.clone())));
        let archives = join_all(ids.iter().step_by(2).map(|id| db.store.set_archived(*id, true, NOW)));
        let (pinned, archived) = tokio::join!(pins, archives);
        assert!(archived.iter().all(Result::is_ok));
        assert!(pinned.iter().all(|p| matches!(p, Ok(_) | Err(Error::Stale))));
        assert!(matches!(db.store.patch_chat(ids[0], patch).await, Err(Error::Stale)));
        for (i, id) in ids.iter().enumerate() {
            let chat = db.store.chat(*id).await.unwrap();
            assert_eq!((chat.head.archived, chat.pin_order == 0), (i % 2 == 0, i % 2 == 0));
        }
        let mut places: Vec<i64> = db.store.list_chats(all_of(person.user)).await.unwrap().iter().map(|c| c.chat.pin_order).collect();
        places.sort_unstable();
        assert_eq!(places, [1, 2, 3, 4, 5, 6]);
    }

    async fn sixty_four_writers_get_their_own_answers(db) {
        let chat = Driven::new(&db).await;
        let mut chats = vec![chat.id];
        for _ in 0..7 {
            chats.push(Driven::another(&db, chat.person).await.id);
        }
        let outcomes = join_all((0..64).map(|i| {
            let command = if i == 31 { Command::CancelRequiresAction { reason: "no".into() } } else {
                Command::CommitStep(vec![said(&i.to_string())])
            };
            chat.store.commit(Commit::new(chats[i % 8], command, NOW))
        })).await;
        for (i, o) in outcomes.into_iter().enumerate() {
            match o {
                Ok(done) => assert_eq!(text(&fresh(done).inserted[0].content), i.to_string()),
                Err(e) => assert!(i == 31 && matches!(e, Error::Refused(_)), "{i}: {e}"),
            }
        }
        let mut total = 0;
        for id in chats {
            total += chat.store.history(id).await.unwrap().len() - 1;
        }
        assert_eq!(total, 63);
    }

    /// Edits, sends, interrupts and finishes at once: messages are neither lost nor doubled.
    async fn accepted_messages_are_conserved(db) {
        let chat = Driven::new(&db).await;
        let finish = async {
            let mut finished = 0;
            for _ in 0..60 {
                let ended = match chat.status().await {
                    Status::Running => Command::FinishTurn,
                    Status::Interrupting => Command::FinishInterruption { partial: vec![] },
                    _ => { tokio::task::yield_now().await; continue }
                };
                finished += usize::from(chat.attempt(Commit::new(chat.id, ended, NOW)).await.is_ok());
            }
            finished
        };
        let sends = join_all((0..40).map(|i| {
            let command = if i % 5 == 0 { interrupt_with(&format!("m{i}")) } else { send(&format!("m{i}")) };
            chat.attempt(Commit::new(chat.id, command, NOW))
        }));
        let (sent, _) = tokio::join!(sends, finish);
        let mut all = chat.history().await;
        all.extend(chat.queue().await);
        all.retain(|t| t.starts_with('m'));
        let unique: HashSet<_> = all.iter().cloned().collect();
        assert_eq!(all.len(), unique.len());
        assert_eq!(all.len(), sent.iter().filter(|s| s.is_ok()).count());
        for (i, s) in sent.iter().enumerate() {
            assert_eq!(s.is_ok(), unique.contains(&format!("m{i}")));
        }
    }
}
