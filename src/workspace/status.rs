//! Whether an agent is there, by the times that are known of it (workspace-and-providers.md §1.3), and which
//! agent of a build a chat uses (§1.1). Pure.

use crate::{clock::Timestamp, store::records::workspaces::AgentRecord};
use serde::Serialize;
use std::time::Duration;
use utoipa::ToSchema;

/// How long nothing may be heard of an agent that is connected: three of its beats. Below the 90 s after which
/// a model is told to restart a workspace.
pub const INACTIVE: Duration = Duration::from_secs(30);
/// How often the replica that holds a link writes down that it lives.
pub const BEAT: Duration = Duration::from_secs(10);
/// How long an agent may take to connect first, in seconds.
pub const CONNECTION_TIMEOUT_SECONDS: i64 = 120;
/// An agent whose name ends so is the one that chats use.
pub const MARK: &str = "-coderd-chat";

/// Whether an agent is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum AgentStatus {
    /// It never was, and may still come.
    Connecting,
    /// It is.
    Connected,
    /// It was.
    Disconnected,
    /// It never was, and should have come by now.
    Timeout,
}

impl AgentStatus {
    /// Whether a dial is in vain.
    #[must_use]
    pub const fn is_unreachable(self) -> bool {
        matches!(self, Self::Disconnected | Self::Timeout)
    }
}

/// Whether an agent is there now, and since when it is not, for one that was.
#[must_use]
pub fn status(agent: &AgentRecord, inactive: Duration, now: Timestamp) -> (AgentStatus, Option<Timestamp>) {
    let Some(heard) = agent.last_connected_at.filter(|_| agent.first_connected_at.is_some()) else {
        let patience = Duration::from_secs(u64::try_from(agent.connection_timeout_seconds).unwrap_or(0));
        return match patience.is_zero() || now.since(agent.created_at) <= patience {
            true => (AgentStatus::Connecting, None),
            false => (AgentStatus::Timeout, None),
        };
    };
    match agent.disconnected_at {
        Some(end) if end > heard => (AgentStatus::Disconnected, Some(end)),
        _ if now.since(heard) > inactive => (AgentStatus::Disconnected, Some(heard)),
        _ => (AgentStatus::Connected, None),
    }
}

/// Why no agent can be used. The text is for the model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    /// The workspace has none.
    #[error("the workspace has no agents; it is probably stopped. Use start_workspace to start it")]
    NoAgents,
    /// All that there are belong to other agents.
    #[error("the workspace has no agent that a chat can use")]
    NoneEligible,
    /// More than one is marked.
    #[error("more than one agent of the workspace is marked with the ending {MARK}: {0}. Only one may be")]
    Ambiguous(String),
}

/// The agent of a build that a chat uses: the marked one, else the first.
///
/// # Errors
/// When there is none, or more than one is marked.
pub fn select(agents: &[AgentRecord]) -> Result<&AgentRecord, SelectError> {
    if agents.is_empty() {
        return Err(SelectError::NoAgents);
    }
    let mut roots: Vec<&AgentRecord> = agents.iter().filter(|a| a.parent_id.is_none()).collect();
    roots.sort_by(|a, b| {
        let folded = |agent: &AgentRecord| agent.name.to_lowercase();
        (a.display_order, folded(a), &a.name, a.id).cmp(&(b.display_order, folded(b), &b.name, b.id))
    });
    let marked: Vec<&AgentRecord> = roots.iter().copied().filter(|a| a.name.ends_with(MARK)).collect();
    match (marked.as_slice(), roots.first()) {
        ([one], _) => Ok(one),
        ([], Some(first)) => Ok(first),
        ([], None) => Err(SelectError::NoneEligible),
        (several, _) => {
            let names: Vec<&str> = several.iter().map(|a| a.name.as_str()).collect();
            Err(SelectError::Ambiguous(names.join(", ")))
        }
    }
}

