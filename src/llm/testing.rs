//! What the tests of the wire formats share.

use super::{
    event::{Event, Finish},
    providers,
    request::{
        AssistantContent, Native, PromptMessage, Request, ToolAnswer, ToolSpec, UserContent, WireFormat,
    },
    sse,
    wire::{self, WireError},
};
use crate::chat::json::Json;
use proptest::prelude::*;
use serde_json::{Value, json};

/// Name of the model in all tests.
pub(super) const MODEL: &str = "m-1";

#[derive(Debug)]
struct Stop(Option<WireError>);

impl From<sse::TooLarge> for Stop {
    fn from(_: sse::TooLarge) -> Self {
        Self(None)
    }
}

/// Decodes chunks of bytes as the transport does.
pub(super) fn decode_chunks(format: WireFormat, chunks: &[&[u8]]) -> (Vec<Event>, Option<WireError>) {
    let mut wire = wire::decoder(format, MODEL, "salt");
    let mut reader = sse::Reader::default();
    let mut events = Vec::new();
    for chunk in chunks {
        let result = reader.push(chunk, |n, d| wire.feed(n, d, &mut events).map_err(|e| Stop(Some(e))));
        if let Err(Stop(e)) = result {
            return (events, e);
        }
    }
    let last = reader.finish(|n, d| wire.feed(n, d, &mut events));
    wire.end(&mut events);
    assert_eq!(wire.done(), matches!(events.last(), Some(Event::Finish(_))), "done says what the events say");
    (events, last.err())
}

/// Server-sent events of JSON values.
pub(super) fn sse(values: &[Value]) -> String {
    values
        .iter()
        .map(|v| match v {
            Value::String(raw) => format!("data: {raw}\n\n"),
            v => format!("event: {}\ndata: {v}\n\n", v["type"].as_str().unwrap_or("message")),
        })
        .collect()
}

/// Decodes values that must be no error.
pub(super) fn decode(format: WireFormat, values: &[Value]) -> Vec<Event> {
    let text = sse(values);
    let (events, error) = decode_chunks(format, &[text.as_bytes()]);
    assert_eq!(error, None, "{events:#?}");
    events
}

/// The error that values end with.
pub(super) fn decode_err(format: WireFormat, values: &[Value]) -> WireError {
    decode_chunks(format, &[sse(values).as_bytes()]).1.expect("an error")
}

/// The finish of an answer.
pub(super) fn finish(events: &[Event]) -> &Finish {
    match events.last() {
        Some(Event::Finish(finish)) => finish,
        other => panic!("ends with {other:?}"),
    }
}

/// Events as short words, one each.
pub(super) fn words(events: &[Event]) -> Vec<String> {
    events
        .iter()
        .map(|e| match e {
            Event::TextStart => "text(".into(),
            Event::TextDelta(t) | Event::ReasoningDelta(t) => t.clone(),
            Event::TextEnd | Event::ReasoningEnd => ")".into(),
            Event::ReasoningStart => "reason(".into(),
            Event::ToolInputStart { id, name, provider_executed } => {
                format!("start {id} {name}{}", if *provider_executed { " provider" } else { "" })
            }
            Event::ToolInputDelta { id, delta } => format!("args {id} {delta}"),
            Event::ToolCall { id, name, args, .. } => format!("call {id} {name} {args}"),
            Event::ProviderResult { id, name, result, is_error } => {
                format!("result {id} {name} {}{}", result.get(), if *is_error { " failed" } else { "" })
            }
            Event::Source { url, title, .. } => format!("source {url} {}", title.as_deref().unwrap_or("-")),
            Event::File { media_type, data } => format!("file {media_type} {data}"),
            Event::Finish(f) => format!("finish {:?}", f.reason),
        })
        .collect()
}

/// Any split of the golden stream, with any line end, decodes to the same events.
pub(super) fn any_split_is_the_same(format: WireFormat, values: &[Value]) {
    let whole = decode(format, values);
    let text = sse(values);
    proptest!(ProptestConfig::with_cases(64), |(cuts in prop::collection::vec(0usize..=10_000, 0..40), end in 0usize..3)| {
        let text = text.replace('\n', ["\n", "\r\n", "\r"][end]);
        let bytes = text.as_bytes();
        let mut cuts: Vec<usize> = cuts.iter().map(|c| c % (bytes.len() + 1)).collect();
        cuts.push(bytes.len());
        cuts.sort_unstable();
        let mut from = 0;
        let mut chunks = Vec::new();
        for cut in cuts {
            chunks.push(&bytes[from..cut]);
            from = cut;
        }
        let (events, error) = decode_chunks(format, &chunks);
        prop_assert_eq!(error, None);
        prop_assert_eq!(&events, &whole);
    });
}

