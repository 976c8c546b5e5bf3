//! A Responses stream to events.

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
use serde_json::{Value, json};
use std::{borrow::Cow, collections::HashSet};

#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(rename = "type", borrow, default)]
    kind: Cow<'a, str>,
    #[serde(default)]
    output_index: u64,
    #[serde(default)]
    content_index: u64,
    #[serde(default)]
    summary_index: u64,
    delta: Option<Json>,
    item: Option<Json>,
    response: Option<Json>,
    annotation: Option<Json>,
}

/// A block of text or reasoning, by item and part.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    Text(u64, u64),
    Reasoning(u64, u64),
}

struct Call {
    output_index: u64,
    id: String,
    name: String,
    args: String,
    provider_executed: bool,
    complete: bool,
}

/// Decoder of one answer.
pub(in crate::llm) struct Decoder {
    model: String,
    salt: String,
    open: Option<Open>,
    calls: Vec<Call>,
    items: Vec<(u64, Json)>,
    cited: HashSet<String>,
    /// Items whose text came by deltas, so that it is not given again at their end.
    spoken: HashSet<u64>,
    response_id: Option<String>,
    done: bool,
}

impl Decoder {
    /// A decoder for an answer of `model`; `salt` as in [`wire::decoder`].
    pub(in crate::llm) fn new(model: &str, salt: &str) -> Self {
        Self {
            model: model.to_owned(),
            salt: salt.to_owned(),
            open: None,
            calls: Vec::new(),
            items: Vec::new(),
            cited: HashSet::new(),
            spoken: HashSet::new(),
            response_id: None,
            done: false,
        }
    }

    fn switch(&mut self, to: Option<Open>, out: &mut Vec<Event>) {
        if self.open == to {
            return;
        }
        match self.open {
            Some(Open::Text(..)) => out.push(Event::TextEnd),
            Some(Open::Reasoning(..)) => out.push(Event::ReasoningEnd),
            None => {}
        }
        match to {
            Some(Open::Text(..)) => out.push(Event::TextStart),
            Some(Open::Reasoning(..)) => out.push(Event::ReasoningStart),
            None => {}
        }
        self.open = to;
    }

    fn text(&mut self, to: Open, delta: String, out: &mut Vec<Event>) {
        if delta.is_empty() {
            return;
        }
        let (Open::Text(item, _) | Open::Reasoning(item, _)) = to;
        if self.spoken.len() < MAX_BLOCKS {
            self.spoken.insert(item);
        }
        self.switch(Some(to), out);
        out.push(match to {
            Open::Text(..) => Event::TextDelta(delta),
            Open::Reasoning(..) => Event::ReasoningDelta(delta),
        });
    }

    fn item_added(
        &mut self,
        output_index: u64,
        item: &Object,
        out: &mut Vec<Event>,
    ) -> Result<(), WireError> {
        let kind = item.text("type").unwrap_or_default();
        let (id, name, provider_executed) = match kind.as_str() {
            "function_call" => (item.text("call_id"), item.text("name"), false),
            "web_search_call" => (item.text("id"), Some("web_search".to_owned()), true),
            _ => return Ok(()),
        };
        if self.calls.len() >= MAX_BLOCKS {
            return Err(WireError::Malformed("too many calls".into()));
        }
        let at = self.calls.len();
        let id = wire::call_id(id, self.calls.iter().map(|c| c.id.as_str()), &self.salt, at);
        let name = name.unwrap_or_default();
        self.switch(None, out);
        out.push(Event::ToolInputStart { id: id.clone(), name: name.clone(), provider_executed });
        self.calls.push(Call {
            output_index,
            id,
            name,
            args: String::new(),
            provider_executed,
            complete: false,
        });
        Ok(())
    }

