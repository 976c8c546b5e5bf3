//! Reading the arguments of a call.

use super::{duration, outcome::ToolOutcome};
use serde::{Deserialize, de::DeserializeOwned};
use std::time::Duration;

/// Reads arguments into a type; unknown keys are ignored.
///
/// # Errors
/// An outcome with the JSON error, for the model to correct itself.
pub fn parse<T: DeserializeOwned>(args: &str) -> Result<T, ToolOutcome> {
    let bad = |error: &serde_json::Error| ToolOutcome::error(format!("invalid arguments: {error}"));
    // Arguments that were no JSON are kept as a JSON string: say what was wrong inside.
    if let Ok(Text(inner)) = serde_json::from_str::<Text>(args) {
        return Err(match serde_json::from_str::<serde::de::IgnoredAny>(&inner) {
            Err(error) => bad(&error),
            Ok(_) => ToolOutcome::error("invalid arguments: the call was cut off before it was complete"),
        });
    }
    serde_json::from_str(args).map_err(|error| bad(&error))
}

#[derive(Deserialize)]
struct Text(String);

/// The text of a required field.
///
/// # Errors
/// An outcome that names the field when it is blank.
pub fn required<'a>(field: &str, value: &'a str) -> Result<&'a str, ToolOutcome> {
    if value.trim().is_empty() {
        return Err(ToolOutcome::error(format!("{field} must not be blank")));
    }
    Ok(value)
}

/// A duration as models write them; blank and missing mean `default`.
///
/// # Errors
/// An outcome that names the field and shows the form.
pub fn duration(field: &str, given: Option<&str>, default: &str) -> Result<Duration, ToolOutcome> {
    let text = given.map(str::trim).filter(|text| !text.is_empty()).unwrap_or(default);
    duration::parse(text).ok_or_else(|| {
        ToolOutcome::error(format!("{field} {text:?} is not a duration; write it like 30s or 2m30s"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Args {
        path: String,
    }

    #[test]
    fn arguments_are_read_or_explained() {
        let read = |args| parse::<Args>(args).map_err(|outcome| outcome.result.get().to_owned());
        assert_eq!(read(r#"{"path":"/a","extra":1}"#), Ok(Args { path: "/a".into() }));
        assert!(read("{}").unwrap_err().contains("missing field `path`"));
        assert!(read(r#"{"path":1}"#).unwrap_err().contains("invalid type"));
        assert!(read(r#""{\"path\":\"/a""#).unwrap_err().contains("EOF while parsing"));
        assert!(read(r#""{\"path\":\"/a\"}""#).unwrap_err().contains("cut off"));
        assert!(required("path", " \n").unwrap_err().result.get().contains("path must not be blank"));
    }
}
