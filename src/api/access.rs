//! Who may do what with a chat (api.md §1.9). What may not be read does not exist.

use super::{
    auth::Caller,
    problem::{Problem, Result},
    query::path_id,
    state::ApiState,
};
use crate::{
    ids::{ChatId, UserId},
    store::records::ChatRecord,
};
use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock},
};

/// What the caller wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// Look at it: owner, administrators and those it is shared with.
    Read,
    /// Change it without speaking in the owner's name: owner and administrators.
    Update,
    /// Say who may look at it: owner and administrators; readers are told that they may not.
    Share,
    /// Speak in it: the owner alone.
    Own,
}

/// Reads the chat id of a path.
///
/// # Errors
/// 400 when it is no UUID.
pub fn chat_id(text: &str) -> Result<ChatId> {
    path_id(text, "chat")
}

/// The chat, for a caller who may do this with it.
///
/// # Errors
/// 400, 403 or 404.
pub async fn chat(state: &ApiState, caller: &Caller, id: &str, right: Right) -> Result<ChatRecord> {
    let id = chat_id(id)?;
    let record = state.store.chat(id).await.map_err(Problem::of_chat)?;
    permit(state, caller, id, record.owner_id, right).await?;
    Ok(record)
}

/// The chat's id, where nothing else of it is needed.
///
/// # Errors
/// 400, 403 or 404.
pub async fn only_id(state: &ApiState, caller: &Caller, id: &str, right: Right) -> Result<ChatId> {
    let id = chat_id(id)?;
    let owner = match state.owners.get(id) {
        Some(owner) => owner,
        None => {
            let (owner, _) = state.store.chat_owner(id).await.map_err(Problem::of_chat)?;
            state.owners.put(id, owner);
            owner
        }
    };
    permit(state, caller, id, owner, right).await?;
    Ok(id)
}

/// Chats whose owner is kept: 2 MiB.
const OWNERS_CAPACITY: usize = 1 << 16;

/// Owners of chats seen before. A chat keeps its owner as long as it is there; whether it still is, after
/// retention, is for the operation itself to find out.
#[derive(Debug, Default)]
pub struct OwnerCache(RwLock<HashMap<ChatId, UserId>>);

impl OwnerCache {
    fn get(&self, chat: ChatId) -> Option<UserId> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&chat).copied()
    }

    fn put(&self, chat: ChatId, owner: UserId) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= OWNERS_CAPACITY {
            known.clear();
        }
        known.insert(chat, owner);
    }
}

/// Whether the caller may do this. A chat that was shared does exist for its readers, so they are told
/// why they may not write; but as others, they find no chat to update (api.md §2.5).
async fn permit(state: &ApiState, caller: &Caller, chat: ChatId, owner: UserId, right: Right) -> Result<()> {
    let Err(problem) = allow(caller, owner, right) else { return Ok(()) };
    if caller.user.is_admin() || right == Right::Update || !is_reader(state, caller, chat).await? {
        return Err(problem);
    }
    match right {
        Right::Read => Ok(()),
        Right::Share => Err(Problem::forbidden("Only the owner of the chat may share it.")),
        Right::Update | Right::Own => Err(Problem::forbidden("Only the owner of the chat may do this.")),
    }
}

/// Whether the chat is shared with the caller.
///
/// # Errors
/// Those of the store.
pub async fn is_reader(state: &ApiState, caller: &Caller, chat: ChatId) -> Result<bool> {
    Ok(state.settings.sharing && state.store.may_read(chat, caller.user.id).await?)
}

fn allow(caller: &Caller, owner: UserId, right: Right) -> Result<()> {
    match right {
        _ if caller.user.id == owner => Ok(()),
        Right::Read | Right::Update | Right::Share if caller.user.is_admin() => Ok(()),
        Right::Own if caller.user.is_admin() => {
            Err(Problem::forbidden("Only the owner of the chat may do this."))
        }
        Right::Read | Right::Update | Right::Share | Right::Own => Err(Problem::not_found("Chat")),
    }
}
