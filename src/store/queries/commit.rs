//! The only writer of chats' execution columns, messages and queue: lock, load, step, write the
//! Plan. Runs inside one transaction; any error undoes all of it.

use super::{Conn, Statement, chats, divergent, files, journal, open_calls, retention, search, spend};
use crate::{
    chat::{
        command::{Busy, Command},
        plan::{Plan, Refusal, Write},
        state::{Chat, EditTarget, Owner, State, Status},
        step,
    },
    clock::Timestamp,
    ids::{ChatId, MessageId, QueuedId, UserId},
    store::{
        commit::{Accepted, Along, Commit, Committed, Fence, Lease, Locked, MetaChange, Written},
        error::{Error, Result},
        records::{MessageRow, QueuedRow},
        rows::{
            ColumnsRow, HeadRow, InsertMessage, InsertQueued, SelectMessage, SelectQueued, role_of, status_of,
        },
        schema::{chat_messages, chat_queued_messages, chats as chats_table},
        spend::Whose,
        types::{Id, Raw, Ts, sql},
    },
};
use diesel::{
    prelude::*,
    sql_types::{BigInt, Bool, Nullable, Text},
};
use diesel_async::RunQueryDsl;

/// Applies the commands of `c` to its chat. A chat that has to be driven afterwards and has no owner
/// gets `claim`, if there is one.
pub async fn commit(conn: &mut Conn, c: Commit, claim: Option<Owner>) -> Result<Accepted<Committed>> {
    let locked = lock(conn, c.chat).await?;
    // Under the lock: of two racing first uses of a key the second must see the first's answer, not
    // a queue that the first has filled.
    if let Some(i) = &c.idempotency
        && let Some((status, answer)) =
            super::accounts::replayed(conn, i.user, &i.key, &i.request_hash).await?
    {
        return Ok(Accepted::Replayed { status, answer });
    }
    if let Some(asked) = &c.spend {
        spend::admit(conn, Whose::Chat(c.chat), asked, c.now).await?;
    }
    if let Some(fence) = &c.fence {
        check_fence(&locked.row, fence)?;
    }
    let row = locked.row.clone();
    let chat = facts(conn, locked, &c.commands).await?;
    let mut commands = c.commands;
    let mut plan = step::step_many(&chat, &commands, c.now)?;
    if c.release_when_idle && !plan.columns.status.is_runnable() && plan.columns.owner.is_some() {
        commands.push(Command::Abandon);
        plan = step::step_many(&chat, &commands, c.now)?;
    }
    if let Some(owner) = claim
        && matches!(plan.lands_in, State::R0 | State::R1 | State::I0 | State::I1 | State::A0 | State::A1)
        && plan.columns.owner.is_none()
    {
        commands.push(Command::Acquire(owner));
        // A message is answered by a call of the model, with few exceptions: that it begins is written with the claim. Not
        // after anything else: an attempt at a history that needs no answer stands for a compaction (turn/decide.rs).
        let answers =
            commands.iter().any(|c| matches!(c, Command::SendMessage { .. } | Command::EditMessage { .. }))
                && plan.columns.versions.history > row.history_version;
        if answers && plan.columns.status == Status::Running && plan.columns.compaction_requested_at.is_none()
        {
            commands.push(Command::RecordGenerationAttempt);
        }
        plan = step::step_many(&chat, &commands, c.now)?;
    }
    let along = Along { meta: c.meta, lease: Lease::of(&commands), call: c.call };
    let mut done = write(conn, &chat, row, plan, &along, c.now).await?;
    if !c.files.is_empty() {
        done.unlinked = files::link(conn, c.chat, &c.files, c.now).await?;
    }
    if c.closes_calls {
        journal::close(conn, c.chat).await?;
    }
    if let Some(i) = c.idempotency {
        let (status, answer) = (i.render)(&done);
        super::accounts::remember(conn, i.user, &i.key, &i.request_hash, status, &answer, c.now).await?;
    }
    Ok(Accepted::Fresh(done))
}

