//! `GET /chats` and `GET /chats/{chat}` (api.md §2.4, §2.5).

use super::{
    access::{self, Right},
    auth::Caller,
    body,
    chat_out::ChatOut,
    doc::{Doc, Param, ParamKind},
    files::FileOut,
    labels,
    problem::{Problem, Result},
    query::Query,
    search,
    state::ApiState,
};
use crate::{
    ids::ChatId,
    store::records::{ChatRecord, ListFilter, ListedChat, UserRecord},
};
use actix_web::{HttpRequest, HttpResponse, web};
use std::sync::Arc;

/// Chats of a page whose size was not asked for (api.md §1.6).
const DEFAULT_PAGE: i64 = 50;
/// Largest page: what one answer may hold in memory. api.md sets no limit.
const MAX_PAGE: i64 = 10_000;

/// What the OpenAPI document says of it.
pub const LIST: Doc = Doc::new("List the caller's chats")
    .replies::<Vec<ChatOut<'static>>>()
    .params(&[
        Param::query(
            "q",
            ParamKind::Text,
            "Search: `title:`, `archived:`, `has_unread:`, `status:` and others (api.md §2.4)",
        ),
        Param::query("label", ParamKind::Repeated, "`key:value`; all must match"),
        Param::query("limit", ParamKind::Integer(0, MAX_PAGE), "Roots on a page; 0 means 50"),
        Param::query("offset", ParamKind::Integer(0, i64::MAX), "Roots to skip"),
        Param::query("after_id", ParamKind::Uuid, "The last root already seen"),
    ])
    .errors(&[400]);

/// The caller's chats, each with its children.
pub async fn list(request: HttpRequest, state: web::Data<ApiState>, caller: Caller) -> Result<HttpResponse> {
    let query = Query::parse(request.query_string())?;
    let limit = query.number("limit", 0..=MAX_PAGE, "a whole number from 0 to 10000")?;
    let offset = query.number("offset", 0.., "a whole number that is not negative")?;
    let after = query.id::<ChatId>("after_id")?;
    let labels = query.all("label").map(labels::pair).collect::<Result<Vec<_>>>()?;
    let search = search::parse(query.get("q").unwrap_or_default())?;
    if search.shared_with_me {
        // Chats cannot be shared on this server yet, so nothing is shared with anybody.
        return Ok(body::ok::<[ChatOut<'_>]>(&[]));
    }
    let filter = ListFilter {
        owner: caller.user.id,
        archived: search.archived,
        title: search.title,
        status: search.status,
        labels,
        has_unread: search.has_unread,
        limit: limit.filter(|n| *n > 0).unwrap_or(DEFAULT_PAGE),
        offset: offset.unwrap_or(0),
        after,
    };
    let roots = state.store.list_chats(filter).await?;
    let children = match roots.is_empty() {
        true => Vec::new(),
        false => {
            let ids = roots.iter().map(|r| r.chat.head.id).collect();
            state.store.children(ids, search.archived).await?
        }
    };
    let page: Vec<_> = roots
        .iter()
        .map(|root| {
            ChatOut::listed(root).of_owner(&caller.user).with_children(family(root, &children, &caller))
        })
        .collect();
    Ok(body::ok(&page))
}

fn family<'a>(
    root: &ListedChat,
    children: &'a [ListedChat],
    caller: &'a Caller,
) -> impl Iterator<Item = ChatOut<'a>> {
    let root = root.chat.head.id;
    children
        .iter()
        .filter(move |child| child.chat.root_chat_id == root)
        .map(|child| ChatOut::listed(child).of_owner(&caller.user))
}

/// What the OpenAPI document says of it.
pub const GET: Doc = Doc::new("Get a chat").replies::<ChatOut<'static>>().errors(&[400, 404]);

/// One chat with its children.
pub async fn get(
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
) -> Result<HttpResponse> {
    let chat = access::chat(&state, &caller, &path, Right::Read).await?;
    let owner = owner(&state, &caller, &chat).await?;
    let children = match chat.parent_chat_id {
        Some(_) => Vec::new(),
        None => state.store.children(vec![chat.head.id], chat.head.archived).await?,
    };
    let children = children.iter().map(|child| ChatOut::listed(child).of_owner(&owner));
    let files = state.store.files_of_chat(chat.head.id).await?.into_iter().map(FileOut::from);
    let out = ChatOut::new(&chat).with_diff().of_owner(&owner).with_files(files).with_children(children);
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
