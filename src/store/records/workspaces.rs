//! Workspaces: templates, builds, agents.

use super::models::Source;
use crate::{
    chat::json::Json,
    clock::Timestamp,
    ids::{AgentId, BuildId, OrganizationId, TemplateId, UserId, WorkerId, WorkspaceId},
};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use utoipa::ToSchema;
use uuid::Uuid;

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal),* $(,)? })*) => { $(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
        // The document's schema does not see names that a macro gives; a test compares them.
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$variant_doc])* $variant),* }

        impl $name {
            /// As it is stored and on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }

            /// The reverse.
            #[must_use]
            pub fn of(text: &str) -> Option<Self> {
                [$(Self::$variant),*].into_iter().find(|v| v.as_str() == text)
            }
        }
    )* };
}

words! {
    /// Who starts the agent of a workspace.
    TemplateKind {
        /// The daemon, on its own host.
        Local = "local",
        /// Commands of the operator.
        Command = "command",
        /// A person.
        External = "external",
    }
    /// What a build does.
    Transition {
        /// Starts the workspace.
        Start = "start",
        /// Stops it; its files stay.
        Stop = "stop",
        /// Stops it and forgets it.
        Delete = "delete",
    }
    /// How far a build is.
    BuildStatus {
        /// Nobody runs it yet.
        Pending = "pending",
        /// A replica runs it.
        Running = "running",
        /// It is done.
        Succeeded = "succeeded",
        /// It did not work.
        Failed = "failed",
    }
    /// Why a build was made.
    BuildReason {
        /// Somebody asked for it.
        Initiator = "initiator",
        /// A tool of a chat asked for it.
        Chat = "chat",
        /// Nobody used the workspace any more.
        Autostop = "autostop",
        /// Somebody at the command line of the daemon's host, or who has started the daemon there.
        Operator = "operator",
    }
    /// Who wrote a line of a build's log.
    LogSource {
        /// The daemon itself.
        Chatd = "chatd",
        /// The command, on its standard output.
        Stdout = "stdout",
        /// The command, on its standard error.
        Stderr = "stderr",
    }
}

impl BuildStatus {
    /// Whether nothing follows.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }
}

/// What workspaces are built from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateRecord {
    /// Id.
    pub id: TemplateId,
    /// Unique name, that of a deleted one too.
    pub name: String,
    /// Shown to people.
    pub display_name: String,
    /// What it is good for.
    pub description: String,
    /// Who starts the agent.
    pub kind: TemplateKind,
    /// local: the folder, relative to the data folder; `{workspace}` stands for the workspace.
    pub directory: String,
    /// command: starts a workspace.
    pub start_command: Option<String>,
    /// command: stops it.
    pub stop_command: Option<String>,
    /// command: status 0 says that it runs.
    pub status_command: Option<String>,
    /// What it asks of whoever builds from it: an array of `config::templates::TemplateParameter`.
    pub parameters: Json,
    /// Answers that are ready: an array of `config::templates::TemplatePreset`.
    pub presets: Json,
    /// How long a workspace runs after a start, in milliseconds; 0 = for ever.
    pub default_ttl_ms: i64,
    /// How far activity puts the end off, in milliseconds from then.
    pub activity_bump_ms: i64,
    /// Nothing new is built from it.
    pub deprecated: bool,
    /// Where it is declared.
    pub source: Source,
    /// Nobody sees it any more.
    pub deleted: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed.
    pub updated_at: Timestamp,
}

/// What of a template is to be changed. `None` keeps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TemplatePatch {
    /// New display name.
    pub display_name: Option<String>,
    /// New description.
    pub description: Option<String>,
    /// New time to live in milliseconds.
    pub default_ttl_ms: Option<i64>,
    /// New activity bump in milliseconds.
    pub activity_bump_ms: Option<i64>,
    /// Whether nothing new is built from it.
    pub deprecated: Option<bool>,
}

/// A workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkspaceRecord {
    /// Id.
    pub id: WorkspaceId,
    /// Unique among the owner's.
    pub name: String,
    /// Whose.
    pub owner_id: UserId,
    /// Organization, that of the chats that use it.
    pub organization_id: OrganizationId,
    /// What it is built from.
    pub template_id: TemplateId,
    /// The answers to what its template asks: an object of texts.
    pub parameters: Json,
    /// How long it runs after a start, in milliseconds; `None` = as the template says, 0 = for ever.
    pub ttl_ms: Option<i64>,
    /// When it is stopped by itself.
    pub deadline: Option<Timestamp>,
    /// When a chat used it last.
    pub last_used_at: Timestamp,
    /// The newest of its builds.
    pub latest_build_id: BuildId,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed.
    pub updated_at: Timestamp,
}

