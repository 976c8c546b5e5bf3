//! How a connection to a workspace's agent is made: dialled first, and asked whether it is still the right agent
//! only when that takes long or fails (workspace-and-providers.md §2.2); and what a model is told when there is
//! none (§2.3, §2.4). Pure: whoever drives a [`Dial`] does what it says and tells it what came of that.

use super::status::{self, AgentStatus, INACTIVE, SelectError};
use crate::{clock::Timestamp, ids::AgentId, store::records::workspaces::AgentRecord};
use std::time::Duration;

/// How long a dial goes on before somebody asks whether the agent is still the right one.
pub const VALIDATE_AFTER: Duration = Duration::from_secs(5);
/// How long a connection may take, with everything that belongs to it.
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(30);
/// An agent that has been away for so long is worth a restart of its workspace. Longer than
/// [`super::status::INACTIVE`] on purpose: a short gap must not have a model restart anything.
pub const RESTART_AFTER: Duration = Duration::from_secs(90);

/// An agent that has lost its link dials again by itself, after 20 s at the latest and a handshake: for so long a request
/// that was under way waits for it.
pub const RELINK_WITHIN: Duration = Duration::from_secs(30);

/// Which agent the workspace has now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Latest {
    /// This one.
    Agent(AgentId),
    /// None that a chat can use.
    None(SelectError),
    /// Nobody knows: the lookup failed.
    Unknown,
}

/// What has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input<E> {
    /// The dial under way has a connection.
    Connected,
    /// The dial under way failed.
    Failed(E),
    /// [`VALIDATE_AFTER`] has passed since the beginning.
    Slow,
    /// The answer to [`Step::Look`].
    Latest(Latest),
}

/// What is to be done next. A dial that is under way goes on unless another one is asked for or it is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step<E> {
    /// Wait.
    Wait,
    /// Dial this agent, and give a dial up that is under way.
    Dial(AgentId),
    /// Ask which agent the workspace has now.
    Look,
    /// The connection that there is leads to this agent.
    Use(AgentId),
    /// There is none: the dial failed.
    Fail(E),
    /// There is none: nor is there an agent.
    NoAgent(SelectError),
}

#[derive(Debug)]
enum Phase<E> {
    /// The first dial is under way, and nobody has asked.
    First,
    /// The first dial is under way, and somebody asks whether it is the right one.
    Checking,
    /// The first dial failed, and somebody asks whom to dial now.
    Failed(E),
    /// Whatever is under way now decides.
    Last,
}

/// A dial. Its first step is [`Step::Dial`] of the agent it is made for.
#[derive(Debug)]
pub struct Dial<E> {
    agent: AgentId,
    phase: Phase<E>,
}

impl<E> Dial<E> {
    /// A dial of an agent.
    #[must_use]
    pub const fn of(agent: AgentId) -> Self {
        Self { agent, phase: Phase::First }
    }

    /// Takes in what has happened.
    pub fn on(&mut self, input: Input<E>) -> Step<E> {
        match (std::mem::replace(&mut self.phase, Phase::Last), input) {
            (Phase::First | Phase::Checking | Phase::Last, Input::Connected) => Step::Use(self.agent),
            (Phase::First, Input::Failed(error)) => {
                self.phase = Phase::Failed(error);
                Step::Look
            }
            (Phase::Checking | Phase::Last, Input::Failed(error)) => Step::Fail(error),
            (Phase::First, Input::Slow) => {
                self.phase = Phase::Checking;
                Step::Look
            }
            (Phase::Failed(_), Input::Latest(Latest::Agent(latest))) => {
                self.agent = latest;
                Step::Dial(latest)
            }
            (Phase::Failed(error), Input::Latest(Latest::Unknown)) => Step::Fail(error),
            (Phase::Failed(_) | Phase::Checking, Input::Latest(Latest::None(none))) => Step::NoAgent(none),
            (Phase::Checking, Input::Latest(Latest::Agent(latest))) if latest != self.agent => {
                self.agent = latest;
                Step::Dial(latest)
            }
            // The right agent, or nobody knows better; or something that is told too late to matter.
            (Phase::Checking, Input::Latest(_)) | (Phase::Last, Input::Slow | Input::Latest(_)) => Step::Wait,
            (phase, _) => {
                self.phase = phase;
                Step::Wait
            }
        }
    }
}

