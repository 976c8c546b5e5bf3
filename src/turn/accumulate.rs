//! Folds the events of one model stream into live parts and into the row that is committed
//! (agent-loop.md §4, §7).

use super::cost::Prices;
use crate::{
    chat::{
        json::Json,
        message::{NewMessage, Part, Role, StepFigures, ToolCallPart, ToolResultPart, Visibility},
    },
    clock::Timestamp,
    ids::{McpServerId, ModelConfigId},
    llm::event::{Event, Finish, FinishReason},
    tools::command_line,
};
use std::collections::HashMap;

/// Most bytes one step may hold before it is given up: several times what the largest output limit
/// of a model can produce, generated images included.
const MAX_STEP_BYTES: usize = 64 * 1024 * 1024;

/// What is known about a step before its first event.
#[derive(Debug, Clone, Default)]
pub struct StepConfig {
    /// The model config in use.
    pub model_config_id: Option<ModelConfigId>,
    /// Its context window in tokens, used when the provider reports none.
    pub context_limit: Option<i64>,
    /// Its prices.
    pub prices: Prices,
    /// External MCP server of each tool that has one.
    pub mcp_servers: HashMap<String, McpServerId>,
}

/// The fold. Feed it each event with the time it arrived, then call [`Accumulator::finish`].
#[derive(Debug)]
pub struct Accumulator {
    config: StepConfig,
    started: Timestamp,
    slots: Vec<Slot>,
    open_text: Option<usize>,
    open_reasoning: Option<usize>,
    calls: HashMap<String, usize>,
    bytes: usize,
    finish: Option<Finish>,
}

/// One part in the making, at its place in the stream.
#[derive(Debug)]
enum Slot {
    Text(String),
    Reasoning { text: String, created_at: Timestamp, completed_at: Option<Timestamp> },
    Call { part: ToolCallPart, input: String },
    Done(Part),
}

/// A finished model step.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The row to commit; `None` when the model said nothing, which ends the turn.
    pub message: Option<NewMessage>,
    /// Figures of the step, also when there is no row.
    pub figures: StepFigures,
    /// Why the model stopped.
    pub reason: FinishReason,
    /// It holds a call that somebody else than the provider has to run.
    pub has_calls: bool,
}

/// Why a stream gave no step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// The stream ended without [`Event::Finish`]; nothing of it is committed.
    #[error("the answer was cut before its end")]
    Cut,
    /// The answer was longer than any model's.
    #[error("the answer is larger than {} MiB", MAX_STEP_BYTES >> 20)]
    TooLarge,
}

/// The model's argument text as stored: JSON as it is, anything else as a JSON string.
fn stored_args(text: &str) -> Json {
    match text.trim() {
        "" => Json::of(&serde_json::Map::new()),
        _ => Json::parse(text.to_owned()).unwrap_or_else(|_| Json::of(text)),
    }
}

impl Step {
    /// The text of the answer, blocks joined by a blank line: a summary, a title.
    #[must_use]
    pub fn text(&self) -> String {
        let parts: Vec<Part> =
            self.message.as_ref().and_then(|message| message.content.read().ok()).unwrap_or_default();
        let texts: Vec<String> = parts
            .into_iter()
            .filter_map(|part| match part {
                Part::Text { text } => Some(text),
                _ => None,
            })
            .collect();
        texts.join("\n\n")
    }
}

impl Accumulator {
    /// A fold for a stream whose request was sent at `started`.
    #[must_use]
    pub fn new(config: StepConfig, started: Timestamp) -> Self {
        Self {
            config,
            started,
            slots: Vec::new(),
            open_text: None,
            open_reasoning: None,
            calls: HashMap::new(),
            bytes: 0,
            finish: None,
        }
    }

