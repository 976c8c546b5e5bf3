-- Tool calls that must not run twice: entered before they start, with their outcome as soon as there is
-- one. They leave with the commit of the step's results; what an interruption left behind leaves with the
-- next entry. Providers may use an id again in a later step, hence the history version.

CREATE TABLE tool_journal (
    chat_id BLOB NOT NULL REFERENCES chats (id) ON DELETE CASCADE,
    history_version INTEGER NOT NULL,
    tool_call_id TEXT NOT NULL,
    tool_name TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    -- JSON; NULL = it runs, or whoever ran it is gone.
    outcome TEXT,
    PRIMARY KEY (chat_id, history_version, tool_call_id)
) STRICT, WITHOUT ROWID;
