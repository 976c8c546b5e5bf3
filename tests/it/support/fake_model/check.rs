//! What providers refuse. Each fault found here is answered with a 400 and fails the test.

use super::request::{RecordedRequest, SeenMessage, SeenTool, Wire, list};
use serde_json::{Value, json};
use std::collections::HashSet;

/// Collects everything that is wrong with a request.
pub fn check(request: &RecordedRequest, faults: &mut Vec<String>) {
    if request.wire == Wire::Unknown {
        return;
    }
    let body = &request.body;
    let mut must = |holds: bool, fault: &str| {
        if !holds {
            faults.push(fault.to_owned());
        }
    };
    must(request.method == "POST", "the method is not POST");
    must(
        request.header("content-type").is_some_and(|v| v.starts_with("application/json")),
        "not application/json",
    );
    must(!request.model().is_empty(), "no model is named");
    must(body["stream"] == json!(true), "the request does not ask for a stream");
    if request.wire == Wire::Anthropic {
        must(body["max_tokens"].as_i64().is_some_and(|n| n > 0), "no max_tokens, which Anthropic requires");
        must(request.header("anthropic-version").is_some(), "no anthropic-version header");
        must(
            request
                .messages
                .iter()
                .rev()
                .find(|m| m.role != "system")
                .is_none_or(|last| last.role != "assistant" || last.text.trim_end() == last.text),
            "the final assistant text ends in white space",
        );
    }
    check_structured(request, faults);
    check_messages(request, faults);
    check_calls(request, faults);
    check_tools(request, faults);
    if request.wire == Wire::Responses {
        check_items(list(&body["input"]), faults);
    }
}

/// A structured answer: a strict schema, or one tool that must be called; few tokens and nothing else.
fn check_structured(request: &RecordedRequest, faults: &mut Vec<String>) {
    let body = &request.body;
    let schema = match request.wire {
        Wire::Chat => &body["response_format"]["json_schema"],
        Wire::Responses => &body["text"]["format"],
        Wire::Anthropic if body["tool_choice"]["type"] == "tool" => {
            if request.tool_names() != [body["tool_choice"]["name"].as_str().unwrap_or_default()] {
                faults.push(format!("tool_choice {} beside {:?}", body["tool_choice"], request.tool_names()));
            }
            if !body["thinking"].is_null() {
                faults.push("thinking together with a forced tool".to_owned());
            }
            return;
        }
        Wire::Anthropic | Wire::Unknown => return,
    };
    if schema.is_null() {
        return;
    }
    let properties = schema["schema"]["properties"].as_object();
    let required = list(&schema["schema"]["required"]);
    let all = properties.is_some_and(|map| map.keys().all(|key| required.contains(&json!(key))));
    if schema["strict"] != json!(true) || schema["schema"]["additionalProperties"] != json!(false) || !all {
        faults.push(format!("a schema that is not strict: {schema}"));
    }
    if !request.tools.is_empty() {
        faults.push("tools beside a structured answer".to_owned());
    }
}

fn check_messages(request: &RecordedRequest, faults: &mut Vec<String>) {
    let messages = &request.messages;
    match messages.iter().find(|m| m.role != "system") {
        None => faults.push("the prompt has no message".to_owned()),
        Some(first) if first.role != "user" => {
            faults.push(format!("the first message is of role {:?}, not user or system", first.role));
        }
        Some(_) => {}
    }
    for message in messages {
        let SeenMessage { role, text, calls, results, files, reasoning } = message;
        match role.as_str() {
            "system" if text.trim().is_empty() => faults.push("an empty system text".to_owned()),
            "user" if text.trim().is_empty() && *files == 0 => {
                faults.push("an empty user message".to_owned());
            }
            "assistant" if text.trim().is_empty() && calls.is_empty() && *reasoning == 0 => {
                faults.push("an empty assistant message".to_owned());
            }
            "system" | "user" | "assistant" | "tool" => {}
            other => faults.push(format!("a message of role {other:?}")),
        }
        if !calls.is_empty() && role != "assistant" {
            faults.push(format!("a tool call in a message of {role:?}"));
        }
        if !results.is_empty() && role != "tool" {
            faults.push(format!("a tool result in a message of {role:?}"));
        }
    }
}

