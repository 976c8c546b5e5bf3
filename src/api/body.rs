//! Bodies in and out: size limits, JSON errors that name the field, one content type.

use super::{
    objects::Objects,
    problem::{Problem, Result},
};
use crate::chat::json::Json;
use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header},
    web,
};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};
use std::time::Duration;
use tokio::time::timeout;

/// Largest body of create and tool-results (api.md §1.7).
pub const SMALL_LIMIT: usize = 256 * 1024;

/// The content type of every JSON body (api.md §1.2).
pub const JSON: &str = "application/json; charset=utf-8";

/// A JSON answer.
pub fn json<T: Serialize + ?Sized>(status: StatusCode, value: &T) -> HttpResponse {
    raw(status, &Json::of(value))
}

/// An answer whose JSON text exists already.
pub fn raw(status: StatusCode, text: &Json) -> HttpResponse {
    HttpResponse::build(status).insert_header((header::CONTENT_TYPE, JSON)).body(text.get().to_owned())
}

/// 200.
pub fn ok<T: Serialize + ?Sized>(value: &T) -> HttpResponse {
    json(StatusCode::OK, value)
}

/// `deserialize_with` of a key where `null` says something else than no key at all.
pub fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    d: D,
) -> std::result::Result<Option<Option<T>>, D::Error> {
    Option::deserialize(d).map(Some)
}

/// 204.
pub fn no_content() -> HttpResponse {
    HttpResponse::NoContent().finish()
}

/// How long the next piece of a body may take. Headers have a limit of their own; without this one a request that
/// stops in its body would keep its connection for ever, and to sign in nobody needs to be known.
const SILENCE: Duration = Duration::from_secs(30);
/// How long a body that is read whole may take: the largest one at the speed of a bad line.
const WHOLE: Duration = Duration::from_secs(300);

fn late() -> Problem {
    Problem::new(StatusCode::REQUEST_TIMEOUT, "The request body did not arrive in time.")
        .detail("Send the request again.")
}

/// The next piece of a body; `None` at its end.
///
/// # Errors
/// 400 when it ends early, 408 when nothing comes.
pub async fn piece(payload: &mut web::Payload) -> Result<Option<Bytes>> {
    let piece = timeout(SILENCE, payload.next()).await.map_err(|_| late())?;
    piece
        .transpose()
        .map_err(|e| Problem::bad_request("The request body could not be read.").detail(e.to_string()))
}

/// Lets only bodies pass that are sent as they are: a compressed one would be taken for broken text.
///
/// # Errors
/// 415 when it has a content coding.
pub fn uncoded(request: &HttpRequest) -> Result<()> {
    let plain = |coding: &str| coding.is_empty() || coding.eq_ignore_ascii_case("identity");
    for value in request.headers().get_all(header::CONTENT_ENCODING) {
        let codings = String::from_utf8_lossy(value.as_bytes());
        if !codings.split(',').all(|coding| plain(coding.trim())) {
            return Err(Problem::unsupported_coding(&codings));
        }
    }
    Ok(())
}

/// Reads a whole body of at most `limit` bytes.
///
/// # Errors
/// 415 when it is compressed, 413 when it is larger, 400 when it ends early, 408 when it does not come.
pub async fn read(request: &HttpRequest, mut payload: web::Payload, limit: usize) -> Result<Bytes> {
    uncoded(request)?;
    let declared = request.headers().get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok());
    if declared.is_some_and(|length: u64| length > limit as u64) {
        return Err(Problem::too_large(limit));
    }
    let whole = async {
        let mut body = BytesMut::new();
        while let Some(chunk) = piece(&mut payload).await? {
            if body.len() + chunk.len() > limit {
                return Err(Problem::too_large(limit));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    };
    timeout(WHOLE, whole).await.map_err(|_| late())?
}

/// Reads JSON. Unknown keys are ignored; where an object belongs, at whatever depth, only an object is taken.
///
/// # Errors
/// 400 for text that is no JSON, and for a value of the wrong shape with the path of the field.
pub fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    let text = std::str::from_utf8(body).map_err(|e| {
        Problem::bad_request("The request body is not valid UTF-8.")
            .detail(format!("The first wrong byte is at {}.", e.valid_up_to()))
    })?;
    // A body that may be anything (a map, a list of keys) is an object as well.
    if text.trim_start().starts_with('[') {
        return Err(Problem::bad_request("The request body must be a JSON object.").detail("It is an array."));
    }
    of_text(text)
}

/// The same for any value.
///
/// # Errors
/// See [`parse`].
pub(super) fn of_text<T: DeserializeOwned>(text: &str) -> Result<T> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(Objects(&mut reader)).map_err(|e| {
        let path = e.path().to_string();
        let cause = e.into_inner();
        if cause.is_data() && path != "." {
            Problem::field(path, sentence(&cause))
        } else if let Some(field) = missing(&cause) {
            Problem::field(field.clone(), format!("{field} is required."))
        } else {
            malformed(&cause)
        }
    })?;
    reader.end().map_err(|e| malformed(&e))?;
    Ok(value)
}

/// The key that the body as a whole lacks.
fn missing(cause: &serde_json::Error) -> Option<String> {
    let text = cause.to_string();
    let name = text.strip_prefix("missing field `")?.split('`').next()?;
    cause.is_data().then(|| name.to_owned())
}

fn malformed(cause: &serde_json::Error) -> Problem {
    Problem::bad_request("The request body must be valid JSON.").detail(cause.to_string())
}

/// The error without its place, which the field name tells better.
fn sentence(cause: &serde_json::Error) -> String {
    let text = cause.to_string();
    text.rsplit_once(" at line ").map_or(text.clone(), |(what, _)| what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    struct Outer {
        #[serde(default)]
        list: Vec<Inner>,
    }
    #[derive(Debug, Deserialize)]
    struct Inner {
        number: i64,
        raw: Option<Json>,
    }

    fn text(problem: &Problem) -> String {
        format!("{problem:?}")
    }

    #[test]
    fn errors_name_the_field() {
        let e = parse::<Outer>(br#"{"list": [{"number": 1}, {"number": "x"}]}"#).unwrap_err();
        assert!(text(&e).contains("list[1].number"), "{e:?}");
        assert_eq!(e.status(), StatusCode::BAD_REQUEST);
        for bad in [&b"{"[..], b"", b"{} x", b"[1", b"\xff"] {
            assert_eq!(parse::<Outer>(bad).unwrap_err().status(), StatusCode::BAD_REQUEST);
        }
        for array in [&b"[]"[..], b" [[]]", b"[[{\"number\": 1}]]"] {
            assert!(text(&parse::<Outer>(array).unwrap_err()).contains("must be a JSON object"));
        }
        let e = parse::<Outer>(br#"{"list": [{"number": 1}, [2]]}"#).unwrap_err();
        assert!(text(&e).contains("list[1]") && text(&e).contains("expected"), "{e:?}");
        let deep = "[".repeat(100_000);
        assert_eq!(
            parse::<serde_json::Value>(deep.as_bytes()).unwrap_err().status(),
            StatusCode::BAD_REQUEST
        );
    }

    #[test]
    fn raw_json_passes_through_with_its_bytes() {
        let ok: Outer =
            parse(br#"{"list": [{"number": 1, "raw": { "b": 1.0, "a":2 }, "unknown": 3}]}"#).unwrap();
        assert_eq!(ok.list[0].number, 1);
        assert_eq!(ok.list[0].raw.as_ref().unwrap().get(), r#"{ "b": 1.0, "a":2 }"#);
    }
}
