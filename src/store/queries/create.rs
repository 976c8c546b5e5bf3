//! Creation of a chat with its first messages.

use super::{
    Conn, accounts,
    chats::{self as chats_of, ChatRow},
    commit, divergent, files, spend,
};
use crate::chat::plan::Write;
use crate::{
    chat::{state::Owner, step},
    clock::Timestamp,
    store::{
        commit::{Accepted, Created, Idempotency},
        error::{Error, Result},
        records::NewChat,
        rows::{HeadRow, InsertMessage},
        schema::chats,
        spend::{Asked, Whose},
        types::{Id, Raw, Ts},
    },
};
use diesel_async::RunQueryDsl;

/// Creates a chat in R0, owned by `claim` if there is one.
pub async fn create(
    conn: &mut Conn,
    new: NewChat,
    now: Timestamp,
    idempotency: Option<Idempotency<Created>>,
    asked: Option<Asked>,
    claim: Option<Owner>,
) -> Result<Accepted<Created>> {
    if let Some(i) = &idempotency
        && let Some((status, answer)) = accounts::replayed(conn, i.user, &i.key, &i.request_hash).await?
    {
        return Ok(Accepted::Replayed { status, answer });
    }
    if let Some(asked) = asked {
        spend::admit(conn, Whose::In(new.owner_id, new.organization_id), &asked, now).await?;
    }
    let plan = step::create(new.initial, claim);
    let snapshot = plan.columns.versions.snapshot;
    let owner = plan.columns.owner;
    let row = ChatRow {
        head: HeadRow::new(new.id, None, new.owner_id, plan.columns, new.dynamic_tools),
        organization_id: Id(new.organization_id.0),
        root_chat_id: Id(new.id.0),
        title: new.title,
        last_model_config_id: Id(new.model_config_id.0),
        last_reasoning_effort: new.reasoning_effort,
        plan_mode: new.plan_mode,
        client_type: new.client_type,
        labels: Raw(new.labels),
        mcp_server_ids: Raw(new.mcp_server_ids),
        last_turn_summary: None,
        last_read_message_id: 0,
        pin_order: 0,
        created_at: Ts(now),
        updated_at: Ts(now),
        workspace_id: new.workspace_id.map(|id| Id(id.0)),
        build_id: None,
        agent_id: None,
        last_injected_context: None,
    };
    diesel::insert_into(chats::table).values(&row).execute(conn).await?;
    if new.workspace_id.is_some() {
        chats_of::bind(conn, new.id, new.workspace_id).await?;
    }
    let mut inserted = Vec::new();
    for w in plan.writes {
        let Write::Insert(m) = w else {
            return Err(Error::Corrupt("a new chat can only insert messages".into()));
        };
        inserted.push(commit::insert(conn, InsertMessage::new(new.id, snapshot, now, m)).await?);
    }
    if let Some(owner) = owner {
        divergent::first_beat(conn, new.id, owner, now).await?;
    }
    let unlinked = match new.files.is_empty() {
        true => Vec::new(),
        false => files::link(conn, new.id, &new.files, now).await?,
    };
    let created = Created { chat: row.try_into()?, inserted, unlinked };
    if let Some(i) = idempotency {
        let (status, answer) = (i.render)(&created);
        accounts::remember(conn, i.user, &i.key, &i.request_hash, status, &answer, now).await?;
    }
    Ok(Accepted::Fresh(created))
}
