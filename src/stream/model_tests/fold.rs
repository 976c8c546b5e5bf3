//! Every application has exactly the events of worker-and-stream.md §5, in its order.

use super::database::{Change, Database, change_with_revisions};
use crate::{
    chat::state::{Status, Versions},
    store::records::StreamRead,
    stream::{
        episode::EpisodeKey,
        fold::{Synced, apply},
        subscriber::JoinFrom,
        wire::Payload,
    },
};
use proptest::prelude::*;

/// The table of §5, told again in the form of names.
fn expected(prev: Option<&Synced>, read: &StreamRead) -> Vec<&'static str> {
    let zero = Versions::default();
    let was = prev.map_or(&zero, |p| &p.versions);
    let (is, status) = (&read.head.versions, read.head.status);
    let mut all = Vec::new();
    if is.history > was.history {
        all.extend(read.reset.then_some("history_reset"));
        all.extend(read.messages.iter().map(|_| "message"));
    }
    all.extend((is.queue > was.queue).then_some("queue_update"));
    all.extend((prev.map(|p| p.status) != Some(status)).then_some("status"));
    let history_or = |same: bool| !same || is.history != was.history;
    if status == Status::Error {
        let same = prev.is_some_and(|p| {
            p.status == status && p.error_sent.as_ref().map(|e| &e.1) == read.head.last_error.as_ref()
        });
        all.extend(history_or(same).then_some("error"));
    }
    if status == Status::RequiresAction {
        all.extend(history_or(prev.is_some_and(|p| p.status == status)).then_some("action_required"));
    }
    let retries = status == Status::Running && read.head.retry_state.is_some();
    all.extend((is.retry_state > was.retry_state && retries).then_some("retry"));
    let attempt_moved = is.attempt != was.attempt && is.attempt != 0;
    all.extend((is.history > was.history || attempt_moved).then_some("preview_reset"));
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn every_application_has_the_specified_order(
        steps in proptest::collection::vec((change_with_revisions(), proptest::bool::ANY), 1..40)) {
        let mut db = Database::new();
        let mut synced: Option<Synced> = None;
        for (change, read_now) in steps {
            db.commit(&change);
            if !read_now {
                continue;
            }
            let read = match &synced {
                Some(s) => db.since(&s.versions),
                None => db.join(JoinFrom::AfterId(None), 1000),
            };
            let applied = apply(synced.as_ref(), &read);
            let kinds: Vec<_> = applied.events.iter().map(|e| e.payload.kind()).collect();
            prop_assert_eq!(kinds, expected(synced.as_ref(), &read));
            let v = read.head.versions;
            let key = EpisodeKey { history_version: v.history, generation_attempt: v.attempt };
            prop_assert_eq!(applied.follow, (v.attempt > 0).then_some(key));
            let ids: Vec<_> = applied.events.iter().filter_map(|e| match &e.payload {
                Payload::Message(m) => Some(m.id),
                _ => None,
            }).collect();
            prop_assert!(ids.is_sorted());
            // The same read again, or an older one, means nothing.
            let again = apply(Some(&applied.synced), &read);
            prop_assert!(again.events.is_empty());
            prop_assert_eq!(&again.synced, &applied.synced);
            synced = Some(applied.synced);
        }
    }
}

#[test]
fn a_second_failure_under_one_history_is_told() {
    let mut db = Database::new();
    db.commit(&Change::Status(Status::Error));
    let first = apply(None, &db.join(JoinFrom::AfterId(None), 1000));
    db.commit(&Change::Status(Status::Running));
    let between = apply(Some(&first.synced), &db.since(&first.synced.versions));
    db.commit(&Change::Status(Status::Error));
    let second = apply(Some(&between.synced), &db.since(&between.synced.versions));
    let kinds: Vec<_> = second.events.iter().map(|e| e.payload.kind()).collect();
    assert_eq!(kinds, ["status", "error"]);
}
