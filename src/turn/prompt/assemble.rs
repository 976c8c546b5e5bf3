//! Rows to model messages (agent-loop.md §5.2).
//!
//! Invariant, whatever the rows are: each call is answered exactly once directly after its message,
//! no answer is without its call, call ids are unique, the first message is a user message, and no
//! message is empty. `validity.rs` checks it over random histories.

use super::{
    PromptFile, Selection, attachments, inline,
    pairing::{CallIds, Item, Piece, pair, safe_name},
};
use crate::{
    chat::{
        json::Json,
        message::{Part, Role, ToolCallPart, ToolResultPart},
    },
    ids::{FileId, ModelConfigId},
    llm::request::{AssistantContent, Native, PromptMessage, ToolAnswer, UserContent, WireFormat},
    turn::history::Entry,
};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};

/// Told to the model about a call whose result was lost.
const NO_RESULT: &str = "No result of this call was recorded. It may or may not have taken effect.";

/// Stands in for the user message a conversation has to begin with.
const CONTINUED: &str = "(The conversation goes on here.)";

/// What the prompt depends on besides the rows.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// The stored files that user messages name and that still exist.
    pub files: &'a HashMap<FileId, PromptFile>,
    /// The provider takes text documents as files; otherwise they are put into the prompt as text.
    pub takes_text_files: bool,
    /// Images of this many bytes or more are replaced by a note (5 MiB for Anthropic).
    pub max_image_bytes: Option<usize>,
    /// Format and model of the coming call: what the provider sent before goes back verbatim only
    /// to the same format and model, because signatures are valid nowhere else.
    pub native_for: Option<(WireFormat, &'a str)>,
    /// Model configs whose answers another provider gave, under the same name of a model: not understood here either.
    pub strangers: &'a [ModelConfigId],
}

/// The history part of a request.
#[derive(Debug, Clone, Default)]
pub struct Prompt {
    /// Stored system texts; the turn's own instructions are appended to them.
    pub system: Vec<String>,
    /// The conversation.
    pub messages: Vec<PromptMessage>,
}

/// Builds the prompt of a selection.
#[must_use]
pub fn assemble(selection: &Selection<'_, '_>, options: &Options<'_>) -> Prompt {
    let system = selection.system.iter().filter_map(|entry| first_text(entry)).collect();
    let mut items = Vec::new();
    for &entry in &selection.conversation {
        collect(entry, options, &mut items);
    }
    Prompt { system, messages: emit(items, options.max_image_bytes) }
}

/// A system row speaks with its first text part only.
fn first_text(entry: &Entry<'_>) -> Option<String> {
    entry.parts().iter().find_map(|part| match part {
        Part::Text { text } if !text.trim().is_empty() => Some(text.clone()),
        _ => None,
    })
}

fn collect<'h>(entry: &'h Entry<'_>, options: &Options<'_>, items: &mut Vec<Item<'h>>) {
    let parts = entry.parts();
    match entry.row.role {
        Role::System => {}
        Role::User => {
            let content: Vec<_> =
                parts.iter().filter_map(|part| attachments::render(part, options)).collect();
            if !content.is_empty() {
                items.push(Item::User(content));
            }
        }
        Role::Tool => items.extend(results(parts)),
        Role::Assistant => {
            items.push(assistant_item(entry, options));
            items.extend(results(parts));
        }
    }
}

/// Results of our own tools. Provider-executed ones travel inside the native form or not at all.
fn results(parts: &[Part]) -> impl Iterator<Item = Item<'_>> {
    parts.iter().filter_map(|part| match part {
        Part::ToolResult(result) if !result.provider_executed => Some(Item::Result(result)),
        _ => None,
    })
}

fn assistant_item<'h>(entry: &'h Entry<'_>, options: &Options<'_>) -> Item<'h> {
    let strange = entry.row.model_config_id.is_some_and(|id| options.strangers.contains(&id));
    let kept = entry.row.native.as_ref().filter(|_| !strange);
    let mut native = kept.and_then(|json| json.read::<Native>().ok()).filter(|native| {
        options.native_for == Some((native.format, native.model.as_str())) && !native.items.is_empty()
    });
    let mut ids = HashSet::new();
    let mut provider_calls = HashSet::new();
    let mut provider_results = HashSet::new();
    let mut pieces = Vec::new();
    for part in entry.parts() {
        match part {
            Part::Text { text } if !text.trim().is_empty() => pieces.push(Piece::Text(text)),
            Part::Reasoning { text, .. } if !text.trim().is_empty() => pieces.push(Piece::Reasoning(text)),
            Part::ToolCall(call) if call.provider_executed => {
                provider_calls.insert(call.tool_call_id.as_str());
            }
            Part::ToolResult(result) if result.provider_executed => {
                provider_results.insert(result.tool_call_id.as_str());
            }
            Part::ToolCall(call) if ids.insert(call.tool_call_id.as_str()) => pieces.push(Piece::Call(call)),
            // The same id twice in one message is a replay of one call.
            Part::ToolCall(_) => native = None,
            _ => {}
        }
    }
    if provider_calls != provider_results {
        native = None; // half of a provider's own call is refused by that provider
    }
    Item::Assistant { pieces, native }
}

