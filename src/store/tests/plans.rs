//! How the statements find their rows: none reads a whole table, and their number does not grow with the
//! data.

use super::{
    fixture::*,
    support::{Db, Place, both},
    workspaces::template,
};
use crate::{
    chat::command::Command,
    ids::{ChatId, WorkerId, WorkspaceId},
    store::{
        commit::Commit,
        records::{ListFilter, PageSpec},
        statements::heard,
    },
};
use diesel::{
    Connection, QueryableByName, RunQueryDsl as _, SqliteConnection, connection::SimpleConnection,
    sql_types::Text,
};
use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};
use std::time::Duration;

/// Tables that do not grow with what people do: one row for each replica, setting, lock in use, template.
const SMALL: [&str; 5] = ["replicas", "deployment", "settings", "title_locks", "templates"];

diesel::define_sql_function! {
    /// As the store has it; a statement that names it cannot be planned without.
    fn chatd_lower(text: Text) -> Text;
}

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = Text)]
    detail: String,
}

#[derive(QueryableByName)]
struct PgLine {
    #[diesel(sql_type = Text, column_name = "QUERY PLAN")]
    line: String,
}

/// Indexes of what goes on at the moment: they are as small as that, and may be walked as a whole.
const OF_WORK: [&str; 3] = ["chats_runnable", "debug_runs_open", "workspace_builds_open"];

/// Which step of the plan of a statement reads a whole table or walks a whole index, on SQLite.
fn sqlite_scans(conn: &mut SqliteConnection, statement: &str) -> Vec<String> {
    // What is asked for among no ids at all is not looked for, whatever the plan says.
    if statement.contains("(1=0)") {
        return Vec::new();
    }
    let plan: Vec<Line> = diesel::sql_query(format!("EXPLAIN QUERY PLAN {statement}")).load(conn).unwrap();
    plan.into_iter().map(|line| line.detail).filter(|detail| walks_all(detail)).collect()
}

/// Whether a step has no bounds. `SCAN` with an index is a walk of that index from end to end.
fn walks_all(detail: &str) -> bool {
    let mut words = detail.split(' ');
    let (verb, table) = (words.next(), words.next().unwrap_or_default());
    // A subquery (the hits of a search, `s`, are at most 5,000), a CTE or the rows of json_each are no tables.
    let nothing_stored = table == "s"
        || table.starts_with('(')
        || detail.contains("VIRTUAL TABLE")
        || detail.contains("CONSTANT ROW");
    let index = detail.split_once(" INDEX ").map(|(_, name)| name);
    verb == Some("SCAN")
        && !nothing_stored
        && !SMALL.contains(&table)
        && !index.is_some_and(|name| OF_WORK.contains(&name))
}

#[test]
fn a_walk_of_an_index_is_told_from_a_search_in_it() {
    for (detail, walks) in [
        ("SCAN chats", true),
        ("SCAN chats USING INDEX chats_owner", true),
        ("SCAN chats USING COVERING INDEX chats_root", true),
        ("SCAN chats USING INDEX chats_runnable", false),
        ("SEARCH chats USING INDEX chats_owner (owner_id=?)", false),
        ("SCAN s", false),
        ("SCAN settings", false),
        ("SCAN j VIRTUAL TABLE INDEX 1:", false),
    ] {
        assert_eq!(walks_all(detail), walks, "{detail}");
    }
    let plan = "Limit  (cost=0.1..2)\n  ->  Index Scan using chats_owner on chats  (cost=0.1..2)\n        Index Cond: (owner_id = $1)";
    assert!(unbounded(&plan.lines().map(str::to_owned).collect::<Vec<_>>()).is_empty());
    let of_work = "Index Scan using chats_runnable on chats  (cost=0.1..2)";
    assert!(unbounded(&[of_work.to_owned()]).is_empty());
    for plan in [
        "Seq Scan on chats  (cost=0.1..2)",
        "Index Scan using chats_owner on chats  (cost=0.1..2)\n  Filter: archived",
        "Nested Loop\n  ->  Index Only Scan using chats_root on chats c  (cost=0)\n  ->  Index Scan using x on y\n        Index Cond: (a = 1)",
        "Bitmap Heap Scan on chats\n  ->  Bitmap Index Scan on chats_root  (cost=0)",
    ] {
        let lines: Vec<_> = plan.lines().map(str::to_owned).collect();
        assert_eq!(unbounded(&lines).len(), 1, "{plan}");
    }
}

