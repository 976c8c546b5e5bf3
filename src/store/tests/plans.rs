//! How the statements find their rows: none reads a whole table, and their number does not grow with the
//! data.

use super::{
    fixture::*,
    support::{Db, Place, both},
};
use crate::{
    chat::command::Command,
    ids::{ChatId, WorkerId},
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

/// Tables that do not grow with what people do: one row for each replica, setting, lock in use.
const SMALL: [&str; 4] = ["replicas", "deployment", "settings", "title_locks"];

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

/// Which step of the plan of a statement reads a whole table, on SQLite.
fn sqlite_scans(conn: &mut SqliteConnection, statement: &str) -> Vec<String> {
    let plan: Vec<Line> = diesel::sql_query(format!("EXPLAIN QUERY PLAN {statement}")).load(conn).unwrap();
    let scans = plan.into_iter().map(|line| line.detail).filter(|detail| {
        let mut words = detail.split(' ');
        let (verb, table) = (words.next(), words.next().unwrap_or_default());
        // A subquery (the hits of a search, `s`, are at most 5,000), a CTE or the rows of json_each are no tables.
        let nothing_stored = table == "s"
            || table.starts_with('(')
            || detail.contains("VIRTUAL TABLE")
            || detail.contains("CONSTANT ROW");
        verb == Some("SCAN") && !detail.contains(" USING ") && !nothing_stored && !SMALL.contains(&table)
    });
    scans.collect()
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

/// The same on PostgreSQL, where a plan without sequential scans was asked for.
async fn postgres_scans(conn: &mut AsyncPgConnection, statement: &str) -> Vec<String> {
    let statement = &switches_typed(statement);
    let binds = (1..).take_while(|n| statement.contains(&format!("${n}"))).count();
    let prepared = conn.batch_execute(&format!("PREPARE looked_at AS {statement}")).await;
    prepared.unwrap_or_else(|e| panic!("{e}: {statement}"));
    let nothing = vec!["NULL"; binds].join(", ");
    let arguments = if binds == 0 { String::new() } else { format!("({nothing})") };
    let explain = format!("EXPLAIN EXECUTE looked_at{arguments}");
    let plan: Vec<PgLine> = diesel_async::RunQueryDsl::load(diesel::sql_query(explain), conn).await.unwrap();
    conn.batch_execute("DEALLOCATE looked_at").await.unwrap();
    let scans = plan.into_iter().map(|line| line.line).filter(|line| {
        let table =
            line.split_once("Seq Scan on ").map(|(_, rest)| rest.split(' ').next().unwrap_or_default());
        table.is_some_and(|table| !SMALL.contains(&table))
    });
    scans.collect()
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
    store.idle_roots(before, 10).await.unwrap();
    store.expired_roots(before, 10).await.unwrap();
    store.due_workspaces(NOW, 10).await.unwrap();
}

both! {
    async fn no_statement_reads_a_whole_table(db) {
        let person = Person::of(&db.store).await;
        let chat = filled(&db, person, 20, 10).await;
        let counter = db.store.counter();
        heard::listen(counter);
        read_all(&db, person, chat).await;
        run_loops(&db).await;
        let heard = heard::taken(counter);
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
        for (chats, answers) in [(10, 10), (190, 100)] {
            let chat = filled(&db, person, chats, answers).await;
            let before = db.store.statements();
            read_all(&db, person, chat).await;
            counts.push(db.store.statements() - before);
        }
        assert_eq!(counts[0], counts[1]);
    }
}