fn emit(items: Vec<Item<'_>>, max_image: Option<usize>) -> Vec<PromptMessage> {
    let pairs = pair(&items);
    let mut ids = CallIds::default();
    let mut out: Vec<PromptMessage> = Vec::new();
    for (index, item) in items.into_iter().enumerate() {
        match item {
            Item::User(content) => match out.last_mut() {
                Some(PromptMessage::User(so_far)) => so_far.extend(content),
                _ => out.push(PromptMessage::User(content)),
            },
            Item::Assistant { pieces, mut native } => {
                let mut content = Vec::with_capacity(pieces.len());
                let mut answers = Vec::new();
                for (number, piece) in pieces.into_iter().enumerate() {
                    match piece {
                        Piece::Text(text) => content.push(AssistantContent::Text(text.to_owned())),
                        Piece::Reasoning(text) => content.push(AssistantContent::Reasoning(text.to_owned())),
                        Piece::Call(call) => {
                            let (id, name) = (ids.assign(&call.tool_call_id), tool_name(&call.tool_name));
                            let (args, args_changed) = prompt_args(call);
                            if args_changed {
                                // It would still carry them; ids and names are set by the encoder.
                                native = native.filter(|n| n.format == WireFormat::ChatCompletions);
                            }
                            let result = pairs.answers.get(&(index, number)).copied();
                            answers.push(answer(id.clone(), name.clone(), result, max_image));
                            content.push(AssistantContent::ToolCall { id, name, args });
                        }
                    }
                }
                push_assistant(&mut out, content, native);
                if !answers.is_empty() {
                    out.push(PromptMessage::Tool(answers));
                }
            }
            Item::Result(result) if pairs.orphans.contains(&index) => {
                let (id, name) = (ids.assign(&result.tool_call_id), tool_name(&result.tool_name));
                let args = Json::of(&serde_json::Map::new());
                let call = AssistantContent::ToolCall { id: id.clone(), name: name.clone(), args };
                push_assistant(&mut out, vec![call], None);
                out.push(PromptMessage::Tool(vec![answer(id, name, Some(result), max_image)]));
            }
            Item::Result(_) => {}
        }
    }
    inline::bound(&mut out, inline::MAX_INLINE);
    if out.first().is_some_and(|first| !matches!(first, PromptMessage::User(_))) {
        out.insert(0, PromptMessage::User(vec![UserContent::Text(CONTINUED.to_owned())]));
    }
    out
}

/// Appends an assistant message unless an encoder could find nothing in it: reasoning alone is sent
/// by no format without its native form, and the native form of Chat Completions only adds to content.
fn push_assistant(out: &mut Vec<PromptMessage>, content: Vec<AssistantContent>, native: Option<Native>) {
    let says = content.iter().any(|piece| !matches!(piece, AssistantContent::Reasoning(_)));
    let whole = native.as_ref().is_some_and(|native| native.format != WireFormat::ChatCompletions);
    if !says && !whole {
        return;
    }
    match out.last_mut() {
        Some(PromptMessage::Assistant { content: so_far, native: None }) if native.is_none() => {
            so_far.extend(content);
        }
        _ => out.push(PromptMessage::Assistant { content, native }),
    }
}

fn tool_name(raw: &str) -> String {
    safe_name(raw, "unknown_tool")
}

/// Arguments as an object, and whether they had to be changed for that.
fn prompt_args(call: &ToolCallPart) -> (Json, bool) {
    match &call.args {
        Some(args) if args.get().trim_start().starts_with('{') => (args.clone(), false),
        Some(args) if args.get() != "null" => (Json::of(&json!({ "input": args })), true),
        _ => (Json::of(&serde_json::Map::new()), true),
    }
}

fn answer(id: String, name: String, result: Option<&ToolResultPart>, max_image: Option<usize>) -> ToolAnswer {
    let Some(result) = result else {
        let output = json!({ "error": NO_RESULT }).to_string();
        return ToolAnswer { id, name, output, is_error: true, media: Vec::new() };
    };
    let (output, media) = match &result.result {
        Some(json) if json.get().trim_start().starts_with('{') => {
            match result.is_media.then(|| split_media(json, max_image)).flatten() {
                Some((output, image)) => (output, image.into_iter().collect()),
                // Not every format has another way to say so.
                None if result.is_error && !says_error(json) => {
                    (format!("{{\"error\":{}}}", json.get()), Vec::new())
                }
                None => (json.get().to_owned(), Vec::new()),
            }
        }
        other => {
            let key = if result.is_error { "error" } else { "output" };
            (json!({ key: other }).to_string(), Vec::new())
        }
    };
    ToolAnswer { id, name, output, is_error: result.is_error, media }
}

/// Whether an object tells what went wrong where models look for it.
fn says_error(json: &Json) -> bool {
    #[derive(Deserialize)]
    struct Failed {
        error: Option<IgnoredAny>,
    }
    json.read::<Failed>().is_ok_and(|failed| failed.error.is_some())
}

/// A picture: MIME type and base64.
type Image = (String, String);

/// Takes the binary data out of a media result; the rest stays as the text of the answer. An image that
/// the provider would refuse, in this prompt and in all that follow, is replaced by a note.
fn split_media(json: &Json, max_image: Option<usize>) -> Option<(String, Option<Image>)> {
    let mut object: serde_json::Map<String, Value> = json.read().ok()?;
    let Some(Value::String(data)) = object.remove("data") else { return None };
    let mime_type = object.get("mime_type")?.as_str()?.to_owned();
    if data.is_empty() {
        return None;
    }
    let bytes = data.trim_end_matches('=').len() * 3 / 4;
    let refused = attachments::exceeded(max_image, &mime_type, bytes);
    if let Some(max) = refused {
        let note = format!("The image has {bytes} bytes, the provider takes less than {max}.");
        object.insert("note".to_owned(), note.into());
    }
    Some((Value::Object(object).to_string(), refused.is_none().then_some((mime_type, data))))
}

#[cfg(test)]
mod tests;
