//! Where a panic stops: work that fails is told of and tried again, and ends nothing but itself.

use crate::{ids::ChatId, metrics, store};
use futures_util::FutureExt as _;
use std::{any::Any, panic::AssertUnwindSafe};

/// Runs one round of a loop whose timer starts the next one, whatever becomes of this. `None` when
/// it failed or panicked, which is logged and, a panic, counted.
pub async fn round<T>(what: &str, work: impl Future<Output = store::Result<T>>) -> Option<T> {
    // What the work shared with others is behind locks that outlive a panic.
    match AssertUnwindSafe(work).catch_unwind().await {
        Ok(Ok(done)) => Some(done),
        Ok(Err(e)) => {
            tracing::warn!(error = %e, "{what} failed; the next round tries again");
            None
        }
        Err(payload) => {
            count();
            tracing::error!(panic = text(payload.as_ref()), "{what} panicked; the next round tries again");
            None
        }
    }
}

/// Runs work of one chat that nobody waits for, and that nobody tries again. A panic is logged and counted.
pub async fn aside(chat: ChatId, what: &str, work: impl Future<Output = ()>) {
    if let Err(payload) = AssertUnwindSafe(work).catch_unwind().await {
        count();
        tracing::error!(%chat, panic = text(payload.as_ref()), "{what} panicked");
    }
}

/// Tells of a task of one chat that panicked. Its actor tries again; nothing else is touched.
pub fn chat_panicked(chat: ChatId, what: &str, error: tokio::task::JoinError) {
    count();
    let payload = error.try_into_panic().unwrap_or_else(|e| Box::new(e.to_string()));
    tracing::error!(%chat, panic = text(payload.as_ref()), "{what} panicked; trying again");
}

/// Tells of a chat whose actor was ended by a panic, which takes its runner and its subscribers along:
/// those reconnect, and the lease runs out.
pub fn actor_panicked(chat: ChatId) {
    count();
    tracing::error!(%chat, "the chat's actor panicked; its lease ends by itself and its readers come back");
}

fn count() {
    ::metrics::counter!(metrics::TASK_PANICS_TOTAL).increment(1);
}

/// What a panic said.
fn text(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}
