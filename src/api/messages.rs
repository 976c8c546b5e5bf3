//! `/chats/{chat}/messages`: page, send, edit (api.md §2.6).

use super::{
    access::{self, Right},
    auth::Caller,
    body,
    commit::{self, Key},
    content::{self, InputPart},
    doc::{Doc, IDEMPOTENCY_KEY, Param, ParamKind},
    files,
    picks::Picks,
    problem::{Problem, Result},
    query::Query,
    state::ApiState,
};
use crate::{
    chat::{
        command::{Busy, Command},
        json::Json,
        message::{NewMessage, Part, Role, Visibility},
    },
    ids::{ChatId, McpServerId, MessageId, ModelConfigId},
    store::{
        commit::{Commit, Committed},
        records::{MessageRow, PageSpec},
    },
    stream::wire::{MessageOut, QueuedOut},
};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Messages of a page whose size was not asked for (api.md §1.6).
const DEFAULT_PAGE: i64 = 50;
/// Largest page (api.md §1.6).
const MAX_PAGE: i64 = 200;

/// A page of messages.
#[derive(Serialize, ToSchema)]
#[schema(as = MessagePage)]
pub struct Page {
    messages: Vec<MessageOut>,
    queued_messages: Vec<QueuedOut>,
    has_more: bool,
}

/// What the OpenAPI document says of it.
pub const PAGE: Doc = Doc::new("Page through messages")
    .replies::<Page>()
    .params(&[
        Param::query("before_id", ParamKind::Integer(1, i64::MAX), "Messages with smaller ids only"),
        Param::query(
            "after_id",
            ParamKind::Integer(0, i64::MAX),
            "Messages with greater ids only; oldest first when alone",
        ),
        Param::query("limit", ParamKind::Integer(1, MAX_PAGE), "Messages on a page; 50 if absent"),
    ])
    .errors(&[400, 404]);

/// A page of messages; the first one with the queue.
pub async fn page(
    request: HttpRequest,
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
) -> Result<HttpResponse> {
    let chat = access::only_id(&state, &caller, &path, Right::Read).await?;
    let query = Query::parse(request.query_string())?;
    let spec = PageSpec {
        before: query.number("before_id", 1.., "a positive whole number")?,
        after: query.number("after_id", 0.., "a whole number that is not negative")?,
        limit: query.number("limit", 1..=MAX_PAGE, "a whole number from 1 to 200")?.unwrap_or(DEFAULT_PAGE),
    };
    if let (Some(after), Some(before)) = (spec.after, spec.before)
        && after >= before
    {
        return Err(Problem::field("after_id", "after_id must be smaller than before_id."));
    }
    let (rows, has_more) = state.store.message_page(chat, spec).await.map_err(Problem::of_chat)?;
    if rows.is_empty() {
        // Retention may have deleted a chat whose owner is still remembered.
        state.store.chat_owner(chat).await.map_err(Problem::of_chat)?;
    }
    let queue = match (spec.before, spec.after) {
        (None, None) => state.store.queue(chat).await.map_err(Problem::of_chat)?,
        _ => Vec::new(),
    };
    Ok(body::ok(&Page {
        messages: rows.iter().map(MessageOut::from).collect(),
        queued_messages: queue.iter().map(QueuedOut::from).collect(),
        has_more,
    }))
}

/// What a user wrote before.
#[derive(Serialize, ToSchema)]
pub struct Prompt {
    id: MessageId,
    text: String,
}

/// What users wrote in a chat.
#[derive(Serialize, ToSchema)]
pub struct Prompts {
    prompts: Vec<Prompt>,
}

/// Prompts of an answer whose number was not asked for (api.md §1.6).
const DEFAULT_PROMPTS: i64 = 500;
/// Most prompts of an answer (api.md §1.6).
const MAX_PROMPTS: i64 = 2000;

/// What the OpenAPI document says of it.
pub const PROMPTS: Doc = Doc::new("Past text prompts of a chat, newest first")
    .replies::<Prompts>()
    .params(&[Param::query(
        "limit",
        ParamKind::Integer(0, MAX_PROMPTS),
        "Prompts in the answer; 0 means 500",
    )])
    .errors(&[400, 404]);

/// The texts that were written in a chat, newest first.
pub async fn prompts(
    request: HttpRequest,
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
) -> Result<HttpResponse> {
    let chat = access::only_id(&state, &caller, &path, Right::Read).await?;
    let query = Query::parse(request.query_string())?;
    let limit = query.number("limit", 0..=MAX_PROMPTS, "a whole number from 0 to 2000")?;
    let limit = limit.filter(|n| *n > 0).unwrap_or(DEFAULT_PROMPTS);
    let found = state.store.prompts(chat, limit).await.map_err(Problem::of_chat)?;
    let prompts = found.into_iter().map(|(id, text)| Prompt { id, text }).collect();
    Ok(body::ok(&Prompts { prompts }))
}

/// A message to send.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = SendMessage)]
pub struct SendBody {
    #[schema(required = true)]
    content: Option<Vec<InputPart>>,
    model_config_id: Option<ModelConfigId>,
    reasoning_effort: Option<String>,
    mcp_server_ids: Option<Vec<McpServerId>>,
    plan_mode: Option<String>,
    busy_behavior: Option<String>,
}

/// What became of a sent message: in history at once, or queued.
#[derive(Serialize, ToSchema)]
pub struct Sent {
    queued: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<MessageOut>,
    #[serde(skip_serializing_if = "Option::is_none")]
    queued_message: Option<QueuedOut>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    messages: Vec<MessageOut>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    warnings: Vec<String>,
}

