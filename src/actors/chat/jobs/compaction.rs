//! Replaces a long history by its summary, as a pass of its own.

use super::{
    End, Work,
    generate::{after_failure, told_less},
};
use crate::{
    chat::{command::Command, message::Role, state::Status},
    llm::{
        classify::{RawFailure, classify},
        failure::{Failure, FailureKind},
        providers::display_name,
        request::Request,
    },
    metrics,
    store::{
        commit::Committed,
        records::{ChatRecord, MessageRow, debug::RunKind},
        spend::CallKind,
    },
    stream::episode::EpisodeKey,
    turn::{
        compact::{self, Compaction, EmptySummary, Source},
        engine::ModelChoice,
        generate::{self, Recall},
        history::History,
        prompt::instructions,
        retry::turn_error,
    },
};
use std::{sync::Arc, time::Duration};

/// Longest time a summary may take (agent-loop.md §13).
const TIMEOUT: Duration = Duration::from_secs(90);

pub(super) async fn run(
    work: &Work,
    chat: &ChatRecord,
    rows: &[MessageRow],
    choice: &ModelChoice,
    source: Source,
    mut open: Option<EpisodeKey>,
) -> Result<Committed, End> {
    let clock = &work.shared.clock;
    let mut attempt = chat.head.versions.attempt;
    let cut_short = attempt - i64::from(open.is_some());
    // Attempts that failed have ended the turn; these were cut short, each with its process. Somebody who asks for a
    // compaction after that may have one more.
    if cut_short >= work.shared.turn.policy.max_attempts && chat.compaction_requested_at.is_none() {
        let error =
            turn_error("The summary of the conversation was begun too often: the server stopped each time.");
        return work.fail(error, attempt).await;
    }
    let files = work.files(rows, choice.image_cap).await?;
    let history = History::new(rows);
    let measurement = compact::measurement(&history, &choice.limits());
    let request_of = |recall: Recall| {
        let mut prompt = generate::prompt(&history, choice, &files, recall);
        instructions::fill(&mut prompt.system, None);
        compact::append_request(&mut prompt.messages);
        let mut request = generate::request(choice, prompt, &[], chat.last_reasoning_effort.as_deref());
        request.leave_out_provider_tools();
        Arc::new(Request { headers: generate::identity(chat), ..request })
    };
    let mut recall = Recall::Signed;
    let mut request = request_of(recall);
    let asked_by = rows.iter().rev().find_map(|r| r.created_by);
    let mut recording = work.shared.debug.step(RunKind::Compaction, chat, rows, choice, &request).await;
    loop {
        let (key, this) = work.attempt(&mut open, attempt).await?;
        attempt = this;
        let compaction = Compaction {
            uuid: crate::ids::fresh_uuid(),
            source,
            measurement,
            model_config_id: Some(choice.id),
            created_by: asked_by,
            started_at: clock.now(),
        };
        work.link.part(key, Role::Assistant, compaction.call());
        // The summary is shown when it is complete, not while it is written, and it is no step.
        let tap = recording.as_mut().map(|r| r.attempt(attempt));
        let call = generate::side_call(choice, &request, clock, tap);
        let answer = tokio::time::timeout(TIMEOUT, call).await;
        if let Some(recording) = &mut recording {
            recording.attempt_ended(answer.as_ref().ok().and_then(|a| a.as_ref().err()));
        }
        let mut called = None;
        let (failure, result) = match answer {
            Ok(Ok(step)) => match compaction.rows(&step.text(), clock.now()) {
                Ok((messages, result)) => {
                    let called = choice.called(CallKind::Compaction, &step.figures);
                    work.link.part(key, Role::Tool, result);
                    count(choice, "success");
                    let fence = work.fence(Status::Running, Some(attempt));
                    let done = work.commit_all(&[Command::CommitStep(messages)], fence, Some(called)).await?;
                    if let Some(recording) = recording.take() {
                        recording.completed(step, None);
                    }
                    return Ok(done);
                }
                Err(EmptySummary) => {
                    called = Some(choice.called(CallKind::Compaction, &step.figures));
                    (empty(choice), "error")
                }
            },
            Ok(Err(failure)) => {
                let before = recall;
                let failure = told_less(failure, &mut recall, &request);
                if recall != before {
                    request = request_of(recall);
                }
                (failure, "error")
            }
            // Our own deadline: the model would not be faster the next time.
            Err(_) => (classify(&choice.provider_type, RawFailure::Deadline), "timeout"),
        };
        count(choice, result);
        work.link.part(key, Role::Tool, compaction.failed(&failure.message, clock.now()));
        if let Some(head) = after_failure(work, choice, &failure, attempt, called).await? {
            if let Some(recording) = recording.take() {
                recording.failed(&failure);
            }
            return Ok(head);
        }
    }
}

pub(super) fn count(choice: &ModelChoice, result: &'static str) {
    ::metrics::counter!(metrics::COMPACTION_TOTAL, "provider" => choice.provider_type.clone(),
        "model" => choice.defaults.model.clone(), "result" => result)
    .increment(1);
}

fn empty(choice: &ModelChoice) -> Failure {
    Failure {
        kind: FailureKind::Generic,
        retryable: false,
        message: format!(
            "{} returned an empty summary of the conversation.",
            display_name(&choice.provider_type)
        ),
        detail: None,
        provider: choice.provider_type.clone(),
        status_code: None,
        retry_after: None,
        chain_broken: false,
    }
}
