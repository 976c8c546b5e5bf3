//! What the tools that create, start and stop a workspace have in common: they wait for builds, and for the agent.

use super::{Session, ToolContext, outcome::ToolOutcome};
use crate::{
    bus::{Notice, WatchKind},
    ids::{BuildId, WorkspaceId},
    store::{
        self, Store,
        records::{
            ChatRecord,
            workspaces::{BuildReason, BuildRecord, BuildStatus, NewBuild, Transition, WorkspaceView},
        },
    },
    workspace::{
        dial::{self, Known},
        status::{self, AgentStatus, SelectError},
    },
};
use serde::Serialize;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// How often a build, and a readiness that no hint tells of, is looked at (tools.md §9.3).
const POLL: Duration = Duration::from_secs(2);
/// How long a build is waited for (tools.md §9.3).
const BUILD_WITHIN: Duration = Duration::from_secs(10 * 60);
/// How long an agent is waited for (tools.md §9.3).
const READY_WITHIN: Duration = Duration::from_secs(2 * 60);

/// Whether the agent of a workspace is there. Nothing of it is shown when it is.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Readiness {
    #[serde(skip_serializing_if = "Option::is_none")]
    agent_status: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent_error: Option<String>,
}

impl Readiness {
    fn not(agent_status: &'static str, error: impl Into<String>) -> Self {
        Self { agent_status: Some(agent_status), agent_error: Some(error.into()) }
    }
}

/// What came of a build.
pub(super) enum Built {
    /// It worked.
    Done,
    /// What the model is told; the log of the build says more.
    Failed(ToolOutcome),
}

/// What the calls of a chat share.
pub(super) fn session(ctx: &ToolContext) -> Result<&Session, ToolOutcome> {
    ctx.session.as_deref().ok_or_else(|| ToolOutcome::error("workspaces are not available here"))
}

/// What the model is told when the database fails.
#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` hands over")]
pub(super) fn failed(e: store::Error) -> ToolOutcome {
    tracing::warn!(error = %e, "a tool could not use the database");
    ToolOutcome::error("the server could not look that up. Try again")
}

/// The chat as it is now.
pub(super) async fn chat(ctx: &ToolContext, store: &Store) -> Result<ChatRecord, ToolOutcome> {
    store.chat(ctx.chat_id).await.map_err(failed)
}

/// A workspace, unless it is gone.
pub(super) async fn workspace(store: &Store, id: WorkspaceId) -> Result<Option<WorkspaceView>, ToolOutcome> {
    match store.workspace(id).await {
        Ok(view) => Ok(Some(view)),
        Err(store::Error::NotFound) => Ok(None),
        Err(e) => Err(failed(e)),
    }
}

/// `<owner>/<name>`
pub(super) fn full_name(view: &WorkspaceView) -> String {
    format!("{}/{}", view.owner_name, view.workspace.name)
}

/// Clients show the build of a chat's workspace: they are told that it is another one.
pub(super) fn tell(store: &Store, chat: &ChatRecord) {
    store.watch(chat.owner_id, chat.head.id, WatchKind::StatusChange);
}

/// Asks for a build, for the chat's owner.
pub(super) async fn begin(
    session: &Session,
    chat: &ChatRecord,
    workspace: WorkspaceId,
    transition: Transition,
) -> Result<BuildRecord, ToolOutcome> {
    let dialer = session.connection.dialer();
    let new = NewBuild {
        id: BuildId::fresh(),
        workspace_id: workspace,
        transition,
        reason: BuildReason::Chat,
        initiator_id: Some(chat.owner_id),
    };
    let begun = match dialer.store.begin_build(new, dialer.clock.now()).await {
        Ok(build) => build,
        Err(store::Error::Conflict(why)) => return Err(ToolOutcome::error(why)),
        Err(e) => return Err(failed(e)),
    };
    dialer.store.bus().publish(Notice::Build { build: begun.id });
    Ok(begun)
}

/// Waits for the end of a build.
pub(super) async fn wait_for(store: &Store, build: BuildId) -> Result<Built, ToolOutcome> {
    #[derive(Serialize)]
    struct Failed {
        error: String,
        build_id: BuildId,
    }
    let begun = Instant::now();
    let mut hints = store.bus().subscribe();
    loop {
        let record = store.build(build).await.map_err(failed)?;
        let error = match record.status {
            BuildStatus::Succeeded => return Ok(Built::Done),
            BuildStatus::Failed => record.error.unwrap_or_else(|| "the build failed".into()),
            _ if begun.elapsed() > BUILD_WITHIN => {
                "the build is still not over; its log says how far it is".into()
            }
            _ => {
                // Hints may be lost.
                drop(timeout(POLL, hints.of_build(build)).await);
                continue;
            }
        };
        return Ok(Built::Failed(ToolOutcome::ok(&Failed { error, build_id: build })));
    }
}

/// Waits for the agent of the newest build, and binds the chat to it.
pub(super) async fn ready(
    session: &Session,
    chat: &ChatRecord,
    workspace_id: WorkspaceId,
) -> Result<Readiness, ToolOutcome> {
    let dialer = session.connection.dialer();
    let begun = Instant::now();
    loop {
        let Some(view) = workspace(&dialer.store, workspace_id).await? else {
            return Err(ToolOutcome::error("the workspace was deleted meanwhile"));
        };
        let agent = match status::select(&view.agents) {
            Ok(agent) => agent,
            Err(e @ SelectError::Ambiguous(_)) => {
                return Ok(Readiness::not("selection_error", e.to_string()));
            }
            Err(e) => return Ok(Readiness::not("no_agent", e.to_string())),
        };
        let known = Known::of(agent, dialer.clock.now());
        if known.status == AgentStatus::Connected {
            let bound = dialer.store.bind_agent(chat.head.id, workspace_id, agent.build_id, Some(agent.id));
            bound.await.map_err(failed)?;
            tell(&dialer.store, chat);
            session.mcp.prime();
            return Ok(Readiness::default());
        }
        let late = begun.elapsed() > READY_WITHIN;
        // Of one that was there and left it is known that nothing but its user brings it back.
        if agent.external && (late || known.needs_a_person(false, dialer.links.open_for())) {
            return Ok(Readiness::not("not_ready", dial::external(&known)));
        }
        if late {
            let why = match known.status {
                AgentStatus::Disconnected => dial::advice(Some(&known)),
                _ => format!("the agent {:?} has not connected yet; it may on the next attempt", agent.name),
            };
            return Ok(Readiness::not("not_ready", why));
        }
        // Its link may come to another replica: the row tells then.
        tokio::select! {
            _ = dialer.links.wait_for(agent.id) => sleep(Duration::from_millis(50)).await,
            () = sleep(POLL) => {}
        }
    }
}
