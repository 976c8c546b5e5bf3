//! Groups of members of an organization.

use super::{
    Conn,
    accounts::access_changed,
    users::{self as people, UserRow},
};
use crate::{
    clock::Timestamp,
    ids::{GroupId, OrganizationId, UserId},
    store::{
        error::{Error, Result},
        records::{GroupPatch, GroupRecord, UserRecord},
        schema::{group_members, groups, organization_members, users},
        types::{Id, Ts},
    },
};
use diesel::{dsl::count, prelude::*};
use diesel_async::RunQueryDsl;
use std::collections::HashMap;

const NAME: &str = "a group of this name";

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = groups)]
struct GroupRow {
    id: Id,
    organization_id: Id,
    name: String,
    display_name: String,
    avatar_url: String,
    created_at: Ts,
    updated_at: Ts,
}

/// Adds the numbers of members with one statement.
async fn counted(conn: &mut Conn, rows: Vec<GroupRow>) -> Result<Vec<GroupRecord>> {
    let ids: Vec<Id> = rows.iter().map(|r| r.id).collect();
    let counts: Vec<(Id, i64)> = group_members::table
        .filter(group_members::group_id.eq_any(ids))
        .group_by(group_members::group_id)
        .select((group_members::group_id, count(group_members::user_id)))
        .load(conn)
        .await?;
    let counts: HashMap<_, _> = counts.into_iter().map(|(id, n)| (id.0, n)).collect();
    let record = |r: GroupRow| GroupRecord {
        id: GroupId(r.id.0),
        organization_id: OrganizationId(r.organization_id.0),
        member_count: counts.get(&r.id.0).copied().unwrap_or_default(),
        name: r.name,
        display_name: r.display_name,
        avatar_url: r.avatar_url,
        created_at: r.created_at.0,
        updated_at: r.updated_at.0,
    };
    Ok(rows.into_iter().map(record).collect())
}

/// The groups of an organization, by name.
pub async fn list(conn: &mut Conn, organization: OrganizationId) -> Result<Vec<GroupRecord>> {
    let rows = groups::table
        .filter(groups::organization_id.eq(Id(organization.0)))
        .order(groups::name.asc())
        .select(GroupRow::as_select())
        .load(conn)
        .await?;
    counted(conn, rows).await
}

/// A group by id.
pub async fn get(conn: &mut Conn, id: GroupId) -> Result<GroupRecord> {
    let rows = groups::table.find(Id(id.0)).select(GroupRow::as_select()).load(conn).await?;
    counted(conn, rows).await?.pop().ok_or(Error::NotFound)
}

/// A group by its name in an organization.
pub async fn by_name(conn: &mut Conn, organization: OrganizationId, name: String) -> Result<GroupRecord> {
    let rows = groups::table
        .filter(groups::organization_id.eq(Id(organization.0)))
        .filter(groups::name.eq(name))
        .select(GroupRow::as_select())
        .load(conn)
        .await?;
    counted(conn, rows).await?.pop().ok_or(Error::NotFound)
}

/// Makes a group of these members; its count of members is not looked at.
pub async fn create(conn: &mut Conn, group: GroupRecord, members: Vec<UserId>) -> Result<GroupRecord> {
    let row = GroupRow {
        id: Id(group.id.0),
        organization_id: Id(group.organization_id.0),
        name: group.name,
        display_name: group.display_name,
        avatar_url: group.avatar_url,
        created_at: Ts(group.created_at),
        updated_at: Ts(group.updated_at),
    };
    let insert = diesel::insert_into(groups::table).values(&row);
    insert.execute(conn).await.map_err(Error::unless_new(NAME))?;
    for user in members {
        add_member(conn, group.id, group.organization_id, user, group.created_at).await?;
    }
    get(conn, group.id).await
}

/// Changes a group and its members.
pub async fn update(conn: &mut Conn, id: GroupId, p: GroupPatch, now: Timestamp) -> Result<GroupRecord> {
    #[derive(AsChangeset)]
    #[diesel(table_name = groups)]
    struct Row {
        name: Option<String>,
        display_name: Option<String>,
        avatar_url: Option<String>,
        updated_at: Ts,
    }
    let organization = get(conn, id).await?.organization_id;
    let row =
        Row { name: p.name, display_name: p.display_name, avatar_url: p.avatar_url, updated_at: Ts(now) };
    let update = diesel::update(groups::table.find(Id(id.0))).set(row);
    update.execute(conn).await.map_err(Error::unless_new(NAME))?;
    for user in p.add {
        add_member(conn, id, organization, user, now).await?;
    }
    for user in p.remove {
        diesel::delete(group_members::table.find((Id(id.0), Id(user.0)))).execute(conn).await?;
    }
    access_changed(conn).await?;
    get(conn, id).await
}

/// Takes a member of the organization in.
async fn add_member(
    conn: &mut Conn,
    id: GroupId,
    organization: OrganizationId,
    user: UserId,
    now: Timestamp,
) -> Result<()> {
    let member: Option<Id> = organization_members::table
        .find((Id(user.0), Id(organization.0)))
        .select(organization_members::user_id)
        .first(conn)
        .await
        .optional()?;
    if member.is_none() {
        return Err(Error::NotAMember(user));
    }
    diesel::insert_into(group_members::table)
        .values((
            group_members::group_id.eq(Id(id.0)),
            group_members::user_id.eq(Id(user.0)),
            group_members::created_at.eq(Ts(now)),
        ))
        .on_conflict_do_nothing()
        .execute(conn)
        .await?;
    Ok(())
}

/// Removes a group; whether there was one.
pub async fn delete(conn: &mut Conn, id: GroupId) -> Result<bool> {
    let gone = diesel::delete(groups::table.find(Id(id.0))).execute(conn).await?;
    access_changed(conn).await?;
    Ok(gone == 1)
}

/// The members of a group, by name.
pub async fn members(conn: &mut Conn, id: GroupId) -> Result<Vec<UserRecord>> {
    let rows: Vec<UserRow> = group_members::table
        .inner_join(users::table.on(users::id.eq(group_members::user_id)))
        .filter(group_members::group_id.eq(Id(id.0)))
        .order(users::username.asc())
        .select(UserRow::as_select())
        .load(conn)
        .await?;
    people::records(rows)
}

/// The groups a user belongs to.
pub async fn of_user(conn: &mut Conn, user: UserId) -> Result<Vec<GroupId>> {
    let ids: Vec<Id> = group_members::table
        .filter(group_members::user_id.eq(Id(user.0)))
        .order(group_members::group_id.asc())
        .select(group_members::group_id)
        .load(conn)
        .await?;
    Ok(ids.into_iter().map(|id| GroupId(id.0)).collect())
}
