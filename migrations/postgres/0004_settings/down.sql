DROP INDEX chats_parent;
DROP INDEX chats_open_roots;
DROP INDEX chats_archived_at;
ALTER TABLE chats DROP COLUMN archived_at;
DROP TABLE user_compaction_thresholds;
DROP TABLE user_settings;
DROP TABLE deployment_settings;
