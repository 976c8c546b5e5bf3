//! The fold, event by event.

use super::*;
use crate::{
    chat::message::Usage,
    llm::request::{Native, WireFormat},
    turn::fixtures::at,
};
use serde_json::{Value, json};

fn finish(reason: FinishReason) -> Event {
    Event::Finish(Finish {
        reason,
        usage: Usage { input_tokens: 10, output_tokens: 5, ..Usage::default() },
        response_id: Some("r1".into()),
        context_limit: None,
        native: Some(Native {
            format: WireFormat::AnthropicMessages,
            model: "m".into(),
            items: vec![Json::of("x")],
        }),
    })
}

fn call(id: &str, name: &str, args: &str) -> Event {
    Event::ToolCall { id: id.into(), name: name.into(), args: args.into(), provider_executed: false }
}

/// Feeds events one second apart; returns the live parts as JSON with their roles, and the step.
fn run(config: StepConfig, events: Vec<Event>) -> (Vec<(Role, Value)>, Result<Step, Unusable>) {
    let mut fold = Accumulator::new(config, at(0));
    let mut live = Vec::new();
    for (event, second) in events.into_iter().zip(1..) {
        if let Some((role, part)) = fold.on(event, at(second)).unwrap() {
            live.push((role, serde_json::to_value(part).unwrap()));
        }
    }
    (live, fold.finish(at(100)))
}

fn content(step: Result<Step, Unusable>) -> Value {
    step.unwrap().message.unwrap().content.read().unwrap()
}

fn text(text: &str) -> Event {
    Event::TextDelta(text.into())
}

#[test]
fn a_step_keeps_the_order_of_the_stream() {
    let events = vec![
        Event::ReasoningStart,
        Event::ReasoningDelta("hm".into()),
        Event::ReasoningDelta("m".into()),
        Event::ReasoningEnd,
        Event::TextStart,
        text("a"),
        text("b"),
        Event::TextEnd,
        Event::TextStart,
        text("c"),
        Event::TextEnd,
        Event::ToolInputStart { id: "1".into(), name: "execute".into(), provider_executed: false },
        Event::ToolInputStart { id: "2".into(), name: "x".into(), provider_executed: false },
        Event::ToolInputDelta { id: "2".into(), delta: "{".into() },
        Event::ToolInputDelta { id: "1".into(), delta: "{}".into() },
        call("2", "x", "{\"b\" : 1}"),
        call("1", "execute", "{\"command\":\"FOO=1 git status | wc -l\"}"),
        Event::Source { url: "u".into(), id: None, title: Some("t".into()) },
        Event::File { media_type: "image/png".into(), data: "AA".into() },
        finish(FinishReason::ToolCalls),
    ];
    let (live, step) = run(StepConfig { context_limit: Some(9), ..StepConfig::default() }, events);
    let t = |s| at(s).to_string();
    assert_eq!(live[0].1, json!({"type":"reasoning","text":"hm","created_at":t(2)}));
    assert_eq!(live[2].1, json!({"type":"reasoning","text":"","completed_at":t(4)}));
    assert_eq!(
        live[6],
        (
            Role::Assistant,
            json!({"type":"tool-call","tool_call_id":"1","tool_name":"execute","args_delta":""})
        )
    );
    assert_eq!(step.as_ref().unwrap().figures.runtime_ms, Some(100_000));
    assert_eq!(step.as_ref().unwrap().figures.context_limit, Some(9));
    assert_eq!(
        step.as_ref().unwrap().message.as_ref().unwrap().native.as_ref().unwrap().get(),
        r#"{"format":"anthropic_messages","model":"m","items":["x"]}"#
    );
    assert_eq!(
        content(step),
        json!([
            {"type":"reasoning","text":"hmm","created_at":t(2),"completed_at":t(4)},
            {"type":"text","text":"ab"},
            {"type":"text","text":"c"},
            {"type":"tool-call","tool_call_id":"1","tool_name":"execute",
             "args":{"command":"FOO=1 git status | wc -l"},
             "parsed_commands":[["git","status"],["wc","-l"]],"created_at":t(17)},
            {"type":"tool-call","tool_call_id":"2","tool_name":"x","args":{"b":1},"created_at":t(16)},
            {"type":"source","url":"u","title":"t"},
            {"type":"file","media_type":"image/png","data":"AA"},
        ])
    );
}