/// What is known of the agent that a chat would use now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Its name.
    pub name: String,
    /// A person runs its process.
    pub external: bool,
    /// Whether it is there.
    pub status: AgentStatus,
    /// How long it has been away, for one that was there.
    pub away: Duration,
}

impl Known {
    /// What its row says.
    #[must_use]
    pub fn of(agent: &AgentRecord, now: Timestamp) -> Self {
        let (status, since) = status::status(agent, INACTIVE, now);
        let away = since.map(|since| now.since(since)).unwrap_or_default();
        Self { name: agent.name.clone(), external: agent.external, status, away }
    }

    /// Whether nobody but a person can bring it back, so that a dial is in vain. `under_way`: the link was lost
    /// while it was asked something, and what came of that is known there only. `open_for`: how long there was a daemon
    /// to link to; while there was none, nobody could.
    #[must_use]
    pub fn needs_a_person(&self, under_way: bool, open_for: Duration) -> bool {
        self.external
            && match self.status {
                AgentStatus::Timeout => true,
                AgentStatus::Disconnected => !under_way || self.away.min(open_for) >= RELINK_WITHIN,
                AgentStatus::Connected | AgentStatus::Connecting => false,
            }
    }
}

/// What a model is told when a dial took too long. `None`: nothing is known of the agent, which is no reason to
/// restart anything.
#[must_use]
pub fn advice(known: Option<&Known>) -> String {
    match known {
        Some(agent) if agent.external && agent.status != AgentStatus::Connected => external(agent),
        Some(agent) if agent.status == AgentStatus::Disconnected && agent.away >= RESTART_AFTER => format!(
            "the workspace's agent has been disconnected for {} seconds. Use stop_workspace, then start_workspace",
            agent.away.as_secs()
        ),
        _ => "connecting to the workspace timed out. It may work on the next attempt".into(),
    }
}

