//! One pass of a turn: read the history, decide, act, commit once. Attempts at one history repeat
//! inside a pass; every commit ends it.

use super::{End, Work, compaction, context, served, title, tool_step};
use crate::{
    actors::debug::Recording,
    chat::{command::Command, message::Role, state::Status},
    llm::{
        classify,
        event::FinishReason,
        failure::Failure,
        request::{Request, ToolSpec},
    },
    metrics,
    store::{
        commit::Committed,
        records::{ChatRecord, MessageRow, TurnRead, debug::RunKind},
        settings::UserSettings,
        spend::{CallKind, ModelCall},
    },
    stream::episode::EpisodeKey,
    tools::offer,
    turn::{
        compact::{Measurement, STILL_OVER_LIMIT},
        decide::{NextAction, Settings, ToolNames, decide},
        engine::ModelChoice,
        generate::{self, Recall},
        history::History,
        project::Project,
        prompt::instructions::{self, Turn},
        retry::{self, Verdict, last_error, turn_error},
    },
};
use std::{sync::Arc, time::Duration};

pub(super) async fn run(work: &Work) -> Result<Committed, End> {
    let TurnRead { mut chat, rows, earlier_steps } = work.shared.store.turn(work.chat).await?;
    let head = &chat.head;
    if head.owner != Some(work.owner)
        || head.status != Status::Running
        || head.archived
        || head.versions.history != work.seen.versions.history
    {
        return Err(End::Stale);
    }
    // Who asks for a compaction may have interrupted the wait, which stays recorded until an attempt begins.
    let rest = retry::rest(head.retry_state.as_ref(), work.shared.clock.now());
    if !rest.is_zero() && chat.compaction_requested_at.is_none() {
        wait(work, rest).await?;
    }
    let engine = &work.shared.turn;
    let mut attempt = head.versions.attempt;
    let own = work.shared.live.user(chat.owner_id).await?;
    let choice = match chosen(work, &chat, &own) {
        Ok(choice) => choice,
        Err(failure) => return work.fail(last_error(&failure), attempt).await,
    };
    let mut at_hand = context::bind(work, &mut chat).await;
    let history = History::new(&rows).with_earlier_steps(earlier_steps);
    let project = Project::latest(&history);
    let workspaces = chat.workspace_id.is_some() || work.shared.live.has_templates();
    let mut registry = match engine.tools(&chat, &own, project.as_ref(), workspaces) {
        Ok(registry) => registry,
        Err(e) => {
            tracing::error!(chat = %work.chat, error = %e, "the chat's client-run tools cannot be read");
            let error = turn_error("The definitions of this chat's tools cannot be read.");
            return work.fail(error, attempt).await;
        }
    };
    let names = ToolNames::of(&registry, offer::stop_after());
    let mut context_due = context::due(work, &chat, project.as_ref(), &history);
    // An attempt that is recorded, and in which nothing was committed yet.
    let mut open = work.begun(&chat.head);
    loop {
        let settings = Settings {
            max_steps: engine.max_steps,
            limits: choice.limits(),
            compaction_requested: chat.compaction_requested_at.is_some(),
            attempts: attempt - i64::from(open.is_some()),
            context_due,
        };
        return match decide(&history, &names, &settings) {
            NextAction::FinishTurn(reason) => {
                tracing::debug!(chat = %work.chat, ?reason, "turn finished");
                work.commit(Command::FinishTurn, work.fence(Status::Running, None)).await
            }
            NextAction::ExecuteLocalTools(calls) => {
                served::called(work, &chat, &mut registry, &calls);
                tool_step::run(work, &chat, &choice, &registry, &calls).await
            }
            NextAction::EnterRequiresAction(_) => {
                let now = work.shared.store.database_now(work.shared.clock.now()).await?;
                let deadline = now + engine.tool_result_timeout;
                let fence = work.fence(Status::Running, None);
                work.commit(Command::EnterRequiresAction { deadline }, fence).await
            }
            // Each of these attempts has ended with its process: the project may be what ends it.
            NextAction::PersistWorkspaceContext(_) if attempt >= engine.policy.max_attempts => {
                context_due = None;
                continue;
            }
            NextAction::PersistWorkspaceContext(agent) => {
                let (key, this) = work.attempt(&mut open, attempt).await?;
                match context::run(work, agent, &history, this).await? {
                    Some(done) => Ok(done),
                    // There was no answer, and the turn goes on without it.
                    None => {
                        context_due = None;
                        open = Some(key);
                        attempt = this;
                        chat.head.versions.attempt = this;
                        continue;
                    }
                }
            }
            NextAction::Compact(source) => compaction::run(work, &chat, &rows, &choice, source, open).await,
            NextAction::StillOverLimit(_) => still_over(work, &choice, attempt, None).await,
            NextAction::Generate { already_compacted } => {
                title::start(work, &chat, &rows, &choice);
                served::offer(work, &chat, &mut registry, at_hand.take()).await;
                let turn =
                    Asked { chat: &chat, rows: &rows, choice: &choice, project: project.as_ref(), open };
                ask(work, &turn, registry.specs(), already_compacted).await
            }
        };
    }
}

