//! Label rules (api.md §2.3).

use super::problem::{Problem, Result};
use crate::chat::json::Json;
use std::collections::BTreeMap;

const MAX_LABELS: usize = 50;
const MAX_KEY_BYTES: usize = 64;
const MAX_VALUE_BYTES: usize = 256;

/// Checks labels and gives them their stored form.
///
/// # Errors
/// 400 for the field `labels`.
pub fn stored(labels: &BTreeMap<String, String>) -> Result<Json> {
    if labels.len() > MAX_LABELS {
        return Err(wrong(format!("At most {MAX_LABELS} labels are allowed.")));
    }
    for (key, value) in labels {
        let shown: String = key.chars().take(MAX_KEY_BYTES).collect();
        if key.is_empty() || key.len() > MAX_KEY_BYTES {
            return Err(wrong(format!("The key {shown:?} must have 1 to {MAX_KEY_BYTES} bytes.")));
        }
        let mut bytes = key.bytes();
        let good = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric())
            && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'/' | b'-'));
        if !good {
            return Err(wrong(format!(
                "The key {shown:?} must begin with a letter or digit and may go on with those and . _ / -"
            )));
        }
        if value.is_empty() || value.len() > MAX_VALUE_BYTES {
            return Err(wrong(format!("The value of {shown:?} must have 1 to {MAX_VALUE_BYTES} bytes.")));
        }
        // PostgreSQL cannot compare a JSON text that holds one.
        if value.contains('\0') {
            return Err(wrong(format!("The value of {shown:?} must not hold a NUL character.")));
        }
    }
    Ok(Json::of(labels))
}

fn wrong(detail: String) -> Problem {
    Problem::field("labels", detail)
}

/// A `label=key:value` of a query.
///
/// # Errors
/// 400 when a half is missing.
pub fn pair(text: &str) -> Result<(String, String)> {
    match text.split_once(':') {
        Some((key, value)) if !key.is_empty() && !value.is_empty() && !text.contains('\0') => {
            Ok((key.to_owned(), value.to_owned()))
        }
        _ => Err(Problem::field("label", "A label must be written as key:value.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(key: &str, value: &str) -> bool {
        stored(&BTreeMap::from([(key.to_owned(), value.to_owned())])).is_ok()
    }

    #[test]
    fn keys_and_values_have_bounds() {
        assert!(one("a", "b"));
        assert!(one("a.b/c_d-9", "any text at all: é"));
        assert!(one(&"k".repeat(64), &"v".repeat(256)));
        for (key, value) in [("", "v"), ("-a", "v"), ("a b", "v"), ("é", "v"), ("a", ""), ("a", "x\0y")] {
            assert!(!one(key, value), "{key:?} {value:?}");
        }
        assert!(!one(&"k".repeat(65), "v"));
        assert!(!one("k", &"v".repeat(257)));
        let many = |n: usize| (0..n).map(|i| (format!("k{i}"), "v".into())).collect::<BTreeMap<_, _>>();
        assert!(stored(&many(50)).is_ok());
        assert!(stored(&many(51)).is_err());
        assert_eq!(pair("a:b:c").unwrap(), ("a".into(), "b:c".into()));
        assert!(pair("a").is_err() && pair(":b").is_err() && pair("a:").is_err());
    }
}
