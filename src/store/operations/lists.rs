//! Operations on lists of chats, on the changes chats made to code, on who may read them, and on titles.

use super::{
    AsyncConnection, Engine, Error, Instant, Result, Store, TRIES, TransactionManager, deadpool_take,
    detached, is_collision, metrics, postgres, sqlite,
};
use crate::{
    bus::{Notice, WatchKind},
    clock::Timestamp,
    ids::{ChatId, FileId, GroupId, UserId, WorkspaceId},
    store::records::{
        Acl, AclGroup, AclSubject, DiffRecord, DiffReference, ListFilter, ListedChat, MessageRow, Readable,
        TitleLock, UserRecord, insights::PullRequest,
    },
};

operations! {
    /// Root chats in list order, with their children.
    snapshot pub list_chats = lists::list(filter: ListFilter) -> Vec<ListedChat>;
    /// A chat as a list has it, with its children.
    snapshot pub family = lists::family(id: ChatId) -> ListedChat;
    /// For each of some workspaces the newest chat that somebody may see.
    read pub chats_by_workspace = lists::by_workspace(workspaces: Vec<WorkspaceId>, reader: UserId, whose: Readable) -> Vec<(WorkspaceId, ChatId)>;
    /// The diff status of a chat.
    read pub diff_status = diffs::get(chat: ChatId) -> Option<DiffRecord>;
    /// Where a chat's changes to code lie, and the changes.
    read pub diff_reference = diffs::reference(chat: ChatId) -> DiffReference;
    /// Replaces what is known of a chat's changes; announced by [`Store::set_diff_status`].
    write set_diff_row = diffs::set(chat: ChatId, status: DiffRecord, at: DiffReference) -> ();
    /// Pull requests of chats that began from `start` until before `end`, the newest first.
    snapshot pub pull_requests = insights::pull_requests(start: Timestamp, end: Timestamp) -> Vec<PullRequest>;
    /// Whether a root chat has readers.
    read pub is_shared = sharing::is_shared(root: ChatId) -> bool;
    /// Whether a chat is shared with a user.
    read pub may_read = sharing::may_read(chat: ChatId, user: UserId) -> bool;
    /// Whether a user may read a chat that names a file; `shares`: also as a reader.
    read pub may_read_file = sharing::may_read_file(file: FileId, user: UserId, shares: bool) -> bool;
    /// The access list of a root chat.
    snapshot pub acl = sharing::acl(root: ChatId) -> Acl;
    /// Those of some users that there are, deleted ones too; in no order.
    read pub users_of = sharing::users_of(ids: Vec<UserId>) -> Vec<UserRecord>;
    /// Those of some groups that there are; in no order.
    read pub acl_groups = sharing::acl_groups(ids: Vec<GroupId>) -> Vec<AclGroup>;
    /// Lets readers in or out; announced by [`Store::share`].
    write share_rows = sharing::share(root: ChatId, changes: Vec<(AclSubject, bool)>, now: Timestamp) -> Vec<AclSubject>;
    /// Takes the right to make a chat's title.
    write pub lock_title = titles::lock(lock: TitleLock, now: Timestamp) -> bool;
    /// Gives it back.
    write pub unlock_title = titles::unlock(lock: TitleLock) -> ();
    /// What a title is made of.
    snapshot pub title_material = titles::material(chat: ChatId) -> Vec<MessageRow>;
}

impl Store {
    /// Replaces what is known of the changes a chat made to code, and announces it. Moves no version.
    ///
    /// # Errors
    /// See [`Error`]; nothing was written then.
    pub async fn set_diff_status(
        &self,
        owner: UserId,
        chat: ChatId,
        status: DiffRecord,
        at: DiffReference,
    ) -> Result<()> {
        self.set_diff_row(chat, status, at).await?;
        self.watch(owner, chat, WatchKind::DiffStatusChange);
        Ok(())
    }

    /// Lets readers of a family in (`true`) or out. The open streams of those who are let out are
    /// looked at again at once. `by` is who does it.
    ///
    /// # Errors
    /// See [`Error`]; nothing was written then.
    pub async fn share(
        &self,
        root: ChatId,
        changes: Vec<(AclSubject, bool)>,
        by: UserId,
        now: Timestamp,
    ) -> Result<()> {
        for subject in self.share_rows(root, changes, now).await? {
            // The hint has every socket of every replica ask again; whose tokens are read anew
            // matters little, so a group needs no list of its members.
            let user = match subject {
                AclSubject::User(user) => user,
                AclSubject::Group(_) => by,
            };
            self.bus().publish(Notice::Access { user });
        }
        Ok(())
    }
}
