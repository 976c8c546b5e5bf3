//! The hot half of a commit in few statements: lock and load in one, all writes in another.

use super::{
    Conn,
    queries::{
        commit::push_columns,
        spend::{push_call, push_day},
    },
    statement::Statement,
};
use crate::{
    chat::{
        message::{NewMessage, Role, Visibility},
        plan::{Plan, Write},
    },
    clock::Timestamp,
    ids::{ChatId, ModelConfigId, UserId},
    store::{
        commit::{Along, Lease, Locked, Written},
        error::{Error, Result},
        records::{MessageRow, QueuedRow},
        rows::{ColumnsRow, HeadRow, InsertMessage},
        types::{Id, Raw, Ts, sql},
        words,
    },
};
use diesel::{
    prelude::*,
    sql_types::{Array, BigInt, Bool, Integer, Nullable, Text},
};
use diesel_async::RunQueryDsl;

/// Most messages of one statement: each number is another prepared text.
const MAX_ROWS: usize = 12;

#[derive(QueryableByName)]
struct LockedRow {
    #[diesel(embed)]
    head: HeadRow,
    #[diesel(sql_type = Array<BigInt>)]
    queue: Vec<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    seen: Option<i64>,
}

/// Locks the chat and reads its queue. After a wait for the lock the row is the newest, but the
/// subqueries still see the statement's snapshot; the queue version they saw tells whether that
/// matters, and `None` then asks for another look.
pub async fn lock(conn: &mut Conn, chat: ChatId) -> Result<Option<Locked>> {
    let id = Id(chat.0);
    let mut s = Statement::default();
    s.sql(
        "SELECT id, parent_chat_id, owner_id, status, archived, worker_id, runner_id, last_error, retry_state, \
         requires_action_deadline_at, compaction_requested_at, snapshot_version, history_version, \
         queue_version, retry_state_version, generation_attempt, dynamic_tools, \
         ARRAY(SELECT q.id FROM chat_queued_messages q WHERE q.chat_id = ",
    );
    s.bind::<sql::Uid, _>(id);
    s.sql(" ORDER BY q.position, q.id) AS queue, (SELECT c.queue_version FROM chats c WHERE c.id = ");
    s.bind::<sql::Uid, _>(id).sql(") AS seen FROM chats WHERE id = ");
    s.bind::<sql::Uid, _>(id).sql(" FOR UPDATE");
    let found: LockedRow = s.get_result(conn).await.optional()?.ok_or(Error::NotFound)?;
    let same = found.seen == Some(found.head.queue_version);
    Ok(Some(Locked { row: found.head, queue: same.then_some(found.queue) }))
}

#[derive(QueryableByName)]
struct Outcome {
    #[diesel(sql_type = Integer)]
    kind: i32,
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Nullable<sql::JsonText>)]
    content: Option<Raw>,
    #[diesel(sql_type = Nullable<sql::Uid>)]
    created_by: Option<Id>,
    #[diesel(sql_type = Nullable<sql::Uid>)]
    model_config_id: Option<Id>,
}

/// What of a plan one statement can write: messages, then at most one from the queue, then at most
/// one into the queue.
struct Shape {
    inserts: Vec<NewMessage>,
    moved: Option<i64>,
    queued: Option<NewMessage>,
}

impl Shape {
    fn of(plan: &Plan) -> Option<Self> {
        let mut shape = Self { inserts: Vec::new(), moved: None, queued: None };
        for w in &plan.writes {
            let still_inserting = shape.moved.is_none() && shape.queued.is_none();
            match w {
                Write::Insert(m) if still_inserting => shape.inserts.push(m.clone()),
                Write::MoveIntoHistory(id) if still_inserting => shape.moved = Some(id.0),
                Write::Enqueue(m) if shape.queued.is_none() => shape.queued = Some(m.clone()),
                _ => return None,
            }
        }
        (shape.inserts.len() <= MAX_ROWS).then_some(shape)
    }
}

