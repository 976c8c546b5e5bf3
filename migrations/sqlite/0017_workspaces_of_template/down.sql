DROP INDEX workspaces_template;
