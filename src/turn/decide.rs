//! What a turn does next: one pure decision per committed history (agent-loop.md §3).

use super::{
    compact::{self, Limits, Measurement, Source, Status},
    history::History,
};
use crate::{
    chat::message::{Role, ToolCallPart},
    ids::AgentId,
    tools::registry::{Lookup, Registry},
};
use std::collections::HashSet;

/// Model steps one user message may cause (agent-loop.md §1).
pub const DEFAULT_MAX_STEPS: usize = 1200;

/// What the decision has to know about tool names. A name in none of the sets is local: an unknown
/// tool is answered here, with an error.
#[derive(Debug, Clone, Default)]
pub struct ToolNames {
    /// Run by the API client.
    pub dynamic: HashSet<String>,
    /// May not be called together with other tools.
    pub exclusive: HashSet<String>,
    /// Their success ends the turn.
    pub stop_after: HashSet<String>,
}

impl ToolNames {
    /// The names of a turn's registry. Of those that end a turn only our own do, and only where the turn has them: a
    /// client may have a tool of the same name.
    #[must_use]
    pub fn of(registry: &Registry, mut stop_after: HashSet<String>) -> Self {
        stop_after.retain(|name| matches!(registry.lookup(name), Lookup::Tool(_)));
        Self { dynamic: registry.dynamic().clone(), exclusive: registry.exclusive(), stop_after }
    }
}

/// Settings of the decision.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Model steps one user message may cause.
    pub max_steps: usize,
    /// Window and threshold.
    pub limits: Limits,
    /// A person asked for a compaction.
    pub compaction_requested: bool,
    /// Attempts at this history so far.
    pub attempts: i64,
    /// The chat's agent, if it has not said yet what its project is, and was not asked in vain in this turn.
    pub context_due: Option<AgentId>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_steps: DEFAULT_MAX_STEPS,
            limits: Limits::default(),
            compaction_requested: false,
            attempts: 0,
            context_due: None,
        }
    }
}

/// Why a turn is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// A stop-after tool succeeded.
    StopAfterTool,
    /// The model gave its final answer.
    Complete,
    /// The step limit was reached.
    MaxSteps,
}

/// The next action of a turn.
#[derive(Debug, Clone, PartialEq)]
pub enum NextAction {
    /// Run these calls, in this order.
    ExecuteLocalTools(Vec<ToolCallPart>),
    /// Wait for the client to answer these calls.
    EnterRequiresAction(Vec<ToolCallPart>),
    /// The turn is over.
    FinishTurn(FinishReason),
    /// Ask this agent of the workspace what its project says of itself, and keep that.
    PersistWorkspaceContext(AgentId),
    /// Replace the history by a summary.
    Compact(Source),
    /// Compaction did not help: the turn ends with an error.
    StillOverLimit(Measurement),
    /// Ask the model.
    Generate {
        /// The chat was over its threshold and has been compacted since; when this step is over
        /// again ([`Measurement::is_over`]), the turn ends with an error instead of compacting again.
        already_compacted: bool,
    },
}

