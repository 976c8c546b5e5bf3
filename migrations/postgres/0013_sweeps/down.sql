DROP INDEX chat_heartbeats_beat;
DROP INDEX login_links_end;
DROP INDEX idempotency_keys_created;
