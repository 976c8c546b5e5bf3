//! Hints between the parts of one replica and between replicas: lossy, versioned, never data.
//!
//! A receiver drops whatever is not newer than what it has and re-reads the truth; a timer covers
//! what was lost. Within the process hints travel over a broadcast channel; with PostgreSQL also by
//! LISTEN/NOTIFY, coalesced after the commit ([`postgres`]).

pub mod postgres;

use crate::{
    chat::state::{Status, Versions},
    ids::{BuildId, ChatId, RunnerId, UserId, WorkerId},
};
use serde::{Deserialize, Serialize};
use tokio::sync::{broadcast, mpsc};

/// Hints a slow receiver may lag behind before it is told to look at everything again.
const LOCAL_CAPACITY: usize = 4096;

/// What may have changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "k", rename_all = "snake_case")]
pub enum Notice {
    /// A transaction moved a chat (`chat:update:{chat}`).
    Chat(ChatNotice),
    /// A chat is runnable and nobody drives it (`chat:ownership`).
    Ownership {
        /// The chat.
        chat: ChatId,
        /// Its snapshot version.
        snapshot: i64,
    },
    /// Something for the owner's sidebar (`chat:watch:{owner}`).
    Watch {
        /// Whose sidebar.
        owner: UserId,
        /// The chat.
        chat: ChatId,
        /// What happened.
        kind: WatchKind,
    },
    /// A user was suspended or a token revoked: open connections check their right again.
    Access {
        /// Whose.
        user: UserId,
    },
    /// The default spend limit was set or switched off.
    Limits,
    /// A build of a workspace was asked for, or went on.
    Build {
        /// Which.
        build: BuildId,
    },
    /// Something that replicas keep a copy of changed (`chat:config`).
    Config {
        /// What.
        part: ConfigPart,
    },
    /// Hints may have been lost: look at everything.
    Resync,
}

/// What replicas keep copies of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConfigPart {
    /// Providers, their keys, keys of users, models.
    Models,
    /// Settings of the deployment.
    Settings,
    /// What a user has set.
    User(UserId),
    /// Servers of tools.
    McpServers,
}

/// Versions and owner of a chat after a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatNotice {
    /// The chat.
    pub chat: ChatId,
    /// Versions.
    pub versions: Versions,
    /// Status.
    pub status: Status,
    /// Archive flag.
    pub archived: bool,
    /// Owner process.
    pub worker: Option<WorkerId>,
    /// Owner runner.
    pub runner: Option<RunnerId>,
}

/// Kinds of sidebar events (api.md §4.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WatchKind {
    /// A chat was created or unarchived.
    Created,
    /// The status moved.
    StatusChange,
    /// The title changed.
    TitleChange,
    /// The digest of the last turn changed.
    SummaryChange,
    /// The diff status changed.
    DiffStatusChange,
    /// Client-side tool calls are pending.
    ActionRequired,
    /// The chat was archived.
    Deleted,
}

/// The sending and receiving end of the hints of one replica.
#[derive(Debug, Clone)]
pub struct Bus {
    local: broadcast::Sender<Notice>,
    remote: Option<mpsc::Sender<Notice>>,
}

impl Bus {
    /// A bus for a single process.
    #[must_use]
    pub fn local() -> Self {
        Self { local: broadcast::channel(LOCAL_CAPACITY).0, remote: None }
    }

    /// A bus that also hands its hints to `remote`.
    #[must_use]
    pub fn with_remote(remote: mpsc::Sender<Notice>) -> Self {
        Self { local: broadcast::channel(LOCAL_CAPACITY).0, remote: Some(remote) }
    }

    /// Sends a hint to everybody, best effort.
    pub fn publish(&self, notice: Notice) {
        self.publish_remote(notice.clone());
        self.publish_local(notice);
    }

    /// Sends a hint to the other replicas only: this one is told in another way.
    pub fn publish_remote(&self, notice: Notice) {
        if let Some(remote) = &self.remote
            && remote.try_send(notice).is_err()
        {
            metrics::counter!(crate::metrics::NOTICES_DROPPED).increment(1);
        }
    }

    /// Sends a hint within this process only.
    pub fn publish_local(&self, notice: Notice) {
        // No receiver is no error: nobody is interested yet.
        let _ = self.local.send(notice);
    }

    /// Starts to receive. Subscribe first, then read the truth.
    #[must_use]
    pub fn subscribe(&self) -> Receiver {
        Receiver(self.local.subscribe())
    }
}

/// The receiving end.
#[derive(Debug)]
pub struct Receiver(broadcast::Receiver<Notice>);

impl Receiver {
    /// The next hint; [`Notice::Resync`] when some were lost; `None` when the bus is gone.
    pub async fn next(&mut self) -> Option<Notice> {
        match self.0.recv().await {
            Ok(n) => Some(n),
            Err(broadcast::error::RecvError::Lagged(_)) => Some(Notice::Resync),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }

    /// Waits until this build may have gone on.
    pub async fn of_build(&mut self, wanted: BuildId) {
        loop {
            match self.next().await {
                Some(Notice::Build { build }) if build == wanted => return,
                Some(Notice::Resync) | None => return,
                Some(_) => {}
            }
        }
    }
}
