//! Diesel's view of templates, workspaces, builds and agents.

use super::{
    error::{Error, Result},
    model_rows::{source_name, source_of},
    records::workspaces::{
        AgentRecord, BuildLog, BuildReason, BuildRecord, BuildStatus, LogSource, TemplateKind,
        TemplateRecord, Transition, WorkspaceRecord,
    },
    schema::{templates, workspace_agents, workspace_builds, workspaces},
    types::{Id, Raw, Ts},
};
use crate::ids::{AgentId, BuildId, OrganizationId, TemplateId, UserId, WorkerId, WorkspaceId};
use diesel::{
    Selectable,
    prelude::{AsChangeset, Identifiable, Insertable, Queryable},
};

fn word<T>(what: &str, text: &str, found: Option<T>) -> Result<T> {
    found.ok_or_else(|| Error::Corrupt(format!("{what} {text:?}")))
}

#[derive(Debug, Clone, Queryable, Selectable, Insertable, AsChangeset, Identifiable)]
#[diesel(table_name = templates, treat_none_as_null = true)]
pub(super) struct TemplateRow {
    pub id: Id,
    pub name: String,
    pub display_name: String,
    pub description: String,
    pub kind: String,
    pub directory: String,
    pub start_command: Option<String>,
    pub stop_command: Option<String>,
    pub status_command: Option<String>,
    pub default_ttl_ms: i64,
    pub activity_bump_ms: i64,
    pub deprecated: bool,
    pub source: String,
    pub deleted: bool,
    pub created_at: Ts,
    pub updated_at: Ts,
    pub parameters: Raw,
    pub presets: Raw,
}

impl From<TemplateRecord> for TemplateRow {
    fn from(r: TemplateRecord) -> Self {
        Self {
            id: Id(r.id.0),
            name: r.name,
            display_name: r.display_name,
            description: r.description,
            kind: r.kind.as_str().into(),
            directory: r.directory,
            start_command: r.start_command,
            stop_command: r.stop_command,
            status_command: r.status_command,
            default_ttl_ms: r.default_ttl_ms,
            activity_bump_ms: r.activity_bump_ms,
            deprecated: r.deprecated,
            source: source_name(r.source).into(),
            deleted: r.deleted,
            created_at: Ts(r.created_at),
            updated_at: Ts(r.updated_at),
            parameters: Raw(r.parameters),
            presets: Raw(r.presets),
        }
    }
}

impl TemplateRow {
    pub fn record(self) -> Result<TemplateRecord> {
        Ok(TemplateRecord {
            id: TemplateId(self.id.0),
            kind: word("template kind", &self.kind, TemplateKind::of(&self.kind))?,
            source: source_of(&self.source)?,
            name: self.name,
            display_name: self.display_name,
            description: self.description,
            directory: self.directory,
            start_command: self.start_command,
            stop_command: self.stop_command,
            status_command: self.status_command,
            parameters: self.parameters.0,
            presets: self.presets.0,
            default_ttl_ms: self.default_ttl_ms,
            activity_bump_ms: self.activity_bump_ms,
            deprecated: self.deprecated,
            deleted: self.deleted,
            created_at: self.created_at.0,
            updated_at: self.updated_at.0,
        })
    }
}

#[derive(Debug, Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = workspaces)]
pub(super) struct WorkspaceRow {
    pub id: Id,
    pub name: String,
    pub owner_id: Id,
    pub organization_id: Id,
    pub template_id: Id,
    pub ttl_ms: Option<i64>,
    pub deadline: Option<Ts>,
    pub last_used_at: Ts,
    pub latest_build_id: Id,
    pub created_at: Ts,
    pub updated_at: Ts,
    pub parameters: Raw,
}

impl From<WorkspaceRecord> for WorkspaceRow {
    fn from(r: WorkspaceRecord) -> Self {
        Self {
            id: Id(r.id.0),
            name: r.name,
            owner_id: Id(r.owner_id.0),
            organization_id: Id(r.organization_id.0),
            template_id: Id(r.template_id.0),
            ttl_ms: r.ttl_ms,
            deadline: r.deadline.map(Ts),
            last_used_at: Ts(r.last_used_at),
            latest_build_id: Id(r.latest_build_id.0),
            created_at: Ts(r.created_at),
            updated_at: Ts(r.updated_at),
            parameters: Raw(r.parameters),
        }
    }
}