/// Decides. The first matching row wins.
///
/// A compaction that a person asked for comes right after open calls and before everything that
/// would finish the turn: it is asked for while the chat waits, when its last answer is complete. The
/// request is gone from the chat once its first attempt is recorded (state-machine.md §3); but a
/// history that would finish the turn is attempted for no other reason, so an attempt at one is that
/// request, cut off, and is made again (docs/decisions/0007).
#[must_use]
pub fn decide(history: &History<'_>, tools: &ToolNames, settings: &Settings) -> NextAction {
    let open = history.unanswered();
    if !open.is_empty() {
        let (dynamic, local): (Vec<_>, Vec<_>) =
            open.iter().copied().partition(|call| tools.dynamic.contains(&call.tool_name));
        // An exclusive call beside others is refused together with them: no client is asked.
        let fold = open.len() > 1 && local.iter().any(|call| tools.exclusive.contains(&call.tool_name));
        let own = |calls: Vec<&ToolCallPart>| calls.into_iter().cloned().collect();
        return match (local.is_empty(), fold) {
            (true, _) => NextAction::EnterRequiresAction(own(dynamic)),
            (false, true) => NextAction::ExecuteLocalTools(own(open)),
            (false, false) => NextAction::ExecuteLocalTools(own(local)),
        };
    }
    let over = if history.succeeded_since_user(&tools.stop_after) {
        Some(FinishReason::StopAfterTool)
    } else {
        let last = history.last_uncompressed();
        last.filter(|last| last.row.role == Role::Assistant && last.calls().next().is_none())
            .map(|_| FinishReason::Complete)
    };
    let requested = settings.compaction_requested || (over.is_some() && settings.attempts > 0);
    if requested && compact::has_material(history) {
        return NextAction::Compact(Source::Manual);
    }
    if let Some(reason) = over {
        return NextAction::FinishTurn(reason);
    }
    if history.steps_since_user() >= settings.max_steps {
        return NextAction::FinishTurn(FinishReason::MaxSteps);
    }
    if let Some(agent) = settings.context_due {
        return NextAction::PersistWorkspaceContext(agent);
    }
    match compact::status(history, &settings.limits) {
        Status::Needed(_) => NextAction::Compact(Source::Automatic),
        Status::StillOverLimit(measurement) => NextAction::StillOverLimit(measurement),
        Status::AfterCompaction(_) => NextAction::Generate { already_compacted: true },
        Status::NotNeeded => NextAction::Generate { already_compacted: false },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        chat::message::Part,
        store::records::MessageRow,
        turn::{
            compact::{Compaction, cleared_rows},
            fixtures::*,
        },
    };
    use uuid::Uuid;

    fn names(list: &[&str]) -> HashSet<String> {
        list.iter().map(|&name| name.to_owned()).collect()
    }

    fn tools() -> ToolNames {
        ToolNames {
            dynamic: names(&["ask", "pick"]),
            exclusive: names(&["advisor"]),
            stop_after: names(&["propose_plan"]),
        }
    }

    fn settings() -> Settings {
        let limits = Limits { context_limit: Some(1000), ..Limits::default() };
        Settings { max_steps: 3, limits, ..Settings::default() }
    }

    fn boundary() -> Vec<MessageRow> {
        let measurement = Measurement { context_tokens: 1, context_limit: 1, threshold_percent: 70 };
        let compaction = Compaction {
            uuid: Uuid::nil(),
            source: Source::Automatic,
            measurement,
            model_config_id: None,
            created_by: None,
            started_at: at(0),
        };
        compaction.rows("sum", at(0)).unwrap().0.into_iter().map(row).collect()
    }

    fn run(list: Vec<MessageRow>, settings: &Settings) -> NextAction {
        let rows = rows(list);
        decide(&History::new(&rows), &tools(), settings)
    }

    fn called(parts: &[Part]) -> Vec<ToolCallPart> {
        parts
            .iter()
            .map(|part| match part {
                Part::ToolCall(call) => call.clone(),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn the_order_of_the_table() {
        let (l, l2, d, d2) = (call("l", "execute"), call("l2", "nope"), call("d", "ask"), call("d2", "pick"));
        let exclusive = call("x", "advisor");
        let ok = NextAction::Generate { already_compacted: false };
        let all = [l.clone(), d.clone(), l2.clone(), d2.clone()];
        let mut plan_error = tool("p", "propose_plan");
        plan_error.content = crate::chat::json::Json::of(
            &serde_json::json!([{"type":"tool-result","tool_call_id":"p","tool_name":"propose_plan","is_error":true}]),
        );
        let final_answer = || measured(&[text("done")], 900);
        let cases: Vec<(&str, Vec<MessageRow>, NextAction)> = vec![
            ("empty", vec![], ok.clone()),
            ("user", vec![user("q")], ok.clone()),
            (
                "mixed: local first, unknown tools are local",
                vec![user("q"), assistant(&all)],
                NextAction::ExecuteLocalTools(called(&[l.clone(), l2.clone()])),
            ),
            (
                "mixed: then the dynamic ones",
                vec![user("q"), assistant(&all), tool("l", "execute"), tool("l2", "nope")],
                NextAction::EnterRequiresAction(called(&[d.clone(), d2])),
            ),
            (
                "exclusive folds dynamic calls in",
                vec![user("q"), assistant(&[d.clone(), exclusive.clone()])],
                NextAction::ExecuteLocalTools(called(&[d.clone(), exclusive.clone()])),
            ),
            (
                "exclusive alone",
                vec![user("q"), assistant(std::slice::from_ref(&exclusive))],
                NextAction::ExecuteLocalTools(called(&[exclusive])),
            ),
            (
                "all answered",
                vec![user("q"), assistant(std::slice::from_ref(&l)), tool("l", "execute")],
                ok.clone(),
            ),
            (
                "stop after",
                vec![user("q"), assistant(&[call("p", "propose_plan")]), tool("p", "propose_plan")],
                NextAction::FinishTurn(FinishReason::StopAfterTool),
            ),
            (
                "a failed stop-after tool does not stop",
                vec![user("q"), assistant(&[call("p", "propose_plan")]), plan_error],
                ok.clone(),
            ),
            (
                "stop after of an older turn",
                vec![
                    user("q"),
                    assistant(&[call("p", "propose_plan")]),
                    tool("p", "propose_plan"),
                    user("go"),
                ],
                ok.clone(),
            ),
            (
                "final answer, even over the threshold",
                vec![user("q"), final_answer()],
                NextAction::FinishTurn(FinishReason::Complete),
            ),
            (
                "final answer behind a compaction",
                [vec![user("q"), final_answer()], boundary()].concat(),
                NextAction::FinishTurn(FinishReason::Complete),
            ),
            (
                "max steps comes before compaction",
                [
                    vec![user("q")],
                    (0..3).flat_map(|_| [measured(&[call("l", "e")], 900), tool("l", "e")]).collect(),
                ]
                .concat(),
                NextAction::FinishTurn(FinishReason::MaxSteps),
            ),
            (
                "under max steps: compaction",
                [
                    vec![user("q")],
                    (0..2).flat_map(|_| [measured(&[call("l", "e")], 900), tool("l", "e")]).collect(),
                ]
                .concat(),
                NextAction::Compact(Source::Automatic),
            ),
            (
                "after compaction",
                [vec![user("q"), final_answer(), user("q2")], boundary()].concat(),
                NextAction::Generate { already_compacted: true },
            ),
            (
                "still over",
                [vec![user("q")], boundary(), vec![final_answer(), user("again")]].concat(),
                NextAction::StillOverLimit(Measurement {
                    context_tokens: 900,
                    context_limit: 1000,
                    threshold_percent: 70,
                }),
            ),
        ];
        for (name, list, expected) in cases {
            assert_eq!(run(list, &settings()), expected, "{name}");
        }
    }

    #[test]
    fn the_context_of_a_workspace_comes_before_a_compaction_and_after_what_ends_a_turn() {
        let agent = AgentId(Uuid::from_u128(5));
        let due = Settings { context_due: Some(agent), ..settings() };
        let persist = NextAction::PersistWorkspaceContext(agent);
        assert_eq!(run(vec![user("q")], &due), persist);
        let over = vec![user("q"), measured(&[call("l", "e")], 900), tool("l", "e")];
        assert_eq!(run(over, &due), persist);
        let still_over = [vec![user("q")], boundary(), vec![measured(&[text("a")], 900), user("q")]].concat();
        assert_eq!(run(still_over, &due), persist);
        let finish = NextAction::FinishTurn(FinishReason::Complete);
        assert_eq!(run(vec![user("q"), assistant(&[text("a")])], &due), finish);
        assert!(matches!(
            run(vec![user("q"), assistant(&[call("l", "e")])], &due),
            NextAction::ExecuteLocalTools(_)
        ));
        let three = (0..3).flat_map(|_| [assistant(&[call("l", "e")]), tool("l", "e")]).collect::<Vec<_>>();
        assert_eq!(
            run([vec![user("q")], three].concat(), &due),
            NextAction::FinishTurn(FinishReason::MaxSteps)
        );
    }

    #[test]
    fn a_requested_compaction() {
        let forced = Settings { compaction_requested: true, ..settings() };
        let manual = NextAction::Compact(Source::Manual);
        assert_eq!(run(vec![user("q"), assistant(&[text("a")])], &forced), manual);
        assert_eq!(run(vec![user("q"), measured(&[text("a")], 1), user("q2")], &forced), manual);
        let open = vec![user("q"), assistant(&[call("l", "execute")])];
        assert!(matches!(run(open, &forced), NextAction::ExecuteLocalTools(_)));
        let still_over = [vec![user("q")], boundary(), vec![measured(&[text("a")], 900), user("q")]].concat();
        assert_eq!(run(still_over, &forced), manual);
        let nothing_new = [vec![user("q"), assistant(&[text("a")])], boundary()].concat();
        assert_eq!(run(nothing_new, &forced), NextAction::FinishTurn(FinishReason::Complete));
        let cleared: Vec<_> = cleared_rows(Uuid::nil(), None, at(0)).into_iter().map(row).collect();
        let after_clear = [vec![user("q"), assistant(&[text("a")])], cleared, vec![user("n")]].concat();
        assert_eq!(run(after_clear, &forced), NextAction::Generate { already_compacted: false });
    }
    #[test]
    fn a_requested_compaction_that_was_cut_off_is_taken_up_again() {
        let cut = Settings { attempts: 1, ..settings() };
        let manual = NextAction::Compact(Source::Manual);
        let answered = vec![user("q"), assistant(&[text("a")])];
        assert_eq!(run(answered.clone(), &cut), manual);
        let stopped = vec![user("q"), assistant(&[call("p", "propose_plan")]), tool("p", "propose_plan")];
        assert_eq!(run(stopped, &cut), manual);
        // An attempt at a history that goes on is an attempt at its next step.
        let generate = NextAction::Generate { already_compacted: false };
        assert_eq!(run(vec![user("q")], &cut), generate);
        assert_eq!(run([answered, vec![user("q2")]].concat(), &cut), generate);
    }
}
