//! Requests to Anthropic's body.

use crate::{
    chat::json::Json,
    llm::{
        media::{self, Media},
        object::Object,
        options::{self, Options},
        request::{
            AssistantContent, Native, PromptMessage, Request, ToolAnswer, UserContent, WEB_SEARCH, WireFormat,
        },
    },
};
use serde_json::json;
use std::collections::HashSet;

/// `max_tokens` is mandatory here; used when the model config has none (agent-loop.md §1).
const DEFAULT_MAX_TOKENS: i64 = 32_000;

/// Efforts that Anthropic knows (workspace-and-providers.md §6.7).
const EFFORTS: [&str; 5] = ["low", "medium", "high", "xhigh", "max"];

/// The roles alternate; adjacent messages of one role become one.
struct Turn {
    role: &'static str,
    blocks: Vec<Object>,
}

/// Values of the `anthropic-beta` header that the request needs.
pub(in crate::llm) fn betas(request: &Request) -> Vec<&'static str> {
    let wide = Options::of(request, "anthropic").flag("context_1m_enabled") == Some(true);
    if wide { vec!["context-1m-2025-08-07"] } else { Vec::new() }
}

/// The body of the request.
pub(in crate::llm) fn encode(request: &Request) -> Vec<u8> {
    let options = Options::of(request, "anthropic");
    let mut turns = turns(request, options.flag("send_reasoning") != Some(false));
    // Markers: the end of the system texts and the last two messages (agent-loop.md §5.4). A prompt that
    // is asked once only is not worth the price of writing it to the cache.
    let marked = if request.output.is_some() { 0 } else { 2 };
    for turn in turns.iter_mut().rev().take(marked) {
        let markable =
            |b: &&mut Object| !matches!(b.text("type").as_deref(), Some("thinking" | "redacted_thinking"));
        if let Some(block) = turn.blocks.iter_mut().rev().find(markable) {
            block.set("cache_control", &ephemeral());
        }
    }
    let mut system: Vec<Object> =
        request.system.iter().filter(|s| !s.trim().is_empty()).map(|s| text(s)).collect();
    if let Some(last) = system.last_mut().filter(|_| marked > 0) {
        last.set("cache_control", &ephemeral());
    }

    let thinking = thinking(request, options, &turns);
    let mut max_tokens = request.max_output_tokens.filter(|n| *n > 0).unwrap_or(DEFAULT_MAX_TOKENS);
    if let Some(Thinking::Budget(budget)) = thinking
        && budget >= max_tokens
    {
        max_tokens = max_tokens.saturating_add(budget); // the budget counts as output and must be below the limit
    }

    let mut body = Object::new().with("model", &request.model).with("max_tokens", &max_tokens);
    if !system.is_empty() {
        body.set("system", &system);
    }
    let messages: Vec<Object> =
        turns.iter().map(|t| Object::new().with("role", t.role).with("content", &t.blocks)).collect();
    body.set("messages", &messages);
    let tools = tools(request, options);
    if !tools.is_empty() {
        body.set("tools", &tools);
        if let Some(output) = &request.output {
            body.set("tool_choice", &json!({ "type": "tool", "name": output.name }));
        } else if let Some(disable) = options.flag("disable_parallel_tool_use") {
            body.set("tool_choice", &json!({ "type": "auto", "disable_parallel_tool_use": disable }));
        }
    }
    match &thinking {
        Some(thinking) => {
            let mut config = match thinking {
                Thinking::Adaptive => Object::new().with("type", "adaptive"),
                Thinking::Budget(n) => Object::new().with("type", "enabled").with("budget_tokens", n),
            };
            config.set_some("display", options.text("thinking_display"));
            body.set("thinking", &config);
        }
        // Sampling parameters are refused together with thinking.
        None => {
            body.set_some("temperature", request.temperature);
            body.set_some("top_p", request.top_p);
            body.set_some("top_k", request.top_k);
        }
    }
    if request.output.is_none()
        && let Some(effort) = options::effort(request, options.text("effort"), &EFFORTS)
    {
        body.set("output_config", &json!({ "effort": effort }));
    }
    body.set("stream", &true);
    body.bytes()
}

