-- Workspaces: what they are built from, their builds with what those printed, and the agents in them.

CREATE TABLE templates (
    id BLOB PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    display_name TEXT NOT NULL,
    description TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('local', 'command', 'external')),
    directory TEXT NOT NULL,
    start_command TEXT,
    stop_command TEXT,
    status_command TEXT,
    -- How long a workspace runs after a start; 0 = for ever.
    default_ttl_ms INTEGER NOT NULL,
    activity_bump_ms INTEGER NOT NULL,
    -- Nothing new is built from it.
    deprecated INTEGER NOT NULL,
    source TEXT NOT NULL CHECK (source IN ('config', 'api')),
    -- Nobody sees it any more; what was built from it can still be stopped and deleted.
    deleted INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

CREATE TABLE workspaces (
    id BLOB PRIMARY KEY,
    name TEXT NOT NULL,
    owner_id BLOB NOT NULL REFERENCES users (id),
    organization_id BLOB NOT NULL REFERENCES organizations (id),
    template_id BLOB NOT NULL REFERENCES templates (id),
    -- NULL = as the template says; 0 = for ever.
    ttl_ms INTEGER,
    -- When it is stopped by itself.
    deadline INTEGER,
    last_used_at INTEGER NOT NULL,
    -- The newest of its builds.
    latest_build_id BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    UNIQUE (owner_id, name)
) STRICT;
CREATE INDEX workspaces_latest_build ON workspaces (latest_build_id);
CREATE INDEX workspaces_deadline ON workspaces (deadline) WHERE deadline IS NOT NULL;

CREATE TABLE workspace_builds (
    id BLOB PRIMARY KEY,
    workspace_id BLOB NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    build_number INTEGER NOT NULL,
    transition TEXT NOT NULL CHECK (transition IN ('start', 'stop', 'delete')),
    status TEXT NOT NULL CHECK (status IN ('pending', 'running', 'succeeded', 'failed')),
    reason TEXT NOT NULL CHECK (reason IN ('initiator', 'chat', 'autostop', 'operator')),
    initiator_id BLOB REFERENCES users (id),
    error TEXT,
    -- The replica that runs it, until when it says so.
    worker_id BLOB,
    lease_until INTEGER,
    created_at INTEGER NOT NULL,
    started_at INTEGER,
    finished_at INTEGER,
    UNIQUE (workspace_id, build_number)
) STRICT;
CREATE INDEX workspace_builds_open ON workspace_builds (created_at) WHERE status IN ('pending', 'running');

CREATE TABLE workspace_build_logs (
    build_id BLOB NOT NULL REFERENCES workspace_builds (id) ON DELETE CASCADE,
    seq INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    source TEXT NOT NULL CHECK (source IN ('chatd', 'stdout', 'stderr')),
    output TEXT NOT NULL,
    PRIMARY KEY (build_id, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE workspace_agents (
    id BLOB PRIMARY KEY,
    build_id BLOB NOT NULL REFERENCES workspace_builds (id) ON DELETE CASCADE,
    parent_id BLOB REFERENCES workspace_agents (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    display_order INTEGER NOT NULL,
    -- SHA-256 of its token; NULL = nobody has one yet.
    token_hash BLOB UNIQUE,
    -- A person runs its process.
    external INTEGER NOT NULL,
    operating_system TEXT NOT NULL,
    architecture TEXT NOT NULL,
    version TEXT NOT NULL,
    directory TEXT NOT NULL,
    connection_timeout_seconds INTEGER NOT NULL,
    first_connected_at INTEGER,
    last_connected_at INTEGER,
    disconnected_at INTEGER,
    -- The replica that holds its link, and which link that is.
    worker_id BLOB,
    link_id BLOB,
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX workspace_agents_build ON workspace_agents (build_id);
