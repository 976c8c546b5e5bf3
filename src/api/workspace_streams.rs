//! `GET /chats/{chat}/stream/git` and `…/stream/desktop` (api.md §4.9): what happens in a chat's workspace, for
//! people to look at. Everything that can be refused is refused before the upgrade.

use super::{
    access::{self, Right},
    auth::Caller,
    doc::Doc,
    problem::{Problem, Result},
    sockets::{self, Next, Source, stopping},
    state::ApiState,
};
use crate::{
    actors::subscription::CloseReason,
    clock::Timestamp,
    ids::{AgentId, ChatId, UserId},
    store::{Error, records::ChatRecord},
    workspace::{
        changes,
        connection::Dialer,
        status::{self, AgentStatus, INACTIVE},
        wire::{GitChanges, GitRepository},
    },
};
use actix_web::{HttpRequest, HttpResponse, rt, web};
use futures_util::future::LocalBoxFuture;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, future::pending};
use tokio::sync::watch;
use utoipa::ToSchema;

/// What the server says on `stream/git`.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum GitFrame {
    /// The repositories that look otherwise than they did in the frame before.
    Changes {
        /// When it was looked at.
        scanned_at: Timestamp,
        /// By path.
        repositories: Vec<RepositoryOut>,
    },
    /// There was nothing to look at.
    Error {
        /// Why.
        message: String,
    },
}

/// A repository of a workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct RepositoryOut {
    repo_root: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    branch: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote_origin: Option<String>,
    /// What is not committed.
    unified_diff: String,
    /// Whether the diff was cut at 1 MiB.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    truncated: bool,
    /// Why there is no diff.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// It is not there any more.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    removed: bool,
}

impl From<GitRepository> for RepositoryOut {
    fn from(r: GitRepository) -> Self {
        Self {
            repo_root: r.repo_root,
            branch: r.branch,
            remote_origin: r.remote_origin,
            unified_diff: r.unified_diff,
            truncated: r.truncated,
            error: r.error,
            removed: false,
        }
    }
}

/// The agent of a chat's workspace, which is there, for a caller who may act in it.
async fn agent(state: &ApiState, caller: &Caller, path: &str) -> Result<(ChatRecord, AgentId)> {
    let chat = access::chat(state, caller, path, Right::Read).await?;
    let Some(id) = chat.workspace_id else {
        return Err(Problem::bad_request("The chat has no workspace."));
    };
    let view = match state.store.workspace(id).await {
        Err(Error::NotFound) => return Err(Problem::bad_request("The chat's workspace is gone.")),
        other => other?,
    };
    if caller.user.id != view.workspace.owner_id && !caller.user.is_admin() {
        return Err(Problem::forbidden("You may not act in this workspace."));
    }
    let agent = status::select(&view.agents)
        .map_err(|e| Problem::bad_request("The workspace has no agent.").detail(e.to_string()))?;
    let state_of = match status::status(agent, INACTIVE, state.clock.now()).0 {
        AgentStatus::Connected => None,
        AgentStatus::Connecting => Some("connecting"),
        AgentStatus::Disconnected => Some("disconnected"),
        AgentStatus::Timeout => Some("timeout"),
    };
    if let Some(name) = state_of {
        return Err(Problem::bad_request(format!("The workspace's agent is not connected; it is {name}.")));
    }
    let agent = agent.id;
    Ok((chat, agent))
}

/// What the OpenAPI document says of it.
pub const GIT: Doc = Doc::new("Follow what is not committed in a chat's workspace (WebSocket)")
    .frames::<GitFrame>()
    .errors(&[400, 404]);

/// Shows the changes of a workspace: at once, and whenever the client asks for a refresh.
pub async fn git(
    request: HttpRequest,
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse> {
    let (chat, agent) = agent(&state, &caller, &path).await?;
    if state.dialer.at_hand(agent).await?.is_none() {
        return Err(Problem::bad_request("The workspace's agent cannot be reached.").detail(changes::LOST));
    }
    let (response, mut socket) = sockets::open(&request, payload, state.clone(), caller)?;
    socket.only_while_readable(chat.head.id);
    let source = Git {
        dialer: state.dialer.clone(),
        chat: chat.head.id,
        owner: chat.owner_id,
        agent,
        draining: state.draining.clone(),
        asked: true,
        looking: None,
        shown: BTreeMap::new(),
    };
    rt::spawn(socket.run(source));
    Ok(response)
}

/// What the OpenAPI document says of it.
pub const DESKTOP: Doc = Doc::new("The desktop of a chat's workspace (WebSocket); no agent has one yet")
    .frames::<GitFrame>()
    .errors(&[400, 404]);

/// Refuses: agents have no desktop. Who may know so much is told the reason that holds first.
pub async fn desktop(
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
) -> Result<HttpResponse> {
    agent(&state, &caller, &path).await?;
    Err(Problem::bad_request("The workspace has no desktop."))
}

/// A message of the client.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Asked {
    Refresh,
}

struct Git {
    dialer: Dialer,
    chat: ChatId,
    owner: UserId,
    agent: AgentId,
    draining: watch::Receiver<bool>,
    /// Somebody wants to see how things are.
    asked: bool,
    /// The look that is under way; kept across calls of `next`.
    looking: Option<LocalBoxFuture<'static, std::result::Result<GitChanges, String>>>,
    /// What the client has seen.
    shown: BTreeMap<String, RepositoryOut>,
}

impl Git {
    /// What there is to say of a look. Each is answered, even when all is as it was.
    fn told(&mut self, found: std::result::Result<GitChanges, String>) -> GitFrame {
        let changes = match found {
            Ok(changes) => changes,
            Err(message) => return GitFrame::Error { message },
        };
        let now: BTreeMap<String, RepositoryOut> =
            changes.repositories.into_iter().map(|r| (r.repo_root.clone(), r.into())).collect();
        let mut repositories: Vec<RepositoryOut> =
            now.iter().filter(|(root, r)| self.shown.get(*root) != Some(r)).map(|(_, r)| r.clone()).collect();
        for (root, gone) in &self.shown {
            if !now.contains_key(root) {
                repositories.push(RepositoryOut {
                    removed: true,
                    unified_diff: String::new(),
                    ..gone.clone()
                });
            }
        }
        self.shown = now;
        GitFrame::Changes { scanned_at: changes.scanned_at, repositories }
    }
}

impl Source for Git {
    async fn next(&mut self) -> Next {
        loop {
            if self.looking.is_none() && self.asked {
                self.asked = false;
                let (dialer, agent, chat, owner) = (self.dialer.clone(), self.agent, self.chat, self.owner);
                self.looking =
                    Some(Box::pin(async move { changes::look(&dialer, agent, chat, owner, true).await }));
            }
            let found = tokio::select! {
                found = async {
                    match &mut self.looking {
                        Some(looking) => looking.await,
                        None => pending().await,
                    }
                } => found,
                () = stopping(&mut self.draining) => return CloseReason::Shutdown.into(),
            };
            self.looking = None;
            match serde_json::to_string(&self.told(found)) {
                Ok(text) => return Next::Frame(text.into()),
                Err(e) => tracing::error!(error = %e, "a frame could not be written"),
            }
        }
    }

    fn take(&mut self, text: &str) -> Option<(u16, &'static str)> {
        match serde_json::from_str(text) {
            Ok(Asked::Refresh) => {
                self.asked = true;
                None
            }
            Err(_) => Some((1008, "Expected {\"type\":\"refresh\"}")),
        }
    }
}