/// What of a workspace is to be changed. `None` keeps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WorkspacePatch {
    /// New name.
    pub name: Option<String>,
    /// New time to live in milliseconds; `Some(None)` = as the template says.
    pub ttl_ms: Option<Option<i64>>,
}

/// A build: one start, stop or deletion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildRecord {
    /// Id.
    pub id: BuildId,
    /// Of which workspace.
    pub workspace_id: WorkspaceId,
    /// 1, 2, … of the workspace.
    pub build_number: i64,
    /// What it does.
    pub transition: Transition,
    /// How far it is.
    pub status: BuildStatus,
    /// Why it was made.
    pub reason: BuildReason,
    /// Who asked for it.
    pub initiator_id: Option<UserId>,
    /// Why it failed.
    pub error: Option<String>,
    /// The replica that runs it.
    pub worker_id: Option<WorkerId>,
    /// Until when that replica says so.
    pub lease_until: Option<Timestamp>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

/// A build to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewBuild {
    /// Id.
    pub id: BuildId,
    /// Of which workspace.
    pub workspace_id: WorkspaceId,
    /// What it does.
    pub transition: Transition,
    /// Why.
    pub reason: BuildReason,
    /// Who asked.
    pub initiator_id: Option<UserId>,
}

/// A line of a build's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildLog {
    /// 1, 2, … of the build.
    pub seq: i64,
    /// When it was written.
    pub created_at: Timestamp,
    /// Who wrote it.
    pub source: LogSource,
    /// The line, without its end.
    pub output: String,
}

/// An agent of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentRecord {
    /// Id.
    pub id: AgentId,
    /// Of which build.
    pub build_id: BuildId,
    /// The agent that it is a part of; `None` for a root agent.
    pub parent_id: Option<AgentId>,
    /// Name, unique in the build.
    pub name: String,
    /// Place among the agents of the build.
    pub display_order: i64,
    /// SHA-256 of its token.
    pub token_hash: Option<Vec<u8>>,
    /// A person runs its process.
    pub external: bool,
    /// Its operating system, as it said; empty before.
    pub operating_system: String,
    /// Its processor, as it said; empty before.
    pub architecture: String,
    /// Its version, as it said; empty before.
    pub version: String,
    /// Its folder, as it said; empty before.
    pub directory: String,
    /// How long its first connection may take; 0 = for ever.
    pub connection_timeout_seconds: i64,
    /// When it connected first.
    pub first_connected_at: Option<Timestamp>,
    /// When it was heard of last.
    pub last_connected_at: Option<Timestamp>,
    /// When its link ended.
    pub disconnected_at: Option<Timestamp>,
    /// The replica that holds its link.
    pub worker_id: Option<WorkerId>,
    /// Which link that is.
    pub link_id: Option<Uuid>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A workspace with what it consists of now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkspaceView {
    /// The workspace.
    pub workspace: WorkspaceRecord,
    /// Name of its owner.
    pub owner_name: String,
    /// What it is built from.
    pub template: TemplateRecord,
    /// Its newest build.
    pub build: BuildRecord,
    /// The agents of that build.
    pub agents: Vec<AgentRecord>,
}

/// Which workspaces are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WorkspaceFilter {
    /// Only this one.
    pub id: Option<WorkspaceId>,
    /// Only of this user.
    pub owner: Option<UserId>,
    /// Only of this name.
    pub name: Option<String>,
    /// At most so many.
    pub limit: i64,
    /// So many are left out before.
    pub offset: i64,
}

/// A build that a replica has taken on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedBuild {
    /// The workspace, its template, the build itself.
    pub view: WorkspaceView,
    /// Whoever ran it before is gone, in the middle of it.
    pub abandoned: bool,
}

/// How a build ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildEnd {
    /// Which.
    pub build: BuildId,
    /// Who ran it.
    pub worker: WorkerId,
    /// Why it failed; `None` = it worked.
    pub error: Option<String>,
    /// After a start: how long the workspace runs; zero = for ever.
    pub ttl: Duration,
}

/// What an agent says of itself when it connects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AgentFacts {
    /// Operating system.
    pub operating_system: String,
    /// Processor.
    pub architecture: String,
    /// Version.
    pub version: String,
    /// Folder.
    pub directory: String,
}
