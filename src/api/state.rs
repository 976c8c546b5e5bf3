//! What every handler is given.

use super::{
    access::OwnerCache, auth::TokenCache, limits::Limits, mcp_directory::McpDirectory, notices::Notices,
};
use crate::{
    actors::{debug::Recorder, replicas::ReplicaSecret},
    clock::Clock,
    ids::WorkerId,
    llm::catalog::LiveCatalog,
    mcp::outbound::Outbound,
    store::{Store, settings::LiveSettings},
    workspace::connection::Dialer,
};
use std::{fmt, sync::Arc, time::Duration};
use tokio::sync::watch;

pub use crate::actors::{
    subscription::Streams,
    titles::{TitleFailure, Titles},
};

/// How the API behaves.
#[derive(Debug, Clone)]
pub struct ApiSettings {
    /// Everybody is the first admin (`auth.mode = "none"`). Only on the loopback.
    pub open_to_all: bool,
    /// Address that clients use, without a slash at the end.
    pub public_url: String,
    /// Names this deployment, the same on every replica.
    pub deployment_id: String,
    /// Largest request body in bytes where api.md does not set a smaller one.
    pub max_body: usize,
    /// Messages that may wait in one chat's queue.
    pub max_queue: usize,
    /// Workspaces that one user may have; 0 = no limit.
    pub workspaces_per_user: u32,
    /// Whether chats can be shared with readers.
    pub sharing: bool,
    /// How long a session lasts.
    pub session_ttl: Duration,
    /// Time between two pings; a socket that has not answered the last one is closed.
    pub ping_interval: Duration,
    /// How long one frame may wait for a socket that does not drain.
    pub write_timeout: Duration,
}

impl Default for ApiSettings {
    /// The defaults of cli-and-config.md and api.md §1.10.
    fn default() -> Self {
        Self {
            open_to_all: false,
            public_url: "http://127.0.0.1:7777".into(),
            deployment_id: String::new(),
            max_body: 16 << 20,
            max_queue: 20,
            workspaces_per_user: 20,
            sharing: true,
            session_ttl: Duration::from_secs(30 * 24 * 60 * 60),
            ping_interval: Duration::from_secs(15),
            write_timeout: Duration::from_secs(10),
        }
    }
}

/// The figures as they are now, in Prometheus' text format.
pub type Scrape = Arc<dyn Fn() -> String + Send + Sync>;

/// What every handler is given. Cloning shares it.
#[derive(Clone)]
pub struct ApiState {
    /// The durable truth.
    pub store: Store,
    /// The time.
    pub clock: Clock,
    /// Models and providers.
    pub catalog: Arc<LiveCatalog>,
    /// Behaviour.
    pub settings: Arc<ApiSettings>,
    /// What administrators and users have set.
    pub live: Arc<LiveSettings>,
    /// Where readers of chats are taken on.
    pub streams: Arc<dyn Streams>,
    /// Who makes titles.
    pub titles: Arc<dyn Titles>,
    /// Makes the text of `GET /metrics`, if figures are shown.
    pub metrics: Option<Scrape>,
    /// True once this replica stops.
    pub draining: watch::Receiver<bool>,
    /// True once the turns of a replica that stops have ended or were handed over: until then their tools need the links.
    pub settled: watch::Receiver<bool>,
    /// How other replicas prove themselves; `None` where there can be none.
    pub replica_secret: Option<ReplicaSecret>,
    /// Tokens seen a moment ago; start with the default.
    pub tokens: Arc<TokenCache>,
    /// Owners of chats; start with the default.
    pub owners: Arc<OwnerCache>,
    /// Hints sorted by user; start with the default.
    pub notices: Arc<Notices>,
    /// How often users may ask; the default is no limit.
    pub limits: Arc<Limits>,
    /// Which tool servers can be picked; start with the default.
    pub mcp_servers: Arc<McpDirectory>,
    /// Records model calls for debugging.
    pub debug: Recorder,
    /// This process.
    pub worker: WorkerId,
    /// The way to the agents of workspaces, with the links that this process holds.
    pub dialer: Dialer,
    /// The way to servers that somebody else runs.
    pub outbound: Outbound,
}

impl fmt::Debug for ApiState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiState").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl ApiState {
    /// Whether this replica stops.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }
}
