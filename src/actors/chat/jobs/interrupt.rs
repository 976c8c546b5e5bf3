//! Keeps what the interrupted attempt had shown, and finishes the interruption.

use super::{End, Work};
use crate::{
    chat::{
        command::Command,
        message::{Part, Role},
        state::{OpenCall, Status},
    },
    store::commit::Committed,
    turn::interrupt::partial_rows,
};

pub(super) async fn run(work: &Work, partial: &[(Role, Part)]) -> Result<Committed, End> {
    let store = &work.shared.store;
    // The parts in hand are kept for a short time only where they came from.
    let chat = work.until_reached(async || store.chat(work.chat).await).await?;
    let open: Vec<OpenCall> = work
        .until_reached(async || store.open_calls(work.chat).await)
        .await?
        .into_iter()
        .map(|c| OpenCall { tool_call_id: c.tool_call_id, tool_name: c.tool_name, dynamic: false })
        .collect();
    let rows = partial_rows(partial, &open, Some(chat.last_model_config_id), work.shared.clock.now());
    let command = Command::FinishInterruption { partial: rows };
    work.commit(command, work.fence(Status::Interrupting, None)).await
}