/// Binds of a `CASE` are sent as booleans; PREPARE, which is told no types, would take them for text.
fn switches_typed(statement: &str) -> String {
    let mut words = statement.split(' ').map(str::to_owned).collect::<Vec<_>>();
    for at in 1..words.len() {
        if ["THEN", "ELSE"].contains(&words[at - 1].as_str()) && words[at].starts_with('$') {
            words[at] += "::boolean";
        }
    }
    words.join(" ")
}

/// The same on PostgreSQL, where a plan without sequential scans was asked for. Its planner likes to walk a partial index
/// that has next to nothing in it, as all have in a test. What it would do instead is judged then: joined row by row, as with
/// many rows, and in the end without that index.
async fn postgres_scans(conn: &mut AsyncPgConnection, statement: &str) -> Vec<String> {
    let statement = &switches_typed(statement);
    let ask = "SELECT indexname::text AS \"QUERY PLAN\" FROM pg_indexes WHERE indexdef LIKE '% WHERE %'";
    let partial: Vec<PgLine> = diesel_async::RunQueryDsl::load(diesel::sql_query(ask), conn).await.unwrap();
    let is_partial = |(_, index): &(String, String)| partial.iter().any(|known| known.line == *index);
    let found = unbounded(&postgres_plan(conn, statement).await);
    let (walked, mut wrong): (Vec<_>, Vec<_>) = found.into_iter().partition(is_partial);
    if !walked.is_empty() {
        let by_row = "BEGIN; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off; \
            SET LOCAL enable_material = off";
        conn.batch_execute(by_row).await.unwrap();
        let mut left = unbounded(&postgres_plan(conn, statement).await);
        while let Some((_, index)) = left.iter().find(|walk| is_partial(walk)) {
            conn.batch_execute(&format!("DROP INDEX {index}")).await.unwrap();
            left = unbounded(&postgres_plan(conn, statement).await);
        }
        conn.batch_execute("ROLLBACK").await.unwrap();
        wrong.extend(left);
    }
    wrong.into_iter().map(|(step, _)| step).collect()
}

/// The lines of a plan of a statement, whatever is bound to it.
async fn postgres_plan(conn: &mut AsyncPgConnection, statement: &str) -> Vec<String> {
    let binds = (1..).take_while(|n| statement.contains(&format!("${n}"))).count();
    let prepared = conn.batch_execute(&format!("PREPARE looked_at AS {statement}")).await;
    prepared.unwrap_or_else(|e| panic!("{e}: {statement}"));
    let nothing = vec!["NULL"; binds].join(", ");
    let arguments = if binds == 0 { String::new() } else { format!("({nothing})") };
    let explain = format!("EXPLAIN EXECUTE looked_at{arguments}");
    let plan: Vec<PgLine> = diesel_async::RunQueryDsl::load(diesel::sql_query(explain), conn).await.unwrap();
    conn.batch_execute("DEALLOCATE looked_at").await.unwrap();
    plan.into_iter().map(|line| line.line).collect()
}

/// The steps of a plan of PostgreSQL that read a whole table, or a whole index, with the name of that: those that look into
/// one without a condition on it.
fn unbounded(plan: &[String]) -> Vec<(String, String)> {
    let word_after = |line: &str, words: &str| {
        let rest = line.split_once(words)?.1;
        Some(rest.split(' ').next().unwrap_or_default().to_owned())
    };
    let mut found = Vec::new();
    for (at, line) in plan.iter().enumerate() {
        let whole_table = word_after(line, "Seq Scan on ").is_some_and(|table| !SMALL.contains(&&*table));
        let index = word_after(line, "Scan using ").or_else(|| word_after(line, "Bitmap Index Scan on "));
        let of_small = word_after(line, " on ").is_some_and(|table| SMALL.contains(&&*table));
        // What a step says of itself stands below it, before the next step.
        let mut own = plan[at + 1..].iter().map(|l| l.trim_start()).take_while(|l| {
            !l.starts_with("->") && !["SubPlan", "InitPlan", "CTE "].iter().any(|word| l.starts_with(word))
        });
        let whole_index = index.as_ref().is_some_and(|name| !OF_WORK.contains(&&**name))
            && !of_small
            && !own.any(|l| l.starts_with("Index Cond:") || l.starts_with("Order By:"));
        if whole_table || whole_index {
            found.push((line.clone(), index.unwrap_or_default()));
        }
    }
    found
}

