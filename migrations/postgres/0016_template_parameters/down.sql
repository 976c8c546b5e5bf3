ALTER TABLE workspaces DROP COLUMN parameters;
ALTER TABLE templates DROP COLUMN presets;
ALTER TABLE templates DROP COLUMN parameters;
