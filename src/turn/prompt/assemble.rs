//! Rows to model messages (agent-loop.md §5.2).
//!
//! Invariant, whatever the rows are: each call is answered exactly once directly after its message,
//! no answer is without its call, call ids are unique, the first message is a user message, and no
//! message is empty. `validity.rs` checks it over random histories.

use super::{
    PromptFile, Selection, attachments,
    pairing::{CallIds, Item, Piece, pair, safe_name},
};
use crate::{
    chat::{
        json::Json,
        message::{Part, Role, ToolCallPart, ToolResultPart},
    },
    ids::FileId,
    llm::request::{AssistantContent, Native, PromptMessage, ToolAnswer, UserContent, WireFormat},
    turn::history::Entry,
};
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};

/// Told to the model about a call whose result was lost.
const NO_RESULT: &str = "No result of this call was recorded. It may or may not have taken effect.";

/// Stands in for the user message a conversation has to begin with.
const CONTINUED: &str = "(The conversation goes on here.)";

/// What the prompt depends on besides the rows.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// The stored files of [`Selection::file_ids`] that still exist.
    pub files: &'a HashMap<FileId, PromptFile>,
    /// The provider takes text documents as files; otherwise they are put into the prompt as text.
    pub takes_text_files: bool,
    /// Images of this many bytes or more are replaced by a note (5 MiB for Anthropic).
    pub max_image_bytes: Option<usize>,
    /// Format and model of the coming call: what the provider sent before goes back verbatim only
    /// to the same format and model, because signatures are valid nowhere else.
    pub native_for: Option<(WireFormat, &'a str)>,
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
    let mut native = entry.row.native.as_ref().and_then(|json| json.read::<Native>().ok()).filter(|native| {
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
                                native = None; // it would still carry them; ids and names are set by the encoder
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
    let refused = max_image.filter(|max| mime_type.starts_with("image/") && bytes >= *max);
    if let Some(max) = refused {
        let note = format!("The image has {bytes} bytes, the provider takes less than {max}.");
        object.insert("note".to_owned(), note.into());
    }
    Some((Value::Object(object).to_string(), refused.is_none().then_some((mime_type, data))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        store::records::MessageRow,
        turn::{fixtures::*, history::History, prompt::select},
    };

    /// The prompt in short: one string a message.
    pub(super) fn shown(messages: &[PromptMessage]) -> Vec<String> {
        messages
            .iter()
            .map(|message| match message {
                PromptMessage::User(content) => content
                    .iter()
                    .map(|c| match c {
                        UserContent::Text(text) => format!("U:{text}"),
                        UserContent::File { media_type, .. } => format!("U:[{media_type}]"),
                    })
                    .collect::<Vec<_>>()
                    .join(" "),
                PromptMessage::Assistant { content, native } => content
                    .iter()
                    .map(|c| match c {
                        AssistantContent::Text(text) => format!("A:{text}"),
                        AssistantContent::Reasoning(text) => format!("R:{text}"),
                        AssistantContent::ToolCall { id, name, args } => {
                            format!("call {id} {name} {}", args.get())
                        }
                    })
                    .chain(native.iter().map(|_| "native".to_owned()))
                    .collect::<Vec<_>>()
                    .join(" "),
                PromptMessage::Tool(answers) => answers
                    .iter()
                    .map(|a| {
                        format!("answer {} {} {}", a.id, a.name, if a.is_error { "error" } else { &a.output })
                    })
                    .collect::<Vec<_>>()
                    .join(" "),
            })
            .collect()
    }

    fn prompt(list: Vec<MessageRow>) -> Prompt {
        let rows = rows(list);
        let files = HashMap::new();
        let options = Options {
            files: &files,
            takes_text_files: false,
            max_image_bytes: None,
            native_for: Some((WireFormat::AnthropicMessages, "m")),
        };
        assemble(&select(&History::new(&rows)), &options)
    }

    fn check(list: Vec<MessageRow>, expected: &[&str]) {
        assert_eq!(shown(&prompt(list).messages), expected);
    }

    fn with_native(parts: &[Part]) -> MessageRow {
        let mut row = assistant(parts);
        row.native = Some(Json::of(&json!({"format": "anthropic_messages", "model": "m", "items": ["x"]})));
        row
    }

    const OK: &str = "{\"ok\":true}";

    #[test]
    fn a_plain_turn() {
        check(
            vec![
                with_parts(Role::System, &[text("sys"), text("not this")]),
                user("q"),
                assistant(&[text("let me see"), call("1", "execute"), call("2", "read_file")]),
                tool("2", "read_file"),
                tool("1", "execute"),
                assistant(&[text("done")]),
            ],
            &[
                "U:q",
                "A:let me see call 1 execute {} call 2 read_file {}",
                &format!("answer 1 execute {OK} answer 2 read_file {OK}"),
                "A:done",
            ],
        );
        let with_system = prompt(vec![with_parts(Role::System, &[text("sys"), text("no")]), user("q")]);
        assert_eq!(with_system.system, ["sys"]);
    }

    #[test]
    fn broken_pairs_are_mended() {
        check(
            vec![
                user("q"),
                assistant(&[call("lost", "t"), call("late", "t")]),
                user("still there?"),
                tool("late", "t"),
                tool("late", "t"),
                tool("never called", "t"),
            ],
            &[
                "U:q",
                "call lost t {} call late t {}",
                &format!("answer lost t error answer late t {OK}"),
                "U:still there?",
                "call never_called t {}",
                &format!("answer never_called t {OK}"),
            ],
        );
    }

    #[test]
    fn reused_and_odd_ids_stay_apart() {
        check(
            vec![
                user("q"),
                assistant(&[call("a.b", "fn.x"), call("a.b", "fn.x")]),
                tool("a.b", "fn.x"),
                assistant(&[call("a_b", "t")]),
                tool("a_b", "t"),
            ],
            &[
                "U:q",
                "call a_b fn_x {}",
                &format!("answer a_b fn_x {OK}"),
                "call a_b_2 t {}",
                &format!("answer a_b_2 t {OK}"),
            ],
        );
    }

    #[test]
    fn neighbours_and_empty_messages() {
        let skill = Part::Skill { skill_name: "s".into(), skill_description: None };
        let file = Part::File {
            media_type: "image/png".into(),
            name: None,
            data: Some("AA==".into()),
            file_id: None,
        };
        let thought = Part::Reasoning { text: "hm".into(), created_at: None, completed_at: None };
        check(
            vec![
                assistant(&[text("first")]),
                with_parts(Role::User, &[skill]),
                user(" "),
                user("a"),
                user("b"),
                assistant(std::slice::from_ref(&file)),
                assistant(std::slice::from_ref(&thought)),
                assistant(&[text("x")]),
                assistant(&[text("y")]),
                with_parts(Role::User, &[file]),
            ],
            &["U:(The conversation goes on here.)", "A:first", "U:a U:b", "A:x A:y", "U:[image/png]"],
        );
        let reference = Part::FileReference {
            file_name: "a.rs".into(),
            start_line: 1,
            end_line: 2,
            content: "fn".into(),
        };
        check(vec![with_parts(Role::User, &[reference])], &["U:Excerpt of a.rs, lines 1 to 2:\nfn"]);
    }

    #[test]
    fn arguments_and_outputs_become_objects() {
        let arg = |json: &str| match call("1", "t") {
            Part::ToolCall(call) => {
                prompt_args(&ToolCallPart { args: Some(Json::parse(json.into()).unwrap()), ..call })
                    .0
                    .get()
                    .to_owned()
            }
            other => panic!("{other:?}"),
        };
        for (stored, sent) in [
            ("{ \"b\":1, \"a\":2}", "{ \"b\":1, \"a\":2}"),
            ("\"oops {\"", "{\"input\":\"oops {\"}"),
            ("[1]", "{\"input\":[1]}"),
            ("null", "{}"),
        ] {
            assert_eq!(arg(stored), sent);
        }
        let out = |json: &str, is_error, is_media| {
            let result = Json::parse(json.into()).ok();
            let part = ToolResultPart { result, is_error, is_media, ..Default::default() };
            let answer = answer("1".into(), "t".into(), Some(&part), None);
            (answer.output, answer.media)
        };
        assert_eq!(out("\"plain\"", false, false).0, r#"{"output":"plain"}"#);
        assert_eq!(out("\"cancelled\"", true, false).0, r#"{"error":"cancelled"}"#);
        assert_eq!(out("[1]", false, false).0, r#"{"output":[1]}"#);
        assert_eq!(out("", false, false).0, r#"{"output":null}"#);
        let media = r#"{"data":"QQ==","mime_type":"image/png","text":"shot"}"#;
        let (output, images) = out(media, false, true);
        assert_eq!(images, [("image/png".to_owned(), "QQ==".to_owned())]);
        let part =
            ToolResultPart { result: Json::parse(media.into()).ok(), is_media: true, ..Default::default() };
        let capped = answer("1".into(), "t".into(), Some(&part), Some(1));
        assert!(capped.media.is_empty() && capped.output.contains("takes less than 1"), "{}", capped.output);
        assert_eq!(
            serde_json::from_str::<Value>(&output).unwrap(),
            json!({"mime_type":"image/png","text":"shot"})
        );
        assert_eq!(out(media, false, false), (media.to_owned(), vec![]));
    }

    #[test]
    fn native_content_goes_back_only_untouched() {
        let provider = |part: Part| match part {
            Part::ToolCall(c) => Part::ToolCall(ToolCallPart { provider_executed: true, ..c }),
            Part::ToolResult(r) => Part::ToolResult(ToolResultPart { provider_executed: true, ..r }),
            other => other,
        };
        let (pc, pr) = (provider(call("p", "web_search")), provider(result("p", "web_search")));
        let is_native = |row: MessageRow| {
            prompt(vec![user("q"), row])
                .messages
                .iter()
                .any(|m| matches!(m, PromptMessage::Assistant { native: Some(_), .. }))
        };
        assert!(is_native(with_native(&[text("a"), call("ok", "t")])));
        assert!(is_native(with_native(&[pc.clone(), pr.clone()])));
        assert!(!is_native(with_native(std::slice::from_ref(&pc))));
        assert!(!is_native(with_native(&[text("a"), pr.clone()])));
        assert!(is_native(with_native(&[call("not.ok", "t")])), "the encoder sets the id");
        assert!(!is_native(with_native(&[call("ok", "t"), call("ok", "t")])));
        let mut other_model = with_native(&[text("a")]);
        other_model.native =
            Some(Json::of(&json!({"format": "anthropic_messages", "model": "n", "items": ["x"]})));
        assert!(!is_native(other_model));
        // Without the native form, provider calls vanish and the text stays.
        check(vec![user("q"), assistant(&[pc, pr, text("found")])], &["U:q", "A:found"]);
    }
}
