//! Compaction (agent-loop.md §13): when it is due, what is asked of the model, what is committed.

use super::history::{Boundary, BoundaryKind, CLEARED, History, SUMMARIZED};
use crate::{
    chat::{
        json::Json,
        message::{NewMessage, Part, Role, StepFigures, ToolCallPart, ToolResultPart, Visibility},
    },
    clock::Timestamp,
    ids::{ModelConfigId, UserId},
    llm::request::{PromptMessage, UserContent},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

/// Threshold when the configured one is out of range, in percent (agent-loop.md §1).
pub const DEFAULT_THRESHOLD_PERCENT: i64 = 70;

/// Who asked for a compaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The threshold was reached.
    Automatic,
    /// A person asked for it.
    Manual,
}

/// What decides about compaction besides the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// The user's own threshold for this model, in percent.
    pub user_threshold: Option<i64>,
    /// The model config's threshold, in percent.
    pub model_threshold: Option<i64>,
    /// Context window of the current model config, in tokens.
    pub context_limit: Option<i64>,
    /// The current model config; a window reported under another model is not used for it.
    pub model_config_id: Option<ModelConfigId>,
}

impl Limits {
    /// The threshold in percent: the user's, else the model's, else 70. 100 switches compaction off.
    #[must_use]
    pub fn threshold_percent(&self) -> i64 {
        self.user_threshold
            .or(self.model_threshold)
            .filter(|percent| (0..=100).contains(percent))
            .unwrap_or(DEFAULT_THRESHOLD_PERCENT)
    }
}

/// How full the context was at the last measured step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measurement {
    /// Tokens of context; 0 when no step was measured.
    pub context_tokens: i64,
    /// The window in tokens; 0 when unknown.
    pub context_limit: i64,
    /// Threshold in percent.
    pub threshold_percent: i64,
}

impl Measurement {
    /// How full the context was at a step that has just been made.
    #[must_use]
    pub fn of_step(figures: &StepFigures, limits: &Limits) -> Self {
        Self {
            context_tokens: figures.usage.context_tokens(),
            context_limit: figures.context_limit.or(limits.context_limit).filter(|l| *l > 0).unwrap_or(0),
            threshold_percent: limits.threshold_percent(),
        }
    }

    /// Whether the threshold is reached. Never with an unknown window or a threshold of 100.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.context_limit > 0
            && self.threshold_percent < 100
            && i128::from(self.context_tokens) * 100
                >= i128::from(self.threshold_percent) * i128::from(self.context_limit)
    }

    /// Context tokens in percent of the window, to two decimals; 0 when the window is unknown.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "token counts lie far below 2^53")]
    pub fn usage_percent(&self) -> f64 {
        if self.context_limit <= 0 {
            return 0.0;
        }
        (self.context_tokens as f64 / self.context_limit as f64 * 10_000.0).round() / 100.0
    }
}

/// Where a chat stands with regard to its threshold (agent-loop.md §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Under the threshold, or compaction is off, or the window is unknown.
    NotNeeded,
    /// Over, and a summary would help.
    Needed(Measurement),
    /// Over when last measured, but compacted since then.
    AfterCompaction(Measurement),
    /// The first answer after a compaction was over again: another one would not help.
    StillOverLimit(Measurement),
}

/// Measures the latest step since the boundary that carries usage, and says where it stands. A summary
/// without such a step behind it stands for the steps it covers: what was measured before it is in
/// its mark. A cleared context starts anew: what was measured before it says nothing about the prompt
/// of today.
fn measure(
    history: &History<'_>,
    boundary: Option<Boundary>,
    limits: &Limits,
) -> (Option<usize>, Measurement) {
    let from = boundary.map_or(0, |boundary| boundary.index);
    let entries = history.entries();
    let index = (from..entries.len())
        .rev()
        .find(|&index| history.is_step(index) && entries[index].row.figures.usage.context_tokens() > 0);
    let known = match (index, boundary) {
        (Some(index), _) => {
            let row = entries[index].row;
            Some((row.model_config_id, row.figures.usage.context_tokens(), row.figures.context_limit))
        }
        (None, Some(Boundary { index, kind: BoundaryKind::Summarized })) => {
            let mark = &entries[index];
            let told = mark.parts().iter().find_map(Mark::read);
            told.map(|m| (mark.row.model_config_id, m.context_tokens, Some(m.context_limit_tokens)))
        }
        (None, _) => None,
    };
    let (model, context_tokens, context_limit) = known.unwrap_or((None, 0, None));
    let reported = context_limit
        .filter(|_| model == limits.model_config_id || limits.model_config_id.is_none())
        .filter(|limit| *limit > 0);
    let measurement = Measurement {
        context_tokens,
        context_limit: reported.or(limits.context_limit).filter(|limit| *limit > 0).unwrap_or(0),
        threshold_percent: limits.threshold_percent(),
    };
    (index, measurement)
}

