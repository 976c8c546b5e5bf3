//! Replies in the three wire formats, as server-sent events.

use super::{
    Gate,
    request::{RecordedRequest, Wire},
    script::{Call, Tokens},
};
use serde_json::{Value, json};

/// An event whose name is its `type`, as Anthropic and Responses send it.
fn named(data: &Value) -> String {
    format!("event: {}\ndata: {data}\n\n", data["type"].as_str().expect("an event has a type"))
}

/// An error in the middle of a stream.
pub fn error_frame(wire: Wire, kind: &str, message: &str) -> String {
    match wire {
        Wire::Anthropic => named(&super::error_body(wire, kind, message)),
        Wire::Responses => {
            named(&json!({ "type": "error", "code": kind, "message": message, "param": null }))
        }
        Wire::Chat | Wire::Unknown => format!("data: {}\n\n", super::error_body(wire, kind, message)),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Block {
    Text,
    Reasoning,
}

/// Writes one answer, piece by piece. Keeps which block is open.
pub struct Encoder {
    wire: Wire,
    request: usize,
    model: String,
    tokens: Tokens,
    /// Chat Completions reports usage only when asked to.
    wants_usage: bool,
    open: Option<Block>,
    /// Number of the next content block, output item or tool call.
    next: usize,
    /// Calls made so far.
    made: usize,
    /// Text of the open block.
    text: String,
    /// Finished items of a Responses answer.
    output: Vec<Value>,
    sequence: u64,
}

impl Encoder {
    pub fn new(request: &RecordedRequest, tokens: Tokens) -> Self {
        Self {
            wire: request.wire,
            request: request.index,
            model: request.model().to_owned(),
            tokens,
            wants_usage: request.body["stream_options"]["include_usage"] == json!(true),
            open: None,
            next: 0,
            made: 0,
            text: String::new(),
            output: Vec::new(),
            sequence: 0,
        }
    }

    fn id(&self, prefix: &str) -> String {
        format!("{prefix}_{}", self.request)
    }

    /// A Chat Completions chunk.
    fn chunk(&self, choices: Value, usage: Option<Value>) -> String {
        let mut chunk = json!({ "id": self.id("chatcmpl"), "object": "chat.completion.chunk",
            "created": 1_780_000_000, "model": self.model, "choices": choices });
        if let Some(usage) = usage {
            chunk["usage"] = usage;
        }
        format!("data: {chunk}\n\n")
    }

    fn delta(&self, delta: Value) -> String {
        self.chunk(json!([{ "index": 0, "delta": delta, "finish_reason": null }]), None)
    }

    /// A Responses event.
    fn event(&mut self, mut data: Value) -> String {
        data["sequence_number"] = json!(self.sequence);
        self.sequence += 1;
        named(&data)
    }

    fn response(&self, status: &str) -> Value {
        json!({ "id": self.id("resp"), "object": "response", "created_at": 1_780_000_000, "status": status,
            "model": self.model, "output": self.output, "usage": null, "error": null, "incomplete_details": null })
    }

    /// What comes before any content.
    pub fn begin(&mut self) -> String {
        match self.wire {
            Wire::Chat | Wire::Unknown => self.delta(json!({ "role": "assistant", "content": "" })),
            Wire::Anthropic => {
                let usage = json!({ "input_tokens": self.tokens.input, "output_tokens": 1,
                    "cache_read_input_tokens": self.tokens.cache_read,
                    "cache_creation_input_tokens": self.tokens.cache_write });
                let message = json!({ "id": self.id("msg"), "type": "message", "role": "assistant",
                    "model": self.model, "content": [], "stop_reason": null, "stop_sequence": null, "usage": usage });
                named(&json!({ "type": "message_start", "message": message }))
                    + &named(&json!({ "type": "ping" }))
            }
            Wire::Responses => {
                let response = self.response("in_progress");
                self.event(json!({ "type": "response.created", "response": response }))
                    + &self.event(json!({ "type": "response.in_progress", "response": response }))
            }
        }
    }

    pub fn text(&mut self, piece: &str) -> String {
        self.piece(Block::Text, piece)
    }

    pub fn reasoning(&mut self, piece: &str) -> String {
        self.piece(Block::Reasoning, piece)
    }

    fn piece(&mut self, block: Block, piece: &str) -> String {
        let mut out = String::new();
        if self.open != Some(block) {
            out += &self.close();
            self.open = Some(block);
            out += &self.open_block(block);
        }
        self.text.push_str(piece);
        let index = self.next;
        out += &match (self.wire, block) {
            (Wire::Chat | Wire::Unknown, Block::Text) => self.delta(json!({ "content": piece })),
            (Wire::Chat | Wire::Unknown, Block::Reasoning) => {
                self.delta(json!({ "reasoning_content": piece }))
            }
            (Wire::Anthropic, Block::Text) => named(&json!({ "type": "content_block_delta", "index": index,
                "delta": { "type": "text_delta", "text": piece } })),
            (Wire::Anthropic, Block::Reasoning) => {
                named(&json!({ "type": "content_block_delta", "index": index,
                "delta": { "type": "thinking_delta", "thinking": piece } }))
            }
            (Wire::Responses, Block::Text) => self.event(json!({ "type": "response.output_text.delta",
                "item_id": self.item_id(), "output_index": index, "content_index": 0, "delta": piece })),
            (Wire::Responses, Block::Reasoning) => self
                .event(json!({ "type": "response.reasoning_summary_text.delta",
                    "item_id": self.item_id(), "output_index": index, "summary_index": 0, "delta": piece })),
        };
        out
    }

    fn item_id(&self) -> String {
        format!("item_{}_{}", self.request, self.next)
    }

    fn open_block(&mut self, block: Block) -> String {
        let index = self.next;
        match (self.wire, block) {
            (Wire::Chat | Wire::Unknown, _) => String::new(),
            (Wire::Anthropic, Block::Text) => named(&json!({ "type": "content_block_start", "index": index,
                "content_block": { "type": "text", "text": "" } })),
            (Wire::Anthropic, Block::Reasoning) => {
                named(&json!({ "type": "content_block_start", "index": index,
                "content_block": { "type": "thinking", "thinking": "", "signature": "" } }))
            }
            (Wire::Responses, Block::Text) => {
                let id = self.item_id();
                self.event(json!({ "type": "response.output_item.added", "output_index": index,
                    "item": { "type": "message", "id": id, "status": "in_progress", "role": "assistant", "content": [] } }))
                    + &self.event(json!({ "type": "response.content_part.added", "item_id": id, "output_index": index,
                        "content_index": 0, "part": { "type": "output_text", "text": "", "annotations": [] } }))
            }
            (Wire::Responses, Block::Reasoning) => {
                let id = self.item_id();
                self.event(json!({ "type": "response.output_item.added", "output_index": index,
                    "item": { "type": "reasoning", "id": id, "summary": [] } }))
                    + &self.event(json!({ "type": "response.reasoning_summary_part.added", "item_id": id,
                        "output_index": index, "summary_index": 0, "part": { "type": "summary_text", "text": "" } }))
            }
        }
    }

    /// Ends the open block, if there is one.
    fn close(&mut self) -> String {
        let Some(block) = self.open.take() else { return String::new() };
        let text = std::mem::take(&mut self.text);
        let (id, index) = (self.item_id(), self.next);
        match self.wire {
            Wire::Chat | Wire::Unknown => String::new(),
            Wire::Anthropic => {
                self.next += 1;
                let mut out = String::new();
                if block == Block::Reasoning {
                    let signature = format!("signature of {} bytes", text.len());
                    out += &named(&json!({ "type": "content_block_delta", "index": index,
                        "delta": { "type": "signature_delta", "signature": signature } }));
                }
                out + &named(&json!({ "type": "content_block_stop", "index": index }))
            }
            Wire::Responses => {
                self.next += 1;
                let (done, item) = match block {
                    Block::Text => {
                        let part = json!({ "type": "output_text", "text": text, "annotations": [] });
                        let done = self.event(json!({ "type": "response.output_text.done", "item_id": id,
                            "output_index": index, "content_index": 0, "text": text }))
                            + &self.event(json!({ "type": "response.content_part.done", "item_id": id,
                                "output_index": index, "content_index": 0, "part": part }));
                        (
                            done,
                            json!({ "type": "message", "id": id, "status": "completed", "role": "assistant",
                            "content": [part] }),
                        )
                    }
                    Block::Reasoning => {
                        let part = json!({ "type": "summary_text", "text": text });
                        let done = self
                            .event(json!({ "type": "response.reasoning_summary_text.done", "item_id": id,
                            "output_index": index, "summary_index": 0, "text": text }))
                            + &self.event(
                                json!({ "type": "response.reasoning_summary_part.done", "item_id": id,
                                "output_index": index, "summary_index": 0, "part": part }),
                            );
                        (
                            done,
                            json!({ "type": "reasoning", "id": id, "summary": [part],
                            "encrypted_content": format!("sealed {}", text.len()) }),
                        )
                    }
                };
                self.output.push(item.clone());
                done + &self.event(
                    json!({ "type": "response.output_item.done", "output_index": index, "item": item }),
                )
            }
        }
    }

    /// The frames of parallel calls, each with the gate to wait for before it.
    pub fn calls(&mut self, group: &[Call]) -> Vec<(Option<Gate>, String)> {
        let mut out = vec![(None, self.close())];
        let first = self.next;
        let ids: Vec<String> = group
            .iter()
            .enumerate()
            .map(|(n, call)| {
                call.id.clone().unwrap_or_else(|| format!("call_{}_{}", self.request, self.made + n))
            })
            .collect();
        self.made += group.len();
        self.next += group.len();
        let gate = |call: &Call, n: usize| call.gate.clone().filter(|_| n + 1 == call.pieces.len());
        if self.wire == Wire::Anthropic {
            // One block after the other: the format has one open block at a time.
            for (at, (call, id)) in group.iter().zip(&ids).enumerate() {
                let index = first + at;
                out.push((
                    None,
                    named(&json!({ "type": "content_block_start", "index": index,
                    "content_block": { "type": "tool_use", "id": id, "name": call.name, "input": {} } })),
                ));
                for (n, piece) in call.pieces.iter().enumerate() {
                    out.push((
                        gate(call, n),
                        named(&json!({ "type": "content_block_delta", "index": index,
                        "delta": { "type": "input_json_delta", "partial_json": piece } })),
                    ));
                }
                out.push((None, named(&json!({ "type": "content_block_stop", "index": index }))));
            }
            return out;
        }
        for (at, (call, id)) in group.iter().zip(&ids).enumerate() {
            let index = first + at;
            let frame = if self.wire == Wire::Responses {
                self.event(json!({ "type": "response.output_item.added", "output_index": index,
                    "item": { "type": "function_call", "id": format!("fc_{id}"), "status": "in_progress",
                        "call_id": id, "name": call.name, "arguments": "" } }))
            } else {
                self.delta(json!({ "tool_calls": [{ "index": index, "id": id, "type": "function",
                    "function": { "name": call.name, "arguments": "" } }] }))
            };
            out.push((None, frame));
        }
        let longest = group.iter().map(|call| call.pieces.len()).max().unwrap_or(0);
        for n in 0..longest {
            for (at, (call, id)) in group.iter().zip(&ids).enumerate() {
                let Some(piece) = call.pieces.get(n) else { continue };
                let index = first + at;
                let frame = if self.wire == Wire::Responses {
                    self.event(json!({ "type": "response.function_call_arguments.delta",
                        "item_id": format!("fc_{id}"), "output_index": index, "delta": piece }))
                } else {
                    self.delta(
                        json!({ "tool_calls": [{ "index": index, "function": { "arguments": piece } }] }),
                    )
                };
                out.push((gate(call, n), frame));
            }
        }
        if self.wire == Wire::Responses {
            for (at, (call, id)) in group.iter().zip(&ids).enumerate() {
                let (index, arguments) = (first + at, call.pieces.concat());
                let item = json!({ "type": "function_call", "id": format!("fc_{id}"), "status": "completed",
                    "call_id": id, "name": call.name, "arguments": arguments });
                self.output.push(item.clone());
                let frame = self.event(json!({ "type": "response.function_call_arguments.done",
                    "item_id": format!("fc_{id}"), "output_index": index, "arguments": arguments }))
                    + &self.event(
                        json!({ "type": "response.output_item.done", "output_index": index, "item": item }),
                    );
                out.push((None, frame));
            }
        }
        out
    }

    /// The end of the answer: reason and token counts.
    pub fn finish(&mut self, reason: Option<&str>) -> String {
        let mut out = self.close();
        let called = self.made > 0;
        let tokens = self.tokens;
        out += &match self.wire {
            Wire::Chat | Wire::Unknown => {
                let reason = reason.unwrap_or(if called { "tool_calls" } else { "stop" });
                let end = self.chunk(json!([{ "index": 0, "delta": {}, "finish_reason": reason }]), None);
                let prompt = tokens.input + tokens.cache_read;
                let usage = self.wants_usage.then(|| {
                    json!({ "prompt_tokens": prompt, "completion_tokens": tokens.output,
                        "total_tokens": prompt + tokens.output,
                        "prompt_tokens_details": { "cached_tokens": tokens.cache_read },
                        "completion_tokens_details": { "reasoning_tokens": tokens.reasoning } })
                });
                let usage = usage.map(|usage| self.chunk(json!([]), Some(usage))).unwrap_or_default();
                format!("{end}{usage}data: [DONE]\n\n")
            }
            Wire::Anthropic => {
                let reason = reason.unwrap_or(if called { "tool_use" } else { "end_turn" });
                named(
                    &json!({ "type": "message_delta", "delta": { "stop_reason": reason, "stop_sequence": null },
                    "usage": { "output_tokens": tokens.output } }),
                ) + &named(&json!({ "type": "message_stop" }))
            }
            Wire::Responses => {
                let status = if reason.is_some() { "incomplete" } else { "completed" };
                let mut response = self.response(status);
                let input = tokens.input + tokens.cache_read;
                response["usage"] = json!({ "input_tokens": input, "output_tokens": tokens.output,
                    "total_tokens": input + tokens.output,
                    "input_tokens_details": { "cached_tokens": tokens.cache_read },
                    "output_tokens_details": { "reasoning_tokens": tokens.reasoning } });
                if let Some(reason) = reason {
                    response["incomplete_details"] = json!({ "reason": reason });
                }
                self.event(json!({ "type": format!("response.{status}"), "response": response }))
            }
        };
        out
    }
}
