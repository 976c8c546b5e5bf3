//! What was recorded of model calls for debugging.

use super::Conn;
use crate::{
    chat::json::Json,
    clock::Timestamp,
    ids::{ChatId, MessageId, ModelConfigId},
    store::{
        error::{Error, Result},
        records::debug::{DebugRun, DebugStep, RunKind, RunStatus, StepEnd},
        schema::{debug_runs, debug_steps},
        types::{Id, Raw, Ts},
    },
};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use serde_json::{Value, json};
use uuid::Uuid;

/// Runs that a list shows (api.md §1.6).
const LISTED: i64 = 100;

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = debug_runs)]
struct RunRow {
    id: Id,
    chat_id: Id,
    root_chat_id: Option<Id>,
    parent_chat_id: Option<Id>,
    model_config_id: Option<Id>,
    trigger_message_id: Option<i64>,
    history_tip_message_id: Option<i64>,
    kind: String,
    status: String,
    provider: Option<String>,
    model: Option<String>,
    summary: Raw,
    started_at: Ts,
    updated_at: Ts,
    finished_at: Option<Ts>,
}

fn status_of(text: &str) -> Result<RunStatus> {
    RunStatus::of(text).ok_or_else(|| Error::Corrupt(format!("debug status {text:?}")))
}

impl RunRow {
    fn record(self) -> Result<DebugRun> {
        Ok(DebugRun {
            id: self.id.0,
            chat_id: ChatId(self.chat_id.0),
            root_chat_id: self.root_chat_id.map(|id| ChatId(id.0)),
            parent_chat_id: self.parent_chat_id.map(|id| ChatId(id.0)),
            model_config_id: self.model_config_id.map(|id| ModelConfigId(id.0)),
            trigger_message_id: self.trigger_message_id.map(MessageId),
            history_tip_message_id: self.history_tip_message_id.map(MessageId),
            kind: RunKind::of(&self.kind)
                .ok_or_else(|| Error::Corrupt(format!("debug kind {:?}", self.kind)))?,
            status: status_of(&self.status)?,
            provider: self.provider,
            model: self.model,
            summary: self.summary.0,
            started_at: self.started_at.0,
            updated_at: self.updated_at.0,
            finished_at: self.finished_at.map(|t| t.0),
        })
    }
}

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = debug_steps)]
struct StepRow {
    id: Id,
    run_id: Id,
    chat_id: Id,
    step_number: i64,
    operation: String,
    status: String,
    history_tip_message_id: Option<i64>,
    assistant_message_id: Option<i64>,
    normalized_request: Raw,
    normalized_response: Option<Raw>,
    usage: Option<Raw>,
    attempts: Raw,
    error: Option<Raw>,
    metadata: Raw,
    started_at: Ts,
    updated_at: Ts,
    finished_at: Option<Ts>,
}

impl StepRow {
    fn record(self) -> Result<DebugStep> {
        Ok(DebugStep {
            id: self.id.0,
            run_id: self.run_id.0,
            chat_id: ChatId(self.chat_id.0),
            step_number: self.step_number,
            operation: self.operation,
            status: status_of(&self.status)?,
            history_tip_message_id: self.history_tip_message_id.map(MessageId),
            assistant_message_id: self.assistant_message_id.map(MessageId),
            normalized_request: self.normalized_request.0,
            normalized_response: self.normalized_response.map(|j| j.0),
            usage: self.usage.map(|j| j.0),
            attempts: self.attempts.0,
            error: self.error.map(|j| j.0),
            metadata: self.metadata.0,
            started_at: self.started_at.0,
            updated_at: self.updated_at.0,
            finished_at: self.finished_at.map(|t| t.0),
        })
    }
}

/// The newest runs of a chat, newest first.
pub async fn runs(conn: &mut Conn, chat: ChatId) -> Result<Vec<DebugRun>> {
    let rows: Vec<RunRow> = debug_runs::table
        .filter(debug_runs::chat_id.eq(Id(chat.0)))
        .order((debug_runs::started_at.desc(), debug_runs::id.desc()))
        .limit(LISTED)
        .select(RunRow::as_select())
        .load(conn)
        .await?;
    rows.into_iter().map(RunRow::record).collect()
}

/// A run of a chat with its steps.
pub async fn run(conn: &mut Conn, chat: ChatId, id: Uuid) -> Result<(DebugRun, Vec<DebugStep>)> {
    let row: RunRow = debug_runs::table
        .find(Id(id))
        .filter(debug_runs::chat_id.eq(Id(chat.0)))
        .select(RunRow::as_select())
        .first(conn)
        .await?;
    let steps: Vec<StepRow> = debug_steps::table
        .filter(debug_steps::run_id.eq(Id(id)))
        .order(debug_steps::step_number.asc())
        .select(StepRow::as_select())
        .load(conn)
        .await?;
    Ok((row.record()?, steps.into_iter().map(StepRow::record).collect::<Result<_>>()?))
}

