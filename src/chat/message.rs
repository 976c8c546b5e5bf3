//! What a history row holds: roles, visibility and the parts of its content (api.md §3.4–3.6).

use super::json::Json;
use crate::{
    clock::Timestamp,
    ids::{AgentId, FileId, McpServerId, ModelConfigId, UserId},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Who speaks in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions stored when the chat was created.
    System,
    /// A person or a program.
    User,
    /// The model.
    Assistant,
    /// Results of tool calls.
    Tool,
}

/// Who may see a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Visibility {
    /// Only clients; never in a prompt.
    User,
    /// Only the model; never returned by the API.
    Model,
    /// Clients and the model.
    Both,
}

/// One part of a message, in the form in which it is stored and sent to clients. The streaming
/// forms (`args_delta`, `result_delta`, `result_reset`) occur in live parts only, never in a row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "kebab-case", try_from = "FlatPart")]
pub enum Part {
    /// Plain text; as a live part a piece to append.
    Text {
        /// The text.
        text: String,
    },
    /// The model's reasoning.
    Reasoning {
        /// The text; as a live part a piece to append.
        text: String,
        /// When the block began.
        #[serde(skip_serializing_if = "Option::is_none")]
        created_at: Option<Timestamp>,
        /// When the block ended.
        #[serde(skip_serializing_if = "Option::is_none")]
        completed_at: Option<Timestamp>,
    },
    /// A call of a tool.
    ToolCall(ToolCallPart),
    /// The result of a call.
    ToolResult(ToolResultPart),
    /// A citation of a web search.
    Source {
        /// Where it lies.
        url: String,
        /// The provider's id of it.
        #[serde(skip_serializing_if = "Option::is_none")]
        source_id: Option<String>,
        /// Its title.
        #[serde(skip_serializing_if = "Option::is_none")]
        title: Option<String>,
    },
    /// A file: uploaded (`file_id`) or inline (`data`, base64).
    File {
        /// MIME type.
        media_type: String,
        /// Display name.
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// Base64 of the bytes, only without `file_id`.
        #[serde(skip_serializing_if = "Option::is_none")]
        data: Option<String>,
        /// The stored file.
        #[serde(skip_serializing_if = "Option::is_none")]
        file_id: Option<FileId>,
    },
    /// An excerpt of a source file.
    FileReference {
        /// Path or name of the file.
        file_name: String,
        /// First line, 1-based.
        start_line: i64,
        /// Last line, inclusive.
        end_line: i64,
        /// The excerpt.
        content: String,
    },
    /// A context file found in the workspace. Its body is stored apart and never sent to clients.
    ContextFile {
        /// Path in the workspace.
        context_file_path: String,
        /// Whether the body was cut at 64 KiB.
        #[serde(skip_serializing_if = "Option::is_none")]
        context_file_truncated: Option<bool>,
        /// The agent it was read from.
        #[serde(skip_serializing_if = "Option::is_none")]
        context_file_agent_id: Option<AgentId>,
    },
    /// A skill found in the workspace.
    Skill {
        /// Name.
        skill_name: String,
        /// One line about it.
        #[serde(skip_serializing_if = "Option::is_none")]
        skill_description: Option<String>,
    },
}

/// A tool call. Stored form has `args`, never `args_delta`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
pub struct ToolCallPart {
    /// Provider-chosen opaque id.
    pub tool_call_id: String,
    /// Name of the tool.
    pub tool_name: String,
    /// External MCP server the tool belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mcp_server_config_id: Option<McpServerId>,
    /// Arguments, usually an object. Arguments that are no JSON are kept as a JSON string.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub args: Option<Json>,
    /// Live only: a piece of the argument text to append.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub args_delta: Option<String>,
    /// Only on `execute`: `[program]` or `[program, first argument]` of each command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parsed_commands: Option<Vec<Vec<String>>>,
    /// The provider runs this call itself.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub provider_executed: bool,
    /// When the call was complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,
}

/// A tool result. Stored form has `result`, never `result_delta`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
pub struct ToolResultPart {
    /// The call it answers.
    pub tool_call_id: String,
    /// Name of the tool.
    pub tool_name: String,
    /// External MCP server the tool belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mcp_server_config_id: Option<McpServerId>,
    /// Any JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<Json>,
    /// Live only: a piece of the result to append.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result_delta: Option<String>,
    /// Live only: drop the pieces so far.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub result_reset: bool,
    /// The call failed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_error: bool,
    /// The result holds an image or other binary content.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_media: bool,
    /// The provider ran the call itself.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub provider_executed: bool,
    /// When the result was there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,
}

