//! Operations on users, tokens, organizations and groups. Whatever changes somebody's right to be
//! here is announced after its commit.

use super::{
    AsyncConnection, Engine, Error, Instant, Result, Store, TRIES, TransactionManager, deadpool_take,
    detached, is_collision, metrics, postgres, sqlite,
};
use crate::{
    bus::Notice,
    clock::Timestamp,
    ids::{GroupId, OrganizationId, UserId},
    store::records::{
        GroupPatch, GroupRecord, LoginLink, MemberRecord, NewUser, OrganizationPatch, OrganizationRecord,
        SiteRole, TokenRecord, UserPage, UserPatch, UserRecord,
    },
};

operations! {
    /// The default organization, made if there is none.
    write pub default_organization = organizations::default(now: Timestamp) -> OrganizationRecord;
    /// Makes a user with its memberships.
    write pub create_person = users::create(new: NewUser, now: Timestamp) -> UserRecord;
    /// Every user.
    read pub list_users = users::list() -> Vec<UserRecord>;
    /// A page of the users, and how many there are.
    snapshot pub page_users = users::page(page: UserPage) -> (Vec<UserRecord>, i64);
    /// A user by login name; none who is deleted.
    read pub user_by_name = users::by_name(username: String) -> UserRecord;
    /// A user by id, deleted or not.
    read pub user = users::get(id: UserId) -> UserRecord;
    /// Whoever signs in with this address or name, with the hash of their password.
    read pub credentials = users::credentials(login: String) -> Option<(UserRecord, Option<String>)>;
    /// Changes what a user is called.
    write update_user_row = users::update(id: UserId, patch: UserPatch, now: Timestamp) -> UserRecord;
    /// Suspends a user or lets them in again.
    write set_suspended_row = users::set_suspended(id: UserId, suspended: bool, now: Timestamp) -> UserRecord;
    /// Gives a user a role.
    write set_role_row = users::set_role(id: UserId, role: SiteRole, now: Timestamp) -> UserRecord;
    /// Deletes a user.
    write delete_user_row = users::delete(id: UserId, now: Timestamp) -> UserRecord;
    /// Sets a password.
    write set_password_row = users::set_password(id: UserId, hash: String, keep: Option<String>, now: Timestamp) -> UserRecord;
    /// Stores a token.
    write pub create_token = sessions::create_token(token: TokenRecord) -> ();
    /// A token with its user.
    read pub token = sessions::token(id: String) -> Option<(TokenRecord, UserRecord)>;
    /// Tokens with their users; those of one user, if it is named.
    read pub tokens = sessions::list(user: Option<UserId>) -> Vec<(TokenRecord, UserRecord)>;
    /// Removes a token.
    write revoke_row = sessions::revoke(id: String, of: Option<UserId>) -> Option<UserId>;
    /// Notes that a token, and so its user, was used.
    write pub touch_token = sessions::touch(token: String, user: UserId, now: Timestamp) -> ();
    /// Stores a login link; older ones of the user end.
    write pub create_login_link = sessions::create_link(link: LoginLink) -> ();
    /// Uses a login link up and stores the session it gives, whose user is set.
    write pub redeem_login_link = sessions::redeem_link(id: String, hash: Vec<u8>, session: TokenRecord, now: Timestamp) -> Option<UserRecord>;
    /// Forgets tokens and login links that ended before the moment.
    write pub sweep_credentials = sessions::sweep(ended_before: Timestamp) -> usize;
    /// Differs from what it was when somebody's right to be here has changed meanwhile.
    read pub access_version = accounts::access_version() -> Option<String>;
    /// Every organization.
    read pub list_organizations = organizations::list() -> Vec<OrganizationRecord>;
    /// The organizations of a user.
    read pub organizations_of = organizations::of_user(user: UserId) -> Vec<OrganizationRecord>;
    /// An organization by id.
    read pub organization = organizations::get(id: OrganizationId) -> OrganizationRecord;
    /// An organization by name.
    read pub organization_by_name = organizations::by_name(name: String) -> OrganizationRecord;
    /// Makes an organization with its first member.
    write pub create_organization = organizations::create(organization: OrganizationRecord, member: UserId) -> OrganizationRecord;
    /// Changes an organization.
    write pub update_organization = organizations::update(id: OrganizationId, patch: OrganizationPatch, now: Timestamp) -> OrganizationRecord;
    /// Removes an organization that no chat belongs to.
    write pub delete_organization = organizations::delete(id: OrganizationId) -> ();
    /// Takes a user in, or sets the agents role of a member.
    write pub add_member = organizations::add_member(organization: OrganizationId, user: UserId, agents_access: bool, now: Timestamp) -> MemberRecord;
    /// Lets a member go; whether there was one.
    write pub remove_member = organizations::remove_member(organization: OrganizationId, user: UserId) -> bool;
    /// The members of an organization.
    read pub members = organizations::members(organization: OrganizationId) -> Vec<MemberRecord>;
    /// A member of an organization.
    read pub member = organizations::member(organization: OrganizationId, user: UserId) -> Option<MemberRecord>;
    /// Organizations of some users, and whether they have the agents role there.
    read pub memberships = organizations::memberships(of: Vec<UserId>) -> Vec<(UserId, OrganizationId, bool)>;
    /// The groups of an organization.
    snapshot pub groups = groups::list(organization: OrganizationId) -> Vec<GroupRecord>;
    /// A group by id.
    snapshot pub group = groups::get(id: GroupId) -> GroupRecord;
    /// A group by its name in an organization.
    snapshot pub group_by_name = groups::by_name(organization: OrganizationId, name: String) -> GroupRecord;
    /// Makes a group.
    write pub create_group = groups::create(group: GroupRecord, members: Vec<UserId>) -> GroupRecord;
    /// Changes a group and its members.
    write pub update_group = groups::update(id: GroupId, patch: GroupPatch, now: Timestamp) -> GroupRecord;
    /// Removes a group; whether there was one.
    write pub delete_group = groups::delete(id: GroupId) -> bool;
    /// The members of a group.
    read pub group_members = groups::members(id: GroupId) -> Vec<UserRecord>;
    /// The groups a user belongs to.
    read pub groups_of = groups::of_user(user: UserId) -> Vec<GroupId>;
}

