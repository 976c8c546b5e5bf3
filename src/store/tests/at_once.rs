//! Chats that are claimed in the transaction that leaves them to be driven.

use super::{
    fixture::*,
    support::{Db, both},
};
use crate::{
    bus::Notice,
    chat::{command::Command, state::Owner},
    ids::{ChatId, RunnerId, WorkerId},
    store::{Claimer, Taken, commit::Commit},
};
use std::sync::{Arc, Mutex};

#[derive(Default)]
struct Driver {
    worker: Mutex<Option<WorkerId>>,
    driven: Mutex<Vec<(ChatId, RunnerId)>>,
    taken: Mutex<Vec<(ChatId, Option<Owner>, usize)>>,
}

impl Claimer for Driver {
    fn worker(&self) -> Option<WorkerId> {
        *self.worker.lock().unwrap()
    }

    fn drives(&self, chat: ChatId, runner: RunnerId) -> bool {
        self.driven.lock().unwrap().contains(&(chat, runner))
    }

    fn take(&self, claimed: Taken) {
        self.taken.lock().unwrap().push(match claimed {
            Taken::Created(head) => (head.id, head.owner, 0),
            Taken::Moved(done) => (done.head.id, done.head.owner, done.inserted.len()),
        });
    }
}

impl Driver {
    fn start(db: &Db) -> (Arc<Self>, Arc<dyn Claimer>, WorkerId) {
        let worker = WorkerId::fresh();
        let driver = Arc::new(Self { worker: Mutex::new(Some(worker)), ..Self::default() });
        let kept: Arc<dyn Claimer> = driver.clone();
        db.store.claim_for(Arc::downgrade(&kept));
        (driver, kept, worker)
    }

    fn taken(&self) -> Vec<(ChatId, Option<Owner>, usize)> {
        std::mem::take(&mut self.taken.lock().unwrap())
    }
}

