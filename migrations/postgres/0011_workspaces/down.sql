DROP TABLE workspace_agents;
DROP TABLE workspace_build_logs;
DROP TABLE workspace_builds;
DROP TABLE workspaces;
DROP TABLE templates;
