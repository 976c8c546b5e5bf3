//! Operations on templates, workspaces, their builds and agents.

use super::{
    AsyncConnection, Engine, Error, Instant, Result, Store, TRIES, TransactionManager, deadpool_take,
    detached, is_collision, metrics, postgres, sqlite,
};
use crate::{
    clock::Timestamp,
    ids::{AgentId, BuildId, ChatId, OrganizationId, TemplateId, UserId, WorkerId, WorkspaceId},
    store::records::workspaces::{
        AgentFacts, AgentRecord, BuildEnd, BuildLog, BuildRecord, ClaimedBuild, LogSource, NewBuild,
        TemplatePatch, TemplateRecord, WorkspaceFilter, WorkspacePatch, WorkspaceRecord, WorkspaceView,
    },
};
use std::time::Duration;
use uuid::Uuid;

operations! {
    /// Templates by name.
    read pub templates = templates::list() -> Vec<TemplateRecord>;
    /// Whether there is any.
    read pub has_templates = templates::any() -> bool;
    /// One template.
    read pub template = templates::get(id: TemplateId) -> TemplateRecord;
    /// Makes a template.
    write pub create_template = templates::create(template: TemplateRecord) -> TemplateRecord;
    /// Changes a template.
    write pub patch_template = templates::patch(id: TemplateId, patch: TemplatePatch, now: Timestamp) -> TemplateRecord;
    /// Hides a template; what was built from it stays.
    write pub delete_template = templates::remove(id: TemplateId, now: Timestamp) -> ();
    /// Brings the templates of the configuration in step with it.
    write pub sync_templates = templates::sync_declared(declared: Vec<TemplateRecord>, now: Timestamp) -> ();
    /// Makes a workspace with its first build; an owner has at most `max`, 0 = no limit.
    write pub create_workspace = workspaces::create(workspace: WorkspaceRecord, build: NewBuild, max: i64, now: Timestamp) -> WorkspaceView;
    /// The same for a chat, which is bound to it at once.
    write pub create_workspace_for_chat = workspaces::create_for_chat(chat: ChatId, workspace: WorkspaceRecord, build: NewBuild, max: i64, now: Timestamp) -> WorkspaceView;
    /// Workspaces by name.
    snapshot pub workspaces = workspaces::list(filter: WorkspaceFilter) -> Vec<WorkspaceView>;
    /// How many workspaces somebody, or everybody, has.
    read pub count_workspaces = workspaces::count(owner: Option<UserId>) -> i64;
    /// One workspace.
    snapshot pub workspace = workspaces::get(id: WorkspaceId) -> WorkspaceView;
    /// Who owns a workspace, and in which organization.
    read pub workspace_place = workspaces::place(id: WorkspaceId) -> (UserId, OrganizationId);
    /// Changes a workspace.
    write pub patch_workspace = workspaces::patch(id: WorkspaceId, patch: WorkspacePatch, now: Timestamp) -> WorkspaceView;
    /// A chat used a workspace.
    write pub bump_workspace = workspaces::bump(id: WorkspaceId, now: Timestamp) -> ();
    /// The workspaces of these chats, each once.
    read pub workspaces_of_chats = workspaces::of_chats(ids: Vec<ChatId>) -> Vec<WorkspaceId>;
    /// Workspaces whose time is over.
    read pub due_workspaces = workspaces::due(now: Timestamp, limit: i64) -> Vec<WorkspaceId>;
    /// Builds of a workspace, newest first.
    read pub builds = workspaces::builds(id: WorkspaceId, limit: i64) -> Vec<BuildRecord>;
    /// One build.
    read pub build = workspaces::build(id: BuildId) -> BuildRecord;
    /// Asks for a build; [`Error::Conflict`] while another one is under way.
    write pub begin_build = workspace_builds::begin(new: NewBuild, now: Timestamp) -> BuildRecord;
    /// Asks for the end of a workspace whose time is over. Whether it did.
    write pub autostop = workspace_builds::autostop(workspace: WorkspaceId, id: BuildId, now: Timestamp) -> bool;
    /// Workspaces that should run, and of which it can be told whether they do.
    snapshot pub workspaces_with_status = workspaces::with_status(after: WorkspaceId, limit: i64) -> Vec<WorkspaceView>;
    /// Asks for a build, unless there is another one since the build `seen`. Whether it did.
    write pub begin_build_after = workspace_builds::begin_after(seen: BuildId, new: NewBuild, now: Timestamp) -> bool;
    /// Whether there is a build that nobody runs.
    read pub has_builds = workspace_builds::has_open(now: Timestamp) -> bool;
    /// Takes on the oldest build that nobody runs.
    write pub claim_build = workspace_builds::claim(worker: WorkerId, lease: Duration, now: Timestamp) -> Option<ClaimedBuild>;
    /// Ends the leases of all builds.
    write pub(in crate::store) forget_build_leases = workspace_builds::forget_leases() -> usize;
    /// Goes on running a build; [`Error::Stale`] when somebody else does.
    write pub renew_build = workspace_builds::renew(build: BuildId, worker: WorkerId, lease: Duration, now: Timestamp) -> ();
    /// Adds lines to the log of a build.
    write pub append_build_log = workspace_builds::append(build: BuildId, worker: WorkerId, lines: Vec<(Timestamp, LogSource, String)>) -> ();
    /// Lines of a build's log after a number.
    read pub build_logs = workspace_builds::logs(build: BuildId, after: i64, limit: i64) -> Vec<BuildLog>;
    /// Enters the agent that a build starts.
    write pub enter_agent = workspace_builds::enter_agent(worker: WorkerId, agent: AgentRecord) -> ();
    /// Ends a build.
    write pub finish_build = workspace_builds::finish(end: BuildEnd, now: Timestamp) -> ();
    /// One agent.
    read pub agent = workspace_agents::get(id: AgentId) -> AgentRecord;
    /// The workspace of an agent.
    read pub workspace_of_agent = workspace_agents::workspace(id: AgentId) -> WorkspaceId;
    /// The agent whose token has this hash, while its build is the newest.
    read pub agent_by_token = workspace_agents::by_token(hash: Vec<u8>) -> AgentRecord;
    /// Gives an agent another token.
    write pub set_agent_token = workspace_agents::set_token(id: AgentId, hash: Vec<u8>, now: Timestamp) -> ();
    /// A link of an agent was made, in place of the one before.
    write pub agent_connected = workspace_agents::connected(id: AgentId, worker: WorkerId, link: Uuid, hash: Vec<u8>, facts: AgentFacts, now: Timestamp) -> AgentRecord;
    /// A link lives; false when another one has replaced it.
    write pub agent_beat = workspace_agents::beat(id: AgentId, link: Uuid, now: Timestamp) -> bool;
    /// A link ended.
    write pub agent_disconnected = workspace_agents::disconnected(id: AgentId, link: Uuid, now: Timestamp) -> ();
}