/// What a model is told of an agent that only a person can bring back.
#[must_use]
pub fn external(agent: &Known) -> String {
    let what = match agent.status {
        AgentStatus::Disconnected => "is disconnected: the user has to reconnect it",
        _ => "has never connected: the user has to start it",
    };
    format!(
        "the agent {:?} of this workspace is external and {what} on its host. No tool can do that",
        agent.name
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    const fn agent(n: u128) -> AgentId {
        AgentId(Uuid::from_u128(n))
    }

    /// The steps that a dial of agent 1 takes.
    fn steps(inputs: &[Input<u8>]) -> Vec<Step<u8>> {
        let mut dial = Dial::of(agent(1));
        inputs.iter().map(|input| dial.on(input.clone())).collect()
    }

    const SAME: Input<u8> = Input::Latest(Latest::Agent(agent(1)));
    const OTHER: Input<u8> = Input::Latest(Latest::Agent(agent(2)));
    const NONE: Input<u8> = Input::Latest(Latest::None(SelectError::NoAgents));
    const UNKNOWN: Input<u8> = Input::Latest(Latest::Unknown);
    const UP: Input<u8> = Input::Connected;

    #[test]
    fn an_external_agent_is_waited_for_only_by_what_was_under_way() {
        let since = |open_for, external, status, away, under_way| {
            let (away, open_for) = (Duration::from_secs(away), Duration::from_secs(open_for));
            Known { name: String::new(), external, status, away }.needs_a_person(under_way, open_for)
        };
        let of = |external, status, away, under_way| since(3600, external, status, away, under_way);
        let known = |external, status, away| of(external, status, away, false);
        assert!(known(true, AgentStatus::Disconnected, 0));
        assert!(
            !of(true, AgentStatus::Disconnected, 29, true) && of(true, AgentStatus::Disconnected, 30, true)
        );
        // The daemon was away itself, and nobody could link to it.
        assert!(!since(29, true, AgentStatus::Disconnected, 600, true));
        assert!(since(30, true, AgentStatus::Disconnected, 600, true));
        assert!(known(true, AgentStatus::Timeout, 0) && !known(true, AgentStatus::Connecting, 99));
        assert!(!known(false, AgentStatus::Disconnected, 99) && !known(false, AgentStatus::Timeout, 99));
    }

    #[test]
    fn a_quick_dial_asks_nobody() {
        assert_eq!(steps(&[UP]), [Step::Use(agent(1))]);
    }

    #[test]
    fn a_dial_that_fails_soon_is_made_once_more_with_whoever_is_there_now() {
        let failed = Input::Failed(9);
        assert_eq!(
            steps(&[failed.clone(), SAME, UP]),
            [Step::Look, Step::Dial(agent(1)), Step::Use(agent(1))]
        );
        assert_eq!(
            steps(&[failed.clone(), OTHER, UP]),
            [Step::Look, Step::Dial(agent(2)), Step::Use(agent(2))]
        );
        assert_eq!(
            steps(&[failed.clone(), OTHER, Input::Slow, Input::Failed(8)]),
            [Step::Look, Step::Dial(agent(2)), Step::Wait, Step::Fail(8)]
        );
        assert_eq!(steps(&[failed.clone(), NONE]), [Step::Look, Step::NoAgent(SelectError::NoAgents)]);
        assert_eq!(steps(&[failed.clone(), Input::Slow, UNKNOWN]), [Step::Look, Step::Wait, Step::Fail(9)]);
    }

    #[test]
    fn a_slow_dial_is_checked() {
        let slow = Input::Slow;
        for answer in [SAME, UNKNOWN] {
            assert_eq!(
                steps(&[slow.clone(), answer.clone(), UP]),
                [Step::Look, Step::Wait, Step::Use(agent(1))]
            );
            assert_eq!(
                steps(&[slow.clone(), answer, Input::Failed(3)]),
                [Step::Look, Step::Wait, Step::Fail(3)]
            );
        }
        assert_eq!(
            steps(&[slow.clone(), OTHER, UP]),
            [Step::Look, Step::Dial(agent(2)), Step::Use(agent(2))]
        );
        assert_eq!(steps(&[slow.clone(), NONE]), [Step::Look, Step::NoAgent(SelectError::NoAgents)]);
        // While somebody looks the dial goes on, and its end counts.
        assert_eq!(steps(&[slow.clone(), UP]), [Step::Look, Step::Use(agent(1))]);
        assert_eq!(steps(&[slow, Input::Failed(4)]), [Step::Look, Step::Fail(4)]);
    }

    #[test]
    fn a_restart_is_advised_only_when_the_agent_was_away_for_long() {
        let known = |external, status, seconds| Known {
            name: "box".into(),
            external,
            status,
            away: Duration::from_secs(seconds),
        };
        let away = AgentStatus::Disconnected;
        assert!(
            advice(Some(&known(false, away, 90))).contains("for 90 seconds. Use stop_workspace, then start")
        );
        for patient in [
            advice(Some(&known(false, away, 89))),
            advice(Some(&known(false, AgentStatus::Timeout, 900))),
            advice(Some(&known(true, AgentStatus::Connected, 0))),
            advice(Some(&known(false, AgentStatus::Connected, 0))),
            advice(None),
        ] {
            assert!(patient.contains("next attempt") && !patient.contains("stop_workspace"), "{patient}");
        }
        assert!(
            advice(Some(&known(true, away, 900)))
                .contains("\"box\" of this workspace is external and is disc")
        );
        for never in [AgentStatus::Timeout, AgentStatus::Connecting] {
            assert!(advice(Some(&known(true, never, 0))).contains("has never connected"));
        }
    }
}
