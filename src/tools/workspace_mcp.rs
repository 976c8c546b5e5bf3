//! A tool of a tool server in the chat's workspace (tools.md §14.5): the agent calls it, once.

use super::{Repeat, Tool, ToolContext, arguments, outcome::ToolOutcome};
use crate::{
    chat::json::Json,
    store::files::sniff::{self, HEAD_BYTES},
    workspace::{
        mcp_tools::Served,
        wire::{CallMcpTool, McpContent, McpResult},
    },
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value};
use std::{sync::Arc, time::Duration};

/// How long an agent may take to call a tool: 30 s to start the server, 60 s for the call (tools.md §15.6), and a
/// little more, so that it is the agent that says what took so long.
const CALL_WITHIN: Duration = Duration::from_secs(95);
/// Metrics have one name for all of these tools: a workspace chooses as many as it likes.
const LABEL: &str = "workspace_mcp";

/// The tool.
#[derive(Debug, Clone)]
pub struct WorkspaceMcp(Arc<Served>);

impl WorkspaceMcp {
    /// As its agent listed it.
    #[must_use]
    pub const fn new(served: Arc<Served>) -> Self {
        Self(served)
    }

    /// One that a model has called and whose definition is not known here, as after a restart: the agent knows whether
    /// there is such a tool, and whether the call was begun. It is not for a model to see.
    #[must_use]
    pub fn unlisted(name: &str) -> Self {
        let input_schema = Json::of(&Map::new());
        Self(Arc::new(Served { name: name.to_owned(), description: String::new(), input_schema }))
    }

    async fn call(&self, ctx: &ToolContext, args: &str) -> Result<ToolOutcome, ToolOutcome> {
        let arguments: Option<Map<String, Value>> = arguments::parse(args)?;
        let body = CallMcpTool { tool_name: self.0.name.clone(), arguments: arguments.unwrap_or_default() };
        let (body, call) = (&body, &ctx.call());
        let said = ctx
            .ask_within(CALL_WITHIN, false, |remote| async move { remote.call_mcp_tool(body, call).await });
        if let Some(result) = said.await? {
            return Ok(outcome(&result));
        }
        if let Some(session) = &ctx.session {
            session.mcp.forget();
        }
        Err(ToolOutcome::error(format!("the workspace has no tool {:?} any more", self.0.name)))
    }
}

/// What the model gets of a result.
fn outcome(result: &McpResult) -> ToolOutcome {
    let texts: Vec<&str> = result.content.iter().filter_map(|item| item.text.as_deref()).collect();
    let text = texts.join("\n");
    if result.is_error {
        let silent = text.trim().is_empty();
        return ToolOutcome::error(if silent { "the tool failed, and does not say why" } else { &text });
    }
    let binary = result.content.iter().find_map(|item| Some((item, item.data.as_deref()?)));
    match binary.filter(|_| text.trim().is_empty()) {
        Some((item, data)) => media(item, data),
        // What is an object already is shown as one.
        None => match Json::parse(text.clone()) {
            Ok(json) if text.trim_start().starts_with('{') => {
                ToolOutcome { result: json, ..ToolOutcome::ok("") }
            }
            _ => ToolOutcome::ok(&text),
        },
    }
}

/// The bytes decide what an image is: one that a provider cannot read would fail every later prompt.
fn media(item: &McpContent, data: &str) -> ToolOutcome {
    let data: String = data.split_ascii_whitespace().collect();
    let Ok(bytes) = STANDARD.decode(&data) else {
        return ToolOutcome::error("the tool answered with data that is no base64");
    };
    let declared = item.media_type.as_deref().unwrap_or_default().trim().to_ascii_lowercase();
    let head = &bytes[..bytes.len().min(HEAD_BYTES)];
    match sniff::stored_type(sniff::ANY, "", head) {
        Ok(mime_type) => ToolOutcome::media(&data, mime_type, ""),
        Err(why) if declared.starts_with("image/") => {
            ToolOutcome::error(format!("the tool answered with an image that cannot be shown: {why}"))
        }
        // Of sound and the like a model is only told that it is there.
        Err(_) if is_media_type(&declared) => ToolOutcome::media(&data, &declared, ""),
        Err(_) => ToolOutcome::media(&data, "application/octet-stream", ""),
    }
}

fn is_media_type(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'.' | b'+' | b'-');
    text.len() < 128 && text.contains('/') && text.bytes().all(plain)
}

#[async_trait::async_trait]
impl Tool for WorkspaceMcp {
    fn name(&self) -> &str {
        &self.0.name
    }

    fn description(&self) -> &str {
        &self.0.description
    }

    fn input_schema(&self) -> Json {
        self.0.input_schema.clone()
    }

    fn label(&self) -> &str {
        LABEL
    }

    // What it does is not known here, so never twice. The agent keeps what came of a call.
    fn repeat(&self) -> Repeat {
        Repeat::Attach
    }

    async fn run(&self, ctx: &ToolContext, args: &str) -> ToolOutcome {
        self.call(ctx, args).await.unwrap_or_else(|failed| failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// The smallest PNG: its header and one grey pixel.
    const PNG: &str =
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg==";

    fn shown(is_error: bool, content: Value) -> (bool, bool, Value) {
        let content = serde_json::from_value(content).unwrap();
        let outcome = outcome(&McpResult { content, is_error });
        (outcome.is_error, outcome.is_media, outcome.result.read().unwrap())
    }

    #[test]
    fn results_are_text_or_the_first_binary_item() {
        let (text, other) = (json!({"type": "text", "text": "a"}), json!({"type": "resource", "text": "b"}));
        let image = json!({"type": "image", "data": PNG, "media_type": "image/jpeg"});
        assert_eq!(shown(false, json!([text, image, other])), (false, false, json!("a\nb")));
        assert_eq!(shown(false, json!([])), (false, false, json!("")));
        assert_eq!(
            shown(false, json!([{"type": "text", "text": "{\"n\": 1}"}])),
            (false, false, json!({"n": 1}))
        );
        assert_eq!(shown(false, json!([{"type": "text", "text": "{n}"}])), (false, false, json!("{n}")));
        // The bytes say that it is no JPEG.
        let media = json!({"data": PNG, "mime_type": "image/png", "text": ""});
        assert!(!shown(false, json!([image, other])).1);
        assert_eq!(shown(false, json!([{"type": "text", "text": " "}, image])), (false, true, media));
        let sound = json!({"type": "resource", "data": "AAEC", "media_type": "audio/x-odd"});
        assert_eq!(shown(false, json!([sound])).2["mime_type"], "audio/x-odd");
        let nameless = json!({"type": "resource", "data": "AAEC", "media_type": "a\nb"});
        assert_eq!(shown(false, json!([nameless])).2["mime_type"], "application/octet-stream");
    }

    #[test]
    fn failures_are_told() {
        let said = |content| {
            let (is_error, _, result) = shown(true, content);
            assert!(is_error);
            result["error"].as_str().unwrap().to_owned()
        };
        assert_eq!(said(json!([{"type": "text", "text": "no"}])), "no");
        assert!(said(json!([])).contains("does not say why"));
        for (data, why) in [("!", "no base64"), ("AAEC", "cannot be shown")] {
            let broken = json!([{"type": "image", "data": data, "media_type": "image/png"}]);
            let (is_error, is_media, result) = shown(false, broken);
            assert!(is_error && !is_media && result["error"].as_str().unwrap().contains(why), "{result}");
        }
    }
}
