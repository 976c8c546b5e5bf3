//! Takes secrets out of recorded requests and answers (agent-loop.md §21).

use serde_json::{Map, Value, json};

/// What stands in place of a secret.
pub const MASK: &str = "[REDACTED]";

/// Larger bodies are not kept.
const MAX_BODY: usize = 1024 * 1024;

/// Headers whose values are secrets.
const SECRET_HEADERS: [&str; 6] =
    ["authorization", "x-api-key", "api-key", "proxy-authorization", "cookie", "set-cookie"];
/// Parts of names of such headers.
const SECRET_HEADER_PARTS: [&str; 5] = ["api-key", "apikey", "token", "secret", "bearer"];
/// Names of limits, which speak of tokens of another kind.
const RATE_LIMIT_HEADERS: [&str; 2] = ["x-ratelimit-", "anthropic-ratelimit-"];
/// Keys of JSON objects whose values are secrets. (`token` is not a part: `max_tokens` is none.)
const SECRET_KEYS: [&str; 16] = [
    "api_key",
    "apikey",
    "api-key",
    "x-api-key",
    "key",
    "token",
    "access_token",
    "accesstoken",
    "refresh_token",
    "refreshtoken",
    "id_token",
    "session_token",
    "private_key",
    "bearer",
    "cookie",
    "set-cookie",
];
const SECRET_KEY_PARTS: [&str; 4] = ["secret", "password", "authorization", "credential"];

/// Headers as a JSON object.
#[must_use]
pub fn headers(all: &[(String, String)]) -> Value {
    let mut map = Map::new();
    for (name, value) in all {
        let name = name.to_ascii_lowercase();
        let is_limit = RATE_LIMIT_HEADERS.iter().any(|limit| name.starts_with(limit));
        let is_secret = SECRET_HEADERS.contains(&name.as_str())
            || (!is_limit && SECRET_HEADER_PARTS.iter().any(|part| name.contains(part)));
        let shown = if is_secret { MASK } else { value.as_str() };
        match map.get_mut(&name) {
            Some(Value::String(before)) => *before = format!("{before}, {shown}"),
            _ => drop(map.insert(name, shown.into())),
        }
    }
    Value::Object(map)
}

/// An address without user, password, and secrets of its query; anything else is masked whole.
#[must_use]
pub fn url(text: &str) -> String {
    let Ok(mut url) = reqwest::Url::parse(text) else { return MASK.to_owned() };
    if !url.username().is_empty() || url.password().is_some() {
        // Both fail only for addresses without a host.
        let _ = url.set_username(MASK);
        let _ = url.set_password(None);
    }
    if url.query().is_some() {
        let pairs: Vec<(String, String)> = url
            .query_pairs()
            .map(|(key, value)| {
                let value = if is_secret_key(&key) { MASK.to_owned() } else { value.into_owned() };
                (key.into_owned(), value)
            })
            .collect();
        url.query_pairs_mut().clear().extend_pairs(pairs);
    }
    url.to_string()
}

fn is_secret_key(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    SECRET_KEYS.contains(&key.as_str()) || SECRET_KEY_PARTS.iter().any(|part| key.contains(part))
}

/// Masks the values of secret keys at any depth.
pub fn json(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (key, value) in map.iter_mut() {
                if is_secret_key(key) {
                    *value = MASK.into();
                } else {
                    json(value);
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(json),
        _ => {}
    }
}

/// A body: JSON and lines of JSON cleaned, anything else told by its size.
#[must_use]
pub fn body(bytes: &[u8]) -> Value {
    let placeholder = || json!(format!("[{} bytes]", bytes.len()));
    if bytes.is_empty() {
        return Value::Null;
    }
    if bytes.len() > MAX_BODY {
        return placeholder();
    }
    if let Ok(mut value) = serde_json::from_slice(bytes) {
        json(&mut value);
        return value;
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return placeholder() };
    let lines = text.lines().filter(|line| !line.trim().is_empty()).map(serde_json::from_str::<Value>);
    match lines.collect::<Result<Vec<Value>, _>>() {
        Ok(mut lines) => {
            lines.iter_mut().for_each(json);
            Value::Array(lines)
        }
        Err(_) => placeholder(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_lose_their_secrets() {
        let all = [
            ("Authorization", "Bearer x"),
            ("X-Api-Key", "x"),
            ("Set-Cookie", "x"),
            ("X-My-Token", "x"),
            ("X-ApiKey-Id", "x"),
            ("Client-Secret", "x"),
            ("x-ratelimit-remaining-tokens", "7"),
            ("anthropic-ratelimit-tokens-limit", "9"),
            ("Content-Type", "a"),
        ];
        let all: Vec<_> = all.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        assert_eq!(
            headers(&all),
            json!({ "authorization": MASK, "x-api-key": MASK, "set-cookie": MASK, "x-my-token": MASK,
                "x-apikey-id": MASK, "client-secret": MASK, "x-ratelimit-remaining-tokens": "7",
                "anthropic-ratelimit-tokens-limit": "9", "content-type": "a" })
        );
    }

    #[test]
    fn addresses_lose_user_and_secrets() {
        assert_eq!(
            url("https://u:p@h/v1?api_key=x&v=2"),
            "https://%5BREDACTED%5D@h/v1?api_key=%5BREDACTED%5D&v=2"
        );
        assert_eq!(url("https://h/v1"), "https://h/v1");
        assert_eq!(url("sk-oops"), MASK);
    }

    #[test]
    fn bodies_lose_secrets_at_any_depth() {
        let text = br#"{"max_tokens":5,"a":[{"client_secret":"x","Token":{"b":1}}],"dbPassword":"x"}"#;
        let clean =
            json!({ "max_tokens": 5, "a": [{ "client_secret": MASK, "Token": MASK }], "dbPassword": MASK });
        assert_eq!(body(text), clean);
        assert_eq!(body(b"{\"a\":1}\n{\"api_key\":\"x\"}\n"), json!([{ "a": 1 }, { "api_key": MASK }]));
        assert_eq!(body(b"data: {\"api_key\":\"x\"}\n\n"), json!("[23 bytes]"));
        assert_eq!(body(b"\xff\xfe"), json!("[2 bytes]"));
        assert_eq!(body(&vec![b'1'; MAX_BODY + 1]), json!("[1048577 bytes]"));
    }
}
