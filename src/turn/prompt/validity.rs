//! The promise of `assemble`, over random histories: a strict provider takes every prompt.

use super::*;
use crate::{
    chat::{
        json::Json,
        message::{Part, Role, ToolCallPart, ToolResultPart, Visibility},
    },
    llm::request::{AssistantContent, PromptMessage, UserContent, WireFormat},
    store::records::MessageRow,
    turn::{fixtures, history::History},
};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};

/// What a strict provider insists on.
fn strict(messages: &[PromptMessage]) -> Result<(), String> {
    let valid_name = |s: &str| {
        (1..=64).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
    };
    let is_object = |text: &str| serde_json::from_str::<Value>(text).is_ok_and(|v| v.is_object());
    let mut seen = HashSet::new();
    if let Some(first) = messages.first()
        && !matches!(first, PromptMessage::User(_))
    {
        return Err("the first message is not the user's".into());
    }
    for (index, message) in messages.iter().enumerate() {
        match message {
            PromptMessage::User(content) => {
                if content.is_empty() {
                    return Err("empty user message".into());
                }
                for piece in content {
                    match piece {
                        UserContent::Text(text) if text.trim().is_empty() => return Err("blank text".into()),
                        UserContent::File { data, .. } if data.is_empty() => return Err("empty file".into()),
                        _ => {}
                    }
                }
                if matches!(messages.get(index + 1), Some(PromptMessage::User(_))) {
                    return Err("two user messages in a row".into());
                }
            }
            PromptMessage::Assistant { content, native } => {
                if native.is_none() && !content.iter().any(|c| !matches!(c, AssistantContent::Reasoning(_))) {
                    return Err("empty assistant message".into());
                }
                let mut calls = Vec::new();
                for piece in content {
                    match piece {
                        AssistantContent::Text(text) | AssistantContent::Reasoning(text) => {
                            if text.trim().is_empty() {
                                return Err("blank text".into());
                            }
                        }
                        AssistantContent::ToolCall { id, name, args } => {
                            if !valid_name(id) || !valid_name(name) || !is_object(args.get()) {
                                return Err(format!("bad call {id:?} {name:?} {args:?}"));
                            }
                            if !seen.insert(id.clone()) {
                                return Err(format!("call id {id} twice"));
                            }
                            calls.push(id);
                        }
                    }
                }
                let answered: Vec<&String> = match messages.get(index + 1) {
                    Some(PromptMessage::Tool(answers)) => answers.iter().map(|a| &a.id).collect(),
                    _ => Vec::new(),
                };
                if calls != answered {
                    return Err(format!("calls {calls:?}, answers {answered:?}"));
                }
            }
            PromptMessage::Tool(answers) => {
                let after = index.checked_sub(1).and_then(|i| messages.get(i));
                if answers.is_empty() || !matches!(after, Some(PromptMessage::Assistant { .. })) {
                    return Err("answers without calls".into());
                }
                if let Some(bad) = answers.iter().find(|a| !is_object(&a.output) || !valid_name(&a.name)) {
                    return Err(format!("bad answer {bad:?}"));
                }
            }
        }
    }
    Ok(())
}

fn any_part() -> impl Strategy<Value = Part> {
    let id = || {
        let long = "x".repeat(80);
        prop::sample::select(vec![
            "a".to_owned(),
            "a.b".into(),
            "a_b".into(),
            "a_2".into(),
            String::new(),
            long,
        ])
    };
    let name = || prop::sample::select(vec!["execute", "functions.read", "", "chat_summarized"]);
    let words = || prop::sample::select(vec!["words", "", " \n"]);
    let value = || {
        prop::sample::select(vec![
            json!({"x": 1}),
            json!("{bad"),
            json!([1]),
            Value::Null,
            json!({"data":"QQ==","mime_type":"image/png"}),
        ])
    };
    prop_oneof![
        1 => words().prop_map(|text| Part::Text { text: text.into() }),
        1 => words().prop_map(|text| Part::Reasoning { text: text.into(), created_at: None, completed_at: None }),
        4 => (id(), name(), prop::option::of(value()), prop::bool::weighted(0.2)).prop_map(|(id, name, args, p)| {
            Part::ToolCall(ToolCallPart {
                tool_call_id: id,
                tool_name: name.into(),
                args: args.map(|v| Json::of(&v)),
                provider_executed: p,
                ..Default::default()
            })
        }),
        4 => (id(), name(), prop::option::of(value()), prop::bool::weighted(0.2), any::<bool>(), any::<bool>())
            .prop_map(|(id, name, result, p, is_error, is_media)| {
                Part::ToolResult(ToolResultPart {
                    tool_call_id: id,
                    tool_name: name.into(),
                    result: result.map(|v| Json::of(&v)),
                    provider_executed: p,
                    is_error,
                    is_media,
                    ..Default::default()
                })
            }),
        1 => Just(Part::Source { url: "u".into(), source_id: None, title: None }),
        1 => prop::sample::select(vec![None, Some(""), Some("QQ=="), Some("!")]).prop_map(|data| Part::File {
            media_type: "image/png".into(),
            name: None,
            data: data.map(str::to_owned),
            file_id: None,
        }),
        1 => Just(Part::FileReference { file_name: "f".into(), start_line: 1, end_line: 1, content: String::new() }),
        1 => Just(Part::Skill { skill_name: "s".into(), skill_description: None }),
    ]
}

fn any_row() -> impl Strategy<Value = MessageRow> {
    let role = prop::sample::select(vec![
        Role::User,
        Role::Assistant,
        Role::Assistant,
        Role::Tool,
        Role::Tool,
        Role::System,
    ]);
    let visibility = prop::sample::select(vec![
        Visibility::Both,
        Visibility::Both,
        Visibility::Both,
        Visibility::Model,
        Visibility::User,
    ]);
    (
        role,
        visibility,
        prop::collection::vec(any_part(), 0..4),
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.3),
    )
        .prop_map(|(role, visibility, parts, deleted, compressed, native)| {
            let mut row = fixtures::with_parts(role, &parts);
            (row.visibility, row.deleted, row.compressed) = (visibility, deleted, compressed);
            row.native = native.then(|| {
                Json::of(&json!({"format": "anthropic_messages", "model": "m", "items": [{"x": 1}]}))
            });
            row
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn any_history_makes_a_prompt_that_a_strict_provider_takes(
        list in prop::collection::vec(any_row(), 0..12),
        native in any::<bool>(),
    ) {
        let rows = fixtures::rows(list);
        let files = HashMap::new();
        let options = Options {
            files: &files,
            takes_text_files: false,
            max_image_bytes: None,
            native_for: native.then_some((WireFormat::AnthropicMessages, "m")),
            strangers: &[],
        };
        let history = History::new(&rows);
        let prompt = assemble(&select(&history), &options);
        if let Err(why) = strict(&prompt.messages) {
            return Err(TestCaseError::fail(why));
        }
        let again = assemble(&select(&history), &options);
        prop_assert_eq!(format!("{:?}", prompt.messages), format!("{:?}", again.messages));
    }
}