impl Store {
    /// Makes a user without password in the default organization, who may create chats.
    ///
    /// # Errors
    /// See [`Error`]; nothing was written then.
    pub async fn create_user(&self, user: UserRecord, now: Timestamp) -> Result<UserRecord> {
        self.create_person(NewUser::plain(user), now).await
    }

    /// Changes what a user is called.
    ///
    /// # Errors
    /// See [`Error`]; nothing was written then.
    pub async fn update_user(&self, id: UserId, patch: UserPatch, now: Timestamp) -> Result<UserRecord> {
        let user = self.update_user_row(id, patch, now).await?;
        Ok(self.announce_access(user))
    }

    /// Suspends a user or lets them in again. Their open connections end.
    ///
    /// # Errors
    /// See [`Error`]; [`Error::Conflict`] for the last owner. Nothing was written then.
    pub async fn set_suspended(&self, id: UserId, suspended: bool, now: Timestamp) -> Result<UserRecord> {
        let user = self.set_suspended_row(id, suspended, now).await?;
        Ok(self.announce_access(user))
    }

    /// Gives a user a role.
    ///
    /// # Errors
    /// As [`Store::set_suspended`].
    pub async fn set_role(&self, id: UserId, role: SiteRole, now: Timestamp) -> Result<UserRecord> {
        let user = self.set_role_row(id, role, now).await?;
        Ok(self.announce_access(user))
    }

    /// Deletes a user: tokens and memberships go, chats stay. Their open connections end.
    ///
    /// # Errors
    /// As [`Store::set_suspended`].
    pub async fn delete_user(&self, id: UserId, now: Timestamp) -> Result<UserRecord> {
        let user = self.delete_user_row(id, now).await?;
        Ok(self.announce_access(user))
    }

    /// Sets a password. All sessions end but the one that is kept.
    ///
    /// # Errors
    /// See [`Error`]; nothing was written then.
    pub async fn set_password(
        &self,
        id: UserId,
        hash: String,
        keep: Option<String>,
        now: Timestamp,
    ) -> Result<UserRecord> {
        let user = self.set_password_row(id, hash, keep, now).await?;
        Ok(self.announce_access(user))
    }

    /// Removes a token, that of one user if it is named; whose it was. Its open connections end.
    ///
    /// # Errors
    /// See [`Error`]; nothing was written then.
    pub async fn revoke_token(&self, id: String, of: Option<UserId>) -> Result<Option<UserId>> {
        let user = self.revoke_row(id, of).await?;
        if let Some(user) = user {
            self.bus().publish(Notice::Access { user });
        }
        Ok(user)
    }

    fn announce_access(&self, user: UserRecord) -> UserRecord {
        self.bus().publish(Notice::Access { user: user.id });
        user
    }
}