/// The flat wire object from which [`Part`] is read; `type` selects the variant.
#[derive(Deserialize)]
struct FlatPart {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    text: String,
    created_at: Option<Timestamp>,
    completed_at: Option<Timestamp>,
    #[serde(default)]
    tool_call_id: String,
    #[serde(default)]
    tool_name: String,
    mcp_server_config_id: Option<McpServerId>,
    args: Option<Json>,
    args_delta: Option<String>,
    parsed_commands: Option<Vec<Vec<String>>>,
    #[serde(default)]
    provider_executed: bool,
    result: Option<Json>,
    result_delta: Option<String>,
    #[serde(default)]
    result_reset: bool,
    #[serde(default)]
    is_error: bool,
    #[serde(default)]
    is_media: bool,
    #[serde(default)]
    url: String,
    source_id: Option<String>,
    title: Option<String>,
    #[serde(default)]
    media_type: String,
    name: Option<String>,
    data: Option<String>,
    file_id: Option<FileId>,
    #[serde(default)]
    file_name: String,
    #[serde(default)]
    start_line: i64,
    #[serde(default)]
    end_line: i64,
    #[serde(default)]
    content: String,
    #[serde(default)]
    context_file_path: String,
    context_file_truncated: Option<bool>,
    context_file_agent_id: Option<AgentId>,
    #[serde(default)]
    skill_name: String,
    skill_description: Option<String>,
}

impl TryFrom<FlatPart> for Part {
    type Error = String;

    fn try_from(p: FlatPart) -> Result<Self, String> {
        Ok(match p.kind.as_str() {
            "text" => Self::Text { text: p.text },
            "reasoning" => {
                Self::Reasoning { text: p.text, created_at: p.created_at, completed_at: p.completed_at }
            }
            "tool-call" => Self::ToolCall(ToolCallPart {
                tool_call_id: p.tool_call_id,
                tool_name: p.tool_name,
                mcp_server_config_id: p.mcp_server_config_id,
                args: p.args,
                args_delta: p.args_delta,
                parsed_commands: p.parsed_commands,
                provider_executed: p.provider_executed,
                created_at: p.created_at,
            }),
            "tool-result" => Self::ToolResult(ToolResultPart {
                tool_call_id: p.tool_call_id,
                tool_name: p.tool_name,
                mcp_server_config_id: p.mcp_server_config_id,
                result: p.result,
                result_delta: p.result_delta,
                result_reset: p.result_reset,
                is_error: p.is_error,
                is_media: p.is_media,
                provider_executed: p.provider_executed,
                created_at: p.created_at,
            }),
            "source" => Self::Source { url: p.url, source_id: p.source_id, title: p.title },
            "file" => Self::File { media_type: p.media_type, name: p.name, data: p.data, file_id: p.file_id },
            "file-reference" => Self::FileReference {
                file_name: p.file_name,
                start_line: p.start_line,
                end_line: p.end_line,
                content: p.content,
            },
            "context-file" => Self::ContextFile {
                context_file_path: p.context_file_path,
                context_file_truncated: p.context_file_truncated,
                context_file_agent_id: p.context_file_agent_id,
            },
            "skill" => Self::Skill { skill_name: p.skill_name, skill_description: p.skill_description },
            other => return Err(format!("unknown part type {other:?}")),
        })
    }
}

/// Token counts of one model step; `None` and zero mean the same and are stored as NULL.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Prompt tokens that were not read from a cache.
    pub input_tokens: i64,
    /// Generated tokens, reasoning included.
    pub output_tokens: i64,
    /// The provider's own sum.
    pub total_tokens: i64,
    /// Generated tokens that were reasoning.
    pub reasoning_tokens: i64,
    /// Prompt tokens written to the provider's cache.
    pub cache_creation_tokens: i64,
    /// Prompt tokens read from the provider's cache.
    pub cache_read_tokens: i64,
}

impl Usage {
    /// Size of the context this step had: input + cache read + cache creation, else the total
    /// (agent-loop.md §12).
    #[must_use]
    pub fn context_tokens(&self) -> i64 {
        match self.input_tokens + self.cache_read_tokens + self.cache_creation_tokens {
            0 => self.total_tokens,
            sum => sum,
        }
    }
}

/// Columns of an assistant row that describe the step that made it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StepFigures {
    /// Tokens.
    pub usage: Usage,
    /// Context window of the model in tokens, if known.
    pub context_limit: Option<i64>,
    /// Price in micro-dollars at the prices of the moment; `None` when not priced.
    pub cost_micros: Option<i64>,
    /// Milliseconds the stream took.
    pub runtime_ms: Option<i64>,
    /// The provider's id of the response.
    pub provider_response_id: Option<String>,
}

/// A history row to be inserted. Its id, revision and time are given by the commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMessage {
    /// Who speaks.
    pub role: Role,
    /// Who may see it.
    pub visibility: Visibility,
    /// JSON array of [`Part`]s, exactly as clients will get it.
    pub content: Json,
    /// What the provider needs to get back verbatim (signed reasoning, opaque blocks): a JSON
    /// object `{"format": …, "items": […]}`, never sent to clients.
    pub native: Option<Json>,
    /// The user who wrote it.
    pub created_by: Option<UserId>,
    /// The model that wrote it, or that the user asked for.
    pub model_config_id: Option<ModelConfigId>,
    /// Part of a compaction or clearing: not in prompts except as the summary.
    pub compressed: bool,
    /// Figures of the model step; default for all other rows.
    pub figures: StepFigures,
}

impl NewMessage {
    /// A row with the given role, visibility and parts, and nothing else.
    #[must_use]
    pub fn new(role: Role, visibility: Visibility, parts: &[Part]) -> Self {
        Self {
            role,
            visibility,
            content: Json::of(parts),
            native: None,
            created_by: None,
            model_config_id: None,
            compressed: false,
            figures: StepFigures::default(),
        }
    }
}
