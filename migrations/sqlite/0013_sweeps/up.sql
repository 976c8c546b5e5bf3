-- What the loops that clean up look for: each finds its rows without reading the whole table.

CREATE INDEX idempotency_keys_created ON idempotency_keys (created_at);
CREATE INDEX login_links_end ON login_links (expires_at);
CREATE INDEX chat_heartbeats_beat ON chat_heartbeats (beat_at);
-- The condition in the very form of the query, without which the index is not used.
DROP INDEX files_unlinked;
CREATE INDEX files_unlinked ON files (created_at) WHERE NOT linked;
