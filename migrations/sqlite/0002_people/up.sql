-- People: what a user may do and how they sign in, sessions beside tokens, groups.

-- is_admin is kept in step with role for as long as it is there.
ALTER TABLE users ADD COLUMN role TEXT NOT NULL DEFAULT 'member' CHECK (role IN ('owner', 'admin', 'member'));
ALTER TABLE users ADD COLUMN login_type TEXT NOT NULL DEFAULT 'token'
    CHECK (login_type IN ('password', 'token', 'none'));
ALTER TABLE users ADD COLUMN password_hash TEXT;
ALTER TABLE users ADD COLUMN avatar_url TEXT NOT NULL DEFAULT '';
ALTER TABLE users ADD COLUMN last_seen_at INTEGER;
ALTER TABLE users ADD COLUMN deleted_at INTEGER;
-- The address one signs in with: lower case, unique. NULL where somebody else had it first.
ALTER TABLE users ADD COLUMN login_email TEXT;
UPDATE users SET role = 'owner' WHERE is_admin;
UPDATE users SET login_email = lower(email) WHERE NOT EXISTS
    (SELECT 1 FROM users other WHERE lower(other.email) = lower(users.email) AND other.id < users.id);
CREATE UNIQUE INDEX users_login_email ON users (login_email);

ALTER TABLE organizations ADD COLUMN icon TEXT NOT NULL DEFAULT '';
ALTER TABLE organizations ADD COLUMN description TEXT NOT NULL DEFAULT '';

ALTER TABLE organization_members ADD COLUMN agents_access INTEGER NOT NULL DEFAULT 1;
CREATE INDEX organization_members_organization ON organization_members (organization_id);

ALTER TABLE api_tokens ADD COLUMN kind TEXT NOT NULL DEFAULT 'token' CHECK (kind IN ('token', 'session'));
ALTER TABLE api_tokens ADD COLUMN name TEXT NOT NULL DEFAULT '';
ALTER TABLE api_tokens ADD COLUMN last_used_at INTEGER;
ALTER TABLE api_tokens ADD COLUMN created_from TEXT;
CREATE INDEX api_tokens_end ON api_tokens (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE login_links (
    id TEXT PRIMARY KEY,
    user_id BLOB NOT NULL REFERENCES users (id),
    hash BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX login_links_user ON login_links (user_id);

CREATE TABLE groups (
    id BLOB PRIMARY KEY,
    organization_id BLOB NOT NULL REFERENCES organizations (id),
    name TEXT NOT NULL,
    display_name TEXT NOT NULL,
    avatar_url TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    UNIQUE (organization_id, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE group_members (
    group_id BLOB NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    user_id BLOB NOT NULL REFERENCES users (id),
    created_at INTEGER NOT NULL,
    PRIMARY KEY (group_id, user_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX group_members_user ON group_members (user_id);