both! {
    async fn who_drives_here_gets_the_chat_with_the_message(db) {
        let (driver, _kept, worker) = Driver::start(&db);
        let person = Person::of(&db.store).await;
        let mut hints = db.store.bus().subscribe();
        let created = person.create(&db.store, "chat").await.chat.head;
        let owner = created.owner.unwrap();
        assert_eq!(owner.worker, worker);
        assert_eq!(created.versions.snapshot, 1, "one transaction");
        assert_eq!(created.versions.attempt, 1, "with the attempt that the driver begins with");
        assert_eq!(driver.taken(), [(created.id, Some(owner), 0)]);
        assert_eq!(db.store.chat(created.id).await.unwrap().head, created);
        // The first heartbeat is there: nobody else may claim.
        assert!(db.store.claim(claim(WorkerId::fresh(), NOW, LEASE)).await.unwrap().is_empty());
        let chat = Driven { store: db.store.clone(), id: created.id, owner, person };
        // Whoever owns it keeps it.
        assert_eq!(chat.run(send("queued")).await.head.owner, Some(owner));
        chat.run(Command::FinishTurn).await;
        assert!(driver.taken().is_empty());
        let fence = chat.fence().await;
        let last = chat.attempt(Commit::new(chat.id, Command::FinishTurn, NOW).fenced(fence).releasing()).await.unwrap();
        assert_eq!(last.head.owner, None);
        let sent = chat.run(send("again")).await;
        let second = sent.head.owner.unwrap();
        assert!(second.worker == worker && second.runner != owner.runner);
        assert_eq!(sent.head.versions.snapshot, last.head.versions.snapshot + 1);
        assert!(sent.head.versions.attempt == 1 && sent.begins_attempt());
        assert_eq!(driver.taken(), [(chat.id, Some(second), 1)]);
        // Nobody is called for.
        while let Some(Some(hint)) = futures_util::FutureExt::now_or_never(hints.next()) {
            assert!(!matches!(hint, Notice::Ownership { .. }), "{hint:?}");
        }
    }

    async fn only_a_message_brings_an_attempt_with_its_claim(db) {
        let (driver, _kept, _) = Driver::start(&db);
        let person = Person::of(&db.store).await;
        let id = person.create(&db.store, "chat").await.chat.head.id;
        let chat = Driven { store: db.store.clone(), id, owner: owner(), person };
        let done = chat.attempt(Commit::new(id, Command::FinishTurn, NOW).releasing()).await.unwrap();
        driver.taken();
        // It would clear the mark, and an attempt at a history that needs no answer stands for a compaction.
        let asked = chat.run(Command::RequestCompaction).await;
        assert!(!asked.begins_attempt(), "the attempt is that of the turn before");
        let asked = asked.head;
        assert!(asked.owner.is_some() && driver.taken().len() == 1);
        assert_eq!(asked.versions.attempt, done.head.versions.attempt);
        assert!(db.store.chat(id).await.unwrap().compaction_requested_at.is_some());
        // One that waits behind a turn that was let go begins nothing, though it brings the claim.
        let attempted = chat.run(Command::RecordGenerationAttempt).await.head.versions.attempt;
        assert_eq!(chat.run(Command::Abandon).await.head.owner, None);
        let queued = chat.run(send("later")).await;
        assert!(queued.head.owner.is_some() && queued.head.versions.attempt == attempted);
        assert!(!queued.begins_attempt());
    }

    async fn a_caller_that_is_gone_loses_nothing(db) {
        let (driver, _kept, _) = Driver::start(&db);
        let person = Person::of(&db.store).await;
        let id = person.create(&db.store, "chat").await.chat.head.id;
        driver.taken();
        let chat = Driven { store: db.store.clone(), id, owner: owner(), person };
        chat.attempt(Commit::new(id, Command::FinishTurn, NOW).releasing()).await.unwrap();
        let mut send = Box::pin(db.store.commit(Commit::new(id, send("hello"), NOW)));
        // It is under way (a quick writer may even be through with it), and then nobody waits for it
        // or looks at what it gave.
        let _whatever = futures_util::FutureExt::now_or_never(&mut send);
        drop(send);
        let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while driver.taken().is_empty() {
            assert!(std::time::Instant::now() < until, "nobody drives the chat");
            tokio::task::yield_now().await;
        }
    }

    async fn what_is_driven_here_is_not_claimed_again_when_its_lease_was_lost(db) {
        let (driver, _kept, worker) = Driver::start(&db);
        let person = Person::of(&db.store).await;
        let owned = person.create(&db.store, "chat").await.chat.head;
        let runner = owned.owner.unwrap().runner;
        *driver.driven.lock().unwrap() = vec![(owned.id, runner)];
        let dead = claim(worker, NOW + LEASE, std::time::Duration::ZERO);
        assert!(db.store.claim(dead).await.unwrap().is_empty());
        // The lease may even be gone. Somebody else cannot know.
        db.store.drop_beats(worker).await.unwrap();
        assert!(db.store.claim(dead).await.unwrap().is_empty());
        assert_eq!(db.store.chat(owned.id).await.unwrap().head, owned);
        driver.driven.lock().unwrap().clear();
        assert!(db.store.claim(dead).await.unwrap()[0].takeover);
    }

    async fn who_takes_nothing_is_given_nothing(db) {
        let (driver, kept, _) = Driver::start(&db);
        let person = Person::of(&db.store).await;
        let chat = person.create(&db.store, "chat").await.chat.head;
        driver.taken();
        // Who lets a chat go does not get it back.
        let driven = Driven { store: db.store.clone(), id: chat.id, owner: chat.owner.unwrap(), person };
        assert_eq!(driven.run(Command::Abandon).await.head.owner, None);
        *driver.worker.lock().unwrap() = None;
        assert_eq!(driven.run(send("queued")).await.head.owner, None);
        drop(kept);
        assert_eq!(person.create(&db.store, "other").await.chat.head.owner, None);
        assert!(driver.taken().is_empty());
    }
}
