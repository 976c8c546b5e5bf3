DROP INDEX chat_messages_workspace;
ALTER TABLE chats DROP COLUMN last_injected_context;