    fn item_done(&mut self, output_index: u64, raw: Json, out: &mut Vec<Event>) -> Result<(), WireError> {
        let item: Object = raw.read()?;
        if self.items.len() >= MAX_BLOCKS {
            return Err(WireError::Malformed("too many output items".into()));
        }
        self.items.push((output_index, raw));
        let kind = item.text("type").unwrap_or_default();
        match kind.as_str() {
            "function_call" | "web_search_call" => {
                if !self.calls.iter().any(|c| c.output_index == output_index) {
                    self.item_added(output_index, &item, out)?;
                }
                self.complete_call(output_index, Some(&item), out);
            }
            "image_generation_call" => {
                if let Some(data) = item.text("result") {
                    let format = item.text("output_format").unwrap_or_else(|| "png".to_owned());
                    out.push(Event::File { media_type: format!("image/{format}"), data });
                }
            }
            "message" => {
                for (at, part) in (0..)
                    .zip(item.get("content").and_then(|c| c.read::<Vec<Value>>().ok()).unwrap_or_default())
                {
                    let text = part.get("text").or_else(|| part.get("refusal")).and_then(Value::as_str);
                    if let Some(text) = text
                        && !self.spoken.contains(&output_index)
                    {
                        self.switch(Some(Open::Text(output_index, at)), out);
                        out.push(Event::TextDelta(text.to_owned()));
                    }
                    for note in part.get("annotations").and_then(Value::as_array).into_iter().flatten() {
                        self.source(note, out);
                    }
                }
                self.switch(None, out);
            }
            "reasoning" => self.switch(None, out),
            _ => {}
        }
        Ok(())
    }

    /// `item` is absent when the answer ended before the call's own end.
    fn complete_call(&mut self, output_index: u64, item: Option<&Object>, out: &mut Vec<Event>) {
        let Some(call) = self.calls.iter_mut().find(|c| c.output_index == output_index && !c.complete) else {
            return;
        };
        call.complete = true;
        let key = if call.provider_executed { "action" } else { "arguments" };
        let full = item.and_then(|i| i.get(key)).filter(|a| a.get() != "null");
        if let Some(full) = full {
            call.args = full.read::<String>().unwrap_or_else(|_| full.get().to_owned());
        }
        if call.args.trim().is_empty() {
            call.args = "{}".to_owned();
        }
        out.push(Event::ToolCall {
            id: call.id.clone(),
            name: call.name.clone(),
            args: call.args.clone(),
            provider_executed: call.provider_executed,
        });
        if call.provider_executed
            && let Some(item) = item
        {
            let mut result = Object::new();
            result.set_some("status", item.get("status"));
            result.set_some("action", item.get("action"));
            out.push(Event::ProviderResult {
                id: call.id.clone(),
                name: call.name.clone(),
                result: result.json(),
                is_error: item.text("status").as_deref() == Some("failed"),
            });
        }
    }

    fn source(&mut self, note: &Value, out: &mut Vec<Event>) {
        if let Some(url) = note.get("url").and_then(Value::as_str)
            && self.cited.insert(url.to_owned())
        {
            let title = note.get("title").and_then(Value::as_str).map(str::to_owned);
            out.push(Event::Source { url: url.to_owned(), id: None, title });
        }
    }

    fn finish(&mut self, response: &Value, out: &mut Vec<Event>) {
        self.switch(None, out);
        let open: Vec<u64> = self.calls.iter().filter(|c| !c.complete).map(|c| c.output_index).collect();
        // The stored items must hold every call that is announced, or its answer would have no call.
        let whole = open.is_empty();
        for output_index in open {
            self.complete_call(output_index, None, out);
        }
        let local_calls = self.calls.iter().any(|c| !c.provider_executed);
        let reason = match response.pointer("/incomplete_details/reason").and_then(Value::as_str) {
            Some("max_output_tokens") => FinishReason::Length,
            Some("content_filter") => FinishReason::ContentFilter,
            Some(_) => FinishReason::Other,
            None if response.get("status").and_then(Value::as_str) == Some("incomplete") => {
                FinishReason::Other
            }
            None if local_calls => FinishReason::ToolCalls,
            None => FinishReason::Stop,
        };
        let cached = tokens(response, "/usage/input_tokens_details/cached_tokens");
        let usage = Usage {
            // The prompt count includes what came from the cache.
            input_tokens: (tokens(response, "/usage/input_tokens") - cached).max(0),
            output_tokens: tokens(response, "/usage/output_tokens"),
            total_tokens: tokens(response, "/usage/total_tokens"),
            reasoning_tokens: tokens(response, "/usage/output_tokens_details/reasoning_tokens"),
            cache_creation_tokens: 0,
            cache_read_tokens: cached,
        };
        self.items.sort_by_key(|(output_index, _)| *output_index);
        let items: Vec<Json> = std::mem::take(&mut self.items).into_iter().map(|(_, item)| item).collect();
        self.done = true;
        out.push(Event::Finish(Finish {
            reason,
            usage,
            response_id: self.response_id.take(),
            context_limit: context_limit(
                response,
                &["output", "instructions", "tools", "input", "metadata", "text"],
            ),
            native: (whole && !items.is_empty()).then(|| Native {
                format: WireFormat::OpenaiResponses,
                model: self.model.clone(),
                items,
            }),
        }));
    }
}

