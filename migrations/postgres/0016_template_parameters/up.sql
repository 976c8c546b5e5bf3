-- What a template asks of whoever makes a workspace from it, its ready-made answers, and the answers of a workspace.

ALTER TABLE templates ADD COLUMN parameters json NOT NULL DEFAULT '[]';
ALTER TABLE templates ADD COLUMN presets json NOT NULL DEFAULT '[]';
ALTER TABLE workspaces ADD COLUMN parameters json NOT NULL DEFAULT '{}';
