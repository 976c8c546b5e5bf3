-- What model calls cost, and how much of it users may spend. The ledger outlives what it speaks of, so
-- it refers to nothing.

CREATE TABLE usage_ledger (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    owner_id BLOB NOT NULL,
    organization_id BLOB NOT NULL,
    chat_id BLOB NOT NULL,
    root_chat_id BLOB NOT NULL,
    model_config_id BLOB,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('chat_turn', 'title', 'label', 'compaction')),
    input_tokens INTEGER,
    output_tokens INTEGER,
    total_tokens INTEGER,
    reasoning_tokens INTEGER,
    cache_creation_tokens INTEGER,
    cache_read_tokens INTEGER,
    cost_micros INTEGER,
    runtime_ms INTEGER,
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX usage_ledger_owner ON usage_ledger (owner_id, created_at);
CREATE INDEX usage_ledger_time ON usage_ledger (created_at);
CREATE INDEX usage_ledger_chat ON usage_ledger (root_chat_id);

-- The ledger's costs by day (days since 1970, UTC): every period of a limit is made of whole days, so
-- its sum reads at most 31 rows an organization, however much was said.
CREATE TABLE usage_days (
    owner_id BLOB NOT NULL,
    day INTEGER NOT NULL,
    organization_id BLOB NOT NULL,
    cost_micros INTEGER NOT NULL,
    PRIMARY KEY (owner_id, day, organization_id)
) STRICT, WITHOUT ROWID;

-- One row. Without a limit nobody is limited, whatever the overrides say.
CREATE TABLE usage_limits (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    spend_limit_micros INTEGER CHECK (spend_limit_micros > 0),
    period TEXT NOT NULL CHECK (period IN ('day', 'week', 'month')),
    updated_at INTEGER NOT NULL
) STRICT;
INSERT INTO usage_limits (id, spend_limit_micros, period, updated_at)
    VALUES (1, NULL, 'month', CAST(unixepoch() AS INTEGER) * 1000000);

CREATE TABLE usage_limit_users (
    user_id BLOB PRIMARY KEY REFERENCES users (id),
    spend_limit_micros INTEGER NOT NULL CHECK (spend_limit_micros > 0),
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE usage_limit_groups (
    group_id BLOB PRIMARY KEY REFERENCES groups (id) ON DELETE CASCADE,
    spend_limit_micros INTEGER NOT NULL CHECK (spend_limit_micros > 0),
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What was spent before there was a ledger. Who the provider was is not known any more.
INSERT INTO usage_ledger (owner_id, organization_id, chat_id, root_chat_id, model_config_id, provider, model,
        kind, input_tokens, output_tokens, total_tokens, reasoning_tokens, cache_creation_tokens,
        cache_read_tokens, cost_micros, runtime_ms, created_at)
    SELECT c.owner_id, c.organization_id, c.id, c.root_chat_id, m.model_config_id, '', '',
        'chat_turn', m.input_tokens, m.output_tokens, m.total_tokens, m.reasoning_tokens,
        m.cache_creation_tokens, m.cache_read_tokens, m.total_cost_micros, m.runtime_ms, m.created_at
    FROM chat_messages m JOIN chats c ON c.id = m.chat_id
    WHERE m.role = 'assistant' AND COALESCE(m.input_tokens, m.output_tokens, m.total_tokens,
        m.reasoning_tokens, m.cache_creation_tokens, m.cache_read_tokens, m.total_cost_micros) IS NOT NULL
    ORDER BY m.id;
INSERT INTO usage_days (owner_id, day, organization_id, cost_micros)
    SELECT owner_id, created_at / 86400000000, organization_id, SUM(cost_micros)
    FROM usage_ledger WHERE cost_micros IS NOT NULL
    GROUP BY owner_id, created_at / 86400000000, organization_id;
