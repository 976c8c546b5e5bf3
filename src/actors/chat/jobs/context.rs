//! Asks the agent of the chat's workspace what the project there says of itself, and keeps the answer as a message, once for
//! each agent (workspace-and-providers.md §3).

use super::{End, Work};
use crate::{
    chat::{command::Command, state::Status},
    ids::AgentId,
    store::{self, commit::Committed, records::ChatRecord},
    turn::{history::History, project::Project},
    workspace::{
        connection::{AtHand, NoConnection},
        status::{self, INACTIVE},
    },
};
use std::time::Duration;
use tokio::time::timeout;

/// How long the connection and the requests may take together.
const WITHIN: Duration = Duration::from_secs(5);

/// Binds a chat that has used nothing of its workspace yet to the agent there, if that is connected: so its first prompt
/// has the project's instructions already. Nothing is dialled for it. Returns what it found, if it had to look: the rest of
/// the pass does not look again.
pub(super) async fn bind(work: &Work, chat: &mut ChatRecord) -> Option<AtHand> {
    if chat.workspace_id.is_none() || chat.agent_id.is_some() {
        return None;
    }
    let found = work.session.connection.at_hand(chat).await.unwrap_or_else(|e| {
        if !matches!(e, NoConnection::Deleted) {
            tracing::warn!(chat = %work.chat, error = %e, "the agent of a workspace cannot be looked up");
        }
        None
    });
    chat.agent_id = found.as_ref().map(|(agent, _)| *agent);
    Some(found)
}

/// The agent that is to be asked: the chat's own, if it has said nothing yet and was not asked in vain in this turn.
pub(super) fn due(
    work: &Work,
    chat: &ChatRecord,
    known: Option<&Project>,
    history: &History<'_>,
) -> Option<AgentId> {
    chat.workspace_id?;
    let agent = chat.agent_id.filter(|agent| known.is_none_or(|project| project.agent_id != *agent))?;
    (work.session.silent.last() != Some((agent, turn_of(history)))).then_some(agent)
}

/// What a turn is told by: the message that began it.
fn turn_of(history: &History<'_>) -> i64 {
    history.last_user().map_or(0, |index| history.entries()[index].row.id.0)
}

/// Asks, and keeps what was said, in this attempt. `None`: there was no answer, and the turn goes on without it.
pub(super) async fn run(
    work: &Work,
    agent: AgentId,
    history: &History<'_>,
    attempt: i64,
) -> Result<Option<Committed>, End> {
    let project = match timeout(WITHIN, ask(work, agent)).await {
        Ok(Ok(project)) => project,
        unheard => {
            let why = match unheard {
                Ok(Err(why)) => why,
                _ => "it did not answer in time".to_owned(),
            };
            tracing::info!(chat = %work.chat, %agent, why, "the project of a workspace is not known in this turn");
            work.session.silent.remember((agent, turn_of(history)));
            return Ok(None);
        }
    };
    let commit = Command::CommitStep(vec![project.message()]);
    let done = work.commit(commit, work.fence(Status::Running, Some(attempt))).await?;
    // Whoever loses this line asks the agent once more after the next compaction, and no more than that.
    if let Err(e) = work.shared.store.set_injected_context(work.chat, project.injected()).await {
        tracing::warn!(chat = %work.chat, error = %e, "what a workspace said of its project is not shown with the chat");
    }
    Ok(Some(done))
}

async fn ask(work: &Work, agent: AgentId) -> Result<Project, String> {
    let store = &work.shared.store;
    match store.agent(agent).await {
        // Nobody waits for an agent that is known to be away.
        Ok(row) if status::status(&row, INACTIVE, work.shared.clock.now()).0.is_unreachable() => {
            return Err("the agent is not connected".to_owned());
        }
        // Its workspace may have another one by now.
        Ok(_) | Err(store::Error::NotFound) => {}
        Err(e) => return Err(e.to_string()),
    }
    let (reached, remote) = work.session.connection.reach().await.map_err(|e| e.to_string())?;
    let said = remote.context().await.map_err(|e| e.to_string())?;
    // Without it the chat is not told where its plan lies, and no more than that.
    let home = remote.home().await.unwrap_or_else(|e| {
        tracing::warn!(chat = %work.chat, agent = %reached, error = %e, "the home directory of an agent is not known");
        String::new()
    });
    let row = store.agent(reached).await.map_err(|e| e.to_string())?;
    Ok(Project::new(reached, &row.operating_system, &row.directory, &home, said))
}