    /// Takes one event; returns the live part to publish, if it has one, with its role.
    ///
    /// # Errors
    /// When the answer has become larger than any real one.
    pub fn on(&mut self, event: Event, now: Timestamp) -> Result<Option<(Role, Part)>, Unusable> {
        self.bytes = self.bytes.saturating_add(weight(&event));
        if self.bytes > MAX_STEP_BYTES {
            return Err(Unusable::TooLarge);
        }
        let part = match event {
            Event::TextStart => {
                self.open_text = None;
                None
            }
            Event::TextDelta(text) => Some(self.text(text)),
            Event::TextEnd => {
                self.open_text = None;
                None
            }
            Event::ReasoningStart => {
                self.end_reasoning(now);
                None
            }
            Event::ReasoningDelta(text) => Some(self.reasoning(text, now)),
            Event::ReasoningEnd => self.end_reasoning(now),
            Event::ToolInputStart { id, name, provider_executed } => {
                let index = self.call(&id, &name, provider_executed);
                self.delta(index, String::new(), &name)
            }
            Event::ToolInputDelta { id, delta } => match self.calls.get(&id).copied() {
                Some(index) => self.delta(index, delta, ""),
                None => None,
            },
            Event::ToolCall { id, name, args, provider_executed } => {
                Some(self.complete_call(&id, &name, &args, provider_executed, now))
            }
            Event::ProviderResult { id, name, result, is_error } => {
                let part = Part::ToolResult(ToolResultPart {
                    tool_call_id: id,
                    tool_name: name,
                    result: Some(result),
                    is_error,
                    provider_executed: true,
                    created_at: Some(now),
                    ..ToolResultPart::default()
                });
                self.slots.push(Slot::Done(part.clone()));
                return Ok(Some((Role::Tool, part)));
            }
            Event::Source { url, id, title } => Some(self.done(Part::Source { url, source_id: id, title })),
            Event::File { media_type, data } => {
                Some(self.done(Part::File { media_type, name: None, data: Some(data), file_id: None }))
            }
            Event::Finish(finish) => {
                let part = self.end_reasoning(now);
                self.finish = Some(finish);
                part
            }
        };
        Ok(part.map(|part| (Role::Assistant, part)))
    }

    fn done(&mut self, part: Part) -> Part {
        self.slots.push(Slot::Done(part.clone()));
        part
    }

    fn text(&mut self, piece: String) -> Part {
        let index = *self.open_text.get_or_insert_with(|| {
            self.slots.push(Slot::Text(String::new()));
            self.slots.len() - 1
        });
        if let Some(Slot::Text(text)) = self.slots.get_mut(index) {
            text.push_str(&piece);
        }
        Part::Text { text: piece }
    }

    fn reasoning(&mut self, piece: String, now: Timestamp) -> Part {
        let opens = self.open_reasoning.is_none();
        let index = *self.open_reasoning.get_or_insert_with(|| {
            self.slots.push(Slot::Reasoning { text: String::new(), created_at: now, completed_at: None });
            self.slots.len() - 1
        });
        if let Some(Slot::Reasoning { text, .. }) = self.slots.get_mut(index) {
            text.push_str(&piece);
        }
        Part::Reasoning { text: piece, created_at: opens.then_some(now), completed_at: None }
    }

    /// Ends an open block of reasoning and says so to the followers: its duration is shown.
    fn end_reasoning(&mut self, now: Timestamp) -> Option<Part> {
        let index = self.open_reasoning.take()?;
        if let Some(Slot::Reasoning { completed_at, .. }) = self.slots.get_mut(index) {
            *completed_at = Some(now);
        }
        Some(Part::Reasoning { text: String::new(), created_at: None, completed_at: Some(now) })
    }

    /// The slot of a call, made at its first mention so that it keeps its place in the stream.
    fn call(&mut self, id: &str, name: &str, provider_executed: bool) -> usize {
        if let Some(index) = self.calls.get(id) {
            return *index;
        }
        let part = ToolCallPart {
            tool_call_id: id.to_owned(),
            tool_name: name.to_owned(),
            mcp_server_config_id: self.config.mcp_servers.get(name).copied(),
            provider_executed,
            ..ToolCallPart::default()
        };
        self.slots.push(Slot::Call { part, input: String::new() });
        self.calls.insert(id.to_owned(), self.slots.len() - 1);
        self.slots.len() - 1
    }

