//! The part of a chat's history that a turn can depend on. What lies before the last compaction or
//! clearing has left the prompt, so a long history must not be read anew in every turn.

use super::Conn;
use crate::{
    chat::message::{Part, Role, Visibility},
    ids::ChatId,
    store::{error::Result, records::MessageRow, rows::SelectMessage, schema::chat_messages, types::Id},
};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

/// Rows of the first page; longer histories take further statements.
const FIRST_PAGE: i64 = 64;
/// How much larger each further page is.
const GROWTH: i64 = 16;
/// Rows in which the system rows of a chat are looked for at first. They are its first rows.
const SYSTEM_ROWS: i64 = 8;

/// The newest rows of active history, ascending: at least from the last summary, from the last message
/// of a person and from the last step with known usage on, and the system rows before them. The whole
/// history when one of these is not there.
pub async fn history(conn: &mut Conn, chat: ChatId) -> Result<Vec<MessageRow>> {
    let mut newest_first: Vec<MessageRow> = Vec::new();
    let mut needed = Needed::default();
    let (mut below, mut page) = (i64::MAX, FIRST_PAGE);
    loop {
        let rows: Vec<SelectMessage> = chat_messages::table
            .filter(chat_messages::chat_id.eq(Id(chat.0)))
            .filter(chat_messages::id.lt(below))
            .filter(chat_messages::deleted.eq(false))
            .order(chat_messages::id.desc())
            .limit(page)
            .select(SelectMessage::as_select())
            .load(conn)
            .await?;
        let full = i64::try_from(rows.len()).unwrap_or(i64::MAX) == page;
        for row in rows {
            let row: MessageRow = row.try_into()?;
            below = row.id.0;
            let enough = needed.is_met_with(&row);
            newest_first.push(row);
            if enough {
                let mut all = system_rows(conn, chat, below).await?;
                all.extend(newest_first.into_iter().rev());
                return Ok(all);
            }
        }
        if !full {
            newest_first.reverse();
            return Ok(newest_first);
        }
        page = page.saturating_mul(GROWTH);
    }
}

/// What has been found on the way back.
#[derive(Default)]
struct Needed {
    summary: bool,
    person: bool,
    usage: bool,
}

impl Needed {
    /// Whether nothing before this row is needed.
    fn is_met_with(&mut self, row: &MessageRow) -> bool {
        if row.compressed {
            self.summary |= row.visibility == Visibility::Model;
        } else {
            self.person = self.person || is_from_a_person(row);
            self.usage |= row.role == Role::Assistant && row.figures.usage.context_tokens() > 0;
        }
        self.summary && self.person && self.usage
    }
}

/// Rows that only keep workspace context have the user role too. What cannot be read does not count:
/// then more is loaded than needed.
fn is_from_a_person(row: &MessageRow) -> bool {
    let context = |part: &Part| matches!(part, Part::ContextFile { .. } | Part::Skill { .. });
    row.role == Role::User
        && row.content.read::<Vec<Part>>().is_ok_and(|parts| !parts.is_empty() && !parts.iter().all(context))
}

/// The system rows, which stand at the beginning of a chat, below an id.
async fn system_rows(conn: &mut Conn, chat: ChatId, below: i64) -> Result<Vec<MessageRow>> {
    let mut found = Vec::new();
    let (mut above, mut page) = (0, SYSTEM_ROWS);
    loop {
        let rows: Vec<SelectMessage> = chat_messages::table
            .filter(chat_messages::chat_id.eq(Id(chat.0)))
            .filter(chat_messages::id.gt(above))
            .filter(chat_messages::id.lt(below))
            .filter(chat_messages::deleted.eq(false))
            .order(chat_messages::id.asc())
            .limit(page)
            .select(SelectMessage::as_select())
            .load(conn)
            .await?;
        let full = i64::try_from(rows.len()).unwrap_or(i64::MAX) == page;
        for row in rows {
            let row: MessageRow = row.try_into()?;
            if row.role != Role::System {
                return Ok(found);
            }
            above = row.id.0;
            found.push(row);
        }
        if !full {
            return Ok(found);
        }
        page = page.saturating_mul(GROWTH);
    }
}
