//! Requests to the Chat Completions body, with each vendor's options.

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

/// Efforts of OpenAI and of servers that copy it.
const OPENAI_EFFORTS: [&str; 6] = ["none", "minimal", "low", "medium", "high", "xhigh"];

/// The body of the request.
pub(in crate::llm) fn encode(provider: &Provider, request: &Request) -> Vec<u8> {
    let options = Options::of(request, provider.options_key);
    let openai = matches!(provider.name, "openai" | "azure");
    let mut body = Object::new().with("model", &request.model);
    body.set("messages", &messages(provider, request));
    let strict = options.flag("strict_json_schema").filter(|_| openai);
    let tools: Vec<Object> = request
        .tools
        .iter()
        .map(|t| {
            let mut function = Object::new().with("name", &t.name).with("description", &t.description);
            function.set("parameters", &t.input_schema);
            function.set_some("strict", strict);
            Object::new().with("type", "function").with("function", &function)
        })
        .collect();
    if !tools.is_empty() {
        body.set("tools", &tools);
        body.set_some("parallel_tool_calls", options.flag("parallel_tool_calls"));
    }
    let configured =
        options.get("max_completion_tokens").and_then(Value::as_i64).or(request.max_output_tokens);
    body.set_some(if openai { "max_completion_tokens" } else { "max_tokens" }, configured);
    // OpenAI's reasoning models refuse sampling parameters instead of ignoring them.
    if !(openai && options::is_openai_reasoning_model(&request.model)) {
        body.set_some("temperature", request.temperature);
        body.set_some("top_p", request.top_p);
        body.set_some("presence_penalty", request.presence_penalty);
        body.set_some("frequency_penalty", request.frequency_penalty);
    }
    if !openai && provider.name != "google" {
        body.set_some("top_k", request.top_k); // no such key in the original API
    }
    match provider.name {
        "openai" | "azure" => openai_options(request, options, &mut body),
        "google" => google_options(request, options, &mut body),
        "openrouter" => openrouter_options(request, options, &mut body),
        "vercel" => vercel_options(request, options, &mut body),
        _ => {
            options.copy(&mut body, &[("user", "user")]);
            let effort = options::effort(request, options.text("reasoning_effort"), &OPENAI_EFFORTS);
            body.set_some("reasoning_effort", effort);
        }
    }
    if let Some(output) = &request.output {
        let schema =
            Object::new().with("name", output.name).with("strict", &true).with("schema", &output.schema);
        body.set("response_format", &Object::new().with("type", "json_schema").with("json_schema", &schema));
    }
    body.set("stream", &true);
    body.set("stream_options", &json!({ "include_usage": true }));
    body.bytes()
}

fn openai_options(request: &Request, options: Options<'_>, body: &mut Object) {
    options.copy(
        body,
        &[
            ("logit_bias", "logit_bias"),
            ("log_probs", "logprobs"),
            ("top_log_probs", "top_logprobs"),
            ("user", "user"),
            ("text_verbosity", "verbosity"),
            ("prediction", "prediction"),
            ("store", "store"),
            ("metadata", "metadata"),
            ("prompt_cache_key", "prompt_cache_key"),
            ("safety_identifier", "safety_identifier"),
            ("service_tier", "service_tier"),
        ],
    );
    body.set_some(
        "reasoning_effort",
        options::effort(request, options.text("reasoning_effort"), &OPENAI_EFFORTS),
    );
    if options.flag(WEB_SEARCH) == Some(true) {
        let mut search = Object::new();
        search.set_some("search_context_size", options.text("search_context_size"));
        body.set("web_search_options", &search);
    }
}

/// Google's compatible endpoint takes its own settings under `extra_body.google`; safety settings and
/// web search cannot be said there.
fn google_options(request: &Request, options: Options<'_>, body: &mut Object) {
    let mut google = Object::new();
    google.set_some("thinking_config", options.get("thinking_config"));
    google.set_some("cached_content", options.get("cached_content"));
    if !google.has("thinking_config") {
        // The two exclude each other.
        body.set_some(
            "reasoning_effort",
            options::effort(request, None, &["none", "minimal", "low", "medium", "high"]),
        );
    }
    if !google.is_empty() {
        body.set("extra_body", &Object::new().with("google", &google));
    }
}

