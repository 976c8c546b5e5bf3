//! The ledger, the limits, and that nobody gets past them.

use super::{
    fixture::*,
    support::{Db, Place, both},
};
use crate::{
    chat::{
        command::Command,
        message::{StepFigures, Usage},
    },
    clock::Timestamp,
    ids::{GroupId, ModelConfigId},
    store::{
        Error,
        commit::{Accepted, Commit},
        records::{GroupRecord, OrganizationRecord},
        spend::{CallKind, ModelCall, Period, SpenderPage, Whose, day},
        sqlite::queries::spend::standing_statement,
    },
};
use diesel::{Connection, QueryableByName, RunQueryDsl, SqliteConnection, sql_types::Text};
use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

fn call(cost_micros: Option<i64>) -> ModelCall {
    let usage = Usage { input_tokens: 10, output_tokens: 5, cache_read_tokens: 3, ..Usage::default() };
    ModelCall {
        kind: CallKind::ChatTurn,
        model_config_id: ModelConfigId(uuid::Uuid::from_u128(7)),
        provider: "openai".to_owned(),
        model: "m-1".to_owned(),
        figures: StepFigures { usage, cost_micros, runtime_ms: Some(20), ..StepFigures::default() },
    }
}

/// A turn that costs this, committed as the runner does.
async fn spend(chat: &Driven, cost: Option<i64>, now: Timestamp) {
    let step = Commit::new(chat.id, Command::CommitStep(vec![said("answer")]), now).and(Command::FinishTurn);
    chat.attempt(Commit { call: Some(call(cost)), ..step }).await.unwrap();
}

fn exceeded(result: Result<impl std::fmt::Debug, Error>) -> (i64, i64, Timestamp) {
    match result.unwrap_err() {
        Error::SpendLimit(e) => (e.spent_micros, e.limit_micros, e.resets_at),
        other => panic!("{other}"),
    }
}

async fn try_send(chat: &Driven, now: Timestamp) -> Result<(), Error> {
    chat.attempt(Commit::new(chat.id, send("more"), now)).await.map(|_| ())
}

/// NOW lies in May 2026.
const JUNE: &str = "2026-06-01T00:00:00Z";

async fn group(db: &Db, organization: OrganizationRecord, chat: &Driven, name: &str) -> GroupId {
    let group = GroupRecord {
        id: GroupId::fresh(),
        organization_id: organization.id,
        name: name.to_owned(),
        display_name: name.to_uppercase(),
        avatar_url: String::new(),
        member_count: 0,
        created_at: NOW,
        updated_at: NOW,
    };
    db.store.create_group(group, vec![chat.person.user]).await.unwrap().id
}

