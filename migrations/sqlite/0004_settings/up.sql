-- What administrators and users set while the daemon runs: a row of JSON for each setting that was ever set.

CREATE TABLE deployment_settings (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE user_settings (
    user_id BLOB NOT NULL REFERENCES users (id),
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (user_id, key)
) STRICT, WITHOUT ROWID;

-- No reference to models: those of the configuration file may come and go.
CREATE TABLE user_compaction_thresholds (
    user_id BLOB NOT NULL REFERENCES users (id),
    model_config_id BLOB NOT NULL,
    threshold_percent INTEGER NOT NULL,
    PRIMARY KEY (user_id, model_config_id)
) STRICT, WITHOUT ROWID;

-- When a root chat was archived, from which retention counts.
ALTER TABLE chats ADD COLUMN archived_at INTEGER;
UPDATE chats SET archived_at = updated_at WHERE archived AND parent_chat_id IS NULL;
CREATE INDEX chats_archived_at ON chats (archived_at) WHERE archived_at IS NOT NULL;
-- What auto-archive looks through.
CREATE INDEX chats_open_roots ON chats (id) WHERE NOT archived AND parent_chat_id IS NULL;
-- Without it each deleted chat costs a search of all chats for its children.
CREATE INDEX chats_parent ON chats (parent_chat_id) WHERE parent_chat_id IS NOT NULL;
