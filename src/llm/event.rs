//! What a model answers, piece by piece, in no vendor's words.

use super::request::Native;
use crate::chat::{json::Json, message::Usage};

/// One event of a model stream.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A block of text begins. Deltas until [`Event::TextEnd`] belong to one text part.
    TextStart,
    /// More text of the open block.
    TextDelta(String),
    /// The text block is complete.
    TextEnd,
    /// A block of reasoning begins.
    ReasoningStart,
    /// More reasoning of the open block.
    ReasoningDelta(String),
    /// The reasoning block is complete.
    ReasoningEnd,
    /// The model begins a tool call.
    ToolInputStart {
        /// Id of the call.
        id: String,
        /// Tool name.
        name: String,
        /// The provider runs it.
        provider_executed: bool,
    },
    /// More argument text of a call. Calls may interleave.
    ToolInputDelta {
        /// Id of the call.
        id: String,
        /// Text to append.
        delta: String,
    },
    /// A call is complete.
    ToolCall {
        /// Id of the call.
        id: String,
        /// Tool name.
        name: String,
        /// The argument text as the model wrote it; `{}` when it wrote none. May be invalid JSON.
        args: String,
        /// The provider runs it.
        provider_executed: bool,
    },
    /// The provider ran a call itself.
    ProviderResult {
        /// Id of the call.
        id: String,
        /// Tool name.
        name: String,
        /// The result as sent.
        result: Json,
        /// It failed.
        is_error: bool,
    },
    /// A citation.
    Source {
        /// Where it lies.
        url: String,
        /// The provider's id of it.
        id: Option<String>,
        /// Its title.
        title: Option<String>,
    },
    /// A generated file.
    File {
        /// MIME type.
        media_type: String,
        /// Base64 of the bytes.
        data: String,
    },
    /// The answer is complete. Always the last event; a stream that ends without it was cut.
    Finish(Finish),
}

/// How an answer ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Finish {
    /// Why the model stopped.
    pub reason: FinishReason,
    /// Tokens.
    pub usage: Usage,
    /// The provider's id of the response.
    pub response_id: Option<String>,
    /// Context window the provider reported (agent-loop.md §7), in tokens.
    pub context_limit: Option<i64>,
    /// To be stored and sent back verbatim.
    pub native: Option<Native>,
}

/// Why the model stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// It was done.
    Stop,
    /// It wants tools to be run.
    ToolCalls,
    /// The output limit was reached.
    Length,
    /// A filter of the provider withheld the answer.
    ContentFilter,
    /// Anything else.
    Other,
}