/// The chat's model, as it can be called now.
fn chosen(work: &Work, chat: &ChatRecord, own: &UserSettings) -> Result<Arc<ModelChoice>, Failure> {
    let mut choice = work.shared.turn.model(chat.last_model_config_id, chat.owner_id)?;
    if let Some(percent) = own.thresholds.get(&choice.id) {
        Arc::make_mut(&mut choice).user_threshold = Some(*percent);
    }
    Ok(choice)
}

/// Compaction did not help, as the call shows that was made nevertheless.
async fn still_over(
    work: &Work,
    choice: &ModelChoice,
    attempt: i64,
    call: Option<ModelCall>,
) -> Result<Committed, End> {
    compaction::count(choice, "error");
    work.fail_after(turn_error(STILL_OVER_LIMIT), attempt, call).await
}

/// What a model is asked about.
#[derive(Clone, Copy)]
struct Asked<'a> {
    chat: &'a ChatRecord,
    rows: &'a [MessageRow],
    choice: &'a Arc<ModelChoice>,
    project: Option<&'a Project>,
    /// The attempt that the first call belongs to; `None`: it is not recorded yet.
    open: Option<EpisodeKey>,
}

/// Asks the model until an attempt succeeds or the policy gives up.
async fn ask(
    work: &Work,
    asked: &Asked<'_>,
    tools: &[ToolSpec],
    already_compacted: bool,
) -> Result<Committed, End> {
    let Asked { chat, rows, choice, project, mut open } = *asked;
    let mut choice = Arc::clone(choice);
    // Attempts that failed have ended the turn; these were cut short, each with its process.
    let cut_short = chat.head.versions.attempt - i64::from(open.is_some());
    if cut_short >= work.shared.turn.policy.max_attempts {
        let error =
            turn_error("The model was asked too often without an answer: the server stopped each time.");
        return work.fail(error, chat.head.versions.attempt).await;
    }
    let (files, history) = (work.files(rows, choice.image_cap).await?, History::new(rows));
    let own = work.shared.live.user(chat.owner_id).await?;
    let rooted = chat.workspace_id.is_some() && chat.parent_chat_id.is_none();
    let home = project.map(|project| project.home.as_str()).filter(|home| rooted && !home.is_empty());
    let plan = home.map(|home| instructions::plan_path(home, chat.head.id));
    let request_of = |choice: &ModelChoice, recall: Recall| {
        generate::take_images(choice, &history, &files)?;
        let chain = match recall {
            Recall::Kept => generate::chained_prompt(&history, choice, &files),
            Recall::Signed | Recall::Nothing => None,
        };
        let (mut prompt, previous_response_id) = match chain {
            Some((prompt, response)) => (prompt, Some(response)),
            None => (generate::prompt(&history, choice, &files, recall), None),
        };
        let plans = chat.plan_mode.is_some() && chat.parent_chat_id.is_none();
        let live = &work.shared.live;
        prompt.system.extend(instructions::of_turn(Turn { project, own: &own, all: &live.current(), plans }));
        instructions::fill(&mut prompt.system, plan.as_deref());
        let size: usize = rows.iter().map(|r| r.content.get().len()).sum();
        ::metrics::histogram!(metrics::PROMPT_SIZE_BYTES, "provider" => choice.provider_type.clone(),
            "model" => choice.defaults.model.clone())
        .record(u32::try_from(size).unwrap_or(u32::MAX));
        let effort = chat.last_reasoning_effort.as_deref();
        let mut request = generate::request(choice, prompt, tools, effort);
        if chat.plan_mode.is_some() {
            request.leave_out_provider_tools();
        }
        Ok(Arc::new(Request { headers: generate::identity(chat), previous_response_id, ..request }))
    };
    let mut recall = if chat.plan_mode.is_none() { Recall::Kept } else { Recall::Signed };
    let mut attempt = chat.head.versions.attempt;
    let mut request = match request_of(&choice, recall) {
        Ok(request) => request,
        Err(failure) => return not_asked(work, &failure, attempt, None).await,
    };
    let mut recording = work.shared.debug.step(RunKind::ChatTurn, chat, rows, &choice, &request).await;
    let mut waited = false;
    loop {
        if std::mem::replace(&mut waited, true) {
            // A key may have been changed meanwhile, or the model taken away.
            let again = chosen(work, chat, &own)
                .and_then(|choice| request_of(&choice, recall).map(|request| (choice, request)));
            (choice, request) = match again {
                Ok(again) => again,
                Err(failure) => return not_asked(work, &failure, attempt, recording).await,
            };
        }
        let (key, this) = work.attempt(&mut open, attempt).await?;
        attempt = this;
        let link = work.link.clone();
        let publish = move |parts| link.parts(key, parts);
        let tap = recording.as_mut().map(|r| r.attempt(attempt));
        let answer = generate::call(&choice, &request, &work.shared.clock, tap, publish).await;
        if let Some(recording) = &mut recording {
            recording.attempt_ended(answer.as_ref().err());
        }
        let mut call = None;
        let failure = match answer {
            Ok(step) => {
                call = Some(choice.called(CallKind::ChatTurn, &step.figures));
                let recorded = recording.take().map(|r| (r, step.clone()));
                let fence = work.fence(Status::Running, Some(attempt));
                if already_compacted && Measurement::of_step(&step.figures, &choice.limits()).is_over() {
                    if let Some((recording, step)) = recorded {
                        recording.completed(step, None);
                    }
                    return still_over(work, &choice, attempt, call).await;
                }
                let done = match step.message {
                    // Without calls the next decision is known: the turn is complete.
                    Some(message) if !step.has_calls => {
                        let commands = [Command::CommitStep(vec![message]), Command::FinishTurn];
                        work.commit_all(&commands, fence, call).await
                    }
                    Some(message) => {
                        work.commit_all(&[Command::CommitStep(vec![message])], fence, call).await
                    }
                    None if step.reason == FinishReason::ContentFilter => {
                        let failure = classify::content_filtered(&choice.provider_type);
                        if let Some((recording, _)) = recorded {
                            recording.failed(&failure);
                        }
                        match after_failure(work, &choice, &failure, attempt, call).await? {
                            Some(head) => return Ok(head),
                            None => continue,
                        }
                    }
                    // The model had nothing to say: the turn is over.
                    None => work.commit_all(&[Command::FinishTurn], fence, call).await,
                };
                if let (Some((recording, step)), Ok(done)) = (recorded, &done) {
                    let message = done.inserted.iter().find(|row| row.role == Role::Assistant);
                    recording.completed(step, message.map(|row| row.id));
                }
                return done;
            }
            Err(failure) => told_less(failure, &mut recall, &request),
        };
        if let Some(head) = after_failure(work, &choice, &failure, attempt, call).await? {
            if let Some(recording) = recording.take() {
                recording.failed(&failure);
            }
            return Ok(head);
        }
    }
}

