//! Who may read a chat besides its owner. Entries are of root chats; children follow.

use super::{
    Conn,
    chats::MOST_BINDS,
    lists::shared_with,
    users::{self as people, UserRow},
};
use crate::{
    clock::Timestamp,
    ids::{ChatId, FileId, GroupId, OrganizationId, UserId},
    store::{
        error::Result,
        records::{Acl, AclGroup, AclSubject, UserRecord},
        schema::{chat_acl, chat_files, chats, groups, users},
        types::{Id, Ts, sql as types},
    },
};
use diesel::{dsl::sql, prelude::*, sql_types::Bool};
use diesel_async::RunQueryDsl;
use std::collections::HashSet;
use uuid::Uuid;

/// Which of some root chats have readers.
pub(super) async fn shared_among(conn: &mut Conn, roots: Vec<Id>) -> Result<HashSet<Uuid>> {
    let mut shared = HashSet::new();
    for part in roots.chunks(MOST_BINDS) {
        let found: Vec<Id> = chat_acl::table
            .filter(chat_acl::root_chat_id.eq_any(part.to_vec()))
            .select(chat_acl::root_chat_id)
            .distinct()
            .load(conn)
            .await?;
        shared.extend(found.into_iter().map(|id| id.0));
    }
    Ok(shared)
}

/// Whether a chat has readers.
pub async fn is_shared(conn: &mut Conn, root: ChatId) -> Result<bool> {
    Ok(!shared_among(conn, vec![Id(root.0)]).await?.is_empty())
}

/// Whether a chat is shared with a user.
pub async fn may_read(conn: &mut Conn, chat: ChatId, user: UserId) -> Result<bool> {
    let found: Option<Id> = chats::table
        .find(Id(chat.0))
        .filter(shared_with!(user))
        .select(chats::id)
        .first(conn)
        .await
        .optional()?;
    Ok(found.is_some())
}

/// Whether a user may read a chat that names a file: as its owner, or because it is shared.
pub async fn may_read_file(conn: &mut Conn, file: FileId, user: UserId, shares: bool) -> Result<bool> {
    let mut query = chat_files::table
        .inner_join(chats::table.on(chats::id.eq(chat_files::chat_id)))
        .filter(chat_files::file_id.eq(Id(file.0)))
        .select(chats::id)
        .into_boxed();
    query = if shares {
        query.filter(chats::owner_id.eq(Id(user.0)).or(shared_with!(user)))
    } else {
        query.filter(chats::owner_id.eq(Id(user.0)))
    };
    let found: Option<Id> = query.first(conn).await.optional()?;
    Ok(found.is_some())
}

/// The access list of a root chat, by name.
pub async fn acl(conn: &mut Conn, root: ChatId) -> Result<Acl> {
    let users: Vec<UserRow> = chat_acl::table
        .inner_join(users::table.on(chat_acl::user_id.eq(users::id.nullable())))
        .filter(chat_acl::root_chat_id.eq(Id(root.0)))
        .filter(users::deleted_at.is_null())
        .order(users::username.asc())
        .select(UserRow::as_select())
        .load(conn)
        .await?;
    let groups: Vec<GroupRow> = chat_acl::table
        .inner_join(groups::table.on(chat_acl::group_id.eq(groups::id.nullable())))
        .filter(chat_acl::root_chat_id.eq(Id(root.0)))
        .order((groups::name.asc(), groups::id.asc()))
        .select(GroupRow::as_select())
        .load(conn)
        .await?;
    Ok(Acl { users: people::records(users)?, groups: groups.into_iter().map(Into::into).collect() })
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = groups)]
struct GroupRow {
    id: Id,
    name: String,
    display_name: String,
    organization_id: Id,
}

impl From<GroupRow> for AclGroup {
    fn from(r: GroupRow) -> Self {
        Self {
            id: GroupId(r.id.0),
            name: r.name,
            display_name: r.display_name,
            organization_id: OrganizationId(r.organization_id.0),
        }
    }
}

/// Those of some users that there are.
pub async fn users_of(conn: &mut Conn, ids: Vec<UserId>) -> Result<Vec<UserRecord>> {
    let mut found = Vec::new();
    for part in ids.chunks(MOST_BINDS) {
        let part: Vec<Id> = part.iter().map(|id| Id(id.0)).collect();
        let rows =
            users::table.filter(users::id.eq_any(part)).select(UserRow::as_select()).load(conn).await?;
        found.extend(people::records(rows)?);
    }
    Ok(found)
}

/// Those of some groups that there are.
pub async fn acl_groups(conn: &mut Conn, ids: Vec<GroupId>) -> Result<Vec<AclGroup>> {
    let mut found = Vec::new();
    for part in ids.chunks(MOST_BINDS) {
        let part: Vec<Id> = part.iter().map(|id| Id(id.0)).collect();
        let rows: Vec<GroupRow> =
            groups::table.filter(groups::id.eq_any(part)).select(GroupRow::as_select()).load(conn).await?;
        found.extend(rows.into_iter().map(Into::into));
    }
    Ok(found)
}

/// Lets readers in (`true`) or out; who is not named stays. Answers those who were let out.
pub async fn share(
    conn: &mut Conn,
    root: ChatId,
    changes: Vec<(AclSubject, bool)>,
    now: Timestamp,
) -> Result<Vec<AclSubject>> {
    let mut out = Vec::new();
    for (subject, reads) in changes {
        let (user, group) = match subject {
            AclSubject::User(id) => (Some(Id(id.0)), None),
            AclSubject::Group(id) => (None, Some(Id(id.0))),
        };
        if reads {
            diesel::insert_into(chat_acl::table)
                .values((
                    chat_acl::root_chat_id.eq(Id(root.0)),
                    chat_acl::user_id.eq(user),
                    chat_acl::group_id.eq(group),
                    chat_acl::role.eq("read"),
                    chat_acl::created_at.eq(Ts(now)),
                ))
                .on_conflict_do_nothing()
                .execute(conn)
                .await?;
            continue;
        }
        let of_root = chat_acl::table.filter(chat_acl::root_chat_id.eq(Id(root.0)));
        let gone = match (user, group) {
            (Some(id), _) => diesel::delete(of_root.filter(chat_acl::user_id.eq(id))).execute(conn).await?,
            (None, id) => diesel::delete(of_root.filter(chat_acl::group_id.eq(id))).execute(conn).await?,
        };
        if gone > 0 {
            out.push(subject);
        }
    }
    Ok(out)
}
