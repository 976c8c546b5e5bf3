//! Uploaded files: rows, chunks, and which chat names which file.

use super::Conn;
use crate::{
    clock::Timestamp,
    ids::{ChatId, FileId, OrganizationId, UserId},
    store::{
        error::{Error, Result},
        files::{FileRecord, MAX_FILES_PER_CHAT},
        schema::{chat_files, chats, file_chunks, files},
        types::{Id, Ts},
    },
};
use diesel::{dsl::not, prelude::*};
use diesel_async::RunQueryDsl;

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = files)]
struct FileRow {
    id: Id,
    owner_id: Id,
    organization_id: Id,
    name: String,
    mime_type: String,
    size_bytes: i64,
    sha256: Vec<u8>,
    created_at: Ts,
}

impl From<FileRow> for FileRecord {
    fn from(r: FileRow) -> Self {
        Self {
            id: FileId(r.id.0),
            owner_id: UserId(r.owner_id.0),
            organization_id: OrganizationId(r.organization_id.0),
            name: r.name,
            mime_type: r.mime_type,
            size_bytes: r.size_bytes,
            sha256: r.sha256,
            created_at: r.created_at.0,
        }
    }
}

/// Begins an upload: nobody sees the file until [`finish`].
pub async fn begin(conn: &mut Conn, file: FileRecord) -> Result<()> {
    let row = FileRow {
        id: Id(file.id.0),
        owner_id: Id(file.owner_id.0),
        organization_id: Id(file.organization_id.0),
        name: file.name,
        mime_type: file.mime_type,
        size_bytes: file.size_bytes,
        sha256: file.sha256,
        created_at: Ts(file.created_at),
    };
    diesel::insert_into(files::table)
        .values((row, files::complete.eq(false), files::linked.eq(false)))
        .execute(conn)
        .await?;
    Ok(())
}

/// Stores a chunk of an upload.
pub async fn put_chunk(conn: &mut Conn, file: FileId, seq: i64, data: Vec<u8>) -> Result<()> {
    diesel::insert_into(file_chunks::table)
        .values((file_chunks::file_id.eq(Id(file.0)), file_chunks::seq.eq(seq), file_chunks::data.eq(data)))
        .execute(conn)
        .await?;
    Ok(())
}

/// Ends an upload: the file is there, and of the type that all of its bytes speak for.
pub async fn finish(
    conn: &mut Conn,
    file: FileId,
    mime_type: String,
    size_bytes: i64,
    sha256: Vec<u8>,
) -> Result<()> {
    let changed = diesel::update(files::table.find(Id(file.0)))
        .set((
            files::complete.eq(true),
            files::mime_type.eq(mime_type),
            files::size_bytes.eq(size_bytes),
            files::sha256.eq(sha256),
        ))
        .execute(conn)
        .await?;
    if changed == 1 { Ok(()) } else { Err(Error::NotFound) }
}

/// Removes a file that no chat names, with its chunks.
pub async fn discard(conn: &mut Conn, file: FileId) -> Result<()> {
    let id = Id(file.0);
    diesel::delete(file_chunks::table.filter(file_chunks::file_id.eq(id))).execute(conn).await?;
    diesel::delete(files::table.find(id).filter(files::linked.eq(false))).execute(conn).await?;
    Ok(())
}

/// A complete file.
pub async fn get(conn: &mut Conn, file: FileId) -> Result<FileRecord> {
    let row: FileRow = files::table
        .find(Id(file.0))
        .filter(files::complete.eq(true))
        .select(FileRow::as_select())
        .first(conn)
        .await?;
    Ok(row.into())
}

