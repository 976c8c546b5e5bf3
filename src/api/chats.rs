//! `GET /chats`, `/chats/by-workspace` and `/chats/{chat}` (api.md §2.4, §2.5).

use super::{
    access::{self, Right},
    auth::Caller,
    body,
    chat_out::ChatOut,
    doc::{Doc, Param, ParamKind},
    files::FileOut,
    labels,
    problem::{Problem, Result},
    query::{Query, uuid},
    search,
    state::ApiState,
};
use crate::{
    ids::{ChatId, WorkspaceId},
    store::records::{ChatRecord, ListFilter, Readable, UserRecord},
};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use std::{collections::BTreeMap, sync::Arc};
use utoipa::ToSchema;

/// Chats of a page whose size was not asked for (api.md §1.6).
const DEFAULT_PAGE: i64 = 50;
/// Largest page: what one answer may hold in memory. api.md sets no limit, so whoever asks for more gets this many.
const MAX_PAGE: i64 = 10_000;

/// What the OpenAPI document says of it.
pub const LIST: Doc = Doc::new("List the caller's chats")
    .replies::<Vec<ChatOut<'static>>>()
    .params(&[
        Param::query(
            "q",
            ParamKind::Text,
            "Terms `key:value`, all must match: title, search, archived, has_unread, status, source, pr_status, pr, pr_title, repo, diff_url",
        ),
        Param::query("label", ParamKind::Repeated, "`key:value`; all must match"),
        Param::query("limit", ParamKind::Integer(0, i64::MAX), "Roots on a page, at most 10000; 0 means 50"),
        Param::query("offset", ParamKind::Integer(0, i64::MAX), "Roots to skip"),
        Param::query("after_id", ParamKind::Uuid, "The last root already seen"),
    ])
    .errors(&[400]);

/// The caller's chats, each with its children.
pub async fn list(request: HttpRequest, state: web::Data<ApiState>, caller: Caller) -> Result<HttpResponse> {
    let query = Query::parse(request.query_string())?;
    let limit = query.number("limit", 0.., "a whole number that is not negative")?;
    let offset = query.number("offset", 0.., "a whole number that is not negative")?;
    let after = query.id::<ChatId>("after_id")?;
    let labels = query.all("label").map(labels::pair).collect::<Result<Vec<_>>>()?;
    let search = search::parse(query.get("q").unwrap_or_default())?;
    let sharing = state.settings.sharing;
    if search.shared_with_me && (!sharing || search.has_unread == Some(true)) {
        // What a reader has not read nobody keeps.
        return Ok(body::ok::<[ChatOut<'_>]>(&[]));
    }
    let filter = ListFilter {
        owner: caller.user.id,
        shared: search.shared_with_me,
        archived: search.archived,
        title: search.title,
        status: search.status,
        labels,
        has_unread: search.has_unread.filter(|_| !search.shared_with_me),
        words: search.words,
        diff: search.diff,
        limit: limit.filter(|n| *n > 0).unwrap_or(DEFAULT_PAGE).min(MAX_PAGE),
        offset: offset.unwrap_or(0),
        after,
    };
    let roots = state.store.list_chats(filter).await?;
    if !search.shared_with_me {
        let all = roots.iter().map(|root| ChatOut::family(root, &caller.user).unless_off(sharing));
        return Ok(body::ok(&all.collect::<Vec<_>>()));
    }
    let mut ids: Vec<_> = roots.iter().map(|root| root.chat.owner_id).collect();
    ids.sort_unstable();
    ids.dedup();
    let owners = state.store.users_of(ids).await?;
    let all = roots.iter().map(|root| match owners.iter().find(|o| o.id == root.chat.owner_id) {
        Some(owner) => ChatOut::family(root, owner).for_reader(),
        None => ChatOut::listed(root).for_reader(),
    });
    Ok(body::ok(&all.collect::<Vec<_>>()))
}

/// Workspaces of one request (api.md §1.7).
const MAX_WORKSPACES: usize = 25;

/// By workspace id, a chat's id.
#[derive(Debug, Serialize, ToSchema)]
#[serde(transparent)]
pub struct ByWorkspace(BTreeMap<String, String>);

/// What the OpenAPI document says of it.
pub const BY_WORKSPACE: Doc = Doc::new("The newest chat of each workspace")
    .replies::<ByWorkspace>()
    .params(&[Param::query("workspace_ids", ParamKind::Text, "Up to 25 UUIDs with commas between")])
    .errors(&[400]);

/// For each workspace the newest chat that the caller may read.
pub async fn by_workspace(
    request: HttpRequest,
    state: web::Data<ApiState>,
    caller: Caller,
) -> Result<HttpResponse> {
    let query = Query::parse(request.query_string())?;
    let wrong = |detail: String| Problem::field("workspace_ids", detail);
    let mut ids: Vec<WorkspaceId> = Vec::new();
    for text in query.all("workspace_ids").flat_map(|list| list.split(',')).filter(|t| !t.is_empty()) {
        let shown: String = text.chars().take(64).collect();
        let id = uuid(text.trim()).ok_or_else(|| wrong(format!("{shown:?} is not a UUID.")))?;
        if ids.len() == MAX_WORKSPACES {
            return Err(wrong(format!("At most {MAX_WORKSPACES} workspaces can be asked for at once.")));
        }
        ids.push(id);
    }
    let found = match ids.is_empty() {
        true => Vec::new(),
        false => {
            let whose = match (caller.user.is_admin(), state.settings.sharing) {
                (true, _) => Readable::All,
                (false, true) => Readable::OwnAndShared,
                (false, false) => Readable::Own,
            };
            state.store.chats_by_workspace(ids, caller.user.id, whose).await?
        }
    };
    Ok(body::ok(&ByWorkspace(found.into_iter().map(|(w, chat)| (w.to_string(), chat.to_string())).collect())))
}

/// What the OpenAPI document says of it.
pub const GET: Doc = Doc::new("Get a chat").replies::<ChatOut<'static>>().errors(&[400, 404]);

/// One chat with its children.
pub async fn get(
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
) -> Result<HttpResponse> {
    let id = access::only_id(&state, &caller, &path, Right::Read).await?;
    let chat = state.store.family(id).await.map_err(Problem::of_chat)?;
    let owner = owner(&state, &caller, &chat.chat).await?;
    let files = state.store.files_of_chat(id).await?.into_iter().map(FileOut::from);
    let mut out = ChatOut::family(&chat, &owner).with_files(files).unless_off(state.settings.sharing);
    if chat.chat.owner_id != caller.user.id {
        out = out.for_reader();
    }
    Ok(body::ok(&out))
}

/// The owner of a chat, who is usually the caller.
///
/// # Errors
/// Those of the store.
pub async fn owner(state: &ApiState, caller: &Caller, chat: &ChatRecord) -> Result<Arc<UserRecord>> {
    if chat.owner_id == caller.user.id {
        return Ok(Arc::clone(&caller.user));
    }
    state.store.user(chat.owner_id).await.map(Arc::new).map_err(|e| Problem::of_store(e, "Owner"))
}
