//! Looks at the repositories of the chat's workspace when a turn is over that may have changed something there, so that
//! lists and the sidebar show it (api.md §3.3). In nobody's way: the turn does not wait for it.

use super::Work;
use crate::{
    actors::supervise,
    chat::state::Status,
    store::{self, commit::Committed},
    workspace::changes,
};
use std::sync::atomic::Ordering;

/// Starts to look, if the chat has come to rest and calls were made since it was last looked. Returns at once; the
/// process's end cancels it.
pub(super) fn start(work: &Work, done: &Committed) {
    if done.head.status == Status::Running || !work.session.changed.swap(false, Ordering::Relaxed) {
        return;
    }
    let (shared, chat) = (work.shared.clone(), work.chat);
    let dialer = work.session.connection.dialer().clone();
    let mut draining = shared.draining.clone();
    let look = async move {
        let record = match shared.store.chat(chat).await {
            Ok(record) => record,
            Err(store::Error::NotFound) => return,
            Err(e) => return tracing::warn!(%chat, error = %e, "a chat could not be read after its turn"),
        };
        let Some(agent) = record.agent_id.filter(|_| record.workspace_id.is_some()) else { return };
        // Lists show how much it is; the diffs themselves are for whoever opens them.
        if let Err(why) = changes::look(&dialer, agent, chat, record.owner_id, false).await {
            tracing::debug!(%chat, %agent, why, "the repositories of a workspace were not looked at");
        }
    };
    actix::spawn(async move {
        tokio::select! {
            biased;
            _ = draining.wait_for(|d| *d) => {}
            () = supervise::aside(chat, "looking at what a turn has changed", look) => {}
        }
    });
}
