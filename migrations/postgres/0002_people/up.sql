-- People: what a user may do and how they sign in, sessions beside tokens, groups.

-- is_admin is kept in step with role for as long as it is there.
ALTER TABLE users ADD COLUMN role text NOT NULL DEFAULT 'member' CHECK (role IN ('owner', 'admin', 'member'));
ALTER TABLE users ADD COLUMN login_type text NOT NULL DEFAULT 'token'
    CHECK (login_type IN ('password', 'token', 'none'));
ALTER TABLE users ADD COLUMN password_hash text;
ALTER TABLE users ADD COLUMN avatar_url text NOT NULL DEFAULT '';
ALTER TABLE users ADD COLUMN last_seen_at timestamptz;
ALTER TABLE users ADD COLUMN deleted_at timestamptz;
-- The address one signs in with: lower case, unique. NULL where somebody else had it first.
ALTER TABLE users ADD COLUMN login_email text;
UPDATE users SET role = 'owner' WHERE is_admin;
UPDATE users SET login_email = lower(email) WHERE NOT EXISTS
    (SELECT 1 FROM users other WHERE lower(other.email) = lower(users.email) AND other.id < users.id);
CREATE UNIQUE INDEX users_login_email ON users (login_email);

ALTER TABLE organizations ADD COLUMN icon text NOT NULL DEFAULT '';
ALTER TABLE organizations ADD COLUMN description text NOT NULL DEFAULT '';

ALTER TABLE organization_members ADD COLUMN agents_access boolean NOT NULL DEFAULT true;
CREATE INDEX organization_members_organization ON organization_members (organization_id);

ALTER TABLE api_tokens ADD COLUMN kind text NOT NULL DEFAULT 'token' CHECK (kind IN ('token', 'session'));
ALTER TABLE api_tokens ADD COLUMN name text NOT NULL DEFAULT '';
ALTER TABLE api_tokens ADD COLUMN last_used_at timestamptz;
ALTER TABLE api_tokens ADD COLUMN created_from text;
CREATE INDEX api_tokens_end ON api_tokens (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE login_links (
    id text PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users (id),
    hash bytea NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX login_links_user ON login_links (user_id);

CREATE TABLE groups (
    id uuid PRIMARY KEY,
    organization_id uuid NOT NULL REFERENCES organizations (id),
    name text NOT NULL,
    display_name text NOT NULL,
    avatar_url text NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    UNIQUE (organization_id, name)
);

CREATE TABLE group_members (
    group_id uuid NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    user_id uuid NOT NULL REFERENCES users (id),
    created_at timestamptz NOT NULL,
    PRIMARY KEY (group_id, user_id)
);
CREATE INDEX group_members_user ON group_members (user_id);
