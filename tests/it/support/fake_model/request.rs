//! A request as the fake model saw it, read into one form for the three wire formats.

use super::http::HttpRequest;
use serde_json::{Value, json};

/// The wire format, chosen by the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// `…/chat/completions`.
    Chat,
    /// `…/messages`.
    Anthropic,
    /// `…/responses`.
    Responses,
    /// No path of a model call.
    Unknown,
}

/// A tool call in the prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct SeenCall {
    pub id: String,
    pub name: String,
    pub args: Value,
}

/// An answer to a tool call in the prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct SeenResult {
    pub id: String,
    pub output: String,
    pub is_error: bool,
}

/// One message of the prompt.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SeenMessage {
    /// `system`, `user`, `assistant` or `tool`.
    pub role: String,
    /// All text, concatenated.
    pub text: String,
    pub calls: Vec<SeenCall>,
    pub results: Vec<SeenResult>,
    /// Images and documents.
    pub files: usize,
    /// Reasoning blocks.
    pub reasoning: usize,
}

/// A tool that the model was offered.
#[derive(Debug, Clone, PartialEq)]
pub struct SeenTool {
    pub name: String,
    pub description: String,
    pub schema: Value,
}

/// One request.
#[derive(Debug, Clone)]
pub struct RecordedRequest {
    /// Its number, counted from 0.
    pub index: usize,
    pub wire: Wire,
    pub method: String,
    pub path: String,
    /// Names are lower-case.
    pub headers: Vec<(String, String)>,
    /// The body as JSON; null when it is none.
    pub body: Value,
    /// Leading system texts and the conversation, in order.
    pub messages: Vec<SeenMessage>,
    /// Function tools; a provider's own tools are not in this list.
    pub tools: Vec<SeenTool>,
}

impl RecordedRequest {
    pub(super) fn read(index: usize, http: &HttpRequest, faults: &mut Vec<String>) -> Self {
        let path = http.path.split('?').next().unwrap_or_default().to_owned();
        let wire = match &path {
            p if p.ends_with("/chat/completions") => Wire::Chat,
            p if p.ends_with("/messages") => Wire::Anthropic,
            p if p.ends_with("/responses") => Wire::Responses,
            _ => Wire::Unknown,
        };
        let body = serde_json::from_slice(&http.body).unwrap_or_else(|e| {
            faults.push(format!("the body is not JSON: {e}"));
            Value::Null
        });
        let mut request = Self {
            index,
            wire,
            method: http.method.clone(),
            path,
            headers: http.headers.clone(),
            body,
            messages: Vec::new(),
            tools: Vec::new(),
        };
        match wire {
            Wire::Chat => request.read_chat(faults),
            Wire::Anthropic => request.read_anthropic(faults),
            Wire::Responses => request.read_responses(faults),
            Wire::Unknown => faults.push(format!("{} {} is no model call", request.method, request.path)),
        }
        request
    }

    /// Value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Name of the model asked for.
    pub fn model(&self) -> &str {
        self.body["model"].as_str().unwrap_or_default()
    }

