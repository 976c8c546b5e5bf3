//! Looks after workspaces that should run and do not.
//!
//! One whose agent is away, and which does not run any more by the status command of its template or because its process on this
//! host has ended, is stopped: then it can be started again. One on this host whose agent was not heard of since the daemon was
//! started is started by this instead: the host may have been started too, and nobody else would bring its agent back.

use super::{
    super::{Shared, supervise},
    job,
};
use crate::{
    clock::Timestamp,
    ids::{AgentId, BuildId, WorkspaceId},
    store::{
        self,
        records::workspaces::{BuildReason, NewBuild, TemplateKind, Transition, WorkspaceView},
    },
    workspace::{
        provision::{self, Host},
        status::{self, INACTIVE},
    },
};
use futures_util::{StreamExt as _, stream};
use std::{sync::Arc, time::Duration};
use tokio::time::{MissedTickBehavior, interval, timeout};

/// How often it is looked for workspaces that do not run any more.
const TICK: Duration = Duration::from_secs(15);
/// How long an agent is away before its workspace is asked for. Longer than the waits of one that dials again.
const AWAY: Duration = Duration::from_secs(30);
/// How long a status command may take.
const WITHIN: Duration = Duration::from_secs(60);
/// Workspaces that are read at a time.
const PAGE: i64 = 200;
/// Status commands that run at a time; one that hangs keeps few others waiting.
const AT_ONCE: usize = 8;

/// Looks for them without end, one round at a time.
pub async fn run(shared: Arc<Shared>, host: Arc<Host>) {
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let started = shared.clock.now();
    loop {
        tick.tick().await;
        supervise::round("asking whether workspaces run", find_ended(&shared, &host, started)).await;
    }
}

/// Looks at all workspaces that should run, page by page. `started`: when the daemon was.
async fn find_ended(shared: &Shared, host: &Host, started: Timestamp) -> store::Result<()> {
    let mut after = WorkspaceId(uuid::Uuid::nil());
    loop {
        let page = shared.store.workspaces_with_status(after, PAGE).await?;
        let next =
            page.last().map(|view| view.workspace.id).filter(|_| i64::try_from(page.len()) == Ok(PAGE));
        // No asynchronous closures: rustc 1.95 fails in incremental builds of these.
        let end = |view: WorkspaceView| async move {
            let id = view.workspace.id;
            look(shared, host, view, started).await.err().map(|error| (id, error))
        };
        let failed: Vec<_> = stream::iter(page)
            .map(end)
            .buffer_unordered(AT_ONCE)
            .filter_map(std::future::ready)
            .collect()
            .await;
        // One of them keeps no other from its end; the next round asks again.
        if let Some((workspace, error)) = failed.first() {
            tracing::warn!(%workspace, %error, failed = failed.len(), "workspaces that have ended could not be built");
        }
        match next {
            Some(last) => after = last,
            None => return Ok(()),
        }
    }
}

/// Looks at one workspace, and asks for its end, or its start, if it does not run.
async fn look(shared: &Shared, host: &Host, view: WorkspaceView, started: Timestamp) -> store::Result<()> {
    let now = shared.clock.now();
    let Some((agent, unheard)) = asked_for(&view, started, now) else { return Ok(()) };
    let (workspace, seen) = (view.workspace.id, view.build.id);
    // A person may not start it any more either when its template is gone, and its time may have passed meanwhile.
    let again = unheard && !view.template.deleted && view.workspace.deadline.is_none_or(|end| end > now);
    match timeout(WITHIN, provision::runs(host, &job(view, None), agent)).await {
        Ok(Ok(true)) => return Ok(()),
        Ok(Ok(false)) => {}
        Ok(Err(why)) => {
            tracing::warn!(%workspace, why, "it cannot be told whether a workspace runs");
            return Ok(());
        }
        Err(_) => {
            tracing::warn!(%workspace, "the status command of a workspace took more than {WITHIN:?}");
            return Ok(());
        }
    }
    let (transition, reason) = match again {
        true => (Transition::Start, BuildReason::Operator),
        false => (Transition::Stop, BuildReason::Autostop),
    };
    let new =
        NewBuild { id: BuildId::fresh(), workspace_id: workspace, transition, reason, initiator_id: None };
    if shared.store.begin_build_after(seen, new, shared.clock.now()).await? {
        let what = transition.as_str();
        tracing::info!(%workspace, build = what, "a workspace does not run any more");
    }
    Ok(())
}

/// The agent of a workspace that has to be asked for, and whether it is one of this host that was not heard of since the daemon
/// was started. It is away; any other one has been for a while.
fn asked_for(view: &WorkspaceView, started: Timestamp, now: Timestamp) -> Option<(AgentId, bool)> {
    let agent = status::select(&view.agents).ok()?;
    let (status, since) = status::status(agent, INACTIVE, now);
    let unheard = view.template.kind == TemplateKind::Local && !status::was_there(agent, started);
    let is_away = unheard || since.is_none_or(|since| now.since(since) >= AWAY);
    (status.is_unreachable() && is_away).then_some((agent.id, unheard))
}
