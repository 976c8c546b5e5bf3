-- Workspaces: what they are built from, their builds with what those printed, and the agents in them.

CREATE TABLE templates (
    id uuid PRIMARY KEY,
    name text NOT NULL UNIQUE,
    display_name text NOT NULL,
    description text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('local', 'command', 'external')),
    directory text NOT NULL,
    start_command text,
    stop_command text,
    status_command text,
    -- How long a workspace runs after a start; 0 = for ever.
    default_ttl_ms bigint NOT NULL,
    activity_bump_ms bigint NOT NULL,
    -- Nothing new is built from it.
    deprecated boolean NOT NULL,
    source text NOT NULL CHECK (source IN ('config', 'api')),
    -- Nobody sees it any more; what was built from it can still be stopped and deleted.
    deleted boolean NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);

CREATE TABLE workspaces (
    id uuid PRIMARY KEY,
    name text NOT NULL,
    owner_id uuid NOT NULL REFERENCES users (id),
    organization_id uuid NOT NULL REFERENCES organizations (id),
    template_id uuid NOT NULL REFERENCES templates (id),
    -- NULL = as the template says; 0 = for ever.
    ttl_ms bigint,
    -- When it is stopped by itself.
    deadline timestamptz,
    last_used_at timestamptz NOT NULL,
    -- The newest of its builds.
    latest_build_id uuid NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    UNIQUE (owner_id, name)
);
CREATE INDEX workspaces_latest_build ON workspaces (latest_build_id);
CREATE INDEX workspaces_deadline ON workspaces (deadline) WHERE deadline IS NOT NULL;

CREATE TABLE workspace_builds (
    id uuid PRIMARY KEY,
    workspace_id uuid NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    build_number bigint NOT NULL,
    transition text NOT NULL CHECK (transition IN ('start', 'stop', 'delete')),
    status text NOT NULL CHECK (status IN ('pending', 'running', 'succeeded', 'failed')),
    reason text NOT NULL CHECK (reason IN ('initiator', 'chat', 'autostop', 'operator')),
    initiator_id uuid REFERENCES users (id),
    error text,
    -- The replica that runs it, until when it says so.
    worker_id uuid,
    lease_until timestamptz,
    created_at timestamptz NOT NULL,
    started_at timestamptz,
    finished_at timestamptz,
    UNIQUE (workspace_id, build_number)
);
CREATE INDEX workspace_builds_open ON workspace_builds (created_at) WHERE status IN ('pending', 'running');

CREATE TABLE workspace_build_logs (
    build_id uuid NOT NULL REFERENCES workspace_builds (id) ON DELETE CASCADE,
    seq bigint NOT NULL,
    created_at timestamptz NOT NULL,
    source text NOT NULL CHECK (source IN ('chatd', 'stdout', 'stderr')),
    output text NOT NULL,
    PRIMARY KEY (build_id, seq)
);

CREATE TABLE workspace_agents (
    id uuid PRIMARY KEY,
    build_id uuid NOT NULL REFERENCES workspace_builds (id) ON DELETE CASCADE,
    parent_id uuid REFERENCES workspace_agents (id) ON DELETE CASCADE,
    name text NOT NULL,
    display_order bigint NOT NULL,
    -- SHA-256 of its token; NULL = nobody has one yet.
    token_hash bytea UNIQUE,
    -- A person runs its process.
    external boolean NOT NULL,
    operating_system text NOT NULL,
    architecture text NOT NULL,
    version text NOT NULL,
    directory text NOT NULL,
    connection_timeout_seconds bigint NOT NULL,
    first_connected_at timestamptz,
    last_connected_at timestamptz,
    disconnected_at timestamptz,
    -- The replica that holds its link, and which link that is.
    worker_id uuid,
    link_id uuid,
    created_at timestamptz NOT NULL
);
CREATE INDEX workspace_agents_build ON workspace_agents (build_id);
