DROP INDEX files_unlinked;
CREATE INDEX files_unlinked ON files (created_at) WHERE linked = 0;
DROP INDEX chat_heartbeats_beat;
DROP INDEX login_links_end;
DROP INDEX idempotency_keys_created;