both! {
    async fn the_limit_that_applies_is_the_own_then_the_groups_then_the_default(db) {
        let store = &db.store;
        let chat = Driven::new(&db).await;
        let june: Timestamp = JUNE.parse().unwrap();
        spend(&chat, Some(700), NOW).await;
        try_send(&chat, NOW).await.unwrap();
        spend(&chat, None, NOW).await;
        assert_eq!(store.standing(Whose::User(chat.person.user), NOW).await.unwrap(), None);
        // An override alone limits nobody.
        store.set_user_limit(chat.person.user, 1, NOW).await.unwrap();
        try_send(&chat, NOW).await.unwrap();
        spend(&chat, Some(100), NOW).await;
        store.set_spend_limit(Some(5_000), Period::Month, NOW).await.unwrap();
        assert_eq!(exceeded(try_send(&chat, NOW).await), (800, 1, june));
        assert_eq!(exceeded(store.create_chat(chat.person.new_chat("x"), NOW, None).await), (800, 1, june));
        assert_eq!(exceeded(store.check_spend(chat.id, NOW).await), (800, 1, june));
        let target = store.history(chat.id).await.unwrap()[0].id;
        let edit = Command::EditMessage { target, replacement: user("other") };
        assert_eq!(exceeded(chat.attempt(Commit::new(chat.id, edit, NOW)).await), (800, 1, june));
        // What is no admission goes on.
        chat.run(Command::SetArchived(true)).await;
        assert_eq!(exceeded(try_send(&chat, NOW).await).0, 800, "before anything else");
        chat.run(Command::SetArchived(false)).await;
        assert!(store.delete_user_limit(chat.person.user).await.unwrap());
        assert!(!store.delete_user_limit(chat.person.user).await.unwrap());
        // Groups: the smallest in the chat's organization, for what was spent there.
        let home = store.organizations_of(chat.person.user).await.unwrap()[0].clone();
        let (small, large) = (group(&db, home.clone(), &chat, "s").await, group(&db, home, &chat, "l").await);
        store.set_group_limit(small, 800, NOW).await.unwrap();
        store.set_group_limit(large, 9_000, NOW).await.unwrap();
        assert_eq!(exceeded(try_send(&chat, NOW).await), (800, 800, june));
        let standing = store.standing(Whose::User(chat.person.user), NOW).await.unwrap().unwrap();
        assert_eq!((standing.limit_micros, standing.spent_micros, standing.end), (800, 800, june));
        let all = store.spend_limits().await.unwrap();
        let listed: Vec<_> = all.groups.iter().map(|g| (g.name.as_str(), g.member_count, g.spend_limit_micros)).collect();
        assert_eq!((listed, all.users.len()), (vec![("l", 1, 9_000), ("s", 1, 800)], 0));
        assert!(store.delete_group(small).await.unwrap());
        try_send(&chat, NOW).await.unwrap();
        spend(&chat, Some(1), NOW).await;
        assert!(store.delete_group_limit(large).await.unwrap());
        store.set_spend_limit(Some(801), Period::Month, NOW).await.unwrap();
        assert_eq!(exceeded(try_send(&chat, NOW).await), (801, 801, june));
        // A new period begins with nothing.
        try_send(&chat, june).await.unwrap();
        store.set_spend_limit(None, Period::Month, NOW).await.unwrap();
        assert_eq!(store.standing(Whose::User(chat.person.user), NOW).await.unwrap(), None);
    }

    async fn a_group_limit_counts_its_organization_alone(db) {
        let store = &db.store;
        let chat = Driven::new(&db).await;
        let lab = OrganizationRecord { name: "lab".into(), is_default: false, ..store.organizations_of(chat.person.user).await.unwrap()[0].clone() };
        let lab = OrganizationRecord { id: crate::ids::OrganizationId::fresh(), ..lab };
        let lab = store.create_organization(lab, chat.person.user).await.unwrap();
        let there = Driven::another(&db, Person { organization: lab.id, ..chat.person }).await;
        let g = group(&db, lab, &chat, "g").await;
        store.set_group_limit(g, 50, NOW).await.unwrap();
        store.set_spend_limit(Some(1_000), Period::Day, NOW).await.unwrap();
        spend(&chat, Some(60), NOW).await;
        try_send(&there, NOW).await.unwrap();
        spend(&there, Some(50), NOW).await;
        let tomorrow = Timestamp::from_micros((day(NOW) + 1) * 86_400_000_000);
        assert_eq!(exceeded(try_send(&there, NOW).await), (50, 50, tomorrow));
        try_send(&chat, NOW).await.unwrap();
        spend(&chat, Some(890), NOW).await;
        assert_eq!(exceeded(try_send(&chat, NOW).await), (1_000, 1_000, tomorrow));
    }

    async fn a_limit_costs_one_statement_and_none_while_it_is_off(db) {
        let chat = Driven::new(&db).await;
        let cost = async |chat: &Driven| {
            let before = chat.store.statements();
            try_send(chat, NOW).await.unwrap();
            let cost = chat.store.statements() - before;
            chat.run(Command::FinishTurn).await;
            cost
        };
        chat.run(Command::FinishTurn).await;
        // The first look tells that limits are off.
        cost(&chat).await;
        let off = cost(&chat).await;
        chat.store.set_spend_limit(Some(1_000), Period::Month, NOW).await.unwrap();
        assert_eq!((cost(&chat).await, cost(&chat).await), (off + 1, off + 1));
        chat.store.set_spend_limit(None, Period::Month, NOW).await.unwrap();
        assert_eq!((cost(&chat).await, cost(&chat).await), (off + 1, off));
    }

    async fn a_limit_that_cannot_be_looked_up_lets_everybody_in(db) {
        let chat = Driven::new(&db).await;
        spend(&chat, Some(60), NOW).await;
        db.store.set_spend_limit(Some(60), Period::Month, NOW).await.unwrap();
        exceeded(try_send(&chat, NOW).await);
        db.sql("ALTER TABLE usage_limit_users RENAME TO gone").await;
        try_send(&chat, NOW).await.unwrap();
        db.store.check_spend(chat.id, NOW).await.unwrap();
        fresh(db.store.create_chat(chat.person.new_chat("x"), NOW, None).await.unwrap());
    }

    async fn fifty_senders_overrun_a_limit_by_no_more_than_is_in_flight(db) {
        const COST: i64 = 100;
        const LIMIT: i64 = 12_000;
        let first = Driven::new(&db).await;
        db.store.set_spend_limit(Some(LIMIT), Period::Month, NOW).await.unwrap();
        // What is known to be spent: added to once its commit was answered.
        let known = Arc::new(AtomicI64::new(0));
        let mut chats = Vec::new();
        for _ in 0..50 {
            let chat = Driven::another(&db, first.person).await;
            chat.run(Command::FinishTurn).await;
            chats.push(chat);
        }
        let mut senders = Vec::new();
        for chat in chats {
            let known = Arc::clone(&known);
            senders.push(tokio::spawn(async move {
                for _ in 0..20 {
                    let before = known.load(Ordering::SeqCst);
                    match try_send(&chat, NOW).await {
                        Ok(()) => assert!(before < LIMIT, "let in after {before} were spent"),
                        Err(Error::SpendLimit(e)) => {
                            assert!(e.spent_micros >= LIMIT);
                            return chat;
                        }
                        Err(e) => panic!("{e}"),
                    }
                    spend(&chat, Some(COST), NOW).await;
                    known.fetch_add(COST, Ordering::SeqCst);
                }
                chat
            }));
        }
        for sender in senders {
            let chat = sender.await.unwrap();
            exceeded(try_send(&chat, NOW).await);
        }
        let spent = known.load(Ordering::SeqCst);
        assert!((LIMIT..LIMIT + 50 * COST).contains(&spent), "{spent}");
        let standing = db.store.standing(Whose::User(first.person.user), NOW).await.unwrap().unwrap();
        assert_eq!(standing.spent_micros, spent, "no cost was lost");
    }

    async fn costs_are_summed_by_model_chat_and_user(db) {
        let chat = Driven::new(&db).await;
        let other = Driven::another(&db, chat.person).await;
        spend(&chat, Some(700), NOW).await;
        spend(&other, None, NOW).await;
        let title = ModelCall { kind: CallKind::Title, ..call(Some(1)) };
        db.store.charge(chat.id, title, NOW).await.unwrap();
        // Nonsense of a provider neither breaks the commit nor the sums.
        let mut nonsense = call(Some(i64::MAX));
        nonsense.figures.usage.input_tokens = i64::MAX;
        let june = JUNE.parse().unwrap();
        for _ in 0..3 {
            db.store.charge(chat.id, nonsense.clone(), june).await.unwrap();
        }
        let costs = db.store.user_costs(chat.person.user, NOW, june).await.unwrap();
        assert_eq!((costs.totals.cost_micros, costs.totals.calls, costs.totals.priced), (701, 3, 2));
        assert_eq!((costs.totals.input_tokens, costs.totals.output_tokens, costs.totals.runtime_ms), (30, 15, 60));
        assert_eq!((costs.totals.cache_read_tokens, costs.totals.cache_creation_tokens), (9, 0));
        assert_eq!((costs.models.len(), costs.models[0].model.as_str()), (1, "m-1"));
        let chats: Vec<_> = costs.chats.iter().map(|c| (c.root_chat_id, c.totals.cost_micros, c.title.as_str())).collect();
        assert_eq!(chats, [(chat.id, 701, "chat"), (other.id, 0, "chat")]);
        let later = june + Duration::from_secs(1);
        let all = db.store.user_costs(chat.person.user, NOW, later).await.unwrap();
        assert_eq!(all.totals.cost_micros, 701 + 3_000_000_000_000);
        assert_eq!(db.store.chat_costs(other.id).await.unwrap().calls, 1);
        let page = |username: &str| SpenderPage { start: NOW, end: later, username: Some(username.to_owned()), limit: 10, offset: 0 };
        let (users, count) = db.store.spenders(page("N")).await.unwrap();
        assert_eq!((users.len(), count, users[0].username.as_str(), users[0].chats, users[0].totals.calls), (1, 1, "ann", 2, 6));
        let found: (Vec<_>, i64) = db.store.spenders(page("%")).await.unwrap();
        assert_eq!((found.0.len(), found.1), (0, 0));
    }

    async fn what_was_spent_before_there_was_a_ledger_is_in_it(db) {
        let chat = Driven::new(&db).await;
        let engine = if db.is_sqlite() { "sqlite" } else { "postgres" };
        let script = |direction: &str| {
            let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(engine);
            std::fs::read_to_string(root.join(format!("0007_spend/{direction}.sql"))).unwrap()
        };
        db.sql(&script("down")).await;
        let mut answer = said("priced");
        answer.figures = call(Some(900)).figures;
        let old = Commit::new(chat.id, Command::CommitStep(vec![answer, said("partial")]), NOW);
        chat.attempt(old).await.unwrap();
        let mut unpriced = said("unpriced");
        unpriced.figures = call(None).figures;
        chat.run(Command::CommitStep(vec![unpriced])).await;
        db.sql(&script("up")).await;
        let later = NOW + Duration::from_secs(1);
        let costs = db.peer().user_costs(chat.person.user, NOW, later).await.unwrap();
        assert_eq!((costs.totals.cost_micros, costs.totals.calls, costs.totals.priced), (900, 2, 1));
        let store = db.peer();
        store.set_spend_limit(Some(900), Period::Week, NOW).await.unwrap();
        let standing = store.standing(Whose::Chat(chat.id), NOW).await.unwrap().unwrap();
        assert_eq!(standing.spent_micros, 900);
    }

    async fn a_repetition_is_answered_over_the_limit_too(db) {
        let chat = Driven::new(&db).await;
        chat.run(Command::FinishTurn).await;
        db.store.set_spend_limit(Some(60), Period::Month, NOW).await.unwrap();
        let sent = Commit { idempotency: Some(key(chat.person.user, "k", b"h", "1")), ..Commit::new(chat.id, send("a"), NOW) };
        fresh(db.store.commit(sent.clone()).await.unwrap());
        spend(&chat, Some(60), NOW).await;
        assert!(matches!(db.store.commit(sent).await.unwrap(), Accepted::Replayed { .. }));
    }
}