impl Wire for Decoder {
    fn feed(&mut self, _: &str, data: &str, out: &mut Vec<Event>) -> Result<(), WireError> {
        if self.done || data.trim().is_empty() || data.trim() == "[DONE]" {
            return Ok(());
        }
        let frame: Frame<'_> = serde_json::from_str(data)?;
        let delta = || frame.delta.as_ref().and_then(|d| d.read::<String>().ok()).unwrap_or_default();
        let at = frame.output_index;
        match frame.kind.as_ref() {
            // An error of a gateway in front, in nobody's format.
            "" if serde_json::from_str::<Object>(data)?.has("error") => {
                return Err(WireError::from_value(&serde_json::from_str(data)?));
            }
            "response.created" | "response.in_progress" => {
                if let Some(response) = &frame.response {
                    self.response_id = response.read::<Object>()?.text("id").or(self.response_id.take());
                }
            }
            "response.output_item.added" => {
                if let Some(item) = &frame.item {
                    self.item_added(at, &item.read()?, out)?;
                }
            }
            "response.output_item.done" => {
                if let Some(item) = frame.item {
                    self.item_done(at, item, out)?;
                }
            }
            "response.output_text.delta" | "response.refusal.delta" => {
                self.text(Open::Text(at, frame.content_index), delta(), out);
            }
            "response.reasoning_summary_text.delta" => {
                self.text(Open::Reasoning(at, frame.summary_index), delta(), out);
            }
            // Raw reasoning of open models. Numbered apart from the summaries of the same item.
            "response.reasoning_text.delta" => {
                self.text(Open::Reasoning(at, frame.content_index | 1 << 32), delta(), out);
            }
            "response.content_part.done" | "response.reasoning_summary_part.done" => self.switch(None, out),
            "response.output_text.annotation.added" => {
                if let Some(note) = &frame.annotation {
                    self.source(&note.read()?, out);
                }
            }
            "response.function_call_arguments.delta" => {
                let delta = delta();
                if let Some(call) = self.calls.iter_mut().find(|c| c.output_index == at && !c.complete)
                    && !delta.is_empty()
                {
                    call.args.push_str(&delta);
                    out.push(Event::ToolInputDelta { id: call.id.clone(), delta });
                }
            }
            "response.completed" | "response.incomplete" => {
                let response: Value = frame.response.map_or(Ok(Value::Null), |r| r.read())?;
                if let Some(id) = response.get("id").and_then(Value::as_str) {
                    self.response_id = Some(id.to_owned());
                }
                // Some servers give the items here only.
                if self.items.is_empty() && self.calls.is_empty() {
                    let output: Vec<Json> = response
                        .get("output")
                        .and_then(Value::as_array)
                        .map(|items| items.iter().map(Json::of).collect())
                        .unwrap_or_default();
                    for (at, item) in (0..).zip(output) {
                        self.item_done(at, item, out)?;
                    }
                }
                self.finish(&response, out);
            }
            "response.failed" => {
                let response: Value = frame.response.map_or(Ok(Value::Null), |r| r.read())?;
                // Without a reason the whole response would be quoted, prompt included.
                let reason = response.get("error").filter(|e| !e.is_null()).cloned();
                let unnamed = || json!({ "code": "server_error", "message": "the response failed" });
                return Err(WireError::from_value(&reason.unwrap_or_else(unnamed)));
            }
            "error" => {
                let mut value: Value = serde_json::from_str(data)?;
                if let Some(map) = value.as_object_mut() {
                    map.remove("type"); // `error`, which says nothing
                }
                return Err(WireError::from_value(&value));
            }
            _ => {}
        }
        Ok(())
    }

    fn done(&self) -> bool {
        self.done
    }
}
