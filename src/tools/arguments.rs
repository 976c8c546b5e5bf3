//! Reading the arguments of a call.

use super::{duration, outcome::ToolOutcome};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use std::time::Duration;

/// Reads arguments into a type; unknown keys are ignored. Models write whole numbers with a point now and then: `2.0` is 2 where
/// it has to be whole.
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
    serde_json::from_str(args).or_else(|error| {
        let whole = serde_json::from_str(args).ok().map(whole_numbers);
        whole.and_then(|whole| serde_json::from_value(whole).ok()).ok_or_else(|| bad(&error))
    })
}

/// Up to here every whole number is one as a float, too.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// The same, where numbers without a fraction have no point.
fn whole_numbers(value: Value) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(whole_numbers).collect(),
        Value::Object(map) => map.into_iter().map(|(key, value)| (key, whole_numbers(value))).collect(),
        Value::Number(number) => match number.as_f64() {
            #[expect(clippy::cast_possible_truncation, reason = "it is whole and within the range")]
            Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() <= EXACT => {
                Value::from(float as i64)
            }
            _ => Value::Number(number),
        },
        other => other,
    }
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

    #[derive(Debug, Deserialize, PartialEq)]
    struct Numbers {
        count: Option<i64>,
        list: Vec<u32>,
        ratio: f64,
    }

    #[test]
    fn whole_numbers_may_have_a_point() {
        let read = |args| parse::<Numbers>(args).map_err(|outcome| outcome.result.get().to_owned());
        let numbers = |count, list: &[u32], ratio| Numbers { count, list: list.to_vec(), ratio };
        assert_eq!(read(r#"{"count":2.0,"list":[3.0,4],"ratio":1.0}"#), Ok(numbers(Some(2), &[3, 4], 1.0)));
        assert_eq!(read(r#"{"count":-1e3,"list":[],"ratio":0.5}"#), Ok(numbers(Some(-1000), &[], 0.5)));
        for args in [
            r#"{"count":2.5,"list":[],"ratio":1}"#,
            r#"{"count":1e300,"list":[],"ratio":1}"#,
            r#"{"count":null,"list":[-1.0],"ratio":1}"#,
        ] {
            assert!(read(args).unwrap_err().contains("invalid arguments"), "{args}");
        }
        assert!(read(r#"{"count":2.5,"list":[],"ratio":1}"#).unwrap_err().contains("2.5"));
    }
}