/// Writes the plan and what goes along in one statement; `None` when the plan is none of the
/// common ones, and nothing was written then.
pub async fn write(
    conn: &mut Conn,
    chat: ChatId,
    plan: &Plan,
    along: &Along,
    now: Timestamp,
) -> Result<Option<Written>> {
    let Some(shape) = Shape::of(plan) else { return Ok(None) };
    let snapshot = plan.columns.versions.snapshot;
    let mut s = Statement::default();
    s.sql("WITH ");
    let mut answers: Vec<&'static str> = Vec::new();
    if let Some(id) = shape.moved {
        s.sql("q AS (DELETE FROM chat_queued_messages WHERE id = ").bind::<BigInt, _>(id);
        s.sql(" AND chat_id = ").bind::<sql::Uid, _>(Id(chat.0));
        s.sql(" RETURNING content, created_by, model_config_id), ");
        answers.push("SELECT 1 AS kind, 0::bigint AS id, content, created_by, model_config_id FROM q");
    }
    if !shape.inserts.is_empty() || shape.moved.is_some() {
        s.sql("m AS (");
        let rows = shape.inserts.iter().map(|m| InsertMessage::new(chat, snapshot, now, m.clone()));
        push_inserts(&mut s, rows, shape.moved.is_some().then_some((chat, snapshot, now)));
        s.sql(" RETURNING id), ");
        answers.push(
            "SELECT 0 AS kind, id, NULL::json AS content, NULL::uuid AS created_by, \
             NULL::uuid AS model_config_id FROM m",
        );
        push_words(&mut s, chat, &shape.inserts);
    }
    if let Some(m) = &shape.queued {
        s.sql(
            "e AS (INSERT INTO chat_queued_messages \
             (chat_id, position, content, created_by, model_config_id, created_at) VALUES (",
        );
        s.bind::<sql::Uid, _>(Id(chat.0)).sql(", ").bind::<BigInt, _>(snapshot).sql(", ");
        s.bind::<sql::JsonText, _>(Raw(m.content.clone())).sql(", ");
        s.bind::<Nullable<sql::Uid>, _>(m.created_by.map(|u| Id(u.0))).sql(", ");
        s.bind::<Nullable<sql::Uid>, _>(m.model_config_id.map(|c| Id(c.0))).sql(", ");
        s.bind::<sql::Moment, _>(Ts(now)).sql(") RETURNING id), ");
        answers.push(
            "SELECT 2 AS kind, id, NULL::json AS content, NULL::uuid AS created_by, \
             NULL::uuid AS model_config_id FROM e",
        );
    }
    push_lease(&mut s, chat, along.lease);
    if let Some(call) = &along.call {
        s.sql("l AS (");
        push_call(&mut s, chat, call, now);
        s.sql("), ");
        let mut d = Statement::default();
        d.sql("d AS (");
        if push_day(&mut d, chat, call, now) {
            d.sql("), ");
            s.append(d);
        }
    }
    s.sql("u AS (UPDATE chats SET ");
    push_columns(&mut s, ColumnsRow::new(&plan.columns, now), &along.meta);
    s.sql(" WHERE id = ").bind::<sql::Uid, _>(Id(chat.0)).sql(" RETURNING id) ");
    answers.push(
        "SELECT 3 AS kind, 0::bigint AS id, NULL::json AS content, id AS created_by, \
         NULL::uuid AS model_config_id FROM u",
    );
    s.sql(format!("{} ORDER BY kind, id", answers.join(" UNION ALL ")));
    let rows: Vec<Outcome> = s.load(conn).await?;
    let moved = shape.moved.is_some();
    let written = collect(rows, chat, snapshot, now, shape)?;
    // Its content was in the database and not here until now.
    if let Some(message) = written.inserted.last().filter(|_| moved) {
        super::queries::search::index(conn, message).await?;
    }
    Ok(Some(written))
}

