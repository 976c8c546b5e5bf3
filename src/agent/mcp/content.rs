//! What tool servers say, as the daemon gets it.

use crate::workspace::wire::{McpContent, McpResult, McpTool};
use rmcp::model::{CallToolResult, ContentBlock, ResourceContents, Tool};
use serde_json::Value;

/// Largest schema of a tool, in bytes of JSON.
const MAX_SCHEMA: usize = 64 << 10;
/// Bytes of a description that are kept.
const MAX_DESCRIPTION: usize = 8 << 10;

/// In place of what a later version of the protocol may bring.
const UNKNOWN: &str = "[content of a kind that is not known here]";

/// Longest name of a tool that all providers take, with that of its server.
const MAX_NAME: usize = 64;

/// A name as all providers take it: other characters than letters, digits, `_` and `-` become `_`.
pub fn safe(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect()
}

/// The name of a tool beside those of other servers. A long one is cut.
pub fn full_name(server: &str, tool: &str) -> String {
    let mut name = format!("{}{}{}", safe(server), super::config::SEPARATOR, safe(tool));
    name.truncate(MAX_NAME);
    name
}

/// A tool as it is listed; `None` when its schema is too large to be shown to a model.
pub fn tool(server: &str, tool: &Tool) -> Option<McpTool> {
    let schema = super::schema::properties(&tool.input_schema)?;
    let required = match tool.input_schema.get("required") {
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    };
    let size = serde_json::to_vec(&schema).map_or(usize::MAX, |json| json.len());
    let description = tool.description.as_deref().unwrap_or_default();
    (size <= MAX_SCHEMA && !tool.name.is_empty()).then(|| McpTool {
        server_name: server.to_owned(),
        name: full_name(server, &tool.name),
        description: crate::workspace::text::prefix(description, MAX_DESCRIPTION).to_owned(),
        schema,
        required,
    })
}

/// Bytes of a failure that are looked at.
const LOOKED_AT: usize = 1 << 10;

/// Whether the text of a failure may mean that the server has no such tool. There is no one form for it: libraries write
/// "Unknown tool: x" and "Tool x not found".
pub fn tells_unknown(text: &str, tool: &str) -> bool {
    let text = crate::workspace::text::prefix(text, LOOKED_AT).to_lowercase();
    text.contains("unknown tool") || (text.contains("not found") && text.contains(&tool.to_lowercase()))
}

/// The same of a failure that came as a result.
pub fn is_unknown(result: &McpResult, tool: &str) -> bool {
    let mut texts = result.content.iter().filter_map(|item| item.text.as_deref());
    result.is_error && texts.next().is_some_and(|text| tells_unknown(text, tool))
}

/// What a call brought.
pub fn result(result: CallToolResult) -> McpResult {
    let mut content: Vec<McpContent> = result.content.into_iter().map(block).collect();
    if let Some(value) = result.structured_content.filter(|_| content.is_empty()) {
        content.push(text(value.to_string()));
    }
    McpResult { content, is_error: result.is_error.unwrap_or(false) }
}

fn text(text: String) -> McpContent {
    McpContent { kind: "text".to_owned(), text: Some(text), ..McpContent::default() }
}

fn binary(kind: &str, data: String, media_type: String) -> McpContent {
    McpContent { kind: kind.to_owned(), text: None, data: Some(data), media_type: Some(media_type) }
}

fn block(block: ContentBlock) -> McpContent {
    match block {
        ContentBlock::Text(piece) => text(piece.text),
        ContentBlock::Image(image) => binary("image", image.data, image.mime_type),
        ContentBlock::Audio(audio) => binary("resource", audio.data, audio.mime_type),
        ContentBlock::ResourceLink(link) => text(format!("[resource: {} ({})]", link.name, link.uri)),
        ContentBlock::Resource(embedded) => match embedded.resource {
            ResourceContents::TextResourceContents { text: content, mime_type, .. } => McpContent {
                kind: "resource".to_owned(),
                text: Some(content),
                data: None,
                media_type: mime_type,
            },
            ResourceContents::BlobResourceContents { blob, mime_type, .. } => {
                binary("resource", blob, mime_type.unwrap_or_else(|| "application/octet-stream".to_owned()))
            }
            _ => text(UNKNOWN.to_owned()),
        },
        _ => text(UNKNOWN.to_owned()),
    }
}