/// Archives or unarchives a whole family, or none of it.
pub async fn set_archived(
    conn: &mut Conn,
    root: ChatId,
    archived: bool,
    now: Timestamp,
) -> Result<Vec<Committed>> {
    flip(conn, root, archived, None, now).await
}

/// Archives a family, unless it has had a message since the moment or was pinned meanwhile.
pub async fn archive_idle(
    conn: &mut Conn,
    root: ChatId,
    since: Timestamp,
    now: Timestamp,
) -> Result<Vec<Committed>> {
    flip(conn, root, true, Some(since), now).await
}

async fn flip(
    conn: &mut Conn,
    root: ChatId,
    archived: bool,
    only_idle_since: Option<Timestamp>,
    now: Timestamp,
) -> Result<Vec<Committed>> {
    // The end of it unpins the root.
    let owner: Id = chats_table::table.find(Id(root.0)).select(chats_table::owner_id).first(conn).await?;
    chats::lock_pins(conn, owner).await?;
    let members: Vec<HeadRow> = for_update!(
        chats_table::table
            .filter(chats_table::root_chat_id.eq(Id(root.0)))
            .order(chats_table::id.asc())
            .select(HeadRow::as_select())
    )
    .load(conn)
    .await?;
    let Some(own) = members.iter().find(|m| m.id.0 == root.0) else {
        return Err(Refusal::NotARootChat.into());
    };
    // What made it a candidate may have changed before the locks.
    if let Some(since) = only_idle_since
        && !retention::is_idle(conn, root, since).await?
    {
        return Ok(Vec::new());
    }
    let own_id = own.id;
    let command = [Command::SetArchived(archived)];
    let mut done = Vec::with_capacity(members.len());
    // The root decides first, so that its state is what a refusal names.
    let (first, rest): (Vec<_>, Vec<_>) = members.into_iter().partition(|m| m.id == own_id);
    for row in first.into_iter().chain(rest) {
        // A member that is already where the family goes stays as it is.
        if row.id != own_id && row.archived == archived {
            continue;
        }
        let chat = facts(conn, Locked { row: row.clone(), queue: None }, &command).await?;
        let plan = step::step_many(&chat, &command, now)?;
        done.push(write(conn, &chat, row, plan, &Along::default(), now).await?);
    }
    diesel::update(chats_table::table.find(own_id))
        .set(chats_table::archived_at.eq(archived.then_some(Ts(now))))
        .execute(conn)
        .await?;
    chats::unpin(conn, root).await?;
    Ok(done)
}

/// Locks the chat's row for the rest of the transaction.
pub(in crate::store) async fn lock(conn: &mut Conn, chat: ChatId) -> Result<Locked> {
    if let Some(locked) = divergent::lock(conn, chat).await? {
        return Ok(locked);
    }
    let row = for_update!(chats_table::table.find(Id(chat.0)).select(HeadRow::as_select()))
        .first(conn)
        .await
        .optional()?
        .ok_or(Error::NotFound)?;
    Ok(Locked { row, queue: None })
}

fn check_fence(row: &HeadRow, fence: &Fence) -> Result<()> {
    let holds = row.runner_id.is_some_and(|r| r.0 == fence.runner.0)
        && row.status == fence.status.as_str()
        && row.history_version == fence.history_version
        && !row.archived
        && fence.attempt.is_none_or(|a| a == row.generation_attempt);
    if holds { Ok(()) } else { Err(Error::Stale) }
}

