//! The composition root: builds every part, starts it, stops it in order.
//!
//! Everything runs on a system thread of its own (actix needs one); [`start`] returns when the
//! daemon answers, [`Running`] stops it.

mod bootstrap;
pub mod doctor;
mod figures;
mod mcp;
mod models;
pub mod open;
mod stop;
mod templates;

use crate::{
    actors::{
        Owned, Settings, Shared,
        acquisition::{Acquisition, Quiet},
        builds,
        chat::jobs::{self, title::Underway},
        debug::Recorder,
        heartbeat::{Cease, Heartbeat},
        janitor::Janitor,
        poller::Poller,
        registry::{Chats, Totals},
        replicas::{ReplicaSecret, Replicas},
        router,
    },
    api::{
        self,
        limits::Limits,
        sessions,
        state::{ApiSettings, ApiState},
    },
    clock::{Clock, Timestamp},
    config::{Config, DatabaseUrl, auth::AuthMode},
    ids::WorkerId,
    llm::catalog::LiveCatalog,
    mcp::outbound::Outbound,
    metrics,
    store::{
        self, Claimer, Store,
        settings::{Deployment, LiveSettings},
    },
    stream::StreamLimits,
    workspace::{link::Links, provision::Host},
};
use actix::{Actor, Arbiter};
use metrics_exporter_prometheus::PrometheusHandle;
use std::{
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};
use tokio::sync::{oneshot, watch};

/// Why the daemon did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration cannot be used as it is.
    #[error("{0}")]
    Config(String),
    /// The database is newer than the program.
    #[error("{0}")]
    Newer(String),
    /// The database is not to be had.
    #[error("{0}")]
    Database(String),
    /// The file of the embedded database, or its folder, cannot be used.
    #[error("{0}")]
    File(String),
    /// Another daemon serves this database.
    #[error("{0}")]
    Taken(String),
    /// The port is not to be had.
    #[error("{0}")]
    Port(String),
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

impl StartError {
    /// What to look at next, to be put behind the error; may be nothing.
    #[must_use]
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::Database(_) => "; check database.url and that the database is running",
            Self::File(_) => "; check data_dir and database.url",
            _ => "",
        }
    }
}

/// How far a stop may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Run,
    Drain,
}

/// A daemon that answers.
pub struct Running {
    /// Address it listens on.
    pub address: SocketAddr,
    /// Address for clients.
    pub public_url: String,
    /// Where the first user's token was written, on the very first start only.
    pub first_token: Option<PathBuf>,
    /// A link that signs the first user in once, on the very first start only.
    pub first_login: Option<String>,
    /// The store, for tests and for commands that live with the daemon.
    pub store: Store,
    /// The chat actors.
    pub chats: Chats,
    phase: watch::Sender<Phase>,
    thread: Option<JoinHandle<()>>,
    ended: Option<oneshot::Receiver<()>>,
}

impl Running {
    /// Sums over the chat actors.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.chats.totals()
    }

    /// Address for clients on this machine.
    #[must_use]
    pub fn local_url(&self) -> String {
        crate::config::server::local_url(self.address)
    }

    /// Completes when the daemon ends by itself, which it should not.
    pub async fn ended(&self) {
        // The thread holds the receiver as long as it runs.
        self.phase.closed().await;
    }

    /// Stops in order: nothing new is claimed, streams close, turns finish within the grace or are
    /// handed over, then the listener closes.
    pub async fn stop(mut self) {
        // The receiver is gone only when the daemon has ended already.
        let _ = self.phase.send(Phase::Drain);
        if let Some(ended) = self.ended.take() {
            let _ = ended.await;
        }
        if let Some(thread) = self.thread.take()
            && let Err(e) = tokio::task::spawn_blocking(move || thread.join()).await
        {
            tracing::error!(error = %e, "the daemon's thread could not be joined");
        }
    }
}

struct Ready {
    address: SocketAddr,
    public_url: String,
    first_token: Option<PathBuf>,
    first_login: Option<String>,
    store: Store,
    chats: Chats,
}