/// Whether an agent was heard of, or made, since a moment. One that was made and never came is nobody's loss from before.
#[must_use]
pub fn was_there(agent: &AgentRecord, since: Timestamp) -> bool {
    agent.last_connected_at.unwrap_or(agent.created_at) >= since
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{AgentId, BuildId};
    use uuid::Uuid;

    const fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    fn agent(id: u128, name: &str, display_order: i64) -> AgentRecord {
        AgentRecord {
            id: AgentId(Uuid::from_u128(id)),
            build_id: BuildId(Uuid::nil()),
            parent_id: None,
            name: name.into(),
            display_order,
            token_hash: None,
            external: false,
            operating_system: String::new(),
            architecture: String::new(),
            version: String::new(),
            directory: String::new(),
            connection_timeout_seconds: 120,
            first_connected_at: None,
            last_connected_at: None,
            disconnected_at: None,
            worker_id: None,
            link_id: None,
            created_at: at(1000),
        }
    }

    #[test]
    fn the_status_follows_the_times() {
        use AgentStatus::{Connected, Connecting, Disconnected, Timeout};
        let s = |a: &AgentRecord, now: i64| status(a, Duration::from_secs(30), at(now));
        let fresh = agent(1, "main", 0);
        assert_eq!(s(&fresh, 1000), (Connecting, None));
        assert_eq!(s(&fresh, 1120), (Connecting, None));
        assert_eq!(s(&fresh, 1121), (Timeout, None));
        let patient = AgentRecord { connection_timeout_seconds: 0, ..fresh.clone() };
        assert_eq!(s(&patient, 1_000_000), (Connecting, None));
        let heard =
            AgentRecord { first_connected_at: Some(at(1010)), last_connected_at: Some(at(1100)), ..fresh };
        assert_eq!(s(&heard, 1130), (Connected, None));
        assert_eq!(s(&heard, 1131), (Disconnected, Some(at(1100))));
        // A clock that runs behind makes nobody disappear.
        assert_eq!(s(&heard, 900), (Connected, None));
        let left = AgentRecord { disconnected_at: Some(at(1101)), ..heard.clone() };
        assert_eq!(s(&left, 1102), (Disconnected, Some(at(1101))));
        let back = AgentRecord { disconnected_at: Some(at(1099)), ..heard };
        assert_eq!(s(&back, 1102), (Connected, None));
    }

    #[test]
    fn an_agent_that_never_came_was_there_when_it_was_made() {
        let made = agent(1, "main", 0);
        assert!(was_there(&made, at(1000)) && !was_there(&made, at(1001)));
        let heard = AgentRecord { last_connected_at: Some(at(1100)), ..made };
        assert!(was_there(&heard, at(1100)) && !was_there(&heard, at(1101)));
    }

    #[test]
    fn the_marked_agent_is_used_else_the_first_root() {
        let name = |agents: &[AgentRecord]| select(agents).map(|a| a.name.clone());
        assert_eq!(name(&[]), Err(SelectError::NoAgents));
        let (b, a) = (agent(1, "b", 0), agent(2, "A", 0));
        assert_eq!(name(&[b.clone(), a.clone()]).as_deref(), Ok("A"));
        let earlier = agent(9, "z", -1);
        assert_eq!(name(&[b.clone(), a.clone(), earlier.clone()]).as_deref(), Ok("z"));
        let marked = agent(3, "x-coderd-chat", 7);
        assert_eq!(name(&[b.clone(), earlier, marked.clone()]).as_deref(), Ok("x-coderd-chat"));
        let other = agent(4, "y-coderd-chat", 7);
        let both = name(&[marked.clone(), other]).unwrap_err().to_string();
        assert!(both.contains("x-coderd-chat, y-coderd-chat"), "{both}");
        let child = AgentRecord { parent_id: Some(b.id), ..marked };
        assert_eq!(name(&[b, child.clone()]).as_deref(), Ok("b"));
        assert_eq!(name(&[child]), Err(SelectError::NoneEligible));
        let (low, high) = (agent(5, "same", 0), agent(6, "same", 0));
        assert_eq!(select(&[high, low.clone()]).unwrap().id, low.id);
        assert_eq!(name(&[a, agent(7, "a", 0)]).as_deref(), Ok("A"));
    }
}