/// The facts the commands decide from.
pub(in crate::store) async fn facts(conn: &mut Conn, locked: Locked, commands: &[Command]) -> Result<Chat> {
    let Locked { row, queue } = locked;
    let id = ChatId(row.id.0);
    let queue: Vec<i64> = match queue {
        Some(queue) => queue,
        None => {
            chat_queued_messages::table
                .filter(chat_queued_messages::chat_id.eq(row.id))
                .order((chat_queued_messages::position.asc(), chat_queued_messages::id.asc()))
                .select(chat_queued_messages::id)
                .load(conn)
                .await?
        }
    };
    let status = status_of(&row.status)?;
    let open_calls = if wants_open_calls(commands, status, queue.len()) {
        open_calls::classify(open_calls::load(conn, id).await?, row.dynamic_tools.as_ref().map(|r| &r.0))?
    } else {
        Vec::new()
    };
    let mut edit_target = None;
    for command in commands {
        if let Command::EditMessage { target, .. } = command {
            edit_target = find_target(conn, id, *target).await?;
        }
    }
    Ok(Chat {
        id,
        parent: row.parent_chat_id.map(|p| ChatId(p.0)),
        status,
        archived: row.archived,
        versions: row.versions(),
        owner: row.owner(),
        last_error: row.last_error.map(|r| r.0),
        retry_state: row.retry_state.map(|r| r.0),
        requires_action_deadline_at: row.requires_action_deadline_at.map(|t| t.0),
        compaction_requested_at: row.compaction_requested_at.map(|t| t.0),
        queue: queue.into_iter().map(QueuedId).collect(),
        open_calls,
        edit_target,
    })
}

/// Saves the walk through history where the first command cannot touch it in this state. What the
/// chat is like when the others come is not known yet, but for an empty queue.
fn wants_open_calls(commands: &[Command], status: Status, queued: usize) -> bool {
    let busy = matches!(status, Status::Running | Status::Interrupting);
    let sends = |c: &Command| matches!(c, Command::SendMessage { .. });
    commands.iter().enumerate().any(|(i, command)| match command {
        Command::FinishTurn => queued > 0 || commands[..i].iter().any(sends),
        Command::SendMessage { busy: Busy::Queue, .. } if i == 0 => !busy && status != Status::RequiresAction,
        Command::SendMessage { busy: Busy::Interrupt, .. }
        | Command::Interrupt { .. }
        | Command::PromoteQueuedMessage(_)
            if i == 0 =>
        {
            !busy
        }
        other => other.needs_open_calls(),
    })
}

/// The target of an edit. Rows that are for the model alone, such as a summary, are nobody's message.
async fn find_target(conn: &mut Conn, chat: ChatId, target: MessageId) -> Result<Option<EditTarget>> {
    let found: Option<String> = chat_messages::table
        .find(target.0)
        .filter(chat_messages::chat_id.eq(Id(chat.0)))
        .filter(chat_messages::deleted.eq(false))
        .filter(chat_messages::visibility.ne("model"))
        .select(chat_messages::role)
        .first(conn)
        .await
        .optional()?;
    found.map(|role| Ok(EditTarget { id: target, role: role_of(&role)? })).transpose()
}

/// Writes a plan.
pub(in crate::store) async fn write(
    conn: &mut Conn,
    chat: &Chat,
    row: HeadRow,
    plan: Plan,
    along: &Along,
    now: Timestamp,
) -> Result<Committed> {
    let Written { inserted, queued, deleted } =
        match divergent::write(conn, chat.id, &plan, along, now).await? {
            Some(written) => written,
            None => write_one_by_one(conn, chat.id, &plan, along, now).await?,
        };
    let before = State::classify(chat.status, !chat.queue.is_empty(), chat.archived);
    let owner_id = UserId(row.owner_id.0);
    let mut head = row.head()?;
    head.status = plan.columns.status;
    head.archived = plan.columns.archived;
    head.versions = plan.columns.versions;
    head.owner = plan.columns.owner;
    head.last_error = plan.columns.last_error;
    head.retry_state = plan.columns.retry_state;
    head.requires_action_deadline_at = plan.columns.requires_action_deadline_at;
    Ok(Committed {
        before,
        after: plan.lands_in,
        head,
        previous_snapshot: chat.versions.snapshot,
        owner_id,
        inserted,
        queued,
        deleted,
        unlinked: Vec::new(),
    })
}

