//! What operations cost in statements, transaction control aside, and that a long history does not
//! change it.

use super::{
    fixture::*,
    support::{Db, Place, both},
};
use crate::{
    chat::command::Command,
    ids::{ChatId, WorkerId},
    store::{commit::Commit, divergent::lite::CLAIMABLE, records::ListFilter},
};
use diesel::{Connection, QueryableByName, RunQueryDsl, SqliteConnection, sql_types::Text};

/// Statements of the hot operations, in the order of [`measure`].
/// A message of a user or an assistant costs one more than its row: its words for search.
const SQLITE: [(&str, u64); 9] = [
    ("send on W", 6),
    ("claim of 1", 5),
    ("attempt", 3),
    ("step of 1", 5),
    ("send on R1", 4),
    ("finish with a queue", 7),
    ("finish and abandon", 4),
    ("stream read of a change", 2),
    ("turn", 2),
];
const POSTGRES: [(&str, u64); 9] = [
    ("send on W", 3),
    ("claim of 1", 4),
    ("attempt", 2),
    ("step of 1", 2),
    ("send on R1", 2),
    ("finish with a queue", 4),
    ("finish and abandon", 2),
    ("stream read of a change", 2),
    ("turn", 2),
];

async fn measure(chat: &Driven) -> Vec<(&'static str, u64)> {
    let store = &chat.store;
    let mut costs = Vec::new();
    let mut last = store.statements();
    let mut note = |what| {
        let now = store.statements();
        costs.push((what, now - last));
        last = now;
    };
    chat.run(send("hello")).await;
    note("send on W");
    let got = store.claim(claim(WorkerId::fresh(), NOW, LEASE)).await.unwrap();
    note("claim of 1");
    assert_eq!(got.len(), 1);
    chat.run(Command::RecordGenerationAttempt).await;
    note("attempt");
    chat.run(Command::CommitStep(vec![said("answer")])).await;
    note("step of 1");
    chat.run(send("queued 1")).await;
    note("");
    chat.run(send("queued 2")).await;
    note("send on R1");
    chat.run(Command::FinishTurn).await;
    note("finish with a queue");
    chat.run(Command::FinishTurn).await;
    note("");
    let c = Commit::new(chat.id, Command::FinishTurn, NOW).and(Command::Abandon);
    chat.attempt(c).await.unwrap();
    note("finish and abandon");
    let head = store.chat(chat.id).await.unwrap().head.versions;
    note("");
    chat.run(send("more")).await;
    note("");
    store.stream_read(chat.id, Some(head), vec![]).await.unwrap();
    note("stream read of a change");
    store.turn(chat.id).await.unwrap();
    note("turn");
    chat.run(Command::FinishTurn).await;
    costs.retain(|(what, _)| !what.is_empty());
    costs
}

/// A chat in W that nobody owns.
async fn idle(db: &Db) -> Driven {
    let chat = Driven::new(db).await;
    chat.attempt(Commit::new(chat.id, Command::FinishTurn, NOW).and(Command::Abandon)).await.unwrap();
    chat
}

async fn grow(db: &Db, chat: ChatId, rows: usize) {
    let chat = db.literal(chat.0);
    let no = if db.is_sqlite() { "0" } else { "false" };
    let now = if db.is_sqlite() { "0" } else { "now()" };
    let series = if db.is_sqlite() {
        format!("WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < {rows}) ")
    } else {
        format!("WITH s(i) AS (SELECT generate_series(1, {rows})) ")
    };
    db.sql(&format!(
        "{series}INSERT INTO chat_messages (chat_id, revision, deleted, role, visibility, content, compressed, created_at) \
         SELECT {chat}, 1, {no}, CASE WHEN i % 2 = 0 THEN 'user' ELSE 'assistant' END, 'both', \
         '[{{\"type\":\"text\",\"text\":\"x\"}}]', {no}, {now} FROM s"
    ))
    .await;
}

both! {
    async fn hot_operations_cost_what_they_may_whatever_the_history(db) {
        let expected = if db.is_sqlite() { SQLITE } else { POSTGRES };
        let chat = idle(&db).await;
        assert_eq!(measure(&chat).await, expected);
        grow(&db, chat.id, 10_000).await;
        assert_eq!(measure(&chat).await, expected);
    }
}

both! {
    /// Whatever is in a list, it is as many statements: roots, children, unread, shared, changes.
    async fn a_list_costs_the_same_with_one_chat_and_with_many(db) {
        let person = Person::of(&db.store).await;
        let plain = all_of(person.user);
        let found = ListFilter { words: Some(vec!["first".to_owned()]), ..plain.clone() };
        let mut costs = Vec::new();
        for chats in [1, 30] {
            for _ in 0..chats {
                person.create(&db.store, "chat").await;
            }
            for filter in [&plain, &found] {
                let before = db.store.statements();
                let listed = db.store.list_chats(filter.clone()).await.unwrap();
                costs.push((listed.len(), db.store.statements() - before));
            }
        }
        assert_eq!(costs, [(1, 5), (1, 5), (31, 5), (31, 5)]);
        let id = db.store.list_chats(plain).await.unwrap()[0].chat.head.id;
        let before = db.store.statements();
        db.store.family(id).await.unwrap();
        assert_eq!(db.store.statements() - before, 5);
    }
}