/// Starts the daemon.
///
/// # Errors
/// Why it did not start; nothing is left running then.
pub async fn start(config: Config, clock: Clock) -> Result<Running, StartError> {
    let (ready_sender, ready) = oneshot::channel();
    let (ended_sender, ended) = oneshot::channel();
    let (phase, phase_receiver) = watch::channel(Phase::Run);
    let thread = std::thread::Builder::new()
        .name("chatd".into())
        .spawn(move || {
            actix::System::new().block_on(run(config, clock, phase_receiver, ready_sender));
            let _ = ended_sender.send(());
        })
        .map_err(|e| StartError::Failed(format!("the daemon's thread could not be started: {e}")))?;
    match ready.await {
        Ok(Ok(r)) => Ok(Running {
            address: r.address,
            public_url: r.public_url,
            first_token: r.first_token,
            first_login: r.first_login,
            store: r.store,
            chats: r.chats,
            phase,
            thread: Some(thread),
            ended: Some(ended),
        }),
        Ok(Err(e)) => Err(e),
        Err(_) => Err(StartError::Failed("the daemon ended while it started; see the log".into())),
    }
}

async fn run(
    config: Config,
    clock: Clock,
    phase: watch::Receiver<Phase>,
    ready: oneshot::Sender<Result<Ready, StartError>>,
) {
    match build(config, clock).await {
        Ok((daemon, facts)) => {
            if ready.send(Ok(facts)).is_ok() {
                daemon.run(phase).await;
            }
        }
        Err(e) => {
            let _ = ready.send(Err(e));
        }
    }
}

/// How long the debug records of the last turns may take to be written.
const DEBUG_GRACE: Duration = Duration::from_secs(2);

/// How long builds that are broken off may take to end.
const BUILDS_GRACE: Duration = Duration::from_secs(5);

/// How long requests may go on once every chat has been let go.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// Everything that lives as long as the daemon.
struct Daemon {
    shared: Arc<Shared>,
    chats: Chats,
    /// Held for the store, which does not keep the actors alive.
    claimer: Arc<dyn Claimer>,
    drain: watch::Sender<bool>,
    settle: watch::Sender<bool>,
    server: actix_web::dev::Server,
    /// The listener of `/metrics`, if it has one of its own.
    metrics_server: Option<actix_web::dev::Server>,
    arbiters: Vec<Arbiter>,
    grace: Duration,
    /// Where workspaces are built.
    host: Host,
    recorder: PrometheusHandle,
    catalog: Arc<LiveCatalog>,
    debug_writer: tokio::task::JoinHandle<()>,
    _opened: open::Opened,
    _models: Vec<crate::llm::scripted::ScriptedServer>,
}

