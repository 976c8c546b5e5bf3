//! From a request to what is sent back: which rule, and its pieces as chunks.

use super::{
    script::{Failing, Piece, Say, Script, Spoken, ToolUse, When},
    validate::Asked,
};
use serde_json::{Value, json};
use std::{
    borrow::Cow,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    time::Duration,
};

/// Longest piece of a template value that is quoted, in characters: an answer is no copy of a log.
const MAX_QUOTE: usize = 4000;
/// Words of what was said that make a title.
const MAX_WORDS: usize = 6;

/// Plays a script; counts how often each rule was played.
pub(super) struct Player {
    script: Script,
    played: Vec<AtomicU32>,
    answers: AtomicU64,
}

/// One thing to send.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    /// Wait, then send this event data.
    Data(Duration, String),
    /// Close the connection in the middle of the answer.
    Cut,
}

/// The answer to a request.
#[derive(Debug, PartialEq)]
pub(super) enum Answer {
    /// An error status, its `retry-after` and its body.
    Status(u16, Option<String>, Value),
    /// A stream.
    Stream(Vec<Step>),
}

impl Player {
    pub(super) fn new(mut script: Script) -> Self {
        script.rules.extend(Script::default().rules); // what the script leaves open
        let played = script.rules.iter().map(|_| AtomicU32::new(0)).collect();
        Self { script, played, answers: AtomicU64::new(0) }
    }

    /// The pieces of the first rule that holds.
    fn choose(&self, asked: &Asked) -> &[Piece] {
        let rule = self.script.rules.iter().zip(&self.played).find(|(rule, played)| {
            holds(&rule.when, asked)
                && rule.times.is_none_or(|times| {
                    played
                        .try_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < times).then_some(n + 1))
                        .is_ok()
                })
        });
        rule.map_or(&[], |(rule, _)| &rule.reply)
    }

    pub(super) fn answer(&self, asked: &Asked) -> Answer {
        let number = self.answers.fetch_add(1, Ordering::Relaxed);
        let mut writer = Writer::new(format!("chatcmpl-scripted-{number}"), asked);
        for piece in self.choose(asked) {
            match piece {
                Piece::Say(say) => writer.say(say),
                Piece::ToolCall(call) => writer.call(call, number),
                Piece::Cut => {
                    writer.steps.push(Step::Cut);
                    return Answer::Stream(writer.steps);
                }
                Piece::Error(Failing { status, retry_after, body }) => {
                    let body =
                        body.clone().unwrap_or_else(|| json!({ "error": { "message": "scripted error" } }));
                    if writer.steps.is_empty() {
                        return Answer::Status(*status, retry_after.clone(), body);
                    }
                    writer.steps.push(Step::Data(Duration::ZERO, body.to_string()));
                    return Answer::Stream(writer.steps);
                }
            }
        }
        Answer::Stream(writer.finish())
    }
}

fn holds(when: &When, asked: &Asked) -> bool {
    let has = |hay: &str, needle: &Option<String>| {
        needle.as_ref().is_none_or(|n| hay.to_lowercase().contains(&n.to_lowercase()))
    };
    let after = asked.last_answer.as_ref().map_or("", |(name, _)| name);
    has(&asked.last_user, &when.last_user_contains)
        && has(&asked.system, &when.system_contains)
        && when.after_tool.as_ref().is_none_or(|tool| tool == after)
        && when.has_tool.as_ref().is_none_or(|tool| asked.tools.contains(tool))
        && when.schema == asked.schema
}

struct Writer<'a> {
    id: String,
    asked: &'a Asked,
    steps: Vec<Step>,
    calls: usize,
    chars: usize,
    reasoning_chars: usize,
}

impl<'a> Writer<'a> {
    fn new(id: String, asked: &'a Asked) -> Self {
        Self { id, asked, steps: Vec::new(), calls: 0, chars: 0, reasoning_chars: 0 }
    }

    fn chunk(&mut self, delay: Duration, choices: &Value, usage: &Value) {
        let chunk = json!({
            "id": self.id, "object": "chat.completion.chunk", "created": 0, "model": self.asked.model,
            "choices": choices, "usage": usage,
        });
        self.steps.push(Step::Data(delay, chunk.to_string()));
    }

    fn delta(&mut self, delay: Duration, delta: &Value) {
        self.chunk(delay, &json!([{ "index": 0, "delta": delta, "finish_reason": null }]), &Value::Null);
    }