/// `chats` chats at rest of a person, each with a question and `answers` answers.
async fn filled(db: &Db, person: Person, chats: usize, answers: usize) -> ChatId {
    let mut last = None;
    for n in 0..chats {
        let chat = Driven::another(db, person).await;
        let rows = (0..answers).map(|i| said(&format!("word{i} of {n}"))).collect();
        let commit = Commit::new(chat.id, Command::CommitStep(rows), NOW);
        chat.attempt(commit.and(Command::FinishTurn).and(Command::Abandon)).await.unwrap();
        last = Some(chat.id);
    }
    last.expect("a chat")
}

/// Copies a chat with its messages and their words, so many times.
async fn multiply(db: &Db, chat: ChatId, copies: usize) {
    let chat = db.literal(chat.0);
    let (columns, series, fresh) = if db.is_sqlite() {
        let series =
            format!("WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < {copies})");
        (sqlite_columns(db), series, "randomblob(16)")
    } else {
        let series = format!("WITH s(i) AS (SELECT generate_series(1, {copies}))");
        (postgres_columns(db).await, series, "gen_random_uuid()")
    };
    let [chats, messages] = columns.map(|names| names.join(", "));
    db.sql(&format!(
        "{series}, n AS MATERIALIZED (SELECT {fresh} AS id FROM s) \
         INSERT INTO chats (id, root_chat_id, {chats}) SELECT n.id, n.id, {chats} FROM n CROSS JOIN (SELECT {chats} FROM chats WHERE id = {chat}) c"
    ))
    .await;
    db.sql(&format!(
        "INSERT INTO chat_messages (chat_id, {messages}) SELECT c.id, {messages} \
         FROM (SELECT id FROM chats WHERE id NOT IN (SELECT chat_id FROM chat_messages)) c \
         CROSS JOIN (SELECT {messages} FROM chat_messages WHERE chat_id = {chat}) m"
    ))
    .await;
    let words = if db.is_sqlite() {
        "INSERT INTO chat_search (rowid, owner, body) SELECT m.id, lower(hex(c.owner_id)), json_extract(m.content, '$[0].text') \
         FROM chat_messages m JOIN chats c ON c.id = m.chat_id WHERE m.id NOT IN (SELECT rowid FROM chat_search)"
    } else {
        "INSERT INTO chat_search (message_id, root_chat_id, body) SELECT m.id, c.root_chat_id, \
         to_tsvector('english', m.content -> 0 ->> 'text') || array_to_tsvector(ARRAY['o' || replace(c.owner_id::text, '-', '')]) \
         FROM chat_messages m JOIN chats c ON c.id = m.chat_id WHERE m.id NOT IN (SELECT message_id FROM chat_search)"
    };
    db.sql(words).await;
}

/// What chats and messages have beside what makes them different from each other.
const DIFFERENT: [&str; 3] = ["id", "root_chat_id", "chat_id"];

fn sqlite_columns(db: &Db) -> [Vec<String>; 2] {
    let Place::Sqlite { path, .. } = &db.place else { unreachable!() };
    let mut conn = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    ["chats", "chat_messages"].map(|table| {
        let ask = format!("SELECT name AS detail FROM pragma_table_info('{table}')");
        let all: Vec<Line> = diesel::sql_query(ask).load(&mut conn).unwrap();
        all.into_iter().map(|line| line.detail).filter(|name| !DIFFERENT.contains(&&**name)).collect()
    })
}

async fn postgres_columns(db: &Db) -> [Vec<String>; 2] {
    let Place::Postgres { url, .. } = &db.place else { unreachable!() };
    let mut conn = AsyncPgConnection::establish(url).await.unwrap();
    let mut tables = Vec::new();
    for table in ["chats", "chat_messages"] {
        let ask = format!(
            "SELECT column_name::text AS \"QUERY PLAN\" FROM information_schema.columns WHERE table_name = '{table}'"
        );
        let all: Vec<PgLine> =
            diesel_async::RunQueryDsl::load(diesel::sql_query(ask), &mut conn).await.unwrap();
        tables.push(all.into_iter().map(|l| l.line).filter(|name| !DIFFERENT.contains(&&**name)).collect());
    }
    tables.try_into().unwrap()
}