#[derive(QueryableByName)]
struct Step {
    #[diesel(sql_type = Text)]
    detail: String,
}

#[tokio::test]
async fn sqlite_scans_no_table() {
    let db = Db::sqlite();
    let chat = idle(&db).await;
    grow(&db, chat.id, 10_000).await;
    let Place::Sqlite { path, .. } = &db.place else { unreachable!() };
    let mut conn = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    let columns = "chat_messages.id, chat_messages.content";
    let unread = "EXISTS (SELECT 1 FROM chat_messages WHERE chat_messages.chat_id = chats.id \
         AND chat_messages.id > chats.last_read_message_id AND chat_messages.role = ? \
         AND chat_messages.visibility <> ? AND chat_messages.deleted = ?)";
    let queries = [
        ("claim", CLAIMABLE.to_owned()),
        (
            "page",
            format!(
                "SELECT {columns} FROM chat_messages WHERE chat_id = ? AND deleted = ? AND visibility <> ? AND id < ? ORDER BY id DESC LIMIT ?"
            ),
        ),
        (
            "open calls",
            format!(
                "SELECT {columns} FROM chat_messages WHERE chat_id = ? AND id < ? AND deleted = ? AND compressed = ? ORDER BY id DESC LIMIT ?"
            ),
        ),
        (
            "changed",
            format!(
                "SELECT {columns} FROM chat_messages WHERE chat_id = ? AND revision > ? AND visibility <> ? ORDER BY id"
            ),
        ),
        (
            "joined",
            format!(
                "SELECT {columns} FROM chat_messages WHERE chat_id = ? AND id > ? AND deleted = ? AND visibility <> ? ORDER BY id"
            ),
        ),
        (
            "resumed",
            format!(
                "SELECT {columns} FROM chat_messages WHERE ((chat_id = ? AND id > ?) OR (chat_id = ? AND revision > ?)) AND deleted = ? AND visibility <> ? ORDER BY id"
            ),
        ),
        ("queue", "SELECT id FROM chat_queued_messages WHERE chat_id = ? ORDER BY position, id".to_owned()),
        (
            "list",
            format!(
                "SELECT chats.id FROM chats WHERE owner_id = ? AND parent_chat_id IS NULL AND archived = ? AND {unread} \
            ORDER BY pin_order = 0, pin_order, updated_at DESC, id DESC LIMIT ?"
            ),
        ),
        (
            "system rows",
            format!(
                "SELECT {columns} FROM chat_messages WHERE chat_id = ? AND revision = ? AND role = ? AND id < ? AND deleted = ? AND compressed = ? ORDER BY id"
            ),
        ),
        (
            "compactable",
            "SELECT chat_messages.compressed FROM chat_messages INNER JOIN chats ON chats.id = chat_messages.chat_id \
             WHERE chat_messages.chat_id = ? AND chat_messages.deleted = ? AND chat_messages.role <> ? AND \
             (chat_messages.compressed = ? OR chat_messages.role = ? OR chats.status = ?) \
             ORDER BY chat_messages.id DESC LIMIT ?".to_owned(),
        ),
        ("family", "SELECT id FROM chats WHERE root_chat_id = ? ORDER BY id".to_owned()),
        ("list with a pull request", "SELECT chats.id FROM chats WHERE parent_chat_id IS NULL AND owner_id = ? AND \
            EXISTS (SELECT 1 FROM chat_diff_statuses d WHERE d.chat_id = chats.id AND d.pr_number = ?)".to_owned()),
        ("is shared", "SELECT DISTINCT root_chat_id FROM chat_acl WHERE root_chat_id IN (?, ?)".to_owned()),
        ("may read", "SELECT chats.id FROM chats WHERE chats.id = ? AND chats.root_chat_id IN \
            (SELECT a.root_chat_id FROM chat_acl a WHERE a.user_id = ? UNION SELECT a.root_chat_id FROM chat_acl a \
            JOIN group_members g ON g.group_id = a.group_id WHERE g.user_id = ?)".to_owned()),
        ("by workspace", "SELECT chats.id FROM chats WHERE chats.workspace_id IN (?, ?) AND chats.archived = ? AND \
            chats.owner_id = ?".to_owned()),
        ("prompts", format!("SELECT {columns} FROM chat_messages WHERE chat_id = ? AND id < ? AND role = ? AND \
            visibility <> ? AND deleted = ? ORDER BY id DESC LIMIT ?")),
    ];
    for (what, query) in queries {
        let plan: Vec<Step> =
            diesel::sql_query(format!("EXPLAIN QUERY PLAN {query}")).load(&mut conn).unwrap();
        let plan: Vec<_> = plan.into_iter().map(|s| s.detail).collect();
        let scans: Vec<_> =
            plan.iter().filter(|d| d.starts_with("SCAN") && !d.contains("chats_runnable")).collect();
        // Both halves of an OR have an index with more than the chat in it.
        assert!(what != "resumed" || plan.iter().any(|d| d.contains("MULTI-INDEX OR")), "{plan:?}");
        assert!(scans.is_empty(), "{what}: {plan:?}");
        assert!(
            what == "list"
                || what == "claim"
                || what == "changed"
                || what == "resumed"
                || what == "may read"
                || !plan.iter().any(|d| d.contains("TEMP B-TREE")),
            "{what}: {plan:?}"
        );
    }
}