    fn say(&mut self, say: &Say) {
        let (key, template) = match &say.spoken {
            Spoken::Text(text) => ("content", text),
            Spoken::Reasoning(text) => ("reasoning_content", text),
        };
        let text: Vec<char> = self.fill(template).chars().collect();
        self.chars += text.len();
        if key == "reasoning_content" {
            self.reasoning_chars += text.len();
        }
        for piece in text.chunks(say.chunk_chars) {
            let piece: String = piece.iter().collect();
            self.delta(Duration::from_millis(say.delay_ms), &json!({ "role": "assistant", key: piece }));
        }
    }

    fn call(&mut self, call: &ToolUse, number: u64) {
        let index = self.calls;
        self.calls += 1;
        let args = self.fill_value(&Value::Object(call.args.clone())).to_string();
        self.chars += args.len();
        // Unique in all chats: calls are told apart by their ids.
        let id = format!("call_{}_{number}_{index}", uuid::Uuid::now_v7().simple());
        let function = json!({ "name": call.name, "arguments": "" });
        let start = json!({ "index": index, "id": id, "type": "function", "function": function });
        self.delta(Duration::ZERO, &json!({ "tool_calls": [start] }));
        let args: Vec<char> = args.chars().collect();
        for piece in args.chunks(16) {
            let piece: String = piece.iter().collect();
            let delta = json!({ "index": index, "function": { "arguments": piece } });
            self.delta(Duration::ZERO, &json!({ "tool_calls": [delta] }));
        }
    }

    fn finish(mut self) -> Vec<Step> {
        let reason = if self.calls > 0 { "tool_calls" } else { "stop" };
        let choices = json!([{ "index": 0, "delta": {}, "finish_reason": reason }]);
        self.chunk(Duration::ZERO, &choices, &Value::Null);
        // A token is about four characters.
        let (prompt, completion) = (self.asked.chars.div_ceil(4), self.chars.div_ceil(4));
        let usage = json!({
            "prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion,
            "completion_tokens_details": { "reasoning_tokens": self.reasoning_chars.div_ceil(4) },
        });
        self.chunk(Duration::ZERO, &json!([]), &usage);
        self.steps.push(Step::Data(Duration::ZERO, "[DONE]".to_owned()));
        self.steps
    }

    /// Replaces the placeholders in one pass, so that a value which looks like one is left alone.
    fn fill(&self, template: &str) -> String {
        let mut filled = String::with_capacity(template.len());
        let mut rest = template;
        while let Some((before, after)) = rest.split_once("{{") {
            filled.push_str(before);
            let value = after.split_once("}}").and_then(|(name, tail)| {
                let value: Cow<'_, str> = match name.trim() {
                    "last_user" => self.asked.last_user.as_str().into(),
                    "last_tool_output" => self.asked.last_output.as_str().into(),
                    "model" => self.asked.model.as_str().into(),
                    "said" => said(&self.asked.last_user).into(),
                    "working_directory" => working_directory(&self.asked.system).into(),
                    name => within(&self.asked.last_output, name.strip_prefix("last_tool_output")?)?.into(),
                };
                Some((value, tail))
            });
            match value {
                Some((value, tail)) => {
                    filled.extend(value.chars().take(MAX_QUOTE));
                    rest = tail;
                }
                None => {
                    filled.push_str("{{");
                    rest = after;
                }
            }
        }
        filled + rest
    }

    fn fill_value(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.fill(text)),
            Value::Array(list) => list.iter().map(|v| self.fill_value(v)).collect(),
            Value::Object(map) => map.iter().map(|(k, v)| (k.clone(), self.fill_value(v))).collect(),
            other => other.clone(),
        }
    }
}

/// The value at a JSON pointer in a tool's output; text without its quotes.
fn within(output: &str, pointer: &str) -> Option<String> {
    let output: Value = serde_json::from_str(output).ok()?;
    match output.pointer(pointer)? {
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// The first words of what the user said, as they may stand in a JSON string. A question that shows a conversation has them
/// behind a line that ends in `user message:`; what was said last counts.
fn said(shown: &str) -> String {
    let headline = |line: &str| line.to_lowercase().ends_with("user message:");
    let mut parts = shown.split_inclusive('\n').map(str::trim_end);
    let last = parts.clone().rfind(|line| headline(line));
    if let Some(last) = last {
        parts.by_ref().find(|line| *line == last);
    }
    let words = parts.take_while(|line| !line.is_empty()).flat_map(str::split_whitespace).take(MAX_WORDS);
    let said = words.collect::<Vec<_>>().join(" ");
    let said: String = said.chars().filter(|c| !c.is_control() && !matches!(c, '"' | '\\')).collect();
    if said.is_empty() { "A scripted chat".to_owned() } else { said }
}

/// The folder that the system text names, as a real model would find it; `.` when it names none.
fn working_directory(system: &str) -> &str {
    system.lines().find_map(|line| line.strip_prefix("Working Directory: ")).map_or(".", str::trim)
}
