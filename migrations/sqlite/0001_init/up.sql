-- Tables of the first release. UUIDs are 16-byte blobs (version 7); times are microseconds since 1970 UTC;
-- INTEGERs are 0 or 1; JSON is text.

CREATE TABLE organizations (
    id BLOB PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    display_name TEXT NOT NULL,
    is_default INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE users (
    id BLOB PRIMARY KEY,
    username TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    email TEXT NOT NULL,
    is_admin INTEGER NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('active', 'suspended')),
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE organization_members (
    organization_id BLOB NOT NULL REFERENCES organizations (id),
    user_id BLOB NOT NULL REFERENCES users (id),
    created_at INTEGER NOT NULL,
    PRIMARY KEY (user_id, organization_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE api_tokens (
    id TEXT PRIMARY KEY,
    user_id BLOB NOT NULL REFERENCES users (id),
    hash BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX api_tokens_user ON api_tokens (user_id);

CREATE TABLE chats (
    id BLOB PRIMARY KEY,
    organization_id BLOB NOT NULL REFERENCES organizations (id),
    owner_id BLOB NOT NULL REFERENCES users (id),
    parent_chat_id BLOB REFERENCES chats (id),
    root_chat_id BLOB NOT NULL,
    title TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('waiting', 'running', 'interrupting', 'requires_action', 'error')),
    archived INTEGER NOT NULL DEFAULT 0,
    worker_id BLOB,
    runner_id BLOB,
    last_error TEXT,
    retry_state TEXT,
    requires_action_deadline_at INTEGER,
    compaction_requested_at INTEGER,
    snapshot_version INTEGER NOT NULL,
    history_version INTEGER NOT NULL,
    queue_version INTEGER NOT NULL,
    retry_state_version INTEGER NOT NULL,
    generation_attempt INTEGER NOT NULL,
    last_model_config_id BLOB NOT NULL,
    last_reasoning_effort TEXT,
    plan_mode TEXT,
    client_type TEXT NOT NULL,
    labels TEXT NOT NULL,
    mcp_server_ids TEXT NOT NULL,
    dynamic_tools TEXT,
    last_turn_summary TEXT,
    last_read_message_id INTEGER NOT NULL DEFAULT 0,
    pin_order INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX chats_owner ON chats (owner_id, parent_chat_id);
CREATE INDEX chats_root ON chats (root_chat_id);
CREATE INDEX chats_runnable ON chats (id) WHERE status IN ('running', 'interrupting', 'requires_action');

CREATE TABLE chat_messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    chat_id BLOB NOT NULL REFERENCES chats (id),
    revision INTEGER NOT NULL,
    deleted INTEGER NOT NULL DEFAULT 0,
    role TEXT NOT NULL CHECK (role IN ('system', 'user', 'assistant', 'tool')),
    visibility TEXT NOT NULL CHECK (visibility IN ('user', 'model', 'both')),
    content TEXT NOT NULL,
    native TEXT,
    created_by BLOB,
    model_config_id BLOB,
    compressed INTEGER NOT NULL DEFAULT 0,
    input_tokens INTEGER,
    output_tokens INTEGER,
    total_tokens INTEGER,
    reasoning_tokens INTEGER,
    cache_creation_tokens INTEGER,
    cache_read_tokens INTEGER,
    context_limit INTEGER,
    total_cost_micros INTEGER,
    runtime_ms INTEGER,
    provider_response_id TEXT,
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX chat_messages_page ON chat_messages (chat_id, id);
CREATE INDEX chat_messages_revision ON chat_messages (chat_id, revision);

CREATE TABLE chat_queued_messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    chat_id BLOB NOT NULL REFERENCES chats (id),
    position INTEGER NOT NULL,
    content TEXT NOT NULL,
    created_by BLOB,
    model_config_id BLOB,
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX chat_queued_messages_order ON chat_queued_messages (chat_id, position);

CREATE TABLE chat_heartbeats (
    chat_id BLOB PRIMARY KEY,
    worker_id BLOB NOT NULL,
    runner_id BLOB NOT NULL,
    beat_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX chat_heartbeats_worker ON chat_heartbeats (worker_id);

CREATE TABLE replicas (
    id BLOB PRIMARY KEY,
    relay_url TEXT NOT NULL,
    beat_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE idempotency_keys (
    user_id BLOB NOT NULL,
    key TEXT NOT NULL,
    request_hash BLOB NOT NULL,
    status INTEGER NOT NULL,
    answer TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (user_id, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE deployment (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
