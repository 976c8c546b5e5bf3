//! Builds of workspaces: asked for, looked at, their logs read and followed.

use super::{
    auth::Caller,
    body,
    doc::{Doc, Param, ParamKind},
    problem::{Problem, Result},
    query::{Query, path_id},
    sockets::{self, Next, Source},
    state::ApiState,
    workspaces::visible,
};
use crate::{
    bus::{self, Notice},
    clock::Timestamp,
    ids::{BuildId, UserId, WorkspaceId},
    store::{
        self,
        records::workspaces::{
            BuildLog, BuildReason, BuildRecord, BuildStatus, LogSource, NewBuild, Transition,
        },
    },
};
use actix_web::{HttpRequest, HttpResponse, http::StatusCode, rt, web};
use serde::{Deserialize, Serialize};
use std::{collections::VecDeque, time::Duration};
use tokio::time::timeout;
use utoipa::ToSchema;

/// Builds of a list, lines of a page.
const MAX_BUILDS: i64 = 100;
const MAX_LINES: i64 = 1000;
/// How often a log that is followed is looked at without a hint.
const LOOK: Duration = Duration::from_secs(1);

/// A build.
#[derive(Serialize, ToSchema)]
#[schema(as = WorkspaceBuild)]
pub struct BuildOut {
    id: BuildId,
    workspace_id: WorkspaceId,
    build_number: i64,
    transition: Transition,
    status: BuildStatus,
    reason: BuildReason,
    #[serde(skip_serializing_if = "Option::is_none")]
    initiator_id: Option<UserId>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finished_at: Option<Timestamp>,
}

impl From<BuildRecord> for BuildOut {
    fn from(r: BuildRecord) -> Self {
        Self {
            id: r.id,
            workspace_id: r.workspace_id,
            build_number: r.build_number,
            transition: r.transition,
            status: r.status,
            reason: r.reason,
            initiator_id: r.initiator_id,
            error: r.error,
            created_at: r.created_at,
            started_at: r.started_at,
            finished_at: r.finished_at,
        }
    }
}

/// A line of a log.
#[derive(Serialize, ToSchema)]
#[schema(as = WorkspaceBuildLog)]
pub struct LogOut {
    /// 1, 2, … of the build.
    id: i64,
    created_at: Timestamp,
    source: LogSource,
    output: String,
}

impl From<BuildLog> for LogOut {
    fn from(r: BuildLog) -> Self {
        Self { id: r.seq, created_at: r.created_at, source: r.source, output: r.output }
    }
}

/// What is to be done.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = CreateWorkspaceBuild)]
pub struct CreateBody {
    #[schema(required = true)]
    transition: Option<Transition>,
}

/// The build of a path, for whoever may see its workspace.
async fn found(state: &ApiState, caller: &Caller, path: &str) -> Result<BuildRecord> {
    let id: BuildId = path_id(path, "build")?;
    let missing = |e| Problem::of_store(e, "Build");
    let build = state.store.build(id).await.map_err(missing)?;
    let (owner, _) = state.store.workspace_place(build.workspace_id).await.map_err(missing)?;
    match owner == caller.user.id || caller.user.is_admin() {
        true => Ok(build),
        false => Err(Problem::not_found("Build")),
    }
}

/// What the OpenAPI document says of it.
pub const LIST: Doc = Doc::new("The newest hundred builds of a workspace, newest first")
    .replies::<Vec<BuildOut>>()
    .errors(&[400, 404]);

/// The builds of a workspace.
pub async fn list(
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
) -> Result<HttpResponse> {
    let view = visible(&state, &caller, &path).await?;
    let builds = state.store.builds(view.workspace.id, MAX_BUILDS).await?;
    Ok(body::ok(&builds.into_iter().map(BuildOut::from).collect::<Vec<_>>()))
}

/// What the OpenAPI document says of it.
pub const CREATE: Doc = Doc::new("Start, stop or delete a workspace")
    .takes::<CreateBody>()
    .replies::<BuildOut>()
    .errors(&[400, 404, 409, 413]);

