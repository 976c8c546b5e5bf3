//! User accounts. Deleted ones keep their row, so that their chats still have an owner with a name.

use super::{Conn, accounts::access_changed, organizations};
use crate::{
    clock::Timestamp,
    ids::UserId,
    store::{
        error::{Error, Result},
        records::{LoginType, NewUser, SiteRole, UserPage, UserPatch, UserRecord},
        schema::{api_tokens, group_members, login_links, organization_members, users},
        types::{Id, Ts},
    },
};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

const NAME: &str = "a user of this name";
const ADDRESS: &str = "a user with this e-mail address";
const LAST_OWNER: &str =
    "The last active owner can be neither suspended, demoted nor deleted. Make somebody else an owner first.";

/// The columns of a user that leave the store.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = users)]
pub struct UserRow {
    id: Id,
    username: String,
    name: String,
    email: String,
    avatar_url: String,
    role: String,
    login_type: String,
    status: String,
    deleted_at: Option<Ts>,
    last_seen_at: Option<Ts>,
    created_at: Ts,
    updated_at: Ts,
}

impl TryFrom<UserRow> for UserRecord {
    type Error = Error;
    fn try_from(r: UserRow) -> Result<Self> {
        let odd = |what: &str| Error::Corrupt(format!("{what} of user {}", r.id.0));
        Ok(Self {
            id: UserId(r.id.0),
            role: SiteRole::of(&r.role).ok_or_else(|| odd("role"))?,
            login_type: LoginType::of(&r.login_type).ok_or_else(|| odd("login_type"))?,
            // The name of somebody deleted is followed by what makes it free again.
            username: match r.username.split_once('~') {
                Some((name, _)) if r.deleted_at.is_some() => name.to_owned(),
                _ => r.username,
            },
            name: r.name,
            email: r.email,
            avatar_url: r.avatar_url,
            suspended: r.status != "active",
            deleted: r.deleted_at.is_some(),
            last_seen_at: r.last_seen_at.map(|t| t.0),
            created_at: r.created_at.0,
            updated_at: r.updated_at.0,
        })
    }
}

pub fn records(rows: Vec<UserRow>) -> Result<Vec<UserRecord>> {
    rows.into_iter().map(TryInto::try_into).collect()
}

#[diesel::declare_sql_function]
extern "SQL" {
    fn lower(x: diesel::sql_types::Text) -> diesel::sql_types::Text;
}

/// The form of a name under which it is unique. Names are ASCII, whose letters both engines know.
fn login_name(name: &str) -> String {
    name.to_ascii_lowercase()
}

/// The form of an address under which it is unique.
fn login_email(email: &str) -> String {
    email.trim().to_lowercase()
}

/// Makes a user and its memberships.
pub async fn create(conn: &mut Conn, new: NewUser, now: Timestamp) -> Result<UserRecord> {
    let u = &new.user;
    refuse_taken(conn, None, Some(&u.username), Some(&u.email)).await?;
    let default = organizations::default(conn, now).await?;
    diesel::insert_into(users::table)
        .values((
            users::id.eq(Id(u.id.0)),
            users::username.eq(&u.username),
            users::name.eq(&u.name),
            users::email.eq(&u.email),
            users::login_email.eq(login_email(&u.email)),
            users::avatar_url.eq(&u.avatar_url),
            users::is_admin.eq(u.is_admin()),
            users::role.eq(u.role.as_str()),
            users::login_type.eq(u.login_type.as_str()),
            users::password_hash.eq(&new.password_hash),
            users::status.eq(u.status()),
            users::created_at.eq(Ts(now)),
            users::updated_at.eq(Ts(now)),
        ))
        .execute(conn)
        .await
        // Two at once: the checks above saw neither.
        .map_err(Error::unless_new(NAME))?;
    let organizations = if new.organizations.is_empty() { vec![default.id] } else { new.organizations };
    for organization in organizations {
        organizations::add_member(conn, organization, u.id, new.agents_access, now).await?;
    }
    get(conn, u.id).await
}

