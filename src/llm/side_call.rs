//! Small calls beside the turns whose answer a program reads: a title, a label.

use super::{
    options,
    request::{OutputSchema, PromptMessage, Request, UserContent, WEB_SEARCH},
};

/// Options that make a model think, search, write more or answer in another shape than asked. What is
/// left says who asks and where the request may go, which holds for every call.
const DROPPED: [&str; 27] = [
    "allowed_domains",
    "blocked_domains",
    "cached_content",
    "context_1m_enabled",
    "disable_parallel_tool_use",
    "effort",
    "include",
    "instructions",
    "log_probs",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "max_tool_calls",
    "parallel_tool_calls",
    "prediction",
    "reasoning",
    "reasoning_effort",
    "reasoning_summary",
    "search_context_size",
    "strict_json_schema",
    "structured_outputs",
    "text_verbosity",
    "thinking",
    "thinking_config",
    "thinking_display",
    "top_log_probs",
    "top_logprobs",
];

/// A request of one question with a structured answer of at most `max_output_tokens`. `defaults` are
/// the model's; of them stay the model's name and what [`DROPPED`] leaves of its options.
#[must_use]
pub fn request(
    defaults: &Request,
    provider_type: &str,
    system: &str,
    question: String,
    output: OutputSchema,
    max_output_tokens: i64,
) -> Request {
    let mut provider_options = defaults.provider_options.clone();
    for block in provider_options.values_mut().filter_map(serde_json::Value::as_object_mut) {
        block.retain(|key, _| !DROPPED.contains(&key.as_str()) && key != WEB_SEARCH);
    }
    // A model that always thinks would spend the few tokens on it.
    let thinks =
        matches!(provider_type, "openai" | "azure") && options::is_openai_reasoning_model(&defaults.model);
    Request {
        model: defaults.model.clone(),
        system: vec![system.to_owned()],
        messages: vec![PromptMessage::User(vec![UserContent::Text(question)])],
        max_output_tokens: Some(max_output_tokens),
        reasoning_effort: thinks.then(|| "low".to_owned()),
        provider_options,
        output: Some(output),
        ..Request::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        chat::json::Json,
        llm::{request::WireFormat, testing},
    };
    use serde_json::{Value, json};

    fn asked(provider: &str, model: &str, format: WireFormat, key: &str, options: Value) -> Value {
        let defaults = Request {
            model: model.into(),
            temperature: Some(1.5),
            reasoning_effort: Some("max".into()),
            max_output_tokens: Some(9000),
            ..Request::default()
        };
        let schema = Json::of(&json!({ "type": "object" }));
        let output = OutputSchema { name: "propose", description: "d", schema };
        let defaults = testing::with_options(defaults, key, options);
        let request = request(&defaults, provider, "Be brief.", "Q".into(), output, 256);
        testing::body(provider, format, &request)
    }

    #[test]
    fn chat_completions_ask_by_response_format() {
        let options = json!({ "reasoning": { "effort": "high" }, "provider": { "only": ["a"] }, "extra_body": { "x": 1 } });
        assert_eq!(
            asked("openrouter", "m", WireFormat::ChatCompletions, "openrouter", options),
            json!({
                "model": "m", "max_tokens": 256, "stream": true, "stream_options": { "include_usage": true },
                "messages": [{ "role": "system", "content": "Be brief." }, { "role": "user", "content": "Q" }],
                "response_format": { "type": "json_schema",
                    "json_schema": { "name": "propose", "strict": true, "schema": { "type": "object" } } },
                "provider": { "only": ["a"] }, "x": 1,
            })
        );
    }

    #[test]
    fn responses_ask_by_text_format_and_think_little() {
        let options = json!({ "text_verbosity": "high", "web_search_enabled": true, "store": false,
            "max_completion_tokens": 5, "reasoning_summary": "auto" });
        let body = asked("openai", "gpt-5", WireFormat::OpenaiResponses, "openai", options);
        assert_eq!(
            body["text"],
            json!({ "format": { "type": "json_schema", "name": "propose", "strict": true, "schema": { "type": "object" } } })
        );
        assert_eq!((&body["reasoning"], &body["store"]), (&json!({ "effort": "low" }), &json!(false)));
        assert_eq!((&body["max_output_tokens"], body.get("tools")), (&json!(256), None));
        let plain = asked("openai", "gpt-4o-mini", WireFormat::OpenaiResponses, "openai", json!({}));
        assert_eq!(plain.get("reasoning"), None);
    }

    #[test]
    fn anthropic_is_made_to_call_one_tool_without_thinking_and_caching() {
        let options = json!({ "thinking": { "budget_tokens": 4000 }, "effort": "high", "web_search_enabled": true,
            "disable_parallel_tool_use": true });
        let body = asked("anthropic", "m", WireFormat::AnthropicMessages, "anthropic", options);
        assert_eq!(
            body,
            json!({
                "model": "m", "max_tokens": 256, "stream": true,
                "system": [{ "type": "text", "text": "Be brief." }],
                "messages": [{ "role": "user", "content": [{ "type": "text", "text": "Q" }] }],
                "tools": [{ "name": "propose", "description": "d", "input_schema": { "type": "object" } }],
                "tool_choice": { "type": "tool", "name": "propose" },
            })
        );
    }
}
