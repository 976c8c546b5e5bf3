//! Whether a provider answers and takes a key, asked by what costs nothing: the list of its models.

use super::Endpoint;
use crate::{llm::request::WireFormat, websocket::cause};
use reqwest::{
    StatusCode, Url,
    header::{ACCEPT, HeaderMap, HeaderValue},
};
use serde_json::Value;
use std::time::Duration;
use tokio::time::timeout;

/// Time for the whole answer. A list of models is made quickly or not at all.
const PATIENCE: Duration = Duration::from_secs(15);
/// Longest list that is read; those of gateways with hundreds of models are below 1 MiB.
const MAX_LIST: usize = 8 << 20;

/// What a provider answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reached {
    /// The names of its models, by which they are asked for.
    Models(Vec<String>),
    /// It does not take the key.
    KeyRefused(StatusCode),
    /// Something else than a list: it is there, and nothing is known of the key.
    Unlisted(StatusCode),
}

/// Asks for the list.
///
/// # Errors
/// Why there is no answer; without the key, and without an address that may hold one.
pub async fn reach(client: &reqwest::Client, endpoint: &Endpoint) -> Result<Reached, String> {
    let url = endpoint.models_url()?;
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    endpoint.credentials(&mut headers)?;
    let ask = async {
        let mut response = client.get(url).headers(headers).send().await.map_err(cause)?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(cause)? {
            if body.len() + chunk.len() > MAX_LIST {
                return Ok(Reached::Unlisted(status));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Reached::KeyRefused(status),
            _ if status.is_success() => names(&body).map_or(Reached::Unlisted(status), Reached::Models),
            _ => Reached::Unlisted(status),
        })
    };
    timeout(PATIENCE, ask).await.unwrap_or_else(|_| Err(format!("no answer within {} s", PATIENCE.as_secs())))
}

/// The names in `{ "data": [{ "id": … }] }`, which all formats have.
fn names(body: &[u8]) -> Option<Vec<String>> {
    let list: Value = serde_json::from_slice(body).ok()?;
    list.get("data")?.as_array()?.iter().map(|model| Some(model.get("id")?.as_str()?.to_owned())).collect()
}

impl Endpoint {
    /// Where the list of models is, beside the address of the call.
    fn models_url(&self) -> Result<Url, String> {
        let mut url = self.url()?;
        let call = match self.format {
            WireFormat::AnthropicMessages => "/messages",
            WireFormat::ChatCompletions => "/chat/completions",
            WireFormat::OpenaiResponses => "/responses",
        };
        let path = url.path().strip_suffix(call).unwrap_or(url.path()).to_owned();
        url.set_path(&format!("{path}/models"));
        if self.format == WireFormat::AnthropicMessages {
            // Else it lists twenty.
            url.query_pairs_mut().append_pair("limit", "1000");
        }
        Ok(url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::providers::lookup;

    #[test]
    fn the_list_lies_beside_the_call() {
        for (kind, base, list) in [
            ("anthropic", None, "https://api.anthropic.com/v1/models?limit=1000"),
            ("openai", None, "https://api.openai.com/v1/models"),
            ("google", None, "https://generativelanguage.googleapis.com/v1beta/openai/models"),
            ("openai-compat", Some("http://127.0.0.1:8000/v1/"), "http://127.0.0.1:8000/v1/models"),
            ("azure", Some("https://x.openai.azure.com"), "https://x.openai.azure.com/openai/v1/models"),
        ] {
            let endpoint = lookup(kind).unwrap().endpoint(base, Some("k".into()), true).unwrap();
            assert_eq!(endpoint.models_url().unwrap().as_str(), list);
        }
    }

    #[test]
    fn names_are_read_or_there_is_no_list() {
        assert_eq!(names(br#"{"data":[{"id":"a"},{"id":"b"}]}"#), Some(vec!["a".into(), "b".into()]));
        assert_eq!(names(br#"{"data":[]}"#), Some(Vec::new()));
        for other in [&b"<html>"[..], br#"{"data":[{}]}"#, b"[]"] {
            assert_eq!(names(other), None);
        }
    }
}
