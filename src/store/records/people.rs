//! Users, what they may do, how they sign in, and what they belong to.

use crate::{
    clock::Timestamp,
    ids::{GroupId, OrganizationId, UserId},
};
use serde::{Deserialize, Serialize};

/// What a user may do in the whole deployment; each role includes those after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SiteRole {
    /// Everything an administrator may do, to other owners too. The first user is one.
    Owner,
    /// Settings and users, except owners.
    Admin,
    /// Nobody special.
    Member,
}

impl SiteRole {
    /// As it is stored and on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Admin => "admin",
            Self::Member => "member",
        }
    }

    /// The role of this name.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        [Self::Owner, Self::Admin, Self::Member].into_iter().find(|r| r.as_str() == text)
    }
}

/// How a user signs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LoginType {
    /// With a password.
    Password,
    /// With API tokens and login links.
    Token,
    /// Not at all: an account for programs, whose tokens administrators make.
    None,
}

impl LoginType {
    /// As it is stored and on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::Token => "token",
            Self::None => "none",
        }
    }

    /// The type of this name.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        [Self::Password, Self::Token, Self::None].into_iter().find(|t| t.as_str() == text)
    }
}

/// A user account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserRecord {
    /// Id.
    pub id: UserId,
    /// Unique login name.
    pub username: String,
    /// Display name.
    pub name: String,
    /// Mail address.
    pub email: String,
    /// Where a picture lies; may be empty.
    pub avatar_url: String,
    /// What the user may do in the whole deployment.
    pub role: SiteRole,
    /// How the user signs in.
    pub login_type: LoginType,
    /// Suspended users are refused everywhere.
    pub suspended: bool,
    /// Deleted users are hidden; only their chats still name them.
    pub deleted: bool,
    /// When a request of theirs was last answered, give or take a minute.
    pub last_seen_at: Option<Timestamp>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was changed.
    pub updated_at: Timestamp,
}

impl UserRecord {
    /// An active user of this name who is nobody special.
    #[must_use]
    pub fn new(username: &str, now: Timestamp) -> Self {
        Self {
            id: UserId::fresh(),
            username: username.to_owned(),
            name: username.to_owned(),
            email: format!("{username}@localhost"),
            avatar_url: String::new(),
            role: SiteRole::Member,
            login_type: LoginType::Token,
            suspended: false,
            deleted: false,
            last_seen_at: None,
            created_at: now,
            updated_at: now,
        }
    }

    /// The same user with a role.
    #[must_use]
    pub fn with_role(mut self, role: SiteRole) -> Self {
        self.role = role;
        self
    }

    /// May administer the deployment.
    #[must_use]
    pub fn is_admin(&self) -> bool {
        self.role <= SiteRole::Admin
    }

    /// May do everything.
    #[must_use]
    pub fn is_owner(&self) -> bool {
        self.role == SiteRole::Owner
    }

    /// `active` or `suspended`.
    #[must_use]
    pub fn status(&self) -> &'static str {
        if self.suspended { "suspended" } else { "active" }
    }
}

/// A user who is to be made.
#[derive(Clone)]
pub struct NewUser {
    /// The account.
    pub user: UserRecord,
    /// Hash of the password, as [`crate::store`] keeps it: it is never part of a [`UserRecord`].
    pub password_hash: Option<String>,
    /// The organizations to join; the default one when there are none.
    pub organizations: Vec<OrganizationId>,
    /// Whether the user may create chats there.
    pub agents_access: bool,
}

impl NewUser {
    /// A user without password in the default organization, who may create chats.
    #[must_use]
    pub fn plain(user: UserRecord) -> Self {
        Self { user, password_hash: None, organizations: Vec::new(), agents_access: true }
    }
}

impl std::fmt::Debug for NewUser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewUser").field("user", &self.user).finish_non_exhaustive()
    }
}

/// What of a user is to be changed. `None` keeps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserPatch {
    /// New login name.
    pub username: Option<String>,
    /// New display name.
    pub name: Option<String>,
    /// New mail address.
    pub email: Option<String>,
    /// New picture.
    pub avatar_url: Option<String>,
}

/// Which users a list shows, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserPage {
    /// Substring of login name, display name or address, any case.
    pub search: Option<String>,
    /// Most users.
    pub limit: i64,
    /// Users to skip.
    pub offset: i64,
}

/// An organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrganizationRecord {
    /// Id.
    pub id: OrganizationId,
    /// Unique name.
    pub name: String,
    /// Display name.
    pub display_name: String,
    /// Where a picture lies; may be empty.
    pub icon: String,
    /// What it is for; may be empty.
    pub description: String,
    /// The one that users are put in at first.
    pub is_default: bool,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was changed.
    pub updated_at: Timestamp,
}

/// What of an organization is to be changed. `None` keeps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OrganizationPatch {
    /// New name.
    pub name: Option<String>,
    /// New display name.
    pub display_name: Option<String>,
    /// New picture.
    pub icon: Option<String>,
    /// New description.
    pub description: Option<String>,
}

/// A member of an organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberRecord {
    /// The organization.
    pub organization_id: OrganizationId,
    /// The user.
    pub user: UserRecord,
    /// Has the agents role: may create chats.
    pub agents_access: bool,
    /// Since when.
    pub created_at: Timestamp,
}

/// A group of members of one organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupRecord {
    /// Id.
    pub id: GroupId,
    /// Its organization.
    pub organization_id: OrganizationId,
    /// Name, unique in the organization.
    pub name: String,
    /// Display name; may be empty.
    pub display_name: String,
    /// Where a picture lies; may be empty.
    pub avatar_url: String,
    /// How many members it has.
    pub member_count: i64,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was changed.
    pub updated_at: Timestamp,
}

/// What of a group is to be changed. `None` keeps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupPatch {
    /// New name.
    pub name: Option<String>,
    /// New display name.
    pub display_name: Option<String>,
    /// New picture.
    pub avatar_url: Option<String>,
    /// Members to take in.
    pub add: Vec<UserId>,
    /// Members to let go.
    pub remove: Vec<UserId>,
}

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenKind {
    /// For programs; made by name.
    Token,
    /// Of a browser or client that signed in.
    Session,
}

impl TokenKind {
    /// As it is stored and on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Session => "session",
        }
    }
}

/// An API token or session, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRecord {
    /// Public 10-character half of the token.
    pub id: String,
    /// Whose it is.
    pub user_id: UserId,
    /// SHA-256 of the secret half.
    pub hash: Vec<u8>,
    /// What it is for.
    pub kind: TokenKind,
    /// What its owner calls it; may be empty.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends; never when `None`.
    pub expires_at: Option<Timestamp>,
    /// When it was last used, give or take a minute.
    pub last_used_at: Option<Timestamp>,
    /// Address of the client that signed in.
    pub created_from: Option<String>,
}

/// A login link, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginLink {
    /// Public half.
    pub id: String,
    /// Whom it signs in.
    pub user_id: UserId,
    /// SHA-256 of the secret half.
    pub hash: Vec<u8>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
}
