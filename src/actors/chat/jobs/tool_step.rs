//! Runs the local calls of one step together and commits their results together.

use super::{End, Work};
use crate::{
    chat::{
        command::Command,
        json::Json,
        message::{Part, ToolCallPart},
        state::Status,
    },
    metrics,
    store::{
        commit::{Commit, Committed},
        records::{
            ChatRecord,
            journal::{Batch, Entry, NewEntry},
        },
    },
    tools::{
        Repeat, ToolContext,
        outcome::ToolOutcome,
        registry::{Lookup, Registry},
    },
    turn::{
        engine::ModelChoice,
        retry::turn_error,
        tool_batch::{self, Setting},
    },
};
use std::{
    collections::HashSet,
    sync::{Arc, atomic::Ordering},
};

pub(super) async fn run(
    work: &Work,
    chat: &ChatRecord,
    choice: &ModelChoice,
    registry: &Registry,
    calls: &[ToolCallPart],
) -> Result<Committed, End> {
    let attempt = chat.head.versions.attempt;
    let engine = &work.shared.turn;
    // A batch that takes the process down with it would otherwise be tried for ever.
    if attempt >= engine.policy.max_attempts {
        let error = turn_error("The tool calls of this step were started too often without finishing.");
        return work.fail(error, attempt).await;
    }
    let (key, attempt) = work.attempt(&mut None, attempt).await?;
    let ctx = ToolContext {
        chat_id: work.chat,
        tool_call_id: String::new(),
        step: work.seen.versions.history,
        repeated: false,
        plan: chat.plan_mode.is_some(),
        session: Some(Arc::clone(&work.session)),
    };
    let clock = &work.shared.clock;
    let journal = Journal::open(work, registry, calls, chat.workspace_id.is_some()).await?;
    let repeated = &journal.repeated;
    let with = Setting { registry, ctx: &ctx, context_limit: choice.context_limit, clock, repeated };
    let closes_calls = journal.holds_calls();
    if closes_calls {
        work.session.changed.store(true, Ordering::Relaxed);
    }
    let answers = journal.answers.clone();
    let ended = async |call: &ToolCallPart, outcome: &ToolOutcome| journal.ended(call, outcome).await;
    let output = tool_batch::run(&with, calls, answers, ended).await;
    for (_, part) in &output.parts {
        count(choice, registry, part, &output.cut);
    }
    work.link.parts(key, output.parts);
    let commit = Commit {
        fence: Some(work.fence(Status::Running, Some(attempt))),
        closes_calls,
        ..Commit::new(work.chat, Command::CommitStep(output.messages), clock.now())
    };
    work.commit_until_reached(commit).await
}

/// The calls of a batch that must not start twice, as they are kept in the database (DESIGN.md §4).
struct Journal<'a> {
    work: &'a Work,
    batch: Batch,
    /// Ids of the calls that are entered.
    entered: HashSet<&'a str>,
    /// For each call of the batch: what is known already.
    answers: Vec<Option<ToolOutcome>>,
    /// Ids of the calls that were begun before, and of which the agent of the workspace knows.
    repeated: HashSet<String>,
}

