-- Records beside chats: servers of tools (MCP) with the tokens of users for them, skills that users wrote,
-- and what was recorded of model calls for debugging.

-- Rows whose source is "config" are kept in step with the configuration at each start. Columns of type
-- bytea hold the sealed form of store::sealing.
CREATE TABLE mcp_servers (
    id uuid PRIMARY KEY,
    slug text NOT NULL UNIQUE,
    display_name text NOT NULL,
    description text NOT NULL,
    icon_url text NOT NULL,
    transport text NOT NULL CHECK (transport IN ('streamable_http', 'sse')),
    url text NOT NULL,
    auth_type text NOT NULL CHECK (auth_type IN ('none', 'oauth2', 'api_key', 'custom_headers', 'user_oidc')),
    oauth2_client_id text,
    oauth2_client_secret bytea,
    oauth2_auth_url text,
    oauth2_token_url text,
    oauth2_scopes text,
    -- Client and addresses were found out, and not given by an administrator.
    oauth2_discovered boolean NOT NULL,
    api_key_header text,
    api_key_value bytea,
    custom_headers bytea,
    tool_allow_list json NOT NULL,
    tool_deny_list json NOT NULL,
    availability text NOT NULL CHECK (availability IN ('force_on', 'default_on', 'default_off')),
    enabled boolean NOT NULL,
    model_intent boolean NOT NULL,
    allow_in_plan_mode boolean NOT NULL,
    forward_coder_headers boolean NOT NULL,
    source text NOT NULL CHECK (source IN ('api', 'config')),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);

CREATE TABLE mcp_user_tokens (
    id uuid PRIMARY KEY,
    server_id uuid NOT NULL REFERENCES mcp_servers (id) ON DELETE CASCADE,
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    access_token bytea NOT NULL,
    refresh_token bytea,
    token_type text NOT NULL,
    expires_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE UNIQUE INDEX mcp_user_tokens_user ON mcp_user_tokens (user_id, server_id);
CREATE INDEX mcp_user_tokens_server ON mcp_user_tokens (server_id);

CREATE TABLE user_skills (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name text NOT NULL,
    description text NOT NULL,
    content text NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE UNIQUE INDEX user_skills_name ON user_skills (user_id, name);

CREATE TABLE debug_runs (
    id uuid PRIMARY KEY,
    chat_id uuid NOT NULL REFERENCES chats (id) ON DELETE CASCADE,
    root_chat_id uuid,
    parent_chat_id uuid,
    model_config_id uuid,
    trigger_message_id bigint,
    history_tip_message_id bigint,
    kind text NOT NULL CHECK (kind IN ('chat_turn', 'title_generation', 'quickgen', 'compaction')),
    status text NOT NULL CHECK (status IN ('in_progress', 'completed', 'error', 'interrupted')),
    provider text,
    model text,
    summary json NOT NULL,
    started_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    finished_at timestamptz
);
CREATE INDEX debug_runs_chat ON debug_runs (chat_id, started_at);
CREATE INDEX debug_runs_updated ON debug_runs (updated_at);
CREATE INDEX debug_runs_open ON debug_runs (updated_at) WHERE status = 'in_progress';

CREATE TABLE debug_steps (
    id uuid PRIMARY KEY,
    run_id uuid NOT NULL REFERENCES debug_runs (id) ON DELETE CASCADE,
    chat_id uuid NOT NULL,
    step_number bigint NOT NULL,
    operation text NOT NULL CHECK (operation IN ('stream', 'generate')),
    status text NOT NULL CHECK (status IN ('in_progress', 'completed', 'error', 'interrupted')),
    history_tip_message_id bigint,
    assistant_message_id bigint,
    normalized_request json NOT NULL,
    normalized_response json,
    usage json,
    attempts json NOT NULL,
    error json,
    metadata json NOT NULL,
    started_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    finished_at timestamptz
);
CREATE UNIQUE INDEX debug_steps_number ON debug_steps (run_id, step_number);