async fn build(config: Config, clock: Clock) -> Result<(Daemon, Ready), StartError> {
    let recorder = metrics::install().map_err(|e| StartError::Failed(format!("metrics: {e}")))?;
    open::private_folder(&config.data_dir)?;
    // The port first: a second daemon on it must not touch the database.
    let listener = listen(config.server.listen, "server.listen")?;
    let own_metrics = match config.metrics.listen {
        Some(address) if config.metrics.enabled => Some(listen(address, "metrics.listen")?),
        _ => None,
    };
    let address = listener.local_addr().map_err(|e| StartError::Port(e.to_string()))?;
    let worker = WorkerId::fresh();
    let opened = open::open(&config, worker, true).await?;
    let store = opened.store.clone();
    let first = bootstrap::first_user(&store, &clock, &config.data_dir, opened.lock.is_some()).await?;
    let now = clock.now();
    let deployment_id = store
        .deployment_value("deployment_id".into(), crate::ids::fresh_uuid().to_string())
        .await
        .map_err(|e| StartError::Database(e.to_string()))?;
    let replicas = join_replicas(&config, &store, worker, address, now).await?;
    let replica_secret = replicas.as_ref().map(|r| r.secret.clone());
    let models = models::build(&config, &store, now).await?;
    mcp::sync(&config, &store, now).await?;
    templates::sync(&config, &store, now).await?;
    let live = Arc::new(LiveSettings::new(store.clone(), Deployment::declared(&config.chat)));
    live.refresh().await.map_err(|e| StartError::Database(format!("the settings cannot be read: {e}")))?;
    let (drain, draining) = watch::channel(false);
    let (settle, settled) = watch::channel(false);
    let (debug, writer) = Recorder::new(live.clone(), store.clone(), clock.clone());
    let debug_writer = actix::spawn(writer);
    let shared = Arc::new(Shared {
        store: store.clone(),
        clock: clock.clone(),
        worker,
        settings: settings(&config),
        links: Links::default(),
        live: live.clone(),
        turn: Arc::new(models.engine),
        replicas: replicas.map(Arc::new),
        debug: debug.clone(),
        owned: Owned::default(),
        drive: jobs::drive(),
        titles: Underway::default(),
        draining: draining.clone(),
    });
    let arbiters: Vec<Arbiter> = (0..config.server.worker_threads()).map(|_| Arbiter::new()).collect();
    let chats = Chats::new(shared.clone(), &arbiters);
    let figures =
        config.metrics.enabled.then(|| figures::scrape(shared.clone(), chats.clone(), recorder.clone()));
    let state = ApiState {
        store: store.clone(),
        clock,
        catalog: models.catalog.clone(),
        settings: Arc::new(ApiSettings {
            open_to_all: config.auth.mode == AuthMode::None,
            public_url: config.server.public_url(address),
            deployment_id,
            max_body: usize::try_from(config.server.max_body).unwrap_or(usize::MAX),
            max_queue: config.chat.max_queue as usize,
            session_ttl: config.auth.session_ttl,
            workspaces_per_user: config.limits.workspaces_per_user,
            sharing: config.chat.sharing,
            ping_interval: config.stream.ping_interval,
            ..ApiSettings::default()
        }),
        live,
        streams: Arc::new(chats.clone()),
        titles: shared.clone(),
        metrics: figures.clone().filter(|_| own_metrics.is_none()),
        draining,
        settled,
        replica_secret,
        tokens: Arc::default(),
        owners: Arc::default(),
        notices: Arc::default(),
        limits: Arc::new(Limits::per_minute(
            config.limits.requests_per_minute,
            config.limits.logins_per_minute,
            config.limits.files_per_minute,
        )),
        mcp_servers: Arc::default(),
        debug,
        worker,
        dialer: shared.dialer(),
        outbound: Outbound::new()
            .map_err(|e| StartError::Failed(format!("the client for tool servers: {e}")))?,
    };
    let public_url = state.settings.public_url.clone();
    let host = templates::host(&config, &public_url)?;
    if let Err(e) = host.announce() {
        tracing::warn!(folder = %host.data_dir.display(), error = %e, "the daemon's address could not be written for agents on this host");
    }
    let (server, _) = api::serve(state, listener, config.server.worker_threads(), STOP_GRACE)
        .map_err(|e| StartError::Port(e.to_string()))?;
    let metrics_server = match own_metrics.zip(figures) {
        Some((listener, figures)) => {
            Some(api::serve_metrics(figures, listener).map_err(|e| StartError::Port(e.to_string()))?)
        }
        None => None,
    };
    tracing::info!(%worker, engine = store.engine_name(), address = %address, "chatd starts");
    let (first_token, first_login) = match first {
        Some(first) => (Some(first.token_file), Some(sessions::link_url(&public_url, &first.login))),
        None => (None, None),
    };
    let facts = Ready { address, public_url, first_token, first_login, store, chats: chats.clone() };
    let daemon = Daemon {
        shared,
        claimer: Arc::new(chats.clone()),
        chats,
        drain,
        settle,
        server,
        metrics_server,
        arbiters,
        grace: config.server.shutdown_grace,
        host,
        recorder,
        catalog: models.catalog,
        debug_writer,
        _opened: opened,
        _models: models.scripted,
    };
    Ok((daemon, facts))
}

fn listen(address: SocketAddr, key: &str) -> Result<TcpListener, StartError> {
    TcpListener::bind(address)
        .map_err(|e| StartError::Port(format!("cannot listen on {address}: {e}; choose another {key}")))
}

/// Makes this process known to the other replicas, before it takes any chat. `None` on SQLite.
async fn join_replicas(
    config: &Config,
    store: &Store,
    worker: WorkerId,
    address: SocketAddr,
    now: Timestamp,
) -> Result<Option<Replicas>, StartError> {
    if matches!(config.database.url, DatabaseUrl::Sqlite(_)) {
        return Ok(None);
    }
    let failed = |e: store::Error| StartError::Database(e.to_string());
    let secret = ReplicaSecret::load(store).await.map_err(failed)?;
    let url = config.server.relay_url(address);
    store.beat_replica(worker, url.clone(), now).await.map_err(failed)?;
    Replicas::new(url, secret)
        .map(Some)
        .map_err(|e| StartError::Failed(format!("the client for other replicas: {e}")))
}

