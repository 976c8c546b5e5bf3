//! Requests to the Responses body.

use crate::{
    chat::json::Json,
    llm::{
        media::{self, Media},
        object::Object,
        options::{self, Options},
        providers::Provider,
        request::{
            AssistantContent, Native, PromptMessage, Request, ToolAnswer, UserContent, WEB_SEARCH, WireFormat,
        },
    },
};
use serde_json::{Value, json};

/// Efforts the API knows.
const EFFORTS: [&str; 6] = ["none", "minimal", "low", "medium", "high", "xhigh"];

/// The include key that makes reasoning items replayable without `store`.
const ENCRYPTED_REASONING: &str = "reasoning.encrypted_content";

/// The body of the request.
pub(in crate::llm) fn encode(provider: &Provider, request: &Request) -> Vec<u8> {
    let options = Options::of(request, provider.options_key);
    let store = stores(options);
    let mut body = Object::new().with("model", &request.model);
    options.copy(&mut body, &[("instructions", "instructions")]);
    body.set_some("previous_response_id", request.previous_response_id.as_deref());
    body.set("input", &input(request, store));
    let tools = tools(request, options);
    if !tools.is_empty() {
        body.set("tools", &tools);
        options.copy(
            &mut body,
            &[("parallel_tool_calls", "parallel_tool_calls"), ("max_tool_calls", "max_tool_calls")],
        );
    }
    let configured =
        options.get("max_completion_tokens").and_then(Value::as_i64).or(request.max_output_tokens);
    body.set_some("max_output_tokens", configured);
    if !options::is_openai_reasoning_model(&request.model) {
        body.set_some("temperature", request.temperature);
        body.set_some("top_p", request.top_p);
    }
    let mut reasoning = Object::new();
    reasoning.set_some("effort", options::effort(request, options.text("reasoning_effort"), &EFFORTS));
    reasoning.set_some("summary", options.text("reasoning_summary"));
    if !reasoning.is_empty() {
        body.set("reasoning", &reasoning);
    }
    let mut text = Object::new();
    text.set_some("verbosity", options.text("text_verbosity"));
    if let Some(output) = &request.output {
        let format = Object::new()
            .with("type", "json_schema")
            .with("name", output.name)
            .with("strict", &true)
            .with("schema", &output.schema);
        text.set("format", &format);
    }
    if !text.is_empty() {
        body.set("text", &text);
    }
    body.set("store", &store);
    let include = include(request, options);
    if !include.is_empty() {
        body.set("include", &include);
    }
    options.copy(
        &mut body,
        &[
            ("top_log_probs", "top_logprobs"),
            ("user", "user"),
            ("metadata", "metadata"),
            ("prompt_cache_key", "prompt_cache_key"),
            ("safety_identifier", "safety_identifier"),
            ("service_tier", "service_tier"),
        ],
    );
    body.set("stream", &true);
    body.bytes()
}

/// Whether the provider keeps its answer, so that a later call can go on from it.
pub(in crate::llm) fn keeps_answers(provider: &Provider, request: &Request) -> bool {
    stores(Options::of(request, provider.options_key))
}

fn stores(options: Options<'_>) -> bool {
    options.flag("store").unwrap_or(true)
}

fn include(request: &Request, options: Options<'_>) -> Vec<String> {
    let mut include: Vec<String> =
        options.list("include").into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect();
    // Models that do not reason refuse the key. An unknown name may be a deployment of one that does.
    let base = request.model.strip_prefix("ft:").unwrap_or(&request.model);
    let plain = ["gpt-3", "gpt-4", "chatgpt-"].iter().any(|p| base.starts_with(p));
    if !plain && !include.iter().any(|i| i == ENCRYPTED_REASONING) {
        include.push(ENCRYPTED_REASONING.to_owned());
    }
    let logprobs = "message.output_text.logprobs";
    if options.flag("log_probs") == Some(true) && !include.iter().any(|i| i == logprobs) {
        include.push(logprobs.to_owned());
    }
    include
}

fn tools(request: &Request, options: Options<'_>) -> Vec<Object> {
    // Absent means strict here, which most schemas do not satisfy.
    let strict = options.flag("strict_json_schema").unwrap_or(false);
    let mut tools: Vec<Object> = request
        .tools
        .iter()
        .map(|t| {
            Object::new()
                .with("type", "function")
                .with("name", &t.name)
                .with("description", &t.description)
                .with("parameters", &t.input_schema)
                .with("strict", &strict)
        })
        .collect();
    if options.flag(WEB_SEARCH) == Some(true) {
        let mut search = Object::new().with("type", "web_search");
        search.set_some("search_context_size", options.text("search_context_size"));
        if let Some(domains) = options.list("allowed_domains") {
            search.set("filters", &json!({ "allowed_domains": domains }));
        }
        tools.push(search);
    }
    tools
}

