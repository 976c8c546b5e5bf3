-- What a workspace says of its project is kept in messages of users, the only ones of them with a native form.

ALTER TABLE chats ADD COLUMN last_injected_context TEXT;
CREATE INDEX chat_messages_workspace ON chat_messages (chat_id, id) WHERE role = 'user' AND native IS NOT NULL;
