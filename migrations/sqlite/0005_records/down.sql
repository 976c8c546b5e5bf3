DROP TABLE debug_steps;
DROP TABLE debug_runs;
DROP TABLE user_skills;
DROP TABLE mcp_user_tokens;
DROP TABLE mcp_servers;