/// Asks for a build.
pub async fn create(
    request: HttpRequest,
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse> {
    let view = visible(&state, &caller, &path).await?;
    let bytes = body::read(&request, payload, body::SMALL_LIMIT).await?;
    let body: CreateBody = body::parse(&bytes)?;
    let transition = body
        .transition
        .ok_or_else(|| Problem::field("transition", "transition must be start, stop or delete."))?;
    if transition == Transition::Start && view.template.deleted {
        return Err(Problem::conflict(
            "The template of this workspace was deleted, so it cannot be started.",
        )
        .detail("Make a workspace from another template."));
    }
    let new = NewBuild {
        id: BuildId::fresh(),
        workspace_id: view.workspace.id,
        transition,
        reason: BuildReason::Initiator,
        initiator_id: Some(caller.user.id),
    };
    let begun = state.store.begin_build(new, state.clock.now()).await;
    let build = begun.map_err(|e| Problem::of_store(e, "Workspace"))?;
    state.store.bus().publish(Notice::Build { build: build.id });
    Ok(body::json(StatusCode::CREATED, &BuildOut::from(build)))
}

/// What the OpenAPI document says of it.
pub const GET: Doc = Doc::new("A build").replies::<BuildOut>().errors(&[400, 404]);

/// One build.
pub async fn get(
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
) -> Result<HttpResponse> {
    Ok(body::ok(&BuildOut::from(found(&state, &caller, &path).await?)))
}

const AFTER: Param =
    Param::query("after", ParamKind::Integer(0, i64::MAX), "Only lines with a greater id than this");

fn after(request: &HttpRequest) -> Result<i64> {
    let query = Query::parse(request.query_string())?;
    Ok(query.number("after", 0.., "a whole number that is not negative")?.unwrap_or(0))
}

/// What the OpenAPI document says of it.
pub const LOGS: Doc = Doc::new("At most 1000 lines of a build's log, in order")
    .replies::<Vec<LogOut>>()
    .params(&[AFTER])
    .errors(&[400, 404]);

/// Lines of a log.
pub async fn logs(
    request: HttpRequest,
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
) -> Result<HttpResponse> {
    let build = found(&state, &caller, &path).await?;
    let lines = state.store.build_logs(build.id, after(&request)?, MAX_LINES).await?;
    Ok(body::ok(&lines.into_iter().map(LogOut::from).collect::<Vec<_>>()))
}

/// What the OpenAPI document says of it.
pub const FOLLOW: Doc =
    Doc::new("Follow a build's log (WebSocket); it closes with 1000 when the build is over")
        .frames::<LogOut>()
        .params(&[AFTER])
        .errors(&[400, 404]);

/// Follows a log to its end.
pub async fn follow(
    request: HttpRequest,
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse> {
    let build = found(&state, &caller, &path).await?.id;
    let after = after(&request)?;
    let hints = state.store.bus().subscribe();
    let (response, socket) = sockets::open(&request, payload, state.clone(), caller)?;
    rt::spawn(socket.run(Lines { state, build, after, waiting: VecDeque::new(), over: false, hints }));
    Ok(response)
}

struct Lines {
    state: web::Data<ApiState>,
    build: BuildId,
    /// The last line that was read.
    after: i64,
    /// Read and not sent yet.
    waiting: VecDeque<BuildLog>,
    /// The build was over before the last read, so that read found all there is.
    over: bool,
    hints: bus::Receiver,
}

impl Source for Lines {
    async fn next(&mut self) -> Next {
        loop {
            if let Some(line) = self.waiting.pop_front() {
                return Next::Frame(crate::chat::json::Json::of(&LogOut::from(line)).get().into());
            }
            if self.over {
                return Next::End(1000, "The build is over");
            }
            let over = match self.state.store.build(self.build).await {
                Ok(build) => build.status.is_final(),
                // A deletion that worked takes its own build along.
                Err(store::Error::NotFound) => true,
                Err(_) => return Next::End(1011, "Storage unavailable, reconnect"),
            };
            let Ok(lines) = self.state.store.build_logs(self.build, self.after, MAX_LINES).await else {
                return Next::End(1011, "Storage unavailable, reconnect");
            };
            if let Some(last) = lines.last() {
                self.after = last.seq;
                self.waiting.extend(lines);
                continue;
            }
            self.over = over;
            if !over {
                // Without one it is time to look all the same.
                let _ = timeout(LOOK, self.hints.of_build(self.build)).await;
            }
        }
    }
}
