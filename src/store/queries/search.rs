//! The words of messages, for full-text search. Written in the transaction of the message.

use super::{Conn, divergent};
use crate::{
    ids::{ChatId, MessageId},
    store::{error::Result, records::MessageRow, schema::chat_messages, types::Id, words},
};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

/// Makes a message findable, if it is one that is found.
pub(in crate::store) async fn index(conn: &mut Conn, message: &MessageRow) -> Result<()> {
    match words::indexed(message.role, message.visibility, &message.content) {
        Some(words) => divergent::index_words(conn, message.id, message.chat_id, words).await,
        None => Ok(()),
    }
}

/// Forgets the words of a chat's messages from one on.
pub(in crate::store) async fn forget(conn: &mut Conn, chat: ChatId, from: MessageId) -> Result<()> {
    let gone: Vec<i64> = chat_messages::table
        .filter(chat_messages::chat_id.eq(Id(chat.0)))
        .filter(chat_messages::id.ge(from.0))
        .filter(chat_messages::deleted.eq(false))
        .select(chat_messages::id)
        .load(conn)
        .await?;
    for part in gone.chunks(super::chats::MOST_BINDS) {
        divergent::forget_words(conn, part).await?;
    }
    Ok(())
}
