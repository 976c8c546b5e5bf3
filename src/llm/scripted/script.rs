//! The script file.
//!
//! A script is a JSON array of rules. The first rule whose conditions all hold is played; a rule without
//! `when` always holds, so it goes last. Without such a rule the built-in script answers the rest.
//!
//! ```json
//! [
//!   { "when": { "after_tool": "execute" }, "reply": [ { "text": "It printed: {{last_tool_output}}" } ] },
//!   { "when": { "last_user_contains": "list" },
//!     "reply": [
//!       { "reasoning": "I should look first." },
//!       { "text": "One moment.", "chunk_chars": 6, "delay_ms": 15 },
//!       { "tool_call": { "name": "execute", "args": { "command": "ls" } } } ] },
//!   { "when": { "last_user_contains": "busy" }, "times": 2,
//!     "reply": [ { "error": { "status": 429, "retry_after": "1", "body": { "error": { "message": "slow down" } } } } ] },
//!   { "reply": [ { "text": "You said: {{last_user}}" } ] }
//! ]
//! ```
//!
//! In texts and in the strings of arguments, `{{last_user}}`, `{{last_tool_output}}`, `{{model}}` and `{{working_directory}}` are
//! replaced; `{{said}}` is the first words of what the user said, as they may stand in a JSON string; `{{last_tool_output/templates/0/id}}` is the value at a JSON pointer in the tool's output. A rule that calls a tool must not hold after the tool's answer, or the model calls for ever.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A parsed script.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Script {
    /// In order of precedence.
    pub rules: Vec<Rule>,
}

/// A script that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("not a script of a scripted model: {0}")]
pub struct ScriptError(#[from] serde_json::Error);

/// One rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// When it is played. Default: always.
    #[serde(default)]
    pub when: When,
    /// How often it may be played by one server. Default: without limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
    /// What is answered, in order.
    pub reply: Vec<Piece>,
}

/// Conditions; all that are given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct When {
    /// The last message of the user contains this, in any case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_user_contains: Option<String>,
    /// The last message answers a call of this tool; `""` means that it answers none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_tool: Option<String>,
    /// The request offers this tool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub has_tool: Option<String>,
    /// A system message contains this, in any case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_contains: Option<String>,
    /// The request asks for JSON by the schema of this name (`propose_title`). A rule without it never
    /// answers such a request, so that a title takes no reply from a turn; an answer that no rule gives
    /// is empty, and the chat keeps the title it has. The built-in script names a chat only when somebody asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
}

/// One piece of an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "FlatPiece", into = "FlatPiece")]
pub enum Piece {
    /// Text or reasoning.
    Say(Say),
    /// A call of a tool.
    ToolCall(ToolUse),
    /// A failure: an HTTP status as the first piece, else an error in the stream. Nothing follows it.
    Error(Failing),
    /// The connection is cut here.
    Cut,
}

/// Text or reasoning, in chunks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Say {
    /// Which of the two.
    pub spoken: Spoken,
    /// Characters in one chunk. Default: 6.
    pub chunk_chars: usize,
    /// Milliseconds before each chunk. Default: 15.
    pub delay_ms: u64,
}

/// What is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spoken {
    /// To the user.
    Text(String),
    /// To itself.
    Reasoning(String),
}

/// A call of a tool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolUse {
    /// Tool name.
    pub name: String,
    /// Arguments. Default: `{}`.
    #[serde(default)]
    pub args: Map<String, Value>,
}

/// A failure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failing {
    /// HTTP status.
    pub status: u16,
    /// Value of the `retry-after` header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<String>,
    /// The body. Default: `{"error": {"message": "scripted error"}}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Value>,
}

/// A piece as it is written.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FlatPiece {
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call: Option<ToolUse>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Failing>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    cut: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    chunk_chars: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delay_ms: Option<u64>,
}

impl TryFrom<FlatPiece> for Piece {
    type Error = &'static str;

    fn try_from(flat: FlatPiece) -> Result<Self, &'static str> {
        let say = |spoken| {
            Self::Say(Say {
                spoken,
                chunk_chars: flat.chunk_chars.unwrap_or(6).max(1),
                delay_ms: flat.delay_ms.unwrap_or(15),
            })
        };
        let paced = flat.chunk_chars.is_some() || flat.delay_ms.is_some();
        match (flat.text, flat.reasoning, flat.tool_call, flat.error, flat.cut) {
            (Some(text), None, None, None, false) => Ok(say(Spoken::Text(text))),
            (None, Some(text), None, None, false) => Ok(say(Spoken::Reasoning(text))),
            _ if paced => Err("chunk_chars and delay_ms belong to a text or a reasoning piece"),
            (None, None, Some(call), None, false) => Ok(Self::ToolCall(call)),
            (None, None, None, Some(error), false) if (400..600).contains(&error.status) => {
                Ok(Self::Error(error))
            }
            (None, None, None, Some(_), false) => Err("the status of an error piece must be 400 to 599"),
            (None, None, None, None, true) => Ok(Self::Cut),
            _ => Err("a piece has exactly one of text, reasoning, tool_call, error, cut"),
        }
    }
}

impl From<Piece> for FlatPiece {
    fn from(piece: Piece) -> Self {
        match piece {
            Piece::Say(Say { spoken, chunk_chars, delay_ms }) => {
                let (text, reasoning) = match spoken {
                    Spoken::Text(text) => (Some(text), None),
                    Spoken::Reasoning(text) => (None, Some(text)),
                };
                Self {
                    text,
                    reasoning,
                    chunk_chars: Some(chunk_chars),
                    delay_ms: Some(delay_ms),
                    ..Self::default()
                }
            }
            Piece::ToolCall(call) => Self { tool_call: Some(call), ..Self::default() },
            Piece::Error(error) => Self { error: Some(error), ..Self::default() },
            Piece::Cut => Self { cut: true, ..Self::default() },
        }
    }
}

impl Script {
    /// Reads a script file.
    ///
    /// # Errors
    /// When the JSON is no script; the text says where.
    pub fn parse(json: &str) -> Result<Self, ScriptError> {
        Ok(serde_json::from_str(json)?)
    }
}

impl Default for Script {
    /// The built-in script: a short answer to anything, and for a message with the word `demo` a file
    /// written and a command run.
    fn default() -> Self {
        Self::parse(include_str!("default_script.json")).expect("the built-in script is tested")
    }
}
