//! Unanswered tool calls of active history.

use super::Conn;
use crate::{
    chat::{
        json::Json,
        message::{Part, Role},
        state::OpenCall,
    },
    ids::ChatId,
    store::{
        error::{Error, Result},
        records::PendingCall,
        rows::role_of,
        schema::chat_messages,
        types::{Id, Raw},
    },
};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use std::collections::HashSet;

/// Rows fetched at first; a step with more results than this costs further statements.
const FIRST_PAGE: i64 = 8;
/// Rows fetched after that.
const NEXT_PAGE: i64 = 64;

/// The open calls with their arguments, in call order. Walks back from the end of history to the
/// assistant message that made calls, or to a user message: whatever puts a user message into
/// history answers every call before it, so nothing older can be open.
pub async fn load(conn: &mut Conn, chat: ChatId) -> Result<Vec<PendingCall>> {
    let mut answered = HashSet::new();
    let mut below = i64::MAX;
    let mut page = FIRST_PAGE;
    loop {
        let rows: Vec<(i64, String, Raw)> = chat_messages::table
            .filter(chat_messages::chat_id.eq(Id(chat.0)))
            .filter(chat_messages::id.lt(below))
            .filter(chat_messages::deleted.eq(false))
            .filter(chat_messages::compressed.eq(false))
            .order(chat_messages::id.desc())
            .limit(page)
            .select((chat_messages::id, chat_messages::role, chat_messages::content))
            .load(conn)
            .await?;
        let full = i64::try_from(rows.len()).unwrap_or(i64::MAX) == page;
        for (id, role, content) in rows {
            below = id;
            match role_of(&role)? {
                Role::User | Role::System => return Ok(Vec::new()),
                Role::Tool => note_answers(&content.0, &mut answered)?,
                Role::Assistant => {
                    let calls = calls_of(&content.0)?;
                    if let Some(calls) = calls {
                        note_answers(&content.0, &mut answered)?;
                        return Ok(calls
                            .into_iter()
                            .filter(|c| !answered.contains(&c.tool_call_id))
                            .collect());
                    }
                }
            }
        }
        if !full {
            return Ok(Vec::new());
        }
        page = NEXT_PAGE;
    }
}

/// Marks which of the open calls the API client has to answer.
pub fn classify(calls: Vec<PendingCall>, dynamic_tools: Option<&Json>) -> Result<Vec<OpenCall>> {
    if calls.is_empty() {
        return Ok(Vec::new());
    }
    let names = dynamic_names(dynamic_tools)?;
    Ok(calls
        .into_iter()
        .map(|c| OpenCall {
            dynamic: names.contains(&c.tool_name),
            tool_call_id: c.tool_call_id,
            tool_name: c.tool_name,
        })
        .collect())
}

/// Names of the chat's client-run tools.
pub fn dynamic_names(dynamic_tools: Option<&Json>) -> Result<HashSet<String>> {
    #[derive(serde::Deserialize)]
    struct Named {
        name: String,
    }
    let Some(json) = dynamic_tools else { return Ok(HashSet::new()) };
    let tools: Vec<Named> = json.read().map_err(|e| Error::Corrupt(format!("dynamic tools: {e}")))?;
    Ok(tools.into_iter().map(|t| t.name).collect())
}

fn parts(content: &Json) -> Result<Vec<Part>> {
    content.read().map_err(|e| Error::Corrupt(format!("message content: {e}")))
}

fn note_answers(content: &Json, answered: &mut HashSet<String>) -> Result<()> {
    for part in parts(content)? {
        if let Part::ToolResult(r) = part {
            answered.insert(r.tool_call_id);
        }
    }
    Ok(())
}

/// The calls of an assistant message that somebody else than the provider runs; `None` when it made
/// no call at all.
fn calls_of(content: &Json) -> Result<Option<Vec<PendingCall>>> {
    let mut any = false;
    let mut calls = Vec::new();
    for part in parts(content)? {
        if let Part::ToolCall(c) = part {
            any |= !c.provider_executed;
            if !c.provider_executed {
                calls.push(PendingCall {
                    tool_call_id: c.tool_call_id,
                    tool_name: c.tool_name,
                    args: c.args.map_or_else(|| "{}".to_owned(), |a| a.get().to_owned()),
                });
            }
        }
    }
    Ok(any.then_some(calls))
}
