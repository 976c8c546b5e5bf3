-- Uploaded files. The bytes lie in chunks, so that no upload and no download has to be held whole.
-- `complete`: all chunks are there. `linked`: a message has named it; others are removed by retention.

CREATE TABLE files (
    id uuid PRIMARY KEY,
    owner_id uuid NOT NULL REFERENCES users (id),
    organization_id uuid NOT NULL REFERENCES organizations (id),
    name text NOT NULL,
    mime_type text NOT NULL,
    size_bytes bigint NOT NULL,
    sha256 bytea NOT NULL,
    complete boolean NOT NULL,
    linked boolean NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE INDEX files_unlinked ON files (created_at) WHERE NOT linked;

CREATE TABLE file_chunks (
    file_id uuid NOT NULL REFERENCES files (id),
    seq bigint NOT NULL,
    data bytea NOT NULL,
    PRIMARY KEY (file_id, seq)
);
-- Images and PDFs are compressed already.
ALTER TABLE file_chunks ALTER COLUMN data SET STORAGE EXTERNAL;

CREATE TABLE chat_files (
    chat_id uuid NOT NULL REFERENCES chats (id),
    file_id uuid NOT NULL REFERENCES files (id),
    created_at timestamptz NOT NULL,
    PRIMARY KEY (chat_id, file_id)
);
CREATE INDEX chat_files_file ON chat_files (file_id);
