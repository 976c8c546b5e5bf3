-- What model calls cost, and how much of it users may spend. The ledger outlives what it speaks of, so
-- it refers to nothing.

CREATE TABLE usage_ledger (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    owner_id uuid NOT NULL,
    organization_id uuid NOT NULL,
    chat_id uuid NOT NULL,
    root_chat_id uuid NOT NULL,
    model_config_id uuid,
    provider text NOT NULL,
    model text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('chat_turn', 'title', 'label', 'compaction')),
    input_tokens bigint,
    output_tokens bigint,
    total_tokens bigint,
    reasoning_tokens bigint,
    cache_creation_tokens bigint,
    cache_read_tokens bigint,
    cost_micros bigint,
    runtime_ms bigint,
    created_at timestamptz NOT NULL
);
CREATE INDEX usage_ledger_owner ON usage_ledger (owner_id, created_at);
CREATE INDEX usage_ledger_time ON usage_ledger (created_at);
CREATE INDEX usage_ledger_chat ON usage_ledger (root_chat_id);

-- The ledger's costs by day (days since 1970, UTC): every period of a limit is made of whole days, so
-- its sum reads at most 31 rows an organization, however much was said. Rows change often and no
-- index holds what changes: room on the page keeps the updates cheap.
CREATE TABLE usage_days (
    owner_id uuid NOT NULL,
    day bigint NOT NULL,
    organization_id uuid NOT NULL,
    cost_micros bigint NOT NULL,
    PRIMARY KEY (owner_id, day, organization_id)
) WITH (fillfactor = 70);

-- One row. Without a limit nobody is limited, whatever the overrides say.
CREATE TABLE usage_limits (
    id bigint PRIMARY KEY CHECK (id = 1),
    spend_limit_micros bigint CHECK (spend_limit_micros > 0),
    period text NOT NULL CHECK (period IN ('day', 'week', 'month')),
    updated_at timestamptz NOT NULL
);
INSERT INTO usage_limits (id, spend_limit_micros, period, updated_at) VALUES (1, NULL, 'month', now());

CREATE TABLE usage_limit_users (
    user_id uuid PRIMARY KEY REFERENCES users (id),
    spend_limit_micros bigint NOT NULL CHECK (spend_limit_micros > 0),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);

CREATE TABLE usage_limit_groups (
    group_id uuid PRIMARY KEY REFERENCES groups (id) ON DELETE CASCADE,
    spend_limit_micros bigint NOT NULL CHECK (spend_limit_micros > 0),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);

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
    SELECT owner_id, (created_at AT TIME ZONE 'UTC')::date - DATE '1970-01-01', organization_id,
        SUM(cost_micros)
    FROM usage_ledger WHERE cost_micros IS NOT NULL
    GROUP BY owner_id, (created_at AT TIME ZONE 'UTC')::date - DATE '1970-01-01', organization_id;