/// What the list, the search, a chat and its pages ask for.
async fn read_all(db: &Db, person: Person, chat: ChatId) {
    let all = all_of(person.user);
    let words = vec!["word3".to_owned()];
    for filter in [
        all.clone(),
        ListFilter { after: Some(chat), ..all.clone() },
        ListFilter { title: Some("first".into()), ..all.clone() },
        ListFilter { has_unread: Some(true), ..all.clone() },
        ListFilter { archived: true, ..all.clone() },
        ListFilter { shared: true, ..all.clone() },
        ListFilter { labels: vec![("team".into(), "a".into())], ..all.clone() },
        ListFilter { words: Some(words), ..all },
    ] {
        db.store.list_chats(filter).await.unwrap();
    }
    db.store.chat(chat).await.unwrap();
    db.store.family(chat).await.unwrap();
    for page in
        [newest(50), PageSpec { before: Some(60), ..newest(50) }, PageSpec { after: Some(1), ..newest(50) }]
    {
        db.store.message_page(chat, page).await.unwrap();
    }
}

/// What the loops ask for.
async fn run_loops(db: &Db) {
    let (store, before) = (&db.store, NOW - Duration::from_secs(3600));
    store.claim(claim(WorkerId::fresh(), NOW, LEASE)).await.unwrap();
    store.sweep_beats(before).await.unwrap();
    store.sweep_stale_debug(before, 10, NOW).await.unwrap();
    store.sweep_old_debug(before, 10).await.unwrap();
    store.sweep_files(before, 10).await.unwrap();
    store.sweep_idempotency(before).await.unwrap();
    store.sweep_credentials(before).await.unwrap();
    store.idle_roots(before, None, 10).await.unwrap();
    store.expired_roots(before, 10).await.unwrap();
    store.due_workspaces(NOW, 10).await.unwrap();
    store.create_template(template("asked", true)).await.unwrap();
    store.workspaces_with_status(WorkspaceId(uuid::Uuid::nil()), 10).await.unwrap();
}

both! {
    async fn no_statement_reads_a_whole_table(db) {
        let person = Person::of(&db.store).await;
        let chat = filled(&db, person, 20, 10).await;
        let counter = db.store.counter();
        heard::listen(counter);
        read_all(&db, person, chat).await;
        run_loops(&db).await;
        let heard = heard::taken(counter).sent;
        assert!(heard.len() > 15, "{heard:#?}");
        let mut wrong = Vec::new();
        let verbs = ["SELECT", "WITH", "UPDATE", "DELETE"];
        let looked_at = heard.iter().filter(|text| verbs.iter().any(|verb| text.starts_with(verb)));
        match &db.place {
            Place::Sqlite { path, .. } => {
                let mut conn = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
                conn.batch_execute("PRAGMA busy_timeout = 5000").unwrap();
                chatd_lower_utils::register_impl(&mut conn, |text: String| text.to_lowercase()).unwrap();
                for text in looked_at {
                    wrong.extend(sqlite_scans(&mut conn, text).into_iter().map(|scan| format!("{scan}: {text}")));
                }
            }
            Place::Postgres { url, .. } => {
                let mut conn = AsyncPgConnection::establish(url).await.unwrap();
                conn.batch_execute("SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan").await.unwrap();
                for text in looked_at {
                    wrong.extend(postgres_scans(&mut conn, text).await.into_iter().map(|scan| format!("{scan}: {text}")));
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    }

    async fn statements_do_not_grow_with_the_data(db) {
        let mut counts = Vec::new();
        let person = Person::of(&db.store).await;
        let chat = filled(&db, person, 10, 100).await;
        let mut note = async || {
            let before = db.store.statements();
            read_all(&db, person, chat).await;
            counts.push(db.store.statements() - before);
        };
        note().await;
        multiply(&db, chat, 990).await;
        note().await;
        let found = ListFilter { words: Some(vec!["word3".to_owned()]), limit: 1000, ..all_of(person.user) };
        assert_eq!(db.store.list_chats(found).await.unwrap().len(), 1000, "each has its words");
        // Of the nine lists each has five statements at most, of the five other reads as many.
        assert!(counts[0] == counts[1] && counts[1] <= 70, "{counts:?}");
    }
}
