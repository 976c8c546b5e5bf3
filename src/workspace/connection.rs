//! The way of one chat to the agent of its workspace (workspace-and-providers.md §2). Nothing is dialled before
//! something is asked of the workspace; what was dialled is kept as long as it is the right one.

use super::{
    dial::{self, DIAL_TIMEOUT, Dial, Input, Known, Latest, Step, VALIDATE_AFTER},
    elsewhere::{Replica, Replicas},
    in_vain::InVain,
    link::{AgentClient, Links},
    remote::{Remote, ToolsVersion},
    status::{self, AgentStatus, INACTIVE, SelectError},
    wire,
};
use crate::{
    bus::WatchKind,
    clock::{Clock, Timestamp},
    ids::{AgentId, BuildId, ChatId, WorkspaceId},
    store::{
        self, Store,
        records::{
            ChatRecord,
            workspaces::{AgentRecord, BuildStatus, WorkspaceView},
        },
    },
};
use hyper::{
    HeaderMap,
    header::{HeaderName, HeaderValue},
};
use std::{convert::Infallible, future::Future, pin::Pin, sync::Arc, time::Duration};
use tokio::{sync::Mutex, time};

/// How often a chat that works in a workspace puts the workspace's end off.
const BUMP_INTERVAL: Duration = Duration::from_secs(30);
/// How often a connection is made anew because the chat's workspace has changed meanwhile.
const ROUNDS: usize = 2;

/// Why there is no connection. The text is for the model: it names the way out.
#[derive(Debug, thiserror::Error)]
pub enum NoConnection {
    /// The chat has no workspace.
    #[error("this chat has no workspace. Use create_workspace to create one")]
    NoWorkspace,
    /// It had one, which was deleted.
    #[error("the workspace of this chat was deleted. Use create_workspace to create another one")]
    Deleted,
    /// Its build has no agent that could be used.
    #[error(transparent)]
    Agent(#[from] SelectError),
    /// The agent did not answer, or only a person can bring it back.
    #[error("{0}")]
    Unreachable(String),
    /// The chat was bound to other workspaces all the time.
    #[error("the workspace of this chat changed while it was connected to. Try again")]
    Changed,
    /// The database failed.
    #[error("the workspace of this chat could not be looked up. Try again")]
    Store(#[from] store::Error),
}

/// An agent that can be asked at once; `None`: there is none.
pub type AtHand = Option<(AgentId, Remote)>;

/// What connections are made with.
#[derive(Clone)]
pub struct Dialer {
    /// Chats, workspaces, agents.
    pub store: Store,
    /// Wall time.
    pub clock: Clock,
    /// The links of agents that this replica holds.
    pub links: Links,
    /// The other replicas; `None` where there are none.
    pub replicas: Option<Arc<dyn Replicas>>,
}

/// How often it is looked whether an agent has linked to another replica.
const LOOK: Duration = Duration::from_millis(500);

impl Dialer {
    /// The way to an agent, as soon as there is one. Agents dial the daemon, so to dial one is to wait.
    async fn dial(self, agent: AgentId) -> AgentClient {
        tokio::select! {
            client = self.links.wait_for(agent) => client,
            client = self.elsewhere(agent) => client,
        }
    }

    /// The way to an agent whose row was just read, if nothing has to be waited for: its link is here, or at another
    /// replica that passes requests on.
    ///
    /// # Errors
    /// When the agent is gone, or the database cannot be had.
    pub async fn at_hand(&self, agent: AgentId) -> store::Result<Option<AgentClient>> {
        if let Some(client) = self.links.client(agent) {
            return Ok(Some(client));
        }
        let Some(replicas) = &self.replicas else { return Ok(None) };
        let holder = self.holder(agent, replicas.as_ref()).await?;
        Ok(holder.map(|replica| AgentClient::elsewhere(agent, replica, replicas.clone())))
    }

    async fn elsewhere(&self, agent: AgentId) -> AgentClient {
        let Some(replicas) = &self.replicas else { return std::future::pending().await };
        loop {
            match self.holder(agent, replicas.as_ref()).await {
                Ok(Some(replica)) => return AgentClient::elsewhere(agent, replica, replicas.clone()),
                Ok(None) => {}
                Err(e) => {
                    tracing::warn!(%agent, error = %e, "it cannot be told which replica has an agent's link");
                }
            }
            time::sleep(LOOK).await;
        }
    }

    /// The other replica that has the agent's link.
    async fn holder(&self, agent: AgentId, replicas: &dyn Replicas) -> store::Result<Option<Replica>> {
        let row = self.store.agent(agent).await?;
        let connected = status::status(&row, INACTIVE, self.clock.now()).0 == AgentStatus::Connected;
        match row.worker_id {
            Some(worker) if connected && worker != replicas.own() => replicas.replica(worker).await,
            _ => Ok(None),
        }
    }
}

struct Held {
    workspace: WorkspaceId,
    agent: AgentId,
    client: AgentClient,
}

/// The connection of one chat.
pub struct Connection {
    dialer: Dialer,
    chat: ChatId,
    /// Held while somebody dials, so that calls that run together dial once.
    held: Mutex<Option<Held>>,
    /// The last dial that nobody answered: when it ended, and what was said. Whoever waited for it does not dial again.
    in_vain: InVain<(time::Instant, String)>,
    bumped: Mutex<Option<Timestamp>>,
    tools: ToolsVersion,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("chat", &self.chat).finish_non_exhaustive()
    }
}

impl Connection {
    /// Of a chat; nothing is dialled.
    #[must_use]
    pub fn of(chat: ChatId, dialer: Dialer) -> Self {
        let (held, bumped) = (Mutex::new(None), Mutex::new(None));
        Self { dialer, chat, held, in_vain: InVain::default(), bumped, tools: ToolsVersion::default() }
    }

