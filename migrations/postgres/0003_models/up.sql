-- Providers, their keys, the keys of users, and models. Rows whose source is "config" are kept in step
-- with the configuration at each start. A deleted row stays for the names of what chats have used.

CREATE TABLE ai_providers (
    id uuid PRIMARY KEY,
    type text NOT NULL,
    name text NOT NULL,
    display_name text NOT NULL,
    icon text NOT NULL,
    enabled boolean NOT NULL,
    base_url text,
    central_api_key_enabled boolean NOT NULL,
    allow_user_api_key boolean NOT NULL,
    allow_central_api_key_fallback boolean NOT NULL,
    source text NOT NULL CHECK (source IN ('api', 'config')),
    deleted boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE UNIQUE INDEX ai_providers_name ON ai_providers (name) WHERE NOT deleted;

-- The sealed form of store::sealing.
CREATE TABLE ai_provider_keys (
    id uuid PRIMARY KEY,
    provider_id uuid NOT NULL REFERENCES ai_providers (id),
    api_key bytea NOT NULL,
    hint text NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE INDEX ai_provider_keys_provider ON ai_provider_keys (provider_id);

CREATE TABLE user_provider_keys (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users (id),
    provider_id uuid NOT NULL REFERENCES ai_providers (id),
    api_key bytea NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE UNIQUE INDEX user_provider_keys_user ON user_provider_keys (user_id, provider_id);
CREATE INDEX user_provider_keys_provider ON user_provider_keys (provider_id);

CREATE TABLE model_configs (
    id uuid PRIMARY KEY,
    provider_id uuid NOT NULL REFERENCES ai_providers (id),
    -- The name in the configuration file; none for models made through the API.
    name text,
    model text NOT NULL,
    display_name text NOT NULL,
    enabled boolean NOT NULL,
    is_default boolean NOT NULL,
    context_limit bigint NOT NULL,
    compression_threshold bigint NOT NULL,
    model_config json NOT NULL,
    source text NOT NULL CHECK (source IN ('api', 'config')),
    deleted boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE INDEX model_configs_provider ON model_configs (provider_id);
