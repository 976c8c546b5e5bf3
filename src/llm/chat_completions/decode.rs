//! A Chat Completions stream to events.
//!
//! Tolerated: reasoning as `reasoning_content`, `reasoning`, `reasoning_details` or typed content parts;
//! call deltas without index or id, with one index for all, or with whole arguments (text or object);
//! calls without any id; usage in any chunk; no `[DONE]`; `stop` as the reason of an answer with calls;
//! error objects in the stream.

use crate::{
    chat::{json::Json, message::Usage},
    llm::{
        event::{Event, Finish, FinishReason},
        object::Object,
        request::{Native, WireFormat},
        wire::{self, MAX_BLOCKS, Wire, WireError, context_limit, tokens},
    },
};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Value, value::RawValue};
use std::collections::HashSet;

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    choices: Option<Vec<Choice>>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    object: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Choice {
    index: Option<u64>,
    delta: Option<Delta>,
    finish_reason: Option<String>,
    error: Option<Value>,
}

#[derive(Deserialize, Default)]
struct Delta {
    content: Option<Json>,
    refusal: Option<String>,
    reasoning_content: Option<Json>,
    reasoning: Option<Json>,
    reasoning_details: Option<Json>,
    tool_calls: Option<Vec<Json>>,
    annotations: Option<Json>,
    images: Option<Json>,
    extra_content: Option<Json>,
}

#[derive(Deserialize)]
struct Function {
    name: Option<String>,
    arguments: Option<Json>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    Text,
    Reasoning,
}

struct Call {
    index: Option<u64>,
    id: String,
    name: String,
    args: String,
    started: bool,
    /// Keys that must go back with the call, such as Google's thought signature.
    extra: Object,
}

impl Call {
    /// Whether a piece with this name, and without an id, begins another call. Some servers repeat the name
    /// with each piece of the arguments.
    fn is_followed_by(&self, name: &str, args: &str) -> bool {
        let whole = |text: &str| {
            text.starts_with('{') && text.ends_with('}') && serde_json::from_str::<IgnoredAny>(text).is_ok()
        };
        !self.name.is_empty() && (self.name != name || !args.trim().is_empty() && whole(self.args.trim()))
    }
}

/// Decoder of one answer.
pub(in crate::llm) struct Decoder {
    model: String,
    salt: String,
    open: Option<Open>,
    calls: Vec<Call>,
    cited: HashSet<String>,
    reasoning: String,
    /// The key the server uses for its reasoning text.
    reasoning_key: Option<&'static str>,
    details: Vec<Object>,
    extra_content: Option<Json>,
    usage: Usage,
    response_id: Option<String>,
    context_limit: Option<i64>,
    reason: Option<FinishReason>,
    said_something: bool,
    done: bool,
}

impl Decoder {
    /// A decoder for an answer of `model`. `salt` goes into the ids of calls that have none.
    pub(in crate::llm) fn new(model: &str, salt: &str) -> Self {
        Self {
            model: model.to_owned(),
            salt: salt.to_owned(),
            open: None,
            calls: Vec::new(),
            cited: HashSet::new(),
            reasoning: String::new(),
            reasoning_key: None,
            details: Vec::new(),
            extra_content: None,
            usage: Usage::default(),
            response_id: None,
            context_limit: None,
            reason: None,
            said_something: false,
            done: false,
        }
    }

    fn switch(&mut self, to: Option<Open>, out: &mut Vec<Event>) {
        if self.open == to {
            return;
        }
        match self.open {
            Some(Open::Text) => out.push(Event::TextEnd),
            Some(Open::Reasoning) => out.push(Event::ReasoningEnd),
            None => {}
        }
        match to {
            Some(Open::Text) => out.push(Event::TextStart),
            Some(Open::Reasoning) => out.push(Event::ReasoningStart),
            None => {}
        }
        self.open = to;
    }

    fn say(&mut self, text: String, out: &mut Vec<Event>) {
        if !text.is_empty() {
            self.said_something = true;
            self.switch(Some(Open::Text), out);
            out.push(Event::TextDelta(text));
        }
    }

    fn reason_aloud(&mut self, text: String, out: &mut Vec<Event>) {
        if !text.is_empty() {
            self.switch(Some(Open::Reasoning), out);
            out.push(Event::ReasoningDelta(text));
        }
    }

