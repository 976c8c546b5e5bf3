//! `start_workspace` and `stop_workspace`: the workspace that the chat has (tools.md §9.4, §9.5).

use super::{
    Repeat, Tool, ToolContext,
    building::{self, Built, Readiness},
    outcome::ToolOutcome,
};
use crate::{
    chat::json::Json,
    ids::BuildId,
    store::{
        Store,
        records::{
            ChatRecord,
            workspaces::{BuildStatus, Transition, WorkspaceView},
        },
    },
};
use serde::Serialize;

/// Starts it.
#[derive(Debug, Clone, Copy)]
pub struct StartWorkspace;

/// Stops it.
#[derive(Debug, Clone, Copy)]
pub struct StopWorkspace;

#[derive(Serialize)]
struct Started {
    started: bool,
    workspace_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    build_id: Option<BuildId>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    no_build: bool,
    #[serde(flatten)]
    readiness: Readiness,
}

#[derive(Serialize)]
struct Stopped {
    stopped: bool,
    workspace_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    build_id: Option<BuildId>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    no_build: bool,
}

/// The workspace of the chat, with no build of it under way. The second value is what came of the one that was.
async fn settled(
    store: &Store,
    chat: &ChatRecord,
) -> Result<(WorkspaceView, Option<(BuildId, Option<ToolOutcome>)>), ToolOutcome> {
    let none = || ToolOutcome::error("this chat has no workspace. Use create_workspace to create one");
    let id = chat.workspace_id.ok_or_else(none)?;
    let view = building::workspace(store, id).await?.ok_or_else(none)?;
    if view.build.status.is_final() {
        return Ok((view, None));
    }
    let build = view.build.id;
    let failed = match building::wait_for(store, build).await? {
        Built::Done => None,
        Built::Failed(outcome) => Some(outcome),
    };
    let view = building::workspace(store, id).await?.ok_or_else(none)?;
    Ok((view, Some((build, failed))))
}

async fn start(ctx: &ToolContext) -> Result<ToolOutcome, ToolOutcome> {
    let session = building::session(ctx)?;
    let _alone = session.building.lock().await;
    let store = &session.connection.dialer().store;
    let chat = building::chat(ctx, store).await?;
    let (view, waited) = settled(store, &chat).await?;
    let id = view.workspace.id;
    let runs = (view.build.transition, view.build.status) == (Transition::Start, BuildStatus::Succeeded);
    let build_id = match waited {
        _ if runs => waited.map(|(build, _)| build),
        // A start that was under way and failed is the answer; a stop is not.
        Some((_, Some(failed))) if view.build.transition == Transition::Start => return Ok(failed),
        _ => {
            if view.template.deleted {
                return Err(ToolOutcome::error(
                    "the template of this workspace was deleted, so it cannot be started; use create_workspace with \
                     another template",
                ));
            }
            let build = building::begin(session, &chat, id, Transition::Start).await?.id;
            session.connection.release().await;
            store.bind_agent(chat.head.id, id, build, None).await.map_err(building::failed)?;
            building::tell(store, &chat);
            if let Built::Failed(outcome) = building::wait_for(store, build).await? {
                return Ok(outcome);
            }
            Some(build)
        }
    };
    let readiness = building::ready(session, &chat, id).await?;
    Ok(ToolOutcome::ok(&Started {
        started: true,
        workspace_name: building::full_name(&view),
        build_id,
        no_build: build_id.is_none(),
        readiness,
    }))
}

async fn stop(ctx: &ToolContext) -> Result<ToolOutcome, ToolOutcome> {
    let session = building::session(ctx)?;
    let _alone = session.building.lock().await;
    let store = &session.connection.dialer().store;
    let chat = building::chat(ctx, store).await?;
    let (view, _) = settled(store, &chat).await?;
    let id = view.workspace.id;
    let rests = (view.build.transition, view.build.status) == (Transition::Stop, BuildStatus::Succeeded);
    let build_id = if rests {
        None
    } else {
        let build = building::begin(session, &chat, id, Transition::Stop).await?.id;
        Some(build)
    };
    session.connection.release().await;
    let latest = build_id.unwrap_or(view.build.id);
    store.bind_agent(chat.head.id, id, latest, None).await.map_err(building::failed)?;
    building::tell(store, &chat);
    if let Some(build) = build_id
        && let Built::Failed(outcome) = building::wait_for(store, build).await?
    {
        return Ok(outcome);
    }
    Ok(ToolOutcome::ok(&Stopped {
        stopped: true,
        workspace_name: building::full_name(&view),
        build_id,
        no_build: build_id.is_none(),
    }))
}

#[async_trait::async_trait]
impl Tool for StartWorkspace {
    fn name(&self) -> &'static str {
        "start_workspace"
    }

    fn description(&self) -> &'static str {
        "Starts the workspace of this chat, if it does not run, and waits until it can be used."
    }

    fn input_schema(&self) -> Json {
        schema!({"type": "object", "properties": {}})
    }

    // What runs already is not started again.
    fn repeat(&self) -> Repeat {
        Repeat::Again
    }

    async fn run(&self, ctx: &ToolContext, _args: &str) -> ToolOutcome {
        start(ctx).await.unwrap_or_else(|failed| failed)
    }
}

#[async_trait::async_trait]
impl Tool for StopWorkspace {
    fn name(&self) -> &'static str {
        "stop_workspace"
    }

    fn description(&self) -> &'static str {
        "Stops the workspace of this chat, and with it all that runs in it. Its files stay."
    }

    fn input_schema(&self) -> Json {
        schema!({"type": "object", "properties": {}})
    }

    // What is stopped already is not stopped again.
    fn repeat(&self) -> Repeat {
        Repeat::Again
    }

    async fn run(&self, ctx: &ToolContext, _args: &str) -> ToolOutcome {
        stop(ctx).await.unwrap_or_else(|failed| failed)
    }
}
