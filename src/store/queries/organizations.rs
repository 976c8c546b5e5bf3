//! Organizations and their members.

use super::{
    Conn,
    accounts::access_changed,
    users::{self as people, UserRow},
};
use crate::{
    clock::Timestamp,
    ids::{OrganizationId, UserId},
    store::{
        error::{Error, Result},
        records::{MemberRecord, OrganizationPatch, OrganizationRecord},
        schema::{chats, group_members, groups, organization_members, organizations, users},
        types::{Id, Ts},
    },
};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

const NAME: &str = "an organization of this name";

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = organizations)]
struct OrganizationRow {
    id: Id,
    name: String,
    display_name: String,
    icon: String,
    description: String,
    is_default: bool,
    created_at: Ts,
    updated_at: Ts,
}

impl From<OrganizationRow> for OrganizationRecord {
    fn from(r: OrganizationRow) -> Self {
        Self {
            id: OrganizationId(r.id.0),
            name: r.name,
            display_name: r.display_name,
            icon: r.icon,
            description: r.description,
            is_default: r.is_default,
            created_at: r.created_at.0,
            updated_at: r.updated_at.0,
        }
    }
}

impl From<OrganizationRecord> for OrganizationRow {
    fn from(r: OrganizationRecord) -> Self {
        Self {
            id: Id(r.id.0),
            name: r.name,
            display_name: r.display_name,
            icon: r.icon,
            description: r.description,
            is_default: r.is_default,
            created_at: Ts(r.created_at),
            updated_at: Ts(r.updated_at),
        }
    }
}

/// Makes the default organization if there is none, and answers it. It may have been given another
/// name since.
pub async fn default(conn: &mut Conn, now: Timestamp) -> Result<OrganizationRecord> {
    let find = || {
        organizations::table
            .filter(organizations::is_default.eq(true))
            .order(organizations::id.asc())
            .select(OrganizationRow::as_select())
    };
    let found: Option<OrganizationRow> = find().first(conn).await.optional()?;
    if let Some(row) = found {
        return Ok(row.into());
    }
    let row = OrganizationRow {
        id: Id(OrganizationId::fresh().0),
        name: "default".into(),
        display_name: "Default".into(),
        icon: String::new(),
        description: String::new(),
        is_default: true,
        created_at: Ts(now),
        updated_at: Ts(now),
    };
    // Several replicas may start at once: the first one wins, the others read its row.
    diesel::insert_into(organizations::table).values(&row).on_conflict_do_nothing().execute(conn).await?;
    let row: OrganizationRow = find().first(conn).await?;
    Ok(row.into())
}

