//! Lists, pages, pins, archives.

use super::{
    fixture::*,
    support::{Db, both},
};
use crate::{
    chat::{
        command::Command,
        plan::Refusal,
        state::{State, Status},
    },
    ids::ChatId,
    store::{
        Error,
        commit::Commit,
        records::{ListFilter, MetaPatch, PageSpec},
    },
};
use std::time::Duration;

async fn titles(db: &Db, filter: ListFilter) -> Vec<String> {
    db.store.list_chats(filter).await.unwrap().into_iter().map(|c| c.chat.title).collect()
}

async fn pin(db: &Db, id: ChatId, place: i64) {
    db.store.patch_chat(id, MetaPatch { pin_order: Some(place), ..MetaPatch::default() }).await.unwrap();
}

/// Five chats, `a` updated last.
async fn five(db: &Db) -> (Person, Vec<ChatId>) {
    let person = Person::of(&db.store).await;
    let mut ids = Vec::new();
    for (i, title) in ["a", "b", "c", "d", "e"].into_iter().enumerate() {
        let mut new = person.new_chat(title);
        new.labels = json(&format!(r#"{{"n":"{i}","env/x.y-z":"{}"}}"#, if i < 2 { "prod" } else { "dev" }));
        let at = NOW - Duration::from_secs(i as u64);
        ids.push(fresh(db.store.create_chat(new, at, None).await.unwrap()).chat.head.id);
    }
    (person, ids)
}

both! {
    async fn pins_come_first_and_are_numbered_without_gaps(db) {
        let (person, ids) = five(&db).await;
        let all = all_of(person.user);
        assert_eq!(titles(&db, all.clone()).await, ["a", "b", "c", "d", "e"]);
        pin(&db, ids[4], 7).await;
        pin(&db, ids[2], 1).await;
        pin(&db, ids[3], 1).await;
        // A fresh pin is appended, whatever place it asks for.
        assert_eq!(titles(&db, all.clone()).await, ["e", "c", "d", "a", "b"]);
        pin(&db, ids[3], 1).await;
        assert_eq!(titles(&db, all.clone()).await, ["d", "e", "c", "a", "b"]);
        pin(&db, ids[3], 99).await;
        assert_eq!(titles(&db, all.clone()).await, ["e", "c", "d", "a", "b"]);
        pin(&db, ids[4], 0).await;
        let listed = db.store.list_chats(all.clone()).await.unwrap();
        assert_eq!(listed.iter().map(|c| c.chat.pin_order).collect::<Vec<_>>(), [1, 2, 0, 0, 0]);
        // Archiving unpins and closes the gap.
        db.store.commit(Commit::new(ids[2], Command::FinishTurn, NOW)).await.unwrap();
        db.store.set_archived(ids[2], true, NOW).await.unwrap();
        let listed = db.store.list_chats(all).await.unwrap();
        assert_eq!(listed.iter().map(|c| (c.chat.title.as_str(), c.chat.pin_order)).collect::<Vec<_>>(),
            [("d", 1), ("a", 0), ("b", 0), ("e", 0)]);
        assert_eq!(db.store.chat(ids[2]).await.unwrap().pin_order, 0);
    }

    async fn pages_follow_each_other(db) {
        let (person, ids) = five(&db).await;
        pin(&db, ids[4], 1).await;
        pin(&db, ids[3], 2).await;
        let whole = ["e", "d", "a", "b", "c"];
        for size in 1..=5 {
            let mut seen = Vec::new();
            let mut after = None;
            loop {
                let page = db.store.list_chats(ListFilter { limit: size, after, ..all_of(person.user) }).await.unwrap();
                if page.is_empty() { break }
                after = Some(page.last().unwrap().chat.head.id);
                seen.extend(page.into_iter().map(|c| c.chat.title));
            }
            assert_eq!(seen, whole, "page size {size}");
        }
        assert_eq!(titles(&db, ListFilter { limit: 2, offset: 3, ..all_of(person.user) }).await, ["b", "c"]);
        assert!(titles(&db, ListFilter { after: Some(ChatId::fresh()), ..all_of(person.user) }).await.is_empty());
    }

    async fn filters_narrow_the_list(db) {
        let (person, ids) = five(&db).await;
        let all = all_of(person.user);
        let label = |k: &str, v: &str| (k.to_owned(), v.to_owned());
        assert_eq!(titles(&db, ListFilter { labels: vec![label("env/x.y-z", "prod")], ..all.clone() }).await, ["a", "b"]);
        assert_eq!(titles(&db, ListFilter { labels: vec![label("env/x.y-z", "prod"), label("n", "1")], ..all.clone() }).await, ["b"]);
        for nobody in ["nope", "a\"b", "a\\b", "$.n", "\""] {
            assert!(titles(&db, ListFilter { labels: vec![label(nobody, "prod")], ..all.clone() }).await.is_empty());
        }
        db.store.patch_chat(ids[0], MetaPatch { title: Some("Größe 100%_x".into()), ..MetaPatch::default() }).await.unwrap();
        for (needle, hits) in [("GRÖSSE", 0), ("größe", 1), ("GRÖ", 1), ("%", 1), ("_", 1), ("zzz", 0)] {
            let found = titles(&db, ListFilter { title: Some(needle.into()), ..all.clone() }).await;
            assert_eq!(found.len(), hits, "{needle}");
        }
        db.store.commit(Commit::new(ids[3], Command::FinishTurn, NOW - Duration::from_secs(3))).await.unwrap();
        assert_eq!(titles(&db, ListFilter { status: Some(Status::Waiting), ..all.clone() }).await, ["d"]);
        assert!(titles(&db, ListFilter { archived: true, ..all.clone() }).await.is_empty());
        db.store.set_archived(ids[3], true, NOW).await.unwrap();
        assert_eq!(titles(&db, ListFilter { archived: true, ..all.clone() }).await, ["d"]);
        assert!(titles(&db, ListFilter { owner: crate::ids::UserId::fresh(), ..all }).await.is_empty());
        let mut versions = db.store.snapshots(ids.clone()).await.unwrap();
        versions.sort();
        assert_eq!(versions.iter().map(|v| v.1).collect::<Vec<_>>(), [1, 1, 1, 3, 1]);
    }

    async fn unread_is_an_assistant_message_above_the_cursor(db) {
        let (person, ids) = five(&db).await;
        let step = |m| Commit::new(ids[1], Command::CommitStep(vec![m]), NOW - Duration::from_secs(1));
        let unread = ListFilter { has_unread: Some(true), ..all_of(person.user) };
        let read = ListFilter { has_unread: Some(false), ..all_of(person.user) };
        assert!(titles(&db, unread.clone()).await.is_empty());
        db.store.commit(step(said("hello"))).await.unwrap();
        assert_eq!(titles(&db, unread.clone()).await, ["b"]);
        assert_eq!(titles(&db, read.clone()).await, ["a", "c", "d", "e"]);
        let flags: Vec<bool> = db.store.list_chats(all_of(person.user)).await.unwrap().iter().map(|c| c.has_unread).collect();
        assert_eq!(flags, [false, true, false, false, false]);
        db.store.mark_read(ids[1]).await.unwrap();
        db.store.mark_read(ids[0]).await.unwrap();
        assert!(titles(&db, unread.clone()).await.is_empty());
        db.store.commit(step(said("more"))).await.unwrap();
        assert_eq!(titles(&db, unread).await, ["b"]);
    }

    async fn message_pages_go_both_ways(db) {
        let chat = Driven::new(&db).await;
        let rows: Vec<_> = (0..9).map(|i| said(&i.to_string())).collect();
        chat.run(Command::CommitStep(rows)).await;
        let ids: Vec<i64> = chat.store.history(chat.id).await.unwrap().iter().map(|m| m.id.0).collect();
        let page = async |before, after, limit| {
            let (rows, more) = chat.store.message_page(chat.id, PageSpec { before, after, limit }).await.unwrap();
            (rows.iter().map(|m| m.id.0).collect::<Vec<_>>(), more)
        };
        assert_eq!(page(None, None, 3).await, (vec![ids[9], ids[8], ids[7]], true));
        assert_eq!(page(Some(ids[7]), None, 3).await, (vec![ids[6], ids[5], ids[4]], true));
        assert_eq!(page(Some(ids[2]), None, 3).await, (vec![ids[1], ids[0]], false));
        assert_eq!(page(None, Some(ids[0]), 3).await, (vec![ids[1], ids[2], ids[3]], true));
        assert_eq!(page(None, Some(ids[6]), 3).await, (vec![ids[7], ids[8], ids[9]], false));
        assert_eq!(page(Some(ids[5]), Some(ids[1]), 2).await, (vec![ids[4], ids[3]], true));
        assert!(!page(None, None, 10).await.1);
    }

    async fn a_family_is_archived_as_a_whole_or_not_at_all(db) {
        let root = Driven::new(&db).await;
        let child = Driven::another(&db, root.person).await;
        db.sql(&format!("UPDATE chats SET parent_chat_id = {0}, root_chat_id = {0} WHERE id = {1}",
            db.literal(root.id.0), db.literal(child.id.0))).await;
        root.run(Command::FinishTurn).await;
        let before = root.store.chat(root.id).await.unwrap();
        let e = root.store.set_archived(root.id, true, NOW).await.unwrap_err();
        assert!(matches!(e, Error::Refused(Refusal::NotAllowed { from: State::R0, .. })), "{e}");
        assert_eq!(root.store.chat(root.id).await.unwrap(), before);
        let e = root.store.set_archived(child.id, true, NOW).await.unwrap_err();
        assert!(matches!(e, Error::Refused(Refusal::NotARootChat)), "{e}");
        assert!(matches!(root.store.set_archived(ChatId::fresh(), true, NOW).await, Err(Error::NotFound)));
        child.run(Command::FinishError { error: json("{}") }).await;
        assert_eq!(root.store.family(root.id).await.unwrap().children.len(), 1);
        let done = root.store.set_archived(root.id, true, NOW).await.unwrap();
        assert_eq!(done.iter().map(|c| (c.head.id, c.after)).collect::<Vec<_>>(), [(root.id, State::XW), (child.id, State::XE0)]);
        assert_eq!(root.store.family(root.id).await.unwrap().children[0].chat.head.id, child.id);
        assert!(matches!(root.refused(send("x")).await, Error::Refused(_)));
        let done = root.store.set_archived(root.id, false, NOW).await.unwrap();
        assert_eq!(done.len(), 2);
        assert!(matches!(root.store.set_archived(root.id, false, NOW).await, Err(Error::Refused(_))));
    }
}