/// What the mark of a summary tells about the context it replaced.
#[derive(Deserialize)]
struct Mark {
    context_tokens: i64,
    context_limit_tokens: i64,
}

impl Mark {
    fn read(part: &Part) -> Option<Self> {
        match part {
            Part::ToolResult(result) => result.result.as_ref()?.read().ok(),
            _ => None,
        }
    }
}

/// The latest measurement, for the rows of a compaction.
#[must_use]
pub fn measurement(history: &History<'_>, limits: &Limits) -> Measurement {
    measure(history, history.boundary(), limits).1
}

/// The compaction status of a chat.
#[must_use]
pub fn status(history: &History<'_>, limits: &Limits) -> Status {
    let boundary = history.boundary();
    let (measured, measurement) = measure(history, boundary, limits);
    if measurement.context_tokens == 0 || !measurement.is_over() {
        return Status::NotNeeded;
    }
    let Some(Boundary { index, kind: BoundaryKind::Summarized }) = boundary else {
        return Status::Needed(measurement);
    };
    if measured.is_none() {
        return Status::AfterCompaction(measurement);
    }
    let steps_after = (index..history.entries().len()).filter(|&i| history.is_step(i)).count();
    if steps_after > 1 { Status::Needed(measurement) } else { Status::StillOverLimit(measurement) }
}

/// Whether there is a model step that no summary covers yet.
#[must_use]
pub fn has_material(history: &History<'_>) -> bool {
    let from = history.boundary().map_or(0, |boundary| boundary.index);
    (from..history.entries().len()).any(|index| history.is_step(index))
}

/// What the model is asked for, as a user message at the end of the conversation.
pub const SUMMARY_REQUEST: &str = "\
Write a summary of this conversation so far. It will replace everything above: whoever continues has \
nothing else, so anything you leave out is lost. Answer with the summary alone and call no tools.

Cover, under short headings:
1. Goal: what the user wants, in their terms, with every change of mind that still holds.
2. Constraints: rules and preferences the user stated, word for word where wording matters.
3. Decisions: what was decided and why, and what was rejected.
4. Facts: paths, names, identifiers, commands, versions, addresses and figures, exactly as they are.
5. Errors: each error that came up, one by one, with its cause and what fixed it. Do not merge them into \
general advice.
6. State: what is done, what is in progress and what is left.
7. Now: the action under way and its very next step, so precisely that work resumes without asking the \
user anything.

