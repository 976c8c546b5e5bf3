-- Uploaded files. The bytes lie in chunks, so that no upload and no download has to be held whole.
-- `complete`: all chunks are there. `linked`: a message has named it; others are removed by retention.

CREATE TABLE files (
    id BLOB PRIMARY KEY,
    owner_id BLOB NOT NULL REFERENCES users (id),
    organization_id BLOB NOT NULL REFERENCES organizations (id),
    name TEXT NOT NULL,
    mime_type TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    sha256 BLOB NOT NULL,
    complete INTEGER NOT NULL,
    linked INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX files_unlinked ON files (created_at) WHERE linked = 0;

CREATE TABLE file_chunks (
    file_id BLOB NOT NULL REFERENCES files (id),
    seq INTEGER NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (file_id, seq)
) STRICT;

CREATE TABLE chat_files (
    chat_id BLOB NOT NULL REFERENCES chats (id),
    file_id BLOB NOT NULL REFERENCES files (id),
    created_at INTEGER NOT NULL,
    PRIMARY KEY (chat_id, file_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX chat_files_file ON chat_files (file_id);