    fn delta(&mut self, delta: Delta, out: &mut Vec<Event>) -> Result<(), WireError> {
        // OpenRouter sends `reasoning` and `reasoning_details` together, some servers both text keys: one is enough.
        let sources = [("reasoning_content", delta.reasoning_content), ("reasoning", delta.reasoning)];
        let mut spoken = false;
        for (key, value) in sources {
            let text = value.and_then(|v| v.read::<String>().ok()).filter(|t| !t.is_empty());
            if let Some(text) = text
                && *self.reasoning_key.get_or_insert(key) == key
            {
                spoken = true;
                self.reasoning.push_str(&text);
                self.reason_aloud(text, out);
            }
        }
        if let Some(details) = delta.reasoning_details {
            for detail in details.read::<Vec<Object>>().unwrap_or_default() {
                if !spoken && let Some(text) = detail.text("text").or_else(|| detail.text("summary")) {
                    self.reason_aloud(text, out);
                }
                self.detail(detail)?;
            }
        }
        let thought = delta
            .extra_content
            .as_ref()
            .and_then(|e| e.read::<Value>().ok())
            .is_some_and(|e| e.pointer("/google/thought") == Some(&Value::Bool(true)));
        if let Some(extra) = delta.extra_content.filter(|_| !thought) {
            self.extra_content = Some(extra);
        }
        match delta.content {
            Some(content) if thought => {
                let text = content.read::<String>().unwrap_or_default();
                self.reason_aloud(text.replace("<thought>", "").replace("</thought>", ""), out);
            }
            Some(content) => self.content(&content, out),
            None => {}
        }
        if let Some(refusal) = delta.refusal {
            self.say(refusal, out);
        }
        for call in delta.tool_calls.unwrap_or_default() {
            self.call(&call, out)?;
        }
        self.annotations(delta.annotations, out);
        for image in delta.images.and_then(|i| i.read::<Vec<Value>>().ok()).unwrap_or_default() {
            let url = image.pointer("/image_url/url").and_then(Value::as_str).unwrap_or_default();
            if let Some((media_type, data)) = url.strip_prefix("data:").and_then(|u| u.split_once(";base64,"))
            {
                self.said_something = true;
                out.push(Event::File { media_type: media_type.to_owned(), data: data.to_owned() });
            }
        }
        Ok(())
    }

    /// Text, or typed parts (Mistral): `[{"type": "thinking", "thinking": [{"text"}]}, {"type": "text"}]`.
    fn content(&mut self, content: &Json, out: &mut Vec<Event>) {
        if let Ok(text) = content.read::<String>() {
            return self.say(text, out);
        }
        for part in content.read::<Vec<Value>>().unwrap_or_default() {
            if let Some(text) = part.get("text").and_then(Value::as_str) {
                self.say(text.to_owned(), out);
            }
            for thought in part.get("thinking").and_then(Value::as_array).into_iter().flatten() {
                let text = thought.get("text").and_then(Value::as_str).unwrap_or_default();
                self.reason_aloud(text.to_owned(), out);
            }
        }
    }

    fn annotations(&mut self, annotations: Option<Json>, out: &mut Vec<Event>) {
        for note in annotations.and_then(|a| a.read::<Vec<Value>>().ok()).unwrap_or_default() {
            let citation = note.get("url_citation").unwrap_or(&note);
            if let Some(url) = citation.get("url").and_then(Value::as_str)
                && self.cited.insert(url.to_owned())
            {
                let title = citation.get("title").and_then(Value::as_str).map(str::to_owned);
                out.push(Event::Source { url: url.to_owned(), id: None, title });
            }
        }
    }

    /// Pieces of one detail share type and index; their texts are joined, their other keys replaced.
    fn detail(&mut self, piece: Object) -> Result<(), WireError> {
        let same =
            |d: &&mut Object| d.get("type") == piece.get("type") && d.get("index") == piece.get("index");
        let has_index = piece.get("index").is_some_and(|i| i.get() != "null");
        let Some(detail) = self.details.last_mut().filter(same).filter(|_| has_index) else {
            if self.details.len() >= MAX_BLOCKS {
                return Err(WireError::Malformed("too many reasoning details".into()));
            }
            self.details.push(piece);
            return Ok(());
        };
        for (key, value) in piece.iter().filter(|(_, v)| v.get() != "null") {
            match (key, detail.text(key), value.read::<String>()) {
                ("text" | "summary" | "data", Some(before), Ok(more)) => detail.set(key, &(before + &more)),
                _ => detail.set(key, value),
            }
        }
        Ok(())
    }