fn input(request: &Request, store: bool) -> Vec<Object> {
    let mut items: Vec<Object> = request
        .system
        .iter()
        .filter(|s| !s.trim().is_empty())
        .map(|s| message("system", &[part("input_text", s)]))
        .collect();
    for prompt in &request.messages {
        match prompt {
            PromptMessage::User(content) => {
                let parts: Vec<Object> = content.iter().filter_map(user_part).collect();
                if !parts.is_empty() {
                    items.push(message("user", &parts));
                }
            }
            PromptMessage::Tool(answers) => items.extend(answers.iter().map(output)),
            PromptMessage::Assistant { content, native } => {
                let verbatim = native
                    .as_ref()
                    .filter(|n| n.format == WireFormat::OpenaiResponses && n.model == request.model)
                    .and_then(|n| verbatim(n, content, store));
                items.extend(verbatim.unwrap_or_else(|| content.iter().filter_map(assistant_item).collect()));
            }
        }
    }
    items
}

/// The stored items, if they have as many calls as will be answered; `None` sends neutral content.
fn verbatim(native: &Native, content: &[AssistantContent], store: bool) -> Option<Vec<Object>> {
    let mut items: Vec<Object> = native.items.iter().map(Json::read).collect::<Result<_, _>>().ok()?;
    if !store {
        // Nothing is kept there, so reasoning that does not travel with the request cannot be found.
        items.retain(|i| {
            i.text("type").as_deref() != Some("reasoning") || i.text("encrypted_content").is_some()
        });
    }
    // An answer that was cut while it reasoned has an item which leads to none, and that is refused.
    let mut leads_on = false;
    let mut kept: Vec<Object> = Vec::with_capacity(items.len());
    for item in items.into_iter().rev() {
        if item.text("type").as_deref() != Some("reasoning") {
            leads_on = true;
        }
        if leads_on {
            kept.push(item);
        }
    }
    kept.reverse();
    let mut items = kept;
    let mut calls = content.iter().filter_map(|c| match c {
        AssistantContent::ToolCall { id, .. } => Some(options::call_id(id)),
        _ => None,
    });
    for item in items.iter_mut().filter(|i| i.text("type").as_deref() == Some("function_call")) {
        // The outputs name the calls by their ids in the prompt, which may have been rewritten.
        let (id, name) = (calls.next()?, item.text("name")?);
        if item.text("call_id")? != id {
            item.set("call_id", &id);
        }
        if options::tool_name(&name) != name {
            item.set("name", &options::tool_name(&name));
        }
    }
    calls.next().is_none().then_some(items)
}

fn assistant_item(content: &AssistantContent) -> Option<Object> {
    match content {
        AssistantContent::Text(text) => {
            (!text.is_empty()).then(|| message("assistant", &[part("output_text", text)]))
        }
        // Reasoning without its item id or encrypted content is refused.
        AssistantContent::Reasoning(_) => None,
        AssistantContent::ToolCall { id, name, args } => Some(
            Object::new()
                .with("type", "function_call")
                .with("call_id", &options::call_id(id))
                .with("name", &options::tool_name(name))
                .with("arguments", args.get()),
        ),
    }
}

fn output(answer: &ToolAnswer) -> Object {
    let item =
        Object::new().with("type", "function_call_output").with("call_id", &options::call_id(&answer.id));
    if answer.media.is_empty() {
        return item.with("output", &answer.output);
    }
    let mut parts = vec![part("input_text", &answer.output)];
    parts.extend(answer.media.iter().map(|(media_type, data)| match media::sort(media_type, data, None) {
        Media::Image => image(media_type, data),
        Media::Pdf => file(media_type, data, None),
        Media::Text(text) => part("input_text", &text),
    }));
    item.with("output", &parts)
}

fn user_part(content: &UserContent) -> Option<Object> {
    match content {
        UserContent::Text(text) => (!text.trim().is_empty()).then(|| part("input_text", text)),
        UserContent::File { media_type, data, name } => {
            Some(match media::sort(media_type, data, name.as_deref()) {
                Media::Image => image(media_type, data),
                Media::Pdf => file(media_type, data, name.as_deref()),
                Media::Text(text) => part("input_text", &text),
            })
        }
    }
}

fn message(role: &str, parts: &[Object]) -> Object {
    Object::new().with("type", "message").with("role", role).with("content", parts)
}

fn part(kind: &str, text: &str) -> Object {
    Object::new().with("type", kind).with("text", text)
}

fn image(media_type: &str, data: &str) -> Object {
    Object::new().with("type", "input_image").with("image_url", &media::data_url(media_type, data))
}

fn file(media_type: &str, data: &str, name: Option<&str>) -> Object {
    Object::new()
        .with("type", "input_file")
        .with("filename", name.unwrap_or("document.pdf"))
        .with("file_data", &media::data_url(media_type, data))
}