/// `INSERT … ` of the rows and then, if asked for, of the row taken from the queue (CTE `q`).
fn push_inserts(
    s: &mut Statement,
    rows: impl Iterator<Item = InsertMessage>,
    moved: Option<(ChatId, i64, Timestamp)>,
) {
    s.sql(
        "INSERT INTO chat_messages (chat_id, revision, role, visibility, content, native, created_by, \
         model_config_id, compressed, input_tokens, output_tokens, total_tokens, reasoning_tokens, \
         cache_creation_tokens, cache_read_tokens, context_limit, total_cost_micros, runtime_ms, \
         provider_response_id, created_at) SELECT chat_id, revision, role, visibility, content, native, \
         created_by, model_config_id, compressed, input_tokens, output_tokens, total_tokens, \
         reasoning_tokens, cache_creation_tokens, cache_read_tokens, context_limit, total_cost_micros, \
         runtime_ms, provider_response_id, created_at FROM (",
    );
    let mut place = 0;
    for r in rows {
        s.sql(if place == 0 { "VALUES (0, " } else { ", (" });
        if place > 0 {
            s.sql(format!("{place}, "));
        }
        place += 1;
        s.bind::<sql::Uid, _>(r.chat_id).sql(", ").bind::<BigInt, _>(r.revision).sql(", ");
        s.bind::<Text, _>(r.role).sql(", ").bind::<Text, _>(r.visibility).sql(", ");
        s.bind::<sql::JsonText, _>(r.content)
            .sql(", ")
            .bind::<Nullable<sql::JsonText>, _>(r.native)
            .sql(", ");
        s.bind::<Nullable<sql::Uid>, _>(r.created_by).sql(", ");
        s.bind::<Nullable<sql::Uid>, _>(r.model_config_id).sql(", ");
        s.bind::<Bool, _>(r.compressed);
        for figure in [
            r.input_tokens,
            r.output_tokens,
            r.total_tokens,
            r.reasoning_tokens,
            r.cache_creation_tokens,
            r.cache_read_tokens,
            r.context_limit,
            r.total_cost_micros,
            r.runtime_ms,
        ] {
            s.sql(", ").bind::<Nullable<BigInt>, _>(figure);
        }
        s.sql(", ").bind::<Nullable<Text>, _>(r.provider_response_id);
        s.sql(", ").bind::<sql::Moment, _>(r.created_at).sql(")");
    }
    if let Some((chat, snapshot, now)) = moved {
        s.sql(if place > 0 { " UNION ALL SELECT " } else { "SELECT " });
        s.sql(format!("{place}, ")).bind::<sql::Uid, _>(Id(chat.0)).sql(", ").bind::<BigInt, _>(snapshot);
        s.sql(
            ", 'user', 'both', content, NULL::json, created_by, model_config_id, false, NULL::bigint, \
             NULL::bigint, NULL::bigint, NULL::bigint, NULL::bigint, NULL::bigint, NULL::bigint, NULL::bigint, \
             NULL::bigint, NULL::text, ",
        );
        s.bind::<sql::Moment, _>(Ts(now)).sql(" FROM q");
    }
    // Ids are given in the order of the places.
    s.sql(
        ") AS v (place, chat_id, revision, role, visibility, content, native, created_by, model_config_id, \
         compressed, input_tokens, output_tokens, total_tokens, reasoning_tokens, cache_creation_tokens, \
         cache_read_tokens, context_limit, total_cost_micros, runtime_ms, provider_response_id, created_at) \
         ORDER BY place",
    );
}

