//! Workspaces of users: for the owner and for administrators. Builds are in [`super::builds`].

use super::{
    auth::Caller,
    body,
    builds::BuildOut,
    doc::{Doc, Param, ParamKind},
    names,
    problem::{Problem, Result},
    query::{Query, path_id},
    state::ApiState,
    templates::milliseconds,
    users,
};
use crate::{
    bus::Notice,
    chat::json::Json,
    clock::Timestamp,
    ids::{AgentId, BuildId, OrganizationId, TemplateId, UserId, WorkspaceId},
    store::records::workspaces::{
        AgentRecord, BuildReason, BuildStatus, NewBuild, TemplateKind, Transition, WorkspaceFilter,
        WorkspacePatch, WorkspaceRecord, WorkspaceView,
    },
    workspace::{
        parameters::Questions,
        status::{self, AgentStatus, INACTIVE},
        token,
    },
};
use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;
use uuid::Uuid;

/// Workspaces of a page where nobody said, and at most.
const PAGE: i64 = 50;
const MAX_PAGE: i64 = 1000;

/// An agent of a workspace.
#[derive(Serialize, ToSchema)]
#[schema(as = WorkspaceAgent)]
pub struct AgentOut {
    id: AgentId,
    name: String,
    status: AgentStatus,
    /// A person runs its process.
    external: bool,
    operating_system: String,
    architecture: String,
    version: String,
    directory: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_connected_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_connected_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disconnected_at: Option<Timestamp>,
    created_at: Timestamp,
}

impl AgentOut {
    fn new(r: AgentRecord, now: Timestamp) -> Self {
        let (status, since) = status::status(&r, INACTIVE, now);
        Self {
            id: r.id,
            name: r.name,
            status,
            external: r.external,
            operating_system: r.operating_system,
            architecture: r.architecture,
            version: r.version,
            directory: r.directory,
            first_connected_at: r.first_connected_at,
            last_connected_at: r.last_connected_at,
            disconnected_at: since,
            created_at: r.created_at,
        }
    }
}

/// How a workspace is, by its newest build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum WorkspaceStatus {
    /// A build waits for a replica.
    Pending,
    /// It is being started.
    Starting,
    /// It was started.
    Running,
    /// It is being stopped.
    Stopping,
    /// It was stopped.
    Stopped,
    /// It is being deleted.
    Deleting,
    /// The newest build failed.
    Failed,
}

const fn status_of(transition: Transition, status: BuildStatus) -> WorkspaceStatus {
    use WorkspaceStatus as S;
    match (status, transition) {
        (BuildStatus::Pending, _) => S::Pending,
        (BuildStatus::Failed, _) => S::Failed,
        (BuildStatus::Running, Transition::Start) => S::Starting,
        (BuildStatus::Running, Transition::Stop) => S::Stopping,
        (_, Transition::Delete) => S::Deleting,
        (BuildStatus::Succeeded, Transition::Start) => S::Running,
        (BuildStatus::Succeeded, Transition::Stop) => S::Stopped,
    }
}