impl From<WorkspaceRow> for WorkspaceRecord {
    fn from(r: WorkspaceRow) -> Self {
        Self {
            id: WorkspaceId(r.id.0),
            name: r.name,
            owner_id: UserId(r.owner_id.0),
            organization_id: OrganizationId(r.organization_id.0),
            template_id: TemplateId(r.template_id.0),
            parameters: r.parameters.0,
            ttl_ms: r.ttl_ms,
            deadline: r.deadline.map(|t| t.0),
            last_used_at: r.last_used_at.0,
            latest_build_id: BuildId(r.latest_build_id.0),
            created_at: r.created_at.0,
            updated_at: r.updated_at.0,
        }
    }
}

#[derive(Debug, Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = workspace_builds)]
pub(super) struct BuildRow {
    pub id: Id,
    pub workspace_id: Id,
    pub build_number: i64,
    pub transition: String,
    pub status: String,
    pub reason: String,
    pub initiator_id: Option<Id>,
    pub error: Option<String>,
    pub worker_id: Option<Id>,
    pub lease_until: Option<Ts>,
    pub created_at: Ts,
    pub started_at: Option<Ts>,
    pub finished_at: Option<Ts>,
}

impl BuildRow {
    pub fn record(self) -> Result<BuildRecord> {
        Ok(BuildRecord {
            id: BuildId(self.id.0),
            workspace_id: WorkspaceId(self.workspace_id.0),
            build_number: self.build_number,
            transition: word("build transition", &self.transition, Transition::of(&self.transition))?,
            status: word("build status", &self.status, BuildStatus::of(&self.status))?,
            reason: word("build reason", &self.reason, BuildReason::of(&self.reason))?,
            initiator_id: self.initiator_id.map(|i| UserId(i.0)),
            error: self.error,
            worker_id: self.worker_id.map(|i| WorkerId(i.0)),
            lease_until: self.lease_until.map(|t| t.0),
            created_at: self.created_at.0,
            started_at: self.started_at.map(|t| t.0),
            finished_at: self.finished_at.map(|t| t.0),
        })
    }
}

/// (seq, created_at, source, output)
pub(super) type LogRow = (i64, Ts, String, String);

pub(super) fn log((seq, created_at, source, output): LogRow) -> Result<BuildLog> {
    let source = word("log source", &source, LogSource::of(&source))?;
    Ok(BuildLog { seq, created_at: created_at.0, source, output })
}

#[derive(Debug, Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = workspace_agents)]
pub(super) struct AgentRow {
    pub id: Id,
    pub build_id: Id,
    pub parent_id: Option<Id>,
    pub name: String,
    pub display_order: i64,
    pub token_hash: Option<Vec<u8>>,
    pub external: bool,
    pub operating_system: String,
    pub architecture: String,
    pub version: String,
    pub directory: String,
    pub connection_timeout_seconds: i64,
    pub first_connected_at: Option<Ts>,
    pub last_connected_at: Option<Ts>,
    pub disconnected_at: Option<Ts>,
    pub worker_id: Option<Id>,
    pub link_id: Option<Id>,
    pub created_at: Ts,
}

impl From<AgentRecord> for AgentRow {
    fn from(r: AgentRecord) -> Self {
        Self {
            id: Id(r.id.0),
            build_id: Id(r.build_id.0),
            parent_id: r.parent_id.map(|i| Id(i.0)),
            name: r.name,
            display_order: r.display_order,
            token_hash: r.token_hash,
            external: r.external,
            operating_system: r.operating_system,
            architecture: r.architecture,
            version: r.version,
            directory: r.directory,
            connection_timeout_seconds: r.connection_timeout_seconds,
            first_connected_at: r.first_connected_at.map(Ts),
            last_connected_at: r.last_connected_at.map(Ts),
            disconnected_at: r.disconnected_at.map(Ts),
            worker_id: r.worker_id.map(|i| Id(i.0)),
            link_id: r.link_id.map(Id),
            created_at: Ts(r.created_at),
        }
    }
}

impl From<AgentRow> for AgentRecord {
    fn from(r: AgentRow) -> Self {
        Self {
            id: AgentId(r.id.0),
            build_id: BuildId(r.build_id.0),
            parent_id: r.parent_id.map(|i| AgentId(i.0)),
            name: r.name,
            display_order: r.display_order,
            token_hash: r.token_hash,
            external: r.external,
            operating_system: r.operating_system,
            architecture: r.architecture,
            version: r.version,
            directory: r.directory,
            connection_timeout_seconds: r.connection_timeout_seconds,
            first_connected_at: r.first_connected_at.map(|t| t.0),
            last_connected_at: r.last_connected_at.map(|t| t.0),
            disconnected_at: r.disconnected_at.map(|t| t.0),
            worker_id: r.worker_id.map(|i| WorkerId(i.0)),
            link_id: r.link_id.map(|i| i.0),
            created_at: r.created_at.0,
        }
    }
}
