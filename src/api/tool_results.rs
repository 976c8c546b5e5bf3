//! `POST /chats/{chat}/tool-results` (api.md §2.7).

use super::{
    access::{self, Right},
    auth::Caller,
    body,
    commit::{self, Key},
    doc::{Doc, IDEMPOTENCY_KEY},
    problem::{Problem, Result},
    state::ApiState,
};
use crate::{
    chat::{
        command::{Command, SubmittedResult},
        json::Json,
    },
    store::commit::Commit,
};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Deserializer};
use utoipa::ToSchema;

/// The results of all pending calls.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = SubmitToolResults)]
pub struct ResultsBody {
    #[schema(required = true)]
    results: Option<Vec<ResultIn>>,
}

/// The result of one call.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = SubmittedToolResult)]
pub struct ResultIn {
    #[serde(default)]
    tool_call_id: String,
    #[serde(default, deserialize_with = "present")]
    output: Option<Json>,
    #[serde(default)]
    is_error: bool,
}

/// `null` is an output; only a missing key is none.
fn present<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Json>, D::Error> {
    Json::deserialize(d).map(Some)
}

/// What the OpenAPI document says of it.
pub const SUBMIT: Doc = Doc::new("Answer pending client-side tool calls")
    .takes::<ResultsBody>()
    .params(&[IDEMPOTENCY_KEY])
    .errors(&[400, 403, 404, 409, 413]);

/// Takes the client's results for all pending calls.
pub async fn submit(
    request: HttpRequest,
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse> {
    let chat = access::only_id(&state, &caller, &path, Right::Own).await?;
    let bytes = body::read(&request, payload, body::SMALL_LIMIT).await?;
    let key = Key::of(&request, &caller, &bytes)?;
    let results = results(body::parse(&bytes)?)?;
    let commit = Commit::new(chat, Command::CompleteRequiresAction(results), state.clock.now());
    commit::run(&state, commit, key, |_| (204, commit::nothing())).await
}

fn results(body: ResultsBody) -> Result<Vec<SubmittedResult>> {
    let results = body.results.unwrap_or_default();
    if results.is_empty() {
        return Err(Problem::field("results", "results must have at least one entry."));
    }
    results
        .into_iter()
        .enumerate()
        .map(|(index, result)| {
            let wrong = |what: &str| Problem::field("results", format!("results[{index}].{what}"));
            if result.tool_call_id.is_empty() {
                return Err(wrong("tool_call_id is required."));
            }
            let output = result.output.ok_or_else(|| wrong("output is required."))?;
            // Reading it bounds how deep it is nested; what is stored is the text itself.
            output.read::<serde_json::Value>().map_err(|e| wrong(&format!("output cannot be read: {e}.")))?;
            Ok(SubmittedResult {
                tool_call_id: result.tool_call_id,
                output: output.get().to_owned(),
                is_error: result.is_error,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_keep_their_bytes_and_null_is_one() {
        let ok = |json: &str| results(body::parse(json.as_bytes()).unwrap());
        let all = ok(r#"{"results":[{"tool_call_id":"a","output":{ "z":1.0,"a":2 }},
                         {"tool_call_id":"b","output":"text","is_error":true},{"tool_call_id":"c","output":null}]}"#).unwrap();
        assert_eq!(all[0].output, r#"{ "z":1.0,"a":2 }"#);
        assert!(all[1].is_error);
        assert_eq!(all[2].output, "null");
        for bad in [
            r#"{}"#,
            r#"{"results":[]}"#,
            r#"{"results":[{"output":1}]}"#,
            r#"{"results":[{"tool_call_id":"a"}]}"#,
        ] {
            assert!(ok(bad).is_err(), "{bad}");
        }
    }
}
