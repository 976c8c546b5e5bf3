//! `PATCH /chats/{chat}` (api.md §2.5): everything is checked before anything is changed.

use super::{
    access::{self, Right},
    auth::Caller,
    body, commit,
    doc::Doc,
    labels, picks,
    problem::{Problem, Result},
    state::ApiState,
    workspaces,
};
use crate::{
    bus::WatchKind,
    ids::WorkspaceId,
    store::records::{ChatRecord, MetaPatch},
    turn::title,
};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Longest title in characters (api.md §1.7).
const MAX_TITLE_CHARS: usize = 200;

/// Changes to a chat; a missing key keeps.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = PatchChat)]
pub struct PatchBody {
    /// 1 to 200 characters, after white space around it and control characters went; line breaks become spaces.
    title: Option<String>,
    archived: Option<bool>,
    workspace_id: Option<WorkspaceId>,
    pin_order: Option<i64>,
    labels: Option<BTreeMap<String, String>>,
    plan_mode: Option<String>,
}

/// What the OpenAPI document says of it.
pub const PATCH: Doc =
    Doc::new("Rename, archive, pin, label a chat").takes::<PatchBody>().errors(&[400, 404, 409, 413]);

/// Changes what is not execution state, and archives.
pub async fn patch(
    request: HttpRequest,
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse> {
    let chat = access::chat(&state, &caller, &path, Right::Update).await?;
    let body = body::read(&request, payload, state.settings.max_body).await?;
    let body: PatchBody = body::parse(&body)?;
    let archived = body.archived;
    let patch = checked(body, &chat)?;
    if let Some(Some(workspace)) = patch.workspace_id {
        workspaces::bindable(&state, workspace, chat.owner_id, chat.organization_id).await?;
    }
    let id = chat.head.id;
    // First what can still be refused, so that a refusal leaves everything as it was.
    if let Some(archived) = archived {
        let (store, now) = (state.store.clone(), state.clock.now());
        let done = commit::to_its_end(async move { store.set_archived(id, archived, now).await });
        done.await.map_err(Problem::of_chat)?;
    }
    if patch != MetaPatch::default() {
        let renamed = patch.title.as_ref().is_some_and(|title| *title != chat.title);
        state.store.patch_chat(id, patch).await.map_err(Problem::of_chat)?;
        if renamed {
            state.store.watch(chat.owner_id, id, WatchKind::TitleChange);
        }
    }
    Ok(body::no_content())
}

fn checked(body: PatchBody, chat: &ChatRecord) -> Result<MetaPatch> {
    let title = body.title.map(|title| {
        let title = title::one_line(&title);
        let title = title.trim();
        let length = title.chars().count();
        if length == 0 || length > MAX_TITLE_CHARS {
            let rule = format!("title must have 1 to {MAX_TITLE_CHARS} characters.");
            return Err(Problem::field("title", rule));
        }
        Ok(title.to_owned())
    });
    if let Some(place) = body.pin_order {
        let refuse = |why: &str| Err(Problem::field("pin_order", why));
        if place < 0 {
            return refuse("pin_order must not be negative.");
        }
        if chat.parent_chat_id.is_some() {
            return refuse("Only a root chat can be pinned.");
        }
        if body.archived.unwrap_or(chat.head.archived) {
            return refuse("An archived chat cannot be pinned.");
        }
    }
    Ok(MetaPatch {
        // The nil UUID detaches. What is bound already keeps its build and agent.
        workspace_id: body
            .workspace_id
            .map(|id| Some(id).filter(|id| !id.0.is_nil()))
            .filter(|wanted| *wanted != chat.workspace_id),
        title: title.transpose()?,
        labels: body.labels.map(|map| labels::stored(&map)).transpose()?,
        plan_mode: body.plan_mode.as_deref().map(picks::plan_mode).transpose()?,
        pin_order: body.pin_order,
    })
}