/// Garbage, and golden events damaged, cut, repeated or in another order, never panic.
pub(super) fn garbage_is_harmless(format: WireFormat, values: &[Value]) {
    let events: Vec<String> = values.iter().map(Value::to_string).collect();
    proptest!(ProptestConfig::with_cases(128), |(
        picks in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>(), 0..4), 0..30),
        noise in "\\PC{0,60}",
    )| {
        let mut wire = wire::decoder(format, MODEL, "salt");
        let mut out = Vec::new();
        for (which, place, byte, how) in picks {
            let mut bytes = which.get(&events).clone().into_bytes();
            let at = place.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => bytes.truncate(at),
                2 => bytes.extend_from_slice(noise.as_bytes()),
                _ => {}
            }
            let _ = wire.feed("", &String::from_utf8_lossy(&bytes), &mut out);
        }
        let _ = wire.feed("", &noise, &mut out);
        wire.end(&mut out);
        let finishes = out.iter().filter(|e| matches!(e, Event::Finish(_))).count();
        prop_assert!(finishes <= 1, "a finish is the only one");
    });
}

/// The body of a request as a value.
pub(super) fn body(provider: &str, format: WireFormat, request: &Request) -> Value {
    let provider = providers::lookup(provider).expect("known");
    serde_json::from_slice(&wire::encode(format, provider, request)).expect("valid JSON")
}

/// Any JSON.
pub(super) fn raw(value: &Value) -> Json {
    Json::of(value)
}

/// A call with `{"path": "a"}`.
pub(super) fn call(id: &str) -> AssistantContent {
    AssistantContent::ToolCall { id: id.into(), name: "read_file".into(), args: raw(&json!({ "path": "a" })) }
}

/// An answer to a call.
pub(super) fn answer(id: &str, output: &str) -> ToolAnswer {
    ToolAnswer {
        id: id.into(),
        name: "read_file".into(),
        output: output.into(),
        is_error: false,
        media: vec![],
    }
}

/// A user message.
pub(super) fn user(text: &str) -> PromptMessage {
    PromptMessage::User(vec![UserContent::Text(text.into())])
}

/// An assistant message.
pub(super) fn assistant(content: Vec<AssistantContent>, native: Option<Native>) -> PromptMessage {
    PromptMessage::Assistant { content, native }
}

/// A request with the given messages, one tool and two system texts.
pub(super) fn request(messages: Vec<PromptMessage>) -> Request {
    Request {
        model: MODEL.into(),
        system: vec!["be kind".into(), "be brief".into()],
        messages,
        tools: vec![ToolSpec {
            name: "read_file".into(),
            description: "Reads a file".into(),
            input_schema: raw(&json!({ "type": "object", "properties": { "path": { "type": "string" } } })),
        }],
        ..Request::default()
    }
}

/// Options of one provider.
pub(super) fn with_options(mut request: Request, key: &str, options: Value) -> Request {
    request.provider_options.insert(key.into(), options);
    request
}

/// A valid conversation of any shape: what `turn::prompt` may hand to an encoder.
pub(super) fn conversations() -> impl Strategy<Value = Vec<PromptMessage>> {
    let texts = "[a-z ]{0,12}";
    let step = (texts, texts, 0usize..4, any::<bool>(), any::<bool>());
    prop::collection::vec(step, 0..8).prop_map(|steps| {
        let mut messages = Vec::new();
        for (at, (said, answered, calls, picture, asks)) in steps.into_iter().enumerate() {
            if asks || at == 0 {
                let mut content = vec![UserContent::Text(format!("q{said}"))];
                if picture {
                    content.push(UserContent::File {
                        media_type: "image/png".into(),
                        data: "AA==".into(),
                        name: None,
                    });
                }
                messages.push(PromptMessage::User(content));
            }
            let id = |n: usize| format!("call.{at}:{n}");
            let mut content =
                vec![AssistantContent::Reasoning("hm".into()), AssistantContent::Text(answered)];
            content.extend((0..calls).map(|n| call(&id(n))));
            messages.push(assistant(content, None));
            if calls > 0 {
                let mut answers: Vec<ToolAnswer> = (0..calls).map(|n| answer(&id(n), "{}")).collect();
                if picture {
                    answers[0].media.push(("image/png".into(), "AA==".into()));
                }
                messages.push(PromptMessage::Tool(answers));
            }
        }
        messages.push(user("and now?"));
        messages
    })
}