enum Thinking {
    /// The model decides how much.
    Adaptive,
    /// At most so many tokens.
    Budget(i64),
}

fn thinking(request: &Request, options: Options<'_>, turns: &[Turn]) -> Option<Thinking> {
    // A forced tool and thinking exclude each other.
    if request.output.is_some() {
        return None;
    }
    if request.reasoning_effort.as_deref().map(str::trim) == Some("none") {
        return None;
    }
    // While tools are being answered the API wants the open assistant message to begin with thinking.
    // One that another model wrote, or whose signatures are lost, has none: this call goes without.
    let answering = turns.last().is_some_and(|t| t.blocks.iter().any(|b| is(b, "tool_result")));
    let last_assistant = turns.iter().rev().find(|t| t.role == "assistant");
    let unsigned = last_assistant
        .and_then(|t| t.blocks.first())
        .is_some_and(|b| !matches!(b.text("type").as_deref(), Some("thinking" | "redacted_thinking")));
    let budget = options.nested("thinking").get("budget_tokens").and_then(serde_json::Value::as_i64);
    match budget {
        Some(n) if n > 0 => (!(answering && unsigned)).then_some(Thinking::Budget(n)),
        // Adaptive thinking has no such rule: the model may have chosen not to think.
        _ => options::effort(request, options.text("effort"), &EFFORTS).map(|_| Thinking::Adaptive),
    }
}

fn tools(request: &Request, options: Options<'_>) -> Vec<Object> {
    let mut tools: Vec<Object> = request
        .tools
        .iter()
        .map(|t| {
            Object::new()
                .with("name", &t.name)
                .with("description", &t.description)
                .with("input_schema", &t.input_schema)
        })
        .collect();
    if let Some(output) = &request.output {
        // The format has no JSON answer: a tool that must be called takes its place.
        return vec![
            Object::new()
                .with("name", output.name)
                .with("description", output.description)
                .with("input_schema", &output.schema),
        ];
    }
    if options.flag(WEB_SEARCH) == Some(true) {
        let mut search = Object::new().with("type", "web_search_20250305").with("name", "web_search");
        search.set_some("allowed_domains", options.list("allowed_domains"));
        if !search.has("allowed_domains") {
            search.set_some("blocked_domains", options.list("blocked_domains")); // the API takes one of the two
        }
        tools.push(search);
    }
    tools
}

fn turns(request: &Request, send_reasoning: bool) -> Vec<Turn> {
    let mut turns: Vec<Turn> = Vec::new();
    let mut push = |role: &'static str, blocks: Vec<Object>| match turns.last_mut() {
        _ if blocks.is_empty() => {}
        Some(last) if last.role == role => last.blocks.extend(blocks),
        _ => turns.push(Turn { role, blocks }),
    };
    for message in &request.messages {
        match message {
            PromptMessage::User(content) => push("user", content.iter().filter_map(user_block).collect()),
            PromptMessage::Tool(answers) => push("user", answers.iter().map(tool_result).collect()),
            PromptMessage::Assistant { content, native } => {
                let blocks = native
                    .as_ref()
                    .filter(|n| n.format == WireFormat::AnthropicMessages && n.model == request.model)
                    .and_then(|n| verbatim(n, content, send_reasoning))
                    .unwrap_or_else(|| content.iter().filter_map(assistant_block).collect());
                push("assistant", blocks);
            }
        }
    }
    // The API wants a user message first, and newer models one at the end.
    if turns.first().is_none_or(|t| t.role != "user") {
        turns.insert(
            0,
            Turn { role: "user", blocks: vec![text("(The beginning of the conversation is not shown.)")] },
        );
    }
    if turns.last().is_some_and(|t| t.role != "user") {
        turns.push(Turn { role: "user", blocks: vec![text("Continue.")] });
    }
    turns
}