/// Refuses a name or an address that somebody else has.
async fn refuse_taken(
    conn: &mut Conn,
    except: Option<UserId>,
    username: Option<&str>,
    email: Option<&str>,
) -> Result<()> {
    let other = |found: Option<Id>| found.is_some_and(|id| Some(UserId(id.0)) != except);
    if let Some(username) = username {
        let found = users::table
            .filter(lower(users::username).eq(login_name(username)))
            .select(users::id)
            .first(conn)
            .await
            .optional()?;
        if other(found) {
            return Err(Error::Duplicate(NAME));
        }
    }
    if let Some(email) = email {
        let same = users::login_email.eq(login_email(email));
        let found = users::table.filter(same).select(users::id).first(conn).await.optional()?;
        if other(found) {
            return Err(Error::Duplicate(ADDRESS));
        }
    }
    Ok(())
}

/// Every user, by name.
pub async fn list(conn: &mut Conn) -> Result<Vec<UserRecord>> {
    let rows = users::table
        .filter(users::deleted_at.is_null())
        .order(users::username.asc())
        .select(UserRow::as_select())
        .load(conn)
        .await?;
    records(rows)
}

/// A page of the users by name, and how many there are.
pub async fn page(conn: &mut Conn, page: UserPage) -> Result<(Vec<UserRecord>, i64)> {
    let mut rows = users::table.filter(users::deleted_at.is_null()).select(UserRow::as_select()).into_boxed();
    let mut count = users::table.filter(users::deleted_at.is_null()).count().into_boxed();
    if let Some(text) = &page.search {
        rows = rows.filter(person_contains!(text));
        count = count.filter(person_contains!(text));
    }
    let rows = rows.order(users::username.asc()).limit(page.limit).offset(page.offset).load(conn).await?;
    Ok((records(rows)?, count.get_result(conn).await?))
}

/// A user by login name; none who is deleted.
pub async fn by_name(conn: &mut Conn, username: String) -> Result<UserRecord> {
    let row: UserRow = users::table
        .filter(lower(users::username).eq(login_name(&username)))
        .filter(users::deleted_at.is_null())
        .select(UserRow::as_select())
        .first(conn)
        .await?;
    row.try_into()
}

/// A user by id, deleted or not.
pub async fn get(conn: &mut Conn, id: UserId) -> Result<UserRecord> {
    let row: UserRow = users::table.find(Id(id.0)).select(UserRow::as_select()).first(conn).await?;
    row.try_into()
}

/// Whoever signs in with this address or name, with the hash of their password.
pub async fn credentials(conn: &mut Conn, login: String) -> Result<Option<(UserRecord, Option<String>)>> {
    let found = users::table.filter(users::deleted_at.is_null());
    let select = (UserRow::as_select(), users::password_hash);
    let row: Option<(UserRow, Option<String>)> = if login.contains('@') {
        let same = users::login_email.eq(login_email(&login));
        found.filter(same).select(select).first(conn).await.optional()?
    } else {
        found
            .filter(lower(users::username).eq(login_name(&login)))
            .select(select)
            .first(conn)
            .await
            .optional()?
    };
    row.map(|(user, hash)| Ok((user.try_into()?, hash))).transpose()
}

/// Changes what a user is called.
pub async fn update(conn: &mut Conn, id: UserId, p: UserPatch, now: Timestamp) -> Result<UserRecord> {
    #[derive(AsChangeset)]
    #[diesel(table_name = users)]
    struct Row {
        username: Option<String>,
        name: Option<String>,
        login_email: Option<String>,
        email: Option<String>,
        avatar_url: Option<String>,
        updated_at: Ts,
    }
    refuse_taken(conn, Some(id), p.username.as_deref(), p.email.as_deref()).await?;
    let row = Row {
        username: p.username,
        name: p.name,
        login_email: p.email.as_deref().map(login_email),
        email: p.email,
        avatar_url: p.avatar_url,
        updated_at: Ts(now),
    };
    diesel::update(users::table.find(Id(id.0)).filter(users::deleted_at.is_null()))
        .set(row)
        .execute(conn)
        .await
        .map_err(Error::unless_new(NAME))?;
    living(conn, id).await
}

/// A user who is not deleted.
async fn living(conn: &mut Conn, id: UserId) -> Result<UserRecord> {
    let user = get(conn, id).await?;
    if user.deleted { Err(Error::NotFound) } else { Ok(user) }
}