/// The same, a statement for each write: any plan, on any engine.
async fn write_one_by_one(
    conn: &mut Conn,
    chat: ChatId,
    plan: &Plan,
    along: &Along,
    now: Timestamp,
) -> Result<Written> {
    let snapshot = plan.columns.versions.snapshot;
    let mut written = Written::default();
    for w in &plan.writes {
        match w {
            Write::Insert(m) => {
                written
                    .inserted
                    .push(insert(conn, InsertMessage::new(chat, snapshot, now, m.clone())).await?);
            }
            Write::MoveIntoHistory(id) => {
                written.inserted.push(move_into_history(conn, chat, *id, snapshot, now).await?);
            }
            Write::Enqueue(m) => {
                let row = InsertQueued {
                    chat_id: Id(chat.0),
                    // The snapshot version only grows, so it orders the queue without a query.
                    position: snapshot,
                    content: Raw(m.content.clone()),
                    created_by: m.created_by.map(|u| Id(u.0)),
                    model_config_id: m.model_config_id.map(|m| Id(m.0)),
                    created_at: Ts(now),
                };
                let stored: SelectQueued = diesel::insert_into(chat_queued_messages::table)
                    .values(row)
                    .returning(SelectQueued::as_returning())
                    .get_result(conn)
                    .await?;
                written.queued = Some(QueuedRow::from(stored));
            }
            Write::Dequeue(id) => {
                expect_one(
                    diesel::delete(chat_queued_messages::table.find(id.0)).execute(conn).await?,
                    "queued message to delete",
                )?;
            }
            Write::MoveToHead(id) => {
                expect_one(
                    diesel::update(chat_queued_messages::table.find(id.0))
                        .set(chat_queued_messages::position.eq(-snapshot))
                        .execute(conn)
                        .await?,
                    "queued message to promote",
                )?;
            }
            Write::ClearQueue => {
                diesel::delete(
                    chat_queued_messages::table.filter(chat_queued_messages::chat_id.eq(Id(chat.0))),
                )
                .execute(conn)
                .await?;
            }
            Write::DeleteMessagesFrom(id) => {
                search::forget(conn, chat, *id).await?;
                diesel::update(
                    chat_messages::table
                        .filter(chat_messages::chat_id.eq(Id(chat.0)))
                        .filter(chat_messages::id.ge(id.0))
                        .filter(chat_messages::deleted.eq(false)),
                )
                .set((chat_messages::deleted.eq(true), chat_messages::revision.eq(snapshot)))
                .execute(conn)
                .await?;
                written.deleted = true;
            }
        }
    }
    let mut s = Statement::default();
    s.sql("UPDATE chats SET ");
    push_columns(&mut s, ColumnsRow::new(&plan.columns, now), &along.meta);
    s.sql(" WHERE id = ").bind::<sql::Uid, _>(Id(chat.0));
    s.execute(conn).await?;
    match along.lease {
        Lease::Keep => {}
        Lease::Begin(owner) => divergent::first_beat(conn, chat, owner, now).await?,
        Lease::End => divergent::drop_beat(conn, chat).await?,
    }
    if let Some(call) = &along.call {
        spend::record(conn, chat, call.clone(), now).await?;
    }
    Ok(written)
}

/// Inserts one message and makes it findable. Row by row: a batch insert with RETURNING does not exist for SQLite, and a
/// step has few rows.
pub(in crate::store) async fn insert(conn: &mut Conn, row: InsertMessage) -> Result<MessageRow> {
    let id: i64 = diesel::insert_into(chat_messages::table)
        .values(&row)
        .returning(chat_messages::id)
        .get_result(conn)
        .await?;
    let message = row.stored(id).try_into()?;
    search::index(conn, &message).await?;
    Ok(message)
}

