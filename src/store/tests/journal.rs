//! The journal of tool calls that must not run twice.

use super::{fixture::*, support::both};
use crate::{
    chat::command::Command,
    ids::RunnerId,
    store::{
        Error,
        commit::Commit,
        records::journal::{Batch, Entry, NewEntry},
    },
};

fn entries(ids: &[&str]) -> Vec<NewEntry> {
    ids.iter()
        .map(|id| NewEntry { tool_call_id: (*id).to_owned(), tool_name: "execute".to_owned() })
        .collect()
}

fn known(id: &str, outcome: Option<&str>) -> Entry {
    Entry { tool_call_id: id.to_owned(), outcome: outcome.map(json) }
}

async fn batch(chat: &Driven) -> Batch {
    let head = chat.store.chat(chat.id).await.unwrap().head;
    Batch { chat: chat.id, runner: head.owner.unwrap().runner, history_version: head.versions.history }
}

both! {
    async fn a_call_is_entered_once_and_its_outcome_kept(db) {
        let chat = Driven::new(&db).await;
        let step = batch(&chat).await;
        assert_eq!(db.store.begin_calls(step, entries(&["a", "b", "b"]), NOW).await.unwrap(), []);
        db.store.end_call(step, "a".into(), json("{\"z\": 1, \"a\":2}")).await.unwrap();
        // Another owner finds both, whatever it wants to start.
        chat.run(Command::Acquire(owner())).await;
        let next = batch(&chat).await;
        let mut found = db.store.begin_calls(next, entries(&["a", "c"]), NOW + LEASE).await.unwrap();
        found.sort_by(|x, y| x.tool_call_id.cmp(&y.tool_call_id));
        assert_eq!(found, [known("a", Some("{\"z\": 1, \"a\":2}")), known("b", None)]);
        // Whoever owned it before starts nothing any more.
        assert!(matches!(db.store.begin_calls(step, entries(&["d"]), NOW).await, Err(Error::Stale)));
    }

    async fn calls_whose_entry_was_not_acknowledged_have_not_started(db) {
        let chat = Driven::new(&db).await;
        let step = batch(&chat).await;
        for _ in 0..2 {
            assert_eq!(db.store.begin_calls(step, entries(&["a", "b"]), NOW).await.unwrap(), []);
        }
        db.store.end_call(step, "a".into(), json("1")).await.unwrap();
        assert_eq!(db.store.begin_calls(step, entries(&["a", "b"]), NOW).await.unwrap(), [known("a", Some("1"))]);
    }

    async fn ids_may_hold_anything(db) {
        let chat = Driven::new(&db).await;
        let step = batch(&chat).await;
        assert_eq!(db.store.begin_calls(step, entries(&["a\0b", "%"]), NOW).await.unwrap(), []);
        db.store.end_call(step, "a\0b".into(), json("1")).await.unwrap();
        let mut found = db.store.begin_calls(step, entries(&["a\0b", "%"]), NOW + LEASE).await.unwrap();
        found.sort_by(|x, y| x.tool_call_id.cmp(&y.tool_call_id));
        assert_eq!(found, [known("%", None), known("a\0b", Some("1"))]);
    }

    async fn entries_leave_with_the_step_or_with_its_history(db) {
        let chat = Driven::new(&db).await;
        let first = batch(&chat).await;
        db.store.begin_calls(first, entries(&["a"]), NOW).await.unwrap();
        let closing = Commit { closes_calls: true, ..Commit::new(chat.id, Command::CommitStep(vec![said("done")]), NOW) };
        chat.attempt(closing).await.unwrap();
        let second = batch(&chat).await;
        assert_eq!(db.store.begin_calls(second, entries(&["a"]), NOW).await.unwrap(), []);
        // A step that was given up: its ids are free in the next history.
        chat.run(Command::CommitStep(vec![said("on")])).await;
        let third = batch(&chat).await;
        assert_eq!(db.store.begin_calls(third, entries(&["a"]), NOW).await.unwrap(), []);
        for wrong in [
            Batch { runner: RunnerId::fresh(), ..third },
            Batch { history_version: third.history_version - 1, ..third },
        ] {
            assert!(matches!(db.store.begin_calls(wrong, entries(&["b"]), NOW).await, Err(Error::Stale)));
        }
        chat.run(Command::FinishTurn).await;
        assert!(matches!(db.store.begin_calls(third, entries(&["b"]), NOW).await, Err(Error::Stale)));
    }
}