impl<'a> Journal<'a> {
    /// Enters what is about to start. What was entered before does not start again: its outcome is the one
    /// that was kept, or unknown.
    async fn open(
        work: &'a Work,
        registry: &Registry,
        calls: &'a [ToolCallPart],
        has_agent: bool,
    ) -> Result<Self, End> {
        let mut repeated = HashSet::new();
        let mut answers = tool_batch::refusals(registry, calls);
        let batch =
            Batch { chat: work.chat, runner: work.owner.runner, history_version: work.seen.versions.history };
        let open = tool_batch::unrepeatable(registry, calls, &answers);
        let mut entered: HashSet<&str> = open.iter().map(|call| call.tool_call_id.as_str()).collect();
        // A call that began when its tool was there, as before plan mode was switched on.
        let lost = |call: &ToolCallPart| {
            matches!(registry.lookup(&call.tool_name), Lookup::Unknown | Lookup::Inactive)
        };
        if !open.is_empty() || calls.iter().any(lost) {
            let entry = |call: &&ToolCallPart| NewEntry {
                tool_call_id: call.tool_call_id.clone(),
                tool_name: call.tool_name.clone(),
            };
            let entries: Vec<NewEntry> = open.iter().map(entry).collect();
            // The same moment in each try: what a lost answer has entered is known by it.
            let now = work.shared.clock.now();
            let store = &work.shared.store;
            let known =
                work.until_reached(async || store.begin_calls(batch, entries.clone(), now).await).await?;
            for (call, answer) in calls.iter().zip(&mut answers) {
                let Some(entry) = known.iter().find(|e| e.tool_call_id == call.tool_call_id) else {
                    continue;
                };
                let attaches = has_agent
                    && entry.outcome.is_none()
                    && matches!(registry.lookup(&call.tool_name), Lookup::Tool(tool) if tool.repeat() == Repeat::Attach);
                if lost(call) {
                    entered.insert(&call.tool_call_id);
                }
                if attaches {
                    repeated.insert(call.tool_call_id.clone());
                } else if answer.is_none() && entered.contains(call.tool_call_id.as_str()) {
                    *answer = Some(Self::kept(work, call, entry));
                }
            }
        }
        Ok(Self { work, batch, entered, answers, repeated })
    }

    fn kept(work: &Work, call: &ToolCallPart, entry: &Entry) -> ToolOutcome {
        match entry.outcome.as_ref().map(Json::read) {
            Some(Ok(outcome)) => outcome,
            Some(Err(e)) => {
                tracing::error!(chat = %work.chat, tool_call = call.tool_call_id, error = %e,
                    "the kept outcome of a tool call cannot be read");
                ToolOutcome::unknown(&call.tool_name)
            }
            None => {
                tracing::warn!(chat = %work.chat, tool_call = call.tool_call_id, tool = call.tool_name,
                    "a tool call was cut off; it is not started again");
                ::metrics::counter!(metrics::TOOL_CALLS_UNKNOWN_TOTAL).increment(1);
                ToolOutcome::unknown(&call.tool_name)
            }
        }
    }

    fn holds_calls(&self) -> bool {
        !self.entered.is_empty()
    }

    /// Keeps what came of a call. Without it, a crash before the commit makes the outcome unknown.
    async fn ended(&self, call: &ToolCallPart, outcome: &ToolOutcome) {
        if !self.entered.contains(call.tool_call_id.as_str()) {
            return;
        }
        let kept = self.work.shared.store.end_call(self.batch, call.tool_call_id.clone(), Json::of(outcome));
        if let Err(e) = kept.await {
            tracing::warn!(chat = %self.work.chat, tool_call = call.tool_call_id, error = %e,
                "the outcome of a tool call could not be kept before its commit");
        }
    }
}

/// Metrics of one result. Names that the model made up share one label.
fn count(choice: &ModelChoice, registry: &Registry, part: &Part, cut: &HashSet<String>) {
    let Part::ToolResult(result) = part else { return };
    let tool = match registry.lookup(&result.tool_name) {
        Lookup::Unknown => "unknown".to_owned(),
        Lookup::Dynamic => "dynamic".to_owned(),
        Lookup::Tool(tool) => tool.label().to_owned(),
        Lookup::Inactive => result.tool_name.clone(),
    };
    let labels = [
        ("provider", choice.provider_type.clone()),
        ("model", choice.defaults.model.clone()),
        ("tool_name", tool),
    ];
    let size = result.result.as_ref().map_or(0, |r| r.get().len());
    ::metrics::histogram!(metrics::TOOL_RESULT_SIZE_BYTES, &labels)
        .record(u32::try_from(size).unwrap_or(u32::MAX));
    if result.is_error {
        ::metrics::counter!(metrics::TOOL_ERRORS_TOTAL, &labels).increment(1);
    }
    if cut.contains(&result.tool_call_id) {
        ::metrics::counter!(metrics::TOOL_RESULT_TRUNCATED_TOTAL, &labels).increment(1);
    }
}
