//! `chatd openapi`: the OpenAPI document.

use super::{Failure, Outcome, output};
use crate::api;

/// Prints the document.
///
/// # Errors
/// When stdout cannot be written to.
pub fn run() -> Outcome {
    let text = serde_json::to_string_pretty(&api::openapi::document())
        .map_err(|e| Failure::failed(format!("the document cannot be written: {e}")))?;
    output::data(format!("{text}\n").as_bytes())
}
