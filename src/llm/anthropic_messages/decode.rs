//! Anthropic's stream to events.

use crate::{
    chat::{json::Json, message::Usage},
    llm::{
        event::{Event, Finish, FinishReason},
        object::Object,
        request::{Native, WireFormat},
        wire::{self, MAX_BLOCKS, Wire, WireError, context_limit, tokens},
    },
};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use std::{borrow::Cow, collections::HashSet};

#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(rename = "type", borrow, default)]
    kind: Cow<'a, str>,
    #[serde(default)]
    index: u64,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    content_block: Option<&'a RawValue>,
    #[serde(borrow)]
    delta: Option<&'a RawValue>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    text: Option<String>,
    thinking: Option<String>,
    signature: Option<String>,
    partial_json: Option<String>,
    citation: Option<Json>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Thinking,
    Tool { provider_executed: bool },
    Opaque,
}

struct Block {
    index: u64,
    kind: Kind,
    /// The block as it was announced; deltas are merged into it at its end.
    start: Object,
    id: String,
    name: String,
    /// Text, thinking or argument text.
    text: String,
    signature: String,
    citations: Vec<Json>,
    open: bool,
}

/// Decoder of one answer.
pub(in crate::llm) struct Decoder {
    model: String,
    salt: String,
    blocks: Vec<Block>,
    cited: HashSet<String>,
    usage: Usage,
    response_id: Option<String>,
    context_limit: Option<i64>,
    reason: FinishReason,
    done: bool,
}

impl Decoder {
    /// A decoder for an answer of `model`; `salt` as in [`wire::decoder`].
    pub(in crate::llm) fn new(model: &str, salt: &str) -> Self {
        Self {
            model: model.to_owned(),
            salt: salt.to_owned(),
            blocks: Vec::new(),
            cited: HashSet::new(),
            usage: Usage::default(),
            response_id: None,
            context_limit: None,
            reason: FinishReason::Other,
            done: false,
        }
    }

    fn start(&mut self, index: u64, raw: &RawValue, out: &mut Vec<Event>) -> Result<(), WireError> {
        if self.blocks.len() >= MAX_BLOCKS {
            return Err(WireError::Malformed("too many content blocks".into()));
        }
        let start: Object = serde_json::from_str(raw.get())?;
        let kind = match start.text("type").as_deref().unwrap_or_default() {
            "text" => Kind::Text,
            "thinking" => Kind::Thinking,
            "tool_use" => Kind::Tool { provider_executed: false },
            "server_tool_use" => Kind::Tool { provider_executed: true },
            _ => Kind::Opaque,
        };
        let said = start.text("id");
        let id = if kind == (Kind::Tool { provider_executed: false }) {
            wire::call_id(said, self.blocks.iter().map(|b| b.id.as_str()), &self.salt, self.blocks.len())
        } else {
            said.unwrap_or_default()
        };
        let mut block = Block {
            index,
            kind,
            id,
            name: start.text("name").unwrap_or_default(),
            text: String::new(),
            signature: start.text("signature").unwrap_or_default(),
            citations: start.get("citations").and_then(|c| c.read().ok()).unwrap_or_default(),
            open: true,
            start,
        };
        match kind {
            Kind::Text => {
                out.push(Event::TextStart);
                block.text = block.start.text("text").unwrap_or_default();
                if !block.text.is_empty() {
                    out.push(Event::TextDelta(block.text.clone()));
                }
            }
            Kind::Thinking => {
                out.push(Event::ReasoningStart);
                block.text = block.start.text("thinking").unwrap_or_default();
                if !block.text.is_empty() {
                    out.push(Event::ReasoningDelta(block.text.clone()));
                }
            }
            Kind::Tool { provider_executed } => out.push(Event::ToolInputStart {
                id: block.id.clone(),
                name: block.name.clone(),
                provider_executed,
            }),
            Kind::Opaque => self.provider_result(&block.start, out),
        }
        self.blocks.push(block);
        Ok(())
    }

