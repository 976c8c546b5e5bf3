//! Runs the builds of workspaces, and asks for the end of those whose time is over.
//!
//! A build is a row. A replica takes it on under a lease that it renews while it works; when the lease of
//! another one has passed, that build is ended as failed: half a command cannot be gone on with, and nobody
//! knows how far it came, so a person or a model decides what comes next. Only of an agent on this host it is
//! known that it has started.
//!
//! `builds/ended.rs` looks after workspaces that do not run any more.

mod ended;

use super::{Shared, supervise};
use crate::{
    bus::Notice,
    clock::Timestamp,
    ids::{AgentId, BuildId},
    store::{
        self,
        records::workspaces::{
            AgentRecord, BuildEnd, ClaimedBuild, LogSource, TemplateKind, TemplateRecord, Transition,
            WorkspaceView,
        },
    },
    workspace::{
        parameters::Questions,
        provision::{self, Host, Job},
        status::{self, CONNECTION_TIMEOUT_SECONDS},
        token,
    },
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};

/// How often builds and deadlines are looked for without a hint.
const TICK: Duration = Duration::from_secs(1);
/// Builds that run here at once.
const AT_ONCE: usize = 8;
/// Workspaces that are ended in one round.
const STOPS: i64 = 20;
/// Lines of a log that wait to be written; a command that prints faster waits.
const LOG_QUEUE: usize = 256;
/// Lines written in one transaction.
const LOG_BATCH: usize = 100;

/// Looks for builds until the replica stops. Those that run then may go on for `grace`, and are ended.
pub async fn run(shared: Arc<Shared>, host: Host, grace: Duration) {
    let mut hints = shared.store.bus().subscribe();
    let mut draining = shared.draining.clone();
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let host = Arc::new(host);
    // Nothing here waits for it.
    let watching = tokio::task::spawn_local(ended::run(shared.clone(), host.clone()));
    let mut running = JoinSet::new();
    loop {
        tokio::select! {
            _ = tick.tick() => {
                supervise::round("ending workspaces whose time is over", autostop(&shared)).await;
            }
            notice = hints.next() => match notice {
                Some(Notice::Build { .. } | Notice::Resync) => {}
                Some(_) => continue,
                None => break,
            },
            _ = running.join_next(), if !running.is_empty() => {}
            _ = draining.wait_for(|d| *d) => break,
        }
        while running.len() < AT_ONCE {
            let claimed = supervise::round("looking for builds", claim(&shared)).await.flatten();
            let Some(claimed) = claimed else { break };
            let (shared, host) = (shared.clone(), host.clone());
            running.spawn_local(async move {
                // One that panics is told and counted; its lease passes, and then it is ended as failed.
                let work = async {
                    one(shared, host, grace, claimed).await;
                    Ok(())
                };
                supervise::round("running a build", work).await;
            });
        }
    }
    watching.abort();
    while running.join_next().await.is_some() {}
}

/// A build as a provisioner sees it.
fn job(view: WorkspaceView, agent: Option<(AgentId, String)>) -> Job {
    Job {
        build: view.build.id,
        transition: view.build.transition,
        workspace: view.workspace.id,
        name: view.workspace.name,
        owner: view.owner_name,
        template: view.template,
        // They were written by this program; a workspace without its answers still has to be stopped.
        parameters: view.workspace.parameters.read().unwrap_or_else(|error| {
            tracing::error!(workspace = %view.workspace.id, %error, "the answers for a template cannot be read");
            BTreeMap::new()
        }),
        agent,
    }
}

async fn autostop(shared: &Shared) -> store::Result<()> {
    let now = shared.clock.now();
    for workspace in shared.store.due_workspaces(now, STOPS).await? {
        if shared.store.autostop(workspace, BuildId::fresh(), now).await? {
            tracing::info!(%workspace, "the time of a workspace is over; it is stopped");
        }
    }
    Ok(())
}

async fn claim(shared: &Shared) -> store::Result<Option<ClaimedBuild>> {
    // Without a write when there is nothing to do, which is nearly always.
    if !shared.store.has_builds(shared.clock.now()).await? {
        return Ok(None);
    }
    shared.store.claim_build(shared.worker, shared.settings.lease, shared.clock.now()).await
}

/// Runs a build to its end.
async fn one(shared: Arc<Shared>, host: Arc<Host>, grace: Duration, claimed: ClaimedBuild) {
    let build = claimed.view.build.id;
    let ttl = ttl(&claimed.view);
    let done = match claimed.abandoned {
        true => found(&shared, &host, claimed.view).await,
        false => work(&shared, &host, grace, claimed.view).await,
    };
    let error = match done {
        Ok(()) => None,
        Err(Stop::Failed(why)) => Some(why),
        Err(Stop::Store(e)) => {
            // The lease runs out, and whoever finds the build then ends it.
            tracing::warn!(%build, error = %e, "a build could not go on");
            return;
        }
    };
    let failed = error.is_some();
    let end = BuildEnd { build, worker: shared.worker, error, ttl };
    match shared.store.finish_build(end, shared.clock.now()).await {
        Ok(()) => tracing::info!(%build, failed, "a build is over"),
        Err(e) => tracing::warn!(%build, error = %e, "the end of a build could not be written"),
    }
    shared.store.bus().publish(Notice::Build { build });
}

