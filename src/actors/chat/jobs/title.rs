//! Has a model name a new chat, beside the first turn and in nobody's way (agent-loop.md §14.2): it is no
//! transition, the turn does not wait for it, and when it fails the chat keeps the title it has.

use super::Work;
use crate::{
    actors::{Shared, debug::Subject, supervise},
    bus::WatchKind,
    ids::{ChatId, UserId},
    store::{
        records::{ChatRecord, MessageRow},
        settings::ModelUse,
    },
    turn::{
        engine::ModelChoice,
        generate,
        title::{ask, candidates, opening, subject},
    },
};
use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Longest time all of it may take (agent-loop.md §14.2).
const LIMIT: Duration = Duration::from_secs(30);

/// The chats whose title is being made in this process: a pass that is repeated asks no second time.
#[derive(Debug, Clone, Default)]
pub struct Underway(Arc<Mutex<HashSet<ChatId>>>);

impl Underway {
    fn lock(&self) -> MutexGuard<'_, HashSet<ChatId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a chat until the answer is dropped; `None` when it is there already.
    fn enter(&self, chat: ChatId) -> Option<Entered> {
        self.lock().insert(chat).then(|| Entered { all: self.clone(), chat })
    }
}

struct Entered {
    all: Underway,
    chat: ChatId,
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.all.lock().remove(&self.chat);
    }
}

/// What is to be named.
struct Unnamed {
    chat: ChatId,
    owner: UserId,
    /// Its title so far, which must still be there when the new one is written.
    title: String,
    /// What the user said.
    said: String,
    recorded: Subject,
    headers: Vec<(&'static str, String)>,
}

/// Starts to look for a title if the chat wants one. Returns at once; the process's end cancels it.
pub(super) fn start(work: &Work, chat: &ChatRecord, rows: &[MessageRow], choice: &Arc<ModelChoice>) {
    let Some(said) = subject(chat, rows) else { return };
    let Some(entered) = work.shared.titles.enter(work.chat) else { return };
    let unnamed = Unnamed {
        chat: work.chat,
        owner: chat.owner_id,
        title: chat.title.clone(),
        said,
        recorded: Subject::first(chat, rows),
        headers: generate::identity(chat),
    };
    let (shared, choice) = (Arc::clone(&work.shared), Arc::clone(choice));
    let mut draining = shared.draining.clone();
    actix::spawn(async move {
        let _entered = entered;
        let id = unnamed.chat;
        tokio::select! {
            biased;
            _ = draining.wait_for(|d| *d) => {}
            done = tokio::time::timeout(LIMIT, supervise::aside(id, "naming a chat", name(&shared, &unnamed, &choice))) => {
                if done.is_err() {
                    tracing::info!(chat = %id, "no title came in time; the chat keeps its first words");
                }
            }
        }
    });
}

/// Asks, and writes what comes if nobody has named the chat meanwhile.
async fn name(shared: &Shared, unnamed: &Unnamed, own: &Arc<ModelChoice>) {
    let set = shared.live.current().model_for(ModelUse::TitleGeneration);
    let choices = candidates(&shared.turn.models(unnamed.owner), set, own);
    let question = opening(&unnamed.said);
    let asked =
        ask(&shared.turn, &shared.clock, choices, &unnamed.headers, &question, async |choice, request| {
            shared.debug.title(&unnamed.recorded, choice, request).await
        });
    // What went wrong was logged where it happened.
    let Ok(answer) = asked.await else { return };
    if let Some(call) = answer.call {
        shared.charge(unnamed.chat, call).await;
    }
    let Some(title) = answer.title else { return };
    if title == unnamed.title {
        return;
    }
    match shared.store.retitle(unnamed.chat, unnamed.title.clone(), title).await {
        Ok(true) => shared.store.watch(unnamed.owner, unnamed.chat, WatchKind::TitleChange),
        Ok(false) => tracing::debug!(chat = %unnamed.chat, "the chat was named meanwhile"),
        Err(e) => tracing::warn!(chat = %unnamed.chat, error = %e, "the title could not be stored"),
    }
}