/// Every organization, by name.
pub async fn list(conn: &mut Conn) -> Result<Vec<OrganizationRecord>> {
    let rows: Vec<OrganizationRow> = organizations::table
        .order(organizations::name.asc())
        .select(OrganizationRow::as_select())
        .load(conn)
        .await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// The organizations a user belongs to, by name.
pub async fn of_user(conn: &mut Conn, user: UserId) -> Result<Vec<OrganizationRecord>> {
    let rows: Vec<OrganizationRow> = organization_members::table
        .inner_join(organizations::table.on(organizations::id.eq(organization_members::organization_id)))
        .filter(organization_members::user_id.eq(Id(user.0)))
        .order(organizations::name.asc())
        .select(OrganizationRow::as_select())
        .load(conn)
        .await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// An organization by id.
pub async fn get(conn: &mut Conn, id: OrganizationId) -> Result<OrganizationRecord> {
    let row: OrganizationRow =
        organizations::table.find(Id(id.0)).select(OrganizationRow::as_select()).first(conn).await?;
    Ok(row.into())
}

/// An organization by name.
pub async fn by_name(conn: &mut Conn, name: String) -> Result<OrganizationRecord> {
    let row: OrganizationRow = organizations::table
        .filter(organizations::name.eq(name))
        .select(OrganizationRow::as_select())
        .first(conn)
        .await?;
    Ok(row.into())
}

/// Makes an organization with its first member.
pub async fn create(
    conn: &mut Conn,
    organization: OrganizationRecord,
    member: UserId,
) -> Result<OrganizationRecord> {
    let now = organization.created_at;
    let row = OrganizationRow::from(organization.clone());
    diesel::insert_into(organizations::table)
        .values(&row)
        .execute(conn)
        .await
        .map_err(Error::unless_new(NAME))?;
    add_member(conn, organization.id, member, true, now).await?;
    Ok(organization)
}

/// Changes an organization.
pub async fn update(
    conn: &mut Conn,
    id: OrganizationId,
    p: OrganizationPatch,
    now: Timestamp,
) -> Result<OrganizationRecord> {
    #[derive(AsChangeset)]
    #[diesel(table_name = organizations)]
    struct Row {
        name: Option<String>,
        display_name: Option<String>,
        icon: Option<String>,
        description: Option<String>,
        updated_at: Ts,
    }
    let row = Row {
        name: p.name,
        display_name: p.display_name,
        icon: p.icon,
        description: p.description,
        updated_at: Ts(now),
    };
    diesel::update(organizations::table.find(Id(id.0)))
        .set(row)
        .execute(conn)
        .await
        .map_err(Error::unless_new(NAME))?;
    get(conn, id).await
}

/// Removes an organization with its groups and memberships; not the default one, and none that chats
/// belong to.
pub async fn delete(conn: &mut Conn, id: OrganizationId) -> Result<()> {
    const IN_USE: &str = "The organization still has chats, so it cannot be deleted.";
    let found = organizations::table.find(Id(id.0)).select(organizations::is_default);
    let is_default: bool = for_update!(found).first(conn).await?;
    if is_default {
        return Err(Error::Conflict("The default organization cannot be deleted."));
    }
    let of_it = chats::table.filter(chats::organization_id.eq(Id(id.0)));
    let chat: Option<Id> = of_it.select(chats::id).first(conn).await.optional()?;
    if chat.is_some() {
        return Err(Error::Conflict(IN_USE));
    }
    diesel::delete(groups::table.filter(groups::organization_id.eq(Id(id.0)))).execute(conn).await?;
    let members = organization_members::table.filter(organization_members::organization_id.eq(Id(id.0)));
    diesel::delete(members).execute(conn).await?;
    diesel::delete(organizations::table.find(Id(id.0))).execute(conn).await.map_err(|e| match e {
        // Something else of it is left, such as the ledger of what its chats have cost.
        diesel::result::Error::DatabaseError(diesel::result::DatabaseErrorKind::ForeignKeyViolation, _) => {
            Error::Conflict(IN_USE)
        }
        other => other.into(),
    })?;
    access_changed(conn).await
}

/// Takes a user in, or only sets the agents role of one who is a member already.
pub async fn add_member(
    conn: &mut Conn,
    organization: OrganizationId,
    user: UserId,
    agents_access: bool,
    now: Timestamp,
) -> Result<MemberRecord> {
    // Missing ones are told from a broken foreign key.
    get(conn, organization).await?;
    if people::get(conn, user).await?.deleted {
        return Err(Error::NotFound);
    }
    diesel::insert_into(organization_members::table)
        .values((
            organization_members::organization_id.eq(Id(organization.0)),
            organization_members::user_id.eq(Id(user.0)),
            organization_members::agents_access.eq(agents_access),
            organization_members::created_at.eq(Ts(now)),
        ))
        .on_conflict((organization_members::user_id, organization_members::organization_id))
        .do_update()
        .set(organization_members::agents_access.eq(agents_access))
        .execute(conn)
        .await?;
    member(conn, organization, user).await?.ok_or(Error::NotFound)
}

/// Lets a member go, out of the organization's groups too; whether there was one.
pub async fn remove_member(conn: &mut Conn, organization: OrganizationId, user: UserId) -> Result<bool> {
    let of_it: Vec<Id> = groups::table
        .filter(groups::organization_id.eq(Id(organization.0)))
        .select(groups::id)
        .load(conn)
        .await?;
    diesel::delete(
        group_members::table
            .filter(group_members::user_id.eq(Id(user.0)))
            .filter(group_members::group_id.eq_any(of_it)),
    )
    .execute(conn)
    .await?;
    let gone = diesel::delete(organization_members::table.find((Id(user.0), Id(organization.0))))
        .execute(conn)
        .await?;
    access_changed(conn).await?;
    Ok(gone == 1)
}

type MemberRow = (Id, bool, Ts, UserRow);

fn record((organization, agents_access, created_at, user): MemberRow) -> Result<MemberRecord> {
    Ok(MemberRecord {
        organization_id: OrganizationId(organization.0),
        user: user.try_into()?,
        agents_access,
        created_at: created_at.0,
    })
}

/// The members of an organization, by name.
pub async fn members(conn: &mut Conn, organization: OrganizationId) -> Result<Vec<MemberRecord>> {
    let rows: Vec<MemberRow> = organization_members::table
        .inner_join(users::table.on(users::id.eq(organization_members::user_id)))
        .filter(organization_members::organization_id.eq(Id(organization.0)))
        .order(users::username.asc())
        .select((
            organization_members::organization_id,
            organization_members::agents_access,
            organization_members::created_at,
            UserRow::as_select(),
        ))
        .load(conn)
        .await?;
    rows.into_iter().map(record).collect()
}

/// A member of an organization.
pub async fn member(
    conn: &mut Conn,
    organization: OrganizationId,
    user: UserId,
) -> Result<Option<MemberRecord>> {
    let row: Option<MemberRow> = organization_members::table
        .inner_join(users::table.on(users::id.eq(organization_members::user_id)))
        .filter(organization_members::organization_id.eq(Id(organization.0)))
        .filter(organization_members::user_id.eq(Id(user.0)))
        .select((
            organization_members::organization_id,
            organization_members::agents_access,
            organization_members::created_at,
            UserRow::as_select(),
        ))
        .first(conn)
        .await
        .optional()?;
    row.map(record).transpose()
}

/// The organizations of some users, each with whether the user has the agents role there.
pub async fn memberships(conn: &mut Conn, of: Vec<UserId>) -> Result<Vec<(UserId, OrganizationId, bool)>> {
    let of: Vec<Id> = of.into_iter().map(|u| Id(u.0)).collect();
    let rows: Vec<(Id, Id, bool)> = organization_members::table
        .filter(organization_members::user_id.eq_any(of))
        .order((organization_members::user_id.asc(), organization_members::organization_id.asc()))
        .select((
            organization_members::user_id,
            organization_members::organization_id,
            organization_members::agents_access,
        ))
        .load(conn)
        .await?;
    Ok(rows.into_iter().map(|(u, o, a)| (UserId(u.0), OrganizationId(o.0), a)).collect())
}
