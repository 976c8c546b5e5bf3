//! The consistent read of subscribers, and the walk to open calls.

use super::{fixture::*, support::both};
use crate::{
    chat::{command::Command, message::Visibility, state::Status},
    clock::Timestamp,
    store::records::{JoinFrom, StreamRead},
};
use std::time::Duration;

fn texts(read: &StreamRead) -> Vec<String> {
    read.messages.iter().map(|m| text(&m.content)).collect()
}

both! {
    async fn a_reader_gets_what_is_new(db) {
        let chat = Driven::new(&db).await;
        let (head, main, joins) = chat.store.stream_read(chat.id, None, vec![JoinFrom::AfterId(None)]).await.unwrap();
        assert!(main.is_none());
        assert_eq!(texts(&joins[0]), ["first"]);
        assert_eq!(joins[0].queue, None, "a queue that was never used is not sent");
        let at_start = head.versions;
        // Nothing new.
        let (_, main, _) = chat.store.stream_read(chat.id, Some(at_start), vec![]).await.unwrap();
        assert!(main.is_none());
        let mut hidden = said("for the model");
        hidden.visibility = Visibility::Model;
        chat.run(Command::CommitStep(vec![said("one"), hidden])).await;
        let (head, main, _) = chat.store.stream_read(chat.id, Some(at_start), vec![]).await.unwrap();
        let main = main.unwrap();
        assert_eq!((texts(&main), main.reset, main.queue.clone()), (vec!["one".to_owned()], false, None));
        assert_eq!(main.head, head);
        assert_eq!(head, chat.store.chat(chat.id).await.unwrap().head);
        // The queue only.
        chat.run(send("queued")).await;
        let (_, main, joins) = chat.store.stream_read(chat.id, Some(head.versions), vec![
            JoinFrom::AfterId(Some(main.messages[0].id.0)),
            JoinFrom::Revision(at_start.snapshot),
            JoinFrom::AfterId(None),
            JoinFrom::Revision(at_start.snapshot),
        ]).await.unwrap();
        let main = main.unwrap();
        assert!(main.messages.is_empty());
        assert_eq!(main.queue.as_ref().unwrap().len(), 1);
        assert_eq!(joins.iter().map(texts).collect::<Vec<_>>(),
            [vec![], vec!["one".to_owned()], vec!["first".to_owned(), "one".to_owned()], vec!["one".to_owned()]]);
        assert!(joins.iter().all(|j| j.queue == main.queue && j.head == main.head));
    }

    async fn an_edit_resets_whoever_may_hold_a_deleted_message(db) {
        let chat = Driven::new(&db).await;
        chat.run(Command::CommitStep(vec![said("one")])).await;
        chat.run(Command::FinishTurn).await;
        let second = chat.run(send("second")).await;
        let before = second.head.versions;
        chat.run(Command::EditMessage { target: second.inserted[0].id, replacement: user("edited") }).await;
        let (head, main, joins) = chat.store.stream_read(chat.id, Some(before), vec![
            JoinFrom::AfterId(Some(second.inserted[0].id.0)), JoinFrom::Revision(before.snapshot),
        ]).await.unwrap();
        let main = main.unwrap();
        assert!(main.reset && joins.iter().all(|j| j.reset));
        assert_eq!(texts(&main), ["first", "one", "edited"]);
        assert!(joins.iter().all(|j| texts(j) == ["first", "one", "edited"]));
        // A later change is an ordinary one again.
        chat.run(Command::CommitStep(vec![said("answer")])).await;
        let (_, main, _) = chat.store.stream_read(chat.id, Some(head.versions), vec![]).await.unwrap();
        assert_eq!(main.map(|m| (texts(&m), m.reset)), Some((vec!["answer".to_owned()], false)));
    }

    async fn pending_calls_are_those_of_the_client(db) {
        let chat = Driven::new(&db).await;
        chat.run(Command::CommitStep(vec![calls(&[("a", "local"), ("b", "client")])])).await;
        let (_, _, joins) = chat.store.stream_read(chat.id, None, vec![JoinFrom::AfterId(None)]).await.unwrap();
        assert!(joins[0].pending.is_empty());
        chat.run(Command::CommitStep(vec![result("a")])).await;
        chat.run(Command::EnterRequiresAction { deadline: NOW + Duration::from_secs(300) }).await;
        let (head, _, joins) = chat.store.stream_read(chat.id, None, vec![JoinFrom::AfterId(None)]).await.unwrap();
        assert_eq!(head.status, Status::RequiresAction);
        assert_eq!(joins[0].pending.iter().map(|c| c.tool_call_id.as_str()).collect::<Vec<_>>(), ["b"]);
    }

    /// Results that fill the first page, the next ones, and one more.
    async fn open_calls_are_found_across_pages(db) {
        for results in [0usize, 6, 7, 8, 9, 70, 71, 72, 73, 140] {
            let chat = if results == 0 { Driven::new(&db).await } else {
                let person = Person { user: db.store.user_by_name("ann".into()).await.unwrap().id, organization: db.store.default_organization(NOW).await.unwrap().id };
                Driven::another(&db, person).await
            };
            let names: Vec<String> = (0..=results).map(|i| format!("c{i}")).collect();
            let made: Vec<(&str, &str)> = names.iter().map(|n| (n.as_str(), "local")).collect();
            chat.run(Command::CommitStep(vec![calls(&made)])).await;
            // Answered in reverse, so that the first call is the open one.
            if results > 0 {
                chat.run(Command::CommitStep(names[1..].iter().rev().map(|n| result(n)).collect())).await;
            }
            let open = chat.store.open_calls(chat.id).await.unwrap();
            assert_eq!(open.iter().map(|c| c.tool_call_id.as_str()).collect::<Vec<_>>(), ["c0"], "{results}");
            chat.run(Command::CommitStep(vec![result("c0")])).await;
            assert!(chat.store.open_calls(chat.id).await.unwrap().is_empty());
        }
    }

    async fn calls_before_a_user_message_or_by_the_provider_are_not_open(db) {
        let chat = Driven::new(&db).await;
        chat.run(Command::CommitStep(vec![calls(&[("a", "local")]), said("text after the calls")])).await;
        assert_eq!(chat.store.open_calls(chat.id).await.unwrap().len(), 1);
        chat.run(Command::CommitStep(vec![user("synthetic")])).await;
        assert!(chat.store.open_calls(chat.id).await.unwrap().is_empty());
        assert_eq!(chat.history().await, ["first", "call a", "text after the calls", "result a", "synthetic"]);
    }

    async fn a_turn_starts_from_one_snapshot(db) {
        let chat = Driven::new(&db).await;
        let read = chat.store.turn(chat.id).await.unwrap();
        assert_eq!(read.chat, chat.store.chat(chat.id).await.unwrap());
        assert_eq!(read.rows, chat.store.history(chat.id).await.unwrap());
        assert_eq!(read.earlier_steps, 0);
    }

    async fn extreme_moments_survive(db) {
        let chat = Driven::new(&db).await;
        for micros in [0, 1, 946_684_799_999_999, 946_684_800_000_001, 253_402_300_799_999_999] {
            let deadline = Timestamp::from_micros(micros);
            chat.run(Command::CommitStep(vec![calls(&[("x", "client")])])).await;
            let done = chat.run(Command::EnterRequiresAction { deadline }).await;
            assert_eq!(chat.store.chat(chat.id).await.unwrap().head, done.head);
            chat.run(Command::CancelRequiresAction { reason: "x".into() }).await;
        }
    }
}