/// What follows when the provider does not know again what it gave: for the rest of this history less of that is sent. When
/// nothing of it was sent, to ask once more would be in vain.
pub(super) fn told_less(failure: Failure, recall: &mut Recall, refused: &Request) -> Failure {
    if !failure.chain_broken {
        return failure;
    }
    match recall.less(refused) {
        Some(less) => {
            *recall = less;
            failure
        }
        None => Failure { retryable: false, ..failure },
    }
}

/// Ends the turn before the model is asked, or asked again.
async fn not_asked(
    work: &Work,
    failure: &Failure,
    attempt: i64,
    recording: Option<Recording>,
) -> Result<Committed, End> {
    tracing::warn!(chat = %work.chat, error = %failure.message, "the model is not asked");
    if let Some(recording) = recording {
        recording.failed(failure);
    }
    work.fail(last_error(failure), attempt).await
}

/// Records a failure, and the call if it was one that came to its end. `None`: the wait is over, try again.
pub(super) async fn after_failure(
    work: &Work,
    choice: &ModelChoice,
    failure: &Failure,
    attempt: i64,
    call: Option<ModelCall>,
) -> Result<Option<Committed>, End> {
    let now = work.shared.clock.now();
    tracing::warn!(chat = %work.chat, attempt, kind = failure.kind.as_str(), status = failure.status_code,
        error = %failure.message, "model call failed");
    match work.shared.turn.policy.after(failure, attempt, now) {
        Verdict::GiveUp(error) => work.fail_after(error, attempt, call).await.map(Some),
        Verdict::Retry { delay, state } => {
            ::metrics::counter!(metrics::STREAM_RETRIES_TOTAL, "provider" => choice.provider_type.clone(),
                "model" => choice.defaults.model.clone(), "kind" => failure.kind.as_str())
            .increment(1);
            let fence = work.fence(Status::Running, Some(attempt));
            let done = work.commit_all(&[Command::RecordRetryState(state)], fence, call).await?;
            work.link.moved(done);
            wait(work, delay).await?;
            Ok(None)
        }
    }
}

/// Waits, unless the process shuts down: then another replica waits instead.
async fn wait(work: &Work, delay: Duration) -> Result<(), End> {
    let mut draining = work.shared.draining.clone();
    tokio::select! {
        () = tokio::time::sleep(delay) => Ok(()),
        _ = draining.wait_for(|d| *d) => Err(End::Stale),
    }
}
