//! Skills that users wrote.

use super::Conn;
use crate::{
    clock::Timestamp,
    ids::UserId,
    store::{
        error::{Error, Result},
        records::skills::{SkillAdded, SkillRecord},
        schema::{user_skills, users},
        types::{Id, Ts},
    },
};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = user_skills)]
struct SkillRow {
    id: Id,
    user_id: Id,
    name: String,
    description: String,
    content: String,
    created_at: Ts,
    updated_at: Ts,
}

impl From<SkillRow> for SkillRecord {
    fn from(r: SkillRow) -> Self {
        Self {
            id: r.id.0,
            user_id: UserId(r.user_id.0),
            name: r.name,
            description: r.description,
            content: r.content,
            created_at: r.created_at.0,
            updated_at: r.updated_at.0,
        }
    }
}

/// The skills of a user by name, without their content.
pub async fn list(conn: &mut Conn, user: UserId) -> Result<Vec<SkillRecord>> {
    type Listed = (Id, String, String, Ts, Ts);
    let rows: Vec<Listed> = user_skills::table
        .filter(user_skills::user_id.eq(Id(user.0)))
        .order(user_skills::name.asc())
        .select((
            user_skills::id,
            user_skills::name,
            user_skills::description,
            user_skills::created_at,
            user_skills::updated_at,
        ))
        .load(conn)
        .await?;
    let record = |(id, name, description, created_at, updated_at): Listed| SkillRecord {
        id: id.0,
        user_id: user,
        name,
        description,
        content: String::new(),
        created_at: created_at.0,
        updated_at: updated_at.0,
    };
    Ok(rows.into_iter().map(record).collect())
}

/// A skill with its content.
pub async fn get(conn: &mut Conn, user: UserId, name: String) -> Result<SkillRecord> {
    let row: SkillRow = user_skills::table
        .filter(user_skills::user_id.eq(Id(user.0)).and(user_skills::name.eq(name)))
        .select(SkillRow::as_select())
        .first(conn)
        .await?;
    Ok(row.into())
}

/// Makes a skill; a user has at most `max`. Of two at once the second waits for the first.
pub async fn add(conn: &mut Conn, skill: SkillRecord, max: i64) -> Result<SkillAdded> {
    let user = Id(skill.user_id.0);
    let active = users::table.find(user).filter(users::deleted_at.is_null()).select(users::id);
    let there: Option<Id> = for_no_key_update!(active).first(conn).await.optional()?;
    if there.is_none() {
        return Ok(SkillAdded::NoUser);
    }
    let own = user_skills::table.filter(user_skills::user_id.eq(user));
    let double: i64 = own.filter(user_skills::name.eq(&skill.name)).count().get_result(conn).await?;
    if double > 0 {
        return Ok(SkillAdded::Duplicate);
    }
    let count: i64 = own.count().get_result(conn).await?;
    if count >= max {
        return Ok(SkillAdded::TooMany);
    }
    let row = SkillRow {
        id: Id(skill.id),
        user_id: user,
        name: skill.name,
        description: skill.description,
        content: skill.content,
        created_at: Ts(skill.created_at),
        updated_at: Ts(skill.updated_at),
    };
    diesel::insert_into(user_skills::table).values(row).execute(conn).await?;
    Ok(SkillAdded::Added)
}

/// Replaces the content of a skill, and what was read from it.
pub async fn change(
    conn: &mut Conn,
    user: UserId,
    name: String,
    description: String,
    content: String,
    now: Timestamp,
) -> Result<SkillRecord> {
    let own = user_skills::table.filter(user_skills::user_id.eq(Id(user.0)).and(user_skills::name.eq(&name)));
    diesel::update(own)
        .set((
            user_skills::description.eq(description),
            user_skills::content.eq(content),
            user_skills::updated_at.eq(Ts(now)),
        ))
        .execute(conn)
        .await?;
    get(conn, user, name).await
}

/// Removes a skill.
pub async fn remove(conn: &mut Conn, user: UserId, name: String) -> Result<()> {
    let own = user_skills::table.filter(user_skills::user_id.eq(Id(user.0)).and(user_skills::name.eq(name)));
    if diesel::delete(own).execute(conn).await? == 0 { Err(Error::NotFound) } else { Ok(()) }
}
