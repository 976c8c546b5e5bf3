-- Records beside chats: servers of tools (MCP) with the tokens of users for them, skills that users wrote,
-- and what was recorded of model calls for debugging.

-- Rows whose source is "config" are kept in step with the configuration at each start. Columns of type
-- BLOB hold the sealed form of store::sealing.
CREATE TABLE mcp_servers (
    id BLOB PRIMARY KEY,
    slug TEXT NOT NULL UNIQUE,
    display_name TEXT NOT NULL,
    description TEXT NOT NULL,
    icon_url TEXT NOT NULL,
    transport TEXT NOT NULL CHECK (transport IN ('streamable_http', 'sse')),
    url TEXT NOT NULL,
    auth_type TEXT NOT NULL CHECK (auth_type IN ('none', 'oauth2', 'api_key', 'custom_headers', 'user_oidc')),
    oauth2_client_id TEXT,
    oauth2_client_secret BLOB,
    oauth2_auth_url TEXT,
    oauth2_token_url TEXT,
    oauth2_scopes TEXT,
    -- Client and addresses were found out, and not given by an administrator.
    oauth2_discovered INTEGER NOT NULL,
    api_key_header TEXT,
    api_key_value BLOB,
    custom_headers BLOB,
    tool_allow_list TEXT NOT NULL,
    tool_deny_list TEXT NOT NULL,
    availability TEXT NOT NULL CHECK (availability IN ('force_on', 'default_on', 'default_off')),
    enabled INTEGER NOT NULL,
    model_intent INTEGER NOT NULL,
    allow_in_plan_mode INTEGER NOT NULL,
    forward_coder_headers INTEGER NOT NULL,
    source TEXT NOT NULL CHECK (source IN ('api', 'config')),
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE mcp_user_tokens (
    id BLOB PRIMARY KEY,
    server_id BLOB NOT NULL REFERENCES mcp_servers (id) ON DELETE CASCADE,
    user_id BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    access_token BLOB NOT NULL,
    refresh_token BLOB,
    token_type TEXT NOT NULL,
    expires_at INTEGER,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX mcp_user_tokens_user ON mcp_user_tokens (user_id, server_id);
CREATE INDEX mcp_user_tokens_server ON mcp_user_tokens (server_id);

CREATE TABLE user_skills (
    id BLOB PRIMARY KEY,
    user_id BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    content TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX user_skills_name ON user_skills (user_id, name);

CREATE TABLE debug_runs (
    id BLOB PRIMARY KEY,
    chat_id BLOB NOT NULL REFERENCES chats (id) ON DELETE CASCADE,
    root_chat_id BLOB,
    parent_chat_id BLOB,
    model_config_id BLOB,
    trigger_message_id INTEGER,
    history_tip_message_id INTEGER,
    kind TEXT NOT NULL CHECK (kind IN ('chat_turn', 'title_generation', 'quickgen', 'compaction')),
    status TEXT NOT NULL CHECK (status IN ('in_progress', 'completed', 'error', 'interrupted')),
    provider TEXT,
    model TEXT,
    summary TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    finished_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX debug_runs_chat ON debug_runs (chat_id, started_at);
CREATE INDEX debug_runs_updated ON debug_runs (updated_at);
CREATE INDEX debug_runs_open ON debug_runs (updated_at) WHERE status = 'in_progress';

CREATE TABLE debug_steps (
    id BLOB PRIMARY KEY,
    run_id BLOB NOT NULL REFERENCES debug_runs (id) ON DELETE CASCADE,
    chat_id BLOB NOT NULL,
    step_number INTEGER NOT NULL,
    operation TEXT NOT NULL CHECK (operation IN ('stream', 'generate')),
    status TEXT NOT NULL CHECK (status IN ('in_progress', 'completed', 'error', 'interrupted')),
    history_tip_message_id INTEGER,
    assistant_message_id INTEGER,
    normalized_request TEXT NOT NULL,
    normalized_response TEXT,
    usage TEXT,
    attempts TEXT NOT NULL,
    error TEXT,
    metadata TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    finished_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX debug_steps_number ON debug_steps (run_id, step_number);