    /// Name of what is asked for beside a turn: a title, a label.
    pub fn side(&self) -> Option<&'static str> {
        let schema = match self.wire {
            Wire::Responses => &self.body["text"]["format"]["name"],
            _ => &self.body["response_format"]["json_schema"]["name"],
        };
        ["propose_title", "propose_turn_status_label"]
            .into_iter()
            .find(|name| schema == name || self.tool_names() == [*name])
    }

    /// Names of the tools offered.
    pub fn tool_names(&self) -> Vec<&str> {
        self.tools.iter().map(|tool| tool.name.as_str()).collect()
    }

    /// Texts of all tool results of the prompt, in order.
    pub fn tool_results(&self) -> Vec<&str> {
        self.messages.iter().flat_map(|m| &m.results).map(|result| result.output.as_str()).collect()
    }

    /// All system text.
    pub fn system(&self) -> String {
        let texts: Vec<&str> =
            self.messages.iter().filter(|m| m.role == "system").map(|m| m.text.as_str()).collect();
        texts.join("\n")
    }

    /// Text of the last user message.
    pub fn last_user(&self) -> &str {
        self.messages.iter().rev().find(|m| m.role == "user").map_or("", |m| &m.text)
    }

    /// The text occurs anywhere in the body.
    pub fn mentions(&self, text: &str) -> bool {
        self.body.to_string().contains(text)
    }

    /// The conversation on a few lines, for messages of failed tests.
    pub fn summary(&self) -> String {
        let lines: Vec<String> = self
            .messages
            .iter()
            .map(|m| {
                let text: String = m.text.chars().take(60).collect();
                let calls: Vec<&str> = m.calls.iter().map(|call| call.id.as_str()).collect();
                let results: Vec<&str> = m.results.iter().map(|result| result.id.as_str()).collect();
                format!("{} {text:?} calls {calls:?} results {results:?}", m.role)
            })
            .collect();
        format!("{} {} [{}]", self.method, self.path, lines.join(" | "))
    }

    pub(super) fn carries_key(&self, key: &str) -> bool {
        match self.wire {
            Wire::Anthropic => self.header("x-api-key") == Some(key),
            _ => self.header("authorization").and_then(|value| value.strip_prefix("Bearer ")) == Some(key),
        }
    }

    fn read_chat(&mut self, faults: &mut Vec<String>) {
        for tool in list(&self.body["tools"]) {
            if tool["type"] == "function" {
                self.tools.push(seen_tool(&tool["function"], "parameters"));
            } else {
                faults.push(format!("a tool of type {} in Chat Completions", tool["type"]));
            }
        }
        for message in list(&self.body["messages"]) {
            let role = match message["role"].as_str().unwrap_or_default() {
                "developer" => "system",
                role => role,
            };
            let mut seen = SeenMessage { role: role.to_owned(), ..SeenMessage::default() };
            let content = &message["content"];
            if let Some(text) = content.as_str() {
                seen.text = text.to_owned();
            }
            for part in list(content) {
                match part["type"].as_str().unwrap_or_default() {
                    "text" => push_text(&mut seen, part, faults),
                    "image_url" | "file" | "input_audio" => seen.files += 1,
                    other => faults.push(format!("a content part of type {other:?} in Chat Completions")),
                }
            }
            for call in list(&message["tool_calls"]) {
                if call["type"] != "function" {
                    faults.push(format!("a tool call of type {}", call["type"]));
                }
                let function = &call["function"];
                seen.calls.push(seen_call(&call["id"], &function["name"], &function["arguments"], faults));
            }
            if role == "tool" {
                let result = SeenResult {
                    id: string(&message["tool_call_id"]),
                    output: std::mem::take(&mut seen.text),
                    is_error: false,
                };
                match self.messages.last_mut() {
                    Some(last) if last.role == "tool" => {
                        last.results.push(result);
                        continue;
                    }
                    _ => seen.results.push(result),
                }
            }
            self.messages.push(seen);
        }
    }

    fn read_anthropic(&mut self, faults: &mut Vec<String>) {
        for tool in list(&self.body["tools"]) {
            if tool["type"].is_null() || tool["type"] == "custom" {
                self.tools.push(seen_tool(tool, "input_schema"));
            }
        }
        let system = &self.body["system"];
        if let Some(text) = system.as_str() {
            self.messages.push(SeenMessage {
                role: "system".into(),
                text: text.into(),
                ..SeenMessage::default()
            });
        }
        for block in list(system) {
            let text = string(&block["text"]);
            self.messages.push(SeenMessage { role: "system".into(), text, ..SeenMessage::default() });
        }
        for message in list(&self.body["messages"]) {
            let role = string(&message["role"]);
            let mut tool = SeenMessage { role: "tool".into(), ..SeenMessage::default() };
            let mut seen = SeenMessage { role, ..SeenMessage::default() };
            if let Some(text) = message["content"].as_str() {
                seen.text = text.to_owned();
            }
            for block in list(&message["content"]) {
                match block["type"].as_str().unwrap_or_default() {
                    "text" => push_text(&mut seen, block, faults),
                    "image" | "document" => seen.files += 1,
                    "thinking" => {
                        seen.reasoning += 1;
                        if block["signature"].as_str().unwrap_or_default().is_empty() {
                            faults.push("a thinking block without its signature".to_owned());
                        }
                    }
                    "redacted_thinking" => seen.reasoning += 1,
                    "tool_use" => {
                        if !block["input"].is_object() {
                            faults.push(format!("tool_use with input {}", block["input"]));
                        }
                        let text = Value::String(block["input"].to_string());
                        seen.calls.push(seen_call(&block["id"], &block["name"], &text, faults));
                    }
                    "tool_result" => {
                        if !seen.text.is_empty() || seen.files > 0 {
                            faults.push("a tool_result behind other content of its message".to_owned());
                        }
                        if seen.role != "user" {
                            faults.push(format!("a tool_result in a message of role {:?}", seen.role));
                        }
                        tool.results.push(SeenResult {
                            id: string(&block["tool_use_id"]),
                            output: flat_text(&block["content"]),
                            is_error: block["is_error"] == json!(true),
                        });
                    }
                    kind if kind.ends_with("_tool_use") || kind.ends_with("_tool_result") => {}
                    other => faults.push(format!("a content block of type {other:?} in Anthropic Messages")),
                }
            }
            let only_results = !tool.results.is_empty() && seen.text.is_empty() && seen.files == 0;
            if !tool.results.is_empty() {
                self.messages.push(tool);
            }
            if !only_results {
                self.messages.push(seen);
            }
        }
    }

    fn read_responses(&mut self, faults: &mut Vec<String>) {
        for tool in list(&self.body["tools"]) {
            if tool["type"] == "function" {
                self.tools.push(seen_tool(tool, "parameters"));
            }
        }
        if let Some(text) = self.body["instructions"].as_str() {
            self.messages.push(SeenMessage {
                role: "system".into(),
                text: text.into(),
                ..SeenMessage::default()
            });
        }
        if let Some(text) = self.body["input"].as_str() {
            self.messages.push(SeenMessage {
                role: "user".into(),
                text: text.into(),
                ..SeenMessage::default()
            });
        }
        for item in list(&self.body["input"]).to_vec() {
            match item["type"].as_str().unwrap_or("message") {
                "message" => {
                    let role = match item["role"].as_str().unwrap_or_default() {
                        "developer" => "system",
                        role => role,
                    };
                    let mut seen = SeenMessage { role: role.to_owned(), ..SeenMessage::default() };
                    if let Some(text) = item["content"].as_str() {
                        seen.text = text.to_owned();
                    }
                    for part in list(&item["content"]) {
                        match (part["type"].as_str().unwrap_or_default(), role) {
                            ("output_text", "assistant") | ("input_text", "user" | "system") => {
                                push_text(&mut seen, part, faults);
                            }
                            ("input_image" | "input_file", "user") => seen.files += 1,
                            ("refusal", "assistant") => seen.text.push_str(&string(&part["refusal"])),
                            (kind, role) => {
                                faults.push(format!("a part of type {kind:?} in a message of {role:?}"));
                            }
                        }
                    }
                    if role == "assistant" {
                        let turn = self.turn("assistant");
                        turn.text.push_str(&seen.text);
                    } else {
                        self.messages.push(seen);
                    }
                }
                "reasoning" => self.turn("assistant").reasoning += 1,
                "function_call" => {
                    let call = seen_call(&item["call_id"], &item["name"], &item["arguments"], faults);
                    self.turn("assistant").calls.push(call);
                }
                "function_call_output" => {
                    let output =
                        item["output"].as_str().map_or_else(|| flat_text(&item["output"]), str::to_owned);
                    let result = SeenResult { id: string(&item["call_id"]), output, is_error: false };
                    self.turn("tool").results.push(result);
                }
                kind if kind.ends_with("_call") => self.turn("assistant").reasoning += 1,
                other => faults.push(format!("an input item of type {other:?}")),
            }
        }
    }

    /// The last message when it is of this role, else a new one: Responses sends a turn item by item.
    fn turn(&mut self, role: &str) -> &mut SeenMessage {
        if self.messages.last().is_none_or(|last| last.role != role) {
            self.messages.push(SeenMessage { role: role.to_owned(), ..SeenMessage::default() });
        }
        self.messages.last_mut().expect("there is one now")
    }
}

pub fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn string(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn flat_text(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        other => list(other).iter().map(|part| part["text"].as_str().unwrap_or_default()).collect(),
    }
}

fn push_text(seen: &mut SeenMessage, part: &Value, faults: &mut Vec<String>) {
    let text = part["text"].as_str().unwrap_or_default();
    if text.trim().is_empty() {
        faults.push(format!("an empty text part in a message of {:?}", seen.role));
    }
    seen.text.push_str(text);
}

fn seen_tool(tool: &Value, schema: &str) -> SeenTool {
    SeenTool {
        name: string(&tool["name"]),
        description: string(&tool["description"]),
        schema: tool[schema].clone(),
    }
}

fn seen_call(id: &Value, name: &Value, arguments: &Value, faults: &mut Vec<String>) -> SeenCall {
    let args = arguments.as_str().and_then(|text| serde_json::from_str::<Value>(text).ok());
    if !args.as_ref().is_some_and(Value::is_object) {
        faults.push(format!("arguments of call {id} are no JSON object: {arguments}"));
    }
    SeenCall { id: string(id), name: string(name), args: args.unwrap_or_default() }
}
