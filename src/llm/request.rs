//! What is asked of a model, in no vendor's words. `turn::prompt` builds it, the wire formats encode it.

use super::object::Object;
use crate::chat::json::Json;

/// The option of a model that lets its provider search the web.
pub const WEB_SEARCH: &str = "web_search_enabled";

/// One model call.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The provider's name of the model.
    pub model: String,
    /// Leading system texts, in order.
    pub system: Vec<String>,
    /// The conversation, oldest first. Already valid: each tool call is answered once, directly
    /// after the message that made it, and no answer is without its call.
    pub messages: Vec<PromptMessage>,
    /// Tools the model may call.
    pub tools: Vec<ToolSpec>,
    /// Upper bound of generated tokens.
    pub max_output_tokens: Option<i64>,
    /// Sampling temperature.
    pub temperature: Option<f64>,
    /// Nucleus sampling.
    pub top_p: Option<f64>,
    /// Top-k sampling.
    pub top_k: Option<i64>,
    /// Presence penalty.
    pub presence_penalty: Option<f64>,
    /// Frequency penalty.
    pub frequency_penalty: Option<f64>,
    /// `none` `minimal` `low` `medium` `high` `xhigh` `max`, as the user picked it.
    pub reasoning_effort: Option<String>,
    /// `provider_options` of the model config: one key per provider (api.md §2.11).
    pub provider_options: serde_json::Map<String, serde_json::Value>,
    /// The answer must be JSON of this shape. Such a request has no tools.
    pub output: Option<OutputSchema>,
    /// The answer that the provider keeps and this call goes on from: `messages` is then only what came
    /// since (OpenAI Responses; agent-loop.md §5.5).
    pub previous_response_id: Option<String>,
    /// Headers that tell the provider whose call it is (workspace-and-providers.md §6.6).
    pub headers: Vec<(&'static str, String)>,
}

impl Request {
    /// Takes away the tools that the provider would run by itself (agent-loop.md §6).
    pub fn leave_out_provider_tools(&mut self) {
        for block in self.provider_options.values_mut().filter_map(serde_json::Value::as_object_mut) {
            block.remove(WEB_SEARCH);
        }
    }
}

/// The shape of an answer that is read by a program.
#[derive(Debug, Clone)]
pub struct OutputSchema {
    /// Name of the schema, and of the tool where the format has none other way to ask for it.
    pub name: &'static str,
    /// What the answer is, for the model.
    pub description: &'static str,
    /// JSON Schema object: every property required, no others.
    pub schema: Json,
}

/// One message of the prompt.
#[derive(Debug, Clone)]
pub enum PromptMessage {
    /// A person, or context given in a person's place.
    User(Vec<UserContent>),
    /// The model's own words and calls.
    Assistant {
        /// In the order of the stream.
        content: Vec<AssistantContent>,
        /// What the provider sent, verbatim; an encoder of the same format sends it back instead
        /// of `content`, any other ignores it.
        native: Option<Native>,
    },
    /// Answers to the calls of the assistant message before it, in call order.
    Tool(Vec<ToolAnswer>),
}

/// Content of a user message.
#[derive(Debug, Clone)]
pub enum UserContent {
    /// Text.
    Text(String),
    /// An image or document.
    File {
        /// MIME type.
        media_type: String,
        /// Base64 of the bytes.
        data: String,
        /// File name, when known.
        name: Option<String>,
    },
}

/// Content of an assistant message.
#[derive(Debug, Clone)]
pub enum AssistantContent {
    /// Text.
    Text(String),
    /// Reasoning without its signature; only formats that accept unsigned reasoning send it.
    Reasoning(String),
    /// A call of a tool that chatd or its client runs.
    ToolCall {
        /// Id, already restricted to `[A-Za-z0-9_-]`.
        id: String,
        /// Tool name.
        name: String,
        /// Arguments. Always a JSON object.
        args: Json,
    },
}

/// The answer to one tool call.
#[derive(Debug, Clone)]
pub struct ToolAnswer {
    /// Id of the call.
    pub id: String,
    /// Tool name.
    pub name: String,
    /// JSON text of the result.
    pub output: String,
    /// The call failed.
    pub is_error: bool,
    /// Images of a media result: (MIME type, base64).
    pub media: Vec<(String, String)>,
}

/// A tool the model may call.
#[derive(Debug, Clone)]
pub struct ToolSpec {
    /// Name.
    pub name: String,
    /// What it does, for the model.
    pub description: String,
    /// JSON Schema object of the arguments.
    pub input_schema: Json,
}

impl ToolSpec {
    /// The schema of a tool that somebody else has declared, with what providers insist on: an object schema with
    /// properties. Without it they would refuse every request of the chat. Clients leave out what is empty, or write
    /// null for it; whatever else they say stays as it is.
    #[must_use]
    pub fn declared_schema(given: Json) -> Json {
        const REQUIRED: &str = "required";
        let Ok(schema) = given.read::<Object>() else { return given };
        let says = |key: &str| schema.get(key).is_some_and(|value| value.get() != "null");
        if says("type") && says("properties") && (says(REQUIRED) || !schema.has(REQUIRED)) {
            return given;
        }
        let kept = schema.iter().filter(|(key, _)| says(key));
        let mut whole = kept.fold(Object::new(), |object, (key, value)| object.with(key, value));
        if !whole.has("type") {
            whole.set("type", "object");
        }
        if !whole.has("properties") {
            whole.set("properties", &Object::new());
        }
        whole.json()
    }
}

/// The three wire formats; vendors multiply, formats hardly do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WireFormat {
    /// Anthropic Messages.
    AnthropicMessages,
    /// OpenAI Chat Completions and everything compatible with it.
    ChatCompletions,
    /// OpenAI Responses.
    OpenaiResponses,
}

/// What a provider sent in one answer and must get back unchanged.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Native {
    /// Format it was received in.
    pub format: WireFormat,
    /// Name of the model that wrote it: signatures are valid for that model only.
    pub model: String,
    /// Content blocks (Anthropic), output items (Responses), or one object with the extra keys of
    /// the message such as `reasoning_details` (Chat Completions); verbatim and in order.
    pub items: Vec<Json>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_declared_schema_becomes_one_that_providers_take() {
        for (given, sent) in [
            ("{}", r#"{"type":"object","properties":{}}"#),
            (r#"{"type":"object"}"#, r#"{"type":"object","properties":{}}"#),
            (
                r#"{"type":"object","properties":null,"required":null}"#,
                r#"{"type":"object","properties":{}}"#,
            ),
            (r#"{"properties": {"b": 1, "a": 2}}"#, r#"{"properties":{"b": 1, "a": 2},"type":"object"}"#),
            (
                r#"{ "properties": {"b": {}},"type":"object", "required":["b"], "x": null }"#,
                r#"{ "properties": {"b": {}},"type":"object", "required":["b"], "x": null }"#,
            ),
            ("true", "true"),
        ] {
            let given = Json::parse(given.to_owned()).unwrap();
            assert_eq!(ToolSpec::declared_schema(given).get(), sent);
        }
    }

    #[test]
    fn a_turn_without_provider_tools_keeps_the_other_options() {
        let options = json!({ "openai": { "web_search_enabled": true, "user": "u" }, "anthropic": { "web_search_enabled": true } });
        let mut request =
            Request { provider_options: options.as_object().unwrap().clone(), ..Request::default() };
        request.leave_out_provider_tools();
        assert_eq!(json!(request.provider_options), json!({ "openai": { "user": "u" }, "anthropic": {} }));
    }
}
