//! Stale work writes nothing, and a commit is all or nothing.

use super::{fixture::*, support::both};
use crate::{
    chat::{command::Command, state::Status},
    ids::RunnerId,
    store::{
        Error,
        commit::{Commit, Fence, Idempotency},
    },
};
use std::sync::Arc;

both! {
    async fn a_broken_fence_writes_nothing(db) {
        let chat = Driven::new(&db).await;
        chat.run(Command::RecordGenerationAttempt).await;
        let good = Fence { attempt: Some(1), ..chat.fence().await };
        let step = |fence| Commit::new(chat.id, Command::CommitStep(vec![said("late")]), NOW).fenced(fence);
        let before = chat.store.chat(chat.id).await.unwrap();
        for bad in [
            Fence { runner: RunnerId::fresh(), ..good },
            Fence { status: Status::Interrupting, ..good },
            Fence { history_version: good.history_version + 1, ..good },
            Fence { attempt: Some(2), ..good },
        ] {
            assert!(matches!(chat.attempt(step(bad)).await, Err(Error::Stale)), "{bad:?}");
        }
        assert_eq!(chat.store.chat(chat.id).await.unwrap(), before);
        assert_eq!(chat.history().await, ["first"]);
        chat.attempt(step(good)).await.unwrap();
        // The history it started from is gone now.
        assert!(matches!(chat.attempt(step(good)).await, Err(Error::Stale)));
        chat.run(Command::Acquire(owner())).await;
        let taken = Fence { runner: chat.owner.runner, ..chat.fence().await };
        assert!(matches!(chat.attempt(step(taken)).await, Err(Error::Stale)));
        assert_eq!(chat.history().await, ["first", "late"]);
    }

    async fn an_impossible_second_command_undoes_the_first(db) {
        let chat = Driven::new(&db).await;
        chat.run(send("waiting")).await;
        let before = chat.store.chat(chat.id).await.unwrap();
        let c = Commit::new(chat.id, Command::FinishTurn, NOW).and(Command::CancelRequiresAction { reason: "x".into() });
        assert!(matches!(chat.attempt(c).await, Err(Error::Refused(_))));
        assert_eq!(chat.store.chat(chat.id).await.unwrap(), before);
        assert_eq!((chat.history().await, chat.queue().await), (vec!["first".to_owned()], vec!["waiting".to_owned()]));
    }

    /// The failure comes last, after the queue's head was moved and the columns were written.
    async fn a_panic_at_the_end_undoes_everything(db) {
        let chat = Driven::new(&db).await;
        chat.run(send("waiting")).await;
        let before = chat.store.chat(chat.id).await.unwrap();
        let mut c = Commit::new(chat.id, Command::FinishTurn, NOW);
        c.idempotency = Some(Idempotency {
            user: chat.person.user,
            key: "k".into(),
            request_hash: vec![1],
            render: Arc::new(|_| panic!("injected")),
        });
        assert!(matches!(chat.attempt(c.clone()).await, Err(Error::Unavailable(_))));
        assert_eq!(chat.store.chat(chat.id).await.unwrap(), before);
        assert_eq!((chat.history().await, chat.queue().await), (vec!["first".to_owned()], vec!["waiting".to_owned()]));
        c.idempotency = Some(key(chat.person.user, "k", &[1], "{}"));
        chat.attempt(c).await.unwrap();
        assert_eq!((chat.history().await, chat.queue().await.len()), (vec!["first".to_owned(), "waiting".to_owned()], 0));
    }

    /// The database refuses the last statement of the transaction.
    async fn a_database_error_at_the_end_undoes_everything(db) {
        let chat = Driven::new(&db).await;
        chat.run(send("waiting")).await;
        let before = chat.store.chat(chat.id).await.unwrap();
        db.sql(if db.is_sqlite() {
            "CREATE TRIGGER no BEFORE INSERT ON idempotency_keys BEGIN SELECT RAISE(ABORT, 'injected'); END"
        } else {
            "ALTER TABLE idempotency_keys ADD CONSTRAINT injected CHECK (status = 0)"
        }).await;
        let mut c = Commit::new(chat.id, Command::FinishTurn, NOW);
        c.idempotency = Some(key(chat.person.user, "k", &[1], "{}"));
        let e = chat.attempt(c).await.unwrap_err();
        assert!(e.to_string().contains("injected"), "{e}");
        assert_eq!(chat.store.chat(chat.id).await.unwrap(), before);
        assert_eq!((chat.history().await, chat.queue().await), (vec!["first".to_owned()], vec!["waiting".to_owned()]));
    }
}
