//! What a call knows about where it runs, and its way into the workspace.

use super::outcome::ToolOutcome;
use crate::{
    ids::{AgentId, ChatId},
    store::settings::LiveSettings,
    workspace::{
        connection::{Connection, NoConnection},
        in_vain::InVain,
        mcp_tools::McpTools,
        remote::{CallError, CallId, Remote},
    },
};
use std::{
    future::Future,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};
use tokio::{
    sync::Mutex,
    time::{Instant, sleep, timeout},
};

/// How long an agent may take to answer a request that waits for nothing.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// How long a request is sent anew over links that are lost one after the other.
const LINKS_WITHIN: Duration = Duration::from_secs(30);
/// The wait before it is sent anew, so that an agent that resets each of them does not keep anybody busy.
const BETWEEN_LINKS: Duration = Duration::from_millis(100);

/// What the calls of one chat share while a replica drives it.
#[derive(Debug)]
pub struct Session {
    /// The way to the agent of the chat's workspace.
    pub connection: Arc<Connection>,
    /// The tools that the tool servers of the workspace offer.
    pub mcp: McpTools,
    /// Held by the tools that create, start and stop the workspace: one after the other.
    pub building: Mutex<()>,
    /// What the deployment has set.
    pub live: Arc<LiveSettings>,
    /// `limits.workspaces_per_user`; 0 = no limit.
    pub workspaces_per_user: i64,
    /// The agent that did not say what its project is, and the id of the message of that turn: it is not asked twice in one.
    pub silent: InVain<(AgentId, i64)>,
    /// Calls were made that may have changed files, and nobody has looked since.
    pub changed: AtomicBool,
}

/// What a call knows about where it runs.
#[derive(Debug, Clone)]
pub struct ToolContext {
    /// The chat.
    pub chat_id: ChatId,
    /// Id of this call, as the provider chose it: unique in its step only.
    pub tool_call_id: String,
    /// History version of the step. With it the id is unique in the chat for ever.
    pub step: i64,
    /// The call was begun before, by a process that did not live to tell what came of it.
    pub repeated: bool,
    /// The turn is one in plan mode: nothing but the plan may be written.
    pub plan: bool,
    /// `None` where there is nothing but the call.
    pub session: Option<Arc<Session>>,
}

impl ToolContext {
    async fn agent(&self, under_way: bool) -> Result<Remote, NoConnection> {
        match &self.session {
            Some(session) if under_way => session.connection.get_again().await,
            Some(session) => session.connection.get().await,
            None => Err(NoConnection::NoWorkspace),
        }
    }

    /// The call as the agent knows it.
    #[must_use]
    pub fn call(&self) -> CallId {
        CallId { id: format!("{}-{}", self.step, self.tool_call_id), repeated: self.repeated }
    }

    /// Asks the agent something that waits for nothing there.
    ///
    /// # Errors
    /// What the model is told when there is no answer, or the agent says no.
    pub async fn ask<R, F>(&self, request: impl Fn(Remote) -> F + Send + Sync) -> Result<R, ToolOutcome>
    where
        F: Future<Output = Result<R, CallError>> + Send,
        R: Send,
    {
        self.ask_within(ANSWER_WITHIN, false, request).await
    }

    /// The same for something that may wait there: `limit` is how long the agent may take. A request whose link is lost
    /// is sent again over the next one, so it has to be one that only reads, or that has a [`CallId`]. `goes_on`: it is about
    /// something that this call has begun there, so an agent that was just lost is waited for from the first request on, also
    /// where only a person can bring it back.
    ///
    /// # Errors
    /// See [`Self::ask`].
    pub async fn ask_within<R, F>(
        &self,
        limit: Duration,
        goes_on: bool,
        request: impl Fn(Remote) -> F + Send + Sync,
    ) -> Result<R, ToolOutcome>
    where
        F: Future<Output = Result<R, CallError>> + Send,
        R: Send,
    {
        let mut lost_since: Option<Instant> = None;
        let mut sent = false;
        loop {
            // By this process, or by one that was killed.
            let under_way = self.repeated || lost_since.is_some();
            let remote = self.agent(under_way || goes_on).await.map_err(|e| match under_way && !goes_on {
                false => ToolOutcome::error(e),
                true => ToolOutcome::error(format!(
                    "{e}. The call was cut off while the workspace was asked: whether it has done this is not known"
                )),
            })?;
            match timeout(limit, request(remote.again(sent))).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(e))
                    if e.is_lost()
                        && lost_since.get_or_insert_with(Instant::now).elapsed() < LINKS_WITHIN =>
                {
                    sent |= e.was_sent();
                    sleep(BETWEEN_LINKS).await;
                }
                Ok(Err(e)) if e.is_unknown_call() => {
                    return Err(ToolOutcome::error(
                        "the call was cut off, and the workspace's agent knows nothing of it, so nobody knows how far it came; \
                         it was not started again. Find out what it did before you call it once more",
                    ));
                }
                Ok(Err(e)) if e.is_lost() => {
                    tracing::warn!(chat = %self.chat_id, error = %e,
                        "a workspace's agent was not reached, however often it was tried; where another replica has its link, \
                         see whether server.relay_url there leads to it from here");
                    return Err(match sent || e.was_sent() || self.repeated {
                        _ if goes_on => ToolOutcome::error(e),
                        true => ToolOutcome::error(format!("{e}. Whether this was done is not known")),
                        false => ToolOutcome::error(format!(
                            "{e}. Nothing was done; it may work on the next attempt"
                        )),
                    });
                }
                Ok(Err(e)) => return Err(ToolOutcome::error(e)),
                Err(_) => {
                    return Err(ToolOutcome::error(
                        "the workspace's agent did not answer in time. If this was to change something, it may still happen: \
                         look before you try again",
                    ));
                }
            }
        }
    }
}

#[cfg(test)]
impl ToolContext {
    /// A call of a chat that has nothing.
    pub(crate) fn nowhere() -> Self {
        Self {
            chat_id: ChatId(uuid::Uuid::nil()),
            tool_call_id: "1".into(),
            step: 1,
            repeated: false,
            plan: false,
            session: None,
        }
    }
}