/// Begins a step: of the run of its kind that goes on for the same message of the user, else of `run`.
pub async fn begin_step(conn: &mut Conn, run: DebugRun, step: DebugStep) -> Result<()> {
    let open: Vec<(Id, Option<i64>)> = debug_runs::table
        .filter(debug_runs::chat_id.eq(Id(run.chat_id.0)))
        .filter(debug_runs::kind.eq(run.kind.as_str()).and(debug_runs::status.eq("in_progress")))
        .order(debug_runs::started_at.desc())
        .select((debug_runs::id, debug_runs::trigger_message_id))
        .load(conn)
        .await?;
    let trigger = run.trigger_message_id.map(|id| id.0);
    let same = |known: Option<i64>| known.is_none() || trigger.is_none() || known == trigger;
    let run_id = match open.into_iter().find(|(_, known)| same(*known)) {
        Some((id, _)) => {
            diesel::update(debug_runs::table.find(id))
                .set((
                    debug_runs::history_tip_message_id.eq(run.history_tip_message_id.map(|id| id.0)),
                    debug_runs::updated_at.eq(Ts(run.updated_at)),
                ))
                .execute(conn)
                .await?;
            id
        }
        None => {
            let id = Id(run.id);
            let row = RunRow {
                id,
                chat_id: Id(run.chat_id.0),
                root_chat_id: run.root_chat_id.map(|id| Id(id.0)),
                parent_chat_id: run.parent_chat_id.map(|id| Id(id.0)),
                model_config_id: run.model_config_id.map(|id| Id(id.0)),
                trigger_message_id: trigger,
                history_tip_message_id: run.history_tip_message_id.map(|id| id.0),
                kind: run.kind.as_str().into(),
                status: run.status.as_str().into(),
                provider: run.provider,
                model: run.model,
                summary: Raw(run.summary),
                started_at: Ts(run.started_at),
                updated_at: Ts(run.updated_at),
                finished_at: run.finished_at.map(Ts),
            };
            diesel::insert_into(debug_runs::table).values(row).execute(conn).await?;
            id
        }
    };
    let last: Option<i64> = debug_steps::table
        .filter(debug_steps::run_id.eq(run_id))
        .order(debug_steps::step_number.desc())
        .select(debug_steps::step_number)
        .first(conn)
        .await
        .optional()?;
    let row = StepRow {
        id: Id(step.id),
        run_id,
        chat_id: Id(step.chat_id.0),
        step_number: last.unwrap_or(0) + 1,
        operation: step.operation,
        status: step.status.as_str().into(),
        history_tip_message_id: step.history_tip_message_id.map(|id| id.0),
        assistant_message_id: step.assistant_message_id.map(|id| id.0),
        normalized_request: Raw(step.normalized_request),
        normalized_response: step.normalized_response.map(Raw),
        usage: step.usage.map(Raw),
        attempts: Raw(step.attempts),
        error: step.error.map(Raw),
        metadata: Raw(step.metadata),
        started_at: Ts(step.started_at),
        updated_at: Ts(step.updated_at),
        finished_at: step.finished_at.map(Ts),
    };
    diesel::insert_into(debug_steps::table).values(row).execute(conn).await?;
    Ok(())
}

/// Ends a step, unless it ended in a stronger way.
pub async fn end_step(conn: &mut Conn, end: StepEnd) -> Result<()> {
    let step = debug_steps::table.find(Id(end.id)).filter(debug_steps::status.eq_any(end.status.weaker()));
    let changed = diesel::update(step)
        .set((
            debug_steps::status.eq(end.status.as_str()),
            debug_steps::assistant_message_id.eq(end.assistant_message_id.map(|id| id.0)),
            debug_steps::normalized_response.eq(end.response.map(Raw)),
            debug_steps::usage.eq(end.usage.map(Raw)),
            debug_steps::attempts.eq(Raw(end.attempts)),
            debug_steps::error.eq(end.error.map(Raw)),
            debug_steps::updated_at.eq(Ts(end.at)),
            debug_steps::finished_at.eq(Ts(end.at)),
        ))
        .execute(conn)
        .await?;
    if changed == 0 {
        return Ok(());
    }
    let run: Id = debug_steps::table.find(Id(end.id)).select(debug_steps::run_id).first(conn).await?;
    diesel::update(debug_runs::table.find(run))
        .set(debug_runs::updated_at.eq(Ts(end.at)))
        .execute(conn)
        .await?;
    Ok(())
}