/// The stored blocks, if they have as many calls as will be answered; `None` sends neutral content.
fn verbatim(native: &Native, content: &[AssistantContent], send_reasoning: bool) -> Option<Vec<Object>> {
    let mut blocks: Vec<Object> = native.items.iter().map(Json::read).collect::<Result<_, _>>().ok()?;
    let ids = |kind: fn(&str) -> bool, key: &str, blocks: &[Object]| -> HashSet<String> {
        let of_kind = blocks.iter().filter(|b| b.text("type").is_some_and(|t| kind(&t)));
        of_kind.filter_map(|b| b.text(key)).collect()
    };
    let asked = ids(|t| t == "server_tool_use", "id", &blocks);
    let given = ids(|t| t != "tool_result" && t.ends_with("_tool_result"), "tool_use_id", &blocks);
    // A provider-run call without its result, or the other way round, is refused for ever after.
    blocks.retain(|b| match b.text("type").unwrap_or_default().as_str() {
        "server_tool_use" => b.text("id").is_some_and(|id| given.contains(&id)),
        // Cut in the middle it has no signature, and is refused.
        "thinking" => send_reasoning && b.text("signature").is_some_and(|s| !s.is_empty()),
        "redacted_thinking" => send_reasoning,
        "text" => b.text("text").is_some_and(|t| !t.trim().is_empty()),
        t if t.ends_with("_tool_result") => b.text("tool_use_id").is_some_and(|id| asked.contains(&id)),
        _ => true,
    });
    // A message may not end with thinking; one that was cut while the model thought does.
    while blocks.last().is_some_and(|b| is(b, "thinking") || is(b, "redacted_thinking")) {
        blocks.pop();
    }
    let mut calls = content.iter().filter_map(|c| match c {
        AssistantContent::ToolCall { id, .. } => Some(options::call_id(id)),
        _ => None,
    });
    for block in blocks.iter_mut().filter(|b| is(b, "tool_use")) {
        // The answers name the calls by their ids in the prompt, which may have been rewritten.
        let (id, name) = (calls.next()?, block.text("name")?);
        if block.text("id")? != id {
            block.set("id", &id);
        }
        if options::tool_name(&name) != name {
            block.set("name", &options::tool_name(&name));
        }
    }
    calls.next().is_none().then_some(blocks)
}

fn user_block(content: &UserContent) -> Option<Object> {
    match content {
        UserContent::Text(t) => (!t.trim().is_empty()).then(|| text(t)),
        UserContent::File { media_type, data, name } => {
            Some(match media::sort(media_type, data, name.as_deref()) {
                Media::Image => image(media_type, data),
                Media::Pdf => {
                    let mut block =
                        Object::new().with("type", "document").with("source", &base64(media_type, data));
                    block.set_some("title", name.as_ref());
                    block
                }
                Media::Text(t) => text(&t),
            })
        }
    }
}

/// Reasoning is left out: without its signature it would be refused.
fn assistant_block(content: &AssistantContent) -> Option<Object> {
    match content {
        AssistantContent::Text(t) => (!t.trim().is_empty()).then(|| text(t)),
        AssistantContent::Reasoning(_) => None,
        AssistantContent::ToolCall { id, name, args } => Some(
            Object::new()
                .with("type", "tool_use")
                .with("id", &options::call_id(id))
                .with("name", &options::tool_name(name))
                .with("input", args),
        ),
    }
}

fn tool_result(answer: &ToolAnswer) -> Object {
    let mut content = Vec::new();
    if !answer.output.trim().is_empty() {
        content.push(text(&answer.output));
    }
    content.extend(answer.media.iter().map(|(media_type, data)| match media::sort(media_type, data, None) {
        Media::Image => image(media_type, data),
        Media::Pdf => text(&media::note(media_type, None)),
        Media::Text(t) => text(&t),
    }));
    let mut block =
        Object::new().with("type", "tool_result").with("tool_use_id", &options::call_id(&answer.id));
    if !content.is_empty() {
        block.set("content", &content);
    }
    if answer.is_error {
        block.set("is_error", &true);
    }
    block
}

fn text(t: &str) -> Object {
    Object::new().with("type", "text").with("text", t)
}

fn image(media_type: &str, data: &str) -> Object {
    Object::new().with("type", "image").with("source", &base64(media_type, data))
}

fn base64(media_type: &str, data: &str) -> Object {
    Object::new().with("type", "base64").with("media_type", media_type).with("data", data)
}

fn ephemeral() -> serde_json::Value {
    json!({ "type": "ephemeral" })
}

fn is(block: &Object, kind: &str) -> bool {
    block.text("type").as_deref() == Some(kind)
}
