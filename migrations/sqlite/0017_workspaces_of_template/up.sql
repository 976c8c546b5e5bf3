-- The workspaces of a template, in the order in which those are read whose template tells whether they run.

CREATE INDEX workspaces_template ON workspaces (template_id, id);