    fn delta(&mut self, index: usize, delta: String, name: &str) -> Option<Part> {
        let Some(Slot::Call { part, input }) = self.slots.get_mut(index) else { return None };
        if part.args.is_some() {
            return None; // complete already: late pieces would be appended to nothing
        }
        input.push_str(&delta);
        Some(Part::ToolCall(ToolCallPart {
            tool_call_id: part.tool_call_id.clone(),
            tool_name: if name.is_empty() { part.tool_name.clone() } else { name.to_owned() },
            mcp_server_config_id: part.mcp_server_config_id,
            args_delta: Some(delta),
            provider_executed: part.provider_executed,
            ..ToolCallPart::default()
        }))
    }

    fn complete_call(&mut self, id: &str, name: &str, args: &str, provider: bool, now: Timestamp) -> Part {
        let index = self.call(id, name, provider);
        let args = stored_args(args);
        let complete = ToolCallPart {
            tool_call_id: id.to_owned(),
            tool_name: name.to_owned(),
            mcp_server_config_id: self.config.mcp_servers.get(name).copied(),
            parsed_commands: command_line::parsed_commands(name, &args),
            args: Some(args),
            args_delta: None,
            provider_executed: provider,
            created_at: Some(now),
        };
        if let Some(Slot::Call { part, .. }) = self.slots.get_mut(index) {
            *part = complete.clone();
        }
        Part::ToolCall(complete)
    }

    /// The step, once the stream has ended at `now`.
    ///
    /// A call whose arguments never became complete is kept with what there is of them as a JSON
    /// string, even if that happens to be JSON: its tool refuses it and the model hears why, while
    /// running half a command would be wrong.
    ///
    /// # Errors
    /// When the stream was cut.
    pub fn finish(self, now: Timestamp) -> Result<Step, Unusable> {
        let Finish { reason, usage, response_id, context_limit, native } =
            self.finish.ok_or(Unusable::Cut)?;
        let config = self.config;
        let parts: Vec<Part> = self.slots.into_iter().filter_map(|slot| slot.into_part(now)).collect();
        let figures = StepFigures {
            usage,
            context_limit: context_limit.filter(|limit| *limit > 0).or(config.context_limit),
            cost_micros: config.prices.cost_micros(&usage),
            runtime_ms: i64::try_from(now.since(self.started).as_millis()).ok(),
            provider_response_id: response_id,
        };
        let has_calls = parts.iter().any(|p| matches!(p, Part::ToolCall(c) if !c.provider_executed));
        let message = (!parts.is_empty()).then(|| NewMessage {
            native: native.as_ref().map(Json::of),
            model_config_id: config.model_config_id,
            figures: figures.clone(),
            ..NewMessage::new(Role::Assistant, Visibility::Both, &parts)
        });
        Ok(Step { message, figures, reason, has_calls })
    }
}

impl Slot {
    fn into_part(self, now: Timestamp) -> Option<Part> {
        match self {
            Self::Text(text) => (!text.trim().is_empty()).then_some(Part::Text { text }),
            Self::Reasoning { text, created_at, completed_at } => {
                (!text.trim().is_empty()).then(|| Part::Reasoning {
                    text,
                    created_at: Some(created_at),
                    completed_at: completed_at.or(Some(now)),
                })
            }
            Self::Call { part, input } => Some(Part::ToolCall(match part.args {
                Some(_) => part,
                None => ToolCallPart { args: Some(Json::of(&input)), created_at: Some(now), ..part },
            })),
            Self::Done(part) => Some(part),
        }
    }
}

/// Bytes an event adds to what is held.
fn weight(event: &Event) -> usize {
    match event {
        Event::TextDelta(text) | Event::ReasoningDelta(text) => text.len(),
        Event::ToolInputStart { id, name, .. } => id.len() + name.len(),
        Event::ToolInputDelta { delta, .. } => delta.len(),
        Event::ToolCall { id, name, args, .. } => id.len() + name.len() + args.len(),
        Event::ProviderResult { id, name, result, .. } => id.len() + name.len() + result.get().len(),
        Event::Source { url, id, title } => {
            url.len() + id.as_ref().map_or(0, String::len) + title.as_ref().map_or(0, String::len)
        }
        Event::File { data, .. } => data.len(),
        Event::TextStart | Event::TextEnd | Event::ReasoningStart | Event::ReasoningEnd => 8,
        Event::Finish(_) => 0,
    }
}

#[cfg(test)]
mod tests;
