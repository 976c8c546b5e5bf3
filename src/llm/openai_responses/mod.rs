//! OpenAI Responses (`POST /v1/responses`, `stream: true`).
//!
//! Every event has a `type`. Output items are announced (`response.output_item.added`), filled by deltas
//! and given in full at their end (`response.output_item.done`); `response.completed`, `.incomplete` or
//! `.failed` is the last event.

mod decode;
mod encode;
#[cfg(test)]
mod tests;

pub(super) use decode::Decoder;
pub(super) use encode::{encode, keeps_answers};