    fn call(&mut self, raw: &Json, out: &mut Vec<Event>) -> Result<(), WireError> {
        let Ok(fields) = raw.read::<Object>() else { return Ok(()) };
        let index = fields.get("index").and_then(|i| i.read::<u64>().ok());
        let id = fields.text("id").filter(|i| !i.is_empty());
        let function = fields.get("function").and_then(|f| f.read::<Function>().ok());
        let (name, arguments) =
            function.map_or((None, None), |f| (f.name.filter(|n| !n.is_empty()), f.arguments));
        let args = match arguments {
            None => String::new(),
            Some(a) if a.get() == "null" => String::new(),
            Some(a) => a.read::<String>().unwrap_or_else(|_| a.get().to_owned()),
        };

        // The same index with another id and a name is a new call: some servers number them all 0. Where
        // they give no ids either, the name or arguments that are whole tell.
        let known = match (index, &id) {
            (Some(i), id) => self.calls.iter().rposition(|c| {
                c.index == Some(i)
                    && match (&name, id) {
                        (None, _) => true,
                        (Some(_), Some(id)) => c.id.is_empty() || c.id == *id,
                        (Some(name), None) => !c.is_followed_by(name, &args),
                    }
            }),
            (None, Some(id)) => self.calls.iter().rposition(|c| c.id == *id),
            (None, None) if name.is_some() => None,
            (None, None) => self.calls.len().checked_sub(1),
        };
        let at = match known {
            Some(at) => at,
            None if self.calls.len() >= MAX_BLOCKS => {
                return Err(WireError::Malformed("too many calls".into()));
            }
            None => {
                let extra = Object::new();
                self.calls.push(Call {
                    index,
                    id: String::new(),
                    name: String::new(),
                    args: String::new(),
                    started: false,
                    extra,
                });
                self.calls.len() - 1
            }
        };
        for (key, value) in fields.iter().filter(|(k, _)| !matches!(*k, "index" | "id" | "type" | "function"))
        {
            self.calls[at].extra.set(key, value);
        }
        if id.is_some() && self.calls[at].id.is_empty() {
            self.calls[at].id = wire::call_id(id, self.calls.iter().map(|c| c.id.as_str()), &self.salt, at);
        }
        if let Some(name) = name
            && self.calls[at].name.is_empty()
        {
            self.calls[at].name = name;
        }
        self.calls[at].args.push_str(&args);
        if !self.calls[at].name.is_empty() {
            self.switch(None, out);
            let begun = self.calls[at].started;
            self.announce(at, out);
            let call = &self.calls[at];
            // What came before the name is part of the first delta.
            let delta = if begun { args } else { call.args.clone() };
            if !delta.is_empty() {
                out.push(Event::ToolInputDelta { id: call.id.clone(), delta });
            }
        }
        Ok(())
    }

    fn announce(&mut self, at: usize, out: &mut Vec<Event>) {
        let call = &mut self.calls[at];
        if std::mem::replace(&mut call.started, true) {
            return;
        }
        if call.id.is_empty() {
            call.id = wire::call_id(None, std::iter::empty(), &self.salt, at);
        }
        out.push(Event::ToolInputStart {
            id: call.id.clone(),
            name: call.name.clone(),
            provider_executed: false,
        });
    }

    fn complete(&mut self, out: &mut Vec<Event>) {
        self.switch(None, out);
        self.calls.retain(|c| !(c.name.is_empty() && c.args.trim().is_empty()));
        for at in 0..self.calls.len() {
            if self.calls[at].name.is_empty() {
                self.calls[at].name = "unknown".to_owned();
            }
            self.announce(at, out);
            let call = &self.calls[at];
            let args = if call.args.trim().is_empty() { "{}".to_owned() } else { call.args.clone() };
            out.push(Event::ToolCall {
                id: call.id.clone(),
                name: call.name.clone(),
                args,
                provider_executed: false,
            });
        }
        let reason = match self.reason {
            // Some servers say `stop`, or nothing, for an answer with calls; and calls for one without.
            None | Some(FinishReason::Stop) if !self.calls.is_empty() => FinishReason::ToolCalls,
            Some(FinishReason::ToolCalls) if self.calls.is_empty() => FinishReason::Stop,
            None if self.said_something => FinishReason::Stop,
            None => FinishReason::Other,
            Some(reason) => reason,
        };
        self.done = true;
        let native = self.native();
        out.push(Event::Finish(Finish {
            reason,
            usage: self.usage,
            response_id: self.response_id.take(),
            context_limit: self.context_limit,
            native,
        }));
    }