#[derive(QueryableByName)]
struct Step {
    #[diesel(sql_type = Text)]
    detail: String,
}

#[tokio::test]
async fn the_sum_of_a_period_is_a_range_of_days() {
    let db = Db::sqlite();
    let chat = Driven::new(&db).await;
    let Place::Sqlite { path, .. } = &db.place else { unreachable!() };
    let mut conn = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    let person = chat.person;
    for whose in [Whose::Chat(chat.id), Whose::In(person.user, person.organization), Whose::User(person.user)]
    {
        let statement = standing_statement(whose, [1, 2, 3]);
        let text = diesel::debug_query::<diesel::sqlite::Sqlite, _>(&statement).to_string();
        let text = text.split(" -- binds").next().unwrap().to_owned();
        let plan: Vec<Step> =
            diesel::sql_query(format!("EXPLAIN QUERY PLAN {text}")).load(&mut conn).unwrap();
        let plan: Vec<_> = plan.into_iter().map(|s| s.detail).collect();
        let sums = plan.iter().filter(|d| d.contains("SEARCH d USING PRIMARY KEY (owner_id=? AND day>?)"));
        assert_eq!(sums.count(), 2, "{plan:#?}");
        // The one row of the default limit, and whoever is looked at.
        let scans = plan.iter().filter(|d| {
            let harmless = ["SCAN l", "SCAN who", "SCAN CONSTANT ROW"].iter().any(|s| d.starts_with(s));
            d.starts_with("SCAN") && !harmless
        });
        assert_eq!(scans.count(), 0, "{plan:#?}");
    }
}
