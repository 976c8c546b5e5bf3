//! Idle chats, and chats that are deleted some time after they were archived.

use super::{
    fixture::*,
    support::{Db, both},
};
use crate::{
    chat::command::Command,
    clock::Timestamp,
    ids::{ChatId, FileId},
    store::{commit::Commit, files::FileRecord},
};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

async fn idle(db: &Db, person: Person) -> Driven {
    let chat = Driven::another(db, person).await;
    chat.attempt(Commit::new(chat.id, Command::FinishTurn, NOW).and(Command::Abandon)).await.unwrap();
    chat
}

async fn make_child(db: &Db, parent: ChatId, child: ChatId) {
    let (parent, child) = (db.literal(parent.0), db.literal(child.0));
    db.sql(&format!(
        "UPDATE chats SET parent_chat_id = {parent}, root_chat_id = {parent} WHERE id = {child}"
    ))
    .await;
}

async fn upload(db: &Db, person: Person) -> FileId {
    let file = FileRecord {
        id: FileId::fresh(),
        owner_id: person.user,
        organization_id: person.organization,
        name: "a.txt".into(),
        mime_type: "text/plain".into(),
        size_bytes: 0,
        sha256: Vec::new(),
        created_at: NOW,
    };
    let id = file.id;
    db.store.begin_file(file).await.unwrap();
    db.store.put_chunk(id, 0, b"hi".to_vec()).await.unwrap();
    db.store.finish_file(id, "text/plain".into(), 2, vec![0; 32]).await.unwrap();
    id
}

async fn with_files(db: &Db, person: Person, files: Vec<FileId>) -> ChatId {
    let new = crate::store::records::NewChat { files, ..person.new_chat("with files") };
    let id = fresh(db.store.create_chat(new, NOW, None).await.unwrap()).chat.head.id;
    db.store.commit(Commit::new(id, Command::FinishTurn, NOW)).await.unwrap();
    id
}

both! {
    async fn only_families_at_rest_without_a_word_are_idle(db) {
        let person = Person::of(&db.store).await;
        let quiet = idle(&db, person).await;
        let busy = Driven::another(&db, person).await;
        let pinned = idle(&db, person).await;
        let pin = crate::store::records::MetaPatch { pin_order: Some(1), ..Default::default() };
        db.store.patch_chat(pinned.id, pin).await.unwrap();
        let parent = idle(&db, person).await;
        let child = idle(&db, person).await;
        make_child(&db, parent.id, child.id).await;
        let later = NOW + DAY;
        assert_eq!(db.store.idle_roots(NOW, None, 10).await.unwrap().idle, [], "the messages are from that moment");
        let mut expected = [quiet.id, parent.id];
        expected.sort();
        assert_eq!(db.store.idle_roots(later, None, 10).await.unwrap().idle, expected);
        // In parts it is the same, and there is an end.
        let (mut found, mut last) = (Vec::new(), None);
        while let part = db.store.idle_roots(later, last, 1).await.unwrap() && part.last.is_some() {
            found.extend(part.idle);
            last = part.last;
        }
        assert_eq!(found, expected);
        // The child speaks: its family is not idle, and busy while it works.
        child.attempt(Commit::new(child.id, send("more"), later)).await.unwrap();
        assert_eq!(db.store.idle_roots(later, None, 10).await.unwrap().idle, [quiet.id]);
        assert_eq!(db.store.archive_idle(parent.id, later, later).await.unwrap().len(), 0);
        db.store.archive_idle(parent.id, later + DAY, later).await.unwrap_err();
        assert!(!db.store.chat(parent.id).await.unwrap().head.archived);
        // What was deleted by an edit does not count.
        db.sql(&format!("UPDATE chat_messages SET deleted = {} WHERE chat_id = {} AND revision > 1",
            if db.is_sqlite() { "1" } else { "true" }, db.literal(child.id.0))).await;
        child.attempt(Commit::new(child.id, Command::FinishTurn, later)).await.unwrap();
        let done = db.store.archive_idle(parent.id, later, later).await.unwrap();
        assert_eq!(done.len(), 2, "the child follows");
        assert_eq!(db.store.archive_idle(pinned.id, later, later).await.unwrap().len(), 0);
        assert_eq!(db.store.archive_idle(busy.id, later, later).await.unwrap().len(), 0);
        assert_eq!(db.store.archive_idle(quiet.id, later, later).await.unwrap().len(), 1);
    }

    async fn the_clock_of_retention_starts_at_archiving(db) {
        let person = Person::of(&db.store).await;
        let chat = idle(&db, person).await;
        let child = idle(&db, person).await;
        make_child(&db, chat.id, child.id).await;
        let archived_at = NOW + 5 * DAY;
        db.store.set_archived(chat.id, true, archived_at).await.unwrap();
        let just = |at: Timestamp| at + Duration::from_micros(1);
        assert_eq!(db.store.expired_roots(archived_at, 10).await.unwrap(), []);
        assert_eq!(db.store.purge_family(chat.id, archived_at).await.unwrap(), 0, "not long enough");
        assert_eq!(db.store.expired_roots(just(archived_at), 10).await.unwrap(), [chat.id]);
        db.store.set_archived(chat.id, false, archived_at).await.unwrap();
        assert_eq!(db.store.expired_roots(just(archived_at), 10).await.unwrap(), []);
        assert_eq!(db.store.purge_family(chat.id, just(archived_at)).await.unwrap(), 0, "brought back");
        let again = archived_at + DAY;
        db.store.set_archived(chat.id, true, again).await.unwrap();
        assert_eq!(db.store.purge_family(chat.id, again).await.unwrap(), 0);
        assert_eq!(db.store.purge_family(chat.id, just(again)).await.unwrap(), 2);
        for id in [chat.id, child.id] {
            assert!(matches!(db.store.chat(id).await, Err(crate::store::Error::NotFound)));
        }
        assert_eq!(db.store.purge_family(chat.id, just(again)).await.unwrap(), 0);
    }

    async fn files_go_with_the_last_chat_that_names_them(db) {
        let person = Person::of(&db.store).await;
        let (own, shared) = (upload(&db, person).await, upload(&db, person).await);
        let first = with_files(&db, person, vec![own, shared]).await;
        let second = with_files(&db, person, vec![shared]).await;
        for chat in [first, second] {
            db.store.set_archived(chat, true, NOW).await.unwrap();
        }
        let left = async || {
            let mut left = Vec::new();
            for file in [own, shared] {
                left.push((db.store.file(file).await.is_ok(), db.store.file_chunk(file, 0).await.unwrap().is_some()));
            }
            left
        };
        assert_eq!(db.store.purge_family(first, NOW + DAY).await.unwrap(), 1);
        assert_eq!(left().await, [(false, false), (true, true)]);
        assert_eq!(db.store.purge_family(second, NOW + DAY).await.unwrap(), 1);
        assert_eq!(left().await, [(false, false), (false, false)]);
    }
}