/// What the OpenAPI document says of it.
pub const SEND: Doc = Doc::new("Send a message")
    .takes::<SendBody>()
    .replies::<Sent>()
    .params(&[IDEMPOTENCY_KEY])
    .errors(&[400, 403, 404, 409, 413]);

/// Sends a message.
pub async fn send(
    request: HttpRequest,
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse> {
    let chat = access::only_id(&state, &caller, &path, Right::Own).await?;
    let bytes = body::read(&request, payload, state.settings.max_body).await?;
    let key = Key::of(&request, &caller, &bytes)?;
    let body: SendBody = body::parse(&bytes)?;
    let busy = match body.busy_behavior.as_deref() {
        None | Some("queue") => Busy::Queue,
        Some("interrupt") => Busy::Interrupt,
        Some(_) => return Err(Problem::field("busy_behavior", "busy_behavior must be queue or interrupt.")),
    };
    let picks = Picks {
        model_config_id: body.model_config_id,
        reasoning_effort: body.reasoning_effort,
        mcp_server_ids: body.mcp_server_ids,
        plan_mode: body.plan_mode,
    };
    let max_queue = state.settings.max_queue;
    let command = |message| Command::SendMessage { message, busy, max_queue };
    let commit = match written(&state, &caller, chat, body.content, picks, command).await {
        Ok(commit) => commit,
        Err(problem) => return commit::unless_done(&state, key, problem).await,
    };
    commit::run(&state, commit, key, |done| (200, Json::of(&sent(done)))).await
}

/// The commit of a message that somebody wrote, with the files it names.
async fn written(
    state: &ApiState,
    caller: &Caller,
    chat: ChatId,
    content: Option<Vec<InputPart>>,
    picks: Picks,
    command: impl FnOnce(NewMessage) -> Command,
) -> Result<Commit> {
    let mut parts = content::parts(content.unwrap_or_default())?;
    let mut named = Vec::new();
    if parts.iter().any(|part| matches!(part, Part::File { .. })) {
        let chat = state.store.chat(chat).await.map_err(Problem::of_chat)?;
        let files = files::resolve(state, caller, chat.organization_id, &mut parts).await?;
        named.extend(files.into_iter().map(|file| file.id));
    }
    let message = NewMessage {
        created_by: Some(caller.user.id),
        model_config_id: picks.model_config_id,
        ..NewMessage::new(Role::User, Visibility::Both, &parts)
    };
    let mut commit = Commit::new(chat, command(message), state.clock.now());
    commit.meta = picks.checked(state, caller.user.id).await?;
    commit.files = named;
    Ok(commit)
}

fn sent(done: &Committed) -> Sent {
    let queued_message = done.queued.as_ref().map(QueuedOut::from);
    let queued = queued_message.is_some();
    Sent {
        queued,
        message: if queued { None } else { last_user_row(done).map(MessageOut::from) },
        queued_message,
        messages: visible(done),
        warnings: files::warnings(&done.unlinked),
    }
}

fn last_user_row(done: &Committed) -> Option<&MessageRow> {
    done.inserted.iter().rev().find(|row| row.role == Role::User)
}

fn visible(done: &Committed) -> Vec<MessageOut> {
    let rows = done.inserted.iter().filter(|row| row.visibility != Visibility::Model);
    rows.map(MessageOut::from).collect()
}

/// What replaces a message.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = EditMessage)]
pub struct EditBody {
    #[schema(required = true)]
    content: Option<Vec<InputPart>>,
    model_config_id: Option<ModelConfigId>,
    reasoning_effort: Option<String>,
    mcp_server_ids: Option<Vec<McpServerId>>,
}

/// The replacement, and every row that came with it.
#[derive(Serialize, ToSchema)]
pub struct Edited {
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<MessageOut>,
    messages: Vec<MessageOut>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    warnings: Vec<String>,
}

/// What the OpenAPI document says of it.
pub const EDIT: Doc = Doc::new("Replace a message and everything after it")
    .takes::<EditBody>()
    .replies::<Edited>()
    .params(&[IDEMPOTENCY_KEY])
    .errors(&[400, 403, 404, 409, 413]);

/// Replaces a user message and everything after it.
pub async fn edit(
    request: HttpRequest,
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<(String, String)>,
    payload: web::Payload,
) -> Result<HttpResponse> {
    let (chat, target) = path.into_inner();
    let chat = access::only_id(&state, &caller, &chat, Right::Own).await?;
    let target = MessageId(positive(&target, "message")?);
    let bytes = body::read(&request, payload, state.settings.max_body).await?;
    let key = Key::of(&request, &caller, &bytes)?;
    let body: EditBody = body::parse(&bytes)?;
    let picks = Picks {
        model_config_id: body.model_config_id,
        reasoning_effort: body.reasoning_effort,
        mcp_server_ids: body.mcp_server_ids,
        plan_mode: None,
    };
    let command = |replacement| Command::EditMessage { target, replacement };
    let commit = match written(&state, &caller, chat, body.content, picks, command).await {
        Ok(commit) => commit,
        Err(problem) => return commit::unless_done(&state, key, problem).await,
    };
    let answer = commit::run(&state, commit, key, |done| {
        let edited = Edited {
            message: last_user_row(done).map(MessageOut::from),
            messages: visible(done),
            warnings: files::warnings(&done.unlinked),
        };
        (200, Json::of(&edited))
    })
    .await?;
    state.debug.edited(chat, target);
    Ok(answer)
}

/// Reads an integer id of a path.
///
/// # Errors
/// 400 when it is not a positive whole number.
pub fn positive(text: &str, what: &str) -> Result<i64> {
    text.parse().ok().filter(|n| *n > 0).ok_or_else(|| {
        Problem::bad_request(format!("Invalid {what} id."))
            .detail("The id in the path must be a positive whole number.")
    })
}
