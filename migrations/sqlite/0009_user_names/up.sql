-- "Ann" and "ann" are one name. Of several that differ in letter case only, the first keeps it and the
-- others get the beginning of their id behind it, so that nobody's account is lost.
UPDATE users SET username = username || '-' || lower(hex(substr(id, 1, 4)))
WHERE EXISTS (
    SELECT 1 FROM users other
    WHERE lower(other.username) = lower(users.username)
      AND (other.created_at, other.id) < (users.created_at, users.id)
);
CREATE UNIQUE INDEX users_username_any_case ON users (lower(username));
