-- What administrators and users set while the daemon runs: a row of JSON for each setting that was ever set.

CREATE TABLE deployment_settings (
    key text PRIMARY KEY,
    value json NOT NULL,
    updated_at timestamptz NOT NULL
);

CREATE TABLE user_settings (
    user_id uuid NOT NULL REFERENCES users (id),
    key text NOT NULL,
    value json NOT NULL,
    PRIMARY KEY (user_id, key)
);

-- No reference to models: those of the configuration file may come and go.
CREATE TABLE user_compaction_thresholds (
    user_id uuid NOT NULL REFERENCES users (id),
    model_config_id uuid NOT NULL,
    threshold_percent bigint NOT NULL,
    PRIMARY KEY (user_id, model_config_id)
);

-- When a root chat was archived, from which retention counts.
ALTER TABLE chats ADD COLUMN archived_at timestamptz;
UPDATE chats SET archived_at = updated_at WHERE archived AND parent_chat_id IS NULL;
CREATE INDEX chats_archived_at ON chats (archived_at) WHERE archived_at IS NOT NULL;
-- What auto-archive looks through.
CREATE INDEX chats_open_roots ON chats (id) WHERE NOT archived AND parent_chat_id IS NULL;
-- Without it each deleted chat costs a search of all chats for its children.
CREATE INDEX chats_parent ON chats (parent_chat_id) WHERE parent_chat_id IS NOT NULL;