Be dense. Point to content that can be read again (a file, a command's output) instead of pasting it.";

/// Why a turn ends when its context is over the threshold again right after a compaction.
pub const STILL_OVER_LIMIT: &str = "The conversation is still over its context limit after it was compacted. \
Raise the compaction threshold, pick a model with a larger context window, or clear the context.";

/// First sentence of the summary row.
pub const SUMMARY_PREFIX: &str = "The earlier part of this conversation was replaced by this summary:";

/// The row that stands in for a cleared history.
const CLEARED_NOTE: &str = "The earlier part of this conversation was cleared at the user's request. \
Treat what follows as a new start.";

/// Appends the request to an assembled prompt; a prompt that ends with a user message keeps one.
pub fn append_request(messages: &mut Vec<PromptMessage>) {
    let request = UserContent::Text(SUMMARY_REQUEST.to_owned());
    match messages.last_mut() {
        Some(PromptMessage::User(content)) => content.push(request),
        _ => messages.push(PromptMessage::User(vec![request])),
    }
}

/// The model answered the summary request without any text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the model returned an empty summary")]
pub struct EmptySummary;

/// One compaction, named once and told twice: live while it runs, then as rows.
#[derive(Debug, Clone)]
pub struct Compaction {
    /// Makes the id of the display call.
    pub uuid: Uuid,
    /// Who asked.
    pub source: Source,
    /// How full the context was.
    pub measurement: Measurement,
    /// The model that summarises.
    pub model_config_id: Option<ModelConfigId>,
    /// The user on whose behalf the turn runs.
    pub created_by: Option<UserId>,
    /// When it began.
    pub started_at: Timestamp,
}

impl Compaction {
    fn call_id(&self) -> String {
        format!("{SUMMARIZED}_{}", self.uuid)
    }

    /// The display call: published when the compaction starts, stored when it succeeds.
    #[must_use]
    pub fn call(&self) -> Part {
        let args = json!({
            "source": self.source,
            "threshold_percent": self.measurement.threshold_percent,
        });
        display_call(self.call_id(), SUMMARIZED, &args, self.started_at)
    }

    fn result(&self, summary: &str, now: Timestamp) -> Part {
        let result = json!({
            "summary": summary,
            "source": self.source,
            "threshold_percent": self.measurement.threshold_percent,
            "usage_percent": self.measurement.usage_percent(),
            "context_tokens": self.measurement.context_tokens,
            "context_limit_tokens": self.measurement.context_limit,
        });
        display_result(self.call_id(), SUMMARIZED, &result, now)
    }

    /// The part published when it failed.
    #[must_use]
    pub fn failed(&self, message: &str, now: Timestamp) -> Part {
        match display_result(self.call_id(), SUMMARIZED, &json!({ "error": message }), now) {
            Part::ToolResult(result) => Part::ToolResult(ToolResultPart { is_error: true, ..result }),
            other => other,
        }
    }

    /// The three rows of a successful compaction, and the result part to publish.
    ///
    /// # Errors
    /// When the summary is blank.
    pub fn rows(&self, summary: &str, now: Timestamp) -> Result<(Vec<NewMessage>, Part), EmptySummary> {
        let summary = summary.trim();
        if summary.is_empty() {
            return Err(EmptySummary);
        }
        let result = self.result(summary, now);
        let told = format!("{SUMMARY_PREFIX}\n\n{summary}");
        let rows = triplet(told, self.call(), result.clone(), self.model_config_id, self.created_by);
        Ok((rows, result))
    }
}

/// The rows of a cleared context: the same three, under the name `chat_cleared` (api.md §3.7).
#[must_use]
pub fn cleared_rows(uuid: Uuid, created_by: Option<UserId>, now: Timestamp) -> Vec<NewMessage> {
    let id = format!("{CLEARED}_{uuid}");
    let told = json!({ "source": Source::Manual });
    let call = display_call(id.clone(), CLEARED, &told, now);
    let result = display_result(id, CLEARED, &told, now);
    triplet(CLEARED_NOTE.to_owned(), call, result, None, created_by)
}

fn display_call(id: String, name: &str, args: &serde_json::Value, now: Timestamp) -> Part {
    Part::ToolCall(ToolCallPart {
        tool_call_id: id,
        tool_name: name.to_owned(),
        args: Some(Json::of(args)),
        created_at: Some(now),
        ..ToolCallPart::default()
    })
}

fn display_result(id: String, name: &str, result: &serde_json::Value, now: Timestamp) -> Part {
    Part::ToolResult(ToolResultPart {
        tool_call_id: id,
        tool_name: name.to_owned(),
        result: Some(Json::of(result)),
        created_at: Some(now),
        ..ToolResultPart::default()
    })
}

fn triplet(
    told: String,
    call: Part,
    result: Part,
    model_config_id: Option<ModelConfigId>,
    created_by: Option<UserId>,
) -> Vec<NewMessage> {
    let row = |role, visibility, part: Part| NewMessage {
        compressed: true,
        model_config_id,
        ..NewMessage::new(role, visibility, &[part])
    };
    vec![
        NewMessage { created_by, ..row(Role::User, Visibility::Model, Part::Text { text: told }) },
        row(Role::Assistant, Visibility::User, call),
        row(Role::Tool, Visibility::Both, result),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turn::fixtures::*;

    const LIMITS: Limits = Limits {
        user_threshold: None,
        model_threshold: Some(70),
        context_limit: Some(1000),
        model_config_id: None,
    };

    fn compaction() -> Compaction {
        Compaction {
            uuid: Uuid::nil(),
            source: Source::Automatic,
            measurement: Measurement { context_tokens: 2, context_limit: 3, threshold_percent: 70 },
            model_config_id: None,
            created_by: None,
            started_at: at(0),
        }
    }

    fn boundary() -> Vec<crate::store::records::MessageRow> {
        let measurement = Measurement { context_tokens: 900, context_limit: 1000, threshold_percent: 70 };
        Compaction { measurement, ..compaction() }.rows("s", at(1)).unwrap().0.into_iter().map(row).collect()
    }

    #[test]
    fn thresholds() {
        for (user, model, expected) in [
            (None, None, 70),
            (None, Some(40), 40),
            (Some(10), Some(40), 10),
            (Some(0), None, 0),
            (Some(101), Some(40), 70),
            (None, Some(-1), 70),
            (Some(100), None, 100),
        ] {
            let limits = Limits { user_threshold: user, model_threshold: model, ..LIMITS };
            assert_eq!(limits.threshold_percent(), expected);
        }
        let m = |tokens, limit, threshold| Measurement {
            context_tokens: tokens,
            context_limit: limit,
            threshold_percent: threshold,
        };
        assert!(m(700, 1000, 70).is_over() && !m(699, 1000, 70).is_over());
        assert!(!m(5000, 0, 70).is_over() && !m(5000, 1000, 100).is_over());
        assert!(m(i64::MAX, i64::MAX, 99).is_over());
        assert!((m(2, 3, 70).usage_percent() - 66.67).abs() < 1e-9);
    }

    #[test]
    fn status_follows_the_table() {
        type Case = (Vec<crate::store::records::MessageRow>, fn(&Status) -> bool);
        let a = || measured(&[text("x")], 900);
        let low = || measured(&[text("x")], 100);
        let none = || assistant(&[text("x")]);
        let with = |before: Vec<_>, after: Vec<_>| [before, boundary(), after].concat();
        let cases: Vec<Case> = vec![
            (vec![user("q"), low()], |s| *s == Status::NotNeeded),
            (vec![user("q"), none()], |s| *s == Status::NotNeeded),
            (vec![user("q"), a()], |s| matches!(s, Status::Needed(_))),
            (vec![user("q"), a(), none()], |s| matches!(s, Status::Needed(_))),
            (with(vec![user("q"), a()], vec![]), |s| matches!(s, Status::AfterCompaction(_))),
            (with(vec![user("q"), a()], vec![user("q"), none()]), |s| {
                matches!(s, Status::AfterCompaction(_))
            }),
            (with(vec![user("q"), a()], vec![a()]), |s| matches!(s, Status::StillOverLimit(_))),
            (with(vec![user("q"), a()], vec![low(), a()]), |s| matches!(s, Status::Needed(_))),
            (with(vec![user("q"), a()], vec![low()]), |s| *s == Status::NotNeeded),
        ];
        for (n, (list, expected)) in cases.into_iter().enumerate() {
            let rows = rows(list);
            let got = status(&History::new(&rows), &LIMITS);
            assert!(expected(&got), "case {n}: {got:?}");
        }
    }

    #[test]
    fn a_cleared_context_is_measured_anew() {
        let cleared: Vec<_> = cleared_rows(Uuid::nil(), None, at(1)).into_iter().map(row).collect();
        let rows =
            rows([vec![user("q"), measured(&[text("x")], 900)], cleared.clone(), vec![user("q")]].concat());
        assert_eq!(status(&History::new(&rows), &LIMITS), Status::NotNeeded);
        assert!(!has_material(&History::new(&rows)));
        let rows = crate::turn::fixtures::rows([cleared, vec![measured(&[text("x")], 900)]].concat());
        assert!(matches!(status(&History::new(&rows), &LIMITS), Status::Needed(_)));
    }

    #[test]
    fn rows_have_the_keys_of_the_facts() {
        let (rows, _) = compaction().rows(" the sum ", at(9)).unwrap();
        assert!(rows.iter().all(|row| row.compressed));
        let shape: Vec<_> = rows.iter().map(|row| (row.role, row.visibility)).collect();
        assert_eq!(
            shape,
            [
                (Role::User, Visibility::Model),
                (Role::Assistant, Visibility::User),
                (Role::Tool, Visibility::Both)
            ]
        );
        let value = |n: usize| serde_json::from_str::<serde_json::Value>(rows[n].content.get()).unwrap();
        assert_eq!(value(0)[0]["text"], format!("{SUMMARY_PREFIX}\n\nthe sum"));
        assert_eq!(value(1)[0]["args"], json!({"source": "automatic", "threshold_percent": 70}));
        assert_eq!(
            value(2)[0]["result"],
            json!({"summary": "the sum", "source": "automatic", "threshold_percent": 70,
                   "usage_percent": 66.67, "context_tokens": 2, "context_limit_tokens": 3})
        );
        let id = format!("chat_summarized_{}", Uuid::nil());
        assert_eq!(value(1)[0]["tool_call_id"], id);
        assert_eq!(value(2)[0]["tool_call_id"], id);
        assert_eq!(compaction().rows(" \n", at(9)), Err(EmptySummary));
    }

    #[test]
    fn another_models_window_is_not_used() {
        let mut step = measured(&[text("x")], 900);
        step.model_config_id = Some(ModelConfigId(Uuid::from_u128(1)));
        step.figures.context_limit = Some(10_000);
        let rows = rows(vec![user("q"), step]);
        let history = History::new(&rows);
        let same = Limits { model_config_id: Some(ModelConfigId(Uuid::from_u128(1))), ..LIMITS };
        assert_eq!(status(&history, &same), Status::NotNeeded);
        let other = Limits { model_config_id: Some(ModelConfigId(Uuid::from_u128(2))), ..LIMITS };
        assert!(matches!(status(&history, &other), Status::Needed(_)));
    }
}