#[test]
fn arguments_keep_their_bytes_or_become_a_string() {
    for (args, stored) in [
        ("{\"z\" :1, \"a\":2}", "{\"z\" :1, \"a\":2}"),
        ("", "{}"),
        ("  ", "{}"),
        ("{\"a\":", "\"{\\\"a\\\":\""),
        ("not json", "\"not json\""),
        ("[1]", "[1]"),
    ] {
        let (_, step) =
            run(StepConfig::default(), vec![call("1", "t", args), finish(FinishReason::ToolCalls)]);
        let parts: Vec<Part> = step.unwrap().message.unwrap().content.read().unwrap();
        let Part::ToolCall(call) = &parts[0] else { panic!("{parts:?}") };
        assert_eq!(call.args.as_ref().unwrap().get(), stored);
    }
}

#[test]
fn an_unfinished_call_is_never_runnable() {
    let start = Event::ToolInputStart { id: "1".into(), name: "execute".into(), provider_executed: false };
    let delta = Event::ToolInputDelta { id: "1".into(), delta: "{\"command\":\"ls\"}".into() };
    let (_, step) = run(StepConfig::default(), vec![start, delta, finish(FinishReason::Length)]);
    assert_eq!(content(step)[0]["args"], "{\"command\":\"ls\"}");
}

#[test]
fn provider_results_stay_in_the_message_and_are_shown_with_role_tool() {
    let events = vec![
        Event::ToolCall {
            id: "s".into(),
            name: "web_search".into(),
            args: "{}".into(),
            provider_executed: true,
        },
        Event::ProviderResult {
            id: "s".into(),
            name: "web_search".into(),
            result: Json::of(&[1]),
            is_error: false,
        },
        finish(FinishReason::Stop),
    ];
    let (live, step) = run(StepConfig::default(), events);
    assert_eq!(live.iter().map(|(role, _)| *role).collect::<Vec<_>>(), [Role::Assistant, Role::Tool]);
    let content = content(step);
    assert_eq!(content[0]["provider_executed"], true);
    assert_eq!((&content[1]["result"], &content[1]["provider_executed"]), (&json!([1]), &json!(true)));
}

#[test]
fn empty_and_cut_answers() {
    let blank = vec![
        Event::TextStart,
        text(" \n"),
        Event::TextEnd,
        Event::ReasoningStart,
        finish(FinishReason::Stop),
    ];
    let step = run(StepConfig::default(), blank).1.unwrap();
    assert_eq!((step.message, step.figures.usage.input_tokens), (None, 10));
    assert_eq!(run(StepConfig::default(), vec![text("half")]).1, Err(Unusable::Cut));
    let mut fold = Accumulator::new(StepConfig::default(), at(0));
    let huge = || text(&"x".repeat(MAX_STEP_BYTES / 2 + 1));
    assert!(fold.on(huge(), at(1)).is_ok());
    assert_eq!(fold.on(huge(), at(1)), Err(Unusable::TooLarge));
}

#[test]
fn deltas_without_a_start_open_their_own_block() {
    let events = vec![text("a"), Event::ReasoningDelta("r".into()), text("b"), finish(FinishReason::Stop)];
    let step = run(StepConfig::default(), events).1;
    assert_eq!(step.as_ref().unwrap().text(), "ab");
    let content = content(step);
    assert_eq!((&content[0]["text"], &content[1]["text"]), (&json!("ab"), &json!("r")));
    assert_eq!(content[1]["completed_at"], at(4).to_string());
}
