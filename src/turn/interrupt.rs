//! What is kept of an interrupted step (agent-loop.md §10).

use super::history::SUMMARIZED;
use crate::{
    chat::{
        json::Json,
        message::{NewMessage, Part, Role, ToolCallPart, ToolResultPart, Visibility},
        state::OpenCall,
    },
    clock::Timestamp,
    ids::ModelConfigId,
};
use serde_json::json;
use std::collections::{HashMap, HashSet};

/// Told to the model about a call that was cut off.
const INTERRUPTED: &str = "The call was interrupted before it produced a result.";

/// A part of the partial assistant message, at its place in the episode.
enum Slot {
    /// Text, or reasoning when the times are there.
    Part(Part),
    /// A call: its argument pieces until it is complete.
    Call { part: ToolCallPart, input: String },
    /// The result of a call the provider ran.
    ProviderResult(ToolResultPart),
}

/// Turns the buffered parts of an episode into the rows that FinishInterruption commits.
///
/// `parts` are the episode's parts in seq order; `open` the unanswered calls of committed history.
/// First come the results of committed calls, kept or synthetic, then the partial assistant message
/// and the results of its calls, so each result stands behind its call. The call that shows a
/// running compaction is no model output and is dropped. Partial rows carry no usage and no cost.
#[must_use]
pub fn partial_rows(
    parts: &[(Role, Part)],
    open: &[OpenCall],
    model_config_id: Option<ModelConfigId>,
    now: Timestamp,
) -> Vec<NewMessage> {
    let mut slots: Vec<Slot> = Vec::new();
    let mut by_id: HashMap<&str, usize> = HashMap::new();
    let mut results: HashMap<&str, &ToolResultPart> = HashMap::new();
    for (_, part) in parts {
        match part {
            Part::Text { text } => match slots.last_mut() {
                Some(Slot::Part(Part::Text { text: so_far })) => so_far.push_str(text),
                _ => slots.push(Slot::Part(part.clone())),
            },
            Part::Reasoning { text, completed_at, .. } => match slots.last_mut() {
                Some(Slot::Part(Part::Reasoning { text: so_far, completed_at: end, .. }))
                    if end.is_none() =>
                {
                    so_far.push_str(text);
                    *end = *completed_at;
                }
                _ => slots.push(Slot::Part(part.clone())),
            },
            Part::ToolCall(call) if call.tool_name == SUMMARIZED => {}
            Part::ToolCall(call) => {
                let index = *by_id.entry(&call.tool_call_id).or_insert_with(|| {
                    slots.push(Slot::Call {
                        part: ToolCallPart { args: None, args_delta: None, ..call.clone() },
                        input: String::new(),
                    });
                    slots.len() - 1
                });
                if let Some(Slot::Call { part, input }) = slots.get_mut(index) {
                    if call.args.is_some() {
                        *part = call.clone();
                    } else if let Some(delta) = &call.args_delta {
                        input.push_str(delta);
                    }
                }
            }
            Part::ToolResult(result) if result.result.is_none() => {}
            Part::ToolResult(result) if result.provider_executed => {
                slots.push(Slot::ProviderResult(result.clone()));
            }
            Part::ToolResult(result) => {
                results.entry(&result.tool_call_id).or_insert(result);
            }
            Part::File { .. } | Part::Source { .. } => slots.push(Slot::Part(part.clone())),
            // No model or tool sends these; a part of this kind belongs to a user message.
            Part::FileReference { .. } | Part::ContextFile { .. } | Part::Skill { .. } => {}
        }
    }

    let durable: HashSet<&str> = open.iter().map(|call| call.tool_call_id.as_str()).collect();
    let mut rows = Vec::new();
    for call in open {
        rows.push(answer(&call.tool_call_id, &call.tool_name, results.get(call.tool_call_id.as_str()), now));
    }

    let content = finish(slots, now);
    let calls: Vec<&ToolCallPart> = content
        .iter()
        .filter_map(|part| match part {
            Part::ToolCall(call) if !call.provider_executed => Some(call),
            _ => None,
        })
        .filter(|call| !durable.contains(call.tool_call_id.as_str()))
        .collect();
    if !content.is_empty() {
        let partial = NewMessage::new(Role::Assistant, Visibility::Both, &content);
        rows.push(NewMessage { model_config_id, ..partial });
    }
    for call in calls {
        rows.push(answer(&call.tool_call_id, &call.tool_name, results.get(call.tool_call_id.as_str()), now));
    }
    rows
}