/// Each call has exactly one answer, directly after the message that made it; no answer is without a call.
fn check_calls(request: &RecordedRequest, faults: &mut Vec<String>) {
    let mut ids = HashSet::new();
    for (at, message) in request.messages.iter().enumerate() {
        for call in &message.calls {
            if call.id.is_empty() || call.name.is_empty() {
                faults.push(format!("a tool call without id or name: {call:?}"));
            }
            if request.wire == Wire::Anthropic && !is_identifier(&call.id, 128) {
                faults.push(format!("tool call id {:?} has characters that are refused", call.id));
            }
            if !ids.insert(call.id.as_str()) {
                faults.push(format!("tool call id {:?} occurs twice", call.id));
            }
            let answers = request
                .messages
                .get(at + 1)
                .map_or(0, |next| next.results.iter().filter(|result| result.id == call.id).count());
            if answers != 1 {
                faults.push(format!(
                    "tool call {:?} has {answers} answers directly after it, not one",
                    call.id
                ));
            }
        }
        let before =
            at.checked_sub(1).map(|before| request.messages[before].calls.as_slice()).unwrap_or_default();
        for result in &message.results {
            if !before.iter().any(|call| call.id == result.id) {
                faults.push(format!("the answer {:?} has no call directly before it", result.id));
            }
        }
    }
}

fn check_tools(request: &RecordedRequest, faults: &mut Vec<String>) {
    let limit = if request.wire == Wire::Anthropic { 128 } else { 64 };
    let mut names = HashSet::new();
    for SeenTool { name, schema, .. } in &request.tools {
        if !is_identifier(name, limit) {
            faults.push(format!("tool name {name:?} is refused"));
        }
        if !names.insert(name.as_str()) {
            faults.push(format!("two tools are named {name:?}"));
        }
        if schema["type"] != "object" {
            faults.push(format!("the schema of tool {name:?} is no object schema: {schema}"));
        } else if request.wire != Wire::Anthropic && !schema["properties"].is_object() {
            faults.push(format!("the schema of tool {name:?} lacks properties"));
        }
        check_schema(name, schema, schema, faults);
    }
    if request.body["tools"].as_array().is_some_and(Vec::is_empty) {
        faults.push("an empty list of tools".to_owned());
    }
}

/// Walks a schema as far as providers do.
fn check_schema(tool: &str, root: &Value, schema: &Value, faults: &mut Vec<String>) {
    let mut fault = |text: String| faults.push(format!("schema of tool {tool:?}: {text}"));
    let Some(object) = schema.as_object() else {
        if !schema.is_boolean() {
            fault(format!("{schema} is no schema"));
        }
        return;
    };
    const TYPES: [&str; 7] = ["object", "array", "string", "number", "integer", "boolean", "null"];
    let known = |value: &Value| value.as_str().is_some_and(|name| TYPES.contains(&name));
    match object.get("type") {
        Some(Value::Array(types)) if types.iter().all(known) => {}
        Some(value) if !known(value) => fault(format!("type {value}")),
        _ => {}
    }
    if schema["type"] == "array" && object.get("items").is_none() && object.get("prefixItems").is_none() {
        fault("an array without items".to_owned());
    }
    if object.get("enum").is_some_and(|values| list(values).is_empty()) {
        fault("an empty enum".to_owned());
    }
    if let Some(required) = object.get("required")
        && !required.as_array().is_some_and(|names| names.iter().all(Value::is_string))
    {
        fault(format!("required {required}"));
    }
    if let Some(reference) = object.get("$ref") {
        let target = reference.as_str().and_then(|text| text.strip_prefix('#'));
        if target.and_then(|pointer| root.pointer(pointer)).is_none() {
            fault(format!("$ref {reference} leads nowhere"));
        }
    }
    if let Some(properties) = object.get("properties") {
        match properties.as_object() {
            Some(map) => map.values().for_each(|value| check_schema(tool, root, value, faults)),
            None => fault(format!("properties {properties}")),
        }
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = object.get(key) {
            check_schema(tool, root, inner, faults);
        }
    }
    for key in ["anyOf", "oneOf", "allOf"] {
        list(&schema[key]).iter().for_each(|inner| check_schema(tool, root, inner, faults));
    }
}

/// Responses items: ids are unique, and a reasoning item is followed by what it led to.
fn check_items(items: &[Value], faults: &mut Vec<String>) {
    let mut ids = HashSet::new();
    for (at, item) in items.iter().enumerate() {
        if let Some(id) = item["id"].as_str()
            && !ids.insert(id)
        {
            faults.push(format!("item id {id:?} occurs twice"));
        }
        if item["type"] == "reasoning" {
            let next = items.get(at + 1);
            let follows = next.is_some_and(|next| {
                next["role"] == "assistant"
                    || next["type"] == "reasoning"
                    || next["type"].as_str().is_some_and(|t| t.ends_with("_call"))
            });
            if !follows {
                faults.push("a reasoning item without the item it led to".to_owned());
            }
        }
    }
}

fn is_identifier(text: &str, limit: usize) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    !text.is_empty() && text.len() <= limit && text.chars().all(allowed)
}
