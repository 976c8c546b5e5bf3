DROP TABLE tool_journal;