/// Completes the slots and drops those that cannot be kept.
fn finish(slots: Vec<Slot>, now: Timestamp) -> Vec<Part> {
    let mut kept_calls: HashSet<String> = HashSet::new();
    let mut content = Vec::new();
    let mut provider_results = Vec::new();
    for slot in slots {
        match slot {
            Slot::Part(Part::Text { text }) if text.trim().is_empty() => {}
            Slot::Part(Part::Reasoning { text, .. }) if text.trim().is_empty() => {}
            Slot::Part(Part::Reasoning { text, created_at, completed_at }) => {
                let completed_at = completed_at.or(Some(now));
                content.push(Part::Reasoning { text, created_at, completed_at });
            }
            Slot::Part(part) => content.push(part),
            Slot::Call { mut part, input } => {
                if part.args.is_none() {
                    let Ok(args) = Json::parse(input) else { continue };
                    part = ToolCallPart { args: Some(args), created_at: Some(now), ..part };
                }
                part.args_delta = None;
                kept_calls.insert(part.tool_call_id.clone());
                content.push(Part::ToolCall(part));
            }
            Slot::ProviderResult(result) => {
                provider_results.push(content.len());
                content.push(Part::ToolResult(result));
            }
        }
    }
    // A call can stand behind its result in a reordered buffer, so this is only known now.
    for index in provider_results.into_iter().rev() {
        let orphan =
            matches!(&content[index], Part::ToolResult(result) if !kept_calls.contains(&result.tool_call_id));
        if orphan {
            content.remove(index);
        }
    }
    content
}