fn openrouter_options(request: &Request, options: Options<'_>, body: &mut Object) {
    reasoning(request, options, &["low", "medium", "high"], body);
    options.copy(
        body,
        &[
            ("logit_bias", "logit_bias"),
            ("log_probs", "logprobs"),
            ("user", "user"),
            ("provider", "provider"),
        ],
    );
    if let Some(include) = options.flag("include_usage") {
        body.set("usage", &json!({ "include": include }));
    }
    options.extra_body(body);
}

fn vercel_options(request: &Request, options: Options<'_>, body: &mut Object) {
    reasoning(request, options, &OPENAI_EFFORTS, body);
    options.copy(
        body,
        &[
            ("logit_bias", "logit_bias"),
            ("logprobs", "logprobs"),
            ("top_logprobs", "top_logprobs"),
            ("user", "user"),
        ],
    );
    if let Some(gateway) = options.get("providerOptions") {
        body.set("providerOptions", &json!({ "gateway": gateway }));
    }
    options.extra_body(body);
}

/// The `reasoning` object of the two gateways. The user's effort replaces the configured one, and a
/// token budget with it: the gateways take one of the two.
fn reasoning(request: &Request, options: Options<'_>, known: &[&str], body: &mut Object) {
    let configured = options.nested("reasoning");
    let mut reasoning = Object::new();
    configured.copy(&mut reasoning, &[("enabled", "enabled"), ("exclude", "exclude")]);
    let effort = options::effort(request, configured.text("effort"), known);
    let picked = request.reasoning_effort.is_some() && effort.is_some();
    match configured.get("max_tokens").filter(|_| !picked) {
        Some(budget) => reasoning.set("max_tokens", budget),
        None => reasoning.set_some("effort", effort),
    }
    if !reasoning.is_empty() {
        body.set("reasoning", &reasoning);
    }
}

/// The messages. Neighbours of one role become one message, which strict servers insist on.
fn messages(provider: &Provider, request: &Request) -> Vec<Object> {
    let mut list = List { messages: Vec::new(), user: Vec::new() };
    let system: Vec<&str> =
        request.system.iter().map(String::as_str).filter(|s| !s.trim().is_empty()).collect();
    if !system.is_empty() {
        // One message: many chat templates know no second one.
        list.messages.push(Object::new().with("role", "system").with("content", &system.join("\n\n")));
    }
    for message in &request.messages {
        match message {
            PromptMessage::User(content) => {
                list.user.extend(content.iter().filter_map(|c| user_part(provider, c)));
            }
            PromptMessage::Tool(answers) => list.answers(answers),
            PromptMessage::Assistant { content, native } => {
                let native = native
                    .as_ref()
                    .filter(|n| n.format == WireFormat::ChatCompletions && n.model == request.model);
                list.assistant(content, native);
            }
        }
    }
    list.flush_user();
    list.messages
}

struct List {
    messages: Vec<Object>,
    /// Parts of the user message that is being gathered.
    user: Vec<Object>,
}

impl List {
    fn flush_user(&mut self) {
        let parts = std::mem::take(&mut self.user);
        if parts.is_empty() {
            return;
        }
        let texts: Option<Vec<String>> = parts.iter().map(|p| p.text("text")).collect();
        let message = Object::new().with("role", "user");
        // Plain text where it is only text: not every server takes parts.
        self.messages.push(match texts {
            Some(texts) => message.with("content", &texts.join("\n\n")),
            None => message.with("content", &parts),
        });
    }

