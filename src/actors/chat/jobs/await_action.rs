//! Cancels pending client-side calls when their deadline passes, by the database's clock.

use super::{End, Work};
use crate::{
    chat::{command::Command, state::Status},
    store::commit::Committed,
};

pub(super) async fn run(work: &Work) -> Result<Committed, End> {
    let head = work.shared.store.chat(work.chat).await?.head;
    if head.owner != Some(work.owner)
        || head.status != Status::RequiresAction
        || head.versions.history != work.seen.versions.history
    {
        return Err(End::Stale);
    }
    let reason = match head.requires_action_deadline_at {
        None => "The tool call was cancelled because it had no deadline.",
        Some(deadline) => loop {
            let now = work.shared.store.database_now(work.shared.clock.now()).await?;
            if now >= deadline {
                break "The tool call timed out: no result arrived in time.";
            }
            tokio::time::sleep(deadline.since(now)).await;
        },
    };
    let command = Command::CancelRequiresAction { reason: reason.into() };
    work.commit(command, work.fence(Status::RequiresAction, None)).await
}