/// Enters the words of the rows (CTE `m`, whose ids are in the order of the rows) for search.
fn push_words(s: &mut Statement, chat: ChatId, rows: &[NewMessage]) {
    let words = rows.iter().enumerate().filter_map(|(place, m)| {
        words::indexed(m.role, m.visibility, &m.content)
            .map(|words| (i64::try_from(place).unwrap_or(0), words))
    });
    let words: Vec<_> = words.collect();
    if words.is_empty() {
        return;
    }
    s.sql(
        "x AS (INSERT INTO chat_search (message_id, root_chat_id, body) \
         SELECT n.id, c.root_chat_id, to_tsvector('english', w.words) \
         || array_to_tsvector(ARRAY['o' || replace(c.owner_id::text, '-', '')]) \
         FROM (SELECT id, row_number() OVER (ORDER BY id) - 1 AS place FROM m) n JOIN (VALUES ",
    );
    for (at, (place, words)) in words.into_iter().enumerate() {
        s.sql(if at == 0 { "(" } else { ", (" });
        s.bind::<BigInt, _>(place).sql("::bigint, ").bind::<Text, _>(words).sql("::text)");
    }
    s.sql(") AS w (place, words) ON w.place = n.place CROSS JOIN chats c WHERE c.id = ");
    s.bind::<sql::Uid, _>(Id(chat.0)).sql("), ");
}

fn push_lease(s: &mut Statement, chat: ChatId, lease: Lease) {
    match lease {
        Lease::Keep => {}
        Lease::Begin(owner) => {
            s.sql("h AS (INSERT INTO chat_heartbeats (chat_id, worker_id, runner_id, beat_at) VALUES (");
            s.bind::<sql::Uid, _>(Id(chat.0)).sql(", ").bind::<sql::Uid, _>(Id(owner.worker.0)).sql(", ");
            s.bind::<sql::Uid, _>(Id(owner.runner.0)).sql(
                ", clock_timestamp()) ON CONFLICT (chat_id) DO UPDATE SET worker_id = excluded.worker_id, \
                 runner_id = excluded.runner_id, beat_at = excluded.beat_at), ",
            );
        }
        Lease::End => {
            s.sql("h AS (DELETE FROM chat_heartbeats WHERE chat_id = ");
            s.bind::<sql::Uid, _>(Id(chat.0)).sql("), ");
        }
    }
}

fn collect(rows: Vec<Outcome>, chat: ChatId, snapshot: i64, now: Timestamp, shape: Shape) -> Result<Written> {
    let vanished = |what: &str| Error::Corrupt(format!("{what} vanished under the chat's lock"));
    let mut ids = Vec::with_capacity(rows.len());
    let (mut taken, mut queued_id, mut updated) = (None, None, false);
    for row in rows {
        match row.kind {
            0 => ids.push(row.id),
            1 => taken = Some(row),
            2 => queued_id = Some(row.id),
            _ => updated = true,
        }
    }
    if !updated {
        return Err(vanished("chat"));
    }
    let mut messages = shape.inserts;
    if shape.moved.is_some() {
        let row = taken.ok_or_else(|| vanished("queued message"))?;
        let mut m = NewMessage::new(Role::User, Visibility::Both, &[]);
        m.content = row.content.ok_or_else(|| vanished("content of a queued message"))?.0;
        m.created_by = row.created_by.map(|u| UserId(u.0));
        m.model_config_id = row.model_config_id.map(|c| ModelConfigId(c.0));
        messages.push(m);
    }
    if ids.len() != messages.len() {
        return Err(vanished("inserted message"));
    }
    let inserted: Vec<MessageRow> = messages
        .into_iter()
        .zip(ids)
        .map(|(m, id)| InsertMessage::new(chat, snapshot, now, m).stored(id).try_into())
        .collect::<Result<_>>()?;
    let queued = match (shape.queued, queued_id) {
        (None, _) => None,
        (Some(_), None) => return Err(vanished("message to queue")),
        (Some(m), Some(id)) => Some(QueuedRow {
            id: crate::ids::QueuedId(id),
            chat_id: chat,
            content: m.content,
            created_by: m.created_by,
            model_config_id: m.model_config_id,
            created_at: now,
        }),
    };
    Ok(Written { inserted, queued, deleted: false })
}
