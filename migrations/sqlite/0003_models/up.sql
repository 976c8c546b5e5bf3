-- Providers, their keys, the keys of users, and models. Rows whose source is "config" are kept in step
-- with the configuration at each start. A deleted row stays for the names of what chats have used.

CREATE TABLE ai_providers (
    id BLOB PRIMARY KEY,
    type TEXT NOT NULL,
    name TEXT NOT NULL,
    display_name TEXT NOT NULL,
    icon TEXT NOT NULL,
    enabled INTEGER NOT NULL,
    base_url TEXT,
    central_api_key_enabled INTEGER NOT NULL,
    allow_user_api_key INTEGER NOT NULL,
    allow_central_api_key_fallback INTEGER NOT NULL,
    source TEXT NOT NULL CHECK (source IN ('api', 'config')),
    deleted INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX ai_providers_name ON ai_providers (name) WHERE deleted = 0;

-- The sealed form of store::sealing.
CREATE TABLE ai_provider_keys (
    id BLOB PRIMARY KEY,
    provider_id BLOB NOT NULL REFERENCES ai_providers (id),
    api_key BLOB NOT NULL,
    hint TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX ai_provider_keys_provider ON ai_provider_keys (provider_id);

CREATE TABLE user_provider_keys (
    id BLOB PRIMARY KEY,
    user_id BLOB NOT NULL REFERENCES users (id),
    provider_id BLOB NOT NULL REFERENCES ai_providers (id),
    api_key BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX user_provider_keys_user ON user_provider_keys (user_id, provider_id);
CREATE INDEX user_provider_keys_provider ON user_provider_keys (provider_id);

CREATE TABLE model_configs (
    id BLOB PRIMARY KEY,
    provider_id BLOB NOT NULL REFERENCES ai_providers (id),
    -- The name in the configuration file; none for models made through the API.
    name TEXT,
    model TEXT NOT NULL,
    display_name TEXT NOT NULL,
    enabled INTEGER NOT NULL,
    is_default INTEGER NOT NULL,
    context_limit INTEGER NOT NULL,
    compression_threshold INTEGER NOT NULL,
    model_config TEXT NOT NULL,
    source TEXT NOT NULL CHECK (source IN ('api', 'config')),
    deleted INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX model_configs_provider ON model_configs (provider_id);
