//! Lists of chats, the changes chats made to code, and who may read them.

use super::{ChatRecord, UserRecord};
use crate::{
    chat::state::Status,
    clock::Timestamp,
    ids::{ChatId, GroupId, OrganizationId, UserId},
};
use uuid::Uuid;

/// Which root chats a list shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListFilter {
    /// Whose list it is.
    pub owner: UserId,
    /// Chats of others that are shared with them, instead of their own.
    pub shared: bool,
    /// Archived ones or the others.
    pub archived: bool,
    /// Substring of the title, any case.
    pub title: Option<String>,
    /// Status.
    pub status: Option<Status>,
    /// Labels that all must match.
    pub labels: Vec<(String, String)>,
    /// Only read or only unread ones.
    pub has_unread: Option<bool>,
    /// Words that all must be in one message of the family ([`crate::store::words::asked`]).
    pub words: Option<Vec<String>>,
    /// What is asked of their changes to code.
    pub diff: DiffFilter,
    /// Most roots to return.
    pub limit: i64,
    /// Roots to skip.
    pub offset: i64,
    /// Start after this chat in list order.
    pub after: Option<ChatId>,
}

/// What a list asks of the changes a chat made to code; `None` asks nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiffFilter {
    /// The pull request is in one of these states.
    pub states: Option<DiffStates>,
    /// Exact address.
    pub url: Option<String>,
    /// Number of the pull request.
    pub number: Option<i64>,
    /// `owner/name`, any case.
    pub repository: Option<String>,
    /// Substring of the pull request's title, any case.
    pub title: Option<String>,
}

/// Some of the states of a pull request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiffStates {
    /// Open, and a draft.
    pub draft: bool,
    /// Open, and no draft.
    pub open: bool,
    /// Merged.
    pub merged: bool,
    /// Closed without a merge.
    pub closed: bool,
    /// There is none.
    pub none: bool,
}

/// Which chats somebody may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readable {
    /// Their own.
    Own,
    /// Their own and those that are shared with them.
    OwnAndShared,
    /// All.
    All,
}

/// A chat in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedChat {
    /// The chat.
    pub chat: ChatRecord,
    /// An assistant message lies above the owner's read cursor.
    pub has_unread: bool,
    /// Others may read it.
    pub shared: bool,
    /// The changes it made to code.
    pub diff: Option<DiffRecord>,
    /// Its sub-agent chats, newest first.
    pub children: Vec<ListedChat>,
}

/// The changes a chat made to code (api.md §3.3).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiffRecord {
    /// Address of the pull request, or of the branch.
    pub url: Option<String>,
    /// `open`, `closed` or `merged`.
    pub pull_request_state: Option<String>,
    /// Title of the pull request.
    pub pull_request_title: String,
    /// It is a draft.
    pub pull_request_draft: bool,
    /// A reviewer asked for changes.
    pub changes_requested: bool,
    /// Added lines.
    pub additions: i64,
    /// Removed lines.
    pub deletions: i64,
    /// Files touched.
    pub changed_files: i64,
    /// Who opened the pull request.
    pub author_login: Option<String>,
    /// Their picture.
    pub author_avatar_url: Option<String>,
    /// Branch it goes to.
    pub base_branch: Option<String>,
    /// Branch it comes from.
    pub head_branch: Option<String>,
    /// Number of the pull request.
    pub pr_number: Option<i64>,
    /// Commits in it.
    pub commits: Option<i64>,
    /// It was approved.
    pub approved: Option<bool>,
    /// Reviewers.
    pub reviewer_count: Option<i64>,
    /// When it was last looked up.
    pub refreshed_at: Option<Timestamp>,
    /// When it should be looked up again.
    pub stale_at: Option<Timestamp>,
}

/// Where the changes of a chat lie, and the changes themselves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiffReference {
    /// Kind of the git provider.
    pub provider: Option<String>,
    /// The repository's remote address.
    pub remote_origin: Option<String>,
    /// The branch.
    pub branch: Option<String>,
    /// Address of the pull request; written as [`DiffRecord::url`].
    pub pull_request_url: Option<String>,
    /// Unified diff text.
    pub diff: Option<String>,
}

/// Whom an entry of a chat's access list names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AclSubject {
    /// A user.
    User(UserId),
    /// Everybody in a group.
    Group(GroupId),
}

/// The access list of a chat: its readers by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Acl {
    /// Users.
    pub users: Vec<UserRecord>,
    /// Groups.
    pub groups: Vec<AclGroup>,
}

/// A group on an access list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AclGroup {
    /// Id.
    pub id: GroupId,
    /// Name in its organization.
    pub name: String,
    /// Display name.
    pub display_name: String,
    /// The organization.
    pub organization_id: OrganizationId,
}

/// The right to run one manual title of a chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TitleLock {
    /// The chat.
    pub chat: ChatId,
    /// Who has it.
    pub holder: Uuid,
}