async fn move_into_history(
    conn: &mut Conn,
    chat: ChatId,
    id: QueuedId,
    snapshot: i64,
    now: Timestamp,
) -> Result<MessageRow> {
    let q: SelectQueued = diesel::delete(chat_queued_messages::table.find(id.0))
        .returning(SelectQueued::as_returning())
        .get_result(conn)
        .await
        .optional()?
        .ok_or_else(|| Error::Corrupt(format!("queued message {id} vanished under the chat's lock")))?;
    let mut message = crate::chat::message::NewMessage::new(
        crate::chat::message::Role::User,
        crate::chat::message::Visibility::Both,
        &[],
    );
    message.content = q.content.0;
    message.created_by = q.created_by.map(|u| UserId(u.0));
    message.model_config_id = q.model_config_id.map(|m| crate::ids::ModelConfigId(m.0));
    insert(conn, InsertMessage::new(chat, snapshot, now, message)).await
}

fn expect_one(rows: usize, what: &str) -> Result<()> {
    if rows == 1 { Ok(()) } else { Err(Error::Corrupt(format!("{what} vanished under the chat's lock"))) }
}

/// Also used by reads of a single row.
pub async fn message(conn: &mut Conn, chat: ChatId, id: MessageId) -> Result<MessageRow> {
    let row: SelectMessage = chat_messages::table
        .find(id.0)
        .filter(chat_messages::chat_id.eq(Id(chat.0)))
        .filter(chat_messages::deleted.eq(false))
        .select(SelectMessage::as_select())
        .first(conn)
        .await?;
    row.try_into()
}

/// What an update sets of a chat. A statement of its own and not one of diesel, which would be prepared anew each time.
pub(in crate::store) fn push_columns(s: &mut Statement, c: ColumnsRow, meta: &MetaChange) {
    s.sql("status = ").bind::<Text, _>(c.status);
    s.sql(", archived = ").bind::<Bool, _>(c.archived);
    s.sql(", worker_id = ").bind::<Nullable<sql::Uid>, _>(c.worker_id);
    s.sql(", runner_id = ").bind::<Nullable<sql::Uid>, _>(c.runner_id);
    s.sql(", last_error = ").bind::<Nullable<sql::JsonText>, _>(c.last_error);
    s.sql(", retry_state = ").bind::<Nullable<sql::JsonText>, _>(c.retry_state);
    s.sql(", requires_action_deadline_at = ");
    s.bind::<Nullable<sql::Moment>, _>(c.requires_action_deadline_at);
    s.sql(", compaction_requested_at = ").bind::<Nullable<sql::Moment>, _>(c.compaction_requested_at);
    s.sql(", snapshot_version = ").bind::<BigInt, _>(c.snapshot_version);
    s.sql(", history_version = ").bind::<BigInt, _>(c.history_version);
    s.sql(", queue_version = ").bind::<BigInt, _>(c.queue_version);
    s.sql(", retry_state_version = ").bind::<BigInt, _>(c.retry_state_version);
    s.sql(", generation_attempt = ").bind::<BigInt, _>(c.generation_attempt);
    s.sql(", updated_at = ").bind::<sql::Moment, _>(c.updated_at);
    if let Some(model) = meta.model_config_id {
        s.sql(", last_model_config_id = ").bind::<sql::Uid, _>(Id(model.0));
    }
    if let Some(effort) = &meta.reasoning_effort {
        s.sql(", last_reasoning_effort = ").bind::<Text, _>(effort.clone());
    }
    if let Some(mode) = &meta.plan_mode {
        s.sql(", plan_mode = ").bind::<Nullable<Text>, _>(mode.clone());
    }
    if let Some(servers) = &meta.mcp_server_ids {
        s.sql(", mcp_server_ids = ").bind::<sql::JsonText, _>(Raw(servers.clone()));
    }
}