/// One tool message: the buffered result of a call, or the note that there is none.
fn answer(id: &str, name: &str, result: Option<&&ToolResultPart>, now: Timestamp) -> NewMessage {
    let part = match result {
        Some(&result) => ToolResultPart { result_delta: None, result_reset: false, ..result.clone() },
        None => ToolResultPart {
            tool_call_id: id.to_owned(),
            tool_name: name.to_owned(),
            result: Some(Json::of(&json!({ "error": INTERRUPTED }))),
            is_error: true,
            created_at: Some(now),
            ..ToolResultPart::default()
        },
    };
    NewMessage::new(Role::Tool, Visibility::Both, &[Part::ToolResult(part)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turn::fixtures::at;
    use proptest::prelude::*;
    use serde_json::Value;

    fn delta(id: &str, delta: &str) -> (Role, Part) {
        let part = ToolCallPart {
            tool_call_id: id.into(),
            tool_name: "t".into(),
            args_delta: Some(delta.into()),
            ..Default::default()
        };
        (Role::Assistant, Part::ToolCall(part))
    }

    fn complete(id: &str) -> (Role, Part) {
        (Role::Assistant, crate::turn::fixtures::call(id, "t"))
    }

    fn text(text: &str) -> (Role, Part) {
        (Role::Assistant, Part::Text { text: text.into() })
    }

    fn thought(text: &str, start: Option<i64>, end: Option<i64>) -> (Role, Part) {
        let (created_at, completed_at) = (start.map(at), end.map(at));
        (Role::Assistant, Part::Reasoning { text: text.into(), created_at, completed_at })
    }

    fn result(id: &str) -> (Role, Part) {
        (Role::Tool, crate::turn::fixtures::result(id, "t"))
    }

    fn result_delta(id: &str) -> (Role, Part) {
        let part = ToolResultPart {
            tool_call_id: id.into(),
            tool_name: "t".into(),
            result_delta: Some("x".into()),
            ..Default::default()
        };
        (Role::Tool, Part::ToolResult(part))
    }

    fn provider(id: &str, is_result: bool) -> (Role, Part) {
        match (complete(id).1, result(id).1) {
            (Part::ToolCall(call), _) if !is_result => {
                (Role::Assistant, Part::ToolCall(ToolCallPart { provider_executed: true, ..call }))
            }
            (_, Part::ToolResult(r)) => {
                (Role::Tool, Part::ToolResult(ToolResultPart { provider_executed: true, ..r }))
            }
            other => panic!("{other:?}"),
        }
    }

    fn open(id: &str) -> OpenCall {
        OpenCall { tool_call_id: id.into(), tool_name: "t".into(), dynamic: false }
    }

    /// Rows as (role, parts).
    fn rows(parts: &[(Role, Part)], open: &[OpenCall]) -> Vec<(Role, Vec<Value>)> {
        partial_rows(parts, open, None, at(50))
            .into_iter()
            .map(|row| {
                assert_eq!(row.figures, crate::chat::message::StepFigures::default());
                (row.role, row.content.read().unwrap())
            })
            .collect()
    }

    fn interrupted(id: &str) -> (Role, Vec<Value>) {
        let part = json!({"type":"tool-result","tool_call_id":id,"tool_name":"t","is_error":true,
            "result":{"error": INTERRUPTED},"created_at":at(50).to_string()});
        (Role::Tool, vec![part])
    }

    #[test]
    fn every_line_of_the_table() {
        let episode = [
            thought("think", Some(1), None),
            thought("ing", None, None),
            text("Hel"),
            text("lo"),
            delta("cut", "{\"a\":"),
            delta("whole", "{\"a\""),
            delta("whole", ":1}"),
            complete("done"),
            delta("replaced", "{\"half"),
            complete("replaced"),
            result_delta("done"),
            result("done"),
            result("unknown"),
            result("cut"),
            (Role::Assistant, Part::Source { url: "u".into(), source_id: None, title: None }),
        ];
        let value = |part: &(Role, Part)| serde_json::to_value(&part.1).unwrap();
        let assistant = vec![
            json!({"type":"reasoning","text":"thinking","created_at":at(1).to_string(),
                   "completed_at":at(50).to_string()}),
            json!({"type":"text","text":"Hello"}),
            json!({"type":"tool-call","tool_call_id":"whole","tool_name":"t","args":{"a":1},
                   "created_at":at(50).to_string()}),
            value(&complete("done")),
            value(&complete("replaced")),
            json!({"type":"source","url":"u"}),
        ];
        let expected = vec![
            (Role::Assistant, assistant),
            interrupted("whole"),
            (Role::Tool, vec![value(&result("done"))]),
            interrupted("replaced"),
        ];
        assert_eq!(rows(&episode, &[]), expected);
    }

    #[test]
    fn committed_calls_are_answered_first() {
        let got = rows(&[result("a")], &[open("a"), open("b")]);
        assert_eq!(got, [(Role::Tool, vec![serde_json::to_value(result("a").1).unwrap()]), interrupted("b")]);
        assert_eq!(rows(&[], &[open("a")]), [interrupted("a")]);
        assert_eq!(rows(&[], &[]), []);
    }

    #[test]
    fn provider_calls_get_no_synthetic_result() {
        assert_eq!(rows(&[provider("p", false)], &[]).len(), 1);
        let both = rows(&[provider("p", false), provider("p", true)], &[]);
        assert_eq!((both.len(), both[0].1.len()), (1, 2));
        assert_eq!(rows(&[provider("p", true)], &[]), []);
    }

    #[test]
    fn a_running_compaction_leaves_nothing() {
        let call = crate::turn::fixtures::call("chat_summarized_1", SUMMARIZED);
        assert_eq!(rows(&[(Role::Assistant, call)], &[]), []);
    }

    #[test]
    fn reasoning_blocks_stay_apart() {
        let episode = [thought("a", Some(1), None), thought("", None, Some(2)), thought("b", Some(3), None)];
        let got = rows(&episode, &[]);
        assert_eq!(got[0].1.iter().map(|part| part["text"].clone()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(got[0].1[0]["completed_at"], at(2).to_string());
    }

    fn any_part() -> impl Strategy<Value = (Role, Part)> {
        let id = || prop::sample::select(vec!["a", "b", "c", "d"]);
        prop_oneof![
            prop::sample::select(vec!["x", " ", "yy"]).prop_map(text),
            prop::sample::select(vec!["r", ""]).prop_map(|t| thought(t, None, None)),
            Just(thought("", None, Some(9))),
            (id(), prop::sample::select(vec!["{", "}", "\"k\":1", ""])).prop_map(|(id, d)| delta(id, d)),
            id().prop_map(complete),
            id().prop_map(result),
            id().prop_map(result_delta),
            Just(provider("p", false)),
            Just(provider("p", true)),
        ]
    }

    /// The same outcome, computed by asking the whole episode one question per call id.
    fn naive(parts: &[(Role, Part)], open: &[OpenCall]) -> Vec<(Role, Vec<String>)> {
        let calls_of = |id: &str| -> Vec<&ToolCallPart> {
            parts
                .iter()
                .filter_map(|(_, part)| match part {
                    Part::ToolCall(call) if call.tool_call_id == id => Some(call),
                    _ => None,
                })
                .collect()
        };
        let kept = |id: &str| {
            let calls = calls_of(id);
            let pieces: String = calls.iter().filter_map(|call| call.args_delta.clone()).collect();
            calls.iter().any(|call| call.args.is_some()) || serde_json::from_str::<Value>(&pieces).is_ok()
        };
        let has_result = |id: &str| {
            parts.iter().any(|(_, part)| {
                matches!(part, Part::ToolResult(r) if r.tool_call_id == id && r.result.is_some() && !r.provider_executed)
            })
        };
        let answer = |id: &str| {
            (Role::Tool, vec![format!("{id}:{}", if has_result(id) { "kept" } else { "synthetic" })])
        };
        let mut marks: Vec<String> = Vec::new();
        let mut seen: Vec<&str> = Vec::new();
        for (_, part) in parts {
            match part {
                Part::Text { text } => match marks.last_mut() {
                    Some(last) if last.starts_with("text ") => last.push_str(text),
                    _ => marks.push(format!("text {text}")),
                },
                Part::Reasoning { text, completed_at, .. } => {
                    let end = if completed_at.is_some() { "|end" } else { "" };
                    match marks.last_mut() {
                        Some(last) if last.starts_with("think ") && !last.ends_with("|end") => {
                            last.push_str(text);
                            last.push_str(end);
                        }
                        _ => marks.push(format!("think {text}{end}")),
                    }
                }
                Part::ToolCall(call) if !seen.contains(&call.tool_call_id.as_str()) => {
                    seen.push(&call.tool_call_id);
                    marks.push(format!("call {}", call.tool_call_id));
                }
                Part::ToolResult(r) if r.provider_executed => {
                    marks.push(format!("presult {}", r.tool_call_id));
                }
                _ => {}
            }
        }
        marks.retain(|mark| match mark.split_once(' ') {
            Some(("text", text)) => !text.trim().is_empty(),
            Some(("think", text)) => !text.trim_end_matches("|end").trim().is_empty(),
            Some((_, id)) => kept(id),
            None => panic!("{mark}"),
        });
        let marks: Vec<String> = marks.iter().map(|mark| mark.trim_end_matches("|end").to_owned()).collect();
        let durable: Vec<&str> = open.iter().map(|call| call.tool_call_id.as_str()).collect();
        let own: Vec<_> =
            seen.into_iter().filter(|id| kept(id) && *id != "p" && !durable.contains(id)).collect();
        let mut out: Vec<_> = durable.iter().map(|id| answer(id)).collect();
        if !marks.is_empty() {
            out.push((Role::Assistant, marks));
        }
        out.extend(own.into_iter().map(answer));
        out
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn agrees_with_the_naive_fold(
            parts in prop::collection::vec(any_part(), 0..14),
            committed in prop::sample::subsequence(vec!["a", "b", "z"], 0..=3),
        ) {
            let open: Vec<OpenCall> = committed.iter().map(|id| open(id)).collect();
            let got: Vec<(Role, Vec<String>)> = rows(&parts, &open)
                .into_iter()
                .map(|(role, content)| {
                    let marks = content.iter().map(|part| {
                        let id = part["tool_call_id"].as_str().unwrap_or_default();
                        let text = part["text"].as_str().unwrap_or_default();
                        match (part["type"].as_str().unwrap(), role) {
                            ("text", _) => format!("text {text}"),
                            ("reasoning", _) => format!("think {text}"),
                            ("tool-call", _) => format!("call {id}"),
                            (_, Role::Assistant) => format!("presult {id}"),
                            _ if part["is_error"] == true => format!("{id}:synthetic"),
                            _ => format!("{id}:kept"),
                        }
                    });
                    (role, marks.collect())
                })
                .collect();
            prop_assert_eq!(got, naive(&parts, &open));
        }
    }
}
