-- Tool calls that must not run twice: entered before they start, with their outcome as soon as there is
-- one. They leave with the commit of the step's results; what an interruption left behind leaves with the
-- next entry. Providers may use an id again in a later step, hence the history version.

CREATE TABLE tool_journal (
    chat_id uuid NOT NULL REFERENCES chats (id) ON DELETE CASCADE,
    history_version bigint NOT NULL,
    tool_call_id text NOT NULL,
    tool_name text NOT NULL,
    started_at timestamptz NOT NULL,
    -- NULL = it runs, or whoever ran it is gone.
    outcome json,
    PRIMARY KEY (chat_id, history_version, tool_call_id)
) WITH (fillfactor = 70);