    /// `web_search_tool_result` and its kin: any block that answers a `server_tool_use`.
    fn provider_result(&self, block: &Object, out: &mut Vec<Event>) {
        let Some(id) = block.text("tool_use_id") else { return };
        let call =
            self.blocks.iter().find(|b| b.kind == Kind::Tool { provider_executed: true } && b.id == id);
        let Some(call) = call else { return };
        let result = block.get("content").cloned().unwrap_or_else(|| Json::of(&()));
        let failed =
            result.read::<Object>().ok().and_then(|o| o.text("type")).is_some_and(|t| t.ends_with("_error"));
        out.push(Event::ProviderResult { id, name: call.name.clone(), result, is_error: failed });
    }

    fn delta(&mut self, index: u64, raw: &RawValue, out: &mut Vec<Event>) -> Result<(), WireError> {
        let delta: Delta<'_> = serde_json::from_str(raw.get())?;
        let Some(block) = self.blocks.iter_mut().rev().find(|b| b.index == index && b.open) else {
            return Err(WireError::Malformed(format!("delta for block {index}, which is not open")));
        };
        match (delta.kind.as_ref(), block.kind) {
            ("text_delta", Kind::Text) => {
                let text = delta.text.unwrap_or_default();
                block.text.push_str(&text);
                out.push(Event::TextDelta(text));
            }
            ("thinking_delta", Kind::Thinking) => {
                let text = delta.thinking.unwrap_or_default();
                block.text.push_str(&text);
                out.push(Event::ReasoningDelta(text));
            }
            ("signature_delta", Kind::Thinking) => {
                block.signature.push_str(&delta.signature.unwrap_or_default());
            }
            ("input_json_delta", Kind::Tool { .. }) => {
                let delta = delta.partial_json.unwrap_or_default();
                if !delta.is_empty() {
                    block.text.push_str(&delta);
                    out.push(Event::ToolInputDelta { id: block.id.clone(), delta });
                }
            }
            ("citations_delta", Kind::Text) => {
                if let Some(citation) = delta.citation {
                    if let Ok(object) = citation.read::<Object>()
                        && let Some(url) = object.text("url")
                        && self.cited.insert(url.clone())
                    {
                        out.push(Event::Source { url, id: None, title: object.text("title") });
                    }
                    block.citations.push(citation);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn stop(block: &mut Block, out: &mut Vec<Event>) {
        if !std::mem::replace(&mut block.open, false) {
            return;
        }
        match block.kind {
            Kind::Text => out.push(Event::TextEnd),
            Kind::Thinking => out.push(Event::ReasoningEnd),
            Kind::Tool { provider_executed } => {
                if block.text.trim().is_empty() {
                    block.text =
                        block.start.get("input").map_or_else(|| "{}".to_owned(), |i| i.get().to_owned());
                }
                out.push(Event::ToolCall {
                    id: block.id.clone(),
                    name: block.name.clone(),
                    args: block.text.clone(),
                    provider_executed,
                });
            }
            Kind::Opaque => {}
        }
    }

    fn usage(&mut self, raw: &RawValue) -> Result<(), WireError> {
        let value: Value = serde_json::from_str(raw.get())?;
        // Later events repeat or complete the figures; one that is absent keeps its value.
        let read = |key: &str, slot: &mut i64| {
            if value.get(key).is_some_and(|v| !v.is_null()) {
                *slot = tokens(&value, &format!("/{key}"));
            }
        };
        read("input_tokens", &mut self.usage.input_tokens);
        read("output_tokens", &mut self.usage.output_tokens);
        read("cache_creation_input_tokens", &mut self.usage.cache_creation_tokens);
        read("cache_read_input_tokens", &mut self.usage.cache_read_tokens);
        self.context_limit = self.context_limit.max(context_limit(&value, &[]));
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<Event>) {
        for block in &mut self.blocks {
            Self::stop(block, out);
        }
        let calls = self.blocks.iter().any(|b| b.kind == Kind::Tool { provider_executed: false });
        let mut usage = self.usage;
        // Anthropic sends no sum of its own.
        usage.total_tokens = usage.context_tokens().saturating_add(usage.output_tokens);
        let items: Vec<Json> = self.blocks.iter().map(Block::verbatim).collect();
        self.done = true;
        out.push(Event::Finish(Finish {
            reason: if calls && self.reason == FinishReason::Stop {
                FinishReason::ToolCalls
            } else {
                self.reason
            },
            usage,
            response_id: self.response_id.take(),
            context_limit: self.context_limit,
            native: (!items.is_empty()).then(|| Native {
                format: WireFormat::AnthropicMessages,
                model: self.model.clone(),
                items,
            }),
        }));
    }
}

impl Block {
    /// The block as the API would have sent it in one piece.
    fn verbatim(&self) -> Json {
        let mut block = self.start.clone();
        match self.kind {
            Kind::Text => {
                block.set("text", &self.text);
                if !self.citations.is_empty() {
                    block.set("citations", &self.citations);
                }
            }
            Kind::Thinking => {
                block.set("thinking", &self.text);
                block.set("signature", &self.signature);
            }
            Kind::Tool { .. } => {
                // Arguments must be an object when they go back; broken ones travel inside of one.
                match Json::parse(self.text.trim().to_owned()) {
                    Ok(input) if input.get().starts_with('{') => block.set("input", &input),
                    _ => block.set("input", &Object::new().with("INVALID_JSON", &self.text)),
                }
            }
            Kind::Opaque => {}
        }
        block.json()
    }
}

impl Wire for Decoder {
    fn feed(&mut self, _: &str, data: &str, out: &mut Vec<Event>) -> Result<(), WireError> {
        // Gateways that speak several formats add the end mark of another one.
        if self.done || data.trim().is_empty() || data.trim() == "[DONE]" {
            return Ok(());
        }
        let frame: Frame<'_> = serde_json::from_str(data)?;
        match frame.kind.as_ref() {
            // An error of a gateway in front, in nobody's format.
            "" if serde_json::from_str::<Object>(data)?.has("error") => {
                return Err(WireError::from_value(&serde_json::from_str(data)?));
            }
            "message_start" => {
                if let Some(message) = frame.message {
                    let message: Object = serde_json::from_str(message.get())?;
                    self.response_id = message.text("id");
                    if let Some(usage) = message.get("usage") {
                        self.usage(&usage.read::<Box<RawValue>>()?)?;
                    }
                }
            }
            "content_block_start" => {
                if let Some(block) = frame.content_block {
                    self.start(frame.index, block, out)?;
                }
            }
            "content_block_delta" => {
                if let Some(delta) = frame.delta {
                    self.delta(frame.index, delta, out)?;
                }
            }
            "content_block_stop" => {
                if let Some(block) = self.blocks.iter_mut().rev().find(|b| b.index == frame.index) {
                    Self::stop(block, out);
                }
            }
            "message_delta" => {
                if let Some(delta) = frame.delta
                    && let Some(reason) = serde_json::from_str::<Object>(delta.get())?.text("stop_reason")
                {
                    self.reason = match reason.as_str() {
                        "end_turn" | "stop_sequence" => FinishReason::Stop,
                        "tool_use" => FinishReason::ToolCalls,
                        "max_tokens" | "model_context_window_exceeded" => FinishReason::Length,
                        "refusal" => FinishReason::ContentFilter,
                        _ => FinishReason::Other,
                    };
                }
                if let Some(usage) = frame.usage {
                    self.usage(usage)?;
                }
            }
            "message_stop" => self.finish(out),
            "error" => return Err(WireError::from_value(&serde_json::from_str(data)?)),
            _ => {}
        }
        Ok(())
    }

    fn done(&self) -> bool {
        self.done
    }
}