/// The complete ones of some files, in no order.
pub async fn some(conn: &mut Conn, ids: Vec<FileId>) -> Result<Vec<FileRecord>> {
    let ids: Vec<Id> = ids.into_iter().map(|id| Id(id.0)).collect();
    let rows: Vec<FileRow> = files::table
        .filter(files::id.eq_any(ids))
        .filter(files::complete.eq(true))
        .select(FileRow::as_select())
        .load(conn)
        .await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// A chunk; `None` after the last one.
pub async fn chunk(conn: &mut Conn, file: FileId, seq: i64) -> Result<Option<Vec<u8>>> {
    let found = file_chunks::table.find((Id(file.0), seq)).select(file_chunks::data).first(conn).await;
    Ok(found.optional()?)
}

/// The files a chat names, in the order of their links.
pub async fn of_chat(conn: &mut Conn, chat: ChatId) -> Result<Vec<FileRecord>> {
    let rows: Vec<FileRow> = chat_files::table
        .inner_join(files::table.on(files::id.eq(chat_files::file_id)))
        .filter(chat_files::chat_id.eq(Id(chat.0)))
        .order((chat_files::created_at.asc(), chat_files::file_id.asc()))
        .select(FileRow::as_select())
        .load(conn)
        .await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// All bytes of files, for a prompt; none of those that are gone.
pub async fn load(conn: &mut Conn, ids: Vec<FileId>) -> Result<Vec<(FileId, Vec<u8>)>> {
    let mut loaded = Vec::with_capacity(ids.len());
    for id in ids {
        let chunks: Vec<Vec<u8>> = file_chunks::table
            .filter(file_chunks::file_id.eq(Id(id.0)))
            .order(file_chunks::seq.asc())
            .select(file_chunks::data)
            .load(conn)
            .await?;
        loaded.push((id, chunks.concat()));
    }
    Ok(loaded)
}

/// Links files to a chat whose row is locked, as far as there is room. Returns those that found
/// none; they stay readable for their owner and in the message.
pub(in crate::store) async fn link(
    conn: &mut Conn,
    chat: ChatId,
    ids: &[FileId],
    now: Timestamp,
) -> Result<Vec<FileId>> {
    let mut known: Vec<Id> = chat_files::table
        .filter(chat_files::chat_id.eq(Id(chat.0)))
        .select(chat_files::file_id)
        .load(conn)
        .await?;
    let mut skipped = Vec::new();
    for file in ids {
        let id = Id(file.0);
        if known.contains(&id) {
            continue;
        }
        if known.len() >= MAX_FILES_PER_CHAT {
            skipped.push(*file);
            continue;
        }
        // First the file's row: retention takes it away or leaves it, but not in between.
        let marked = diesel::update(files::table.find(id)).set(files::linked.eq(true)).execute(conn).await?;
        if marked != 1 {
            skipped.push(*file);
            continue;
        }
        diesel::insert_into(chat_files::table)
            .values((
                chat_files::chat_id.eq(Id(chat.0)),
                chat_files::file_id.eq(id),
                chat_files::created_at.eq(Ts(now)),
            ))
            .execute(conn)
            .await?;
        known.push(id);
    }
    Ok(skipped)
}

/// Stores a whole file and links it to a chat, both or neither: [`Error::Conflict`] when the chat has no room.
pub async fn attach(
    conn: &mut Conn,
    chat: ChatId,
    file: FileRecord,
    chunks: Vec<Vec<u8>>,
    now: Timestamp,
) -> Result<()> {
    let (id, mime_type, size, sha256) =
        (file.id, file.mime_type.clone(), file.size_bytes, file.sha256.clone());
    // As a message that names files does: the chat's row first.
    let _: Id = for_update!(chats::table.find(Id(chat.0)).select(chats::id)).first(conn).await?;
    begin(conn, file).await?;
    for (seq, chunk) in (0..).zip(chunks) {
        put_chunk(conn, id, seq, chunk).await?;
    }
    finish(conn, id, mime_type, size, sha256).await?;
    if link(conn, chat, &[id], now).await?.is_empty() {
        Ok(())
    } else {
        Err(Error::Conflict("The chat has as many files as a chat may have."))
    }
}

/// Removes uploads that no message named, begun before the moment. Returns how many, at most
/// `limit`.
pub async fn sweep(conn: &mut Conn, older_than: Timestamp, limit: i64) -> Result<usize> {
    let ids: Vec<Id> = for_update!(
        files::table
            .filter(not(files::linked))
            .filter(files::created_at.lt(Ts(older_than)))
            .order(files::created_at.asc())
            .limit(limit)
            .select(files::id)
    )
    .load(conn)
    .await?;
    if ids.is_empty() {
        return Ok(0);
    }
    diesel::delete(file_chunks::table.filter(file_chunks::file_id.eq_any(ids.clone()))).execute(conn).await?;
    diesel::delete(files::table.filter(files::id.eq_any(ids.clone()))).execute(conn).await?;
    Ok(ids.len())
}