/// How long a workspace runs from its start; zero = for ever.
fn ttl(view: &WorkspaceView) -> Duration {
    let ms = view.workspace.ttl_ms.unwrap_or(view.template.default_ttl_ms);
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

/// Why a build does not go on.
enum Stop {
    /// It did not work.
    Failed(String),
    /// The database is away, or the build is somebody else's by now.
    Store(store::Error),
}

impl From<store::Error> for Stop {
    fn from(e: store::Error) -> Self {
        Self::Store(e)
    }
}

/// How a build ends whose replica has ended in the middle of it.
async fn found(shared: &Shared, host: &Host, view: WorkspaceView) -> Result<(), Stop> {
    let (build, agent) = (view.build.id, status::select(&view.agents).map(|agent| agent.id));
    let job = job(view, None);
    let started = async { matches!(agent, Ok(agent) if provision::has_started(host, &job, agent).await) };
    tokio::select! {
        started = started => match started {
            true => Ok(()),
            false => Err(Stop::Failed(
                "The replica that ran this build has ended in the middle of it. Build again.".into(),
            )),
        },
        lost = keep(shared, build) => Err(Stop::Store(lost)),
    }
}

async fn work(shared: &Shared, host: &Host, grace: Duration, view: WorkspaceView) -> Result<(), Stop> {
    let build = view.build.id;
    let transition = view.build.transition;
    let mut agent = None;
    if transition == Transition::Start {
        let (record, text) = fresh_agent(build, &view.template, shared.clock.now());
        agent = text.map(|text| (record.id, text));
        shared.store.enter_agent(shared.worker, record).await?;
    }
    let mut job = job(view, agent);
    if transition == Transition::Start {
        // The template may ask more than it did when the workspace was made.
        let asked = Questions::of(&job.template.parameters, &job.template.presets)
            .map_err(|e| Stop::Failed(format!("what the template asks cannot be read: {e}")))?;
        asked.complete(&mut job.parameters).map_err(Stop::Failed)?;
    }
    let (log, lines) = mpsc::channel(LOG_QUEUE);
    let writer = write_log(shared, build, lines);
    let worker = async {
        // The log ends with the work.
        let log = log;
        let limit = timeout(provision::TIME_LIMIT, provision::run(host, &job, &log));
        tokio::select! {
            done = limit => match done {
                Ok(done) => done.map_err(Stop::Failed),
                Err(_) => Err(Stop::Failed(format!(
                    "the {} took more than {} minutes and was ended",
                    transition.as_str(),
                    provision::TIME_LIMIT.as_secs() / 60
                ))),
            },
            lost = keep(shared, build) => Err(Stop::Store(lost)),
            () = stopping(shared.draining.clone(), grace) => {
                Err(Stop::Failed("the daemon was stopped in the middle of this build; build again".into()))
            }
        }
    };
    let (written, done) = tokio::join!(writer, worker);
    done?;
    Ok(written?)
}

/// An agent of a build with its token; a person's has none before they ask for it.
fn fresh_agent(build: BuildId, template: &TemplateRecord, now: Timestamp) -> (AgentRecord, Option<String>) {
    let external = template.kind == TemplateKind::External;
    let token = (!external).then(token::mint);
    let record = AgentRecord {
        id: AgentId::fresh(),
        build_id: build,
        parent_id: None,
        name: "main".into(),
        display_order: 0,
        token_hash: token.as_deref().map(token::hash),
        external,
        operating_system: String::new(),
        architecture: String::new(),
        version: String::new(),
        directory: String::new(),
        // People take their time.
        connection_timeout_seconds: if external { 0 } else { CONNECTION_TIMEOUT_SECONDS },
        first_connected_at: None,
        last_connected_at: None,
        disconnected_at: None,
        worker_id: None,
        link_id: None,
        created_at: now,
    };
    (record, token)
}

/// Until what runs when the replica stops has had its time.
async fn stopping(mut draining: watch::Receiver<bool>, grace: Duration) {
    // The sender lives as long as the daemon.
    let _ = draining.wait_for(|d| *d).await;
    sleep(grace).await;
}

/// Renews the lease until that fails for longer than the lease, or the build is somebody else's.
async fn keep(shared: &Shared, build: BuildId) -> store::Error {
    let mut renewed = Instant::now();
    let mut tick = interval(shared.settings.heartbeat_interval);
    let lease = shared.settings.lease;
    loop {
        tick.tick().await;
        match shared.store.renew_build(build, shared.worker, lease, shared.clock.now()).await {
            Ok(()) => renewed = Instant::now(),
            Err(e) if matches!(e, store::Error::Stale) || renewed.elapsed() >= lease => return e,
            Err(e) => tracing::warn!(%build, error = %e, "the lease of a build was not renewed"),
        }
    }
}

/// Writes lines until there are no more of them. What fails is told at the end: a command must not wait for ever
/// for somebody to read what it prints.
async fn write_log(
    shared: &Shared,
    build: BuildId,
    mut lines: mpsc::Receiver<(LogSource, String)>,
) -> store::Result<()> {
    let mut result = Ok(());
    let mut waiting = Vec::with_capacity(LOG_BATCH);
    while lines.recv_many(&mut waiting, LOG_BATCH).await > 0 {
        let now = shared.clock.now();
        let batch = waiting.drain(..).map(|(source, line)| (now, source, line)).collect();
        if result.is_ok() {
            result = shared.store.append_build_log(build, shared.worker, batch).await;
            shared.store.bus().publish(Notice::Build { build });
        }
    }
    result
}