/// Ends the runs of these kinds of a chat that go on.
pub async fn end_runs(
    conn: &mut Conn,
    chat: ChatId,
    kinds: Vec<RunKind>,
    status: RunStatus,
    at: Timestamp,
) -> Result<()> {
    let kinds: Vec<&str> = kinds.into_iter().map(RunKind::as_str).collect();
    let open: Vec<(Id, Raw)> = debug_runs::table
        .filter(debug_runs::chat_id.eq(Id(chat.0)).and(debug_runs::status.eq("in_progress")))
        .filter(debug_runs::kind.eq_any(kinds))
        .select((debug_runs::id, debug_runs::summary))
        .load(conn)
        .await?;
    for (id, summary) in open {
        finish(conn, id, &summary.0, status, at).await?;
    }
    Ok(())
}

/// Ends a run and what is open of its steps, and sums up.
async fn finish(conn: &mut Conn, run: Id, summary: &Json, status: RunStatus, at: Timestamp) -> Result<()> {
    diesel::update(
        debug_steps::table.filter(debug_steps::run_id.eq(run).and(debug_steps::status.eq("in_progress"))),
    )
    .set((
        debug_steps::status.eq(RunStatus::Interrupted.as_str()),
        debug_steps::updated_at.eq(Ts(at)),
        debug_steps::finished_at.eq(Ts(at)),
    ))
    .execute(conn)
    .await?;
    let used: Vec<Option<Raw>> =
        debug_steps::table.filter(debug_steps::run_id.eq(run)).select(debug_steps::usage).load(conn).await?;
    let mut sums: Value = summary.read().unwrap_or_else(|_| json!({}));
    sums["steps"] = json!(used.len());
    let usages: Vec<Value> = used.iter().flatten().filter_map(|usage| usage.0.read().ok()).collect();
    for key in
        ["input_tokens", "output_tokens", "reasoning_tokens", "cache_creation_tokens", "cache_read_tokens"]
    {
        let sum: i64 = usages.iter().filter_map(|usage| usage[key].as_i64()).fold(0, i64::saturating_add);
        sums[key] = json!(sum);
    }
    diesel::update(debug_runs::table.find(run))
        .set((
            debug_runs::status.eq(status.as_str()),
            debug_runs::summary.eq(Raw(Json::of(&sums))),
            debug_runs::updated_at.eq(Ts(at)),
            debug_runs::finished_at.eq(Ts(at)),
        ))
        .execute(conn)
        .await?;
    Ok(())
}

/// Ends runs that nobody has touched since `before`: who recorded them is gone. Returns how many, at
/// most `limit`.
pub async fn sweep_stale(conn: &mut Conn, before: Timestamp, limit: i64, now: Timestamp) -> Result<usize> {
    let open: Vec<(Id, Raw)> = debug_runs::table
        .filter(debug_runs::status.eq("in_progress").and(debug_runs::updated_at.lt(Ts(before))))
        .limit(limit)
        .select((debug_runs::id, debug_runs::summary))
        .load(conn)
        .await?;
    let count = open.len();
    for (id, summary) in open {
        finish(conn, id, &summary.0, RunStatus::Interrupted, now).await?;
    }
    Ok(count)
}

/// Removes runs that were not touched since `before`, with their steps. Returns how many, at most `limit`.
pub async fn sweep_old(conn: &mut Conn, before: Timestamp, limit: i64) -> Result<usize> {
    let old: Vec<Id> = debug_runs::table
        .filter(debug_runs::updated_at.lt(Ts(before)))
        .limit(limit)
        .select(debug_runs::id)
        .load(conn)
        .await?;
    Ok(diesel::delete(debug_runs::table.filter(debug_runs::id.eq_any(old))).execute(conn).await?)
}

/// Removes the runs of a history that an edit of this message has ended, unless they were touched after
/// `before`: those belong to what came of the edit.
pub async fn forget_edited(
    conn: &mut Conn,
    chat: ChatId,
    edited: MessageId,
    before: Timestamp,
) -> Result<usize> {
    let after = edited.0 - 1;
    let gone = debug_runs::table
        .filter(debug_runs::chat_id.eq(Id(chat.0)).and(debug_runs::updated_at.lt(Ts(before))))
        .filter(debug_runs::trigger_message_id.gt(after).or(debug_runs::history_tip_message_id.gt(after)));
    Ok(diesel::delete(gone).execute(conn).await?)
}
