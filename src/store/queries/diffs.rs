//! The changes that chats made to code.

use super::{Conn, chats::MOST_BINDS};
use crate::{
    ids::ChatId,
    store::{
        error::Result,
        records::{DiffRecord, DiffReference},
        schema::chat_diff_statuses as table,
        types::{Id, Ts},
    },
};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use std::collections::HashMap;
use uuid::Uuid;

#[derive(Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = table, treat_none_as_null = true)]
struct StatusRow {
    chat_id: Id,
    url: Option<String>,
    pull_request_state: Option<String>,
    pull_request_title: String,
    pull_request_draft: bool,
    changes_requested: bool,
    additions: i64,
    deletions: i64,
    changed_files: i64,
    author_login: Option<String>,
    author_avatar_url: Option<String>,
    base_branch: Option<String>,
    head_branch: Option<String>,
    pr_number: Option<i64>,
    commits: Option<i64>,
    approved: Option<bool>,
    reviewer_count: Option<i64>,
    refreshed_at: Option<Ts>,
    stale_at: Option<Ts>,
}

#[derive(Insertable, AsChangeset)]
#[diesel(table_name = table, treat_none_as_null = true)]
struct ReferenceRow {
    provider: Option<String>,
    remote_origin: Option<String>,
    branch: Option<String>,
    repository: Option<String>,
    diff: Option<String>,
}

impl StatusRow {
    fn new(chat: ChatId, r: DiffRecord) -> Self {
        Self {
            chat_id: Id(chat.0),
            url: r.url,
            pull_request_state: r.pull_request_state,
            pull_request_title: r.pull_request_title,
            pull_request_draft: r.pull_request_draft,
            changes_requested: r.changes_requested,
            additions: r.additions,
            deletions: r.deletions,
            changed_files: r.changed_files,
            author_login: r.author_login,
            author_avatar_url: r.author_avatar_url,
            base_branch: r.base_branch,
            head_branch: r.head_branch,
            pr_number: r.pr_number,
            commits: r.commits,
            approved: r.approved,
            reviewer_count: r.reviewer_count,
            refreshed_at: r.refreshed_at.map(Ts),
            stale_at: r.stale_at.map(Ts),
        }
    }
}

impl From<StatusRow> for DiffRecord {
    fn from(r: StatusRow) -> Self {
        Self {
            url: r.url,
            pull_request_state: r.pull_request_state,
            pull_request_title: r.pull_request_title,
            pull_request_draft: r.pull_request_draft,
            changes_requested: r.changes_requested,
            additions: r.additions,
            deletions: r.deletions,
            changed_files: r.changed_files,
            author_login: r.author_login,
            author_avatar_url: r.author_avatar_url,
            base_branch: r.base_branch,
            head_branch: r.head_branch,
            pr_number: r.pr_number,
            commits: r.commits,
            approved: r.approved,
            reviewer_count: r.reviewer_count,
            refreshed_at: r.refreshed_at.map(|t| t.0),
            stale_at: r.stale_at.map(|t| t.0),
        }
    }
}

/// Replaces what is known of a chat's changes.
pub async fn set(conn: &mut Conn, chat: ChatId, status: DiffRecord, at: DiffReference) -> Result<()> {
    let repository = at.remote_origin.as_deref().or(status.url.as_deref()).and_then(repository_of);
    let mut status = StatusRow::new(chat, status);
    if at.pull_request_url.is_some() {
        status.url = at.pull_request_url;
    }
    let at = ReferenceRow {
        provider: at.provider,
        remote_origin: at.remote_origin,
        branch: at.branch,
        repository,
        diff: at.diff,
    };
    diesel::insert_into(table::table)
        .values((&status, &at))
        .on_conflict(table::chat_id)
        .do_update()
        .set((&status, &at))
        .execute(conn)
        .await?;
    Ok(())
}

/// The diff statuses of some chats; those without one are left out.
pub(super) async fn of(conn: &mut Conn, chats: &[Id]) -> Result<HashMap<Uuid, DiffRecord>> {
    let mut found = HashMap::new();
    for part in chats.chunks(MOST_BINDS) {
        let rows: Vec<StatusRow> = table::table
            .filter(table::chat_id.eq_any(part.to_vec()))
            .select(StatusRow::as_select())
            .load(conn)
            .await?;
        found.extend(rows.into_iter().map(|r| (r.chat_id.0, r.into())));
    }
    Ok(found)
}

/// The diff status of a chat.
pub async fn get(conn: &mut Conn, chat: ChatId) -> Result<Option<DiffRecord>> {
    Ok(of(conn, &[Id(chat.0)]).await?.remove(&chat.0))
}

/// Where a chat's changes lie, and the changes; nothing set when nothing is tracked.
pub async fn reference(conn: &mut Conn, chat: ChatId) -> Result<DiffReference> {
    type Row = (Option<String>, Option<String>, Option<String>, Option<String>, Option<String>);
    let row: Option<Row> = table::table
        .find(Id(chat.0))
        .select((table::provider, table::remote_origin, table::branch, table::url, table::diff))
        .first(conn)
        .await
        .optional()?;
    let (provider, remote_origin, branch, pull_request_url, diff) = row.unwrap_or_default();
    Ok(DiffReference { provider, remote_origin, branch, pull_request_url, diff })
}

/// `owner/name` of an address, in lower case: `https://host/owner/name/pull/1`,
/// `git@host:owner/name.git`.
fn repository_of(address: &str) -> Option<String> {
    let path = match address.split_once("://") {
        Some((_, rest)) => rest.split_once('/')?.1,
        None => address.split_once(':')?.1,
    };
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let mut segments = path.split('/').filter(|s| !s.is_empty());
    let (owner, name) = (segments.next()?, segments.next()?);
    Some(format!("{owner}/{}", name.strip_suffix(".git").unwrap_or(name)).to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_are_read_from_addresses() {
        for address in [
            "https://github.com/Acme/Shop/pull/7?x#y",
            "git@github.com:acme/shop.git",
            "ssh://git@host:22/acme/shop.git",
            "https://host/acme/shop",
        ] {
            assert_eq!(repository_of(address).as_deref(), Some("acme/shop"), "{address}");
        }
        assert_eq!(repository_of("https://host/acme"), None);
        assert_eq!(repository_of("nonsense"), None);
    }
}
