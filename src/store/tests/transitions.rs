//! What commits leave in the rows.

use super::{fixture::*, support::both};
use crate::{
    chat::{
        command::{Command, SubmittedResult},
        message::{NewMessage, Role, StepFigures, Usage, Visibility},
        plan::Refusal,
        state::{State, Status, Versions},
    },
    clock::Timestamp,
    ids::{ModelConfigId, QueuedId},
    store::{
        Error,
        commit::{Commit, MetaChange},
    },
};
use std::time::Duration;

both! {
    async fn rows_come_back_as_they_went_in(db) {
        let chat = Driven::new(&db).await;
        let odd = r#"[{"type":"text", "text":"é\u00e9 <&>",   "z":1,"a":2.50e+3}]"#;
        let mut message = NewMessage::new(Role::Assistant, Visibility::Both, &[]);
        message.content = json(odd);
        message.native = Some(json("{\"b\" : [1,  2], \"a\":null}"));
        message.created_by = Some(chat.person.user);
        message.model_config_id = Some(ModelConfigId::fresh());
        message.compressed = true;
        message.figures = StepFigures {
            usage: Usage { input_tokens: 1, output_tokens: 2, total_tokens: 3, reasoning_tokens: 4,
                cache_creation_tokens: 5, cache_read_tokens: 6 },
            context_limit: Some(200_000),
            cost_micros: Some(0),
            runtime_ms: Some(17),
            provider_response_id: Some("resp_1".to_owned()),
        };
        let at = Timestamp::from_micros(1_780_000_000_000_001);
        let done = chat.attempt(Commit::new(chat.id, Command::CommitStep(vec![message.clone()]), at)).await.unwrap();
        let stored = chat.store.history(chat.id).await.unwrap();
        assert_eq!(stored.last(), done.inserted.last());
        let row = stored.last().unwrap();
        assert_eq!(row.content.get(), odd);
        assert_eq!(row.native.as_ref().unwrap().get(), "{\"b\" : [1,  2], \"a\":null}");
        assert_eq!(row.figures, message.figures);
        assert_eq!(row.created_at, at);
        assert_eq!((row.created_by, row.model_config_id), (message.created_by, message.model_config_id));
        assert!(row.compressed && !row.deleted);
        assert_eq!(chat.store.message(chat.id, row.id).await.unwrap(), *row);
        assert_eq!(chat.store.chat(chat.id).await.unwrap().updated_at, at);
    }

    async fn a_new_chat_is_what_was_asked_for(db) {
        let person = Person::of(&db.store).await;
        let mut new = person.new_chat("Title");
        new.labels = json(r#"{ "b":"2", "a":"1" }"#);
        new.reasoning_effort = Some("high".to_owned());
        new.plan_mode = Some("plan".to_owned());
        let mut system = user("be kind");
        system.role = Role::System;
        system.visibility = Visibility::Model;
        new.initial = vec![system, user("first")];
        let id = new.id;
        let created = fresh(db.store.create_chat(new, NOW, None).await.unwrap());
        assert_eq!(db.store.chat(id).await.unwrap(), created.chat);
        assert_eq!(created.chat.head.versions, Versions { snapshot: 1, history: 1, queue: 0, retry_state: 0, attempt: 0 });
        assert_eq!(created.chat.head.status, Status::Running);
        assert_eq!(created.chat.labels.get(), r#"{ "b":"2", "a":"1" }"#);
        assert_eq!(db.store.history(id).await.unwrap(), created.inserted);
        let (page, more) = db.store.message_page(id, newest(10)).await.unwrap();
        assert_eq!(page, created.inserted[1..], "system rows are for the model only");
        assert!(!more);
        assert_eq!(db.store.chat_owner(id).await.unwrap(), (person.user, NOW));
    }

    async fn messages_wait_in_order_and_the_head_is_taken(db) {
        let chat = Driven::new(&db).await;
        let one = chat.run(send("one")).await;
        assert_eq!((one.before, one.after), (State::R0, State::R1));
        assert!(one.inserted.is_empty());
        let one = one.queued.unwrap();
        let two = chat.run(send("two")).await.queued.unwrap();
        chat.run(send("three")).await;
        assert_eq!(chat.queue().await, ["one", "two", "three"]);
        assert_eq!(chat.store.queue(chat.id).await.unwrap()[0], one);
        // Promoted: first in the queue, and the turn is interrupted for it.
        let p = chat.run(Command::PromoteQueuedMessage(two.id)).await;
        assert_eq!((p.before, p.after), (State::R1, State::I1));
        assert_eq!(chat.queue().await, ["two", "one", "three"]);
        let three = chat.store.queue(chat.id).await.unwrap()[2].id;
        chat.run(Command::PromoteQueuedMessage(three)).await;
        assert_eq!(chat.queue().await, ["three", "two", "one"]);
        let done = chat.run(Command::FinishInterruption { partial: vec![said("half")] }).await;
        assert_eq!(done.after, State::R1);
        assert_eq!(chat.history().await, ["first", "half", "three"]);
        assert_eq!(done.inserted.len(), 2);
        assert!(done.inserted.iter().all(|m| m.revision == done.head.versions.snapshot));
        chat.run(Command::DeleteQueuedMessage(two.id)).await;
        let last = chat.run(Command::FinishTurn).await;
        assert_eq!(last.after, State::R0);
        assert_eq!(chat.history().await, ["first", "half", "three", "one"]);
        assert_eq!(last.inserted[0].created_by, one.created_by);
        let w = chat.run(Command::FinishTurn).await;
        assert_eq!(w.after, State::W);
        assert_eq!(w.head.owner, Some(chat.owner));
        assert!(chat.queue().await.is_empty());
    }

    async fn what_cannot_be_is_refused_and_leaves_no_trace(db) {
        let chat = Driven::new(&db).await;
        let before = chat.store.chat(chat.id).await.unwrap();
        let r = chat.refused(Command::DeleteQueuedMessage(QueuedId(99))).await;
        assert!(matches!(r, Error::Refused(Refusal::NotAllowed { from: State::R0, .. })), "{r}");
        let r = chat.refused(Command::ClearContext { rows: vec![] }).await;
        assert!(matches!(r, Error::Refused(Refusal::NotAllowed { .. })));
        assert_eq!(chat.store.chat(chat.id).await.unwrap(), before);
        let nobody = Commit::new(crate::ids::ChatId::fresh(), send("x"), NOW);
        assert!(matches!(chat.attempt(nobody).await, Err(Error::NotFound)));
    }

    async fn an_edit_replaces_the_tail_and_clears_the_queue(db) {
        let chat = Driven::new(&db).await;
        chat.run(Command::CommitStep(vec![said("answer")])).await;
        chat.run(Command::FinishTurn).await;
        let second = chat.run(send("second")).await.inserted[0].clone();
        let answer = chat.run(Command::CommitStep(vec![said("other")])).await.inserted[0].clone();
        chat.run(send("queued")).await;
        let other = Driven::another(&db, chat.person).await;
        let edit = |target| Command::EditMessage { target, replacement: user("edited") };
        let foreign = other.store.history(other.id).await.unwrap()[0].id;
        assert!(matches!(chat.refused(edit(foreign)).await, Error::Refused(Refusal::EditedMessageNotFound)));
        assert!(matches!(chat.refused(edit(answer.id)).await, Error::Refused(Refusal::OnlyUserMessagesCanBeEdited)));
        let done = chat.run(edit(second.id)).await;
        assert!(done.deleted);
        assert_eq!(done.after, State::R0);
        assert_eq!(chat.history().await, ["first", "answer", "edited"]);
        assert!(chat.queue().await.is_empty());
        assert!(matches!(chat.refused(edit(second.id)).await, Error::Refused(Refusal::EditedMessageNotFound)));
        assert!(matches!(chat.store.message(chat.id, second.id).await, Err(Error::NotFound)));
        assert_eq!(other.history().await, ["first"]);
    }

    /// A summary stands in the role of the user, but nobody sent it and no client sees it.
    async fn what_is_for_the_model_alone_cannot_be_edited(db) {
        let chat = Driven::new(&db).await;
        let mut summary = user("summary");
        summary.visibility = Visibility::Model;
        summary.compressed = true;
        let target = chat.run(Command::CommitStep(vec![summary])).await.inserted[0].id;
        let edit = Command::EditMessage { target, replacement: user("edited") };
        assert!(matches!(chat.refused(edit).await, Error::Refused(Refusal::EditedMessageNotFound)));
        assert_eq!(chat.history().await, ["first", "summary"]);
    }

    async fn a_message_taken_in_its_own_transaction_answers_open_calls_too(db) {
        let chat = Driven::new(&db).await;
        chat.run(Command::CommitStep(vec![calls(&[("x", "local")])])).await;
        chat.attempt(Commit::new(chat.id, send("next"), NOW).and(Command::FinishTurn)).await.unwrap();
        assert_eq!(chat.history().await, ["first", "call x", "result x", "next"]);
    }

    async fn client_side_calls_are_answered_or_cancelled(db) {
        let chat = Driven::new(&db).await;
        let deadline = NOW + Duration::from_secs(300);
        chat.run(Command::CommitStep(vec![calls(&[("a", "client"), ("b", "local"), ("c", "client")]), result("b")])).await;
        let open: Vec<_> = chat.store.open_calls(chat.id).await.unwrap().into_iter().map(|c| c.tool_call_id).collect();
        assert_eq!(open, ["a", "c"]);
        let entered = chat.run(Command::EnterRequiresAction { deadline }).await;
        assert_eq!(entered.head.requires_action_deadline_at, Some(deadline));
        let pending = chat.store.pending_calls(chat.id).await.unwrap();
        assert_eq!(pending.iter().map(|c| (c.tool_call_id.as_str(), c.args.as_str())).collect::<Vec<_>>(),
            [("a", "{\"a\": 1}"), ("c", "{\"a\": 1}")]);
        let give = |id: &str, output: &str| SubmittedResult { tool_call_id: id.into(), output: output.into(), is_error: false };
        let r = chat.refused(Command::CompleteRequiresAction(vec![give("a", "1")])).await;
        assert!(matches!(r, Error::Refused(Refusal::MissingResult(ref id)) if id == "c"), "{r}");
        let done = chat.run(Command::CompleteRequiresAction(vec![give("c", " {\"z\":1, \"a\":2}"), give("a", "1")])).await;
        assert_eq!(done.after, State::R0);
        assert_eq!(done.inserted.len(), 2);
        assert_eq!(done.head.requires_action_deadline_at, None);
        assert!(chat.store.open_calls(chat.id).await.unwrap().is_empty());
        // Interrupted by a message: the calls are cancelled, the message is queued and taken.
        chat.run(Command::CommitStep(vec![calls(&[("d", "client")])])).await;
        chat.run(Command::EnterRequiresAction { deadline }).await;
        let sent = chat.run(interrupt_with("stop")).await;
        assert_eq!((sent.before, sent.after), (State::A0, State::R1));
        assert_eq!(text(&sent.inserted[0].content), "result d");
        assert!(sent.queued.is_some());
    }

    async fn a_message_answers_what_was_left_open(db) {
        let chat = Driven::new(&db).await;
        chat.run(Command::CommitStep(vec![calls(&[("x", "local")])])).await;
        chat.run(Command::FinishError { error: json(r#"{"message":"boom"}"#) }).await;
        let done = chat.run(send("again")).await;
        assert_eq!(done.inserted.iter().map(|m| text(&m.content)).collect::<Vec<_>>(), ["result x", "again"]);
        assert_eq!(done.head.last_error, None);
    }

    async fn metadata_rides_along(db) {
        let chat = Driven::new(&db).await;
        chat.run(Command::FinishTurn).await;
        let model = ModelConfigId::fresh();
        let mut c = Commit::new(chat.id, send("two"), NOW);
        c.meta = MetaChange {
            model_config_id: Some(model),
            reasoning_effort: Some("low".into()),
            plan_mode: Some(Some("plan".into())),
            mcp_server_ids: Some(json("[ ]")),
        };
        chat.attempt(c).await.unwrap();
        let row = chat.store.chat(chat.id).await.unwrap();
        assert_eq!(row.last_model_config_id, model);
        assert_eq!(row.last_reasoning_effort.as_deref(), Some("low"));
        assert_eq!(row.plan_mode.as_deref(), Some("plan"));
        assert_eq!(row.mcp_server_ids.get(), "[ ]");
        let mut c = Commit::new(chat.id, send("three"), NOW);
        c.meta.plan_mode = Some(None);
        chat.attempt(c).await.unwrap();
        let row = chat.store.chat(chat.id).await.unwrap();
        assert_eq!((row.plan_mode, row.last_model_config_id), (None, model));
    }

    async fn several_commands_are_one_transaction(db) {
        let chat = Driven::new(&db).await;
        let before = chat.store.chat(chat.id).await.unwrap().head.versions.snapshot;
        let c = Commit::new(chat.id, send("a"), NOW).and(send("b")).and(send("c"));
        let done = chat.attempt(c).await.unwrap();
        assert_eq!(done.head.versions.snapshot, before + 1);
        assert_eq!(chat.queue().await, ["a", "b", "c"]);
    }

    async fn an_invalid_state_is_reconciled(db) {
        let chat = Driven::new(&db).await;
        db.sql(&format!("UPDATE chats SET archived = {} WHERE id = {}",
            if db.is_sqlite() { "1" } else { "true" }, db.literal(chat.id.0))).await;
        assert!(matches!(chat.refused(send("x")).await, Error::Refused(_)));
        let done = chat.run(Command::ReconcileInvalidState { error: json("{\"message\":\"found\"}") }).await;
        assert_eq!(done.after, State::E0);
    }

    async fn metadata_moves_no_version(db) {
        let chat = Driven::new(&db).await;
        let before = chat.store.chat(chat.id).await.unwrap();
        let patch = crate::store::records::MetaPatch {
            title: Some("New".into()),
            labels: Some(json("{\"k\":\"v\"}")),
            plan_mode: None,
            pin_order: Some(1),
            workspace_id: None,
        };
        let after = chat.store.patch_chat(chat.id, patch).await.unwrap();
        assert_eq!(after.head, before.head);
        assert_eq!(after.updated_at, before.updated_at);
        assert_eq!((after.title.as_str(), after.pin_order), ("New", 1));
        assert!(!chat.store.retitle(chat.id, "Old".into(), "Newer".into()).await.unwrap());
        assert!(chat.store.retitle(chat.id, "New".into(), "Newer".into()).await.unwrap());
        let after = chat.store.chat(chat.id).await.unwrap();
        assert_eq!((after.head, after.updated_at, after.title.as_str()), (before.head.clone(), before.updated_at, "Newer"));
    }

    /// Plans that PostgreSQL writes in one statement, and those that it does not.
    async fn what_is_answered_is_what_is_stored(db) {
        let chat = Driven::new(&db).await;
        let mut known = chat.store.history(chat.id).await.unwrap();
        let mut check = async |done: crate::store::commit::Committed| {
            assert!(done.inserted.is_sorted_by_key(|m| m.id));
            known.extend(done.inserted.iter().cloned());
            assert_eq!(chat.store.history(chat.id).await.unwrap(), known);
            let stored = chat.store.chat(chat.id).await.unwrap();
            assert_eq!(stored.head, done.head);
            if let Some(q) = &done.queued {
                assert_eq!(chat.store.queue(chat.id).await.unwrap().last(), Some(q));
            }
        };
        for rows in [1, 2, 12, 13, 30] {
            check(chat.run(Command::CommitStep((0..rows).map(|i| said(&format!("{rows}.{i}"))).collect())).await).await;
        }
        let mut mine = user("queued by me");
        mine.created_by = Some(chat.person.user);
        mine.model_config_id = Some(ModelConfigId::fresh());
        let queue = |message| Command::SendMessage { message, busy: crate::chat::command::Busy::Queue, max_queue: 20 };
        check(chat.run(queue(mine.clone())).await).await;
        check(chat.run(Command::CommitStep(vec![calls(&[("a", "local"), ("b", "local")])])).await).await;
        let done = chat.run(Command::FinishTurn).await;
        assert_eq!(done.inserted.len(), 3, "two answers, then the message");
        assert_eq!((done.inserted[2].created_by, done.inserted[2].model_config_id), (mine.created_by, mine.model_config_id));
        check(done).await;
        check(chat.run(queue(user("q1"))).await).await;
        check(chat.run(Command::FinishError { error: json("{\"message\": \"x\"}") }).await).await;
        let done = chat.run(queue(user("q2"))).await;
        assert!(done.queued.is_some() && done.inserted.len() == 1, "the head is taken, the new one waits");
        check(done).await;
        check(chat.run(interrupt_with("q3")).await).await;
        check(chat.run(Command::FinishInterruption { partial: vec![said("half"), calls(&[("c", "local")]), result("c")] }).await).await;
        check(chat.attempt(Commit::new(chat.id, Command::FinishTurn, NOW).and(Command::Abandon)).await.unwrap()).await;
        assert_eq!(chat.queue().await.len(), 0);
    }
}
