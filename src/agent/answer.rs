//! Answers of the agent, and requests as its handlers read them.

use crate::{
    ids::fresh_uuid,
    workspace::{
        WorkspaceError,
        wire::{CHAT_ID, ErrorBody, FORMER_CHAT_ID, REPEATED, TOOL_CALL_ID, Validation},
    },
};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, combinators::UnsyncBoxBody};
use hyper::{HeaderMap, Response, StatusCode, header};
use serde::{Serialize, de::DeserializeOwned};
use std::{collections::BTreeMap, io};

/// A body that may come piece by piece.
pub type Body = UnsyncBoxBody<Bytes, io::Error>;

/// An answer whose body is there: it can be given more than once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// JSON.
    pub body: Bytes,
}

impl Answer {
    /// 200 with this as JSON.
    pub fn ok(value: &impl Serialize) -> Self {
        Self::json(StatusCode::OK, value)
    }

    /// This as JSON.
    pub fn json(status: StatusCode, value: &impl Serialize) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => Self { status, body: body.into() },
            // A map with keys that are no text would be the only reason, and there is none.
            Err(e) => Self {
                status: StatusCode::INTERNAL_SERVER_ERROR,
                body: format!("{{\"message\":{:?}}}", e.to_string()).into(),
            },
        }
    }
}

impl From<Answer> for Response<Body> {
    fn from(answer: Answer) -> Self {
        let mut response = Self::new(Full::new(answer.body).map_err(|never| match never {}).boxed_unsync());
        *response.status_mut() = answer.status;
        let json = header::HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        response
    }
}

/// Why a request is not carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The status.
    pub status: StatusCode,
    /// The body.
    pub body: ErrorBody,
}

impl Refusal {
    /// With this message.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, body: ErrorBody { message: message.into(), ..ErrorBody::default() } }
    }

    /// 400 with this message.
    pub fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// 400 because of one field.
    pub fn field(field: &str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        let mut refusal = Self::bad(format!("{field}: {detail}"));
        refusal.body.validations.push(Validation { field: field.to_owned(), detail });
        refusal
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        Self::json(refusal.status, &refusal.body)
    }
}

impl From<WorkspaceError> for Refusal {
    fn from(error: WorkspaceError) -> Self {
        use WorkspaceError as E;
        let status = match &error {
            E::NotAbsolute(_) | E::LinkLoop(_) | E::NotAFile(_) | E::NotADirectory(_) | E::Read(_) => {
                StatusCode::BAD_REQUEST
            }
            E::NotFound(_) => StatusCode::NOT_FOUND,
            E::Permission(_) => StatusCode::FORBIDDEN,
            E::Start(_) | E::Io { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, error.to_string())
    }
}

/// Who asks: what every request's headers say.
#[derive(Debug, Clone, Default)]
pub struct Caller {
    /// The chat; empty when the request is for none.
    pub chat: String,
    /// The tool call.
    pub tool_call: Option<String>,
    /// The call was sent before; nothing begins.
    pub repeated: bool,
}

impl Caller {
    /// Reads the headers.
    pub fn of(headers: &HeaderMap) -> Self {
        let text = |names: &[&str]| {
            let found = names.iter().find_map(|name| headers.get(*name)?.to_str().ok());
            found.map(str::trim).filter(|text| !text.is_empty())
        };
        Self {
            chat: text(&[CHAT_ID, FORMER_CHAT_ID]).unwrap_or_default().to_owned(),
            tool_call: text(&[TOOL_CALL_ID]).map(str::to_owned),
            repeated: text(&[REPEATED]) == Some("true"),
        }
    }
}

/// The query of a request.
#[derive(Debug, Clone, Default)]
pub struct Query(BTreeMap<String, String>);

impl Query {
    /// Takes a query apart.
    pub fn parse(query: Option<&str>) -> Self {
        let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        Self(pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect())
    }

    /// Refuses names that are not among these.
    pub fn only(&self, names: &[&str]) -> Result<(), Refusal> {
        match self.0.keys().find(|name| !names.contains(&name.as_str())) {
            Some(name) => {
                Err(Refusal::field(name, format!("unknown parameter; known are {}", names.join(", "))))
            }
            None => Ok(()),
        }
    }

    /// The value, if it is there.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A value that must be there.
    pub fn required(&self, name: &str) -> Result<&str, Refusal> {
        self.get(name).filter(|value| !value.is_empty()).ok_or_else(|| Refusal::field(name, "must be given"))
    }

    /// A whole number that is not negative.
    pub fn number<T: TryFrom<u64>>(&self, name: &str, default: T) -> Result<T, Refusal> {
        let Some(text) = self.get(name).filter(|value| !value.is_empty()) else { return Ok(default) };
        let number = text.parse::<u64>().ok().and_then(|number| T::try_from(number).ok());
        number.ok_or_else(|| Refusal::field(name, format!("{text:?} is not a whole number from 0 on")))
    }
}

/// Reads JSON.
pub fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    let mut from = serde_json::Deserializer::from_slice(body);
    serde_path_to_error::deserialize(&mut from)
        .map_err(|e| Refusal::bad(format!("the body is not the JSON that is needed here: {e}")))
}

/// A fresh id as text.
pub fn fresh_id() -> String {
    fresh_uuid().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_are_read_under_both_names() {
        let of = |headers: &[(&'static str, &'static str)]| {
            let headers = headers.iter().map(|&(name, value)| {
                (header::HeaderName::from_static(name), header::HeaderValue::from_static(value))
            });
            Caller::of(&headers.collect())
        };
        let caller = of(&[("x-chatd-chat-id", " a "), ("coder-chat-id", "b"), ("x-chatd-tool-call-id", "t")]);
        assert_eq!((caller.chat.as_str(), caller.tool_call.as_deref()), ("a", Some("t")));
        let former = of(&[("coder-chat-id", "b"), ("x-chatd-tool-call-id", "")]);
        assert_eq!((former.chat.as_str(), former.tool_call), ("b", None));
        assert_eq!(of(&[]).chat, "");
    }

    #[test]
    fn queries_are_checked() {
        let query = Query::parse(Some("path=%2Fa+b&limit=7&offset=&bad=-1&big=300"));
        assert_eq!(query.required("path").unwrap(), "/a b");
        assert_eq!((query.number("limit", 1usize).unwrap(), query.number("offset", 1u64).unwrap()), (7, 1));
        assert!(query.number("bad", 0u64).is_err() && query.number("big", 0u8).is_err());
        assert_eq!(query.only(&["path"]).unwrap_err().body.validations[0].field, "bad");
        assert!(query.required("none").is_err() && query.required("offset").is_err());
    }

    #[test]
    fn json_that_does_not_fit_names_the_place() {
        #[derive(Debug, serde::Deserialize)]
        struct Body {
            #[expect(dead_code, reason = "it is never read")]
            list: Vec<u8>,
        }
        let refusal = parse::<Body>(br#"{"list": [1, "x"]}"#).unwrap_err();
        assert_eq!(refusal.status, StatusCode::BAD_REQUEST);
        assert!(refusal.body.message.contains("list[1]"), "{}", refusal.body.message);
    }
}
