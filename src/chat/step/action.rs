//! EnterRequiresAction, CompleteRequiresAction, CancelRequiresAction: calls the API client runs.

use super::draft::Draft;
use crate::{
    chat::{
        answers,
        command::SubmittedResult,
        json::Json,
        plan::Refusal,
        state::{OpenCall, State, Status},
    },
    clock::Timestamp,
};
use std::collections::HashSet;

/// Waits for the client until `deadline`.
pub(super) fn enter(draft: &mut Draft<'_>, deadline: Timestamp) -> Result<(), Refusal> {
    match draft.state() {
        State::R0 | State::R1 => {}
        State::W
        | State::E0
        | State::E1
        | State::I0
        | State::I1
        | State::A0
        | State::A1
        | State::XW
        | State::XE0
        | State::XE1
        | State::Invalid(_, _, _) => return draft.refuse(),
    }
    if draft.pending_calls().is_empty() {
        return Err(Refusal::NothingPending);
    }
    draft.go(Status::RequiresAction);
    draft.columns.requires_action_deadline_at = Some(deadline);
    Ok(())
}

/// Takes the client's results, which must answer exactly the pending calls.
pub(super) fn complete(draft: &mut Draft<'_>, results: &[SubmittedResult]) -> Result<(), Refusal> {
    require_action(draft)?;
    let pending = draft.pending_calls();
    for (call, output, is_error) in pair(&pending, results)? {
        draft.insert(answers::answer(call, output, is_error, draft.now()));
    }
    draft.go(Status::Running);
    Ok(())
}

/// The deadline has passed.
pub(super) fn cancel(draft: &mut Draft<'_>, reason: &str) -> Result<(), Refusal> {
    require_action(draft)?;
    draft.cancel_pending(reason);
    draft.go(Status::Running);
    Ok(())
}

fn require_action(draft: &Draft<'_>) -> Result<(), Refusal> {
    match draft.state() {
        State::A0 | State::A1 => Ok(()),
        State::W
        | State::E0
        | State::E1
        | State::R0
        | State::R1
        | State::I0
        | State::I1
        | State::XW
        | State::XE0
        | State::XE1
        | State::Invalid(_, _, _) => draft.refuse(),
    }
}

/// Each pending call with its result, in call order.
fn pair<'c>(
    pending: &'c [OpenCall],
    results: &[SubmittedResult],
) -> Result<Vec<(&'c OpenCall, Json, bool)>, Refusal> {
    if pending.is_empty() {
        return Err(Refusal::NothingPending);
    }
    let mut seen = HashSet::new();
    if let Some(twice) = results.iter().find(|result| !seen.insert(result.tool_call_id.as_str())) {
        return Err(Refusal::DuplicateResult(twice.tool_call_id.clone()));
    }
    let wanted: HashSet<&str> = pending.iter().map(|call| call.tool_call_id.as_str()).collect();
    if let Some(stray) = results.iter().find(|result| !wanted.contains(result.tool_call_id.as_str())) {
        return Err(Refusal::UnexpectedResult(stray.tool_call_id.clone()));
    }
    let mut matched = Vec::with_capacity(pending.len());
    for call in pending {
        let result = results.iter().find(|result| result.tool_call_id == call.tool_call_id);
        matched.push((call, result.ok_or_else(|| Refusal::MissingResult(call.tool_call_id.clone()))?));
    }
    let parse = |(call, result): (&'c OpenCall, &SubmittedResult)| {
        let output = Json::parse(result.output.clone())
            .map_err(|_| Refusal::ResultNotJson(result.tool_call_id.clone()))?;
        Ok((call, output, result.is_error))
    };
    matched.into_iter().map(parse).collect()
}
