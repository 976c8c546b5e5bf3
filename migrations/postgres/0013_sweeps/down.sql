DROP INDEX chat_heartbeats_beat;
DROP INDEX idempotency_keys_created;
