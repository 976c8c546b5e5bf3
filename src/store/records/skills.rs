//! Rows of skills that users wrote.

use crate::{clock::Timestamp, ids::UserId};
use uuid::Uuid;

/// A skill of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkillRecord {
    /// Id.
    pub id: Uuid,
    /// Whose.
    pub user_id: UserId,
    /// Name, unique among the user's.
    pub name: String,
    /// What it is good for; may be empty.
    pub description: String,
    /// The whole Markdown file; empty where only the list was asked for.
    pub content: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed.
    pub updated_at: Timestamp,
}

/// What became of a new skill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SkillAdded {
    /// It is there.
    Added,
    /// There is one of this name.
    Duplicate,
    /// The user has as many as a user may have.
    TooMany,
    /// The user is gone.
    NoUser,
}