fn settings(config: &Config) -> Settings {
    Settings {
        worker_enabled: config.worker.enabled,
        acquire_interval: config.worker.acquire_interval,
        max_chats_per_acquire: i64::from(config.worker.max_chats_per_acquire),
        heartbeat_interval: config.worker.heartbeat_interval,
        lease: config.worker.lease,
        max_running_chats: i64::from(config.worker.max_running_chats),
        max_running_subagents: i64::from(config.worker.max_running_subagents),
        workspaces_per_user: i64::from(config.limits.workspaces_per_user),
        subscriber_queue: config.stream.subscriber_queue as usize,
        retain_grace: config.stream.retain_grace,
        janitor_interval: config.stream.janitor_interval,
        sync_interval: config.stream.sync_interval,
        coalesce: config.stream.coalesce,
        stream: StreamLimits {
            episode_bytes: usize::try_from(config.stream.episode_buffer).unwrap_or(usize::MAX),
            ..StreamLimits::default()
        },
    }
}

impl Daemon {
    async fn run(self, mut phase: watch::Receiver<Phase>) {
        let handle = self.server.handle();
        let mut server = actix::spawn(self.server);
        let metrics_handle = self.metrics_server.as_ref().map(actix_web::dev::Server::handle);
        if let Some(server) = self.metrics_server {
            actix::spawn(server);
        }
        // Subscribed before the first look at the database: nothing falls between.
        let hints = self.shared.store.bus().subscribe();
        let acquisition = self
            .shared
            .settings
            .worker_enabled
            .then(|| Acquisition::new(self.shared.clone(), self.chats.clone()).start());
        self.shared.store.claim_for(Arc::downgrade(&self.claimer));
        let catalog = actix::spawn(self.catalog.clone().follow());
        let router = actix::spawn(router::run(
            hints,
            self.shared.store.clone(),
            self.chats.clone(),
            acquisition.clone(),
        ));
        let settings = actix::spawn(self.shared.live.clone().follow());
        let beats = Arbiter::new();
        let (shared, chats) = (self.shared.clone(), self.chats.clone());
        let heartbeat = Heartbeat::start_in_arbiter(&beats.handle(), move |_| Heartbeat::new(shared));
        Poller::new(self.shared.clone(), chats.clone()).start();
        Janitor::new(self.shared.clone(), chats.clone()).start();
        let builds = (self.shared.settings.worker_enabled)
            .then(|| actix::spawn(builds::run(self.shared.clone(), self.host, self.grace)));
        let upkeep = actix::spawn(figures::upkeep(self.recorder.clone()));

        tokio::select! {
            _ = phase.wait_for(|p| *p == Phase::Drain) => {}
            result = &mut server => tracing::error!(?result, "the HTTP server ended by itself"),
        }
        tracing::info!("stopping: no new work is taken");
        self.drain.send_replace(true);
        if let Some(acquisition) = acquisition {
            // What was claimed last has been handed to its actor then, and is let go with the others.
            stop::quiet("a claim", |sender| acquisition.do_send(Quiet(sender))).await;
        }
        let builds = async {
            if let Some(builds) = builds
                && tokio::time::timeout(self.grace + BUILDS_GRACE, builds).await.is_err()
            {
                tracing::warn!("a build could not be ended; its lease will");
            }
        };
        tokio::join!(chats.drain(self.grace), builds);
        self.settle.send_replace(true);
        stop::quiet("a heartbeat", |sender| heartbeat.do_send(Cease(sender))).await;
        stop::sign_off(&self.shared).await;
        handle.stop(true).await;
        if let Some(handle) = metrics_handle {
            handle.stop(true).await;
        }
        self.shared.debug.flush(DEBUG_GRACE).await;
        router.abort();
        catalog.abort();
        settings.abort();
        self.debug_writer.abort();
        upkeep.abort();
        beats.stop();
        for arbiter in &self.arbiters {
            arbiter.stop();
        }
        for arbiter in self.arbiters.into_iter().chain([beats]) {
            if arbiter.join().is_err() {
                tracing::error!("an arbiter ended with a panic");
            }
        }
        stop::settle(&self.shared).await;
        tracing::info!("stopped");
    }
}