    /// The keys of the message that are not in the neutral parts.
    fn native(&mut self) -> Option<Native> {
        let mut extra = Object::new();
        if let Some(key) = self.reasoning_key
            && !self.reasoning.is_empty()
        {
            extra.set(key, &self.reasoning);
        }
        if !self.details.is_empty() {
            extra.set("reasoning_details", &self.details);
        }
        extra.set_some("extra_content", self.extra_content.take());
        // All calls, since the encoder finds them by their place.
        if self.calls.iter().any(|c| !c.extra.is_empty()) {
            let calls: Vec<&Object> = self.calls.iter().map(|c| &c.extra).collect();
            extra.set("tool_calls", &calls);
        }
        (!extra.is_empty()).then(|| Native {
            format: WireFormat::ChatCompletions,
            model: self.model.clone(),
            items: vec![extra.json()],
        })
    }

    fn usage(&mut self, raw: &RawValue) {
        let Ok(value) = serde_json::from_str::<Value>(raw.get()) else { return };
        if !value.is_object() {
            return;
        }
        let read = tokens(&value, "/prompt_tokens_details/cached_tokens")
            .max(tokens(&value, "/prompt_cache_hit_tokens"));
        let written = tokens(&value, "/prompt_tokens_details/cache_write_tokens")
            .max(tokens(&value, "/prompt_tokens_details/cache_creation_tokens"));
        let prompt = tokens(&value, "/prompt_tokens");
        self.usage = Usage {
            // The prompt count includes what came from the cache.
            input_tokens: (prompt - read - written).max(0),
            output_tokens: tokens(&value, "/completion_tokens"),
            total_tokens: tokens(&value, "/total_tokens"),
            reasoning_tokens: tokens(&value, "/completion_tokens_details/reasoning_tokens"),
            cache_creation_tokens: written,
            cache_read_tokens: read,
        };
        self.context_limit = self.context_limit.max(context_limit(&value, &[]));
    }
}

impl Wire for Decoder {
    fn feed(&mut self, event_name: &str, data: &str, out: &mut Vec<Event>) -> Result<(), WireError> {
        let data = data.trim();
        if self.done || data.is_empty() {
            return Ok(());
        }
        if data == "[DONE]" {
            self.complete(out);
            return Ok(());
        }
        let chunk: Chunk<'_> = serde_json::from_str(data)?;
        let failed = chunk.error.is_some_and(|e| e.get() != "null")
            || event_name == "error"
            || chunk.object.is_some_and(|o| o.get() == "\"error\"");
        if failed {
            return Err(WireError::from_value(&serde_json::from_str(data)?));
        }
        if self.response_id.is_none() {
            let id = chunk.id.and_then(|i| serde_json::from_str::<String>(i.get()).ok());
            self.response_id = id.filter(|i| !i.is_empty());
        }
        if let Some(usage) = chunk.usage {
            self.usage(usage);
        }
        let choices = chunk.choices.unwrap_or_default();
        let bare_usage = choices.is_empty() && chunk.usage.is_some_and(|u| u.get() != "null");
        for choice in choices.into_iter().filter(|c| c.index.is_none_or(|i| i == 0)) {
            if let Some(error) = choice.error.filter(|e| !e.is_null()) {
                return Err(WireError::from_value(&error));
            }
            if let Some(delta) = choice.delta {
                self.delta(delta, out)?;
            }
            match choice.finish_reason.as_deref() {
                None | Some("") => {}
                Some("stop" | "eos" | "end_turn") => self.reason = Some(FinishReason::Stop),
                Some("tool_calls" | "function_call") => self.reason = Some(FinishReason::ToolCalls),
                Some("length" | "max_tokens") => self.reason = Some(FinishReason::Length),
                Some("content_filter") => self.reason = Some(FinishReason::ContentFilter),
                Some(_) => self.reason = Some(FinishReason::Other),
            }
        }
        if bare_usage && self.reason.is_some() {
            self.complete(out); // nothing can follow but [DONE]
        }
        Ok(())
    }

    fn end(&mut self, out: &mut Vec<Event>) {
        if !self.done && self.reason.is_some() {
            self.complete(out);
        }
    }

    fn ending(&self) -> bool {
        self.reason.is_some()
    }

    fn done(&self) -> bool {
        self.done
    }
}
