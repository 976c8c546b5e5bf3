//! Is a request one that a strict provider would take?

use serde_json::Value;
use std::collections::{HashMap, HashSet};

/// What the player needs of a valid request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) model: String,
    pub(super) system: String,
    pub(super) last_user: String,
    /// Name of the tool and its output, when the last message answers a call.
    pub(super) last_answer: Option<(String, String)>,
    /// The newest output of any tool.
    pub(super) last_output: String,
    pub(super) tools: HashSet<String>,
    /// Name of the schema that the answer must follow.
    pub(super) schema: Option<String>,
    /// Characters of the prompt.
    pub(super) chars: usize,
}

/// Checks a request body. The error says what is wrong, in the provider's place.
pub(super) fn validate(body: &[u8]) -> Result<Asked, String> {
    let body: Value = serde_json::from_slice(body).map_err(|e| format!("the body is not valid JSON: {e}"))?;
    let mut asked = Asked {
        model: text(&body, "model").filter(|m| !m.is_empty()).ok_or("model is missing")?.to_owned(),
        chars: body.get("tools").map_or(0, |t| t.to_string().chars().count()),
        ..Asked::default()
    };
    if body.get("stream") != Some(&Value::Bool(true)) {
        return Err("this server only streams: stream must be true".to_owned());
    }
    if let Some(format) = body.get("response_format").filter(|f| !f.is_null()) {
        let name = format.pointer("/json_schema/name").and_then(Value::as_str).unwrap_or_default();
        let object = format.pointer("/json_schema/schema/type").and_then(Value::as_str) == Some("object");
        if text(format, "type") != Some("json_schema") || !is_name(name) || !object {
            return Err("response_format must be a json_schema with a name and an object schema".to_owned());
        }
        asked.schema = Some(name.to_owned());
    }
    for tool in body.get("tools").and_then(Value::as_array).into_iter().flatten() {
        let name = tool.pointer("/function/name").and_then(Value::as_str).unwrap_or_default();
        if text(tool, "type") != Some("function") || !is_name(name) {
            return Err(format!("{name:?} is no valid function tool"));
        }
        if tool.pointer("/function/parameters/type").and_then(Value::as_str) != Some("object") {
            return Err(format!("the parameters of tool {name} are no object schema"));
        }
        if !asked.tools.insert(name.to_owned()) {
            return Err(format!("tool {name} is defined twice"));
        }
    }
    let messages = body.get("messages").and_then(Value::as_array).filter(|m| !m.is_empty());
    let mut walk =
        Walk { asked, open: Vec::new(), answered: HashMap::new(), seen: HashSet::new(), last_role: "" };
    for (at, message) in messages.ok_or("messages must be a non-empty array")?.iter().enumerate() {
        walk.message(message).map_err(|e| format!("messages[{at}]: {e}"))?;
    }
    walk.all_answered()?;
    if walk.last_role == "system" {
        return Err("there is no message to answer".to_owned());
    }
    Ok(walk.asked)
}

struct Walk {
    asked: Asked,
    /// Calls of the last assistant message without an answer yet.
    open: Vec<String>,
    /// Calls of the last assistant message: id to name.
    answered: HashMap<String, String>,
    /// All call ids of the last assistant message that were answered.
    seen: HashSet<String>,
    last_role: &'static str,
}

impl Walk {
    fn message(&mut self, message: &Value) -> Result<(), String> {
        let role = match text(message, "role").unwrap_or_default() {
            "system" | "developer" => "system",
            "user" => "user",
            "assistant" => "assistant",
            "tool" => "tool",
            other => return Err(format!("unknown role {other:?}")),
        };
        let content = message.get("content").unwrap_or(&Value::Null);
        let words = flatten(content)?;
        self.asked.chars += words.chars().count();
        if role != "tool" {
            self.all_answered()?;
        }
        if role == self.last_role && matches!(role, "user" | "assistant") {
            return Err(format!("two {role} messages in a row"));
        }
        match role {
            "system" => {
                if !matches!(self.last_role, "" | "system") {
                    return Err("system messages come first".to_owned());
                }
                self.asked.system.push_str(&words);
                self.asked.system.push('\n');
            }
            "user" => {
                if content.is_null() || content.as_str().is_some_and(str::is_empty) {
                    return Err("the user message is empty".to_owned());
                }
                self.asked.last_user = words;
                self.asked.last_answer = None;
            }
            "assistant" => self.assistant(message, &words)?,
            _ => self.answer(message, words)?,
        }
        self.last_role = role;
        Ok(())
    }

    fn assistant(&mut self, message: &Value, words: &str) -> Result<(), String> {
        self.seen.clear();
        self.answered.clear();
        let calls = message.get("tool_calls").and_then(Value::as_array);
        if calls.is_none_or(Vec::is_empty) && words.is_empty() {
            return Err("an assistant message needs content or tool_calls".to_owned());
        }
        for call in calls.into_iter().flatten() {
            let id = text(call, "id").unwrap_or_default();
            let name = call.pointer("/function/name").and_then(Value::as_str).unwrap_or_default();
            let args = call.pointer("/function/arguments").and_then(Value::as_str).unwrap_or_default();
            if id.is_empty() || id.len() > 64 || text(call, "type") != Some("function") || !is_name(name) {
                return Err(format!("{id:?} is no valid call of {name:?}"));
            }
            if !serde_json::from_str::<Value>(args).is_ok_and(|v| v.is_object()) {
                return Err(format!("the arguments of call {id} are no JSON object"));
            }
            if self.answered.insert(id.to_owned(), name.to_owned()).is_some() {
                return Err(format!("call id {id} is used twice"));
            }
            self.open.push(id.to_owned());
            self.asked.chars += args.chars().count();
        }
        self.asked.last_answer = None;
        Ok(())
    }

    fn answer(&mut self, message: &Value, words: String) -> Result<(), String> {
        let id = text(message, "tool_call_id").unwrap_or_default();
        if !self.seen.insert(id.to_owned()) {
            return Err(format!("call {id} is answered twice"));
        }
        let at = self.open.iter().position(|open| open == id);
        let at =
            at.ok_or_else(|| format!("tool message answers {id:?}, which the message before did not call"))?;
        self.open.remove(at);
        let name = self.answered.get(id).cloned().unwrap_or_default();
        self.asked.last_output.clone_from(&words);
        self.asked.last_answer = Some((name, words));
        Ok(())
    }

    fn all_answered(&self) -> Result<(), String> {
        if self.open.is_empty() {
            return Ok(());
        }
        Err(format!("tool_calls without an answer directly after them: {}", self.open.join(", ")))
    }
}

/// The text of a content value; pictures and files count as nothing.
fn flatten(content: &Value) -> Result<String, String> {
    match content {
        Value::Null => Ok(String::new()),
        Value::String(text) => Ok(text.clone()),
        Value::Array(parts) if !parts.is_empty() => {
            let mut words = Vec::new();
            for part in parts {
                match text(part, "type") {
                    Some("text") => words.push(text(part, "text").ok_or("a text part without text")?),
                    Some("image_url") if part.pointer("/image_url/url").is_some_and(Value::is_string) => {}
                    Some("file") if part.get("file").is_some_and(Value::is_object) => {}
                    other => return Err(format!("invalid content part of type {other:?}")),
                }
            }
            Ok(words.join("\n"))
        }
        _ => Err("content must be text, a non-empty list of parts or null".to_owned()),
    }
}

fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key).and_then(Value::as_str)
}

fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}
