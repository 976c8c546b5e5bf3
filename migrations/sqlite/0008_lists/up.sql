-- Lists: workspaces of chats, the changes they made to code, who may read them, the words of their messages,
-- and locks of title runs.
--
-- No index keeps an owner's list in order: every transition would have to move its chat in it, which makes
-- the update of a chat three times as dear, to save the half millisecond that sorting 1,000 chats takes.

ALTER TABLE chats ADD COLUMN workspace_id BLOB;
ALTER TABLE chats ADD COLUMN build_id BLOB;
ALTER TABLE chats ADD COLUMN agent_id BLOB;
CREATE INDEX chats_workspace ON chats (workspace_id) WHERE workspace_id IS NOT NULL;

CREATE TABLE chat_diff_statuses (
    chat_id BLOB PRIMARY KEY REFERENCES chats (id),
    url TEXT,
    pull_request_state TEXT CHECK (pull_request_state IN ('open', 'closed', 'merged')),
    pull_request_title TEXT NOT NULL,
    pull_request_draft INTEGER NOT NULL,
    changes_requested INTEGER NOT NULL,
    additions INTEGER NOT NULL,
    deletions INTEGER NOT NULL,
    changed_files INTEGER NOT NULL,
    author_login TEXT,
    author_avatar_url TEXT,
    base_branch TEXT,
    head_branch TEXT,
    pr_number INTEGER,
    commits INTEGER,
    approved INTEGER,
    reviewer_count INTEGER,
    refreshed_at INTEGER,
    stale_at INTEGER,
    -- Where the changes lie, and "owner/name" of it in lower case, by which lists look.
    provider TEXT,
    remote_origin TEXT,
    branch TEXT,
    repository TEXT,
    -- Unified diff text.
    diff TEXT
) STRICT;

-- Who may read the chats of a family besides the owner. Each row names a user or a group.
CREATE TABLE chat_acl (
    id INTEGER PRIMARY KEY,
    root_chat_id BLOB NOT NULL REFERENCES chats (id),
    user_id BLOB REFERENCES users (id),
    group_id BLOB REFERENCES groups (id) ON DELETE CASCADE,
    role TEXT NOT NULL CHECK (role = 'read'),
    created_at INTEGER NOT NULL,
    CHECK ((user_id IS NULL) <> (group_id IS NULL))
) STRICT;
CREATE UNIQUE INDEX chat_acl_user ON chat_acl (user_id, root_chat_id) WHERE user_id IS NOT NULL;
CREATE UNIQUE INDEX chat_acl_group ON chat_acl (group_id, root_chat_id) WHERE group_id IS NOT NULL;
CREATE INDEX chat_acl_root ON chat_acl (root_chat_id);

-- A manual title run in progress (state stays where it is: nothing outside of the state machine touches it).
CREATE TABLE title_locks (
    chat_id BLOB PRIMARY KEY REFERENCES chats (id),
    holder BLOB NOT NULL,
    started_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The words of visible user and assistant messages, by message id, and whose they are, so that a search
-- looks at one owner's messages only. Written with the message by the store.
CREATE VIRTUAL TABLE chat_search USING fts5 (
    owner, body, content = '', contentless_delete = 1, tokenize = 'porter unicode61 remove_diacritics 2'
);
INSERT INTO chat_search (rowid, owner, body)
SELECT m.id, lower(hex(c.owner_id)), group_concat(json_extract(p.value, '$.text'), ' ')
FROM chat_messages m JOIN chats c ON c.id = m.chat_id, json_each(m.content) p
WHERE m.role IN ('user', 'assistant') AND m.visibility <> 'model' AND m.deleted = 0
    AND json_extract(p.value, '$.type') = 'text'
GROUP BY m.id;