/// A workspace.
#[derive(Serialize, ToSchema)]
#[schema(as = Workspace)]
pub struct WorkspaceOut {
    id: WorkspaceId,
    name: String,
    status: WorkspaceStatus,
    owner_id: UserId,
    owner_name: String,
    organization_id: OrganizationId,
    template_id: TemplateId,
    template_name: String,
    template_display_name: String,
    template_kind: TemplateKind,
    /// The answers to what the template asks.
    #[schema(value_type = BTreeMap<String, String>)]
    parameters: Json,
    /// How long it runs after a start, in milliseconds; 0 = until it is stopped, `null` = as the template says.
    ttl_ms: Option<i64>,
    /// When it is stopped by itself, while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    deadline: Option<Timestamp>,
    last_used_at: Timestamp,
    latest_build: BuildOut,
    /// The agents of the newest build.
    agents: Vec<AgentOut>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl WorkspaceOut {
    fn new(view: WorkspaceView, now: Timestamp) -> Self {
        let WorkspaceView { workspace, owner_name, template, build, agents } = view;
        Self {
            id: workspace.id,
            name: workspace.name,
            status: status_of(build.transition, build.status),
            owner_id: workspace.owner_id,
            owner_name,
            organization_id: workspace.organization_id,
            template_id: template.id,
            template_name: template.name,
            template_display_name: template.display_name,
            template_kind: template.kind,
            parameters: workspace.parameters,
            ttl_ms: workspace.ttl_ms,
            deadline: workspace.deadline,
            last_used_at: workspace.last_used_at,
            latest_build: build.into(),
            agents: agents.into_iter().map(|agent| AgentOut::new(agent, now)).collect(),
            created_at: workspace.created_at,
            updated_at: workspace.updated_at,
        }
    }
}

/// A page of workspaces.
#[derive(Serialize, ToSchema)]
#[schema(as = Workspaces)]
pub struct WorkspacesOut {
    workspaces: Vec<WorkspaceOut>,
    /// How many there are on all pages.
    count: i64,
}

/// The workspace that a path names by its id, for its owner and for administrators.
///
/// # Errors
/// 400 or 404.
pub async fn visible(state: &ApiState, caller: &Caller, path: &str) -> Result<WorkspaceView> {
    let id: WorkspaceId = path_id(path, "workspace")?;
    let view = state.store.workspace(id).await.map_err(missing)?;
    match caller.user.id == view.workspace.owner_id || caller.user.is_admin() {
        true => Ok(view),
        false => Err(Problem::not_found("Workspace")),
    }
}

/// Whether a chat may be bound to a workspace (api.md §2.3, §2.5): the model acts there in the owner's name, so
/// it must be the chat owner's own.
///
/// # Errors
/// 400 that names the field.
pub async fn bindable(
    state: &ApiState,
    id: WorkspaceId,
    owner: UserId,
    organization: OrganizationId,
) -> Result<()> {
    let wrong = |why: &str| Problem::field("workspace_id", why);
    match state.store.workspace_place(id).await {
        Ok((of, _)) if of != owner => Err(wrong("There is no such workspace of the chat's owner.")),
        Ok((_, of)) if of != organization => {
            Err(wrong("The workspace belongs to another organization than the chat."))
        }
        Ok(_) => Ok(()),
        Err(crate::store::Error::NotFound) => Err(wrong("There is no such workspace of the chat's owner.")),
        Err(e) => Err(e.into()),
    }
}

fn missing(e: crate::store::Error) -> Problem {
    Problem::of_store(e, "Workspace")
}

/// What the OpenAPI document says of it.
pub const LIST: Doc = Doc::new("Workspaces by name: the caller's, or for administrators everybody's")
    .replies::<WorkspacesOut>()
    .params(&[
        Param::query("owner", ParamKind::Text, "Only of this user: me, a name or an id"),
        Param::query("limit", ParamKind::Integer(0, MAX_PAGE), "Workspaces of a page; 0 = 50"),
        Param::query("offset", ParamKind::Integer(0, i64::MAX), "Workspaces to skip"),
    ])
    .errors(&[400, 404]);

/// A page of workspaces.
pub async fn list(request: HttpRequest, state: web::Data<ApiState>, caller: Caller) -> Result<HttpResponse> {
    let query = Query::parse(request.query_string())?;
    let limit = query.number("limit", 0..=MAX_PAGE, "a number from 0 to 1000")?;
    let offset = query.number("offset", 0.., "a whole number that is not negative")?;
    let owner = match query.get("owner") {
        Some(name) => Some(users::user(&state, &caller, name).await?.id),
        None if caller.user.is_admin() => None,
        None => Some(caller.user.id),
    };
    let filter = WorkspaceFilter {
        owner,
        limit: limit.filter(|n| *n > 0).unwrap_or(PAGE),
        offset: offset.unwrap_or(0),
        ..WorkspaceFilter::default()
    };
    let views = state.store.workspaces(filter).await?;
    let count = state.store.count_workspaces(owner).await?;
    let now = state.clock.now();
    let workspaces = views.into_iter().map(|view| WorkspaceOut::new(view, now)).collect();
    Ok(body::ok(&WorkspacesOut { workspaces, count }))
}

/// What the OpenAPI document says of it.
pub const GET: Doc = Doc::new("A workspace").replies::<WorkspaceOut>().errors(&[400, 404]);

/// One workspace.
pub async fn get(
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
) -> Result<HttpResponse> {
    let view = visible(&state, &caller, &path).await?;
    Ok(body::ok(&WorkspaceOut::new(view, state.clock.now())))
}

/// A new workspace of the caller. It is started at once.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = CreateWorkspace)]
pub struct CreateBody {
    #[schema(required = true)]
    name: Option<String>,
    #[schema(required = true)]
    template_id: Option<TemplateId>,
    /// Default: the first of the caller's.
    organization_id: Option<OrganizationId>,
    ttl_ms: Option<i64>,
    /// Answers to what the template asks, by the name of the parameter.
    parameters: Option<BTreeMap<String, String>>,
    /// Answers that are ready; those of `parameters` come first.
    #[schema(value_type = Option<String>)]
    preset_id: Option<Uuid>,
}

/// What the OpenAPI document says of it.
pub const CREATE: Doc = Doc::new("Make a workspace and start it")
    .takes::<CreateBody>()
    .replies::<WorkspaceOut>()
    .errors(&[400, 403, 409, 413]);

/// Makes a workspace.
pub async fn create(
    request: HttpRequest,
    state: web::Data<ApiState>,
    caller: Caller,
    payload: web::Payload,
) -> Result<HttpResponse> {
    let bytes = body::read(&request, payload, body::SMALL_LIMIT).await?;
    let body: CreateBody = body::parse(&bytes)?;
    let name = body.name.unwrap_or_default();
    if !names::is_name(&name) {
        return Err(Problem::field("name", names::RULE));
    }
    let template_id =
        body.template_id.ok_or_else(|| Problem::field("template_id", "template_id is required."))?;
    let template = match state.store.template(template_id).await {
        Ok(template) if !template.deprecated => template,
        Ok(_) => return Err(Problem::field("template_id", "Nothing new is built from this template.")),
        Err(crate::store::Error::NotFound) => {
            return Err(Problem::field("template_id", "There is no such template."));
        }
        Err(e) => return Err(e.into()),
    };
    let preset = body.preset_id.map(|id| id.to_string());
    let answers = Questions::of(&template.parameters, &template.presets)
        .map_err(Problem::internal)?
        .answered(template.id, preset.as_deref(), &body.parameters.unwrap_or_default())
        .map_err(|why| Problem::field("parameters", format!("The parameters do not fit: {why}.")))?;
    let organization_id = organization(&state, &caller, body.organization_id).await?;
    let ttl_ms = milliseconds("ttl_ms", body.ttl_ms)?;
    let now = state.clock.now();
    let (id, build) = (WorkspaceId::fresh(), BuildId::fresh());
    let workspace = WorkspaceRecord {
        id,
        name,
        owner_id: caller.user.id,
        organization_id,
        template_id: template.id,
        parameters: Json::of(&answers),
        ttl_ms,
        deadline: None,
        last_used_at: now,
        latest_build_id: build,
        created_at: now,
        updated_at: now,
    };
    let build = NewBuild {
        id: build,
        workspace_id: id,
        transition: Transition::Start,
        reason: BuildReason::Initiator,
        initiator_id: Some(caller.user.id),
    };
    let max = i64::from(state.settings.workspaces_per_user);
    let made = state.store.create_workspace(workspace, build, max, now).await?;
    state.store.bus().publish(Notice::Build { build: made.build.id });
    Ok(body::json(StatusCode::CREATED, &WorkspaceOut::new(made, now)))
}

/// The organization of a new workspace: one in which the caller may have chats.
async fn organization(
    state: &ApiState,
    caller: &Caller,
    asked: Option<OrganizationId>,
) -> Result<OrganizationId> {
    let id = match asked {
        Some(id) => id,
        None => {
            let own = state.store.organizations_of(caller.user.id).await?;
            let first = own.iter().find(|o| o.is_default).or_else(|| own.first());
            first
                .map(|o| o.id)
                .ok_or_else(|| Problem::forbidden("You are not a member of any organization."))?
        }
    };
    match state.store.member(id, caller.user.id).await? {
        None => Err(Problem::forbidden("You are not a member of this organization.")),
        Some(member) if !member.agents_access && !caller.user.is_owner() => {
            Err(Problem::forbidden("You may not have workspaces in this organization.")
                .detail("An administrator can give you the role agents-access."))
        }
        Some(_) => Ok(id),
    }
}

/// Changes to a workspace; a missing key keeps.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = PatchWorkspace)]
pub struct PatchBody {
    name: Option<String>,
    /// Counts from the next start; `null` = as the template says.
    #[serde(default, deserialize_with = "body::present")]
    #[schema(value_type = Option<i64>)]
    ttl_ms: Option<Option<i64>>,
}

/// What the OpenAPI document says of it.
pub const PATCH: Doc = Doc::new("Rename a workspace, or change how long it runs")
    .takes::<PatchBody>()
    .replies::<WorkspaceOut>()
    .errors(&[400, 404, 409, 413]);

/// Changes a workspace.
pub async fn patch(
    request: HttpRequest,
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse> {
    let view = visible(&state, &caller, &path).await?;
    let bytes = body::read(&request, payload, body::SMALL_LIMIT).await?;
    let body: PatchBody = body::parse(&bytes)?;
    if body.name.as_deref().is_some_and(|name| !names::is_name(name)) {
        return Err(Problem::field("name", names::RULE));
    }
    if let Some(ms) = body.ttl_ms {
        milliseconds("ttl_ms", ms)?;
    }
    let patch = WorkspacePatch { name: body.name, ttl_ms: body.ttl_ms };
    let now = state.clock.now();
    let changed = state.store.patch_workspace(view.workspace.id, patch, now).await.map_err(missing)?;
    Ok(body::ok(&WorkspaceOut::new(changed, now)))
}

/// A fresh token of an agent.
#[derive(Serialize, ToSchema)]
#[schema(as = AgentToken)]
pub struct TokenOut {
    /// Shown once. For `chatd agent`, as `--token` or in `CHATD_AGENT_TOKEN`.
    token: String,
}

/// What the OpenAPI document says of it.
pub const TOKEN: Doc =
    Doc::new("Make a token for an agent that a person starts; an earlier one is of no more use")
        .replies::<TokenOut>()
        .errors(&[400, 403, 404, 409]);

/// Makes a token for an external agent.
pub async fn token(
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
) -> Result<HttpResponse> {
    let id: AgentId = path_id(&path, "agent")?;
    let gone = |e| Problem::of_store(e, "Agent");
    let agent = state.store.agent(id).await.map_err(gone)?;
    let workspace = state.store.workspace_of_agent(id).await.map_err(gone)?;
    let (owner, _) = state.store.workspace_place(workspace).await.map_err(gone)?;
    if owner != caller.user.id {
        return Err(match caller.user.is_admin() {
            true => Problem::forbidden("Only the owner of the workspace may have a token of its agent."),
            false => Problem::not_found("Agent"),
        });
    }
    if !agent.external {
        return Err(Problem::conflict("The daemon starts this agent itself, so nobody needs its token."));
    }
    let token = token::mint();
    state.store.set_agent_token(id, token::hash(&token), state.clock.now()).await.map_err(gone)?;
    // Another replica's link with the earlier token ends with its next beat.
    state.dialer.links.end(id);
    Ok(body::json(StatusCode::CREATED, &TokenOut { token }))
}