    fn answers(&mut self, answers: &[ToolAnswer]) {
        self.flush_user();
        for answer in answers {
            let output = if answer.output.is_empty() { "{}" } else { &answer.output };
            self.messages.push(
                Object::new()
                    .with("role", "tool")
                    .with("tool_call_id", &options::call_id(&answer.id))
                    .with("content", output),
            );
        }
        // A `tool` message holds text only: pictures follow in the user's place.
        for answer in answers.iter().filter(|a| !a.media.is_empty()) {
            self.user.push(text_part(&format!("Media returned by {}:", answer.name)));
            for (media_type, data) in &answer.media {
                self.user.push(match media::sort(media_type, data, None) {
                    Media::Image => image_part(media_type, data),
                    Media::Pdf => text_part(&media::note(media_type, None)),
                    Media::Text(text) => text_part(&text),
                });
            }
        }
    }

    fn assistant(&mut self, content: &[AssistantContent], native: Option<&Native>) {
        let mut texts = Vec::new();
        let mut calls = Vec::new();
        for item in content {
            match item {
                AssistantContent::Text(text) if !text.is_empty() => texts.push(text.as_str()),
                AssistantContent::Text(_) | AssistantContent::Reasoning(_) => {}
                AssistantContent::ToolCall { id, name, args } => calls.push(call(id, name, args)),
            }
        }
        if texts.is_empty() && calls.is_empty() {
            return;
        }
        self.flush_user();
        let mut text = texts.concat();
        let mut message = Object::new().with("role", "assistant");
        if let Some(last) = self.messages.last()
            && last.text("role").as_deref() == Some("assistant")
            && !last.has("tool_calls")
        {
            if let Some(before) = last.text("content").filter(|b| !b.is_empty()) {
                text = if text.is_empty() { before } else { format!("{before}\n\n{text}") };
            }
            self.messages.pop();
        }
        if text.is_empty() {
            message.set("content", &());
        } else {
            message.set("content", &text);
        }
        for (key, value) in native_extras(native).iter() {
            if key == "tool_calls" {
                // By place, since ids may have been numbered anew. With another count of calls there is no
                // telling which is which.
                let extras = value.read::<Vec<Object>>().unwrap_or_default();
                if extras.len() == calls.len() {
                    for (call, extra) in calls.iter_mut().zip(&extras) {
                        extra.iter().for_each(|(key, value)| call.set(key, value));
                    }
                }
            } else if !message.has(key) {
                message.set(key, value);
            }
        }
        if !calls.is_empty() {
            message.set("tool_calls", &calls);
        }
        self.messages.push(message);
    }
}

fn native_extras(native: Option<&Native>) -> Object {
    native.and_then(|n| n.items.first()).and_then(|item| item.read().ok()).unwrap_or_default()
}

fn call(id: &str, name: &str, args: &Json) -> Object {
    let function = Object::new().with("name", &options::tool_name(name)).with("arguments", args.get());
    Object::new().with("id", &options::call_id(id)).with("type", "function").with("function", &function)
}

fn user_part(provider: &Provider, content: &UserContent) -> Option<Object> {
    match content {
        UserContent::Text(text) => (!text.trim().is_empty()).then(|| text_part(text)),
        UserContent::File { media_type, data, name } => {
            Some(match media::sort(media_type, data, name.as_deref()) {
                Media::Image => image_part(media_type, data),
                Media::Pdf if provider.takes_pdf => {
                    let file = Object::new()
                        .with("filename", name.as_deref().unwrap_or("document.pdf"))
                        .with("file_data", &media::data_url(media_type, data));
                    Object::new().with("type", "file").with("file", &file)
                }
                Media::Pdf => text_part(&media::note(media_type, name.as_deref())),
                Media::Text(text) => text_part(&text),
            })
        }
    }
}

fn text_part(text: &str) -> Object {
    Object::new().with("type", "text").with("text", text)
}

fn image_part(media_type: &str, data: &str) -> Object {
    let url = Object::new().with("url", &media::data_url(media_type, data));
    Object::new().with("type", "image_url").with("image_url", &url)
}