    /// Which state of its tools the agent has told of last, with whatever answer.
    #[must_use]
    pub fn tools_version(&self) -> u64 {
        self.tools.get()
    }

    /// What it is made with.
    #[must_use]
    pub const fn dialer(&self) -> &Dialer {
        &self.dialer
    }

    /// Forgets what was dialled: the workspace is about to be another one.
    pub async fn release(&self) {
        *self.held.lock().await = None;
    }

    /// The agent of the chat's workspace as it is now.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn get(&self) -> Result<Remote, NoConnection> {
        self.reach().await.map(|(_, remote)| remote)
    }

    /// The same for a request that was under way when the link was lost: an agent that a person runs is given
    /// the time to dial again.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn get_again(&self) -> Result<Remote, NoConnection> {
        self.dialled(true).await.map(|(_, remote)| remote)
    }

    /// The same, with which agent it is.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn reach(&self) -> Result<(AgentId, Remote), NoConnection> {
        self.dialled(false).await
    }

    async fn dialled(&self, under_way: bool) -> Result<(AgentId, Remote), NoConnection> {
        let asked = time::Instant::now();
        for _ in 0..ROUNDS {
            let chat = self.dialer.store.chat(self.chat).await?;
            let workspace = chat.workspace_id.ok_or(NoConnection::NoWorkspace)?;
            let mut held = self.held.lock().await;
            if let Some(client) = self.cached(&mut held, workspace).await {
                self.bump(workspace).await;
                return Ok((client.agent(), self.remote(client, &chat)));
            }
            if let Some((_, said)) = self.in_vain.last().filter(|(ended, _)| *ended >= asked) {
                return Err(NoConnection::Unreachable(said));
            }
            let agent = self.resolve(&chat, workspace).await?;
            self.preflight(workspace, &agent, under_way).await?;
            let Ok(dialled) = time::timeout(DIAL_TIMEOUT, self.dial(workspace, agent.id)).await else {
                let said = dial::advice(self.known(workspace).await.as_ref());
                self.in_vain.remember((time::Instant::now(), said.clone()));
                return Err(NoConnection::Unreachable(said));
            };
            let (reached, client) = dialled?;
            if reached != agent.id {
                let build = self.dialer.store.agent(reached).await?.build_id;
                self.bind(&chat, workspace, build, reached).await?;
            }
            if self.dialer.store.chat(self.chat).await?.workspace_id != Some(workspace) {
                continue;
            }
            *held = Some(Held { workspace, agent: reached, client: client.clone() });
            drop(held);
            self.bump(workspace).await;
            return Ok((reached, self.remote(client, &chat)));
        }
        Err(NoConnection::Changed)
    }

    /// The agent that the chat's workspace has now, if it can be asked at once: by its row it is there, and so is the way to
    /// it. Nothing is dialled, and the workspace does not count as used. The chat is bound to this agent, if it was
    /// not.
    ///
    /// # Errors
    /// When the workspace is gone, or the database cannot be had.
    pub async fn at_hand(&self, chat: &ChatRecord) -> Result<AtHand, NoConnection> {
        let Some(workspace) = chat.workspace_id else { return Ok(None) };
        let view = self.view(workspace).await?;
        let Ok(agent) = status::select(&view.agents) else { return Ok(None) };
        if self.status(agent).0 != AgentStatus::Connected {
            return Ok(None);
        }
        let Some(client) = self.dialer.at_hand(agent.id).await? else { return Ok(None) };
        if chat.agent_id != Some(agent.id) {
            self.bind(chat, workspace, agent.build_id, agent.id).await?;
        }
        Ok(Some((agent.id, self.remote(client, chat))))
    }

    /// What was dialled before, if it is still the right one. The agent's row is read each time.
    async fn cached(&self, held: &mut Option<Held>, workspace: WorkspaceId) -> Option<AgentClient> {
        let known = held.as_ref()?;
        let there = match self.dialer.store.agent(known.agent).await {
            Ok(row) => {
                self.status(&row).0 != AgentStatus::Disconnected && !known.client.is_over(row.worker_id)
            }
            Err(store::Error::NotFound) => false,
            // The link may be there, whatever the database does.
            Err(_) => !known.client.is_over(None),
        };
        if known.workspace == workspace && there {
            return Some(known.client.clone());
        }
        *held = None;
        None
    }

    fn status(&self, agent: &AgentRecord) -> (AgentStatus, Option<Timestamp>) {
        status::status(agent, INACTIVE, self.dialer.clock.now())
    }

    /// The agent that the chat is bound to, else the one that the workspace's newest build has for it.
    async fn resolve(&self, chat: &ChatRecord, workspace: WorkspaceId) -> Result<AgentRecord, NoConnection> {
        if let Some(id) = chat.agent_id {
            match self.dialer.store.agent(id).await {
                Ok(agent) => return Ok(agent),
                Err(store::Error::NotFound) => {}
                Err(e) => tracing::warn!(chat = %self.chat, error = %e, "the chat's agent cannot be read"),
            }
        }
        let view = self.view(workspace).await?;
        let agent = status::select(&view.agents)?.clone();
        self.bind(chat, workspace, agent.build_id, agent.id).await?;
        Ok(agent)
    }

    /// The workspace as it is now. An agent whose start failed counts as long as it is there: nothing but another
    /// start brings it back.
    async fn view(&self, workspace: WorkspaceId) -> Result<WorkspaceView, NoConnection> {
        let mut view = match self.dialer.store.workspace(workspace).await {
            Err(store::Error::NotFound) => return Err(NoConnection::Deleted),
            view => view?,
        };
        if view.build.status == BuildStatus::Failed {
            view.agents.retain(|agent| self.status(agent).0 == AgentStatus::Connected);
        }
        Ok(view)
    }

    /// Clients are told, as of every change of what a chat is bound to (workspace-and-providers.md §1).
    async fn bind(
        &self,
        chat: &ChatRecord,
        workspace: WorkspaceId,
        build: BuildId,
        agent: AgentId,
    ) -> Result<(), NoConnection> {
        self.dialer.store.bind_agent(self.chat, workspace, build, Some(agent)).await?;
        self.dialer.store.watch(chat.owner_id, self.chat, WatchKind::StatusChange);
        Ok(())
    }

    /// Refuses an agent that only a person can bring back, unless a dial could find another one.
    async fn preflight(
        &self,
        workspace: WorkspaceId,
        agent: &AgentRecord,
        under_way: bool,
    ) -> Result<(), NoConnection> {
        if !agent.external || !self.status(agent).0.is_unreachable() {
            return Ok(());
        }
        let current = self.latest(workspace).await == Latest::Agent(agent.id);
        match self.known(workspace).await {
            Some(known) if current && known.needs_a_person(under_way, self.dialer.links.open_for()) => {
                Err(NoConnection::Unreachable(dial::external(&known)))
            }
            _ => Ok(()),
        }
    }

    /// What is known of the agent that the chat would use now.
    async fn known(&self, workspace: WorkspaceId) -> Option<Known> {
        let view = self.view(workspace).await.ok()?;
        Some(Known::of(status::select(&view.agents).ok()?, self.dialer.clock.now()))
    }

    async fn latest(&self, workspace: WorkspaceId) -> Latest {
        match self.view(workspace).await {
            Ok(view) => match status::select(&view.agents) {
                Ok(agent) => Latest::Agent(agent.id),
                Err(none) => Latest::None(none),
            },
            Err(_) => Latest::Unknown,
        }
    }

    /// Dials, and asks whether it is the right agent when that takes long.
    async fn dial(
        &self,
        workspace: WorkspaceId,
        agent: AgentId,
    ) -> Result<(AgentId, AgentClient), NoConnection> {
        let mut dial: Dial<Infallible> = Dial::of(agent);
        let mut connecting = self.wait_for(agent);
        let mut looking: Pin<Box<dyn Future<Output = Latest> + Send + '_>> = Box::pin(std::future::pending());
        let mut slow = Box::pin(time::sleep(VALIDATE_AFTER));
        let mut checked = false;
        let mut connected = None;
        loop {
            let input = tokio::select! {
                client = &mut connecting => {
                    connected = Some(client);
                    Input::Connected
                }
                () = &mut slow, if !checked => {
                    checked = true;
                    Input::Slow
                }
                latest = &mut looking => {
                    looking = Box::pin(std::future::pending());
                    Input::Latest(latest)
                }
            };
            match dial.on(input) {
                Step::Wait => {}
                Step::Dial(other) => connecting = self.wait_for(other),
                Step::Look => looking = Box::pin(self.latest(workspace)),
                Step::Use(agent) => {
                    let client = match connected.take() {
                        Some(client) => client,
                        None => self.wait_for(agent).await,
                    };
                    return Ok((agent, client));
                }
                Step::Fail(never) => match never {},
                Step::NoAgent(none) => return Err(none.into()),
            }
        }
    }

    fn wait_for(&self, agent: AgentId) -> Pin<Box<dyn Future<Output = AgentClient> + Send>> {
        Box::pin(self.dialer.clone().dial(agent))
    }

    /// The workspace is in use: its end is put off.
    async fn bump(&self, workspace: WorkspaceId) {
        let now = self.dialer.clock.now();
        let mut bumped = self.bumped.lock().await;
        if bumped.is_some_and(|last| now.since(last) < BUMP_INTERVAL) {
            return;
        }
        *bumped = Some(now);
        if let Err(e) = self.dialer.store.bump_workspace(workspace, now).await {
            tracing::warn!(chat = %self.chat, %workspace, error = %e, "the use of a workspace was not written down");
        }
    }

    /// Every request says for which chat it is made.
    fn remote(&self, client: AgentClient, chat: &ChatRecord) -> Remote {
        Remote::new(client.with_headers(headers(chat)), self.tools.clone())
    }
}

fn headers(chat: &ChatRecord) -> HeaderMap {
    let id = chat.head.id.to_string();
    let ancestors = chat.parent_chat_id.map_or_else(|| "null".to_owned(), |parent| format!("[\"{parent}\"]"));
    let mut headers = HeaderMap::new();
    for (name, value) in [
        (wire::CHAT_ID, &id),
        (wire::FORMER_CHAT_ID, &id),
        (wire::ANCESTOR_CHAT_IDS, &ancestors),
        (wire::FORMER_ANCESTOR_CHAT_IDS, &ancestors),
    ] {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    headers
}