/// Refuses to go on when nobody else is an owner who can act. Locks the owners, so that two of them
/// cannot step down at once.
async fn keep_an_owner(conn: &mut Conn, but: &UserRecord) -> Result<()> {
    if !but.is_owner() || but.suspended {
        return Ok(());
    }
    let owners = users::table
        .filter(users::role.eq(SiteRole::Owner.as_str()))
        .filter(users::status.eq("active"))
        .filter(users::deleted_at.is_null())
        .order(users::id.asc())
        .select(users::id);
    let owners: Vec<Id> = for_update!(owners).load(conn).await?;
    if owners.iter().any(|id| id.0 != but.id.0) { Ok(()) } else { Err(Error::Conflict(LAST_OWNER)) }
}

/// Suspends a user or lets them in again.
pub async fn set_suspended(
    conn: &mut Conn,
    id: UserId,
    suspended: bool,
    now: Timestamp,
) -> Result<UserRecord> {
    let user = living(conn, id).await?;
    if suspended {
        keep_an_owner(conn, &user).await?;
    }
    diesel::update(users::table.find(Id(id.0)))
        .set((
            users::status.eq(if suspended { "suspended" } else { "active" }),
            users::updated_at.eq(Ts(now)),
        ))
        .execute(conn)
        .await?;
    access_changed(conn).await?;
    get(conn, id).await
}

/// Gives a user a role.
pub async fn set_role(conn: &mut Conn, id: UserId, role: SiteRole, now: Timestamp) -> Result<UserRecord> {
    let user = living(conn, id).await?;
    if role != SiteRole::Owner {
        keep_an_owner(conn, &user).await?;
    }
    diesel::update(users::table.find(Id(id.0)))
        .set((
            users::role.eq(role.as_str()),
            users::is_admin.eq(role <= SiteRole::Admin),
            users::updated_at.eq(Ts(now)),
        ))
        .execute(conn)
        .await?;
    access_changed(conn).await?;
    get(conn, id).await
}

/// Deletes a user: tokens and memberships go, chats stay. Name and address are free again.
pub async fn delete(conn: &mut Conn, id: UserId, now: Timestamp) -> Result<UserRecord> {
    let user = living(conn, id).await?;
    keep_an_owner(conn, &user).await?;
    let uid = Id(id.0);
    diesel::delete(api_tokens::table.filter(api_tokens::user_id.eq(uid))).execute(conn).await?;
    diesel::delete(login_links::table.filter(login_links::user_id.eq(uid))).execute(conn).await?;
    diesel::delete(group_members::table.filter(group_members::user_id.eq(uid))).execute(conn).await?;
    let memberships = organization_members::table.filter(organization_members::user_id.eq(uid));
    diesel::delete(memberships).execute(conn).await?;
    diesel::update(users::table.find(uid))
        .set((
            // No user name holds a tilde.
            users::username.eq(format!("{}~{}", user.username, id.0.simple())),
            users::login_email.eq(None::<String>),
            users::password_hash.eq(None::<String>),
            users::role.eq(SiteRole::Member.as_str()),
            users::is_admin.eq(false),
            users::deleted_at.eq(Some(Ts(now))),
            users::updated_at.eq(Ts(now)),
        ))
        .execute(conn)
        .await?;
    access_changed(conn).await?;
    get(conn, id).await
}

/// Sets the password. Sessions end, except the one that is kept; tokens go on.
pub async fn set_password(
    conn: &mut Conn,
    id: UserId,
    hash: String,
    keep: Option<String>,
    now: Timestamp,
) -> Result<UserRecord> {
    living(conn, id).await?;
    diesel::update(users::table.find(Id(id.0)))
        .set((
            users::password_hash.eq(Some(hash)),
            users::login_type.eq(LoginType::Password.as_str()),
            users::updated_at.eq(Ts(now)),
        ))
        .execute(conn)
        .await?;
    diesel::delete(
        api_tokens::table
            .filter(api_tokens::user_id.eq(Id(id.0)))
            .filter(api_tokens::kind.eq("session"))
            .filter(api_tokens::id.ne(keep.unwrap_or_default())),
    )
    .execute(conn)
    .await?;
    diesel::delete(login_links::table.filter(login_links::user_id.eq(Id(id.0)))).execute(conn).await?;
    access_changed(conn).await?;
    get(conn, id).await
}
