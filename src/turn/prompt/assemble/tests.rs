//! Rows and the messages they become.

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

const STRANGER: ModelConfigId = ModelConfigId(uuid::Uuid::from_u128(9));

fn prompt(list: Vec<MessageRow>) -> Prompt {
    prompt_for(WireFormat::AnthropicMessages, list)
}

fn prompt_for(format: WireFormat, list: Vec<MessageRow>) -> Prompt {
    let rows = rows(list);
    let files = HashMap::new();
    let options = Options {
        files: &files,
        takes_text_files: false,
        max_image_bytes: None,
        native_for: Some((format, "m")),
        strangers: &[STRANGER],
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
    let file =
        Part::File { media_type: "image/png".into(), name: None, data: Some("AA==".into()), file_id: None };
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
    let reference =
        Part::FileReference { file_name: "a.rs".into(), start_line: 1, end_line: 2, content: "fn".into() };
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
    assert_eq!(out(r#"{ "code":7}"#, true, false).0, r#"{"error":{ "code":7}}"#);
    assert_eq!(out(r#"{"error":"no", "code":7}"#, true, false).0, r#"{"error":"no", "code":7}"#);
    assert_eq!(out(r#"{"code":7}"#, false, false).0, r#"{"code":7}"#);
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
    let mut other_provider = with_native(&[text("a")]);
    other_provider.model_config_id = Some(STRANGER);
    assert!(!is_native(other_provider));
    // Of Anthropic's form the arguments are a part, while Chat Completions keeps keys beside them only.
    for (format, name, kept) in [
        (WireFormat::AnthropicMessages, "anthropic_messages", false),
        (WireFormat::ChatCompletions, "chat_completions", true),
    ] {
        let odd =
            ToolCallPart { tool_call_id: "a".into(), args: Some(Json::of("{bad")), ..Default::default() };
        let mut row = assistant(&[Part::ToolCall(odd)]);
        row.native = Some(Json::of(&json!({"format": name, "model": "m", "items": [{"k": 1}]})));
        let messages = prompt_for(format, vec![user("q"), row]).messages;
        let native = matches!(&messages[1], PromptMessage::Assistant { native: Some(_), .. });
        assert_eq!(native, kept, "{name}");
    }
    // Without the native form, provider calls vanish and the text stays.
    check(vec![user("q"), assistant(&[pc, pr, text("found")])], &["U:q", "A:found"]);
}
