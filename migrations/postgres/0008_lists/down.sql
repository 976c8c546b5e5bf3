DROP TABLE chat_search;
DROP TABLE title_locks;
DROP TABLE chat_acl;
DROP TABLE chat_diff_statuses;
DROP INDEX chats_workspace;
ALTER TABLE chats DROP COLUMN agent_id;
ALTER TABLE chats DROP COLUMN build_id;
ALTER TABLE chats DROP COLUMN workspace_id;
